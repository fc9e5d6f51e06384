"""Rows of a micro-batch as tensors: packed and tree-shaped, or plain and right-padded.

Shapes:  B rows, T tokens, S supervised targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from derta.packing import pack
from derta.rows import TargetKind, TrainingRow

__all__ = ["RowCollator"]


@dataclass(frozen=True, slots=True)
class RowCollator:
    """Makes the model's inputs from the rows of several examples."""

    pad_id: int
    packed: bool = True
    """Share prefixes and pack; otherwise one plain row each."""
    max_tokens: int | None = 512
    """Length of a packed row; None packs a micro-batch into one."""
    balance: float | None = None
    """Tokens of a row at which attention costs as much as everything else; a length up to
    `max_tokens` is chosen by it (`derta.attention.attention_balance`). None takes `max_tokens`."""
    weights: dict[TargetKind, float] = field(default_factory=dict)
    """Weight of each kind of target in the loss; 1.0 where none is named."""
    helpful_margin: float = 0.0
    """Nats added to the refusal token's logit at helpful targets, in training only."""

    def plain(self) -> RowCollator:
        """Return the same collator without sharing and packing."""
        return replace(self, packed=False)

    def _cost(self, rows: int, width: int) -> float:
        assert self.balance is not None
        return rows * width * (1 + width / self.balance)

    def __call__(self, groups: Sequence[Sequence[TrainingRow]]) -> dict[str, Tensor]:
        """Collate groups of rows (a group: the rows of one example).

        Returns:
            input_ids (B, T); target_positions, target_ids, target_kinds, target_weights (S,),
            positions being indices into the flattened (B * T) tokens; attention_mask (B, T), 1 at
            tokens; with a margin also refusal_margins (S,); for packed rows also position_ids and
            expires_at (B, T).
        """
        if self.packed:
            cost = None if self.balance is None else self._cost
            rows = pack([group for group in groups if group], self.max_tokens, cost)
        else:
            rows = [row for group in groups for row in group]
        width = max((len(row) for row in rows), default=1)
        height = max(len(rows), 1)
        input_ids = torch.full((height, width), self.pad_id)
        position_ids = torch.zeros((height, width), dtype=torch.long)
        # A padding token attends to itself: a row of the mask that is all False gives NaN.
        expires_at = torch.arange(1, width + 1).repeat(height, 1)
        attention_mask = torch.zeros((height, width), dtype=torch.long)
        for index, row in enumerate(rows):
            length = len(row)
            input_ids[index, :length] = torch.tensor(row.token_ids)
            position_ids[index, :length] = torch.tensor(row.position_ids)
            expires_at[index, :length] = torch.tensor(row.expires_at)
            attention_mask[index, :length] = 1
        kinds = [kind for row in rows for kind in row.target_kinds]
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "target_positions": torch.tensor(
                [i * width + p for i, row in enumerate(rows) for p in row.target_positions],
                dtype=torch.long,
            ),
            "target_ids": torch.tensor(
                [target for row in rows for target in row.target_ids], dtype=torch.long
            ),
            "target_kinds": torch.tensor([int(kind) for kind in kinds], dtype=torch.long),
            "target_weights": torch.tensor(
                [self.weights.get(kind, 1.0) for kind in kinds], dtype=torch.float32
            ),
        }
        if self.helpful_margin:
            helpful = batch["target_kinds"] == int(TargetKind.HELPFUL)
            batch["refusal_margins"] = helpful * self.helpful_margin
        if self.packed:
            return {**batch, "position_ids": position_ids, "expires_at": expires_at}
        return batch
