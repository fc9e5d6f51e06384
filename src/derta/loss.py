"""Cross entropy at the supervised positions only, without ever holding all the logits.

`supervised_cross_entropy` is the fast path; `reference_cross_entropy` beside it is the formula in
plain PyTorch, and a test holds the two together.

Shapes:  S supervised targets, H hidden size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["OutputHead", "configured_head", "reference_cross_entropy", "supervised_cross_entropy"]

DEFAULT_CHUNK = 128
"""Targets projected to the vocabulary at a time: 128 x 49,152 float32 logits are 25 MB, small
enough for glibc to reuse (`derta.memory`)."""


@dataclass(frozen=True, slots=True)
class OutputHead:
    """What turns a hidden state into logits; not every model is a bare matrix product."""

    weight: Tensor  # (V, H)
    bias: Tensor | None = None  # (V,)
    scale: float = 1.0
    """Logits are multiplied by this (Cohere's logit_scale, the inverse of Granite's)."""
    softcap: float | None = None
    """Logits become softcap * tanh(logits / softcap) (Gemma 2)."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Project (S, H) to float32 logits (S, V); float64 stays float64."""
        logits = torch.nn.functional.linear(hidden, self.weight, self.bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits


def configured_head(causal_model: Any) -> OutputHead:
    """Read the output matrix, its bias, and scale and soft cap as the configuration has them.

    Whether the model's forward does no more than that is for the caller to check.
    """
    config = causal_model.config.get_text_config()
    layer = causal_model.get_output_embeddings()
    scale = 1.0
    if getattr(config, "logit_scale", None) is not None:
        scale = float(config.logit_scale)
    elif getattr(config, "logits_scaling", None) is not None:
        scale = 1.0 / float(config.logits_scaling)
    return OutputHead(
        weight=layer.weight,
        bias=getattr(layer, "bias", None),
        scale=scale,
        softcap=getattr(config, "final_logit_softcapping", None),
    )


def reference_cross_entropy(
    hidden: Tensor,
    head: OutputHead,
    target_ids: Tensor,
    *,
    tracked_id: int = 0,
    margins: Tensor | None = None,
) -> Tensor:
    """Compute -log P(target) for each target, (S,), the plain way: all the logits at once."""
    logits = head.logits(hidden)  # (S, V)
    if margins is not None:
        tracked = torch.zeros_like(logits)
        tracked[:, tracked_id] = margins.to(logits.dtype)
        logits = logits + tracked
    return torch.nn.functional.cross_entropy(logits, target_ids, reduction="none")


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Losses and tracked log probabilities by chunks; logits live for one chunk only.

    Where only the hidden states need a gradient (a frozen head: LoRA), row i of that gradient is
    grad_output[i] * (softmax_i - onehot_i) W: everything but the scalar is known in the forward
    pass, so it is computed there and no chunk is projected twice. Where the matrix is trained,
    the logits are recomputed chunk by chunk in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target_ids: Tensor,
        margins: Tensor | None,
        settings: tuple[float, float | None, int, int],
    ) -> tuple[Tensor, Tensor]:
        scale, softcap, chunk, tracked_id = settings
        head = OutputHead(weight, bias, scale, softcap)
        losses = []
        tracked = []
        head_is_trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        early = hidden.requires_grad and not head_is_trained
        gradients = []
        for start in range(0, len(target_ids), chunk):
            part = hidden[start : start + chunk]
            targets = target_ids[start : start + chunk]
            logits = head.logits(part)  # (chunk, V)
            log_probabilities = torch.log_softmax(logits, dim=-1)
            tracked.append(log_probabilities[:, tracked_id].clone())  # a view would keep them all
            if margins is not None:
                _add_margins_(log_probabilities, tracked_id, margins[start : start + chunk])
            losses.append(-log_probabilities.gather(1, targets[:, None])[:, 0])
            if early:
                gradient = _logit_gradient(logits, log_probabilities, targets, head)
                gradients.append(gradient @ weight)
        ctx.settings = settings
        ctx.early = early
        if early:
            ctx.save_for_backward(torch.cat(gradients))
        else:
            ctx.save_for_backward(hidden, weight, bias, target_ids, margins)
        tracked_log_probabilities = torch.cat(tracked)
        ctx.mark_non_differentiable(tracked_log_probabilities)
        return torch.cat(losses), tracked_log_probabilities

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        grad_losses = gradients[0]
        if ctx.early:
            (per_target,) = ctx.saved_tensors
            grad_hidden = grad_losses[:, None].to(per_target.dtype) * per_target
            return grad_hidden, None, None, None, None, None
        hidden, weight, bias, target_ids, margins = ctx.saved_tensors
        scale, softcap, chunk, tracked_id = ctx.settings
        head = OutputHead(weight, bias, scale, softcap)
        grad_hidden = torch.empty_like(hidden)
        accumulate = torch.promote_types(weight.dtype, torch.float32)
        grad_weight = torch.zeros_like(weight, dtype=accumulate)
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=accumulate)
        for start in range(0, len(target_ids), chunk):
            part = hidden[start : start + chunk]
            targets = target_ids[start : start + chunk]
            logits = head.logits(part)
            log_probabilities = torch.log_softmax(logits, dim=-1)
            if margins is not None:
                _add_margins_(log_probabilities, tracked_id, margins[start : start + chunk])
            grad_logits = _logit_gradient(logits, log_probabilities, targets, head)
            grad_logits = grad_logits * grad_losses[start : start + chunk, None].to(weight.dtype)
            grad_hidden[start : start + chunk] = grad_logits @ weight
            grad_weight += grad_logits.T @ part
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0)
        return (
            grad_hidden,
            grad_weight.to(weight.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _add_margins_(log_probabilities: Tensor, tracked_id: int, margins: Tensor) -> None:
    """Renormalise (S, V) in place as if the tracked token's logits had been raised by `margins`.

    The other probabilities are divided by 1 + P (e^m - 1), where P is the token's own.
    """
    margins = margins.to(log_probabilities.dtype)
    probability = log_probabilities[:, tracked_id].exp()
    log_probabilities -= torch.log1p(probability * torch.expm1(margins))[:, None]
    log_probabilities[:, tracked_id] += margins


def _logit_gradient(
    logits: Tensor, log_probabilities: Tensor, target_ids: Tensor, head: OutputHead
) -> Tensor:
    """Gradient of each loss by `hidden @ weight.T + bias`, (S, V), in the matrix's dtype."""
    gradient = log_probabilities.exp()
    gradient[torch.arange(len(target_ids), device=logits.device), target_ids] -= 1.0
    if head.softcap is not None:
        gradient = gradient * (1.0 - (logits / head.softcap) ** 2)
    if head.scale != 1.0:
        gradient = gradient * head.scale
    return gradient.to(head.weight.dtype)


def supervised_cross_entropy(
    hidden: Tensor,
    head: OutputHead,
    target_ids: Tensor,
    *,
    tracked_id: int = 0,
    margins: Tensor | None = None,
    chunk: int = DEFAULT_CHUNK,
) -> tuple[Tensor, Tensor]:
    """Compute -log P(target) for each supervised target, and log P(tracked token) beside it.

    With a margin m at a target, P(target) is computed as if the tracked token's logit were m
    nats higher than it is: that token's odds have to be e^m times lower for the same loss. A
    margin moves the operating point even where the training data are learnt by heart, which a
    weight doesn't (logit adjustment: Menon et al., ICLR 2021, equation 10).

    Args:
        hidden: (S, H), the final hidden states at the predicting positions.
        head: the model's output matrix and what belongs to it.
        target_ids: (S,).
        tracked_id: the token whose log probability is returned for logging, and that the margins
            belong to: the refusal token.
        margins: (S,) in nats; None is no margin anywhere.
        chunk: targets projected at a time; memory is chunk x V, the result doesn't depend on it.

    Returns:
        losses (S,) in nats, differentiable; log P(tracked_id) (S,), the model's own without any
        margin, not differentiable.
    """
    if len(target_ids) == 0:
        # A micro-batch without targets still needs a graph, or DDP waits for its gradients: those
        # of the hidden states' parameters and of an output matrix of its own.
        total = hidden.sum() * 0.0 + head.weight[:0].sum()
        if head.bias is not None:
            total = total + head.bias[:0].sum()
        empty = total.expand(0)
        return empty, empty.detach()
    weight, bias = head.weight, head.bias
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    settings = (head.scale, head.softcap, chunk, tracked_id)
    with torch.autocast(hidden.device.type, enabled=False):
        apply: Any = _ChunkedCrossEntropy.apply
        losses, tracked = apply(hidden, weight, bias, target_ids, margins, settings)
    return losses, tracked
