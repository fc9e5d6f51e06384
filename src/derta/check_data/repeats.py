"""What stands in the data more than once, or contradicts itself, by the hashes of all rows.

Covered: questions and whole rows that are the same up to case and blanks; a response that is to be
learnt in one row and rejected in another of the same prompt; questions that are harmful in a triple
and answered in a helpful row; held-out questions. A question is what the user says, whatever the
system message; `derta.data.mixing` leaves rows out by the same hashes. Not covered: what is nearly
the same (`derta.check_data.near`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from derta.check_data.chunks import ChunkFacts, Hashes, mixed

__all__ = ["AllRows", "Repeats", "find_repeats", "find_same_questions"]

_SHOWN_PLACES = 5
_Group = tuple[Hashes, NDArray[np.intp]]
"""Hashes of some rows and the rows' numbers: (rows,) each."""


@dataclass(frozen=True, slots=True)
class AllRows:
    """The hashes of every usable row, in the order of the data."""

    paths: list[str]
    path_indices: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    numbers: NDArray[np.uint32]
    questions: Hashes
    endings: Hashes
    prompts: Hashes
    good: Hashes
    bad: Hashes
    turns: Hashes
    """Of each user turn, where a prompt has several: (turns,)."""
    turn_rows: NDArray[np.int64]
    """The row of each of `turns`."""

    @classmethod
    def joined(cls, paths: list[str], facts: Sequence[ChunkFacts]) -> AllRows:
        """Join what was counted in chunks."""
        listed = list(facts) or [ChunkFacts("", 0)]
        parts = [
            (
                np.full(len(each.kinds), each.path_index, np.uint32),
                *(each.kinds, each.numbers, each.questions, each.endings),
                *(each.prompts, each.good, each.bad),
            )
            for each in listed
        ]
        starts = np.cumsum([0, *(len(each.kinds) for each in listed[:-1])])
        pairs = zip(listed, starts, strict=True)
        turns = np.concatenate([each.turns for each in listed])
        turn_rows = np.concatenate([each.turn_rows + start for each, start in pairs])
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return cls(paths, *[*columns, turns, turn_rows])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.kinds)

    def place(self, row: int) -> str:
        """Name file and line of a row."""
        return f"{self.paths[self.path_indices[row]]}:{self.numbers[row]}"


@dataclass(frozen=True, slots=True)
class Repeats:
    """Something that is there more than once."""

    count: int
    """Copies beyond the first; of contradictions and leaks: how many there are."""
    groups: int
    """Different things that are repeated."""
    largest: int
    """Rows of the largest group."""
    places: list[str]
    """The first rows of the largest group, or of the first cases."""


def find_repeats(rows: AllRows) -> dict[str, Repeats]:
    """Find repeated prompts and rows, and contradictions.

    Returns:
        "prompts", "rows", "contradictions", "refused and answered".
    """
    kind = rows.kinds.astype(np.uint64)
    whole = mixed(mixed(rows.prompts, kind), mixed(rows.good, rows.bad))
    rejecting = np.flatnonzero(rows.bad)
    learnt = mixed(rows.prompts, rows.good)
    rejected = mixed(rows.prompts[rejecting], rows.bad[rejecting])
    harmful, helpful = np.flatnonzero(rows.kinds == 0), np.flatnonzero(rows.kinds == 1)
    refused, answered = (
        [(hashes[some], some) for hashes in (rows.questions, rows.endings)]
        for some in (harmful, helpful)
    )
    every = np.arange(len(rows))
    return {
        "prompts": _repeated(rows, mixed(rows.questions, kind)),
        "rows": _repeated(rows, whole),
        "contradictions": _shared(rows, ((learnt, every), (rejected, rejecting))),
        # A conversation asks what a lone question asks if it ends in it.
        "refused and answered": _shared(
            rows,
            (refused[0], answered[0]),
            (refused[0], answered[1]),
            (refused[1], answered[0]),
        ),
    }


def find_same_questions(rows: AllRows, hashes: Iterable[int]) -> list[tuple[int, int]]:
    """Find held-out questions in the data: (index of the hash, the first row that has it).

    A row has it as all that the user says, or as one of the user's turns.
    """
    wanted = np.array(list(hashes), np.uint64)
    said = np.concatenate((rows.questions, rows.turns))
    places = np.concatenate((np.arange(len(rows)), rows.turn_rows))
    order = np.lexsort((places, said))
    ordered = said[order]
    starts = np.searchsorted(ordered, wanted)
    return [
        (index, int(places[order[start]]))
        for index, start in enumerate(starts)
        if start < len(ordered) and ordered[start] == wanted[index]
    ]


def _repeated(rows: AllRows, hashes: Hashes) -> Repeats:
    values, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    groups = int((counts > 1).sum())
    if not groups:
        return Repeats(0, 0, 0, [])
    largest = int(counts.max())
    start = first[counts == largest].min()  # of several groups, the one that comes first
    members = np.flatnonzero(hashes == hashes[start])[:_SHOWN_PLACES]
    places = [rows.place(int(row)) for row in members]
    return Repeats(len(hashes) - len(values), groups, largest, places)


def _shared(rows: AllRows, *pairs: tuple[_Group, _Group]) -> Repeats:
    """Find the hashes that both groups of a pair have; places are in the order of the data."""
    found: list[NDArray[np.uint64]] = []
    for first, second in pairs:
        # The first row of each group that has a hash.
        common, one, other = np.intersect1d(first[0], second[0], return_indices=True)
        sides = (first[1][one].astype(np.uint64), second[1][other].astype(np.uint64))
        found.append(np.stack((common, *sides), axis=1))
    cases = np.concatenate(found)
    cases = cases[np.argsort(cases[:, 1:].min(axis=1), kind="stable")]
    _, firsts = np.unique(cases[:, 0], return_index=True)
    places = [
        f"{rows.place(int(one))} and {rows.place(int(other))}"
        for _, one, other in cases[np.sort(firsts)][:_SHOWN_PLACES]
    ]
    return Repeats(len(firsts), len(firsts), 0, places)
