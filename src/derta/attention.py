"""`expires_at` -> the mask that the model's attention wants.

Covered: SDPA (boolean), eager (additive), sliding windows (exact in a tree: distance is counted
along the path), models that mix full and sliding layers (a mask for each), and the reasons why a
model can't be given such a mask. Not covered yet: flex_attention's BlockMask (a GPU matter).

Shapes:  B rows, T tokens (query Q, key K).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["TreeMask", "reason_trees_are_unsupported", "tree_attention", "tree_mask"]

TreeMask = Tensor | dict[str, Tensor]

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


def _as_wanted(allowed: Tensor, implementation: str, dtype: torch.dtype) -> Tensor:
    if implementation == "sdpa":
        return allowed
    additive = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return additive.masked_fill(~allowed, torch.finfo(dtype).min)


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
        (B, 1, T, T), or a dict of them for models that mix full and sliding layers.
    """
    implementation = config._attn_implementation
    full = tree_attention(expires_at)
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None)
    if SLIDING in kinds and config.model_type in _MASK_FOR_EACH_KIND:
        sliding = tree_attention(expires_at, position_ids, window)
        return {
            FULL: _as_wanted(full, implementation, dtype),
            SLIDING: _as_wanted(sliding, implementation, dtype),
        }
    if window is not None and config.model_type in _ONE_SLIDING_MASK:
        full = tree_attention(expires_at, position_ids, window)
    return _as_wanted(full, implementation, dtype)


_MASK_FOR_EACH_KIND = {"qwen2", "qwen3", "gemma2", "gemma3_text"}
_ONE_SLIDING_MASK = {"mistral", "mixtral", "phi3", "starcoder2", "qwen3_moe"}


def reason_trees_are_unsupported(config: Any) -> str | None:
    """Say why this model can't train on tree-shaped rows, or None if nothing speaks against it.

    A None is not a proof: the trainer still compares one batch packed and plain at start.
    """
    implementation = config._attn_implementation
    if implementation not in ("sdpa", "eager"):
        return (
            f"the attention implementation {implementation!r} can't be given a tree mask; "
            "load the model with attn_implementation='sdpa' or 'eager' to share prefixes"
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
