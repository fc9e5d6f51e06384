"""The file of outcomes keeps everything, and an older derta's file still reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from derta.analysis.outcomes import read_outcomes, sample_id, write_outcomes
from derta.errors import DataError
from tests.analysis.making import outcome, refusal

ADDED = ("refusal_start", "words_before_refusal", "tokens_before_refusal", "exposed_words")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    outcomes = [outcome(1), refusal(2, 4), outcome(3, details={"calls": 3}, score=0.5)]
    write_outcomes(path, outcomes)
    assert read_outcomes(path) == outcomes


def test_a_file_of_before_the_refusals_place_was_kept_still_reads(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    row = asdict(refusal(1, 7))
    old = {name: value for name, value in row.items() if name not in ADDED}
    path.write_text(json.dumps(old) + "\n", encoding="utf-8")
    (read,) = read_outcomes(path)
    assert read.refused
    assert [getattr(read, name) for name in ADDED] == [None] * 4


def test_a_line_without_a_field_that_must_be_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    row = asdict(outcome(1))
    del row["verdict"]
    path.write_text(json.dumps(asdict(outcome(0))) + "\n" + json.dumps(row) + "\n", "utf-8")
    with pytest.raises(DataError, match=r"outcomes\.jsonl:2: is not an outcome .*verdict"):
        read_outcomes(path)


@pytest.mark.parametrize(
    ("parts", "name"),
    [(("prefill", "k=20", "q7"), "prefill/k=20/q7"), (("direct", "", "q7"), "direct/q7")],
)
def test_a_sample_is_named_by_what_tells_it_apart(parts: tuple[str, str, str], name: str) -> None:
    assert sample_id(*parts) == name
