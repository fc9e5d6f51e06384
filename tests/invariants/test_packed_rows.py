"""A packed tree row is its separate rows: the same loss of each target, the same gradients.

Covered: every family that derta packs, sliding windows shorter than the rows, SDPA in blocks and
with a dense mask, eager, flex_attention (by its formula, and itself forwards), float32 and float64,
a LoRA-wrapped model, documents that don't see each other, and negative controls that fail the same
comparison by far. Left out: the router loss of mixtures of experts (Mixtral, Qwen3-MoE). It counts
tokens, a shared token is counted once in a tree and twice in separate rows, so it can't be equal,
and derta doesn't train on it. Experts run eagerly, because the default ones raise in float64. Eager
attention computes its softmax in float32 whatever the model's dtype, so in float64 only Gemma 2,
which SDPA doesn't serve, is held to it, and its flex_attention isn't held to that.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_mask, flex_attention
from transformers.integrations import flex_attention as flex

from derta import attention as attention_masks
from derta.attention import FLEX
from derta.packing import pack, share_prefixes
from derta.rows import TargetKind, TrainingRow
from derta.train import blocks, forward
from derta.train.blocks import AttentionBlock, attention_blocks
from derta.train.forward import install_supervised_forward
from tests.invariants.comparison import (
    batch_of,
    gradient_difference,
    loss_difference,
    losses_and_gradients,
    path_of,
    separate,
    together,
)
from tests.tiny import PEFT_WARNING, REFUSAL_ID, WINDOW, random_groups, tiny_model

LOSS_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-7}
GRADIENT_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
PACKED_FAMILIES = [
    "llama",
    "llama-tied",
    "mistral",
    "mistral-window",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3-window",
    "qwen3-moe",
    "qwen3-moe-window",
    "phi3",
    "phi3-window",
    "gemma",
    "gemma2",
    "gemma3",
    "cohere",
    "granite",
    "starcoder2",
    "smollm3",
    "olmo2",
]
IN_BLOCKS = [
    family
    for family in PACKED_FAMILIES
    if family not in ("gemma2", "gemma3", "starcoder2") and not family.endswith("-window")
]
CASES = [
    *((family, "sdpa", dtype) for family in PACKED_FAMILIES if family != "gemma2"
      for dtype in (torch.float32, torch.float64)),
    *((family, "blocks", dtype) for family in IN_BLOCKS
      for dtype in (torch.float32, torch.float64)),
    *((family, "eager", torch.float32) for family in PACKED_FAMILIES),
    ("gemma2", "eager", torch.float64),
    *((family, FLEX, dtype) for family in PACKED_FAMILIES
      for dtype in (torch.float32, torch.float64) if (family, dtype) != ("gemma2", torch.float64)),
]  # fmt: skip


def _flat(groups: list[list[TrainingRow]]) -> list[TrainingRow]:
    return [row for group in groups for row in group]


def _with_siblings_that_see_each_other(tree: TrainingRow) -> torch.Tensor:
    """Shift the end of each subtree that has a sibling behind it, to the end of that sibling."""
    wrong = list(tree.expires_at)
    by_start = {}
    for index, depth in enumerate(tree.position_ids):
        by_start.setdefault(depth, []).append(index)
    shifted = 0
    for starts in by_start.values():
        for first, second in pairwise(starts):
            if tree.expires_at[first] == second:  # the next token of this depth follows it
                wrong[first] = tree.expires_at[second]
                shifted += 1
    assert shifted, "the control needs siblings"
    return torch.tensor([wrong])


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[AttentionBlock, ...]]:
    """Cut tiny rows into blocks, too, and list what was cut."""
    made: list[tuple[AttentionBlock, ...]] = []

    def counted(expires_at: torch.Tensor) -> tuple[AttentionBlock, ...]:
        made.append(attention_blocks(expires_at))
        return made[-1]

    monkeypatch.setattr(blocks, "_CALL_COST", 1)
    monkeypatch.setattr(blocks, "_SHORTEST", 1)
    monkeypatch.setattr(blocks, "_CHAIN_STEP", 4)
    monkeypatch.setattr(forward, "attention_blocks", counted)
    return made


def _flex_formula(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    training: bool = False,  # noqa: ARG001  (of the function in whose place this stands)
    *,
    score_mod: Any,
    block_mask: BlockMask,
    scale: float,
    **_: Any,
) -> Tensor:
    """Compute what flex_attention's documentation says; its own CPU kernel has no backward pass.

    A pair counts if the rule allows it and its block isn't called empty.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    scores = score_mod(query @ key.transpose(-1, -2) * scale, None, None, None, None)
    rows, _, tokens, _ = query.shape
    allowed = create_mask(block_mask.mask_mod, rows, None, tokens, tokens, "cpu")
    size = block_mask.BLOCK_SIZE[0]
    blocks = block_mask.to_dense().bool()
    assert not blocks.all(), "some block is empty"
    in_blocks = blocks.repeat_interleave(size, -1).repeat_interleave(size, -2)
    seen = allowed & in_blocks[..., :tokens, :tokens]
    return scores.masked_fill(~seen, float("-inf")).softmax(dim=-1) @ value


@pytest.fixture
def flex_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let flex_attention be computed by its formula, with blocks that are small enough here."""
    monkeypatch.setattr(attention_masks, "_FLEX_BLOCK", 16)
    monkeypatch.setattr(flex, "compile_friendly_flex_attention", _flex_formula)


@pytest.mark.usefixtures("flex_formula")
@pytest.mark.parametrize(("family", "attention", "dtype"), CASES, ids=str)
def test_a_packed_row_has_the_losses_and_gradients_of_its_rows(
    family: str,
    attention: str,
    dtype: torch.dtype,
    tiny_blocks: list[tuple[AttentionBlock, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if attention == "sdpa":
        monkeypatch.setattr(forward, "reason_blocks_are_unused", lambda _: "a dense mask is wanted")
    for seed in (0, 1):
        kind = "sdpa" if attention == "blocks" else attention
        model = tiny_model(family, dtype=dtype, attention=kind, seed=seed)
        install_supervised_forward(model)
        groups = random_groups(seed)
        rows = _flat(groups)
        plain = tiny_model(family, dtype=dtype, seed=seed) if kind == FLEX else model
        install_supervised_forward(plain)
        truth, true_gradients = separate(plain, rows)
        trees = pack(groups, 48)
        assert len(trees) > 1, "several packed rows, padded together"
        assert max(len(row) for row in rows) > 2 * WINDOW
        assert sum(map(len, trees)) < sum(map(len, rows))
        for layout in (trees, [share_prefixes(rows)]):
            found, gradients = together(model, layout)
            assert loss_difference(found, truth) <= LOSS_TOLERANCE[dtype]
            assert gradient_difference(gradients, true_gradients) <= GRADIENT_TOLERANCE[dtype]
    if attention == "blocks":
        assert all(len(cut) > 3 for cut in tiny_blocks)
        assert len(tiny_blocks) == 4, "each seed and layout went through blocks"
    else:
        assert not tiny_blocks


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gemma2", "gemma3"])
def test_flex_attention_itself_gives_the_losses_of_the_separate_rows(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forwards, in its uncompiled form: on a CPU it has no backward pass."""

    def uncompiled(*arguments: Any, training: bool = False, **settings: Any) -> Any:
        assert not training
        return flex_attention(*arguments, **settings)

    monkeypatch.setattr(flex, "compile_friendly_flex_attention", uncompiled)
    monkeypatch.setattr(
        "torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True
    )
    plain, model = tiny_model(family), tiny_model(family, attention=FLEX)
    for each in (plain, model):
        install_supervised_forward(each)
    groups = random_groups(0)
    rows = _flat(groups)
    with torch.no_grad():
        truth = [
            plain(**batch_of([row], tree=False), denominator=1.0, refusal_id=REFUSAL_ID)
            for row in rows
        ]
        found = model(
            **batch_of(pack(groups, 48), tree=True), denominator=1.0, refusal_id=REFUSAL_ID
        )
    expected = torch.cat([each.target_losses for each in truth]).sort().values
    difference = (found.target_losses.sort().values - expected).abs().max()
    assert difference <= LOSS_TOLERANCE[torch.float32] * float(expected.max())


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_a_wrong_expires_at_or_position_ids_fails_by_a_hundred_times_the_tolerance(
    family: str, dtype: torch.dtype, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dense:
        monkeypatch.setattr(forward, "reason_blocks_are_unused", lambda _: "a dense mask is wanted")
    model = tiny_model(family, dtype=dtype)
    install_supervised_forward(model)
    groups = random_groups(0)
    truth, true_gradients = separate(model, _flat(groups))
    tree = share_prefixes(_flat(groups))
    controls = {
        "siblings see each other": {"expires_at": _with_siblings_that_see_each_other(tree)},
        "position ids count on": {"position_ids": torch.arange(len(tree))[None]},
        "plain causal": {"expires_at": torch.full((1, len(tree)), len(tree))},
    }
    for name, wrong in controls.items():
        found, gradients = together(model, [tree], **wrong)
        assert loss_difference(found, truth) > 100 * LOSS_TOLERANCE[dtype], name
        difference = gradient_difference(gradients, true_gradients)
        assert difference > 100 * GRADIENT_TOLERANCE[dtype], name


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral-window"])
def test_one_subtree_that_ends_a_token_late_is_enough_to_fail(family: str) -> None:
    model = tiny_model(family)
    install_supervised_forward(model)
    rows = _flat(random_groups(0, triples=1, helpful=0))
    truth, _ = separate(model, rows)
    tree = share_prefixes(rows)
    branches = [i for i, end in enumerate(tree.expires_at) if i + 1 < end < len(tree)]
    assert branches
    late = list(tree.expires_at)
    late[branches[-1]] += 1
    found, _ = together(model, [tree], expires_at=torch.tensor([late]))
    assert loss_difference(found, truth) > 100 * LOSS_TOLERANCE[torch.float32]


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.filterwarnings(PEFT_WARNING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3"])
def test_the_same_holds_for_a_lora_model(family: str, dtype: torch.dtype) -> None:
    base = tiny_model(family, dtype=dtype)
    settings = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(1)
    model = get_peft_model(base, settings, autocast_adapter_dtype=False).eval()
    install_supervised_forward(model)
    groups = random_groups(0)
    truth, true_gradients = separate(model, _flat(groups))
    assert all("lora" in name for name in true_gradients)
    found, gradients = together(model, pack(groups, 48))
    assert loss_difference(found, truth) <= LOSS_TOLERANCE[dtype]
    assert gradient_difference(gradients, true_gradients) <= GRADIENT_TOLERANCE[dtype]


@pytest.mark.parametrize("family", ["llama", "gemma3", "phi3"])
def test_gradient_checkpointing_changes_nothing(family: str) -> None:
    model = tiny_model(family)
    install_supervised_forward(model)
    trees = pack(random_groups(0), 48)
    model.train()
    plain_losses, plain = together(model, trees)
    model.activation_checkpointing_enable()
    losses, gradients = together(model, trees)
    # Without blocks: their sums have another order.
    assert loss_difference(losses, plain_losses) <= LOSS_TOLERANCE[torch.float32]
    assert gradient_difference(gradients, plain) <= 1e-5


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("family", ["llama", "mistral-window", "gemma2", "gemma3", "qwen3"])
def test_packed_documents_do_not_see_each_other(family: str) -> None:
    model = tiny_model(family)
    install_supervised_forward(model)
    groups = random_groups(0, triples=0, helpful=3)
    documents = [
        # Without their common beginning, so that the documents are trees of their own.
        TrainingRow(
            token_ids=(20 + i, *row.token_ids[1:]),
            position_ids=row.position_ids,
            expires_at=row.expires_at,
            target_positions=row.target_positions,
            target_ids=row.target_ids,
            target_kinds=row.target_kinds,
        )
        for i, (row,) in enumerate(groups)
    ]
    tree = share_prefixes(documents)
    assert len(tree) == sum(map(len, documents))
    second = len(documents[0])
    third = second + len(documents[1])
    tokens = list(tree.token_ids)
    tokens[second:third] = [60 + i for i in range(third - second)]
    batch = batch_of([tree], tree=True)
    (before,), _ = losses_and_gradients(model, [batch], 1.0)
    (after,), _ = losses_and_gradients(model, [{**batch, "input_ids": torch.tensor([tokens])}], 1.0)
    own = (batch["target_positions"] >= second) & (batch["target_positions"] < third)
    assert torch.equal(before[~own], after[~own])
    assert not torch.isclose(before[own], after[own], rtol=1e-3).any()


def test_the_branching_token_carries_both_targets() -> None:
    (group,) = random_groups(3, triples=1, helpful=0)
    tree = share_prefixes(group)
    safe, transitions = group
    kinds = {TargetKind.SAFE_RESPONSE, TargetKind.REFUSAL_TRANSITION}
    branching = safe.target_positions[0]
    path = safe.token_ids[: branching + 1]
    found = {
        kind
        for position, kind in zip(tree.target_positions, tree.target_kinds, strict=True)
        if path_of(tree, position) == path
    }
    assert found == kinds
    assert len(transitions.target_ids) + len(safe.target_ids) == len(tree.target_ids)
