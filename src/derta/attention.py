"""`expires_at` -> the mask that the model's attention wants.

Covered: SDPA (boolean), eager (additive), flex_attention (a BlockMask, whose empty blocks a GPU
skips), sliding windows (exact in a tree: distance is counted along the path), models that mix full
and sliding layers (a mask for each), and the reasons why a model can't be given such a mask.

Shapes:  B rows, T tokens (query Q, key K).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

__all__ = [
    "FLEX",
    "TreeMask",
    "attention_balance",
    "in_flex_blocks",
    "reason_trees_are_unsupported",
    "tree_attention",
    "tree_block_mask",
    "tree_mask",
]

TreeMask = Tensor | BlockMask | dict[str, Tensor | BlockMask]

FLEX = "flex_attention"
_FLEX_BLOCK = 128
"""Tokens of a block: what flex_attention's kernels are made for."""

FULL, SLIDING = "full_attention", "sliding_attention"


def tree_attention(
    expires_at: Tensor, position_ids: Tensor | None = None, window: int | None = None
) -> Tensor:
    """Say who may attend to whom: `key <= query < expires_at[key]`.

    Args:
        expires_at: (B, T); a padding token expires right after itself, so it sees only itself.
        position_ids: (B, T), needed with `window`.
        window: sliding window in tokens along the path, or None.

    Returns:
        (B, 1, T, T) boolean, True where query (dim 2) may attend to key (dim 3).
    """
    index = torch.arange(expires_at.shape[1], device=expires_at.device)
    query, key = index[:, None], index[None, :]
    allowed = (key <= query) & (query < expires_at[:, None, :])  # (B, Q, K)
    if window is not None:
        if position_ids is None:
            raise ValueError("a sliding window needs position_ids")
        distance = position_ids[:, :, None] - position_ids[:, None, :]
        allowed = allowed & (distance < window)
    return allowed[:, None]


def tree_block_mask(
    expires_at: Tensor, position_ids: Tensor, window: int | None = None
) -> BlockMask:
    """Say the same to flex_attention: (B, 1, T, T) in blocks, of which the empty ones are skipped.

    Args:
        expires_at: (B, T).
        position_ids: (B, T).
        window: sliding window in tokens along the path, or None.
    """

    def allowed(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (key <= query) & (query < expires_at[row, key])
        if window is not None:
            seen = seen & (position_ids[row, query] - position_ids[row, key] < window)
        return seen

    rows, tokens = expires_at.shape
    return create_block_mask(
        allowed, rows, None, tokens, tokens, device=expires_at.device, BLOCK_SIZE=_FLEX_BLOCK
    )


def in_flex_blocks(
    input_ids: Tensor, position_ids: Tensor, expires_at: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pad (B, T) on the right to whole blocks: a compiled kernel meets few lengths then."""
    rows, tokens = input_ids.shape
    more = -tokens % _FLEX_BLOCK
    # A padding token expires right after itself.
    ends = torch.arange(tokens + 1, tokens + more + 1, device=expires_at.device).expand(rows, more)
    pad = torch.nn.functional.pad
    return pad(input_ids, (0, more)), pad(position_ids, (0, more)), torch.cat([expires_at, ends], 1)


def tree_mask(
    config: Any,
    expires_at: Tensor,
    position_ids: Tensor,
    dtype: torch.dtype,
) -> TreeMask:
    """Make the `attention_mask` that a transformers model with this configuration wants.

    Args:
        config: the text configuration (`model.config.get_text_config()`).
        expires_at: (B, T).
        position_ids: (B, T).
        dtype: of the hidden states, for additive masks.

    Returns:
        (B, 1, T, T), a BlockMask of that shape, or a dict of them for models that mix full and
        sliding layers.
    """
    implementation = config._attn_implementation

    def made(window: int | None) -> Tensor | BlockMask:
        if implementation == FLEX:
            return tree_block_mask(expires_at, position_ids, window)
        allowed = tree_attention(expires_at, position_ids, window)
        if implementation == "sdpa":
            return allowed
        additive = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
        return additive.masked_fill(~allowed, torch.finfo(dtype).min)

    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if SLIDING in kinds and config.model_type in _MASK_FOR_EACH_KIND:
        return {FULL: made(None), SLIDING: made(window)}
    return made(window if config.model_type in _ONE_SLIDING_MASK else None)


def attention_balance(config: Any) -> float:
    """Say at how many tokens of a row attention costs as much as everything else.

    Counted for a layer with a dense mask, forwards and backwards: 12 x hidden operations for each
    pair of tokens, 4 x weights for each token, with 4 hidden^2 + 3 hidden x intermediate weights;
    attention is taken to run at a third of the products' rate, as SDPA did on a CPU. An estimate:
    narrow key heads, other head sizes and trained weights are left out. flex_attention skips what
    the mask hides, so its rows may be long.
    """
    if config._attn_implementation == FLEX:
        return math.inf
    intermediate = getattr(config, "moe_intermediate_size", None) or config.intermediate_size
    intermediate *= getattr(config, "num_experts_per_tok", None) or 1
    return float(4 * config.hidden_size + 3 * intermediate) / 9


_MASK_FOR_EACH_KIND = {"qwen2", "qwen3", "gemma2", "gemma3_text"}
_ONE_SLIDING_MASK = {"mistral", "mixtral", "phi3", "starcoder2", "qwen3_moe"}


def reason_trees_are_unsupported(config: Any) -> str | None:
    """Say why this model can't train on tree-shaped rows, or None if nothing speaks against it.

    A None is not a proof: the trainer still compares one batch packed and plain at start.
    """
    implementation = config._attn_implementation
    if implementation not in ("sdpa", "eager", FLEX):
        return (
            f"the attention implementation {implementation!r} can't be given a tree mask; "
            f"load the model with attn_implementation='sdpa', 'eager' or {FLEX!r} to share prefixes"
        )
    softcap = getattr(config, "attn_logit_softcapping", None)
    if softcap is not None and implementation == "sdpa":
        return "SDPA leaves out this model's attention soft cap; use attn_implementation='eager'"
    kinds = set(getattr(config, "layer_types", None) or ())
    unknown = kinds - {FULL, SLIDING}
    if unknown:
        return f"layers of kind {', '.join(sorted(unknown))} keep a state that a mask can't undo"
    if SLIDING in kinds and config.model_type not in _MASK_FOR_EACH_KIND:
        return f"how {config.model_type} mixes sliding and full layers is not known to derta"
    return None
