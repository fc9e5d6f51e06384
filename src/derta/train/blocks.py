"""Attention over a tree in blocks, for devices where a dense mask costs the row's square.

Examples that are packed side by side don't see each other, but SDPA on a CPU computes their scores
and throws them away. Here a row's queries are cut into blocks [a, b). What a block can see is what
has not expired at its beginning, and itself:

    keys of the block = { j < a : expires_at[j] > a }  and  [a, b)

so each block is one SDPA call with few keys and the same rule as its mask. The cuts are chosen by
dynamic programming over the places where a branch begins, and along long branches. The numbers are
those of the dense mask up to rounding; tests hold the two together.

Covered: SDPA on the CPU, full attention; a batch of rows becomes one row first. For everything
else `reason_blocks_are_unused` says why, and the dense mask is used.

Shapes:  B rows, T tokens, Q queries of a block, K keys of a block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from derta.attention import SLIDING

__all__ = [
    "AttentionBlocks",
    "attention_blocks",
    "attention_in_blocks",
    "in_one_row",
    "reason_blocks_are_unused",
]

_NAME = "derta_blocks"
_CALL_COST = 6000
"""What one more block costs, in scores (query-key pairs): a call forwards and one backwards."""
_CHAIN_STEP = 128
"""A branch may be cut every so many tokens: what lies above its diagonal is not computed then."""
_SHORTEST = 8
"""Places closer than this, such as single tokens of padding, are not told apart."""


@dataclass(frozen=True, slots=True)
class AttentionBlocks:
    """How one row's attention is cut up."""

    piece_lengths: tuple[int, ...]
    """The keys are split into pieces of these lengths."""
    query_lengths: tuple[int, ...]
    """The queries are split into blocks of these lengths."""
    pieces: tuple[tuple[int, ...], ...]
    """Of each block, the pieces of keys that it is given, in order."""
    masks: tuple[Tensor, ...]
    """Of each block, (1, 1, Q, K): True where a query may attend to a key."""


def attention_blocks(expires_at: Tensor) -> AttentionBlocks:
    """Cut a row into blocks.

    Args:
        expires_at: (1, T).
    """
    ends: list[int] = expires_at[0].tolist()
    total = len(ends)
    starts = _best_starts(ends)
    seen = [[j for j in range(start) if ends[j] > start] for start in starts]
    edges = {0, total, *starts}
    for live in seen:
        for before, after in zip([-1, *live], [*live, total], strict=True):
            if after != before + 1:
                edges |= {before + 1, after}
    cuts = sorted(edges)
    piece_of = {cut: number for number, cut in enumerate(cuts[:-1])}
    stops = [*starts[1:], total]
    pieces, masks = [], []
    for start, stop, live in zip(starts, stops, seen, strict=True):
        keys = [*live, *range(start, stop)]
        pieces.append(tuple(piece_of[key] for key in keys if key in piece_of))
        key = torch.tensor(keys, device=expires_at.device)
        query = torch.arange(start, stop, device=expires_at.device)[:, None]
        allowed = (key <= query) & (query < expires_at[0, key])  # (Q, K)
        masks.append(allowed[None, None])
    return AttentionBlocks(
        tuple(b - a for a, b in pairwise(cuts)),
        tuple(b - a for a, b in zip(starts, stops, strict=True)),
        tuple(pieces),
        tuple(masks),
    )


def _best_starts(ends: list[int]) -> list[int]:
    """Choose where blocks begin, so that queries x keys, and a cost for each block, are least."""
    total = len(ends)
    places, live = _places(ends)
    places.append(total)
    best = [0.0] + [float("inf")] * (len(places) - 1)
    previous = [0] * len(places)
    for right in range(1, len(places)):
        for left in range(right):
            queries = places[right] - places[left]
            cost = best[left] + queries * (live[left] + queries) + _CALL_COST
            if cost < best[right]:
                best[right], previous[right] = cost, left
    starts = []
    index = len(places) - 1
    while index:
        index = previous[index]
        starts.append(places[index])
    return starts[::-1]


def _places(ends: list[int]) -> tuple[list[int], list[int]]:
    """List where a block may begin, and how many tokens before it are seen from there."""
    places, live = [], []
    open_ends: list[int] = []  # of the path to the current token
    last = 0
    for index, end in enumerate(ends):
        branches = False
        while open_ends and open_ends[-1] <= index:
            open_ends.pop()
            branches = True
        distance = index - last
        if index == 0 or (branches and distance >= _SHORTEST) or distance >= _CHAIN_STEP:
            places.append(index)
            live.append(len(open_ends))
            last = index
        open_ends.append(end)
    return places, live


def in_one_row(
    input_ids: Tensor, position_ids: Tensor, expires_at: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay the rows of a batch side by side: (B, T) tensors become (1, B * T)."""
    rows, tokens = input_ids.shape
    offsets = torch.arange(rows, device=expires_at.device)[:, None] * tokens
    return (
        input_ids.reshape(1, -1),
        position_ids.reshape(1, -1),
        (expires_at + offsets).reshape(1, -1),
    )


def reason_blocks_are_unused(model: Any) -> str | None:
    """Say why this causal language model is given the dense mask, or None."""
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa":
        return "the attention implementation is not SDPA"
    if model.device.type != "cpu":
        return "a GPU has better kernels for it"
    window = getattr(config, "sliding_window", None)
    if window is not None or SLIDING in (getattr(config, "layer_types", None) or ()):
        return "the attention has a sliding window"
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return "gradient checkpointing calls the layers again after the forward pass"
    return None


@contextlib.contextmanager
def attention_in_blocks(config: Any) -> Iterator[None]:
    """Let the model's attention layers read `blocks=` within this context."""
    kept = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = kept


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    blocks: AttentionBlocks | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute attention as transformers' SDPA does, block by block; (1, T, heads, head size)."""
    if blocks is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
    groups = getattr(module, "num_key_value_groups", 1)
    keys = repeat_kv(key, groups).split(blocks.piece_lengths, dim=2)
    values = repeat_kv(value, groups).split(blocks.piece_lengths, dim=2)
    outputs = []
    for queries, pieces, mask in zip(
        query.split(blocks.query_lengths, dim=2), blocks.pieces, blocks.masks, strict=True
    ):
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                queries,
                torch.cat([keys[piece] for piece in pieces], dim=2),
                torch.cat([values[piece] for piece in pieces], dim=2),
                attn_mask=mask,
                dropout_p=dropout,
                scale=scaling,
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attend)
