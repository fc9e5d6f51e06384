"""How many rows of what a mix takes, and which: numbers, shares and hashes only.

A kind of rows (triples, helpful) has cells: a language, and for helpful rows ordinary or
look-alike. Covered: the number of each cell, the largest mix that shares allow, the choice of rows.
Not covered: reading and writing (`derta.data.mixing`).

Shapes:  N rows of a kind, L languages, C categories (1, or 2: other rows and look-alikes).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

__all__ = [
    "Fate",
    "RowTable",
    "allot",
    "available",
    "choose",
    "half_up",
    "largest",
    "leave_out",
    "rank_of",
]


class Fate(IntEnum):
    """What becomes of a row."""

    CHOSEN = 0
    UNUSABLE = 1
    DUPLICATE = 2
    CONTRADICTORY = 3
    OTHER_LANGUAGE = 4
    OVER_LIMIT = 5
    NOT_NEEDED = 6
    HELD_OUT = 7


@dataclass(slots=True)
class RowTable:
    """What is kept of each row while it is decided on: 33 bytes, however long its texts are."""

    prompt: array[int] = field(default_factory=partial(array, "Q"))
    """64-bit hash of all that the user says (`derta.data.prompts`)."""
    ending: array[int] = field(default_factory=partial(array, "Q"))
    """That of the turn that asks; the same where there is one turn."""
    rank: array[int] = field(default_factory=partial(array, "Q"))
    """Another one, with the seed: rows are drawn in its order."""
    source: array[int] = field(default_factory=partial(array, "I"))
    language: array[int] = field(default_factory=partial(array, "H"))
    look_alike: array[int] = field(default_factory=partial(array, "B"))
    held_out: array[int] = field(default_factory=partial(array, "B"))
    usable: array[int] = field(default_factory=partial(array, "B"))

    def __len__(self) -> int:
        """Return the number of rows that were read, usable or not."""
        return len(self.prompt)

    def add(
        self,
        prompt: int,
        ending: int,
        rank: int,
        source: int,
        language: int,
        *,
        look_alike: bool,
        held_out: bool,
    ) -> None:
        """Add a usable row."""
        self.prompt.append(prompt)
        self.ending.append(ending)
        self.rank.append(rank)
        self.source.append(source)
        self.language.append(language)
        self.look_alike.append(look_alike)
        self.held_out.append(held_out)
        self.usable.append(1)

    def add_unusable(self) -> None:
        """Add a row that can't be used, so that places stay those of the files."""
        self.add(0, 0, 0, 0, 0, look_alike=False, held_out=False)
        self.usable[-1] = 0


def rank_of(prompt: int, seed: int) -> int:
    """Draw a number for a prompt's hash: rows are taken in the order of theirs."""
    return xxhash.xxh3_64_intdigest(prompt.to_bytes(8, "little"), seed=seed + 1)


def leave_out(
    table: RowTable,
    others: RowTable,
    *,
    languages: int | None,
    limit_per_source: int | None,
) -> NDArray[np.uint8]:
    """Decide which rows may be drawn: the others' fates are final, the rest is CHOSEN so far.

    Args:
        table: the rows of one kind.
        others: of the other kind; a question that both have is left out of both. A conversation
            asks what a lone question asks if it ends in it.
        languages: how many languages, counted from 0, are wanted; None for all.
        limit_per_source: most rows of a source; those of the lowest rank stay.

    Returns:
        (N,) `Fate` of each row.
    """
    prompt, rank = np.asarray(table.prompt), np.asarray(table.rank)
    fate = np.full(len(table), Fate.DUPLICATE, np.uint8)
    usable = np.flatnonzero(np.asarray(table.usable))
    _, first = np.unique(prompt[usable], return_index=True)
    fate[usable[first]] = Fate.CHOSEN
    fate[np.asarray(table.usable) == 0] = Fate.UNUSABLE
    fate[np.asarray(table.held_out) == 1] = Fate.HELD_OUT
    there = (np.asarray(others.usable) == 1) & (np.asarray(others.held_out) == 0)
    other, other_ending = np.asarray(others.prompt)[there], np.asarray(others.ending)[there]
    both = np.isin(prompt, other) | np.isin(prompt, other_ending)
    both |= np.isin(np.asarray(table.ending), other)
    fate[(fate == Fate.CHOSEN) & both] = Fate.CONTRADICTORY
    if languages is not None:
        foreign = np.asarray(table.language) >= languages
        fate[(fate == Fate.CHOSEN) & foreign] = Fate.OTHER_LANGUAGE
    if limit_per_source is not None:
        left = np.flatnonzero(fate == Fate.CHOSEN)
        source = np.asarray(table.source)[left]
        order = np.lexsort((rank[left], source))
        sorted_source = source[order]
        starts = np.searchsorted(sorted_source, sorted_source, side="left")
        over = np.arange(len(order)) - starts >= limit_per_source
        fate[left[order[over]]] = Fate.OVER_LIMIT
    return fate


def available(table: RowTable, fate: NDArray[np.uint8], languages: int, categories: int) -> Any:
    """Count the rows that may be drawn, by cell: (L, C)."""
    cells = _cells(table, languages, categories)[fate == Fate.CHOSEN]
    return np.bincount(cells, minlength=languages * categories).reshape(languages, categories)


def choose(
    table: RowTable, fate: NDArray[np.uint8], wanted: Sequence[Sequence[int]]
) -> NDArray[np.uint8]:
    """Draw so many rows of each cell, in the order of their ranks; the rest is NOT_NEEDED.

    Args:
        table: the rows.
        fate: (N,), of `leave_out`.
        wanted: (L, C), no more than there are.
    """
    categories = len(wanted[0])
    cells = _cells(table, len(wanted), categories)
    rank, drawn = np.asarray(table.rank), fate.copy()
    for language, numbers in enumerate(wanted):
        for category, count in enumerate(numbers):
            cell = language * categories + category
            left = np.flatnonzero((fate == Fate.CHOSEN) & (cells == cell))
            order = np.argsort(rank[left], kind="stable")
            drawn[left[order[count:]]] = Fate.NOT_NEEDED
    return drawn


def _cells(table: RowTable, languages: int, categories: int) -> NDArray[np.int64]:
    """Number each row's cell: (N,)."""
    cells = np.zeros(len(table), np.int64)
    if languages > 1:
        cells += np.minimum(np.asarray(table.language, np.int64), languages - 1) * categories
    if categories > 1:
        cells += np.asarray(table.look_alike, np.int64)
    return cells


# --- numbers -----------------------------------------------------------------------------------


def half_up(number: Fraction) -> int:
    """Round to the nearest whole number, one half upwards."""
    return (2 * number.numerator + number.denominator) // (2 * number.denominator)


def allot(
    total: int,
    supply: Sequence[Sequence[int]],
    shares: Sequence[Fraction],
    look_alike_share: Fraction | None,
) -> list[list[int]] | None:
    """Divide a number of rows among the cells, shares rounded to whole rows.

    Args:
        total: of all cells together.
        supply: (L, C): how many rows there are.
        shares: (L,) of the languages, which sum to 1.
        look_alike_share: of the second category, over all languages; None where C is 1.

    Returns:
        (L, C), or None: there aren't so many rows.
    """
    numbers = _divide(total, shares)
    if any(number > sum(cell) for number, cell in zip(numbers, supply, strict=True)):
        return None
    if look_alike_share is None:
        return [[number] for number in numbers]
    wanted = half_up(total * look_alike_share)
    pairs = list(zip(numbers, supply, strict=True))
    lowest = [max(0, number - cell[0]) for number, cell in pairs]
    highest = [min(number, cell[1]) for number, cell in pairs]
    if not sum(lowest) <= wanted <= sum(highest):
        return None
    # The share in every language, as far as there are rows; what is left over goes where it can.
    taken = [
        min(max(half_up(number * look_alike_share), low), high)
        for number, low, high in zip(numbers, lowest, highest, strict=True)
    ]
    missing = wanted - sum(taken)
    for index, (low, high) in enumerate(zip(lowest, highest, strict=True)):
        step = min(max(missing, low - taken[index]), high - taken[index])
        taken[index] += step
        missing -= step
    return [[number - some, some] for number, some in zip(numbers, taken, strict=True)]


def largest(
    supply: Sequence[Sequence[int]],
    shares: Sequence[Fraction],
    look_alike_share: Fraction | None,
) -> int:
    """Find the largest number of rows that the shares allow."""

    def is_possible(total: int) -> bool:
        return allot(total, supply, shares, look_alike_share) is not None

    low, high = 0, sum(sum(cell) for cell in supply)
    while low < high:
        middle = (low + high + 1) // 2
        if is_possible(middle):
            low = middle
        else:
            high = middle - 1
    # Rounding lets a number work where a smaller one doesn't.
    reach = 2 * len(shares) + 2
    return max((low + more for more in range(reach) if is_possible(low + more)), default=low)


def _divide(total: int, shares: Sequence[Fraction]) -> list[int]:
    """Divide by shares; the largest remainders get the rows that rounding down leaves."""
    exact = [total * share for share in shares]
    numbers = [int(each) for each in exact]
    order = sorted(range(len(shares)), key=lambda index: (numbers[index] - exact[index], index))
    for index in order[: total - sum(numbers)]:
        numbers[index] += 1
    return numbers
