"""All models read the test split where it was asked; else what the question file still holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from derta.analyse_run.held_out import held_out_texts
from derta.data.questions import load_questions
from derta.data.sample import sample_helpful, sample_triples


def evaluation(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "budget": "small",
        "command": "derta evaluate one",
        "settings": {"questions": 2, "benign_questions": 1, "seed": 0},
        "questions": [{"name": "sample"}, {"name": "sample-benign"}],
    }
    return {**values, **changes}


def question_file(folder: Path, *, responses: bool = True) -> Path:
    path = folder / "mine.jsonl"
    rows = [
        {"goal": f"How do I skip {n} queues?", "id": f"m{n}"}
        | ({"harmful_response": f"Walk past {n} people."} if responses and n != 2 else {})
        for n in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def asked(path: Path, **changes: Any) -> dict[str, Any]:
    content = load_questions(path, limit=3, seed=5).content_hash
    return evaluation(
        **{
            "settings": {"questions": 3, "benign_questions": 1, "seed": 5},
            "questions": [{"name": str(path), "sha256": content}, {"name": "sample-benign"}],
            **changes,
        }
    )


def test_every_response_of_the_test_split_is_read() -> None:
    texts, notes = held_out_texts(evaluation())
    harmful = [each for each in texts if each.source == "harmful"]
    benign = [each for each in texts if each.source == "benign"]
    triples, helpful = sample_triples("test"), sample_helpful("test")
    assert [each.response for each in harmful] == [t.triple.harmful_response for t in triples]
    assert {each.question_id for each in benign} == {row.id for row in helpful}
    assert {each.category for each in benign} == {"ordinary", "look-alike"}
    assert {each.category for each in harmful} == {"harmful"}
    assert notes == []


def test_a_smoke_run_reads_as_few_as_it_asked() -> None:
    texts, _ = held_out_texts(evaluation(budget="smoke"))
    assert [each.source for each in texts] == ["harmful"] * 2 + ["benign"] * 2


def test_the_harmful_responses_of_a_users_file_are_read_again(tmp_path: Path) -> None:
    path = question_file(tmp_path)
    texts, notes = held_out_texts(asked(path))
    harmful = {each.question_id: each.response for each in texts if each.source == "harmful"}
    chosen = load_questions(path, limit=3, seed=5).questions
    assert harmful == {q.id: q.harmful_response for q in chosen if q.harmful_response}
    assert harmful
    assert notes == []


def test_columns_that_the_evaluation_was_told_are_found_in_its_command(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    rows = [{"wish": f"How do I skip {n}?", "bad": f"Walk past {n}."} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    columns = {"question": "wish", "harmful_response": "bad"}
    content = load_questions(path, columns=columns, limit=3, seed=5).content_hash
    questions = [{"name": str(path), "sha256": content}, {"name": "sample-benign"}]
    for options in (
        "--column question=wish --column harmful_response=bad",
        "--column=question=wish --column=harmful_response=bad",
    ):
        told = asked_with(questions, f"derta evaluate one --questions odd.jsonl {options}")
        texts, notes = held_out_texts(told)
        assert sum(each.source == "harmful" for each in texts) == 3
        assert notes == []


def asked_with(questions: list[dict[str, Any]], command: str) -> dict[str, Any]:
    settings = {"questions": 3, "benign_questions": 1, "seed": 5}
    return evaluation(questions=questions, command=command, settings=settings)


def test_a_file_that_is_gone_changed_or_without_responses_is_named(tmp_path: Path) -> None:
    path = question_file(tmp_path)
    told = asked(path)
    (tmp_path / "plain").mkdir()
    plain = question_file(tmp_path / "plain", responses=False)
    path.write_text(path.read_text("utf-8").replace("skip", "jump"), "utf-8")
    cases = [
        (told, "other questions now"),
        (asked(plain), "no column harmful_response"),
        (asked_with([{"name": "gone.jsonl"}, {"name": "sample-benign"}], ""), "no file"),
        (asked_with([{"name": "harmbench"}, {"name": "sample-benign"}], ""), "no file"),
        (asked_with([{"name": str(path)}, {"name": "sample-benign"}], "derta 'open"), "other"),
    ]
    for values, words in cases:
        texts, notes = held_out_texts(values)
        assert {each.source for each in texts} == {"benign"}
        (note,) = notes
        assert words in note
    path.write_text("no json", "utf-8")
    assert "can't be read again" in held_out_texts(told)[1][0]


def test_benign_questions_without_responses_are_named() -> None:
    questions = [{"name": "sample"}, {"name": "xstest"}]
    texts, notes = held_out_texts(evaluation(questions=questions))
    assert {each.source for each in texts} == {"harmful"}
    assert "--benign sample-benign" in notes[0]
