"""Rows of any file, folder or data set, as they stand: whatever its format and state.

Covered: reading, in constant memory, with the place of what can't be read. Not covered: what the
rows mean (`derta.data.formats`).
"""

from __future__ import annotations

from derta.data.streams.reading import (
    FILE_ENDINGS,
    RawRow,
    find_ending,
    find_source,
    is_folder,
    stream_hub,
    stream_rows,
    stream_values,
)

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
