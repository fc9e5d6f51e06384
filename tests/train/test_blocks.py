"""Attention in blocks is the dense mask's attention: the same pairs, the same numbers, less work.

Covered: the cut itself. That losses and gradients of whole models stay those of separate rows is
in `tests/invariants/test_packed_rows`.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from derta.attention import tree_attention
from derta.packing import share_prefixes
from derta.rows import TrainingRow
from derta.train import blocks, forward
from derta.train.blocks import (
    AttentionBlock,
    attention_blocks,
    in_one_row,
    reason_blocks_are_unused,
)
from derta.train.forward import install_supervised_forward
from tests.invariants.comparison import batch_of, losses_and_gradients
from tests.tiny import random_groups, tiny_model


def _tree(seed: int, scale: int = 1) -> TrainingRow:
    rows = [row for group in random_groups(seed, triples=4, helpful=3) for row in group]
    longer = [
        TrainingRow(
            token_ids=tuple(t for t in row.token_ids for _ in range(scale)),
            position_ids=tuple(range(scale * len(row))),
            expires_at=(scale * len(row),) * (scale * len(row)),
            target_positions=(),
            target_ids=(),
            target_kinds=(),
        )
        for row in rows
    ]
    return share_prefixes(longer)


def _dense(blocks: tuple[AttentionBlock, ...]) -> Tensor:
    """Write out which query sees which key: (T, T), by the spans, block by block."""
    total = blocks[-1].stop
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
    allowed = torch.zeros(total, total, dtype=torch.int)
    for block in blocks:
        keys = [key for a, b in block.spans for key in range(a, b)]
        assert keys == sorted(set(keys)), "no key is given twice"
        assert block.hidden.shape == (block.stop - block.start, len(keys))
        allowed[block.start : block.stop, keys] += (~block.hidden).int()
    return allowed


@pytest.mark.parametrize("cost", [1, 50, 6000])
@pytest.mark.parametrize("seed", range(6))
def test_the_blocks_hold_exactly_the_pairs_of_the_rule(
    seed: int, cost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_CALL_COST", cost)
    monkeypatch.setattr(blocks, "_SHORTEST", 1 + seed % 3)
    monkeypatch.setattr(blocks, "_CHAIN_STEP", 5)
    tree = torch.tensor([_tree(seed, scale=1 + seed % 4).expires_at])
    cut = attention_blocks(tree)
    assert torch.equal(_dense(cut), tree_attention(tree)[0, 0].int())
    assert cost > 1 or len(cut) > 5


def test_any_expires_at_is_obeyed_nested_or_not() -> None:
    """A defect upstream must show in the loss, not be mended here."""
    generator = random.Random(1)
    for _ in range(20):
        ends = torch.tensor([[generator.randrange(i + 1, 61) for i in range(60)]])
        assert torch.equal(_dense(attention_blocks(ends)), tree_attention(ends)[0, 0].int())


def test_packed_examples_and_long_branches_cost_less_than_the_square() -> None:
    tree = torch.tensor([_tree(0, scale=12).expires_at])
    total = tree.shape[1]
    assert total > 700
    assert sum(block.hidden.numel() for block in attention_blocks(tree)) < 0.35 * total**2
    chain = torch.full((1, 1024), 1024)
    cut = attention_blocks(chain)
    assert sum(block.hidden.numel() for block in cut) < 0.7 * 1024**2
    assert max(block.stop - block.start for block in cut) <= 512


def test_a_short_row_is_one_block() -> None:
    (block,) = attention_blocks(torch.tensor([_tree(0).expires_at]))
    assert (block.start, block.stop) == (0, len(_tree(0)))


def test_rows_of_a_batch_are_laid_side_by_side() -> None:
    first, second = _tree(0), _tree(1)
    batch = batch_of([first, second], tree=True)
    width = batch["input_ids"].shape[1]
    ids, positions, ends = in_one_row(
        batch["input_ids"], batch["position_ids"], batch["expires_at"]
    )
    assert ids.shape == positions.shape == ends.shape == (1, 2 * width)
    both = tree_attention(ends)[0, 0]
    each = tree_attention(batch["expires_at"])[:, 0]
    assert torch.equal(both, torch.block_diag(each[0], each[1]).bool())
    assert torch.equal(positions.view(2, width), batch["position_ids"])


def test_a_batch_of_rows_has_the_numbers_of_the_dense_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama", dtype=torch.float64)
    install_supervised_forward(model)
    trees = [
        share_prefixes(row for group in random_groups(seed) for row in group) for seed in (0, 1)
    ]
    batch = batch_of(trees, tree=True)
    (found,), gradients = losses_and_gradients(model, [batch], 1.0)
    monkeypatch.setattr(forward, "reason_blocks_are_unused", lambda _: "dense")
    (truth,), true_gradients = losses_and_gradients(model, [batch], 1.0)
    assert torch.allclose(found, truth, rtol=1e-7)
    for name, gradient in true_gradients.items():
        assert (gradients[name] - gradient).norm() <= 1e-6 * gradient.norm(), name


def test_probabilities_that_are_computed_again_give_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    install_supervised_forward(model)
    batch = batch_of([_with_targets()], tree=True)
    made: list[None] = []
    stock = blocks._probabilities

    def counted(*arguments: Tensor) -> Tensor:
        made.append(None)
        return stock(*arguments)

    monkeypatch.setattr(blocks, "_probabilities", counted)
    (kept,), gradients = losses_and_gradients(model, [batch], 1.0)
    once = len(made)
    monkeypatch.setattr(blocks, "_KEPT_KEYS", 0)
    (again,), same_gradients = losses_and_gradients(model, [batch], 1.0)
    assert len(made) == 3 * once, "forwards twice, backwards once"
    assert torch.equal(kept, again)
    assert gradients.keys() == same_gradients.keys()
    assert all(torch.equal(gradients[name], same_gradients[name]) for name in gradients)


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("llama", {}, None),
        ("qwen3", {}, None),
        ("llama", {"attention": "eager"}, "not SDPA"),
        ("llama", {"attention_dropout": 0.1}, "dropout"),
        ("llama", {"dtype": torch.bfloat16}, "float32"),
        ("mistral-window", {}, "sliding window"),
        ("gemma3", {}, "sliding window"),
    ],
)
def test_what_blocks_do_not_cover_has_a_reason(
    family: str, changes: dict[str, Any], reason: str | None
) -> None:
    found = reason_blocks_are_unused(tiny_model(family, **changes))
    assert found == reason or (reason is not None and found is not None and reason in found)


def test_the_model_keeps_its_own_attention_outside_the_training_forward() -> None:
    model = tiny_model("llama")
    install_supervised_forward(model)
    batch = batch_of([_with_targets()], tree=True)
    losses_and_gradients(model, [batch], 1.0)
    assert model.config._attn_implementation == "sdpa"


def _with_targets() -> TrainingRow:
    return share_prefixes(row for group in random_groups(0) for row in group)
