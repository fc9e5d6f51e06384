"""Whole tables in memory: the rows of a file or data set as they stand, each with its place.

Covered: what `derta.data.streams` reads, which does the reading; one bad row is an error here, with
all others listed. Data sets of the hub, and folders, go through `datasets` as a whole. Not covered:
data that doesn't fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from derta.data.streams import RawRow, find_source, is_folder, stream_hub, stream_rows
from derta.data.streams.hub import HubLoader, HubSource, load_hub_rows
from derta.data.streams.parts import Unreadable
from derta.errors import DataError, InputProblem

__all__ = [
    "HubLoader",
    "HubSource",
    "Table",
    "TableRow",
    "choose_columns",
    "load_from_hub",
    "read_hub",
    "read_table",
]


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row and where it stands."""

    record: dict[str, Any]
    line: int | None = None
    """Of the file, counted from 1, where the format has lines."""
    number: int | None = None
    """Of the row, counted from 1, where it has none."""

    def problem(self, path: str, problem: str, remedy: str, key: str | None = None) -> InputProblem:
        """Name this row in a problem."""
        return RawRow(self.record, path, self.line, self.number).problem(problem, remedy, key)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file or data set, before anything in them is understood."""

    path: str
    """The file or data set, as errors name it."""
    rows: list[TableRow] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """All columns that any row has, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row.record))

    @property
    def is_spreadsheet(self) -> bool:
        """Whether spreadsheets open it: its cells may be guarded (`derta.files.csv_cell`)."""
        return Path(self.path).suffix.lower() in (".csv", ".tsv")


def read_table(
    source: str | Path,
    *,
    split: str | None = None,
    load_hub: HubLoader | None = None,
    hint: str = "",
) -> Table:
    """Read a file, a folder with a data set, or a data set of the hub.

    Args:
        source: a path, "owner/name", or "hub:owner/name", the last two with ":config" if wanted.
        split: of a data set, or the key of a list in a JSON file; other files have none.
        load_hub: loads data sets; None: `load_from_hub`.
        hint: what else may be named, for the error.

    Raises:
        DataError: there is no such source, or it can't be read.
    """
    found = find_source(source, split=split, hint=hint)
    if not isinstance(found, HubSource) and is_folder(found):
        found = HubSource(str(source), None, split)
    if isinstance(found, HubSource):
        return read_hub(found, load_hub=load_hub)
    return _table(str(source), stream_rows(found, split=split))


def read_hub(hub: HubSource, *, load_hub: HubLoader | None = None) -> Table:
    """Load a data set of the hub, or the copy in a local folder.

    Raises:
        DataError: it can't be loaded, or has no rows.
    """
    return _table(str(hub), stream_hub(hub, load_hub=load_hub or load_from_hub))


def load_from_hub(hub: HubSource) -> list[dict[str, Any]]:
    """Load all rows of a data set with the `datasets` library; of several splits that called test.

    Raises:
        DataError: no network, no such data set, configuration or split, or no access to it.
    """
    try:
        return list(load_hub_rows(hub, streaming=False, preferred_split="test"))
    except Unreadable as error:
        raise DataError.of(str(hub), error.problem, error.remedy) from error


def choose_columns(
    table: Table,
    fields: Mapping[str, Sequence[str]],
    given: Mapping[str, str],
    needed: Mapping[tuple[str, ...], str],
) -> dict[str, str]:
    """Say which column of a table holds what.

    Args:
        table: as it was read.
        fields: field -> the column names that stand for it, in small letters; the first that the
            table has is taken, in whatever letters.
        given: field -> column, for those that are called otherwise.
        needed: fields, one of which at least has to be there -> what is wrong where none is.

    Returns:
        Field -> column, of those that are there.

    Raises:
        DataError: there is no such field or column, or a needed one is missing.
    """
    there = table.columns
    problems = []
    for field_name, column in given.items():
        if field_name not in fields:
            remedy = f"Map one of {', '.join(fields)}"
            problems.append(InputProblem(table.path, f"there is no field {field_name!r}", remedy))
        elif column not in there:
            remedy = f"It has {', '.join(there)}"
            problems.append(InputProblem(table.path, f"there is no column {column!r}", remedy))
    if problems:
        raise DataError(problems)
    lower = {name.lower(): name for name in reversed(there)}
    chosen = dict(given)
    for field_name, names in fields.items():
        found = [lower[name] for name in names if name in lower]
        if field_name not in chosen and found:
            chosen[field_name] = found[0]
    for any_of, problem in needed.items():
        if not set(any_of) & set(chosen):
            remedy = f"Map one: --column {any_of[0]}=NAME; it has {', '.join(there)}"
            raise DataError.of(table.path, problem, remedy)
    return chosen


def _table(path: str, stream: Iterable[RawRow | InputProblem]) -> Table:
    rows: list[TableRow] = []
    problems: list[InputProblem] = []
    for each in stream:
        if isinstance(each, InputProblem):
            problems.append(each)
        elif not problems:  # the rows of a bad file are not wanted
            rows.append(TableRow(each.record, each.line, each.number))
    if problems:
        raise DataError(problems)
    return Table(path, rows)
