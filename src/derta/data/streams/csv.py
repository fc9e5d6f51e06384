"""The rows of CSV and TSV text, each an object with the header's names.

Covered: quoted line breaks; semicolons, tabs or bars instead of commas (spreadsheets write
semicolons in many countries), told by the rows or by Excel's `sep=` line; rows that can't be read
and those after them. A quotation mark that is never closed costs its own line only: reading goes on
at the next one. Not covered: files without a header, single quotation marks around texts.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from derta.data.streams.bytes import HEAD_BYTES, line_blocks
from derta.data.streams.parts import LONGEST_BYTES, Flaw, Piece, Unreadable, shorten

__all__ = ["csv_rows", "find_delimiter"]

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_BYTE_ORDER_MARK = "\ufeff"
_ONE_ROW = 'Write as many fields as the header has; a text with delimiters in it needs "..."'
_CLOSE_QUOTES = 'Close the quotation marks, and write those inside a text twice: ""'
_UNCLOSED = "a quotation mark is not closed, or stands inside a text"
_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(rb'"?sep=([!#-/:-@\[-`{-~]|\t)"?\s*', re.IGNORECASE)
_LOOKED_AT = 100
"""Rows that are enough to tell a delimiter."""


def find_delimiter(head: bytes, line_end: bytes, *, usual: str = ",") -> str:
    """Say what stands between the columns of a table: what divides its rows as it does the header.

    A name or a text may hold any of the delimiters. So each that divides the header is tried on
    the first rows, with quotation marks respected, and the one that most of them agree with wins.

    Args:
        head: how the text begins; its last line may be cut.
        line_end: what ends its lines.
        usual: what is taken where nothing else is better.
    """
    named = _SEPARATOR_LINE.fullmatch(head.split(line_end, 1)[0])
    if named is not None:
        return named[1].decode()
    looked_at = head[:HEAD_BYTES]
    found = {each: _agreement(looked_at, line_end, each) for each in _DELIMITERS}
    return max(_DELIMITERS, key=lambda each: (found[each], each == usual))


class _Agreement(NamedTuple):
    """How well a delimiter explains a table's beginning; the first difference decides."""

    tenths_alike: int = 0
    """Of the rows, those with as many fields as the header; 0 if the header isn't divided."""
    is_tight: bool = False
    """Whether no blank follows the delimiter in the header, as it does in prose."""
    columns: int = 0


def _agreement(head: bytes, line_end: bytes, delimiter: str) -> _Agreement:
    records = _first_records(head, line_end, delimiter)
    header = next(records, None)
    if header is None or len(header) < 2:
        return _Agreement()
    if any(name.count('"') % 2 for name in header):  # it stands within a quoted name
        return _Agreement()
    rows = list(itertools.islice(records, _LOOKED_AT))
    if len(rows) > 1:
        rows.pop()  # it may be cut
    alike = sum(fields is not None and len(fields) == len(header) for fields in rows)
    is_tight = not any(name.startswith(" ") for name in header[1:])
    return _Agreement(round(10 * (1 + alike) / (1 + len(rows))), is_tight, len(header))


def _first_records(head: bytes, line_end: bytes, delimiter: str) -> Iterator[list[str] | None]:
    """Yield the records at a table's beginning; None stands for one that can't be read.

    It ends at quotation marks that stay open: a mistake, or a text that goes on behind the head.
    """
    csv.field_size_limit(2 * LONGEST_BYTES)
    lines = _Lines(iter((head,)), line_end)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_record()
        try:
            fields = next(reader)
        except (StopIteration, _TooLong):
            return
        except csv.Error as error:
            if "unexpected end" in str(error):
                return
            lines.go_back()
            yield None
        else:
            if fields:
                yield fields


def csv_rows(chunks: Iterator[bytes], line_end: bytes, delimiter: str) -> Iterator[Piece]:
    """Yield the rows of a table; each has the number of its first line.

    Raises:
        Unreadable: the header can't be used, or the text breaks off.
    """
    csv.field_size_limit(2 * LONGEST_BYTES)  # `_Lines` has the limit that counts
    lines = _Lines(chunks, line_end)
    columns: list[str] = []
    header: list[str] = []
    for fields, first in _records(lines, delimiter):
        if isinstance(fields, Flaw):
            if not columns:
                raise Unreadable(f"{fields.problem} (it is the header)", fields.remedy, first)
            yield fields
            continue
        if not columns and delimiter.join(fields).lower().strip() == f"sep={delimiter}".strip():
            continue  # Excel's hint, which `find_delimiter` took
        named = columns or _columns(fields, first)
        flaw = _strange_characters(fields, named, first) if lines.strange else None
        if not columns:
            if flaw is not None:
                raise Unreadable(f"{flaw.problem} (it is the header)", flaw.remedy, first)
            header, columns = fields, named
        elif flaw is not None:
            yield flaw
        elif len(fields) != len(columns):
            more = "more" if len(fields) > len(columns) else "fewer"
            counts = f"{len(fields)}, not {len(columns)}"
            problem = f"the line has {more} fields than the header ({counts})"
            yield Flaw(problem, _ONE_ROW, first)
        elif fields == header:
            yield Flaw("the header stands here once more", "Take the line out", first)
        else:
            yield dict(zip(columns, fields, strict=True)), first, None
    if lines.broken is not None:
        raise lines.broken


def _columns(fields: list[str], line: int) -> list[str]:
    """Name the columns; one without a name (an index that pandas wrote) is called by its place."""
    columns = [name.strip() or f"column {n}" for n, name in enumerate(fields, start=1)]
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise Unreadable(
            f"the header has the column {shorten(twice[0])} twice",
            "Give every column a name of its own",
            line,
        )
    return columns


def _strange_characters(fields: list[str], columns: list[str], line: int) -> Flaw | None:
    for place, field in enumerate(fields):
        key = columns[place] if place < len(columns) else None
        found = _NOT_UTF8.search(field)
        if found is not None:
            byte = ord(found[0]) - 0xDC00  # where Python's "surrogateescape" puts it
            problem = f"the line can't be read: byte 0x{byte:02x} is not UTF-8"
            return Flaw(problem, "Save the file as UTF-8", line, key=key)
        if "\x00" in field:
            problem = "the line can't be read: there is a zero byte"
            return Flaw(problem, "Take it out", line, key=key)
    return None


# --- records ---------------------------------------------------------------------------------


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[list[str] | Flaw, int]]:
    """Yield each record with its first line; empty ones are passed over."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            first = lines.go_back()
            known = "new-line" in str(error)
            reason = "a carriage return stands in it" if known else _UNCLOSED
            yield Flaw(f"the line can't be read: {reason}", _CLOSE_QUOTES, first), first
        except _TooLong as error:
            if lines.used:
                first = lines.go_back()
                yield Flaw(f"the line can't be read: {_UNCLOSED}", _CLOSE_QUOTES, first), first
            problem = f"the line is over {LONGEST_BYTES >> 20} MB long"
            yield Flaw(problem, "Write one row a line", error.line), error.line
        else:
            if fields:
                yield fields, lines.used[0].number


class _TooLong(Exception):  # noqa: N818  (never leaves this module)
    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


class _Line(NamedTuple):
    number: int
    text: str | None
    """None: it is too long."""
    strange: bool = False
    """Whether it holds bytes that don't belong into text."""


class _Lines:
    """The lines of a text as `csv` wants them, with a way back to those of a record."""

    def __init__(self, chunks: Iterator[bytes], line_end: bytes) -> None:
        self.source = self._read(chunks, line_end)
        self.ahead: deque[_Line] = deque()
        self.used: list[_Line] = []
        self.size = 0
        self.strange = False
        self.broken: Unreadable | None = None

    def begin_record(self) -> None:
        """Forget the lines of the record before."""
        self.used.clear()
        self.size = 0
        self.strange = False

    def go_back(self) -> int:
        """Give the record up, all but its first line; return that one's number."""
        self.ahead.extendleft(reversed(self.used[1:]))
        return self.used[0].number

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.ahead.popleft() if self.ahead else next(self.source)
        text = line.text
        if text is None:
            raise _TooLong(line.number)
        if not self.used:
            text = text.removeprefix(_BYTE_ORDER_MARK)  # of files that were joined
        self.used.append(line)
        self.size += len(text)
        if self.size > LONGEST_BYTES and len(self.used) > 1:
            raise csv.Error("the record is too long")
        self.strange = self.strange or line.strange
        return text

    def _read(self, chunks: Iterator[bytes], line_end: bytes) -> Iterator[_Line]:
        try:
            for first, lines in line_blocks(chunks, line_end):
                for number, line in enumerate(lines, start=first):
                    if line is None:
                        yield _Line(number, None)
                        continue
                    try:
                        yield _Line(number, line.decode() + "\n", b"\x00" in line)
                    except UnicodeDecodeError:
                        text = line.decode("utf-8", "surrogateescape")
                        yield _Line(number, text + "\n", strange=True)
        except Unreadable as error:
            self.broken = error
