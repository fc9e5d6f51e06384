"""Common beginnings are computed once: rows become one tree-shaped row.

Any set of rows is a forest of token sequences. Laid out depth first in ONE row, with

    position_ids[i] = the depth of token i in its tree
    expires_at[i]   = the index just past token i's subtree

and attention allowed exactly where `key <= query < expires_at[key]`, every token sees its own
ancestors and nothing else. So the loss and the gradients are those of the separate rows, while
q + h[:k], which the RTO row and the harmful-prefix row share, is computed once. The same rule
packs unrelated documents side by side: they are separate trees. A system prompt that all of them
begin with is one more common beginning.

Not covered: models whose state is not attention over explicit keys (state-space layers), and the
mask in the form each attention implementation wants (`derta.attention`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from derta.rows import TrainingRow

__all__ = ["Cost", "pack", "share_prefixes", "shared_length"]

Cost = Callable[[int, int], float]
"""What a layout of (rows, tokens of the longest) costs; padding is paid for."""

_LENGTHS_TRIED = 5


@dataclass(slots=True)
class _Run:
    """Tokens that no branch parts; children by first token, in order of their appearance."""

    token_ids: tuple[int, ...]
    depth: int
    """Of the first token."""
    children: dict[int, _Run] = field(default_factory=dict)
    start: int = 0
    """Index of the first token in the layout, once there is one."""

    def split(self, length: int) -> None:
        """Keep the first `length` tokens; the others become the only child."""
        rest = _Run(self.token_ids[length:], self.depth + length, self.children)
        self.token_ids = self.token_ids[:length]
        self.children = {rest.token_ids[0]: rest}


class _Forest:
    """Rows inserted one after another; equal beginnings fall together."""

    def __init__(self) -> None:
        self.root = _Run((), 0)
        self.size = 0
        self.rows: list[TrainingRow] = []

    def new_tokens(self, rows: Iterable[TrainingRow]) -> int:
        """Count the tokens that inserting `rows` would add (exact for one row, else a bound)."""
        return sum(len(row) - self._find(row)[2] for row in rows)

    def insert(self, row: TrainingRow) -> None:
        if row.position_ids != tuple(range(len(row))) or set(row.expires_at) - {len(row)}:
            raise ValueError("only plain rows can share prefixes; this one is a tree already")
        self.rows.append(row)
        last, within, known = self._find(row)
        if known == len(row):
            return
        if within < len(last.token_ids):
            last.split(within)
        rest = row.token_ids[known:]
        last.children[rest[0]] = _Run(rest, known)
        self.size += len(rest)

    def _find(self, row: TrainingRow) -> tuple[_Run, int, int]:
        """Follow a row as far as it goes: the last run, tokens of it, tokens of the row."""
        path = [(self.root, 0), *self._path(row)]
        return *path[-1], sum(length for _, length in path)

    def _path(self, row: TrainingRow) -> Iterator[tuple[_Run, int]]:
        """Yield the runs of a row's beginning and how many tokens of each are the row's."""
        ids, done = row.token_ids, 0
        level = self.root.children
        while done < len(ids) and (run := level.get(ids[done])) is not None:
            length = _equal(run.token_ids, ids[done : done + len(run.token_ids)])
            yield run, length
            if length < len(run.token_ids):
                return
            done += length
            level = run.children

    def lay_out(self) -> TrainingRow:
        token_ids: list[int] = []
        position_ids: list[int] = []
        expires_at: list[int] = []
        # An explicit stack: the tree may be deeper than Python's recursion limit. A run comes
        # back, marked True, at the end of its subtree.
        stack = [(run, False) for run in reversed(self.root.children.values())]
        while stack:
            run, ends = stack.pop()
            length = len(run.token_ids)
            if ends:
                expires_at[run.start : run.start + length] = [len(token_ids)] * length
                continue
            run.start = len(token_ids)
            token_ids += run.token_ids
            position_ids += range(run.depth, run.depth + length)
            expires_at += [0] * length
            stack.append((run, True))
            stack += [(child, False) for child in reversed(run.children.values())]
        positions: list[int] = []
        for row in self.rows:
            places = self._places(row)
            positions += [places[position] for position in row.target_positions]
        ids = [target for row in self.rows for target in row.target_ids]
        kinds = [kind for row in self.rows for kind in row.target_kinds]
        # Sorted by numbers, not as tuples: a step has tens of thousands of targets, and Python's
        # garbage collector would walk over each tuple again and again.
        order = sorted(range(len(positions)), key=positions.__getitem__)
        return TrainingRow(
            token_ids=tuple(token_ids),
            position_ids=tuple(position_ids),
            expires_at=tuple(expires_at),
            target_positions=tuple([positions[i] for i in order]),
            target_ids=tuple([ids[i] for i in order]),
            target_kinds=tuple([kinds[i] for i in order]),
        )

    def _places(self, row: TrainingRow) -> list[int]:
        """List the indices of a row's tokens in the layout."""
        places: list[int] = []
        for run, length in self._path(row):
            places += range(run.start, run.start + length)
        return places


def _equal(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Count the tokens that two sequences have in common at their beginning."""
    if first[: len(second)] == second:  # at the speed of C, and mostly so
        return len(second)
    return next(index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)


def share_prefixes(rows: Iterable[TrainingRow]) -> TrainingRow:
    """Lay plain rows out as one tree-shaped row; loss and gradients stay those of the rows.

    Raises:
        ValueError: a row is a tree already.
    """
    forest = _Forest()
    for row in rows:
        forest.insert(row)
    return forest.lay_out()


def shared_length(rows: Iterable[TrainingRow]) -> int:
    """Count the tokens of `share_prefixes(rows)`."""
    forest = _Forest()
    for row in rows:
        forest.insert(row)
    return forest.size


def pack(
    groups: Sequence[Sequence[TrainingRow]],
    max_tokens: int | None,
    cost: Cost | None = None,
) -> list[TrainingRow]:
    """Pack groups of plain rows (a group: the rows of one example) into tree-shaped rows.

    First fit, longest group first; a group is never divided, because its rows share most of
    their tokens. A group that alone exceeds the length gets a row of its own.

    Args:
        groups: of plain rows.
        max_tokens: length of a packed row; None packs everything into one.
        cost: chooses the length between the longest group's and `max_tokens`: the layout that
            costs least. None takes `max_tokens` as it is.

    Raises:
        ValueError: a row is a tree already.
    """
    order = sorted(groups, key=lambda group: -sum(len(row) for row in group))
    if max_tokens is None:
        max_tokens = sum(len(row) for group in groups for row in group)
    lengths = [max_tokens]
    if cost is not None:
        shortest = max((shared_length(group) for group in groups), default=0)
        ratio = max_tokens / max(shortest, 1)
        steps = range(_LENGTHS_TRIED if ratio > 1 else 0)
        lengths += [round(shortest * ratio ** (step / _LENGTHS_TRIED)) for step in steps]
    layouts = [_first_fit(order, length) for length in dict.fromkeys(lengths)]
    chosen = layouts[0]
    if cost is not None and groups:
        prices = [cost(len(bins), max(each.size for each in bins)) for bins in layouts]
        chosen = layouts[prices.index(min(prices))]
    return [forest.lay_out() for forest in chosen]


def _first_fit(groups: Iterable[Sequence[TrainingRow]], length: int) -> list[_Forest]:
    bins: list[_Forest] = []
    for rows in groups:
        chosen = next((each for each in bins if each.size + each.new_tokens(rows) <= length), None)
        if chosen is None:
            chosen = _Forest()
            bins.append(chosen)
        for row in rows:
            chosen.insert(row)
    return bins
