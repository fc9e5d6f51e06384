"""One stream of rows from any file, folder or data set, whatever its format and state.

Rows come as they stand, in order, in constant memory. What can't be read is named with its place
and passed over: a broken piece never takes a good row along where the format allows to go on.
Covered: JSON in all its layouts, CSV, TSV, Parquet, Arrow and text with a question a line (.txt;
not in a folder, where such files are notes), plain or compressed with gzip, bzip2, xz or zstd;
folders of such files; data sets of the hub and local copies of them. A format is known by the
file's content; its name only has to have a known ending. Not covered: what the rows mean
(`derta.data.formats`), and data that comes through a pipe.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from derta.data.streams.arrow import arrow_rows, is_arrow
from derta.data.streams.bytes import (
    HEAD_BYTES,
    ByteProgress,
    Meter,
    line_end,
    open_bytes,
    read_as_utf8,
    require_file,
    require_known_content,
)
from derta.data.streams.csv import csv_rows, find_delimiter
from derta.data.streams.endings import ENDINGS_TEXT, FILE_ENDINGS, find_ending, unknown_ending
from derta.data.streams.folders import data_files, files_of_split
from derta.data.streams.hub import HubLoader, HubSource, find_hub, hub_rows, is_copy, load_hub_rows
from derta.data.streams.json import json_lines
from derta.data.streams.layout import Shape, find_layout, is_for_measuring, looks_like_json
from derta.data.streams.lists import (
    find_list_under,
    list_values,
    unread_list,
    values_one_by_one,
)
from derta.data.streams.parquet import PARQUET_MAGIC, parquet_rows
from derta.data.streams.parts import Flaw, Piece, Unreadable
from derta.data.streams.text import question_lines
from derta.errors import DataError, InputProblem

__all__ = [
    "FILE_ENDINGS",
    "RawRow",
    "find_ending",
    "find_source",
    "is_folder",
    "stream_hub",
    "stream_rows",
    "stream_values",
]

_TABLES = (".csv", ".tsv")
_BINARY = (".parquet", ".arrow", ".feather")
_TRAIN = b"train"
_SAME_BYTES = 8
"""Which tell a file from its compressed form."""
_ADDRESS = (
    "this is an address, and nothing is downloaded from one",
    "Download the file and name it; a data set of the hub is owner/name",
)
_NO_SPLITS = (
    "a split was named, but this file has none",
    "Leave --split out, or read this file apart from the sources that have splits",
)


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as it stands in its source, and where that is."""

    record: dict[str, Any]
    """Its columns: values that JSON has."""
    path: str
    """The file or data set, as errors name it."""
    line: int | None = None
    """Of the file, counted from 1, where the format has a row a line; of CSV the row's first."""
    number: int | None = None
    """Of the row, counted from 1, where it has not."""

    def problem(self, problem: str, remedy: str, key: str | None = None) -> InputProblem:
        """Name this row in a problem."""
        return InputProblem(
            self.path, problem, remedy, self.line, _key(self.line, self.number, key)
        )


def stream_rows(
    source: str | Path,
    *,
    split: str | None = None,
    load_hub: HubLoader | None = None,
    on_bytes: ByteProgress | None = None,
    hint: str = "",
) -> Iterator[RawRow | InputProblem]:
    """Yield the rows of a source, and a problem for each piece that can't be read.

    Args:
        source: a file, a folder of files, a folder with a data set's copy, or a data set of the
            hub: "owner/name", "hub:owner/name", with ":config" if wanted. A path that exists wins.
        split: of a data set, a word in the names of a folder's files, or the key of a list in a
            JSON file. None: the only one, or of several the one called train. Other files have
            none: to name one is an error.
        load_hub: loads data sets; None: the `datasets` library, streaming.
        on_bytes: called now and then with (bytes read, bytes in all) of files; not for data sets.
        hint: what else may be named, for the error.

    Raises:
        DataError: at the first row: the source as a whole can't be read, or has no rows.
    """
    found = find_source(source, split=split, hint=hint)
    if isinstance(found, HubSource):
        return stream_hub(found, load_hub=load_hub)
    if is_folder(found):
        return _folder_rows(found, split, load_hub, on_bytes)
    return _file_rows(found, split, on_bytes)


def find_source(
    source: str | Path, *, split: str | None = None, hint: str = ""
) -> Path | HubSource:
    """Say whether a source is a path or a data set of the hub; a path that exists wins.

    Raises:
        DataError: it can be neither.
    """
    name = str(source)
    hub = find_hub(name, split, prefixed=True)
    if hub is not None:
        return hub
    if "://" in name and not _exists(Path(source)):
        raise DataError.of(name, *_ADDRESS)
    if _exists(Path(source)) or find_ending(name) is not None:
        return Path(source)
    hub = find_hub(name, split)
    if hub is not None:
        return hub
    remedy = f"Name a file ({ENDINGS_TEXT}) or a data set of the hub (hub:owner/name)"
    raise DataError.of(name, "there is no such file or data set", remedy + hint)


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder, whatever the system makes of the path."""
    return _exists(path) and path.is_dir()


def stream_hub(
    hub: HubSource, *, load_hub: HubLoader | None = None
) -> Iterator[RawRow | InputProblem]:
    """Yield the rows of a data set of the hub, or of the copy in a local folder.

    Raises:
        DataError: at the first row: it can't be loaded, or has no rows.
    """
    load = load_hub or functools.partial(load_hub_rows, streaming=True, preferred_split="train")
    none = ("the data set has no rows", "Choose another split")
    return _as_rows(str(hub), hub_rows(hub, load), "the row is not an object", none)


def stream_values(path: Path) -> Iterator[tuple[Any, int | None, int | None] | InputProblem]:
    """Yield the values of a JSON file, of whatever type, each with its line or its number.

    The file's name may end in anything, and an object that holds a list is one value.

    Raises:
        DataError: at the first value: the file can't be read, or is empty.
    """
    meter = Meter(0, None)
    found = False
    try:
        for piece in _pieces(path, ".json", None, meter, containers=False):
            found = True
            yield _named(str(path), piece) if isinstance(piece, Flaw) else piece
    except Unreadable as error:
        if not found:
            raise DataError([_whole(str(path), error)]) from None
        yield _whole(str(path), error)


# --- files and folders -----------------------------------------------------------------------


def _file_rows(
    path: Path, split: str | None, on_bytes: ByteProgress | None
) -> Iterator[RawRow | InputProblem]:
    try:
        meter = Meter(require_file(path), on_bytes)
        if find_ending(path.name) is None:
            require_known_content(open_bytes(path, Meter(0, None))[0])  # what it is says more
            raise unknown_ending(path.name)
    except Unreadable as error:
        raise DataError([_whole(str(path), error)]) from None
    yield from _rows(path, split, meter)


def _folder_rows(
    folder: Path,
    split: str | None,
    load_hub: HubLoader | None,
    on_bytes: ByteProgress | None,
) -> Iterator[RawRow | InputProblem]:
    """Read a folder: as a data set where it is one, else all data files in it, by name."""
    if is_copy(folder):
        yield from stream_hub(HubSource(str(folder), None, split), load_hub=load_hub)
        return
    try:
        paths = data_files(folder)
        if not paths:
            problem = "there is no data file in the folder"
            raise DataError.of(folder, problem, f"Known endings: {ENDINGS_TEXT}")
        paths = files_of_split(folder, paths, split)
        sizes = [path.stat().st_size for path in paths]
    except OSError as error:
        problem = f"the folder can't be read: {error.strerror or error}"
        remedy = "Check its permissions, and the links in it"
        raise DataError.of(folder, problem, remedy) from None
    except Unreadable as error:
        raise DataError([_whole(str(folder), error)]) from None
    meter = Meter(sum(sizes), on_bytes)
    problems: list[InputProblem] = []
    found = False
    for path in paths:
        try:
            for row in _rows(path, None, meter):
                found = True
                yield row
        except DataError as error:  # of one file: the others are read
            problems += error.problems
    if not found:
        raise DataError(problems)
    yield from problems


def _rows(path: Path, split: str | None, meter: Meter) -> Iterator[RawRow | InputProblem]:
    ending = find_ending(path.name) or ""
    pieces = _pieces(path, ending, split, meter)
    none = ("the file has no rows", "Choose another file")
    return _as_rows(str(path), pieces, "the line is not a JSON object", none)


def _pieces(
    path: Path, ending: str, split: str | None, meter: Meter, *, containers: bool = True
) -> Iterator[Piece]:
    """Read a file as what its content says it is.

    Raises:
        Unreadable: it can't be read, or a split was named and it has none.
    """
    pieces, has_lists = _open(path, ending, split, meter, containers)
    if split is not None and not has_lists:
        raise Unreadable(*_NO_SPLITS)
    yield from pieces


def _open(
    path: Path, ending: str, split: str | None, meter: Meter, containers: bool
) -> tuple[Iterator[Piece], bool]:
    """Choose the reader; say whether the file has lists that a split can name."""
    before = meter.done
    head, chunks = open_bytes(path, meter)
    if head.startswith(PARQUET_MAGIC):
        return _binary_pieces(path, head, chunks, parquet_rows, meter, before), False
    if is_arrow(head):
        return _binary_pieces(path, head, chunks, arrow_rows, meter, before), False
    require_known_content(head)
    if ending in _BINARY and head and not _begins_as_json(head):
        name = ending[1:].capitalize()
        raise Unreadable(f"the file can't be read: it is not {name}", f"Write it as {name} again")
    head, chunks = read_as_utf8(head, chunks)
    complete = len(head) < HEAD_BYTES - len(BOM_UTF8)
    if complete and not head.strip():
        raise Unreadable("the file is empty: it has no rows", "Choose another file")
    end = line_end(head)
    if ending in _TABLES and not looks_like_json(head):
        usual = "\t" if ending == ".tsv" else ","
        return csv_rows(chunks, end, find_delimiter(head, end, usual=usual)), False
    if ending == ".txt" and not looks_like_json(head):
        return question_lines(chunks, end), False
    layout = find_layout(
        head, end, complete=complete, containers=containers, named=split is not None
    )
    if layout.shape is Shape.LINES:
        return json_lines(chunks, end), False
    if layout.shape is Shape.VALUES:
        return values_one_by_one(chunks), False
    if layout.shape is Shape.LIST:
        return list_values(chunks, only_rows=containers), False
    key = layout.key if split is None else split.encode()
    if split is None and key is not None and is_for_measuring(key) and _has_list(path, _TRAIN):
        values = list_values(chunks, _TRAIN, only_rows=containers)
        return itertools.chain(values, (unread_list(key),)), True
    return list_values(chunks, key, only_rows=containers, named=split is not None), True


def _has_list(path: Path, key: bytes) -> bool:
    """Say whether a JSON file has a list under a key; it is read for that."""
    return find_list_under(read_as_utf8(*open_bytes(path, Meter(0, None)))[1], key) is not None


def _begins_as_json(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))


_BinaryReader = Callable[[Path | BinaryIO, Callable[[float], None] | None], Iterator[Piece]]


def _binary_pieces(
    path: Path,
    head: bytes,
    chunks: Iterator[bytes],
    read: _BinaryReader,
    meter: Meter,
    before: int,
) -> Iterator[Piece]:
    """Read a file where it lies or, if it was compressed once more, from a temporary file."""
    with path.open("rb") as file:
        plain = head.startswith(file.read(_SAME_BYTES))
    if plain:
        size = path.stat().st_size

        def report(share: float) -> None:
            meter.done = before
            meter.add(int(share * size))

        yield from read(path, report)
        return
    with tempfile.TemporaryFile() as unpacked:
        _copy(chunks, unpacked)
        yield from read(unpacked, None)


def _copy(chunks: Iterator[bytes], file: IO[bytes]) -> None:
    try:
        for chunk in chunks:
            file.write(chunk)
    except OSError as error:
        problem = f"the file can't be unpacked: {error.strerror or error}"
        raise Unreadable(problem, "Make room in the folder for temporary files") from None
    file.seek(0)


# --- names and problems ----------------------------------------------------------------------


def _as_rows(
    path: str, pieces: Iterator[Piece], not_an_object: str, none: tuple[str, str]
) -> Iterator[RawRow | InputProblem]:
    found = False
    try:
        for piece in pieces:
            found = True
            if isinstance(piece, Flaw):
                yield _named(path, piece)
                continue
            value, line, number = piece
            if isinstance(value, dict):
                yield RawRow(value, path, line, number)
            else:
                problem = not_an_object if line is not None else "the value is not a JSON object"
                yield _named(path, Flaw(problem, "Write one object a row", line, number))
    except Unreadable as error:
        if not found:
            raise DataError([_whole(path, error)]) from None
        yield _whole(path, error)
    if not found:
        raise DataError.of(path, *none)


def _named(path: str, flaw: Flaw) -> InputProblem:
    key = _key(flaw.line, flaw.number, flaw.key)
    return InputProblem(path, flaw.problem, flaw.remedy, flaw.line, key)


def _whole(path: str, error: Unreadable) -> InputProblem:
    return InputProblem(path, error.problem, error.remedy, error.line)


def _key(line: int | None, number: int | None, key: str | None) -> str | None:
    """Name the row where there is no line."""
    if line is not None or number is None:
        return key
    return f"row {number}" if key is None else f"row {number}, {key}"


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True
