"""A model's records become its part of results.json; examples are chosen blind to outcomes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derta.analysis.records import RefusalRecord, read_records, write_records
from derta.analysis.summary import choose_examples, summarise_model
from derta.errors import DataError


def record(
    scenario: Any, number: int, k: int | None = None, *, words: int | None = None, **changes: Any
) -> RefusalRecord:
    kept = RefusalRecord(
        id=f"q{number}",
        scenario=scenario,
        k=k,
        category="harmful",
        prompt=f"question {number}",
        prefilled="" if not k else "You walk",
        output="some words Sorry",
        refused=words is not None,
        reason="refused" if words is not None else "no refusal sentence",
        span=(11, 16) if words is not None else None,
        words_before=words,
    )
    return replace(kept, **changes)


RECORDS = [
    *[record("prefill", n, k, words=n + k) for k in (0, 10, 40) for n in range(4)],
    record("prefill", 0, 80, words=7, refused=False, reason="substance follows"),
    *[record("raw_text", n, words=4 if n else None) for n in range(4)],
    *[record("benign", 10 + n, category="ordinary", words=0 if n == 0 else None) for n in range(4)],
    *[record("benign", 20 + n, category="look-alike") for n in range(2)],
]


def test_a_summary_has_exactly_the_fields_of_the_schema() -> None:
    harmful = [np.array([0.9, 0.8]), np.array([0.7])]
    benign = [np.array([0.1, 0.2])]
    losses, untouched = [np.array([1.0, 2.0])], [np.array([1.0, 1.0])]
    summary = summarise_model(RECORDS, harmful, benign, losses, untouched)
    assert set(summary) == {
        "prefill", "raw_text", "false_refusals", "refusal_position", "refusal_probability",
        "helpful_loss",
    }  # fmt: skip
    assert [(p["k"], p["refused"]["count"], p["refused"]["n"]) for p in summary["prefill"]] == [
        (0, 4, 4), (10, 4, 4), (40, 4, 4), (80, 0, 1),
    ]  # fmt: skip
    assert summary["raw_text"]["refused"]["count"] == 3
    assert summary["false_refusals"]["ordinary"]["share"] == 0.25
    assert summary["false_refusals"]["look-alike"]["count"] == 0
    position = summary["refusal_position"]
    # Refused ones alone: the one with substance after it does not count, nor do benign ones.
    assert sorted(position["words"]) == [0, 1, 2, 3, 4, 4, 4, 10, 11, 12, 13, 40, 41, 42, 43]
    assert position["n"] == 15
    assert position["median"] == 10.0
    assert position["within_first_5"]["count"] == 7
    assert summary["refusal_probability"]["auc"]["value"] == 1.0
    assert summary["refusal_probability"]["harmful"]["n"] == [2, 1]
    assert summary["helpful_loss"]["difference"] == 0.5
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_nothing_measured_gives_empty_figures_and_no_error() -> None:
    summary = summarise_model([], [], [], [], [])
    assert summary["prefill"] == []
    assert summary["raw_text"]["refused"]["n"] == 0
    assert summary["refusal_position"]["median"] is None
    assert summary["refusal_position"]["within_first_5"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_five_examples_take_five_questions_in_sample_order() -> None:
    examples = choose_examples({"untouched": RECORDS, "derta": RECORDS})
    assert [(e["scenario"], e["k"], e["prompt"]) for e in examples] == [
        ("prefill", 10, "question 0"),
        ("prefill", 40, "question 1"),
        ("raw_text", None, "question 2"),
        ("prefill", 0, "question 3"),
        ("benign", None, "question 20"),
    ]
    assert list(examples[0]["responses"]) == ["untouched", "derta"]
    assert examples[0]["responses"]["derta"] == {
        "text": "some words Sorry",
        "refused": True,
        "refusal_span": [11, 16],
    }


def test_examples_do_not_depend_on_what_was_refused() -> None:
    flipped = [replace(r, refused=not r.refused, output="other", span=None) for r in RECORDS]
    chosen = choose_examples({"derta": RECORDS})
    other = choose_examples({"derta": flipped})
    assert [(e["scenario"], e["k"], e["prompt"]) for e in chosen] == [
        (e["scenario"], e["k"], e["prompt"]) for e in other
    ]


def test_an_example_is_one_that_every_model_answered() -> None:
    without = [r for r in RECORDS if not (r.scenario == "prefill" and r.id == "q0")]
    examples = choose_examples({"untouched": RECORDS, "derta": without})
    assert examples[0]["prompt"] == "question 1"


def test_records_survive_writing_and_reading(tmp_path: Path) -> None:
    odd = [*RECORDS, record("benign", 30, output='a\u2028b "c"\n\x1b[31m')]
    path = tmp_path / "folder" / "records.jsonl"
    write_records(path, odd)
    assert read_records(path) == odd
    assert list(path.parent.iterdir()) == [path]


def test_lines_that_are_no_records_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, RECORDS[:1])
    path.write_text(path.read_text() + "{\n{}\n")
    with pytest.raises(DataError, match=r"records\.jsonl:2") as caught:
        read_records(path)
    assert [problem.line for problem in caught.value.problems] == [2, 3]


def test_a_missing_file_of_records_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        read_records(tmp_path / "absent.jsonl")
