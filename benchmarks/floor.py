"""The least that a training step has to compute, and how fast this machine multiplies.

The floor counts each unique token once: prompts, responses and a system prompt that examples of a
step have in common. Per token: every linear layer forwards and the gradient of its input, the
adapters with their gradients (or the gradient of the weights), attention without recomputation;
per target: the output matrix forwards and the gradient of its input. Norms, rotations, softmax,
the optimizer and all copies count nothing, so 100 % can't be reached.

Shapes:  T tokens, S supervised targets, V vocabulary, H hidden size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from derta.packing import share_prefixes
from derta.rows import TrainingRow

__all__ = ["matrix_rate", "step_operations"]


def step_operations(model: Any, rows: Sequence[TrainingRow]) -> float:
    """Count the floating-point operations of one step on these plain rows.

    A model without adapters is taken to train all its parameters.
    """
    tree = share_prefixes(rows)
    tokens, targets = len(tree), len(tree.target_ids)
    adapted = any("lora_" in name for name, _ in model.named_parameters())
    operations = 0.0
    for layer, base, rank in _linear_layers(model):
        weights = base.in_features * base.out_features
        operations += 2 * weights * tokens  # forwards
        if not adapted:
            operations += 2 * weights * tokens  # gradient of the weights
        operations += 6 * rank * (base.in_features + base.out_features) * tokens
        # Gradient of the input; below the first layer's adapters nothing needs one.
        if not (adapted and layer == 0 and _reads_the_embedding(base, model)):
            operations += 2 * weights * tokens
        else:
            operations -= 2 * rank * base.in_features * tokens
    config = model.config.get_text_config()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    contexts = sum(depth + 1 for depth in tree.position_ids)
    width = config.num_attention_heads * head_dim
    # QK' and PV forwards; four products of the same size backwards.
    operations += 12 * width * contexts * config.num_hidden_layers
    products = 2 if adapted else 3
    return operations + 2 * products * config.vocab_size * config.hidden_size * targets


def matrix_rate(model: Any, tokens: int, targets: int, repeats: int = 3) -> float:
    """Measure operations a second of the model's own matrix products, forwards and backwards.

    Each shape counts by the time that it takes. The fastest of `repeats` rounds is returned:
    anything that disturbs makes it slower.
    """
    shapes: dict[tuple[int, int], int] = {}
    for _, base, _ in _linear_layers(model):
        shape = base.in_features, base.out_features
        shapes[shape] = shapes.get(shape, 0) + 1
    weight = model.get_output_embeddings().weight
    dtype, device = weight.dtype, weight.device
    best = 0.0
    for _ in range(repeats):
        operations = seconds = 0.0
        cases = [(tokens, *shape, count) for shape, count in shapes.items()]
        cases.append((min(targets, 128), weight.shape[1], weight.shape[0], 1))
        for rows, width_in, width_out, count in cases:
            matrix = torch.randn(width_out, width_in, dtype=dtype, device=device)
            forwards = torch.randn(rows, width_in, dtype=dtype, device=device)
            backwards = torch.randn(rows, width_out, dtype=dtype, device=device)
            for _ in range(2):  # the first call may choose a kernel
                started = time.perf_counter()
                for _ in range(5):
                    torch.mm(forwards, matrix.t())
                    torch.mm(backwards, matrix)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                elapsed = time.perf_counter() - started
            seconds += count * elapsed / 5
            operations += count * 4.0 * rows * width_in * width_out
        best = max(best, operations / seconds)
    return best


def _linear_layers(model: Any) -> list[tuple[int, nn.Linear, int]]:
    """List (layer, base layer, adapter rank) of every linear layer but the output matrix."""
    head = model.get_output_embeddings()
    found = []
    for name, module in model.named_modules():
        base = getattr(module, "base_layer", None)
        if isinstance(base, nn.Linear):
            rank = sum(adapter.out_features for adapter in module.lora_A.values())
        elif isinstance(module, nn.Linear) and "lora_" not in name and "base_layer" not in name:
            base, rank = module, 0
        else:
            continue
        if base is not head:
            numbers = [int(part) for part in name.split(".") if part.isdigit()]
            found.append((numbers[0] if numbers else -1, base, rank))
    return found


def _reads_the_embedding(base: nn.Linear, model: Any) -> bool:
    """Say whether a layer of the first block is one of q, k and v."""
    names = {id(module): name for name, module in model.named_modules()}
    return any(each in names[id(base)] for each in ("q_proj", "k_proj", "v_proj", "qkv_proj"))
