"""Texts of the explorer by number, each kept once, and long ones cut where there is no room.

Prompts, prefilled texts and responses are written once however many models and settings share
them; one that another begins with (the first 5 of 80 prefilled tokens) is a number and a length.
Covered: any text; what can't be seen is written as its code (`visible_text`). Not covered: which
texts there are (`explorer_data`).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from derta.report.markup import visible_text

__all__ = ["Numbers", "Texts", "utf16_length"]

Value = TypeVar("Value", bound=Hashable)

_WORTH_SHARING = 12
"""A shorter text is written out: its number and length would be as long."""


def utf16_length(text: str) -> int:
    """Count the units in which JavaScript counts."""
    return len(text) if text.isascii() else len(text) + sum(c > "\uffff" for c in text)


class Numbers(Generic[Value]):
    """Values by number, in the order in which they come."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._numbers: dict[Value, int] = {}

    def add(self, value: Value) -> int:
        """Give a value's number; a new value gets the next one."""
        return self._numbers.setdefault(value, len(self._numbers))

    def values(self) -> list[Value]:
        """List the values, each at its number."""
        return list(self._numbers)


class Texts:
    """Texts by number; number 0 is the empty text."""

    def __init__(self, longest: int | None = None) -> None:
        """Take how many characters are kept of a text; None: all."""
        self._longest = longest
        self._numbers = Numbers[str]()
        self._kept: list[str] = []
        self._cut: dict[int, int] = {}
        self.add("")

    def add(self, text: str, *, whole: bool = False) -> int:
        """Give a text's number.

        Args:
            text: any.
            whole: it isn't cut, whatever its length; nor is it where it came before.
        """
        number = self._numbers.add(text)
        longest = None if whole else self._longest
        if number == len(self._kept):
            self._kept.append(visible_text(text[:longest]))
            if longest is not None and len(text) > longest:
                self._cut[number] = len(text) - longest
        elif whole and self._cut.pop(number, 0):
            self._kept[number] = visible_text(text)
        return number

    def rows(self) -> list[str | list[int]]:
        """List the texts: each is itself, or [number, length] of the text that begins with it.

        Lengths are JavaScript's.
        """
        rows: list[str | list[int]] = list(self._kept)
        # In this order a text stands right before those that it begins, so from the end on each
        # is compared with the longest that it can begin.
        order = sorted(range(len(self._kept)), key=lambda number: self._kept[number])
        whole = -1
        for number in reversed(order):
            text = self._kept[number]
            begins = whole >= 0 and self._kept[whole].startswith(text)
            if not begins:
                whole = number
            elif len(text) >= _WORTH_SHARING:
                rows[number] = [whole, utf16_length(text)]
        return rows

    def left_out(self) -> dict[str, int]:
        """Say of which numbers how many characters were cut away."""
        return {str(number): count for number, count in self._cut.items()}
