"""Sequences of encoded examples: looked up where they lie, joined and chosen without a copy."""

from __future__ import annotations

import bisect
import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from derta.rows import EncodedHelpful, EncodedTriple

__all__ = ["ChosenExamples", "Example", "Examples", "JoinedExamples"]

Example = EncodedTriple | EncodedHelpful


class Examples(Sequence[Example]):
    """Examples that are looked up one by one; what a list's index does beside that."""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """Return an example, or the list of a slice's.

        Raises:
            IndexError: there are not so many.
        """
        if isinstance(index, slice):
            return [self._at(each) for each in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"there is no example {index}")
        return self._at(place)

    @abstractmethod
    def _at(self, place: int) -> Example:
        """Return the example at a place from 0 to below the length."""


class JoinedExamples(Examples):
    """Several sequences of examples, one after the other, none of them copied."""

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        """Join `parts` in their order."""
        self.parts = parts
        self.ends = list(itertools.accumulate(map(len, parts)))

    def __len__(self) -> int:
        """Return the number of examples of all parts."""
        return self.ends[-1] if self.ends else 0

    def _at(self, place: int) -> Example:
        part = bisect.bisect_right(self.ends, place)
        return self.parts[part][place - self.ends[part]]  # counted from the part's end


class ChosenExamples(Examples):
    """Some examples of a sequence, none of them copied or looked up before it is asked for."""

    def __init__(self, examples: Sequence[Example], places: Sequence[int]) -> None:
        """Choose the examples at `places`, in the order of `places`."""
        self.examples = examples
        self.places = places

    def __len__(self) -> int:
        """Return the number of chosen examples."""
        return len(self.places)

    def _at(self, place: int) -> Example:
        return self.examples[self.places[place]]
