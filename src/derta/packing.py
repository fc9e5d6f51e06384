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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from derta.rows import TargetKind, TrainingRow

__all__ = ["pack", "share_prefixes", "shared_length"]


@dataclass(slots=True)
class _Node:
    """A token in the tree; children in order of first appearance, so the layout is stable."""

    token_id: int
    depth: int
    children: dict[int, _Node] = field(default_factory=dict)
    targets: list[tuple[int, TargetKind]] = field(default_factory=list)


class _Forest:
    """Rows inserted one after another; equal beginnings fall together."""

    def __init__(self) -> None:
        self.roots: dict[int, _Node] = {}
        self.size = 0

    def new_tokens(self, rows: Iterable[TrainingRow]) -> int:
        """Count the tokens that inserting `rows` would add (exact for one row, else a bound)."""
        added = 0
        for row in rows:
            level = self.roots
            for depth, token in enumerate(row.token_ids):
                node = level.get(token)
                if node is None:
                    added += len(row.token_ids) - depth
                    break
                level = node.children
        return added

    def insert(self, row: TrainingRow) -> None:
        if row.position_ids != tuple(range(len(row))) or set(row.expires_at) - {len(row)}:
            raise ValueError("only plain rows can share prefixes; this one is a tree already")
        path: list[_Node] = []
        level = self.roots
        for depth, token in enumerate(row.token_ids):
            node = level.get(token)
            if node is None:
                node = level[token] = _Node(token, depth)
                self.size += 1
            path.append(node)
            level = node.children
        for position, target, kind in zip(
            row.target_positions, row.target_ids, row.target_kinds, strict=True
        ):
            path[position].targets.append((target, kind))

    def lay_out(self) -> TrainingRow:
        token_ids: list[int] = []
        position_ids: list[int] = []
        expires_at: list[int] = []
        targets: list[tuple[int, int, TargetKind]] = []
        # An explicit stack: a response may be deeper than Python's recursion limit. An int on
        # the stack marks the end of that token's subtree.
        stack: list[_Node | int] = list(reversed(self.roots.values()))
        while stack:
            item = stack.pop()
            if isinstance(item, int):
                expires_at[item] = len(token_ids)
                continue
            index = len(token_ids)
            token_ids.append(item.token_id)
            position_ids.append(item.depth)
            expires_at.append(0)
            targets.extend((index, target, kind) for target, kind in item.targets)
            stack.append(index)
            stack.extend(reversed(item.children.values()))
        return TrainingRow(
            token_ids=tuple(token_ids),
            position_ids=tuple(position_ids),
            expires_at=tuple(expires_at),
            target_positions=tuple(position for position, _, _ in targets),
            target_ids=tuple(target for _, target, _ in targets),
            target_kinds=tuple(kind for _, _, kind in targets),
        )


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


def pack(groups: Sequence[Sequence[TrainingRow]], max_tokens: int) -> list[TrainingRow]:
    """Pack groups of plain rows (a group: the rows of one example) into tree-shaped rows.

    First fit, longest group first; a group is never divided, because its rows share most of
    their tokens. A group that alone exceeds `max_tokens` gets a row of its own.
    """
    order = sorted(range(len(groups)), key=lambda i: -sum(len(row) for row in groups[i]))
    bins: list[_Forest] = []
    for index in order:
        rows = groups[index]
        chosen = next((b for b in bins if b.size + b.new_tokens(rows) <= max_tokens), None)
        if chosen is None:
            chosen = _Forest()
            bins.append(chosen)
        for row in rows:
            chosen.insert(row)
    return [forest.lay_out() for forest in bins]
