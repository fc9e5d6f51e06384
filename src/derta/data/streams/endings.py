"""What the names of data files end in.

Covered: the known endings, also before those of a compression. Not covered: what is in a file;
that is told by its content.
"""

from __future__ import annotations

from pathlib import PurePath

from derta.data.streams.compression import COMPRESSED_ENDINGS
from derta.data.streams.parts import Unreadable

__all__ = ["ENDINGS_TEXT", "FILE_ENDINGS", "find_ending", "unknown_ending"]

FILE_ENDINGS = (
    *(".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".txt"),
)
"""Each may be followed by one of `COMPRESSED_ENDINGS`."""

ENDINGS_TEXT = f"{', '.join(FILE_ENDINGS)}, or one of these with {', '.join(COMPRESSED_ENDINGS)}"


def find_ending(name: str) -> str | None:
    """Return the known ending of a file's name without that of a compression; None: it has none."""
    ending = _ending(name)
    return ending if ending in FILE_ENDINGS else None


def unknown_ending(name: str) -> Unreadable:
    """Say that a file's name has no known ending."""
    ending = _ending(name)
    said = f"the file name ends in {ending!r}" if ending else "the file name has no ending"
    return Unreadable(said, f"Known endings: {ENDINGS_TEXT}")


def _ending(name: str) -> str:
    """Return what a file's name ends in, without the ending of a compression."""
    lower = PurePath(name).name.lower()
    for ending in COMPRESSED_ENDINGS:
        if lower.endswith(ending):
            lower = lower.removesuffix(ending)
            break
    return PurePath(lower).suffix
