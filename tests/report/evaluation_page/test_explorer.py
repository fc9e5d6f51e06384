"""The explorer's frame and data: every response, nothing that acts, nothing larger than asked."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from derta.analysis.outcomes import ERROR
from derta.refusal import find_refusal
from derta.report.evaluation_page.explorer import explorer_data, explorer_script, explorer_section
from derta.report.markup import visible_text
from tests.analysis.fake_run import (
    HOSTILE_TEXTS,
    METHODS,
    fake_outcomes,
    fake_readings,
    model_names,
)
from tests.report.evaluation_page.responses import ROOMY, Read, outcome, page_data, reading

ASTRAL = "\N{GRINNING FACE}"


class Tags(HTMLParser):
    """Collects tags with their attributes; checks the nesting."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words += data

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def full_data(models: int = 3, *, questions: int = 25, hostile: bool = False):
    names = model_names(models, hostile=hostile)
    outcomes = fake_outcomes(names, questions=questions, hostile=hostile)
    return page_data(outcomes, fake_readings(outcomes, questions=questions, hostile=hostile), names)


@pytest.fixture(scope="module")
def full():
    return full_data()


# --- what is in it -----------------------------------------------------------------------------


def test_every_response_can_be_read_back_with_its_verdict(full):
    expected = Counter(
        (
            each.model,
            each.scenario,
            each.cell,
            visible_text(each.question),
            visible_text(each.response),
            visible_text(each.prefilled),
            None if each.prompt == each.question else visible_text(each.prompt),
            each.exposed_words,
            each.truncated,
            each.refused if each.verdict != ERROR else None,
        )
        for each in full.outcomes
    )
    found = Counter(
        (
            each["model"],
            each["scenario"],
            each["cell"],
            each["question"],
            each["response"],
            each["prefilled"],
            each["prompt"],
            each["exposed"],
            each["truncated"],
            each["refused"],
        )
        for each in Read(full).answers()
        if not each["scenario"].startswith("read_")
    )
    assert found == expected


def test_hostile_responses_can_be_read_back_with_their_controls_visible():
    data = full_data(hostile=True)
    read = Read(data)
    found = {each["response"] for each in read.answers()}
    assert {visible_text(text) for text in HOSTILE_TEXTS} <= found
    assert {name for name, *_ in read.content["models"]} == {visible_text(n) for n in data.names}
    longest = max(data.outcomes, key=lambda each: len(each.response))
    assert len(longest.response) == 100_000
    assert visible_text(longest.response) in found


def test_nothing_in_the_data_can_end_its_script_element_or_act():
    text = explorer_data(full_data(hostile=True), budget_bytes=ROOMY)
    assert not set("<>&\u2028\u2029\u202e") & set(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", text)
    text.encode("utf-8")


def test_answers_to_the_same_question_in_the_same_setting_stand_side_by_side():
    cells = [outcome(model, cell=cell) for cell in ("k=0", "k=5") for model in ("one", "two")]
    rows = Read(page_data([*cells, outcome("one", 1, cell="k=0")])).content["items"]
    assert [[answer[0] for answer in row[-1]] for row in rows] == [[0, 1], [0, 1], [0]]


def test_several_draws_of_one_answer_are_apart_and_in_order():
    drawn = [
        outcome(model, scenario="sampling", response=f"{model} {n}")
        for model in ("one", "two")
        for n in range(3)
    ]
    found = [(a["draw"], a["response"]) for a in Read(page_data(drawn)).answers()]
    assert found == [(n, f"{model} {n}") for n in range(3) for model in ("one", "two")]


def test_the_same_id_with_another_question_is_another_question():
    found = [outcome("one"), outcome("two", question="Something else?")]
    assert len(Read(page_data(found)).content["items"]) == 2


def test_a_prompt_that_is_the_question_is_not_repeated():
    found = Read(page_data([outcome(), outcome("two", prompt="Please! Now.")])).answers()
    assert [each["prompt"] for each in found] == [None, "Please! Now."]


def test_texts_that_every_model_reads_are_scenarios_of_their_own_and_come_last():
    held_out = {"scenario": "", "question": "How?", "question_id": "h"}
    texts = [
        reading(model, source=source, category=category, **held_out)
        for source, category in (("harmful", "harmful"), ("benign", "ordinary"))
        for model in ("one", "two")
    ]
    found = Read(page_data([outcome("one"), outcome("two")], texts)).answers()
    assert [each["scenario"] for each in found] == [
        *["direct"] * 2, *["read_harmful"] * 2, *["read_harmless"] * 2,
    ]  # fmt: skip
    assert [each["category"] for each in found[2:]] == ["harmful"] * 2 + ["ordinary"] * 2
    assert {each["verdict"] for each in found[2:]} == {"NOT_JUDGED"}
    assert {each["refused"] for each in found[2:]} == {None}
    assert all(each["heat"] for each in found[2:])


def test_harmless_answers_are_not_judged_and_failures_are_neither_safe_nor_unsafe():
    rows = [
        outcome("one", category="ordinary", verdict="SAFE", reason="not judged"),
        outcome("one", 1, verdict=ERROR, reason="no answer\x1b", response=""),
        outcome("one", 2, category="ordinary", verdict=ERROR, response=""),
        outcome("one", 3, verdict="NEW WORD"),
    ]
    found = Read(page_data(rows)).answers()
    assert [e["verdict"] for e in found] == ["NOT_JUDGED", "ERROR", "ERROR", "UNREADABLE"]
    assert [e["reason"] for e in found[:2]] == ["", "no answer⟨U+001B⟩"]
    assert [e["refused"] for e in found] == [False, None, None, False]


# --- the refusal -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("Sorry, I can't help with that.", "Sorry, I can't help with that."),
        (f"{ASTRAL}\x00 a reviSorry, I can't help you. Bye.", "Sorry, I can't help you."),
        ("Paint it. I'm unable to assist with that\nMore.", "I'm unable to assist with that"),
    ],
)
def test_the_refusal_is_marked_in_the_units_of_the_script(response, expected):
    start = find_refusal(response).start
    for given in (start, None):  # None: a file of before it was written down
        (found,) = Read(
            page_data([outcome(response=response, refused=True, refusal_start=given)])
        ).answers()
        assert found["mark"] == expected


def test_a_refusal_in_another_language_is_marked_to_the_end_of_its_sentence():
    for text, expected in (
        ("Peut-être. Je ne peux pas vous aider. Au revoir.", "Je ne peux pas vous aider."),
        ("好的。抱歉\uff0c我不能帮助你。再见。", "抱歉\uff0c我不能帮助你。"),
    ):
        start = text.index(expected)
        (found,) = Read(page_data([outcome(response=text, refusal_start=start)])).answers()
        assert found["mark"] == expected


def test_no_refusal_no_mark():
    rows = [outcome(), outcome(number=1, refusal_start=9999), outcome(number=2, response="")]
    assert [each["mark"] for each in Read(page_data(rows)).answers()] == [None] * 3


# --- token readings ----------------------------------------------------------------------------


def near(found, expected):
    """Within the error that explorer_heat states."""
    found, expected = np.array(found), np.clip(np.array(expected, float), 1e-9, 1 - 1e-9)
    bound = 0.00271
    np.testing.assert_array_less(np.abs(found - expected), bound * expected + 1e-12)
    np.testing.assert_array_less(np.abs(found - expected), bound * (1 - expected) + 1e-7)
    np.testing.assert_array_less(np.abs(found - expected), 0.0007)


@pytest.mark.parametrize("seed", range(5))
def test_readings_come_back_within_the_error_that_is_stated(seed):
    tokens = [f" w{number}" for number in range(60)]
    made = reading(tokens=tokens, prefilled_tokens=7, seed=seed)
    row = outcome(prefilled=made.prefilled, response=made.response)
    (answer,) = Read(page_data([row], [made])).answers()
    heat = answer["heat"]
    assert heat["tokens"] == tokens
    assert (heat["first"], heat["mouth"], heat["total"]) == (0, 7, 60)
    near(heat["refusal"], made.refusal_probability)
    near(heat["top"], made.top_probability)
    assert heat["rank"] == np.minimum(made.refusal_rank, 7744).tolist()
    assert heat["token_rank"] == made.token_rank.tolist()
    other = made.token_rank > 1
    assert 0 < other.sum() < 60
    near(heat["others"], made.token_probability[other])
    near(np.array(heat["top"])[:-1][~other], made.token_probability[~other])
    kept = np.append(other, True)
    assert heat["choices"] == [made.top_tokens[t] for t in np.flatnonzero(kept)]


def test_probabilities_at_the_edges_stay_there():
    edges = np.float32([0, 1e-12, 1e-9, 0.5, 1 - 1e-7, 1, np.nan])
    made = reading(tokens=["a"] * 6, refusal_probability=edges)
    heat = Read(page_data([outcome(response="aaaaaa")], [made])).answers()[0]["heat"]
    found = heat["refusal"]
    assert max(found[0], found[1], found[2], found[6]) < 1.1e-9
    assert abs(found[3] - 0.5) < 0.0007
    assert min(found[4], found[5]) > 1 - 1e-6


@pytest.mark.parametrize(
    "tokens",
    [
        ["caf", "\ufffd", "\ufffd"],
        ["W" * 300, "."],
        ["a\r", "\nb"],
    ],
)
def test_tokens_that_do_not_add_up_to_the_text_are_written_out(tokens):
    text = "café" if "caf" in tokens else "".join(tokens)
    made = reading(tokens=tokens, response=text)
    (answer,) = Read(page_data([outcome(response=text)], [made])).answers()
    assert answer["heat"]["written_out"]
    assert answer["heat"]["tokens"] == [visible_text(token) for token in tokens]


def test_tokens_beyond_the_first_plane_and_empty_ones_keep_their_places():
    tokens = [ASTRAL, "", " a\x00", "\u4f60\u597d"]
    made = reading(tokens=tokens)
    (answer,) = Read(page_data([outcome(response=made.response)], [made])).answers()
    assert not answer["heat"]["written_out"]
    assert answer["heat"]["tokens"] == [visible_text(token) for token in tokens]


def test_a_reading_of_an_empty_text_has_one_context():
    made = reading(tokens=[])
    (answer,) = Read(page_data([outcome(response="")], [made])).answers()
    assert len(answer["heat"]["refusal"]) == 1
    assert answer["heat"]["choices"] == ["."]


def test_a_reading_belongs_to_the_response_that_it_read_and_to_no_other():
    made = reading(tokens=["Walk", " on"])
    rows = [
        outcome(response="Walk on"),
        outcome(response="Walk on", number=1),
        outcome("two", response="Walk on"),
        outcome(response="Walk on", cell="k=5"),
        outcome(response="Walk off"),
        outcome(response="Walk on", prefilled="Now "),
    ]
    found = Read(page_data(rows, [made])).answers()
    assert [each["heat"] is not None for each in found].count(True) == 1
    assert next(e for e in found if e["heat"])["response"] == "Walk on"


def test_half_a_surrogate_does_not_part_a_response_from_its_reading():
    # A file of readings holds U+FFFD in its place.
    made = reading(tokens=["half ", "\ufffd"])
    (found,) = Read(page_data([outcome(response="half \ud800")], [made])).answers()
    assert found["response"] == "half ⟨U+D800⟩"
    assert found["heat"]["tokens"] == ["half ", "\ufffd"]


# --- size --------------------------------------------------------------------------------------


def test_shared_texts_are_written_once():
    body = " ".join(f"Wait {number} minutes, then go." for number in range(60))
    rows = [
        outcome(model, cell=f"k={k}", prefilled=body[: 9 * k], response=f"{model} {k}")
        for model in ("one", "two", "three")
        for k in (5, 10, 20, 40, 80)
    ]
    read = Read(page_data(rows))
    assert read.json.count(body[:200]) == 1
    assert len(read.json) < 2 * len(body)
    assert [each["prefilled"] for each in read.answers()] == [
        body[: 9 * k] for k in (5, 10, 20, 40, 80) for _ in range(3)
    ]


def test_some_eleven_bytes_hold_a_token():
    tokens = [f" w{number}" for number in range(1000)]
    made = reading(tokens=tokens)
    row = outcome(response=made.response)
    bare, with_heat = (len(Read(page_data([row], found)).json) for found in ([], [made]))
    # 400 of the 1,000 have another first choice, with its probability and its name's number.
    assert (with_heat - bare) / len(tokens) < 13


@pytest.fixture(scope="module")
def crowded():
    """60 questions with readings in one scenario, long prefilled texts in another."""
    rows, readings = [], []
    for model in ("one", "two"):
        for number in range(60):
            tokens = [f" {number}w{place}" for place in range(30)]
            made = reading(model, tokens, question_id=f"q{number}", seed=number)
            readings.append(made)
            rows.append(outcome(model, number, response=made.response))
        long = reading(
            model,
            [f" put{place}" for place in range(500)],
            prefilled_tokens=480,
            scenario="long_prefill",
            cell="k=480",
        )
        readings.append(long)
        rows.append(
            outcome(
                model,
                scenario="long_prefill",
                cell="k=480",
                prefilled=long.prefilled,
                response=long.response,
            )
        )
    return page_data(rows, readings)


def with_heat(read: Read) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in read.answers():
        if each["heat"] and each["scenario"] == "direct":
            found.setdefault(each["model"], set()).add(each["question"])
    return found


def test_what_fits_is_whole_and_nothing_is_said_of_it(crowded):
    read = Read(crowded)
    assert {model: len(found) for model, found in with_heat(read).items()} == {
        "one": 60, "two": 60,
    }  # fmt: skip
    assert read.content["notes"] == []


def test_too_much_keeps_heat_maps_of_40_questions_the_same_for_all_models(crowded):
    whole = len(Read(crowded).json)
    first, again = Read(crowded, whole - 1), Read(crowded, whole - 1)
    assert first.json == again.json
    assert len(first.json) < whole
    kept = with_heat(first)
    assert len(kept["one"]) == 40
    assert kept["one"] == kept["two"]
    assert "82 of 122 heat maps" in first.content["notes"][0]
    assert len(first.answers()) == len(crowded.outcomes)
    fewer = with_heat(Read(crowded, 45_000))
    assert 0 < len(fewer["one"]) < 40
    assert fewer["one"] < kept["one"]


def test_then_long_prefilled_texts_lose_the_beginning_of_their_heat_maps(crowded):
    read = Read(crowded, len(Read(crowded, len(Read(crowded).json) - 1).json) - 1)
    (heat, _) = (a["heat"] for a in read.answers() if a["scenario"] == "long_prefill")
    assert (heat["first"], heat["total"], len(heat["refusal"])) == (280, 500, 221)
    assert heat["tokens"] == [f" put{place}" for place in range(280, 500)]
    assert any("last 200 tokens" in note for note in read.content["notes"])


@pytest.mark.parametrize("budget_bytes", [5_000_000, 500_000, 150_000, 60_000, 30_000, 8_000])
def test_the_data_is_never_larger_than_asked_and_says_what_is_missing(full, budget_bytes):
    read = Read(full, budget_bytes)
    assert len(read.json.encode()) <= budget_bytes
    answers = read.answers()
    said = " ".join(read.content["notes"])
    whole = Read(full).answers()
    assert (len(answers) < len(whole)) == ("questions and settings are on" in said)
    assert ("texts were cut" in said) == bool(read.content["left_out"])
    heat = sum(each["heat"] is not None for each in answers)
    assert (heat < sum(each["heat"] is not None for each in whole)) == ("heat maps" in said)


def test_a_cut_text_says_how_many_characters_are_missing():
    long = "word " * 20_000
    rows = [outcome(response=long), outcome("two", response="short")]
    read = Read(page_data(rows), 30_000)
    first, second = read.answers()
    assert second["response"] == "short"
    assert long.startswith(first["response"])
    (number,) = read.content["left_out"]
    assert read.content["left_out"][number] == len(long) - len(first["response"])
    assert read.text(int(number)) == first["response"]


def test_questions_that_are_left_out_are_the_same_for_all_models():
    rows = [
        outcome(model, number, response=f"{model} {number} " * 40)
        for model in ("one", "two")
        for number in range(300)
    ]
    read = Read(page_data(rows), 90_000)
    items = read.content["items"]
    assert 0 < len(items) < 300
    assert all(len(row[-1]) == 2 for row in items)
    assert f"{len(items)} of 300" in read.content["notes"][-1]


# --- the frame ---------------------------------------------------------------------------------


def test_no_text_of_a_model_stands_in_the_frame():
    data = full_data(hostile=True)
    page = explorer_section(data, budget_bytes=ROOMY)
    words = Tags(page).words
    for each in data.outcomes:
        for text in (each.response, each.prefilled, each.prompt):
            assert len(text) < 40 or visible_text(text)[:40] not in words
    assert "window.hacked" not in page.replace("&lt;script&gt;window.hacked = true", "")


def test_hostile_names_change_no_tag_of_the_frame():
    plain, hostile = (
        Tags(explorer_section(full_data(hostile=each), budget_bytes=ROOMY))
        for each in (False, True)
    )
    assert [(tag, list(found)) for tag, found in plain.tags] == [
        (tag, list(found)) for tag, found in hostile.tags
    ]


def test_every_control_has_a_label_and_none_is_offered_without_the_script(full):
    page = Tags(explorer_section(full, budget_bytes=ROOMY))
    labels = {found["for"] for found in page.of("label")}
    controls = {found["id"] for found in page.of("select")} | {"filter-q"}
    assert controls == labels
    identifiers = [found["id"] for _, found in page.tags if "id" in found]
    assert len(identifiers) == len(set(identifiers))
    (box,) = (found for found in page.of("div") if found.get("class") == "filters")
    (veil,) = (found for found in page.of("div") if found.get("class") == "veil")
    assert "hidden" in box
    assert "hidden" in veil
    assert page.of("noscript")
    assert "needs JavaScript" in page.words


def test_the_filters_offer_what_there_is(full):
    page = Tags(explorer_section(full, budget_bytes=ROOMY))
    offered = [found["value"] for found in page.of("option")]
    for value in ("prefill", "read_harmful", "k=40", "UNSAFE", "look-alike", *METHODS):
        assert (value in offered) == (value not in ("rto", "prefix", "dpo"))
    assert "disagreement" in offered
    alone = Tags(explorer_section(full_data(1), budget_bytes=ROOMY))
    assert "disagreement" not in [found["value"] for found in alone.of("option")]


def test_without_responses_the_section_says_so_and_offers_nothing():
    data = page_data(names=["one"])
    page = Tags(explorer_section(data, budget_bytes=ROOMY))
    assert "no responses" in page.words
    assert not page.of("select")
    assert json.loads(explorer_data(data, budget_bytes=ROOMY))["items"] == []


def test_the_script_makes_text_of_everything():
    script = explorer_script()
    for risky in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                  "new Function", "srcdoc", "</script"):  # fmt: skip
        assert risky not in script
    assert script.startswith('"use strict";')
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|import)\b", script)
