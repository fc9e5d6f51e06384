"""Attention over a tree in blocks, for devices where a dense mask costs the row's square.

Examples that are packed side by side don't see each other, but SDPA on a CPU computes their scores
and throws them away. Here a row's queries are cut into blocks [a, b). What a block can see is what
has not expired at its beginning, and itself:

    keys of the block = { j < a : expires_at[j] > a }  and  [a, b)

so each block is attention to few keys, by the same rule. The cuts are chosen by dynamic programming
over the places where a branch begins, and along long branches. A block's attention is computed by
plain matrix products, in which the query heads that share a key head are one matrix; SDPA's kernel
for CPUs multiplies head by head and again for the backward pass. The probabilities are kept for it
instead, 4 bytes for each head and pair of a block, where queries see few keys; otherwise they are
computed again. The numbers are those of SDPA with the dense mask up to rounding; tests hold the two
together.

Covered: SDPA on the CPU in float32 and float64, full attention, no dropout; a batch of rows becomes
one row first. For everything else `reason_blocks_are_unused` says why, and SDPA gets a dense mask.

Shapes:  B rows, T tokens, Q queries of a block, K keys of a block, D head size, G key heads, R
query heads that share one.
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
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from derta.attention import SLIDING

__all__ = [
    "AttentionBlock",
    "attention_blocks",
    "attention_in_blocks",
    "in_one_row",
    "reason_blocks_are_unused",
]

_NAME = "derta_blocks"
_CALL_COST = 25_000
"""What one more block costs, in scores (query-key pairs): its calls forwards and backwards."""
_CHAIN_STEP = 128
"""A branch may be cut every so many tokens: what lies above its diagonal is not computed then."""
_SHORTEST = 8
"""Places closer than this, such as single tokens of padding, are not told apart."""


_KEPT_KEYS = 512
"""Keys of a query in the mean up to which probabilities are kept for the backward pass: the memory
that they take grows with a branch's square."""


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """Queries of a row, and the keys that they are given."""

    start: int
    stop: int
    """Its queries are those of the tokens [start, stop)."""
    spans: tuple[tuple[int, int], ...]
    """Its keys, as spans [a, b) of tokens in their order; the last ends with the queries."""
    hidden: Tensor
    """(Q, K): True where a query must not attend to a key."""

    def of(self, tokens: Tensor) -> Tensor:
        """Pick the keys' part of (G, T, D)."""
        parts = [tokens[:, a:b] for a, b in self.spans]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def attention_blocks(expires_at: Tensor) -> tuple[AttentionBlock, ...]:
    """Cut a row into blocks.

    Args:
        expires_at: (1, T).
    """
    ends: list[int] = expires_at[0].tolist()
    starts = _best_starts(ends)
    blocks = []
    for start, stop in pairwise([*starts, len(ends)]):
        keys = [*(j for j in range(start) if ends[j] > start), *range(start, stop)]
        first = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1] + 1]
        spans = tuple((keys[a], keys[b - 1] + 1) for a, b in pairwise([*first, len(keys)]))
        key = torch.tensor(keys, device=expires_at.device)
        query = torch.arange(start, stop, device=expires_at.device)[:, None]
        allowed = (key <= query) & (query < expires_at[0, key])  # (Q, K)
        blocks.append(AttentionBlock(start, stop, spans, ~allowed))
    return tuple(blocks)


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
    if model.dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu"):
        return "it is made for float32"
    if getattr(config, "attention_dropout", 0.0):
        return "the attention has dropout"
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


class _BlockAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,  # (1, G * R, T, D)
        key: Tensor,  # (1, G, T, D)
        value: Tensor,  # (1, G, T, D)
        scaling: float,
        blocks: tuple[AttentionBlock, ...],
    ) -> Tensor:
        heads, tokens, size = query.shape[1:]
        groups = key.shape[1]
        shared = heads // groups
        keys, values = key[0].contiguous(), value[0].contiguous()
        queries = _by_key_head(query[0].transpose(0, 1) * scaling, groups)
        outputs = query.new_empty(tokens, groups, shared, size)
        keep = sum(block.hidden.numel() for block in blocks) <= _KEPT_KEYS * tokens
        kept = []
        for block in blocks:
            hidden = block.hidden.repeat_interleave(shared, 0)  # (Q * R, K)
            of_block = zip(queries, block.of(keys), block.of(values), strict=True)
            for group, (q, k, v) in enumerate(of_block):
                p = _probabilities(q[block.start : block.stop].flatten(0, 1), k, hidden)
                outputs[block.start : block.stop, group] = (p @ v).view(-1, shared, size)
                if keep:
                    kept.append(p)
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.blocks, ctx.scaling = blocks, scaling
        return outputs.view(1, tokens, heads, size)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        queries, keys, values, *kept = ctx.saved_tensors
        groups, tokens, shared, size = queries.shape
        arriving = _by_key_head(gradients[0][0], groups)  # (G, T, R, D)
        to_queries = queries.new_empty(tokens, groups, shared, size)
        to_keys, to_values = torch.zeros_like(keys), torch.zeros_like(values)
        probabilities = iter(kept)
        for block in ctx.blocks:
            part = slice(block.start, block.stop)
            hidden = None if kept else block.hidden.repeat_interleave(shared, 0)
            of_block = zip(queries, arriving, block.of(keys), block.of(values), strict=True)
            for group, (every, gradient, k, v) in enumerate(of_block):
                q, g = every[part].flatten(0, 1), gradient[part].flatten(0, 1)  # (Q * R, D)
                p = next(probabilities) if hidden is None else _probabilities(q, k, hidden)
                to_scores = torch.ops.aten._softmax_backward_data(g @ v.t(), p, -1, p.dtype)
                to_queries[part, group] = (to_scores @ k).view(-1, shared, size)
                to_k, to_v = to_scores.t() @ q, p.t() @ g  # (K, D)
                done = 0
                for a, b in block.spans:
                    to_keys[group, a:b] += to_k[done : done + b - a]
                    to_values[group, a:b] += to_v[done : done + b - a]
                    done += b - a
        to_queries = to_queries.mul_(ctx.scaling).view(1, tokens, -1, size).transpose(1, 2)
        return to_queries, to_keys[None], to_values[None], None, None


def _probabilities(queries: Tensor, keys: Tensor, hidden: Tensor) -> Tensor:
    """Compute (Q * R, K) from scaled queries (Q * R, D) and keys (K, D)."""
    return (queries @ keys.t()).masked_fill_(hidden, -torch.inf).softmax(-1)


def _by_key_head(tokens: Tensor, groups: int) -> Tensor:
    """Reorder (T, G * R, D) to (G, T, R, D): what is multiplied with one key head is a matrix."""
    grouped: Tensor = tokens.unflatten(1, (groups, -1)).transpose(0, 1)
    return grouped.contiguous()


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    blocks: tuple[AttentionBlock, ...] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute attention as transformers' SDPA does, block by block; (1, T, heads, D)."""
    if blocks is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    apply: Any = _BlockAttention.apply
    return apply(query, key, value, scaling, blocks), None


AttentionInterface.register(_NAME, _attend)
