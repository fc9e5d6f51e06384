"""The rows of a Parquet file, some hundred at a time.

Covered: nested columns, dates, bytes (`derta.data.streams.plain_values` says what becomes of
them); row groups that are damaged cost their own rows only. Not covered: encrypted files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from derta.data.streams.parts import Flaw, Piece, Unreadable, first_line, shorten
from derta.data.streams.plain_values import plain_record

__all__ = ["PARQUET_MAGIC", "parquet_rows"]

PARQUET_MAGIC = b"PAR1"
_BATCH_ROWS = 256
_WRITE_AGAIN = "Get the file again, or write it as Parquet again"


def parquet_rows(
    source: Path | BinaryIO, report: Callable[[float], None] | None = None
) -> Iterator[Piece]:
    """Yield the rows of a file; each has its number, from 1.

    Args:
        source: a path, or an open file that can seek.
        report: called now and then with the share of the rows that was read.

    Raises:
        Unreadable: the file as a whole can't be read.
    """
    import pyarrow  # type: ignore[import-untyped]  # ships no types
    import pyarrow.parquet  # type: ignore[import-untyped]

    damage = (OSError, ValueError, OverflowError, MemoryError, pyarrow.ArrowException)
    try:
        opened = str(source) if isinstance(source, Path) else source
        # pre_buffer would hold a whole row group's bytes at once.
        file = pyarrow.parquet.ParquetFile(
            opened, pre_buffer=False, page_checksum_verification=True
        )
        names = Counter(file.schema_arrow.names)
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    except damage as error:
        problem = f"the file can't be read as Parquet: {first_line(error)}"
        raise Unreadable(problem, _WRITE_AGAIN) from None
    with file:
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            problem = f"the column {shorten(twice[0])} stands in the file twice"
            raise Unreadable(problem, "Give every column a name of its own")
        total, before = sum(groups), 0
        for group, count in enumerate(groups):
            number = before
            problem = "the file has no data for them"
            try:
                for batch in file.iter_batches(
                    batch_size=_BATCH_ROWS, row_groups=[group], use_threads=False
                ):
                    yield from _rows(batch, number, (*damage, ImportError))
                    number += batch.num_rows
                    if report is not None:
                        report(number / max(total, 1))
            except damage as error:
                problem = first_line(error)
            before += count
            if number < before:
                problem = f"rows {number + 1} to {before} can't be read: {problem}"
                yield Flaw(problem, _WRITE_AGAIN, number=number + 1)


def _rows(batch: Any, before: int, damage: tuple[type[Exception], ...]) -> Iterator[Piece]:
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
