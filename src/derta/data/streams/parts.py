"""What the readers of `derta.data.streams` hand on: values, flaws, and the end of what is readable.

Covered: these types and how long a line may be. Not covered: paths; `streams` knows them and makes
problems for the user of what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["LONGEST_BYTES", "Flaw", "Piece", "Unreadable", "first_line", "shorten"]

LONGEST_BYTES = 64 << 20
"""A line, a list's element or a row of CSV above this is a problem and never held whole."""
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Flaw:
    """One piece of a file that can't be read; what stands around it can."""

    problem: str
    remedy: str
    line: int | None = None
    """Of the file, counted from 1, where the format has lines."""
    number: int | None = None
    """Of the row, counted from 1, where it has none."""
    key: str | None = None


Piece = tuple[Any, int | None, int | None] | Flaw
"""A value with its line or its number, or what is wrong at its place."""


class Unreadable(Exception):  # noqa: N818  (never leaves the readers)
    """From here on nothing can be read: the whole file if it is raised before any piece."""

    def __init__(self, problem: str, remedy: str, line: int | None = None) -> None:
        """Keep what the user is told."""
        super().__init__(problem)
        self.problem, self.remedy, self.line = problem, remedy, line
        self.tail = b""
        """The beginning of a line whose end could not be read."""


def shorten(name: object) -> str:
    """Quote a name from a file so that it can't fill the screen."""
    text = repr(name)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...'"


def first_line(error: Exception) -> str:
    """Return what a library's error says, without its second line and full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
