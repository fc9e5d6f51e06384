"""How the invariant tests compare two ways of computing the same losses.

A target is known by its path: the tokens from the beginning of its own row up to the predicting
token, the target id and the kind. So the comparison maps each target of a tree row to the very
same target of the plain row it comes from; nothing is sorted and nothing is summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from derta.rows import TargetKind, TrainingRow
from tests.tiny import REFUSAL_ID

Key = tuple[tuple[int, ...], int, TargetKind]


def path_of(row: TrainingRow, index: int) -> tuple[int, ...]:
    """List the tokens that `index` may attend to by the definition, itself included."""
    return tuple(
        token for key, token in enumerate(row.token_ids) if key <= index < row.expires_at[key]
    )


def keys_of(row: TrainingRow) -> list[Key]:
    """Name each target of a plain or tree-shaped row by its path."""
    return [
        (path_of(row, position), target, kind)
        for position, target, kind in zip(
            row.target_positions, row.target_ids, row.target_kinds, strict=True
        )
    ]


def batch_of(rows: Sequence[TrainingRow], *, tree: bool) -> dict[str, Tensor]:
    """Make the model's inputs by hand, independently of the collator."""
    width = max(len(row) for row in rows)
    pad = [width - len(row) for row in rows]
    table = zip(rows, pad, strict=True)
    batch = {
        "input_ids": torch.tensor([[*row.token_ids, *[0] * n] for row, n in table]),
        "target_positions": torch.tensor(
            [i * width + p for i, row in enumerate(rows) for p in row.target_positions]
        ),
        "target_ids": torch.tensor([t for row in rows for t in row.target_ids]),
    }
    batch["target_weights"] = torch.ones(len(batch["target_ids"]))
    if not tree:
        masks = [[1] * len(row) + [0] * n for row, n in zip(rows, pad, strict=True)]
        return {**batch, "attention_mask": torch.tensor(masks)}
    positions = [[*row.position_ids, *[0] * n] for row, n in zip(rows, pad, strict=True)]
    ends = [[*row.expires_at, *range(len(row) + 1, width + 1)] for row in rows]
    return {
        **batch,
        "position_ids": torch.tensor(positions),
        "expires_at": torch.tensor(ends),
    }


def losses_and_gradients(
    model: nn.Module, batches: Sequence[dict[str, Any]], denominator: float
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Run forward and backward on each batch; gradients add up over the batches."""
    model.zero_grad(set_to_none=True)
    losses = []
    for batch in batches:
        output = model(**batch, denominator=denominator, refusal_id=REFUSAL_ID)
        output.loss.backward()
        losses.append(output.target_losses)
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return losses, gradients


def separate(model: nn.Module, rows: Sequence[TrainingRow]) -> tuple[dict[Key, float], Any]:
    """Compute each plain row alone: the truth that trees are held against."""
    count = sum(len(row.target_ids) for row in rows)
    losses, gradients = losses_and_gradients(
        model, [batch_of([row], tree=False) for row in rows], count
    )
    found: dict[Key, float] = {}
    for row, values in zip(rows, losses, strict=True):
        for key, value in zip(keys_of(row), values.tolist(), strict=True):
            assert key not in found, "the comparison needs targets that are told apart"
            found[key] = value
    return found, gradients


def together(
    model: nn.Module,
    trees: Sequence[TrainingRow],
    *,
    expires_at: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> tuple[dict[Key, float], Any]:
    """Compute tree rows in one batch; the two tensors replace the right ones (controls)."""
    batch = batch_of(trees, tree=True)
    if expires_at is not None:
        batch["expires_at"] = expires_at
    if position_ids is not None:
        batch["position_ids"] = position_ids
    count = sum(len(tree.target_ids) for tree in trees)
    (losses,), gradients = losses_and_gradients(model, [batch], count)
    keys = [key for tree in trees for key in keys_of(tree)]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, losses.tolist(), strict=True)), gradients


def loss_difference(found: dict[Key, float], truth: dict[Key, float]) -> float:
    """Return the largest difference of a target's loss, relative to that loss."""
    assert found.keys() == truth.keys()
    return max(abs(found[key] - truth[key]) / abs(truth[key]) for key in truth)


def gradient_difference(found: dict[str, Tensor], truth: dict[str, Tensor]) -> float:
    """Return the largest |difference| of a parameter's gradient / norm of that gradient."""
    assert found.keys() == truth.keys()
    assert truth
    return max(
        float((found[name] - truth[name]).norm() / truth[name].norm().clamp(min=1e-12))
        for name in truth
    )
