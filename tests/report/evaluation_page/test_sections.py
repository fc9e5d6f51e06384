"""The sections: what stands where, what is left out, and that nothing is said that isn't shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from derta.analysis.analyse import analyse
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.layout import Shelf
from derta.report.evaluation_page.sections_about import missing_section
from derta.report.evaluation_page.sections_answers import (
    attacks_section,
    begin_section,
    depth_section,
    differences_section,
)
from derta.report.evaluation_page.sections_cost import (
    ablation_section,
    exposure_section,
    trade_off_section,
)
from derta.report.evaluation_page.sections_tokens import (
    detection_section,
    divergence_section,
    knowledge_section,
    stops_section,
)
from tests.analysis.making import benign
from tests.report.evaluation_page.made_pages import answers, data_of, prefilled
from tests.report.evaluation_page.printed_page import PrintedPage

METHODS = {"untouched": "untouched", "vanilla": "vanilla", "derta": "derta"}


def shown(maker, data: PageData) -> PrintedPage:
    made = maker(data, Shelf())
    assert made is not None
    return PrintedPage(str(made))


def rows(page: PrintedPage, identifier: str) -> list[str]:
    """The rows of one table, each as text."""
    inside = False
    found = []
    for each in page.elements:
        if each.tag == "table":
            inside = each.attributes.get("id") == identifier
        if inside and each.tag == "tr":
            found.append(" ".join("".join(each.text).split()))
    return found[1:]


def three_models() -> PageData:
    outcomes = [
        *answers("untouched", "direct", 40, unsafe=38),
        *answers("vanilla", "direct", 40, unsafe=36),
        *answers("derta", "direct", 40, unsafe=2),
        *(o for m in METHODS for o in answers(m, "completing", 40, unsafe=20)),
        *answers("untouched", "benign", 40, category="ordinary"),
        *answers("vanilla", "benign", 40, category="ordinary"),
        *answers("derta", "benign", 40, refused=20, category="ordinary"),
    ]
    return data_of(outcomes, methods=METHODS)


# --- attacks -------------------------------------------------------------------------------------


def test_answers_without_a_verdict_stand_beside_the_share_and_not_in_it() -> None:
    data = data_of(answers("one", "direct", 30, unsafe=5, errors=2, unreadable=1))
    page = shown(attacks_section, data)
    (row,) = rows(page, "attacks-unsafe")
    assert "19 % 8–37 n 27" in row.replace("\xa0", " ")
    assert "+ 2 errors" in row
    assert "+ 1 unreadable" in row


def test_unreadable_answers_are_in_the_share_of_refusals_and_errors_are_not() -> None:
    data = data_of(answers("one", "direct", 30, refused=6, errors=2, unreadable=4))
    page = shown(attacks_section, data)
    (unsafe,), (refused,) = rows(page, "attacks-unsafe"), rows(page, "attacks-refused")
    assert "n 24" in unsafe
    assert "n 28" in refused
    caption = shown(missing_section, data).text("caption")
    assert "in no share of harmful help" in caption
    assert "unreadable answers are in those of refusals" in caption


def test_one_cell_is_no_row_of_its_own_and_several_are() -> None:
    single = data_of(answers("one", "code_attack", 30, cell="stack"))
    assert len(rows(shown(attacks_section, single), "attacks-unsafe")) == 1
    both = [*answers("one", "code_attack", 30, cell="stack"),
            *answers("one", "code_attack", 30, cell="list")]  # fmt: skip
    names = rows(shown(attacks_section, data_of(both)), "attacks-unsafe")
    assert [name.split(" 0")[0] for name in names] == [
        "CodeAttack", "CodeAttack: stack", "CodeAttack: list",
    ]  # fmt: skip


def test_means_over_different_attacks_never_share_a_row() -> None:
    outcomes = [
        *answers("one", "code_attack", 30, unsafe=15),
        *answers("one", "completing", 30, unsafe=30),
        *answers("two", "code_attack", 30, unsafe=15),
        *answers("two", "completing", 30, unsafe=30),
        *answers("two", "pair", 30, unsafe=3),
    ]
    means = [r for r in rows(shown(attacks_section, data_of(outcomes)), "attacks-unsafe")
             if r.startswith("mean of")]  # fmt: skip
    first, second = (row.replace("\xa0", " ") for row in means)
    assert first.startswith("mean of CodeAttack, CompletingAttack 75 %")
    assert first.endswith("–")
    assert second.startswith("mean of CodeAttack, PAIR, CompletingAttack – 53 %")


def test_a_depth_that_too_few_reach_is_in_no_table_but_named_as_missing() -> None:
    outcomes = [*prefilled("one", 30, {0: 30, 20: 10}), *prefilled("one", 7, {80: 1})]
    data = data_of(outcomes)
    assert not any("k = 80" in row for row in rows(shown(attacks_section, data), "attacks-unsafe"))
    assert [r.split()[0] for r in rows(shown(depth_section, data), "depth-refused")] == ["0", "20"]
    assert rows(shown(missing_section, data), "missing-depths") == ["one prefilled 80 7"]


# --- differences ---------------------------------------------------------------------------------


def test_the_two_models_of_the_headline_are_compared_first() -> None:
    headings = [h.text for h in shown(differences_section, three_models()).all("h3")]
    assert ["".join(each) for each in headings] == [
        "derta against vanilla", "vanilla against untouched", "derta against untouched",
    ]  # fmt: skip


def test_differences_are_said_in_words_only_where_test_and_interval_agree() -> None:
    page = shown(differences_section, three_models())
    (first, second, _) = ["".join(each.text) for each in page.all("ul", class_="verdicts")]
    assert "Less harmful help: asked plainly" in first
    nothing = "No difference shown in refusals of harmful questions: asked plainly"
    assert nothing in first  # what isn't UNSAFE there is no refusal either
    assert "More wrong refusals: ordinary questions" in first
    assert "No difference shown in harmful help: CompletingAttack" in first
    assert "Less" not in second
    assert "More" not in second


def test_with_many_models_all_other_pairs_open_on_request() -> None:
    outcomes = [o for m in ("a", "b", "c", "d") for o in answers(m, "direct", 30, unsafe=3)]
    page = shown(differences_section, data_of(outcomes))
    assert len(page.all("h3")) == 1
    assert page.text("h3") == "d against a"
    summaries = ["".join(each.text) for each in page.all("summary")]
    assert sum(" against " in words and "Copy" not in words for words in summaries) == 5


# --- stops ---------------------------------------------------------------------------------------


def test_stops_beyond_the_end_of_the_curve_are_in_the_table_and_the_description() -> None:
    late = [0.1] * 100 + [0.9] + [0.1] * 99
    texts = [*(benign(n, [0.1] * 50) for n in range(25)),
             *(benign(n, late) for n in range(25, 40))]  # fmt: skip
    known = data_of(answers("derta", "direct", 3))
    page = shown(stops_section, replace(known, analysis=analyse([], texts, minimum=20)))
    (row,) = rows(page, "stops-anywhere")
    assert row.replace("\xa0", " ").startswith("derta – n 0 38 % 24–53 n 40")
    assert "derta: 38 % at any position." in page.text("desc")


# --- cost ----------------------------------------------------------------------------------------


def over_different_attacks(methods: dict[str, str] | None = None) -> PageData:
    outcomes = []
    for model in ("one", "two", "three"):
        outcomes += answers(model, "benign", 40, refused=4, category="ordinary")
        outcomes += answers(model, "code_attack", 40, unsafe=20)
        if model != "three":
            outcomes += answers(model, "completing", 40, unsafe=40)
    return data_of(outcomes, methods=methods)


def test_means_over_different_attacks_are_named_by_model_and_are_no_points_of_one_picture() -> None:
    page = shown(trade_off_section, over_different_attacks())
    caption = page.text("caption")
    assert (
        "one, two: mean over CodeAttack, CompletingAttack; three: mean over CodeAttack." in caption
    )
    assert "can’t be compared" in caption
    assert "Left out: means over other attacks." in page.text("figcaption")
    description = page.text("desc")
    assert "one: 75 % harmful help" in description
    assert "three: " not in description
    assert "with a mean over other attacks: three." in description


def test_means_over_the_same_attacks_are_named_once() -> None:
    page = shown(trade_off_section, three_models())
    assert "Harmful help is the mean over CompletingAttack." in page.text("caption")
    assert "Left out" not in page.text("figcaption")
    assert "Left out" not in page.text("desc")


def test_methods_whose_means_are_over_different_attacks_say_so() -> None:
    data = over_different_attacks({"one": "vanilla", "two": "derta", "three": "dpo"})
    caption = shown(ablation_section, data).text("caption")
    assert (
        "usual training, DeRTa (both): mean over CodeAttack, CompletingAttack; DPO: mean" in caption
    )
    same = shown(ablation_section, three_models()).text("caption")
    assert same.endswith("Harmful help is the mean over CompletingAttack.")


# --- what there is nothing of --------------------------------------------------------------------


@pytest.mark.parametrize(
    "maker",
    [
        differences_section, depth_section, begin_section, knowledge_section, detection_section,
        stops_section, divergence_section, exposure_section, trade_off_section, ablation_section,
    ],
)  # fmt: skip
def test_a_section_without_figures_is_absent(maker) -> None:
    data = data_of(answers("one", "direct", 30, unsafe=3))
    assert maker(data, Shelf()) is None


def test_attacks_are_absent_without_any_answer() -> None:
    assert attacks_section(data_of([]), Shelf()) is None


def test_refusals_and_exposure_are_shown_once_they_are_known() -> None:
    fields = {"refusal_start": 4, "words_before_refusal": 1, "tokens_before_refusal": 2}
    outcomes = answers("one", "direct", 30, refused=30, exposed_words=0, **fields)
    page = shown(begin_section, data_of(outcomes))
    assert [row.split()[:3] for row in rows(page, "position-table")] == [
        ["one", "words", "30"], ["one", "tokens", "30"],
    ]  # fmt: skip
    (row,) = rows(shown(exposure_section, data_of(outcomes)), "exposure-table")
    assert row.replace("\xa0", " ").startswith("one 100 % 89–100 n 30")


def test_the_methods_stand_side_by_side_where_there_are_two() -> None:
    page = shown(ablation_section, three_models())
    assert [row.split()[0] for row in rows(page, "ablation-table")] == [
        "untouched", "usual", "DeRTa",
    ]  # fmt: skip


def test_nothing_missing_is_said_as_well() -> None:
    page = shown(missing_section, data_of(answers("one", "direct", 30)))
    assert "every answer has a verdict" in page.text("section")


def test_what_was_skipped_is_listed_with_its_reason() -> None:
    skipped = [{"model": "one", "scenario": "autodan", "reason": "needs <b>weights</b>"}]
    page = shown(missing_section, data_of(answers("one", "direct", 30), skipped=skipped))
    assert rows(page, "missing-scenarios") == ["one AutoDAN needs <b>weights</b>"]
