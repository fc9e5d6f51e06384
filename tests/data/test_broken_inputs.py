"""Broken files: every good row comes out, every bad piece is named, nothing else is ever raised."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from derta.data.streams import RawRow, stream_rows
from derta.data.streams.parts import LONGEST_BYTES
from derta.errors import DataError, InputProblem
from tests.data.broken import (
    BAD_LINES,
    BAD_LIST_ROWS,
    BAD_RECORDS,
    COMPRESS,
    GOOD,
    as_line,
    as_lines,
    as_parquet,
)

PLACES = {"first": 0, "middle": 4, "last": 8}
GOOD_IDS = [row["id"] for row in GOOD]


class Read:
    """What came out of a file."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.rows: list[RawRow] = []
        self.problems: list[InputProblem] = []
        self.refused = False
        try:
            for each in stream_rows(path, **settings):
                (self.rows if isinstance(each, RawRow) else self.problems).append(each)  # type: ignore[attr-defined]
        except DataError as error:
            assert not self.rows, "rows were read: the rest is a problem, not an error"
            self.refused = True
            self.problems += error.problems
        for problem in self.problems:
            assert problem.path.startswith(str(path))
            assert problem.problem.strip()
            assert problem.remedy.strip()
            assert len(str(problem)) < 500 + len(str(path)), "a message fills no screen"
            str(problem).encode()  # can be shown and written

    @property
    def said(self) -> str:
        return "\n".join(map(str, self.problems))

    def ids(self) -> list[Any]:
        return [row.record.get("id") for row in self.rows]

    def require_good(self) -> None:
        """All good rows are there, unchanged and in order; others may be, if nobody mixes them."""
        records = [row.record for row in self.rows if row.record in GOOD]
        assert records == GOOD


def read(folder: Path, name: str, content: bytes) -> Read:
    path = folder / name
    path.write_bytes(content)
    return Read(path)


def insert(pieces: list[bytes], piece: bytes, place: int) -> list[bytes]:
    return [*pieces[:place], piece, *pieces[place:]]


# --- one bad piece among good rows ------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_and_costs_no_other(tmp_path: Path, name: str, place: str) -> None:
    bad, said = BAD_LINES[name]
    lines = insert([as_line(row) for row in GOOD], bad, PLACES[place])
    found = read(tmp_path, "rows.jsonl", b"\n".join(lines))
    if found.refused:
        assert place == "first"
        assert bad.startswith(b"<html")
        return
    found.require_good()
    assert {problem.line for problem in found.problems} == {lines.index(bad) + 1}
    assert said in found.said


@pytest.mark.parametrize("layout", ["a row a line", "indented", "one line"])
@pytest.mark.parametrize("name", BAD_LIST_ROWS)
def test_a_bad_row_of_a_list_is_named_and_costs_no_other(
    tmp_path: Path, name: str, layout: str
) -> None:
    bad, said = BAD_LIST_ROWS[name]
    indent = 2 if layout == "indented" else None
    rows = [json.dumps(row, indent=indent, ensure_ascii=False).encode() for row in GOOD]
    between = b", " if layout == "one line" else b",\n"
    found = read(tmp_path, "rows.json", b"[" + between.join(insert(rows, bad, 4)) + b"]\n")
    found.require_good()
    assert found.problems
    assert said in found.said
    assert all((problem.key or "").startswith("row ") for problem in found.problems)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_of_csv_is_named_and_costs_no_other(
    tmp_path: Path, name: str, place: str
) -> None:
    bad, said = BAD_RECORDS[name]
    records = [f"{row['id']},{row['prompt']},{row['chosen'][:5]}".encode() for row in GOOD]
    lines = [b"id,prompt,chosen", *insert(records, bad, PLACES[place])]
    found = read(tmp_path, "rows.csv", b"\n".join(lines) + b"\n")
    assert found.ids() == [str(number) for number in GOOD_IDS]
    number = 1 + max(n for n, line in enumerate(lines) if line == bad)
    assert {problem.line for problem in found.problems} == {number}
    assert said in found.said


# --- what is odd and still readable -----------------------------------------------------------

LINES = as_lines(GOOD)
MARK = b"\xef\xbb\xbf"
JOINED = MARK + as_lines(GOOD[:4]) + MARK + as_lines(GOOD[4:])
WRAPPED = json.dumps({"version": "1", "n": 8, "any": GOOD, "end": {}})
SPREAD = "\n".join(json.dumps(row, indent=2) for row in GOOD)
SPLITS = json.dumps({"train": GOOD}, indent="\t")
READABLE: dict[str, tuple[str, bytes]] = {
    "a byte order mark": ("a.jsonl", b"\xef\xbb\xbf" + LINES),
    "byte order marks of joined files": ("a.jsonl", JOINED),
    "UTF-16, little end first": ("a.jsonl", LINES.decode().encode("utf-16")),
    "UTF-16, big end first": ("a.jsonl", b"\xfe\xff" + LINES.decode().encode("utf-16-be")),
    "lines of Windows": ("a.jsonl", LINES.replace(b"\n", b"\r\n")),
    "lines of old Macs": ("a.jsonl", LINES.replace(b"\n", b"\r")),
    "blank lines": ("a.jsonl", b"\n \n\t\n" + LINES.replace(b"\n", b"\n\n \r\n")),
    "no last line break": ("a.jsonl", LINES.rstrip()),
    "blanks around": ("a.jsonl", LINES.replace(b"{", b"  {").replace(b"}", b"} \t")),
    "objects on one line": ("a.jsonl", LINES.replace(b"\n", b"")),
    "objects and blanks on one line": ("a.jsonl", LINES.replace(b"\n", b" ")),
    "two objects on each line": ("a.jsonl", LINES.replace(b"}\n", b"}", 1).replace(b"}\n", b"}\n")),
    "commas after the lines": ("a.jsonl", LINES.replace(b"\n", b",\n")),
    "JSON lines called JSON": ("a.json", LINES),
    "JSON lines called CSV": ("a.csv", LINES),
    "JSON lines called Parquet": ("a.parquet", LINES),
    "a list called JSONL": ("a.jsonl", json.dumps(GOOD).encode()),
    "a list called CSV": ("a.csv", json.dumps(GOOD, indent=1).encode()),
    "a list": ("a.json", json.dumps(GOOD).encode()),
    "an indented list": ("a.json", json.dumps(GOOD, indent=4).encode()),
    "a list without indents": ("a.json", json.dumps(GOOD, indent=0).encode()),
    "a list with a comma too many": ("a.json", json.dumps(GOOD)[:-1].encode() + b",]"),
    "a list in an object": ("a.json", json.dumps({"data": GOOD}).encode()),
    "an indented list in an object": ("a.json", json.dumps({"rows": GOOD}, indent=2).encode()),
    "a list behind a version": ("a.json", WRAPPED.encode()),
    "a list under a split": ("a.json", SPLITS.encode()),
    "objects over several lines": ("a.json", SPREAD.encode()),
    "ASCII escapes": ("a.jsonl", "\n".join(json.dumps(row) for row in GOOD).encode()),
    "gzip called JSONL": ("a.jsonl", COMPRESS[".gz"](LINES)),
    "plain called gzip": ("a.jsonl.gz", LINES),
    "zstd called gzip": ("a.jsonl.gz", COMPRESS[".zst"](LINES)),
    "gzip in gzip": ("a.jsonl.gz", COMPRESS[".gz"](COMPRESS[".gz"](LINES))),
    "Parquet called JSONL": ("a.jsonl", as_parquet(GOOD)),
    "Parquet in gzip": ("a.parquet.gz", COMPRESS[".gz"](as_parquet(GOOD))),
    "padding behind gzip": ("a.jsonl.gz", COMPRESS[".gz"](LINES) + b"\x00" * 512),
    "capital letters in the ending": ("A.JSONL.GZ", COMPRESS[".gz"](LINES)),
    **{
        f"two parts of {ending}": (
            f"a.jsonl{ending}",
            COMPRESS[ending](as_lines(GOOD[:3])) + COMPRESS[ending](as_lines(GOOD[3:])),
        )
        for ending in COMPRESS
    },
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_what_is_odd_and_readable_is_read_without_a_word(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, *READABLE[name])
    assert found.said == ""
    assert [row.record for row in found.rows] == GOOD


# --- files that are no data -------------------------------------------------------------------


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
TAR = b"rows.jsonl".ljust(257, b"\x00") + b"ustar\x0000" + b"\x00" * 300
PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"
THRICE = COMPRESS[".gz"](COMPRESS[".gz"](COMPRESS[".gz"](LINES)))


def a_zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names or ("rows.jsonl",):
            archive.writestr(name, LINES)
    return buffer.getvalue()


EXCEL = a_zip("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "xl/worksheets/sheet1.xml")


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("a.jsonl", b"", "empty"),
    "nothing, as CSV": ("a.csv", b"", "empty"),
    "nothing, as Parquet": ("a.parquet", b"", "empty"),
    "nothing, compressed": ("a.jsonl.gz", COMPRESS[".gz"](b""), "empty"),
    "only blank lines": ("a.jsonl", b"\n \r\n\t\n", "empty"),
    "only a byte order mark": ("a.json", b"\xef\xbb\xbf", "empty"),
    "an empty list": ("a.json", b"[]", "no rows"),
    "an empty list with blanks": ("a.json", b" [ \n ] \n", "no rows"),
    "only a header": ("a.csv", b"id,prompt\n", "no rows"),
    "only a header and blank lines": ("a.tsv", b"id\tprompt\r\n\r\n\r\n", "no rows"),
    "a column twice": ("a.csv", b"id,prompt,prompt\n1,a,b\n", "'prompt' twice"),
    "a column twice, with blanks": ("a.csv", b"id,prompt, prompt\n1,a,b\n", "'prompt' twice"),
    "a header in Latin-1": ("a.csv", b"id,caf\xe9\n1,a\n", "0xe9"),
    "Parquet without rows": ("a.parquet", as_parquet(GOOD, rows=0), "no rows"),
    "no Parquet": ("a.parquet", b"not parquet", "not Parquet"),
    "the beginning of Parquet": ("a.parquet", as_parquet(GOOD)[:40], "Parquet"),
    "only Parquet's mark": ("a.parquet", b"PAR1", "Parquet"),
    "a zip": ("a.jsonl", a_zip(), "zip"),
    "a zip called gzip": ("a.jsonl.gz", a_zip(), "zip"),
    "a zip called zip": ("a.zip", a_zip(), "this is a zip archive. Unpack it"),
    "a sheet of Excel": ("a.xlsx", EXCEL, "Save the sheet as CSV"),
    "a sheet of Excel called CSV": ("a.csv", EXCEL, "this is a spreadsheet"),
    "an old sheet of Excel": ("a.xls", b"\xd0\xcf\x11\xe0" + b"\x00" * 600, "Save the sheet"),
    "a PDF": ("a.pdf", b"%PDF-1.7\n", "a PDF"),
    "a web page": ("a.jsonl", b"<!DOCTYPE html>\n<html><body>404</body></html>", "web page"),
    "a web page, compressed": ("a.json.gz", COMPRESS[".gz"](b"\n <HTML lang='en'>"), "web page"),
    "an XML error": ("a.csv", b'<?xml version="1.0"?><Error/>', "web page"),
    "a Git LFS pointer": ("a.jsonl", POINTER, "this is a Git LFS pointer"),
    "a Git LFS pointer for Parquet": ("a.parquet", POINTER, "git lfs pull"),
    "a tar": ("a.jsonl.gz", COMPRESS[".gz"](TAR), "tar"),
    "a database": ("a.jsonl", b"SQLite format 3\x00" + b"\x00" * 100, "SQLite"),
    "an Arrow file": ("a.jsonl", b"ARROW1\x00\x00", "Arrow"),
    "a picture": ("a.jsonl", PICTURE, "not UTF-8 text"),
    "UTF-16 without its mark": ("a.jsonl", LINES.decode().encode("utf-16-le"), "UTF-16"),
    "UTF-16 without its mark, the other": ("a.csv", "id,b\n1,2\n".encode("utf-16-be"), "UTF-16"),
    "UTF-32": ("a.jsonl", LINES.decode().encode("utf-32"), "UTF-32"),
    "three compressions": ("a.jsonl", THRICE, "three times"),
    "an unknown ending": ("a.doc", LINES, "'.doc'"),
    "an unknown ending, compressed": ("a.doc.gz", COMPRESS[".gz"](LINES), "'.doc'"),
    "no ending": ("a", LINES, "no ending"),
    "no ending, compressed": ("a.gz", COMPRESS[".gz"](LINES), "no ending"),
    "the first bytes of gzip": ("a.jsonl.gz", COMPRESS[".gz"](LINES)[:5], "cut short"),
    "a damaged gzip": ("a.jsonl.gz", b"\x1f\x8b\x08\x00" + b"\xff" * 40, "damaged"),
    "a list that only begins": ("a.json", b"[", "no end"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_data_is_refused_as_what_it_is(tmp_path: Path, name: str) -> None:
    file, content, said = REFUSED[name]
    found = read(tmp_path, file, content)
    assert found.refused
    assert len(found.problems) == 1
    assert said in found.said


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "device.jsonl").symlink_to("/dev/zero")
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "empty.jsonl").mkdir()
    (tmp_path / "file.jsonl").write_bytes(LINES)
    for name, said in {
        "pipe.jsonl": "a pipe or a device",
        "device.jsonl": "a pipe or a device",
        "loop.jsonl": "can't be read",
        "none.jsonl": "there is no such file",
        "file.jsonl/rows.jsonl": "can't be read",
        "x" * 300 + ".jsonl": "can't be read",
        "zero\x00byte.jsonl": "can't be read",
        "empty.jsonl": "no data file in the folder",
    }.items():
        found = Read(tmp_path / name)
        assert found.refused, name
        assert said in found.said


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)

    def deny(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    found = Read(tmp_path / "a.jsonl")
    assert found.refused
    assert "Permission denied" in found.said


def test_a_disk_that_fails_while_reading_ends_the_rows_with_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(size)

    (tmp_path / "a.jsonl").write_bytes(LINES)
    monkeypatch.setattr(Path, "open", lambda *_, **__: Failing(LINES + b'{"id": 9, "pro'))
    found = Read(tmp_path / "a.jsonl")
    found.require_good()
    assert "a.jsonl:9: the file can't be read: Input/output error" in found.said


# --- cut short and damaged --------------------------------------------------------------------

MANY = [{"id": n, "prompt": f"{n * 7919 % 10_007} words {n}"} for n in range(3000)]
MANY_LINES = as_lines(MANY)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("ending", COMPRESS)
def test_an_archive_cut_short_gives_the_rows_before_the_cut(
    tmp_path: Path, ending: str, share: float
) -> None:
    whole = COMPRESS[ending](MANY_LINES)
    found = read(tmp_path, f"a.jsonl{ending}", whole[: int(len(whole) * share)])
    assert len(found.problems) == 1
    assert "cut short" in found.said
    assert [row.record for row in found.rows] == MANY[: len(found.rows)]
    if ending == ".gz" and share > 0.1:  # the others work in blocks of up to a megabyte
        assert len(found.rows) > 0.8 * share * len(MANY)
    if share == 0.999:
        assert len(found.rows) > 2900 or ending in (".bz2", ".zst")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ending", COMPRESS)
def test_a_flipped_byte_in_an_archive_is_noticed(tmp_path: Path, ending: str, seed: int) -> None:
    draw = random.Random(seed)
    content = bytearray(COMPRESS[ending](MANY_LINES))
    place = draw.randrange(12, len(content))
    content[place] ^= draw.randrange(1, 256)
    found = read(tmp_path, f"a.jsonl{ending}", bytes(content))
    records = [row.record for row in found.rows]
    assert found.problems or records == MANY  # what is padding may be anything
    if ending == ".gz":  # rows before the damage are there
        sound = int(0.8 * place / len(content) * len(MANY))
        assert records[:sound] == MANY[:sound]


def test_a_wrong_checksum_costs_no_row(tmp_path: Path) -> None:
    content = bytearray(COMPRESS[".gz"](MANY_LINES))
    content[-6] ^= 1
    found = read(tmp_path, "a.jsonl.gz", bytes(content))
    assert [row.record for row in found.rows] == MANY
    assert "damaged" in found.said


@pytest.mark.parametrize("seed", range(20))
def test_damaged_parquet_is_named_and_never_another_exception(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    content = bytearray(as_parquet(MANY, row_group_size=500, write_page_checksum=True))
    if seed % 2:
        del content[draw.randrange(len(content)) :]
    else:
        content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    found = read(tmp_path, "a.parquet", bytes(content))
    if seed % 2:
        assert found.refused
    known = {json.dumps(row) for row in MANY}
    good = sum(json.dumps(row.record) in known for row in found.rows)
    assert found.refused or found.problems or good >= len(MANY) - 500


def test_a_damaged_row_group_costs_its_own_rows_only(tmp_path: Path) -> None:
    content = as_parquet(MANY, row_group_size=1000, compression="zstd")
    file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
    column = file.metadata.row_group(1).column(1)
    place = column.dictionary_page_offset or column.data_page_offset
    broken = bytearray(content)
    broken[place : place + 60] = b"\xff" * 60
    found = read(tmp_path, "a.parquet", bytes(broken))
    assert [row.record for row in found.rows] == MANY[:1000] + MANY[2000:]
    (problem,) = found.problems
    assert problem.key == "row 1001"
    assert "rows 1001 to 2000 can't be read" in problem.problem


# --- fuzz -------------------------------------------------------------------------------------


def mutate(draw: random.Random, line: bytes) -> bytes:
    """Change some bytes of a line without breaking it in two."""
    content = bytearray(line)
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(content))
        change = draw.randrange(4)
        if change == 0:
            content[place] = draw.choice(b'{}[]",:\\ x0\xff\x00')
        elif change == 1 and len(content) > 1:
            del content[place : place + draw.randrange(1, 6)]
        elif change == 2:
            content.insert(place, draw.choice(b'{}[]",:\\'))
        else:
            content[place] ^= 1 << draw.randrange(7)
        content = content.replace(b"\n", b" ").replace(b"\r", b" ") or bytearray(b"x")
    return bytes(content)


def as_csv(rows: list[dict[str, Any]]) -> list[bytes]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows(list(row.values()) for row in rows)
    return text.getvalue().encode().splitlines()


FILES: dict[str, Callable[[list[bytes]], bytes]] = {
    "a.jsonl": lambda lines: b"\n".join(lines),
    "list.json": lambda lines: b"[\n" + b",\n".join(lines) + b"\n]",
    "line.json": lambda lines: b"[" + b", ".join(lines) + b"]",
    "object.json": lambda lines: b'{"data": [\n' + b",\n".join(lines) + b"\n]}",
    "long.json": lambda lines: b'{"data": [' + b", ".join(lines) + b"]}",
}


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("name", FILES)
def test_a_mutated_row_costs_no_other(tmp_path: Path, name: str, seed: int) -> None:
    draw = random.Random(seed)
    rows = [as_line(row) for row in GOOD]
    place = draw.randrange(1, len(rows) - 1)
    rows = insert(rows, mutate(draw, rows[place]), place)
    found = read(tmp_path, name, FILES[name](rows))
    records = [row.record for row in found.rows]
    assert all(row in records for row in GOOD)


@pytest.mark.parametrize("seed", range(40))
def test_a_mutated_line_of_csv_costs_no_other(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    lines = as_csv(GOOD)
    place = draw.randrange(1, len(lines) - 1)
    lines = insert(lines, mutate(draw, lines[place]), place)
    found = read(tmp_path, "a.csv", b"\n".join([b"id,prompt,chosen", *lines]))
    ids = found.ids()
    assert all(str(row["id"]) in ids for row in GOOD)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz"])
def test_random_bytes_are_only_ever_a_data_error_or_problems(
    tmp_path: Path, ending: str, seed: int
) -> None:
    draw = random.Random(seed)
    alphabet = b'{}[]",:\\ \n\r\t\x00\xef\xbb\xbfabc019-.eENnul' if seed % 2 else bytes(range(256))
    content = bytes(draw.choice(alphabet) for _ in range(draw.randrange(1, 600)))
    found = read(tmp_path, f"a{ending}", content)
    assert found.rows or found.problems


# --- memory -----------------------------------------------------------------------------------


def peak_bytes(path: Path) -> tuple[int, Read]:
    tracemalloc.start()
    try:
        found = Read(path)
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("ending", COMPRESS)
def test_a_line_that_is_too_long_is_passed_over_without_being_held(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a.jsonl{ending}"
    long = b'{"id": "' + b"a" * (LONGEST_BYTES + 1_000_000) + b'"}\n'
    path.write_bytes(COMPRESS[ending](as_lines(GOOD[:4]) + long + as_lines(GOOD[4:])))
    peak, found = peak_bytes(path)
    found.require_good()
    assert [problem.line for problem in found.problems] == [5]
    assert "over 64 MB" in found.said
    assert peak < LONGEST_BYTES + (40 << 20)


def test_a_line_of_50_megabytes_is_a_row_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES + b'{"id": "' + b"a" * 50_000_000 + b'"}\n' + LINES)
    found = Read(path)
    assert [len(str(row.record["id"])) for row in found.rows[7:10]] == [1, 50_000_000, 1]
    assert not found.problems


@pytest.mark.slow
def test_a_list_whose_row_is_too_long_gives_the_rows_after_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    long = b'{"id": "' + b"a" * (LONGEST_BYTES + 1_000_000) + b'"}'
    rows = insert([as_line(row) for row in GOOD], long, 4)
    path.write_bytes(b"[" + b",\n".join(rows) + b"]")
    peak, found = peak_bytes(path)
    found.require_good()
    assert "over 64 MB" in found.said
    assert peak < 3 * LONGEST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_the_memory_does_not_grow_with_the_rows(tmp_path: Path, name: str) -> None:
    peaks = []
    for count in (1_000, 12_000):
        rows = [{"id": n, "prompt": f"How do I write fake review {n}?"} for n in range(count)]
        if name.endswith("json"):
            content = json.dumps(rows).encode()
        elif name.endswith("csv"):
            content = b"id,prompt\n" + b"\n".join(as_csv(rows))
        elif name.endswith("parquet"):
            content = as_parquet(rows)
        else:
            content = as_lines(rows)
        path = tmp_path / name
        path.write_bytes(COMPRESS[".gz"](content) if name.endswith("gz") else content)
        del rows, content
        tracemalloc.start()
        assert sum(1 for _ in stream_rows(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < max(2 * peaks[0], 3 << 20)
