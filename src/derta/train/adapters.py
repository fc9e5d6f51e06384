"""LoRA's linear layers with fewer passes over their activations.

PEFT computes  y = x W' + s (x A') B'  as separate steps: the product with B, its scaling and its
addition are three passes over an activation as wide as the layer, and as many come back in the
backward pass. Here the products with B and, backwards, with A add onto what is there already. The
numbers are PEFT's up to rounding; a test holds the two together.

Covered: PEFT's `lora.Linear` with one active adapter, without dropout, on frozen weights of one
data type. Everything else (DoRA, quantised layers, merged or mixed adapters, autocast) goes PEFT's
way, decided call by call. Not installed under DeepSpeed and FSDP, whose hooks stand on the layers
inside.

Shapes:  N tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn

__all__ = ["install_fused_adapters"]


class _AdaptedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,  # (O, I)
        bias: Tensor | None,  # (O,)
        down: Tensor,  # A, (R, I)
        up: Tensor,  # B, (O, R)
        scaling: float,
    ) -> Tensor:
        flat = inputs.reshape(-1, inputs.shape[-1])  # (N, I)
        low = flat @ down.t()  # (N, R)
        outputs = torch.nn.functional.linear(flat, weight, bias)  # (N, O)
        outputs.addmm_(low, up.t(), alpha=scaling)
        ctx.save_for_backward(flat, low, weight, down, up)
        ctx.scaling = scaling
        return outputs.view(*inputs.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        flat, low, weight, down, up = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])  # (N, O)
        back = gradient @ up  # (N, R)
        # Only the narrow one of the two factors is transposed in memory.
        grad_up = (low.t() @ gradient).t().mul_(ctx.scaling)
        grad_down = (back.t() @ flat).mul_(ctx.scaling)
        grad_inputs = None
        if ctx.needs_input_grad[0]:
            grad_inputs = gradient @ weight
            grad_inputs.addmm_(back, down, alpha=ctx.scaling)
            grad_inputs = grad_inputs.view(*gradients[0].shape[:-1], -1)
        return grad_inputs, None, None, grad_down, grad_up, None


def install_fused_adapters(model: nn.Module) -> int:
    """Give every LoRA layer of a model the forward with fewer passes; return how many it has."""
    count = 0
    for module in model.modules():
        if type(module) is LoraLinear and "forward" not in vars(module):
            module.forward = types.MethodType(_forward, module)  # type: ignore[method-assign]
            count += 1
    return count


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if args or kwargs or not _is_plain(self, x):
        return type(self).forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
    (name,) = self.active_adapters
    base = self.get_base_layer()
    apply: Any = _AdaptedLinear.apply
    return apply(  # type: ignore[no-any-return]
        x,
        base.weight,
        base.bias,
        self.lora_A[name].weight,
        self.lora_B[name].weight,
        self.scaling[name],
    )


def _is_plain(layer: Any, x: Tensor) -> bool:
    """Say whether PEFT would compute exactly x W' + bias + s (x A') B'."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    if name not in layer.lora_A or name in layer.lora_variant:
        return False
    dropout = layer.lora_dropout[name]
    if not isinstance(dropout, nn.Identity) and layer.training:
        return False
    base = layer.get_base_layer()
    down, up = layer.lora_A[name], layer.lora_B[name]
    tensors = (base.weight, down.weight, up.weight)
    return (
        type(base) is nn.Linear
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and down.bias is None
        and up.bias is None
        and all(each.dtype == x.dtype for each in tensors)
        and not torch.is_autocast_enabled(x.device.type)
    )
