"""Where the data comes from, and how it is cut into chunks.

A plain JSONL file in one of our two formats is cut into pieces of whole lines, which the processes
parse; so it is read exactly as training reads it. Everything else (other endings, compressed files,
data sets of the hub, published formats) goes through `derta.data.streams` and `derta.data.formats`
row by row. "sample" is the training split of the sample set. A file that is named twice, through a
link or a folder, too, is read once. Not covered: one file in several formats; copies of a file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from derta.check_data.chunks import Chunk, Kind, parse_either
from derta.data.files import parse_rows
from derta.data.held_out import source_identity
from derta.data.jsonl import open_rows
from derta.data.sample import sample_file
from derta.errors import DataError, InputProblem
from derta.triple import Triple

__all__ = ["SAMPLE", "Opening", "Source", "find_sources"]

SAMPLE = "sample"
_OWN_FILES: tuple[tuple[str, Kind], ...] = (
    ("triples.jsonl", "triples"),
    ("helpful.jsonl", "helpful"),
)
_LINE_ENDINGS = (".jsonl", ".ndjson")
_CHUNK_BYTES = 2 << 20
_LONGEST_LINE = 64 << 20
_CHUNK_ROWS = 1_000
_FIRST_ROWS = 100


@dataclass(frozen=True, slots=True)
class Source:
    """Some of the data."""

    name: str
    size: int
    """Bytes, 0 where nobody knows."""
    chunks: Callable[[], Iterator[Chunk]]
    """Reads it; `path_index`, `seed` and `thresholds` are left to the caller."""
    named_again: tuple[str, ...] = ()
    """How it was named a second time, and so on."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How sources are read that are no plain files of ours."""

    format: str | None = None
    """The name of a published format; None: it is recognised."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Field -> column, where the names are others."""
    split: str | None = None
    """Of a data set of the hub."""
    load_hub: Any = None
    """Loads data sets of the hub; None: the `datasets` library."""


def find_sources(names: Sequence[str | Path], how: Opening = Opening()) -> list[Source]:
    """Find out what each source is, and how it is read; one that is named twice is listed once.

    Raises:
        DataError: a source as a whole can't be read or recognised.
    """
    found: dict[Hashable, Source] = {}
    for name in names:
        path = Path(name)
        if str(name) == SAMPLE:
            if how.format or how.columns or how.split not in (None, "train"):
                raise DataError([_sample_is_fixed()])
            _add(found, SAMPLE, SAMPLE, _sample)
            continue
        own = {path / file: kind for file, kind in _OWN_FILES if (path / file).is_file()}
        for file in own or (path,):
            _add(found, source_identity(file), str(file), partial(_open, file, own.get(file), how))
    return list(found.values())


def _add(
    found: dict[Hashable, Source], identity: Hashable, name: str, make: Callable[[], Source]
) -> None:
    if identity in found:
        before = found[identity]
        found[identity] = replace(before, named_again=(*before.named_again, name))
    else:
        found[identity] = make()


def _open(file: Path, kind: Kind | None, how: Opening) -> Source:
    """Find out how a source is read.

    Raises:
        DataError: it can't be read or recognised.
    """
    kind = None if how.format or how.columns else kind or _own_kind(file)
    if how.split is not None and _has_no_splits(file):
        raise DataError([_no_splits(str(file))])
    return _lines(file, kind) if kind else _Streamed(str(file), how).source()


def _has_no_splits(path: Path) -> bool:
    """Say whether a path is a file of a kind that has no splits: any but JSON with lists."""
    from derta.data.streams import find_ending

    return path.is_file() and find_ending(path.name) != ".json"


def _no_splits(name: str) -> InputProblem:
    remedy = "Leave --split out, or check this source apart from those that have splits"
    return InputProblem(name, "a split was named, but a plain file has none", remedy)


def _sample_is_fixed() -> InputProblem:
    remedy = "Leave --split, --format and --column out, or check the sample set apart"
    problem = "the sample set is checked as it is: its training split, in our formats"
    return InputProblem(SAMPLE, problem, remedy)


# --- our own formats, as lines -------------------------------------------------------------------


def _own_kind(path: Path) -> Kind | None:
    """Tell which of our formats most of the first lines have; None: neither, or no JSONL.

    At least half of them must have one: a row of another format may look like ours by chance.
    """
    if path.suffix.lower() not in _LINE_ENDINGS:
        return None
    try:
        with open_rows(path) as file:
            lines = [_read_line(file) for _ in range(_FIRST_ROWS)]
    except (DataError, OSError):
        return None
    parse: Any = parse_either
    rows = [parsed.row for parsed in parse_rows(str(path), enumerate(lines, 1), parse)]
    kinds: Counter[Kind] = Counter(
        "triples" if isinstance(row, Triple) else "helpful" for row in rows if row is not None
    )
    told = sum(bool(line.strip()) for line in lines)
    return kinds.most_common(1)[0][0] if kinds and 2 * kinds.total() >= told else None


def _lines(path: Path, kind: Kind) -> Source:
    return Source(str(path), path.stat().st_size, lambda: _line_chunks(path, kind))


def _line_chunks(path: Path, kind: Kind) -> Iterator[Chunk]:
    name = str(path)
    with open_rows(path) as file:
        number = 1
        while content := file.read(_CHUNK_BYTES):
            if not content.endswith(b"\n"):
                content += file.readline(_LONGEST_LINE)
            read = len(content)
            rows: tuple[InputProblem, ...] = ()
            if len(content) > _LONGEST_LINE and not content.endswith(b"\n"):
                content = content[: content.rfind(b"\n") + 1]
                read += _skip_line(file)
                line = number + content.count(b"\n")
                rows = (_too_long(name, line),)
            yield Chunk(name, 0, kind, number, content, rows, size=read)
            number += content.count(b"\n") + len(rows)


def _read_line(file: Any) -> bytes:
    """Read a line, and of one that is too long its beginning."""
    line: bytes = file.readline(_LONGEST_LINE)
    if len(line) >= _LONGEST_LINE and not line.endswith(b"\n"):
        _skip_line(file)
    return line


def _skip_line(file: Any) -> int:
    read = 0
    while piece := file.readline(1 << 20):
        read += len(piece)
        if piece.endswith(b"\n"):
            break
    return read


def _too_long(path: str, line: int) -> InputProblem:
    return InputProblem(path, "the line is over 64 MB", "Remove the row, or shorten it", line)


# --- everything else, row by row -----------------------------------------------------------------


class _Streamed:
    """A source whose rows are read one by one, in a format that is recognised."""

    def __init__(self, name: str, how: Opening) -> None:
        """Read the first rows and recognise the format.

        Raises:
            DataError: the source can't be read, or its format is unknown.
        """
        from derta.data.formats import convert_rows, open_format
        from derta.data.streams import stream_rows

        self.name = name
        self._read = 0
        stream = stream_rows(name, split=how.split, load_hub=how.load_hub, on_bytes=self._on_bytes)
        form, rows = open_format(stream, how.format, how.columns)
        self._pieces = convert_rows(rows, form)

    def source(self) -> Source:
        """Return the source, which can be read once."""
        path = Path(self.name)
        return Source(self.name, path.stat().st_size if path.is_file() else 0, self._chunks)

    def _on_bytes(self, read: int, _: int) -> None:
        self._read = read

    def _chunks(self) -> Iterator[Chunk]:
        from derta.data.formats import Skip

        reported = 0
        while pieces := list(islice(self._pieces, _CHUNK_ROWS)):
            skipped = tuple(piece.reason for piece in pieces if isinstance(piece, Skip))
            done = self._read
            yield Chunk(self.name, 0, "triples", skipped=skipped, size=done - reported)
            reported = done
            placed = [_placed(piece) for piece in pieces if not isinstance(piece, Skip)]
            for path, some in groupby(placed, key=itemgetter(0)):
                yield Chunk(path, 0, "triples", rows=tuple(row for _, row in some))


def _placed(piece: Any) -> tuple[str, tuple[int, dict[str, Any]] | InputProblem]:
    """Name the file of a row that was converted, or of one that can't be."""
    if isinstance(piece, InputProblem):
        return piece.path, piece
    place = piece.place
    number = place.number if place.line is None else place.line
    return place.path, (number or 0, piece.record)


# --- the sample set ------------------------------------------------------------------------------


def _sample() -> Source:
    def chunks() -> Iterator[Chunk]:
        for file, kind in _OWN_FILES:
            lines = enumerate(sample_file(file).decode("utf-8").split("\n"), start=1)
            records = [(number, json.loads(line)) for number, line in lines if line]
            rows = tuple(each for each in records if each[1]["split"] == "train")
            yield Chunk(f"{SAMPLE}/{file}", 0, kind, rows=rows, size=1)

    return Source(SAMPLE, len(_OWN_FILES), chunks)
