"""Rows of Arrow batches, as Parquet and Arrow files give them.

Covered: rows that have no Python form, found one by one. Not covered: the files (`parquet`,
`arrow`), what becomes of the values (`plain_values`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from derta.data.streams.parts import Flaw, Piece, Unreadable, first_line, shorten
from derta.data.streams.plain_values import plain_record

__all__ = ["BATCH_ROWS", "arrow_errors", "batch_rows", "require_names"]

BATCH_ROWS = 256
"""So many rows are Python objects at a time."""


def arrow_errors() -> tuple[type[Exception], ...]:
    """Name what pyarrow raises for damaged files."""
    import pyarrow  # type: ignore[import-untyped]  # ships no types

    return (OSError, ValueError, OverflowError, MemoryError, pyarrow.ArrowException)


def require_names(names: Iterable[str]) -> None:
    """See that no column has the name of another one.

    Raises:
        Unreadable: one has.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        problem = f"the column {shorten(twice[0])} stands in the file twice"
        raise Unreadable(problem, "Give every column a name of its own")


def batch_rows(batch: Any, before: int) -> Iterator[Piece]:
    """Yield the rows of a record batch; each has its number.

    Args:
        batch: of some hundred rows.
        before: how many rows precede it.
    """
    damage: tuple[type[Exception], ...] = (*arrow_errors(), ImportError)
    try:
        records = batch.to_pylist()
    except damage:
        # Some value has no Python form: find its row.
        for place in range(batch.num_rows):
            number = before + place + 1
            try:
                record = batch.slice(place, 1).to_pylist()[0]
            except damage as error:
                problem = f"the row can't be read: {first_line(error)}"
                yield Flaw(problem, "Write its values as text", number=number)
            else:
                yield plain_record(record), None, number
        return
    for place, record in enumerate(records, start=1):
        yield plain_record(record), None, before + place
