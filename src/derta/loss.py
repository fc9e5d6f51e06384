"""Cross entropy at the supervised positions only, without ever holding all the logits.

`supervised_cross_entropy` is the fast path; `reference_cross_entropy` beside it is the formula in
plain PyTorch, and a test holds the two together.

Shapes:  S supervised targets, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
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
        for _, found in _chunks(hidden, head, target_ids, margins, chunk, tracked_id):
            losses.append(found.losses)
            tracked.append(found.tracked_log_probabilities)
            if early:
                gradients.append(found.hidden_gradient(head))
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
        for part, found in _chunks(hidden, head, target_ids, margins, chunk, tracked_id):
            grad_logits = found.logit_gradient(head, grad_losses[part])
            grad_hidden[part] = grad_logits @ weight
            grad_weight += grad_logits.T @ hidden[part]
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


@dataclass(slots=True)
class _Chunk:
    """A chunk's softmax, not yet divided by its sum: each pass over (chunk, V) costs time."""

    losses: Tensor  # (chunk,)
    tracked_log_probabilities: Tensor  # (chunk,), without margins
    target_ids: Tensor  # (chunk,)
    exponentials: Tensor  # (chunk, V): exp(logit - the row's highest), margins in it
    sums: Tensor  # (chunk,) of the exponentials
    slope: Tensor | None  # (chunk, V): derivative of the soft cap

    @classmethod
    def of(
        cls,
        logits: Tensor,
        target_ids: Tensor,
        tracked_id: int,
        margins: Tensor | None,
        softcap: float | None,
    ) -> _Chunk:
        """Compute the losses of (chunk, V) logits, whose memory the result takes over.

        A margin m multiplies the tracked token's exponential by e^m.
        """
        slope = None if softcap is None else 1.0 - (logits / softcap) ** 2
        highest = logits.amax(dim=1)
        # Differences to the highest logit: where the target has it, they are exactly 0.
        below = logits.gather(1, target_ids[:, None])[:, 0] - highest
        tracked_below = logits[:, tracked_id] - highest
        exponentials = logits.sub_(highest[:, None]).exp_()
        sums = exponentials.sum(dim=1)
        tracked = tracked_below - sums.log()
        if margins is not None:
            margins = margins.to(logits.dtype)
            raised = exponentials[:, tracked_id] * torch.expm1(margins)
            exponentials[:, tracked_id] += raised
            sums = sums + raised
            below = below + margins * (target_ids == tracked_id)
        return cls(sums.log() - below, tracked, target_ids, exponentials, sums, slope)

    def logit_gradient(self, head: OutputHead, grad_losses: Tensor) -> Tensor:
        """Gradient by `hidden @ weight.T + bias`, (chunk, V), in the matrix's dtype."""
        gradient = self._undivided_gradient()
        gradient *= (grad_losses * (head.scale / self.sums))[:, None]
        return gradient.to(head.weight.dtype)

    def hidden_gradient(self, head: OutputHead) -> Tensor:
        """Gradient of each loss by its hidden state, (chunk, H)."""
        gradient = self._undivided_gradient()
        factors = (head.scale / self.sums)[:, None]
        if gradient.dtype == head.weight.dtype:
            return (gradient @ head.weight) * factors  # H products a row instead of V
        return (gradient * factors).to(head.weight.dtype) @ head.weight

    def _undivided_gradient(self) -> Tensor:
        """Return (softmax - onehot) x sums x slope, in the memory of the exponentials."""
        rows = torch.arange(len(self.target_ids), device=self.target_ids.device)
        self.exponentials[rows, self.target_ids] -= self.sums
        if self.slope is not None:
            self.exponentials *= self.slope
        return self.exponentials


def _chunks(
    hidden: Tensor,
    head: OutputHead,
    target_ids: Tensor,
    margins: Tensor | None,
    chunk: int,
    tracked_id: int,
) -> Iterator[tuple[slice, _Chunk]]:
    """Yield each chunk of the targets with its softmax."""
    for start in range(0, len(target_ids), chunk):
        part = slice(start, start + chunk)
        margins_of_part = None if margins is None else margins[part]
        logits = head.logits(hidden[part])
        yield part, _Chunk.of(logits, target_ids[part], tracked_id, margins_of_part, head.softcap)


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
