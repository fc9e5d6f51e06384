"""The sentences on top: plain words, no stronger than the intervals, honest if it went badly."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from derta.analysis.outcomes import Outcome
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.headline import foreground, headline, lead
from derta.report.markup import element
from tests.report.evaluation_page.made_pages import answers, data_of, prefilled
from tests.report.evaluation_page.printed_page import PrintedPage

METHODS = {"untouched": "untouched", "vanilla": "vanilla", "derta": "derta"}


def sentence(data: PageData) -> str:
    return PrintedPage(str(element("h1", headline(data)))).text("h1")


def cost(data: PageData) -> str:
    return PrintedPage(str(element("p", [[*each, " "] for each in lead(data)]))).text("p")


def benign(model: str, n: int, refused: int) -> list[Outcome]:
    half = n // 2
    first = min(refused, half)
    return [
        *answers(model, "benign", half, refused=first, category="ordinary"),
        *answers(model, "benign", n - half, refused=refused - first, category="look-alike"),
    ]


def test_a_deep_refusal_is_said_with_the_figures_that_carry_it() -> None:
    outcomes = [
        *prefilled("untouched", 53, {0: 0, 80: 0}),
        *prefilled("vanilla", 53, {0: 45, 80: 1}),
        *prefilled("derta", 53, {0: 49, 80: 42}),
    ]
    assert sentence(data_of(outcomes, methods=METHODS)) == (
        "Once 80 tokens of a harmful answer have been written for it, derta still refuses 79 % of "
        "53 harmful questions; the usual training (vanilla) refuses 2 %."
    )


def test_a_worse_model_is_not_said_to_still_refuse() -> None:
    outcomes = [*prefilled("vanilla", 53, {80: 45}), *prefilled("derta", 53, {80: 3})]
    text = sentence(data_of(outcomes, methods=METHODS))
    assert "derta refuses only 6 % of 53 harmful questions" in text
    assert text.endswith("the usual training (vanilla) refuses 85 %.")
    assert "still" not in text


def test_intervals_that_touch_are_no_clear_difference() -> None:
    outcomes = [*prefilled("vanilla", 25, {80: 12}), *prefilled("derta", 25, {80: 16})]
    text = sentence(data_of(outcomes, methods=METHODS))
    assert "still" not in text
    assert text.endswith("refuses 48 %, too close to call with so few questions.")


def other_way_round(outcomes: list[Outcome]) -> list[Outcome]:
    """Give the answers to the same questions in the opposite order: hardly any pair agrees."""
    names = [each.question_id for each in outcomes]
    return [replace(o, question_id=name) for o, name in zip(outcomes, names[::-1], strict=True)]


def beside(count: int) -> list[Outcome]:
    """Comparisons in which nothing differs; each makes Holm's correction harder."""
    scenarios = ("sampling", "adaptive", "multi_turn", "rank_assisted")[:count]
    return [o for s in scenarios for m in ("vanilla", "derta") for o in answers(m, s, 40, unsafe=9)]


SAME_COMPARISONS = {
    "harmful help, asked plainly": (
        answers("vanilla", "direct", 40, unsafe=20, refused=5),
        answers("derta", "direct", 40, unsafe=7, refused=5),
        "50 %",
    ),
    "refused at the only depth": (
        answers("vanilla", "prefill", 40, refused=7, cell="k=80"),
        answers("derta", "prefill", 40, refused=20, cell="k=80"),
        "18 %",
    ),
    "wrong refusals of the only kind": (
        answers("vanilla", "benign", 40, refused=7, category="ordinary"),
        answers("derta", "benign", 40, refused=20, category="ordinary"),
        "18 %",
    ),
}


@pytest.mark.parametrize("what", SAME_COMPARISONS)
def test_the_headline_says_no_difference_that_the_pages_own_test_does_not_show(what: str) -> None:
    usual, ours, share = SAME_COMPARISONS[what]
    clear = [*usual, *other_way_round(ours)]
    data = data_of([*clear, *beside(4)], methods=METHODS)
    tested = [e for e in data.analysis["differences"]
              if e["scenario"] == usual[0].scenario and e["n"] and e["difference"]]  # fmt: skip
    assert [entry["better"] for entry in tested] == [None]
    assert tested[0]["p_value"] < 0.05 < tested[0]["p_holm"]
    close = rf"{share}, (also )?too close to call"
    assert re.search(close, sentence(data) + cost(data))
    # Tested alone, the same answers differ.
    alone = data_of(clear, methods=METHODS)
    assert not re.search(close, sentence(alone) + cost(alone))
    assert share in sentence(alone) + cost(alone)


def test_the_headline_says_a_difference_that_the_pages_own_test_shows() -> None:
    outcomes = [*answers("vanilla", "direct", 40, unsafe=36), *answers("derta", "direct", 40)]
    text = sentence(data_of([*outcomes, *beside(4)], methods=METHODS))
    assert text.endswith("in 0 % of the answers; the usual training (vanilla), in 90 %.")


def test_one_depth_of_several_is_not_held_to_the_test_of_all_of_them() -> None:
    outcomes = [
        *prefilled("vanilla", 40, {20: 40, 80: 0}), *prefilled("derta", 40, {20: 0, 80: 40}),
    ]  # fmt: skip
    data = data_of(outcomes, methods=METHODS)
    assert {entry["better"] for entry in data.analysis["differences"]} == {None}
    assert "derta still refuses 100 %" in sentence(data)


def test_the_deepest_common_depth_is_taken_and_no_deeper_than_one_answer_goes() -> None:
    outcomes = [
        *prefilled("vanilla", 25, {0: 25, 20: 1, 40: 1}),
        *prefilled("derta", 25, {0: 25, 20: 24, 80: 24}),
        *[o for m in METHODS for o in prefilled(m, 25, {640: 20}) if m != "untouched"],
    ]
    assert "Once 20 tokens" in sentence(data_of(outcomes, methods=METHODS))


def test_depths_with_too_few_answers_are_not_taken() -> None:
    outcomes = [
        *prefilled("vanilla", 25, {20: 1}),
        *prefilled("derta", 25, {20: 24}),
        *prefilled("vanilla", 8, {80: 1}),
        *prefilled("derta", 8, {80: 8}),
    ]
    assert "Once 20 tokens" in sentence(data_of(outcomes, methods=METHODS))


@pytest.mark.parametrize(
    ("plain", "deep", "end"),
    [
        (50, 1, "once 80 tokens of a harmful answer have been written for it, 2 %. Its refusal "
         "doesn’t hold."),
        (50, 48, "once 80 tokens of a harmful answer have been written for it, 91 %. Its refusal "
         "holds."),
        (0, 0, "once 80 tokens of a harmful answer have been written for it, 0 %."),
    ],
)  # fmt: skip
def test_one_model_alone_is_compared_with_itself(plain: int, deep: int, end: str) -> None:
    text = sentence(data_of(prefilled("mine", 53, {0: plain, 80: deep})))
    assert text.startswith("Asked plainly, mine refuses ")
    assert text.endswith(end)


def test_without_prefilling_the_attacks_are_in_the_sentence() -> None:
    outcomes = [
        *answers("vanilla", "code_attack", 40, unsafe=30),
        *answers("vanilla", "completing", 40, unsafe=38),
        *answers("derta", "code_attack", 40, unsafe=4),
        *answers("derta", "completing", 40, unsafe=2),
    ]
    assert sentence(data_of(outcomes, methods=METHODS)) == (
        "Under two attacks derta gives harmful help in 8 % of the cases on average; the usual "
        "training (vanilla), in 85 %."
    )


def test_one_scenario_alone_is_named() -> None:
    text = sentence(data_of(answers("one", "direct", 40, unsafe=10)))
    assert text == (
        "Of harmful questions (asked plainly) one gives harmful help in 25 % of the answers."
    )


def test_means_over_different_attacks_are_not_compared() -> None:
    outcomes = [
        *answers("vanilla", "code_attack", 40, unsafe=30),
        *answers("vanilla", "completing", 40, unsafe=38),
        *answers("vanilla", "pair", 40, unsafe=38),
        *answers("derta", "code_attack", 40, unsafe=4),
        *answers("derta", "completing", 40, unsafe=2),
    ]
    assert "vanilla" not in sentence(data_of(outcomes, methods=METHODS))


def test_errors_alone_are_no_result() -> None:
    outcomes = [
        *answers("one", "direct", 30, errors=30),
        *answers("one", "code_attack", 30, unreadable=30),
    ]
    text = sentence(data_of(outcomes))
    assert text.startswith("No answer to a harmful question could be judged")
    assert "%" not in text


def test_harmless_questions_alone_give_false_refusals() -> None:
    data = data_of([*benign("vanilla", 80, 2), *benign("derta", 80, 30)], methods=METHODS)
    assert sentence(data) == (
        "derta wrongly refuses 38 % of 80 harmless questions; the usual training (vanilla), only "
        "3 %."
    )
    assert cost(data) == ""


def test_the_cost_stands_below_the_result() -> None:
    outcomes = [
        *prefilled("vanilla", 53, {80: 1}), *prefilled("derta", 53, {80: 42}),
        *answers("vanilla", "completing", 40, unsafe=38),
        *answers("derta", "completing", 40, unsafe=2),
        *benign("vanilla", 80, 2), *benign("derta", 80, 30),
    ]  # fmt: skip
    text = cost(data_of(outcomes, methods=METHODS))
    assert "derta gives harmful help in" in text
    assert text.index("may still be no help") < text.index("derta gives harmful help in")
    assert "derta wrongly refuses 38 % of" in text


@pytest.mark.parametrize(
    ("usual", "end"),
    [
        (0.86, "in 82 % of the places (all of them would be no change); the usual training "
         "(vanilla), in 86 %, also too close to call."),
        (0.97, "in 82 % of the places (all of them would be no change); the usual training "
         "(vanilla), in 97 %."),
    ],
)  # fmt: skip
def test_the_way_it_moved_is_compared_with_the_usual_training(usual: float, end: str) -> None:
    def agreement(share: float) -> dict[str, float]:
        return {
            "share": share,
            "low": share - 0.04,
            "high": share + 0.02,
            "n": 900,
            "responses": 40,
        }

    data = data_of(
        [o for name in METHODS for o in prefilled(name, 25, {80: 1})],
        methods=METHODS,
        helpfulness={
            "reference": "untouched",
            "models": {
                "vanilla": {"agreement": agreement(usual)},
                "derta": {"agreement": agreement(0.82)},
            },
        },
    )
    assert cost(data).endswith(end)


def test_why_it_is_too_close_to_call_is_said_once() -> None:
    outcomes = [
        *prefilled("vanilla", 53, {80: 41}), *prefilled("derta", 53, {80: 42}),
        *benign("vanilla", 80, 9), *benign("derta", 80, 12),
    ]  # fmt: skip
    text = cost(data_of(outcomes, methods=METHODS))
    assert text.count("too close to call with so few questions.") == 1
    assert text.endswith(", also too close to call.")


def test_a_smoke_run_has_no_result() -> None:
    outcomes = [*prefilled("vanilla", 53, {80: 1}), *prefilled("derta", 53, {80: 42})]
    data = data_of(outcomes, methods=METHODS, budget="smoke")
    assert sentence(data) == (
        "A smoke run: it shows that every step works. Its figures mean nothing."
    )
    assert lead(data) == []


def test_the_model_in_the_foreground_is_the_deepest_training_or_the_last_one_named() -> None:
    outcomes = [*answers("b", "direct", 3), *answers("a", "direct", 3)]
    assert foreground(data_of(outcomes)) == ("a", "b")
    assert foreground(data_of(outcomes, methods={"b": "derta", "a": "vanilla"})) == ("b", "a")
    assert foreground(data_of(answers("b", "direct", 3))) == ("b", None)
    named = [*answers("my-derta", "direct", 3), *answers("other", "direct", 3)]
    assert foreground(data_of(named)) == ("my-derta", "other")


def test_a_hostile_name_stays_within_itself() -> None:
    name = "<b>evil</b> \u202e" + "x" * 300
    markup = str(element("h1", headline(data_of(prefilled(name, 25, {0: 20, 80: 1})))))
    assert "<b>" not in markup
    (found,) = PrintedPage(markup).all("bdi")
    assert len("".join(found.text)) <= 40
    assert "⟨U+202E⟩" in str(found.attributes["title"])
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", markup)


def test_a_model_that_is_worse_under_attack_is_not_passed_over() -> None:
    outcomes = [
        *answers("vanilla", "code_attack", 40, unsafe=4),
        *answers("vanilla", "completing", 40, unsafe=2),
        *answers("derta", "code_attack", 40, unsafe=30),
        *answers("derta", "completing", 40, unsafe=38),
    ]
    assert sentence(data_of(outcomes, methods=METHODS)).endswith("in only 8 %.")
