"""A training row divided into parts that can be printed one after another.

Covered: rows of one example with their common beginnings shared. Not covered: several examples
packed into one row; how the parts look (`derta.show.printer`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from derta.rows import EncodedHelpful, EncodedTriple, TargetKind, TrainingRow

__all__ = ["Cell", "Part", "Role", "lay_out"]


class Role(Enum):
    """Whose token it is."""

    PROMPT = "q"
    HARMFUL = "h"
    SAFE = "r"
    HELPFUL = "response"


@dataclass(frozen=True, slots=True)
class Cell:
    """A token and what the model is taught to say after it."""

    token_id: int
    role: Role
    targets: tuple[tuple[int, TargetKind], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens of one role, one after another in the tree."""

    role: Role
    start: int
    """How many tokens of this role precede the part on its path."""
    cells: tuple[Cell, ...]
    before: Cell | None = None
    """The token that the part follows, with the targets that the part answers to."""


def lay_out(
    row: TrainingRow, example: EncodedTriple | EncodedHelpful, harmful_length: int
) -> list[Part]:
    """Divide a tree-shaped row into its parts: prompt, stretches of h, r or a helpful response.

    Args:
        row: the rows of one example after `share_prefixes`.
        example: what the rows were made from.
        harmful_length: how many tokens of h the rows hold (k, |h|, or 0).

    Returns:
        The parts in the order of the row; each target stands in exactly one of them.
    """
    prompt = example.prompt_ids
    harmful = example.harmful_ids[:harmful_length] if isinstance(example, EncodedTriple) else ()
    response = Role.SAFE if isinstance(example, EncodedTriple) else Role.HELPFUL
    known = (*prompt, *harmful)
    targets: list[list[tuple[int, TargetKind]]] = [[] for _ in row.token_ids]
    for position, target, kind in zip(
        row.target_positions, row.target_ids, row.target_kinds, strict=True
    ):
        targets[position].append((target, kind))

    roles: list[Role] = []
    starts: list[int] = []  # indices of the row at which a part begins
    parents: list[int] = []
    path: list[int] = []
    for index, (token, depth) in enumerate(zip(row.token_ids, row.position_ids, strict=True)):
        del path[depth:]
        parent = path[-1] if path else -1
        follows = depth == 0 or roles[parent] in (Role.PROMPT, Role.HARMFUL)
        if follows and depth < len(known) and token == known[depth]:
            role = Role.PROMPT if depth < len(prompt) else Role.HARMFUL
        else:
            role = response
        path.append(index)
        branches = parent >= 0 and row.expires_at[index] < row.expires_at[parent]
        if index == 0 or parent != index - 1 or branches or role is not roles[parent]:
            starts.append(index)
        roles.append(role)
        parents.append(parent)

    parts = []
    # A response's part repeats the token that predicts its beginning and takes its targets along;
    # so does the beginning of h, because the prompt itself is printed as plain text.
    before: dict[int, Cell] = {}
    for start in starts:
        parent, role = parents[start], roles[start]
        if parent >= 0 and (role is not Role.HARMFUL or roles[parent] is Role.PROMPT):
            kept = [
                target
                for target in targets[parent]
                if (target[1] is TargetKind.REFUSAL_TRANSITION) == (role is Role.HARMFUL)
            ]
            targets[parent] = [target for target in targets[parent] if target not in kept]
            before[start] = Cell(row.token_ids[parent], roles[parent], tuple(kept))
    for start, end in zip(starts, (*starts[1:], len(roles)), strict=True):
        cells = tuple(
            Cell(row.token_ids[i], roles[i], tuple(targets[i])) for i in range(start, end)
        )
        offset = 0 if roles[start] is Role.PROMPT else row.position_ids[start] - len(prompt)
        parts.append(Part(roles[start], offset, cells, before.get(start)))
    return parts
