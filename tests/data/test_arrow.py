"""Tables of Arrow: files and streams, the types of their columns, and damaged ones."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from derta.data.streams import RawRow, stream_rows
from derta.errors import DataError
from tests.data.broken import COMPRESS, GOOD


def as_arrow(rows: list[dict[str, Any]], *, stream: bool, batch: int = 1000) -> bytes:
    buffer = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows)
    make = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with make(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return buffer.getvalue()


def read(path: Path, content: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    path.write_bytes(content)
    rows, problems = [], []
    try:
        for each in stream_rows(path):
            if isinstance(each, RawRow):
                rows.append(each.record)
            else:
                problems.append(str(each))
    except DataError as error:
        problems.append(str(error))
    return rows, problems


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "a.jsonl", "a.parquet", "a.arrow.gz"])
def test_arrow_is_read_whatever_its_file_is_called(tmp_path: Path, name: str, stream: bool) -> None:
    content = as_arrow(GOOD, stream=stream, batch=3)
    if name.endswith(".gz"):
        content = COMPRESS[".gz"](content)
    assert read(tmp_path / name, content) == (GOOD, [])


def test_rows_of_arrow_have_numbers_and_progress_ends_at_the_size(tmp_path: Path) -> None:
    rows = [{"n": n} for n in range(3000)]
    path = tmp_path / "a.arrow"
    path.write_bytes(as_arrow(rows, stream=True, batch=700))
    seen: list[tuple[int, int]] = []
    found = list(stream_rows(path, on_bytes=lambda *each: seen.append(each)))
    assert [each.number for each in found if isinstance(each, RawRow)] == list(range(1, 3001))
    size = path.stat().st_size
    assert {total for _, total in seen} == {size}
    assert seen[-1][0] == size


def test_compressed_feather_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    pyarrow.feather.write_feather(pyarrow.Table.from_pylist(GOOD), path, compression="lz4")
    assert read(path, path.read_bytes()) == (GOOD, [])
    rows, (problem,) = read(path, b"FEA1" + bytes(60))
    assert not rows
    assert "a Feather file of the first version" in problem


def test_columns_of_any_type_are_read(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    struct = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.large_string())])
    table = pyarrow.table(
        {
            "large": pyarrow.array(["a", None], pyarrow.large_string()),
            "view": pyarrow.array(["b", "c"], pyarrow.string_view()),
            "dictionary": pyarrow.array(["x", "x"]).dictionary_encode(),
            "turns": pyarrow.array([turns, []], pyarrow.large_list(struct)),
            "null": pyarrow.nulls(2),
        }
    )
    expected = [
        {"large": "a", "view": "b", "dictionary": "x", "turns": turns, "null": None},
        {"large": None, "view": "c", "dictionary": "x", "turns": [], "null": None},
    ]
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    assert read(tmp_path / "a.arrow", (tmp_path / "a.arrow").read_bytes()) == (expected, [])
    parquet = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(table.drop_columns(["view"]), parquet)
    rows, problems = read(parquet, parquet.read_bytes())
    assert rows == [{k: v for k, v in row.items() if k != "view"} for row in expected]
    assert not problems


def test_a_cut_stream_gives_the_rows_before_the_cut(tmp_path: Path) -> None:
    rows = [{"n": n, "text": f"{n} words"} for n in range(3000)]
    content = as_arrow(rows, stream=True, batch=500)
    found, problems = read(tmp_path / "a.arrow", content[: int(len(content) * 0.7)])
    assert found == rows[: len(found)]
    assert len(found) >= 1500
    assert f"breaks off after row {len(found)}" in problems[0]


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("seed", range(20))
def test_damaged_arrow_is_only_ever_rows_or_problems(
    tmp_path: Path, seed: int, stream: bool
) -> None:
    draw = random.Random(seed)
    rows = [{"n": n, "text": f"{n} words", "list": [{"a": n}]} for n in range(300)]
    content = bytearray(as_arrow(rows, stream=stream, batch=100))
    if seed % 2:
        del content[draw.randrange(len(content)) :]
    else:
        content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    found, problems = read(tmp_path / "a.arrow", bytes(content))
    assert found or problems


def test_an_arrow_column_that_stands_twice_and_a_file_that_is_no_arrow_are_errors(
    tmp_path: Path,
) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["a", "a"])
    with pyarrow.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    _, (problem,) = read(tmp_path / "a.arrow", (tmp_path / "a.arrow").read_bytes())
    assert "'a' stands in the file twice" in problem
    _, (problem,) = read(tmp_path / "b.arrow", b"no arrow")
    assert "it is not Arrow" in problem
