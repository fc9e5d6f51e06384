"""Rows of a format to examples, one after the other, in memory that doesn't grow with the rows.

Covered: the rows of one source. Not covered: what is written of them (`derta.data.importing`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from derta.data.formats.base import Format, Kind, Made, Part, Skip
from derta.data.formats.columns import map_columns
from derta.data.formats.detection import FIRST_ROWS, check_columns, choose_format, names_read
from derta.data.formats.grouping import Grouping
from derta.data.formats.instruction import finished_column
from derta.data.streams import RawRow
from derta.errors import DataError, InputProblem

__all__ = ["convert_rows", "open_format"]

_NO_ROWS = InputProblem("the data", "there are no rows", "Choose another file or split")

Rows = Iterator[RawRow | InputProblem]


def open_format(
    rows: Rows, name: str | None = None, columns: Mapping[str, str] | None = None
) -> tuple[Format, Rows]:
    """Look at the first rows of a source and choose its format.

    Args:
        rows: as `stream_rows` gives them.
        name: of the format; None: it is recognised.
        columns: field -> column; see `check_columns`.

    Returns:
        The format, and all rows, the first ones included, with their columns mapped.

    Raises:
        DataError: the format is not known, a mapped column isn't there or of no use to the
            format, or no row can be read.
    """
    columns = columns or {}
    head: list[RawRow | InputProblem] = []
    first: list[RawRow] = []
    for row in rows:
        head.append(row)
        if isinstance(row, RawRow):
            first.append(row)
        # Problems are bounded, too: a file of nothing but broken lines would fill the memory.
        if len(first) == FIRST_ROWS or len(head) == 10 * FIRST_ROWS:
            break
    if not first and name is None:
        problems = [row for row in head if isinstance(row, InputProblem)]
        raise DataError(problems or [_NO_ROWS])
    check_columns(first, columns)
    format = choose_format([map_columns(row, columns) for row in first], name, columns)
    _check_reads(format, columns)
    if "finished" in columns:
        format = _with_finished(format)
    read = names_read(format)

    def every() -> Rows:
        for source in (head, rows):
            for row in source:
                yield map_columns(row, columns, read) if isinstance(row, RawRow) else row

    return format, every()


def _check_reads(format: Format, columns: Mapping[str, str]) -> None:
    """See that no field was mapped that the format knows nothing to do with.

    Raises:
        DataError: one was.
    """
    reads_finished = "helpful" in format.makes and format.finish is None
    for field, reads in (("system", format.reads_system), ("finished", reads_finished)):
        if field in columns and not reads:
            problem = f"rows of the format {format.name} have no use for {field}"
            remedy = "Leave it out, or map prompt, chosen and rejected, or prompt and completion"
            raise DataError.of(f"--column {field}={columns[field]}", problem, remedy)


def _with_finished(format: Format) -> Format:
    """Let helpful examples keep a column that the user says is `finished`."""

    def read(row: RawRow, kind: Kind | None) -> Made | Part:
        made = format.read(row, kind)
        if isinstance(made, Made) and made.kind == "helpful":
            made.record.update(finished_column(row.record))
        return made

    return replace(format, read=read)


def convert_rows(
    rows: Iterable[RawRow | InputProblem],
    format: Format,
    *,
    kind: Kind | None = None,
    folder: Path | None = None,
) -> Iterator[Made | Skip | InputProblem]:
    """Make examples of a source's rows.

    Args:
        rows: of the source; problems are passed on.
        format: of the rows.
        kind: None: all that the format makes, of preference pairs triples; else only this kind.
        folder: for a temporary file, if rows must be grouped; None: the system's choice.

    Raises:
        DataError: the format doesn't make this kind.
    """
    if kind is not None and kind not in format.makes:
        (made_instead,) = format.makes
        problem = f"rows of the format {format.name} become {_PLURALS[made_instead]} only"
        remedy = f"Leave --as {_PLURALS[kind]} out"
        raise DataError.of(f"--as {_PLURALS[kind]}", problem, remedy)
    return _convert(rows, format, kind, folder)


_PLURALS: dict[Kind, str] = {"triple": "triples", "helpful": "helpful"}


def _convert(
    rows: Iterable[RawRow | InputProblem], format: Format, kind: Kind | None, folder: Path | None
) -> Iterator[Made | Skip | InputProblem]:
    with ExitStack() as stack:
        grouping: Grouping | None = None
        for row in rows:
            if isinstance(row, InputProblem):
                yield row
                continue
            for piece in format.convert(row, kind):
                if isinstance(piece, Part):
                    if grouping is None:
                        place = tempfile.TemporaryDirectory(prefix="derta-", dir=folder)
                        grouping = stack.enter_context(Grouping(Path(stack.enter_context(place))))
                    if not grouping.add(piece):
                        yield Skip("the same prompt, response and label stand there twice", row)
                else:
                    yield piece
        if grouping is not None and format.finish is not None:
            for group in grouping.groups():
                for piece in format.finish(group):
                    if isinstance(piece, Made) and kind not in (None, piece.kind):
                        plural = "triple" if piece.kind == "triple" else "helpful example"
                        yield Skip(f"a {plural}, which was not asked for", piece.place)
                    else:
                        yield piece
