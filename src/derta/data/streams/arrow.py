"""The rows of an Arrow file: Feather, and the files of the hub library's cache.

Covered: Arrow's file format (Feather's second version) and its stream format, which `datasets`
writes; compressed buffers; the rows before a place that is damaged. Not covered: Feather's first
version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from derta.data.streams.batches import BATCH_ROWS, arrow_errors, batch_rows, require_names
from derta.data.streams.parts import Piece, Unreadable, first_line

__all__ = ["arrow_rows", "is_arrow"]

_FILE_MAGIC = b"ARROW1\x00\x00"
_STREAM_BEGINS = b"\xff\xff\xff\xff"
_LONGEST_SCHEMA_BYTES = 1 << 28
_WRITE_AGAIN = "Get the file again, or write the rows as Parquet"


def is_arrow(head: bytes) -> bool:
    """Say whether a file that begins so is an Arrow file or stream."""
    if head.startswith(_FILE_MAGIC):
        return True
    size = int.from_bytes(head[4:8], "little")
    return head.startswith(_STREAM_BEGINS) and 0 < size < _LONGEST_SCHEMA_BYTES


def arrow_rows(
    source: Path | BinaryIO, report: Callable[[float], None] | None = None
) -> Iterator[Piece]:
    """Yield the rows of a file; each has its number, from 1.

    Args:
        source: a path, or an open file that can seek.
        report: called now and then with the share of the file that was read.

    Raises:
        Unreadable: the file as a whole can't be read, or breaks off.
    """
    import pyarrow  # type: ignore[import-untyped]  # ships no types
    import pyarrow.ipc  # type: ignore[import-untyped]

    damage: tuple[type[Exception], ...] = (*arrow_errors(), EOFError)
    number = 0
    try:
        with (
            pyarrow.OSFile(str(source))
            if isinstance(source, Path)
            else pyarrow.PythonFile(source, mode="r")
        ) as file:
            size = max(file.size(), 1)
            reader, batches = _open(file, pyarrow.ipc)
            with reader:
                require_names(reader.schema.names)
                for batch in batches:
                    # Wrong offsets in a damaged file would be read as addresses.
                    batch.validate(full=True)
                    for start in range(0, batch.num_rows, BATCH_ROWS):
                        yield from batch_rows(batch.slice(start, BATCH_ROWS), number + start)
                    number += batch.num_rows
                    if report is not None:
                        report(min(file.tell() / size, 1.0))
    except damage as error:
        where = f"breaks off after row {number}" if number else "can't be read as Arrow"
        raise Unreadable(f"the file {where}: {first_line(error)}", _WRITE_AGAIN) from None
    if report is not None:
        report(1.0)


def _open(file: Any, ipc: Any) -> tuple[Any, Iterator[Any]]:
    """Open either format; give the reader and its batches."""
    is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
    file.seek(0)
    if not is_file:
        reader = ipc.open_stream(file)
        return reader, iter(reader)
    reader = ipc.open_file(file)
    return reader, (reader.get_batch(n) for n in range(reader.num_record_batches))
