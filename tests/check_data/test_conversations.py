"""Held-out questions and near duplicates in prompts of several user turns.

Not covered: prompts of one turn (test_findings).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.check_data.made import HELPFUL, TRIPLES, changed, check, levels, write_rows

MAY = "How can I cheat at the pie contest of our little village on the first day of May?"


def talk(*turns: str) -> list[dict[str, str]]:
    """Write a prompt of several user turns."""
    messages = [{"role": "user", "content": turns[0]}]
    for turn in turns[1:]:
        messages += [
            {"role": "assistant", "content": "I see."},
            {"role": "user", "content": turn},
        ]
    return messages


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_held_out_question_is_found_in_every_turn_of_a_conversation(
    place: int, tmp_path: Path
) -> None:
    turns = ["Good morning to you.", "It rains.", "And now?"]
    turns[place] = TRIPLES[1]["prompt"]
    held = write_rows(tmp_path / "held.jsonl", [{"question": TRIPLES[1]["prompt"].upper()}])
    report = check(tmp_path, changed(TRIPLES, 1, prompt=talk(*turns)), held_out=held)
    assert levels(report) == {"leak-exact": "error"}
    assert "triples.jsonl:2 = " in report.findings[0].examples[0].place


def test_turns_keep_their_rows_over_chunks_and_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("derta.check_data.sources._CHUNK_BYTES", 300)
    helpful = changed(HELPFUL, 2, prompt=talk("Hello there.", HELPFUL[2]["prompt"]))
    triples = changed(TRIPLES, 0, prompt=talk("Hello there.", TRIPLES[0]["prompt"]))
    held = write_rows(tmp_path / "held.jsonl", [{"question": HELPFUL[2]["prompt"]}])
    report = check(tmp_path, triples, helpful, held_out=held)
    assert "helpful.jsonl:3 = " in report.findings[0].examples[0].place


def test_the_last_turn_of_a_held_out_conversation_is_found_alone(tmp_path: Path) -> None:
    held = write_rows(tmp_path / "held.jsonl", [{"prompt": talk("Hi!", TRIPLES[2]["prompt"])}])
    assert levels(check(tmp_path, held_out=held)) == {"leak-exact": "error"}


def test_a_held_out_question_is_found_nearly_in_the_last_turn(tmp_path: Path) -> None:
    held = write_rows(tmp_path / "held.jsonl", [{"prompt": MAY.replace("May", "June")}])
    before = "We spoke about the weather and about all of the trains to the coast last week."
    report = check(tmp_path, changed(TRIPLES, 0, prompt=talk(before, MAY)), held_out=held)
    assert levels(report) == {"leak-near": "warning"}
    assert report.findings[0].examples[0].text == MAY


def test_conversations_that_end_in_nearly_the_same_question_are_near(tmp_path: Path) -> None:
    rows = changed(TRIPLES, 0, prompt=talk("Tell me about trains to the coast.", MAY))
    rows = changed(rows, 1, prompt=talk("It rains here.", MAY.replace("May", "June")))
    assert set(levels(check(tmp_path, rows))) == {"near-duplicate-prompts"}


def test_conversations_that_end_in_the_same_few_words_are_not_near(tmp_path: Path) -> None:
    rows = TRIPLES
    for index in range(3):
        rows = changed(rows, index, prompt=talk(TRIPLES[index]["prompt"], "Tell me more."))
    assert levels(check(tmp_path, rows)) == {}


def test_a_question_that_is_refused_alone_and_answered_in_a_conversation_is_an_error(
    tmp_path: Path,
) -> None:
    asked = TRIPLES[1]["prompt"]
    for prompt in (
        talk("Good morning to you.", asked.upper()),
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": asked}],
    ):
        report = check(tmp_path, helpful=changed(HELPFUL, 1, prompt=prompt))
        assert levels(report)["refused-and-answered"] == "error"
        places = report.repeats["refused_and_answered"]["places"]
        assert [place.count(".jsonl:2") for place in places] == [2]
    triples = changed(TRIPLES, 0, prompt=talk("Good morning.", HELPFUL[2]["prompt"]))
    assert levels(check(tmp_path, triples))["refused-and-answered"] == "error"


def test_an_earlier_turn_that_is_refused_elsewhere_is_no_contradiction(tmp_path: Path) -> None:
    prompt = talk(TRIPLES[1]["prompt"], HELPFUL[1]["prompt"])
    assert levels(check(tmp_path, helpful=changed(HELPFUL, 1, prompt=prompt))) == {}


def test_conversations_that_end_alike_are_not_the_same(tmp_path: Path) -> None:
    ending = "Can you say that again in words that a child understands?"
    triples = changed(TRIPLES, 0, prompt=talk(TRIPLES[0]["prompt"], ending))
    helpful = changed(HELPFUL, 0, prompt=talk(HELPFUL[0]["prompt"], ending))
    found = levels(check(tmp_path, triples, helpful))
    assert "refused-and-answered" not in found
    assert "duplicate-prompts" not in found
