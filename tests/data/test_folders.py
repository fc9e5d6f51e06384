"""Folders and splits: which files are read, and that a split is honoured or is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from derta.data.streams import RawRow, stream_rows
from derta.errors import DataError, InputProblem
from tests.data.broken import GOOD, as_lines, as_parquet
from tests.data.test_arrow import as_arrow


def write(folder: Path, name: str, content: bytes = b'{"a": 1}\n') -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def records(source: Path, split: str | None = None) -> list[dict[str, Any]]:
    return [each.record for each in stream_rows(source, split=split) if isinstance(each, RawRow)]


def error_of(source: Path, split: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        list(stream_rows(source, split=split))
    return str(caught.value)


PLAIN = {
    "a.jsonl": as_lines(GOOD),
    "a.json": json.dumps(GOOD).encode(),
    "b.json": json.dumps(GOOD[0], indent=2).encode(),
    "a.csv": b"a,b\n1,2\n",
    "a.tsv": b"a\tb\n1\t2\n",
    "a.parquet": as_parquet(GOOD),
    "a.arrow": as_arrow(GOOD, stream=True),
    "a.txt": b"How?\n",
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_split_of_a_file_that_has_none_is_an_error_with_a_remedy(
    tmp_path: Path, name: str
) -> None:
    path = write(tmp_path, name, PLAIN[name])
    assert records(path)
    said = error_of(path, "train")
    assert "a split was named, but this file has none" in said
    assert "Leave --split out" in said


def test_a_long_list_under_any_key_is_found_by_its_name(tmp_path: Path) -> None:
    rows = [{"text": "x" * 1000, "n": n} for n in range(200)]
    path = write(tmp_path, "a.json", json.dumps({"mine": rows[:150], "other": rows[150:]}).encode())
    assert records(path, "other") == rows[150:]
    assert records(path, "mine") == rows[:150]


def test_the_files_of_a_split_are_read_with_all_care(tmp_path: Path) -> None:
    write(tmp_path, "train-00000-of-00002.jsonl", as_lines(GOOD[:2]) + b"{broken\n")
    write(tmp_path, "train-00001-of-00002.jsonl", as_lines(GOOD[2:4]))
    write(tmp_path, "dev.csv", b"a,b;c\n1;2\n")
    write(tmp_path, "test/part.parquet", as_parquet(GOOD[4:]))
    for split in (None, "train", "TRAIN", "training"):
        found = list(stream_rows(tmp_path, split=split))
        assert [each.record for each in found if isinstance(each, RawRow)] == GOOD[:4]
        (problem,) = [each for each in found if isinstance(each, InputProblem)]
        assert problem.line == 3
    assert records(tmp_path, "validation") == records(tmp_path, "dev") == [{"a,b": "1", "c": "2"}]
    assert records(tmp_path, "test") == GOOD[4:]
    said = error_of(tmp_path, "nonsense")
    assert "no file of a split 'nonsense'" in said
    assert "train, validation, test" in said


def test_any_word_of_the_names_is_a_split(tmp_path: Path) -> None:
    write(tmp_path, "harmful_v1.jsonl", as_lines(GOOD[:3]))
    write(tmp_path, "harmless.jsonl", as_lines(GOOD[3:]))
    assert records(tmp_path, "harmful") == GOOD[:3]
    assert records(tmp_path) == GOOD
    said = error_of(tmp_path, "train")
    assert "Leave --split out, or name the files themselves" in said


def test_several_splits_without_one_to_train_on_ask_for_a_choice(tmp_path: Path) -> None:
    write(tmp_path, "test.jsonl")
    write(tmp_path, "valid.jsonl")
    said = error_of(tmp_path)
    assert "files of several splits: validation, test" in said
    assert "--split" in said


def test_files_that_only_describe_data_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "rows.jsonl", as_lines(GOOD))
    for name in ("README.md", "notes.txt", "dataset_info.json", "config.json"):
        write(tmp_path, name)
    write(tmp_path, "cache-0123456789abcdef.arrow", as_arrow(GOOD, stream=True))
    assert records(tmp_path) == GOOD
    imported = tmp_path / "imported"
    write(imported, "triples.jsonl", as_lines(GOOD[:1]))
    write(imported, "import.json", json.dumps({"derta": "1", "sources": [{"a": 1}]}).encode())
    assert records(imported) == GOOD[:1]
    alone = tmp_path / "alone"
    write(alone, "import.json")  # of somebody who calls data so
    assert records(alone) == [{"a": 1}]
