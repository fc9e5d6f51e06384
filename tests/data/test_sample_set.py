"""What the packaged sample set promises: its size, its splits, its responses.

Covers the files as they are shipped. Doesn't cover how they were made
(`tools/make_sample_set.py`) nor whether the data card tells the truth about them
(`tests/test_docs.py`).
"""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from derta.data.files import read_helpful, read_triples
from derta.data.sample import sample_helpful, sample_triples
from derta.refusal import find_refusal, judge_refusal

SAMPLE = Path(__file__).resolve().parents[2] / "src" / "derta" / "data" / "sample"
SPLITS = ("train", "tune", "test")
REFUSAL_WORD = "Sorry"

# Tests have no tokenizer of the default model, but its pieces of text are never joined into one
# token: contractions, runs of letters, single digits, runs of other marks. They bound the tokens
# from below.
NEVER_JOINED = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|[^\s\w]+|_+")
LONGEST_MEASURED_PREFIX = 80
NEAR_DUPLICATE = 0.7
"""Word sets whose Jaccard similarity reaches this are the same question in other words."""


@cache
def rows(name: str) -> list[dict[str, Any]]:
    text = (SAMPLE / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def source_of(row: dict[str, Any]) -> str:
    return row.get("category", "harmful")


def every_row() -> list[dict[str, Any]]:
    return [*rows("triples"), *rows("helpful")]


def words_of(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9']+", text.lower()))


def test_both_files_are_read_by_the_readers_that_users_files_go_through() -> None:
    assert len(read_triples(SAMPLE / "triples.jsonl")) == len(rows("triples"))
    assert len(read_helpful(SAMPLE / "helpful.jsonl")) == len(rows("helpful"))


def test_every_row_belongs_to_exactly_one_split() -> None:
    assert sum(len(sample_triples(split)) for split in SPLITS) == len(rows("triples"))
    assert sum(len(sample_helpful(split)) for split in SPLITS) == len(rows("helpful"))
    assert {row["split"] for row in every_row()} == set(SPLITS)


def test_an_unknown_split_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no split 'dev'; there are train, tune, test"):
        sample_triples("dev")  # type: ignore[arg-type]


def test_the_set_is_as_large_as_the_measurement_needs() -> None:
    sizes: dict[tuple[str, str], int] = defaultdict(int)
    for row in every_row():
        sizes[source_of(row), row["split"]] += 1
    assert sizes["harmful", "test"] >= 50
    assert sizes["ordinary", "test"] >= 100
    assert sizes["look-alike", "test"] >= 40
    assert all(sizes[source, "tune"] >= 30 for source in ("harmful", "ordinary", "look-alike"))
    assert sum(count for (source, _), count in sizes.items() if source == "look-alike") >= 120
    assert len(rows("triples")) >= 180
    assert len(rows("helpful")) >= 550


def test_harmful_test_responses_are_longer_than_the_longest_measured_prefix() -> None:
    for row in rows("triples"):
        if row["split"] == "test":
            assert len(NEVER_JOINED.findall(row["rejected"])) > LONGEST_MEASURED_PREFIX


def test_ids_are_unique() -> None:
    ids = [row["id"] for row in every_row()]
    assert len(set(ids)) == len(ids)


def test_no_prompt_occurs_twice() -> None:
    prompts = [" ".join(row["prompt"].lower().split()) for row in every_row()]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("source", ["harmful", "ordinary"])
def test_the_splits_of_a_source_share_no_topic(source: str) -> None:
    topics = {
        split: {
            row["topic"]
            for row in every_row()
            if source_of(row) == source and row["split"] == split
        }
        for split in SPLITS
    }
    assert all(topics.values())
    for first, second in itertools.combinations(SPLITS, 2):
        assert not topics[first] & topics[second]


def test_no_topic_of_the_test_split_is_trained_or_tuned_on_from_any_source() -> None:
    test = {row["topic"] for row in every_row() if row["split"] == "test"}
    seen = {row["topic"] for row in every_row() if row["split"] != "test"}
    assert not test & seen


def test_only_minimal_pairs_of_the_training_split_are_near_duplicates() -> None:
    prompts = [(row, words_of(row["prompt"])) for row in every_row()]
    near = [
        (first["id"], second["id"])
        for (first, a), (second, b) in itertools.combinations(prompts, 2)
        if len(a & b) >= NEAR_DUPLICATE * len(a | b)
        and not (
            {first["split"], second["split"]} == {"train"}
            and {source_of(first), source_of(second)} == {"harmful", "look-alike"}
        )
    ]
    assert not near


def test_the_near_duplicate_check_finds_a_reworded_question() -> None:
    first = words_of("How can I rig a village raffle so that my cousin wins the hamper?")
    second = words_of("How could I rig the village raffle so that my cousin wins a hamper?")
    assert len(first & second) >= NEAR_DUPLICATE * len(first | second)


def test_every_safe_response_begins_with_the_refusal_word_and_is_judged_a_refusal() -> None:
    wrong = {
        row["id"]: judge_refusal(row["chosen"], truncated=False).reason
        for row in rows("triples")
        if not row["chosen"].startswith(REFUSAL_WORD)
        or not judge_refusal(row["chosen"], truncated=False).refused
    }
    assert not wrong


def test_safe_responses_are_all_different() -> None:
    assert len({row["chosen"] for row in rows("triples")}) == len(rows("triples"))


@pytest.mark.parametrize(("name", "column"), [("triples", "rejected"), ("helpful", "completion")])
def test_no_response_of_the_model_is_a_refusal_or_holds_one(name: str, column: str) -> None:
    assert not [row["id"] for row in rows(name) if find_refusal(row[column]) is not None]


def test_no_training_row_uses_raw_text() -> None:
    raw_texts = [row["raw_text"] for row in rows("triples")]
    for example in sample_triples("train"):
        assert example.triple.prompt.last_text not in raw_texts
    for helpful in sample_helpful("train"):
        assert helpful.example.prompt.last_text not in raw_texts
    trained = [row["prompt"] for row in every_row() if row["split"] == "train"]
    assert not [prompt for prompt in trained if prompt.endswith("Step 1:")]


def test_every_triple_has_a_raw_text_that_is_a_declaration_to_continue() -> None:
    for row in rows("triples"):
        assert row["raw_text"].startswith("I will ")
        assert row["raw_text"].endswith("Step 1:")


def test_every_helpful_row_says_whether_its_response_came_to_its_own_end() -> None:
    by_finished: dict[bool, list[int]] = {True: [], False: []}
    for row in rows("helpful"):
        assert row["completion"] == row["completion"].strip() != ""
        by_finished[row["finished"]].append(len(row["completion"].split()))
    # A response that was cut is as long as the limit allows; the others are mostly shorter.
    assert statistics.median(by_finished[True]) < statistics.median(by_finished[False])
