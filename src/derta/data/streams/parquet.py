"""The rows of a Parquet file, some hundred at a time.

Covered: nested columns, dates, bytes (`derta.data.streams.plain_values` says what becomes of
them); row groups that are damaged cost their own rows only. Not covered: encrypted files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from derta.data.streams.batches import BATCH_ROWS, arrow_errors, batch_rows, require_names
from derta.data.streams.parts import Flaw, Piece, Unreadable, first_line

__all__ = ["PARQUET_MAGIC", "parquet_rows"]

PARQUET_MAGIC = b"PAR1"
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
    import pyarrow.parquet  # type: ignore[import-untyped]  # ships no types

    damage = arrow_errors()
    try:
        opened = str(source) if isinstance(source, Path) else source
        # pre_buffer would hold a whole row group's bytes at once.
        file = pyarrow.parquet.ParquetFile(
            opened, pre_buffer=False, page_checksum_verification=True
        )
        names = file.schema_arrow.names
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    except damage as error:
        problem = f"the file can't be read as Parquet: {first_line(error)}"
        raise Unreadable(problem, _WRITE_AGAIN) from None
    with file:
        require_names(names)
        total, before = sum(groups), 0
        for group, count in enumerate(groups):
            number = before
            problem = "the file has no data for them"
            try:
                for batch in file.iter_batches(
                    batch_size=BATCH_ROWS, row_groups=[group], use_threads=False
                ):
                    yield from batch_rows(batch, number)
                    number += batch.num_rows
                    if report is not None:
                        report(number / max(total, 1))
            except damage as error:
                problem = first_line(error)
            before += count
            if number < before:
                problem = f"rows {number + 1} to {before} can't be read: {problem}"
                yield Flaw(problem, _WRITE_AGAIN, number=number + 1)
