"""The loss is computed inside the model's own forward.

DDP, FSDP and ZeRO hook the forward of the module they wrap, so a loss computed outside bypasses
them. `install_supervised_forward` binds a forward to the *innermost* causal language model, below
any PEFT wrapper; no module is added, so the names in a checkpoint stay stock. Called without
targets it is the stock forward, so `generate` works as before.

Shapes:  B rows, T tokens, S supervised targets, H hidden size.
"""

from __future__ import annotations

import contextlib
import inspect
import types
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from derta.attention import FLEX, in_flex_blocks, tree_mask
from derta.data.models import inner_model
from derta.errors import ModelError
from derta.loss import OutputHead, configured_head, supervised_cross_entropy
from derta.train.blocks import (
    attention_blocks,
    attention_in_blocks,
    in_one_row,
    reason_blocks_are_unused,
)

__all__ = ["KNOWN_FAMILIES", "SupervisedOutput", "install_supervised_forward", "output_head"]


@dataclass
class SupervisedOutput(ModelOutput):
    """What the supervised forward returns."""

    loss: Tensor | None = None
    """Sum of weight x loss over the targets, divided by `denominator`; scalar."""
    target_losses: Tensor | None = None
    """(S,) in nats, detached; with their margins."""
    refusal_log_probabilities: Tensor | None = None
    """(S,) log P(refusal token) at each target, detached; without margins."""


KNOWN_FAMILIES = {
    "llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "phi3", "gemma", "gemma2",
    "gemma3_text", "cohere", "cohere2", "granite", "starcoder2", "smollm3", "olmo2",
}  # fmt: skip
"""Families whose logits are the output matrix plus what the configuration says, nothing else."""


def output_head(causal_model: Any) -> OutputHead:
    """Read the output matrix, its bias, scale and soft cap from a causal language model.

    Raises:
        ModelError: the family's head is not known, or an adapter changes it; training would be
            silently wrong.
    """
    config = causal_model.config.get_text_config()
    if config.model_type not in KNOWN_FAMILIES:
        raise ModelError(
            f"the output head of model family {config.model_type!r} is not known to derta; "
            f"known are {', '.join(sorted(KNOWN_FAMILIES))}"
        )
    layer = causal_model.get_output_embeddings()
    if hasattr(layer, "base_layer") or hasattr(layer, "token_adapter"):
        raise ModelError(
            "an adapter on the output matrix would be left out of the loss; take lm_head out of "
            "target_modules (or train it whole with modules_to_save), and don't use "
            "trainable_token_indices on a model that ties its output matrix to its embedding"
        )
    return configured_head(causal_model)


def _innermost(model: nn.Module) -> Any:
    """Find the causal language model below a PEFT wrapper."""
    inner = inner_model(model)
    if not hasattr(inner, "get_decoder") or inner.get_output_embeddings() is None:
        raise ModelError(f"{type(inner).__name__} is not a causal language model")
    return inner


def install_supervised_forward(model: nn.Module) -> None:
    """Give a causal language model (or the one inside a PEFT model) the supervised forward.

    Raises:
        ModelError: not a causal language model, or one with an unknown output head.
    """
    causal_model = _innermost(model)
    output_head(causal_model)
    if getattr(causal_model.forward, "is_supervised", False):
        return
    # Another's forward on this instance (a hook of accelerate's) is kept; else the class's is
    # called, so that a deep copy of the model runs on its own weights.
    bound_forward = vars(causal_model).get("forward")

    def forward(
        self: Any,
        input_ids: Tensor | None = None,
        *args: Any,
        target_positions: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if target_positions is None or input_ids is None:
            if bound_forward is not None:
                return bound_forward(input_ids, *args, **kwargs)
            return type(self).forward(self, input_ids, *args, **kwargs)
        return _supervised(self, input_ids, target_positions, **kwargs)

    # `generate` looks here for what the model takes: without logits_to_keep it would project the
    # whole prompt. (functools.wraps would do more: accelerate undoes whatever is `__wrapped__`.)
    forward.__signature__ = inspect.signature(type(causal_model).forward)  # type: ignore[attr-defined]
    forward.is_supervised = True  # type: ignore[attr-defined]
    causal_model.forward = types.MethodType(forward, causal_model)


def _supervised(
    causal_model: Any,
    input_ids: Tensor,
    target_positions: Tensor,
    *,
    target_ids: Tensor,
    target_weights: Tensor,
    denominator: Tensor | float,
    refusal_id: int,
    refusal_margins: Tensor | None = None,
    position_ids: Tensor | None = None,
    expires_at: Tensor | None = None,
    attention_mask: Tensor | None = None,
    **_: Any,
) -> SupervisedOutput:
    """Compute the loss of a batch.

    Args:
        causal_model: the model that this forward is bound to.
        input_ids: (B, T).
        target_positions: (S,), indices into the flattened (B * T) tokens.
        target_ids: (S,).
        target_weights: (S,).
        denominator: sum of the target weights of the whole optimizer step.
        refusal_id: the token whose probability is logged.
        refusal_margins: (S,) in nats, added to the refusal token's logits; None adds nothing.
        position_ids: (B, T); with `expires_at` only.
        expires_at: (B, T) for tree-shaped rows; None for plain right-padded rows.
        attention_mask: (B, T), 1 at tokens; for plain rows.
    """
    decoder = causal_model.get_decoder()
    context: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    more: dict[str, Any] = {}
    used = slice(None)  # of the tokens of a row; the rest is padding that was added here
    if expires_at is not None:
        if position_ids is None:  # else the tree would be read as one causal row, silently
            raise ValueError("tree-shaped rows need position_ids beside expires_at")
        config = causal_model.config.get_text_config()
        if reason_blocks_are_unused(causal_model) is None:
            input_ids, position_ids, expires_at = in_one_row(input_ids, position_ids, expires_at)
            context = attention_in_blocks(config)
            mask: Any = None
            more["blocks"] = attention_blocks(expires_at)
        else:
            dtype = causal_model.get_input_embeddings().weight.dtype
            if torch.is_autocast_enabled(input_ids.device.type):
                dtype = torch.get_autocast_dtype(input_ids.device.type)
            if config._attn_implementation == FLEX:
                used = slice(input_ids.shape[1])
                input_ids, position_ids, expires_at = in_flex_blocks(
                    input_ids, position_ids, expires_at
                )
            mask = tree_mask(config, expires_at, position_ids, dtype)
    else:
        mask, position_ids = attention_mask, None
    with context:
        hidden = decoder(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=position_ids,
            use_cache=False,
            **more,
        ).last_hidden_state  # (B, T, H), or (1, B * T, H)
    supervised = hidden[:, used].flatten(0, 1)[target_positions]  # (S, H)
    losses, refusal = supervised_cross_entropy(
        supervised,
        output_head(causal_model),
        target_ids,
        tracked_id=refusal_id,
        margins=refusal_margins,
    )
    loss = (losses * target_weights.to(losses.dtype)).sum() / denominator
    return SupervisedOutput(
        loss=loss, target_losses=losses.detach(), refusal_log_probabilities=refusal
    )
