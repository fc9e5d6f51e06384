"""The stream of rows: every format, every kind of source, where a row stands, how far it got."""

from __future__ import annotations

import datetime
import gc
import json
import random
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from derta.attacks.records import read_records
from derta.data.streams import RawRow, stream_rows, stream_values
from derta.data.streams.bytes import line_blocks
from derta.data.streams.hub import HubSource
from derta.data.streams.layout import Shape, find_layout
from derta.data.streams.lists import list_values
from derta.data.streams.plain_values import plain_value
from derta.data.tables import read_table
from derta.errors import DataError, InputProblem
from tests.data.broken import COMPRESS, GOOD, as_lines, as_parquet


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(source: str | Path, **settings: Any) -> list[RawRow]:
    found = list(stream_rows(source, **settings))
    assert not [str(each) for each in found if isinstance(each, InputProblem)]
    return [each for each in found if isinstance(each, RawRow)]


def records_of(source: str | Path, **settings: Any) -> list[dict[str, Any]]:
    return [row.record for row in rows_of(source, **settings)]


def problems_of(source: str | Path, **settings: Any) -> list[str]:
    return [str(each) for each in stream_rows(source, **settings) if isinstance(each, InputProblem)]


def as_table(rows: Iterable[dict[str, Any]], delimiter: str) -> str:
    lines = [delimiter.join(f'"{value}"' for value in row.values()) for row in rows]
    return "\n".join([delimiter.join(GOOD[0]), *lines, ""])


def split(content: bytes, draw: random.Random) -> Iterator[bytes]:
    """Cut bytes into chunks of any size, some empty."""
    place = 0
    while place < len(content):
        size = draw.choice([0, 1, 2, 3, 7, 40, 500])
        yield content[place : place + size]
        place += size


# --- formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["", *COMPRESS])
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"])
def test_every_format_and_compression_gives_the_same_rows(
    tmp_path: Path, ending: str, compression: str
) -> None:
    content = {
        ".json": json.dumps(GOOD).encode(),
        ".csv": as_table(GOOD, ",").encode(),
        ".tsv": as_table(GOOD, "\t").encode(),
        ".parquet": as_parquet(GOOD),
    }.get(ending, as_lines(GOOD))
    compress = COMPRESS.get(compression, bytes)
    path = write(tmp_path, f"rows{ending}{compression}", compress(content))
    expected = GOOD
    if ending in (".csv", ".tsv"):
        expected = [{name: str(value) for name, value in row.items()} for row in GOOD]
    assert records_of(path) == expected


def test_a_row_says_where_it_stands(tmp_path: Path) -> None:
    lines = write(tmp_path, "a.jsonl", "\n" + json.dumps({"a": 1}) + "\n\n" + json.dumps({"a": 2}))
    assert [(row.line, row.number) for row in rows_of(lines)] == [(2, None), (4, None)]
    listed = write(tmp_path, "a.json", '[{"a": 1},\n\n{"a": 2}]')
    assert [(row.line, row.number) for row in rows_of(listed)] == [(None, 1), (None, 2)]
    table = write(tmp_path, "a.csv", 'a,b\n1,"x\ny"\n\n2,z\n')
    assert [(row.line, row.number) for row in rows_of(table)] == [(2, None), (5, None)]
    parquet = write(tmp_path, "a.parquet", as_parquet(GOOD))
    assert [row.number for row in rows_of(parquet)] == list(range(1, 9))
    row = rows_of(lines)[1]
    assert str(row.problem("the text is empty", "Fill it in", "a")) == (
        f"{lines}:4 (a): the text is empty. Fill it in"
    )
    row = rows_of(listed)[1]
    assert row.problem("it is odd", "Mend it").key == "row 2"
    assert row.problem("it is odd", "Mend it", "a").key == "row 2, a"


def test_csv_may_have_line_breaks_quotation_marks_semicolons_and_unnamed_columns(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "a.csv", 'a,b\r\n"one\r\ntwo","say ""no"""\r\n,\r\n')
    assert records_of(path) == [{"a": "one\r\ntwo", "b": 'say "no"'}, {"a": "", "b": ""}]
    path = write(tmp_path, "b.csv", '\ufeffa;"b, c"\n1;2,5\n')
    assert records_of(path) == [{"a": "1", "b, c": "2,5"}]
    path = write(tmp_path, "c.csv", ",a,\n0,x,y\n")
    assert records_of(path) == [{"column 1": "0", "a": "x", "column 3": "y"}]
    path = write(tmp_path, "d.tsv", "a\tb\n1;2\t3,4\n")
    assert records_of(path) == [{"a": "1;2", "b": "3,4"}]


def test_an_unclosed_quotation_mark_costs_one_line_however_long_the_file(tmp_path: Path) -> None:
    lines = ["a,b", *(f"{n},x" for n in range(5000))]
    lines[3] = '2,"x'
    path = write(tmp_path, "a.csv", "\n".join(lines))
    found = list(stream_rows(path))
    assert [each.record["a"] for each in found if isinstance(each, RawRow)] == [
        str(n) for n in range(5000) if n != 2
    ]
    assert [each.line for each in found if isinstance(each, InputProblem)] == [4]


def test_values_of_parquet_become_values_that_json_has(tmp_path: Path) -> None:
    row = {
        "text": "a",
        "day": datetime.date(2024, 2, 29),
        "time": datetime.datetime(2024, 2, 29, 1, 2, 3),
        "bytes": b"text",
        "picture": b"\x89PNG\xff",
        "price": Decimal("1.50"),
        "whole": Decimal("3"),
        "missing": float("nan"),
        "messages": [{"role": "user", "content": "How?"}],
        "null": None,
    }
    path = write(tmp_path, "a.parquet", as_parquet([row]))
    (found,) = records_of(path)
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "text": "a",
        "day": "2024-02-29",
        "time": "2024-02-29T01:02:03",
        "bytes": "text",
        "picture": "data:application/octet-stream;base64,iVBOR/8=",
        "price": 1.5,
        "whole": 3,
        "missing": None,
        "messages": [{"role": "user", "content": "How?"}],
        "null": None,
    }
    maps = pyarrow.array([[("a", 1), ("b", 2)]], pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    pyarrow.parquet.write_table(pyarrow.table({"map": maps}), tmp_path / "b.parquet")
    assert records_of(tmp_path / "b.parquet") == [{"map": {"a": 1, "b": 2}}]
    assert plain_value([("a", 1), ("a", 2)]) == [["a", 1], ["a", 2]]
    assert plain_value(object()) == "<object>"
    assert plain_value(datetime.timedelta(minutes=1)) == 60
    assert plain_value(Decimal("0.1000000000000000000000001")) == "0.1000000000000000000000001"


def test_a_parquet_column_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["a", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="'a' stands in the file twice"):
        rows_of(tmp_path / "a.parquet")


# --- the layouts of JSON ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_list_is_cut_as_the_json_parser_would_however_its_bytes_arrive(seed: int) -> None:
    draw = random.Random(seed)
    parts = ["\\", '"', "{", "}", "[", "]", ",", ":", "\n", " ", "a", "é", "😀", "\u2028", '{"id":']

    def value(depth: int) -> Any:
        kind = draw.randrange(7 if depth < 4 else 4)
        if kind < 2:
            return "".join(draw.choices(parts, k=draw.randrange(8)))
        if kind < 4:
            return draw.choice([0, -1.5, 1e-9, True, False, None, 2**70])
        if kind == 4:
            return [value(depth + 1) for _ in range(draw.randrange(4))]
        return {f"{draw.choice(parts)}{n}": value(depth + 1) for n in range(draw.randrange(4))}

    values = [value(0) for _ in range(40)]
    for indent in (None, 0, 3):
        text = json.dumps(values, indent=indent, ensure_ascii=bool(seed % 2)).encode()
        found = list(list_values(split(text, draw)))
        assert found == [(each, None, n) for n, each in enumerate(values, start=1)]


@pytest.mark.parametrize("seed", range(10))
def test_lines_are_those_of_the_text_however_its_bytes_arrive(seed: int) -> None:
    draw = random.Random(seed)
    text = bytes(draw.choice(b"ab\n\r") for _ in range(2000))
    expected = text.split(b"\n")
    found: list[bytes | None] = []
    for number, lines in line_blocks(split(text, draw), b"\n"):
        assert number == len(found) + 1
        found += lines
    assert found == (expected if expected[-1] else expected[:-1])
    short = [line if line is None or len(line) <= 4 else None for line in found]
    cut = [line for _, lines in line_blocks(split(text, draw), b"\n", longest=4) for line in lines]
    assert cut == short


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ('{"a": 1}\n{"a": 2}', Shape.LINES),
        ('{"a": 1}', Shape.LINES),
        ('{"a": \n{"a": 2}', Shape.LINES),  # a broken first line
        ('{\n{"a": 2}', Shape.LINES),
        ('{"messages": [\n{"messages": [{"role": "user"}]}', Shape.LINES),
        ('{"messages": [{"role": "user"}]}', Shape.LINES),
        ('{"data": [{"a": 1}]}\n{"data": [{"a": 2}]}', Shape.LINES),
        ("nonsense", Shape.LINES),
        ("[1]\n[2]", Shape.LINES),
        ("[1]", Shape.LIST),
        ("[\n{", Shape.LIST),
        ('[{"a": 1},\n{"a": 2}]', Shape.LIST),
        ('{\n "a": 1\n}', Shape.VALUES),
        ('{"a": {\n "b": 1\n}}\n', Shape.VALUES),
        ('{\n "messages": [\n{"role": "user"}]}', Shape.VALUES),
        ('{"data": [{"a": 1}]}', Shape.CONTAINER),
        ('{"anything": [{"a": 1}]}', Shape.CONTAINER),
        ('{\n "version": 1, "about": {"by": "me"}, "tags": [], "x": [ {', Shape.CONTAINER),
        ('{"data": [\n{"a": 1},', Shape.CONTAINER),
    ],
)
def test_the_layout_of_json_is_told_from_its_beginning(text: str, shape: Shape) -> None:
    assert find_layout(text.encode(), b"\n", complete=True).shape is shape


def test_a_list_of_several_in_an_object_is_named_by_the_split(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", json.dumps({"train": GOOD[:3], "test": GOOD[3:]}))
    assert records_of(path, split="test") == GOOD[3:]
    found = list(stream_rows(path))
    assert [each.record for each in found if isinstance(each, RawRow)] == GOOD[:3]
    assert "second list, 'test', which is not read" in str(found[-1])
    with pytest.raises(DataError, match="no list 'dev'"):
        list(stream_rows(path, split="dev"))


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_called_train_is_read_wherever_it_stands(tmp_path: Path, indent: int | None) -> None:
    lists = {"test": GOOD[:2], "train": GOOD[2:]}
    for name, content in (
        ("a.json", json.dumps(lists, indent=indent).encode()),
        ("a.json.gz", COMPRESS[".gz"](json.dumps(lists, indent=indent).encode())),
    ):
        path = write(tmp_path, name, content)
        found = list(stream_rows(path))
        assert [each.record for each in found if isinstance(each, RawRow)] == GOOD[2:]
        assert "second list, 'test', which is not read" in str(found[-1])
        assert records_of(path, split="test") == GOOD[:2]
    alone = write(
        tmp_path, "b.json", json.dumps({"test": GOOD[:2], "note": "train"}, indent=indent)
    )
    assert records_of(alone) == GOOD[:2]


def test_what_stands_behind_a_list_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json", json.dumps(GOOD) + " more")
    assert "behind the end of the list" in problems_of(path)[0]
    path = write(tmp_path, "a.json", json.dumps(GOOD)[:-1])
    assert "the list has no end" in problems_of(path)[0]


def test_lists_that_were_joined_are_read_on_and_the_seam_is_named(tmp_path: Path) -> None:
    two = json.dumps(GOOD[:3], indent=1) + "\n" + json.dumps(GOOD[3:])
    inside = json.dumps([GOOD[0], GOOD[1:5], *GOOD[5:]])
    closed = json.dumps({"data": GOOD}).replace("}, {", "}]{", 1)
    for content, said in {
        two: "behind the end of the list",
        inside: "a list of their own",
        closed: "behind the end of the list",
    }.items():
        found = list(stream_rows(write(tmp_path, "a.json", content)))
        assert [each.record for each in found if isinstance(each, RawRow)] == GOOD
        (problem,) = [str(each) for each in found if isinstance(each, InputProblem)]
        assert said in problem


def test_a_long_list_in_one_line_is_found_in_its_object(tmp_path: Path) -> None:
    rows = [{"a": "x" * 1000, "n": n} for n in range(500)]
    assert records_of(write(tmp_path, "a.json", json.dumps({"examples": rows}))) == rows
    chats = [{"turns": [{"a": "x" * 300_000}]}, {"turns": []}]
    assert records_of(write(tmp_path, "a.jsonl", as_lines(chats))) == chats


def test_all_values_of_a_json_file_can_be_had_whatever_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "a.any", '["a", 1, null]')
    assert list(stream_values(path)) == [("a", None, 1), (1, None, 2), (None, None, 3)]
    path = write(tmp_path, "b.any", '"a"\n\n{"data": [{"b": 1}]}\n')
    assert list(stream_values(path)) == [("a", 1, None), ({"data": [{"b": 1}]}, 3, None)]
    assert [record.key for record in read_records(write(tmp_path, "c.json", "[1, 2]"))] == [
        "entry 1",
        "entry 2",
    ]


# --- progress and files ----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz"])
def test_progress_counts_the_bytes_of_the_file_up_to_its_size(tmp_path: Path, ending: str) -> None:
    rows = [{"n": n, "text": f"{n * 7919 % 10_007} words " * 20} for n in range(4000)]
    content = {
        ".json": json.dumps(rows).encode(),
        ".csv": b"n,text\n" + b"".join(f"{r['n']},{r['text']}\n".encode() for r in rows),
        ".parquet": as_parquet(rows),
        ".jsonl.gz": COMPRESS[".gz"](as_lines(rows)),
    }.get(ending, as_lines(rows))
    path = write(tmp_path, f"a{ending}", content)
    seen: list[tuple[int, int]] = []
    assert len(rows_of(path, on_bytes=lambda *each: seen.append(each))) == 4000
    assert {total for _, total in seen} == {len(content)}
    assert seen[-1][0] == len(content)
    if ending in (".jsonl", ".json", ".csv"):
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert len(seen) > 1


def test_a_stream_that_is_left_early_closes_its_file(tmp_path: Path) -> None:
    for name, content in {
        "a.jsonl": as_lines(GOOD * 20_000),
        "a.csv": ("a\n" + "1\n" * 200_000).encode(),
        "a.parquet": as_parquet(GOOD * 1000),
        "a.parquet.gz": COMPRESS[".gz"](as_parquet(GOOD * 1000)),
    }.items():
        stream = stream_rows(write(tmp_path, name, content))
        assert isinstance(next(stream), RawRow)
        del stream
        gc.collect()  # a file left open is a warning here, and warnings are errors
    open_files = Path("/proc/self/fd")
    if sys.platform == "linux":
        targets = [str(each.readlink()) for each in open_files.iterdir() if each.is_symlink()]
        assert not [target for target in targets if target.startswith(str(tmp_path))]


def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, "b.jsonl.gz", COMPRESS[".gz"](as_lines(GOOD[2:4])))
    write(tmp_path, "a.csv", "id\n0\n")
    write(tmp_path, "c/one.json", json.dumps(GOOD[4:]))
    write(tmp_path, "notes.txt", "not data")
    write(tmp_path, ".hidden/a.jsonl", as_lines(GOOD))
    seen: list[tuple[int, int]] = []
    rows = rows_of(tmp_path, on_bytes=lambda *each: seen.append(each))
    assert [row.record for row in rows] == [{"id": "0"}, *GOOD[2:]]
    names = [Path(row.path).name for row in rows]
    assert names == ["a.csv", "b.jsonl.gz", "b.jsonl.gz", *["one.json"] * 4]
    size = sum((tmp_path / name).stat().st_size for name in ("a.csv", "b.jsonl.gz", "c/one.json"))
    assert seen[-1] == (size, size)


def test_a_broken_file_of_a_folder_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", "")
    write(tmp_path, "b.jsonl", as_lines(GOOD))
    write(tmp_path, "c.parquet", "no parquet")
    found = list(stream_rows(tmp_path))
    assert [each.record for each in found if isinstance(each, RawRow)] == GOOD
    broken = [each.path for each in found if isinstance(each, InputProblem)]
    assert [Path(path).name for path in broken] == ["a.jsonl", "c.parquet"]
    write(tmp_path, "b.jsonl", " ")
    with pytest.raises(DataError) as caught:
        list(stream_rows(tmp_path))
    assert len(caught.value.problems) == 3


# --- data sets -------------------------------------------------------------------------------


def test_an_address_is_no_file_and_the_error_says_so() -> None:
    for address in ("https://example.org/rows.jsonl", "hf://datasets/owner/name"):
        with pytest.raises(DataError) as caught:
            stream_rows(address)
        assert f"{address}: this is an address" in str(caught.value)
        assert "Download the file and name it" in str(caught.value)


def test_a_hub_name_is_loaded_and_a_path_that_exists_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[HubSource] = []

    def load(hub: HubSource) -> Iterator[dict[str, Any]]:
        asked.append(hub)
        yield from ({**row, "day": datetime.date(2024, 1, 1)} for row in GOOD)

    for name in ("owner/name", "hub:owner/name", "owner/name:small"):
        rows = rows_of(name, split="train", load_hub=load)
        assert [row.number for row in rows] == list(range(1, 9))
        assert rows[0].record == {**GOOD[0], "day": "2024-01-01"}
        assert rows[0].path == name.removeprefix("hub:")
    assert [(hub.config, hub.split) for hub in asked] == [
        (None, "train"),
        (None, "train"),
        ("small", "train"),
    ]
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "owner/name/a.jsonl", as_lines(GOOD[:1]))
    assert records_of("owner/name", load_hub=load) == GOOD[:1]
    assert len(records_of("hub:owner/name", load_hub=load)) == 8


def test_a_data_set_that_breaks_off_gives_the_rows_before(tmp_path: Path) -> None:
    def load(_: HubSource) -> Iterator[dict[str, Any]]:
        yield from GOOD[:2]
        raise ConnectionError("the line is dead.\nand more")

    found = list(stream_rows("owner/name", load_hub=load))
    assert [each.record for each in found if isinstance(each, RawRow)] == GOOD[:2]
    assert "breaks off after row 2: the line is dead." in str(found[-1])
    with pytest.raises(DataError, match="the data set has no rows"):
        list(stream_rows("owner/name", load_hub=lambda _: []))
    with pytest.raises(DataError, match=r"there is no such file or data set.*or this"):
        stream_rows(str(tmp_path / "nothing"), hint=", or this")


def test_copies_of_data_sets_are_streamed_by_the_datasets_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    copy = tmp_path / "copy"
    write(copy, "README.md", "---\nlicense: mit\n---\n")
    write(copy, "data/train-00000-of-00001.parquet", as_parquet(GOOD[:5]))
    write(copy, "data/test-00000-of-00001.parquet", as_parquet(GOOD[5:]))
    assert records_of(copy) == GOOD[:5]  # the split to train on, where there is a choice
    assert records_of(copy, split="test") == GOOD[5:]
    with pytest.raises(DataError, match=r"can't be loaded: .*Check the split"):
        list(stream_rows(copy, split="nonsense"))
    (copy / "README.md").unlink()
    assert records_of(copy) == GOOD[:5]  # the files' names tell the splits apart
    with pytest.raises(DataError, match="no file of a split 'nonsense'"):
        list(stream_rows(copy, split="nonsense"))
    assert [row.record for row in read_table(copy).rows] == GOOD[5:]  # to measure with
    saved = tmp_path / "saved"
    datasets.Dataset.from_list(GOOD).save_to_disk(saved)
    assert records_of(saved) == GOOD


def test_a_table_is_an_error_as_soon_as_one_row_is(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", as_lines(GOOD) + b"{\n" + as_lines(GOOD) + b"[1]\n")
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert [problem.line for problem in caught.value.problems] == [9, 18]
    path = write(tmp_path, "a.jsonl.zst", COMPRESS[".zst"](as_lines(GOOD)))
    assert [row.record for row in read_table(path).rows] == GOOD


def test_a_text_file_is_a_question_a_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    lines = b"How do I skip a queue?\r\n\r\n  How do I cheat?\nbad \xff byte\nLast?"
    path.write_bytes(b"\xef\xbb\xbf" + lines)
    rows = list(stream_rows(path))
    records = [(row.record, row.line) for row in rows if isinstance(row, RawRow)]
    assert records == [
        ({"question": "How do I skip a queue?"}, 1),
        ({"question": "How do I cheat?"}, 3),
        ({"question": "Last?"}, 5),
    ]
    (problem,) = (row for row in rows if not isinstance(row, RawRow))
    assert "questions.txt:4" in str(problem)
    assert "byte 5 of the line is not UTF-8" in str(problem)


def test_text_files_of_a_folder_are_its_notes(tmp_path: Path) -> None:
    (tmp_path / "NOTICE.txt").write_text("Not data.\n")
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    assert [getattr(row, "record", row) for row in stream_rows(tmp_path)] == [{"a": 1}]
