"""How much memory a run will take, said before a model is loaded; what to change if it's too much.

What isn't known is rounded up: a run that dies is worse than one that is refused with a way out.

Covered: one process of training on a GPU or a CPU, with its weights whole or divided (FSDP2,
ZeRO-3); DPO roughly. Not covered: offloading, tensor parallelism, and the main memory that loading
a GPU's model takes.
"""

from __future__ import annotations

import ctypes
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from derta.errors import ModelError
from derta.train.footprint import (
    Layout,
    ModelShape,
    NumberSizes,
    Plan,
    Weight,
    activation_bytes,
    logit_bytes,
    model_layout,
)
from derta.train.recipe_fields import DPO, LoraRecipe, Recipe

__all__ = [
    "MemoryEstimate",
    "Plan",
    "available_bytes",
    "check_memory",
    "describe_memory",
    "estimate_memory",
]

_MEMORY_INFO = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")
_MOST_PROCESSES = 64


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that one process takes at its peak, and the parameters of the whole model."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    other: int
    """Copies in another precision or for communication, buffers of libraries, gaps."""
    parameters: int
    trained_parameters: int

    @property
    def total(self) -> int:
        """All bytes together."""
        return sum(getattr(self, name) for name in _PARTS)


_PARTS = tuple(each.name for each in fields(MemoryEstimate) if "parameters" not in each.name)


def estimate_memory(recipe: Recipe, config: Any, plan: Plan) -> MemoryEstimate:
    """Estimate what a process of this run takes at its peak; no weights are allocated.

    Args:
        recipe: of the run; what `trainer` says is in `plan` already.
        config: the model's transformers configuration.
        plan: how the run is laid out.

    Raises:
        ModelError: transformers has no causal language model for the configuration.
        RecipeError: the model can't be given the recipe's adapter.
    """
    layout = model_layout(recipe, config, plan)
    text = config.get_text_config()
    shape = ModelShape.of(text)
    share = plan.processes if plan.divided else 1
    # FSDP2 divides the base model; an adapter lies whole in every process.
    trained_share = 1 if recipe.sharding is not None and recipe.lora is not None else share
    trained = [each for each in layout.weights if each.trained]
    weights = sum(each.bytes for each in layout.weights)
    # PyTorch gives a gradient the data type of its weight.
    gradients = sum(each.bytes for each in trained)
    optimizer = sum(_optimizer_bytes(plan.optimizer, each) for each in trained)
    sizes = NumberSizes.of(recipe, plan, layout)
    activations = activation_bytes(recipe, text, plan, layout, shape, sizes)
    logits = logit_bytes(recipe, plan, shape, sizes)
    other = _copies(recipe, plan, layout, sizes, gradients)
    # The optimizer's own temporaries live when the activations are gone.
    other += max(0.0, _step_bytes(plan, trained) / trained_share - activations - logits)
    if plan.on_gpu:
        # Workspaces of cuBLAS; buffers of NCCL; blocks that the allocator can't join.
        other += 0.3e9 + (0.7e9 if plan.processes > 1 else 0.0) + 0.08 * (activations + logits)
    else:
        # Threads and libraries once they are in use; what the heap can't give back in one piece.
        other += 0.15e9 + 0.2 * (activations + logits)
    return MemoryEstimate(
        weights=math.ceil((weights - gradients) / share + gradients / trained_share),
        gradients=math.ceil(gradients / trained_share),
        optimizer=math.ceil(optimizer / trained_share),
        activations=math.ceil(activations),
        logits=math.ceil(logits),
        other=math.ceil(other),
        parameters=layout.parameters,
        trained_parameters=layout.trained,
    )


def _optimizer_bytes(name: str, weight: Weight) -> float:
    count, item = weight.count, weight.item_bytes
    means = 1 if re.search("lion|rmsprop|adagrad|schedule_free_sgd", name) else 2
    means = 3 if "ademamix" in name else means
    if name == "sgd" or "lomo" in name:
        return 0  # transformers gives SGD no momentum
    if "adafactor" in name:
        # Means of rows and of columns; of a vector, of each element. In float32.
        *rows, columns = weight.shape
        factored = math.prod(rows) + math.prod(rows[:-1]) * columns if rows else columns
        return 4 * factored
    if "8bit" in name and count >= 4096 and not weight.is_embedding:
        # bitsandbytes keeps small tensors and embeddings in 32 bits; else a scale for 256.
        return count * means * (1 + 4 / 256)
    if "4bit" in name and count >= 4096:
        return count * means * (0.5 + 4 / 128)
    if re.search("8bit|4bit|32bit|bnb|paged", name):
        return count * means * 4
    return count * means * item + 4  # in the weight's data type, and a counter of steps


def _step_bytes(plan: Plan, trained: list[Weight]) -> float:
    """Bytes that live within the optimizer's step only."""
    if plan.optimizer in ("adamw_torch", "rmsprop", "adagrad") and plan.on_gpu:
        # All weights at once (foreach): the root of the second mean, and the update.
        return sum(each.bytes for each in trained)
    # Weight by weight: the same two, and the squared gradient.
    return 3.0 * max((each.bytes for each in trained), default=0.0)


def _copies(
    recipe: Recipe, plan: Plan, layout: Layout, sizes: NumberSizes, gradients: float
) -> float:
    """Bytes of weights and gradients that are held twice for a while."""
    total = 0.0
    largest, outside = layout.largest_layer(), layout.outside_layers()
    if plan.divided:
        # Gathered: a layer and the next one, and what stands outside of the layers; as many
        # gradients before they are divided, in float32.
        total += (2 * largest + outside) * sizes.compute
        total += 4 * layout.largest_layer(trained_only=True)
        total += 4 * layout.outside_layers(trained_only=True)
    else:
        if sizes.stream != sizes.compute:
            # Autocast keeps its 16 bit weights for the backward pass; those of frozen layers only
            # with what they were multiplied with.
            frozen_layers = largest if plan.checkpointing else layout.parameters - outside
            cast = layout.parameters - outside if recipe.lora is None else frozen_layers
            total += cast * sizes.compute
        if plan.processes > 1:
            total += gradients  # DDP's buckets
    if recipe.quantization is not None:
        total += largest * 2  # a layer's weights, back in 16 bits, where they are multiplied
    if recipe.method == DPO and recipe.lora is None:
        share = plan.processes if plan.divided else 1
        total += sum(each.bytes for each in layout.weights) / share  # the model to stay near to
    return total


# --- what there is -----------------------------------------------------------------------------


def available_bytes(on_gpu: bool, processes_here: int) -> int | None:
    """Say what a process may still take: of the current GPU, or of main memory.

    Args:
        on_gpu: memory of the current CUDA device, which is one process's own.
        processes_here: processes of this run that share this machine's main memory.

    Returns:
        Bytes, or None where it can't be told.
    """
    if on_gpu:
        import torch

        try:
            free, _ = torch.cuda.mem_get_info()
            # What PyTorch has set aside in this process is free for it, too.
            kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        except (AssertionError, AttributeError, RuntimeError):
            return None
        return int(free + kept)
    _give_freed_memory_back()
    found = [each for each in (_machine_bytes(), _control_group_bytes()) if each is not None]
    return min(found) // max(processes_here, 1) if found else None


def _give_freed_memory_back() -> None:
    """Let a run that is over stop counting as used: `derta.memory` keeps what it freed."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):
            return


def _machine_bytes() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMORY_INFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _control_group_bytes() -> int | None:
    """Read what a container is allowed (control groups, version 2) and doesn't use."""
    try:
        limit = int((_CONTROL_GROUP / "memory.max").read_text())
        used = int((_CONTROL_GROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no group, or "max": no limit
        return None
    try:
        statistics = (_CONTROL_GROUP / "memory.stat").read_text()
    except OSError:
        statistics = ""
    # Pages of files that were read once are given up as soon as memory is short.
    files = re.search(r"^inactive_file (\d+)", statistics, re.MULTILINE)
    return max(0, limit - used + (int(files[1]) if files else 0))


# --- what to do about it -----------------------------------------------------------------------


def describe_memory(estimate: MemoryEstimate) -> str:
    """Write the estimate as a small table, at most 80 columns wide."""
    lines = [
        f"parameters    {estimate.parameters:>18,}",
        f"  trained     {estimate.trained_parameters:>18,}",
        "memory of a process, estimated",
    ]
    lines += [f"  {name:<12}{_in_gb(getattr(estimate, name)):>18}" for name in _PARTS]
    return "\n".join([*lines, f"  {'total':<12}{_in_gb(estimate.total):>18}"])


def check_memory(recipe: Recipe, config: Any, plan: Plan, available: int | None) -> MemoryEstimate:
    """Estimate a run's memory and compare it with what there is.

    Args:
        recipe: of the run.
        config: the model's transformers configuration.
        plan: how the run is laid out.
        available: bytes that a process may take; None compares with nothing.

    Raises:
        ModelError: the estimate is more than that; the message says what would fit.
        RecipeError: the model can't be given the recipe's adapter.
    """
    estimate = estimate_memory(recipe, config, plan)
    if available is None or estimate.total <= available:
        return estimate
    parts = ", ".join(f"{name} {_in_gb(getattr(estimate, name))}" for name in _PARTS)
    where = "on the GPU" if plan.on_gpu else "in main memory"
    ways = _ways_out(_Setting(recipe, plan), config, available)
    fits = (
        f"This would fit: {'; or '.join(ways)}"
        if ways
        else "Nothing here fits: take a smaller model"
    )
    raise ModelError(
        f"{recipe.model} needs about {_in_gb(estimate.total)} {where} for each process, and "
        f"{_in_gb(available)} are free ({parts}). {fits}. The numbers are an estimate: "
        "check_memory=false goes on anyway"
    )


@dataclass(frozen=True)
class _Setting:
    """A run as it might be, and what was changed in the recipe for that."""

    recipe: Recipe
    plan: Plan
    words: tuple[str, ...] = ()


_Change = Callable[[_Setting], Iterator[_Setting]]
"""Yields a setting changed in one way, the least change first; nothing where it can't be."""


def _ways_out(setting: _Setting, config: Any, available: int) -> list[str]:
    """Name every single change that fits; if none does, changes together."""

    def first_that_fits(candidates: Iterator[_Setting]) -> _Setting | None:
        for each in candidates:
            if estimate_memory(each.recipe, config, each.plan).total <= available:
                return each
        return None

    ways = [found for each in _HERE if (found := first_that_fits(each(setting)))]
    if not ways:
        # As few changes together as will do, and beside them more GPUs.
        few = (_smaller_batch, _checkpointing)
        here = _together(_HERE, setting, first_that_fits)
        more = first_that_fits(_divided(setting)) or _together(
            (*few, _divided), setting, first_that_fits
        )
        ways = [each for each in (here, more) if each is not None]
    if not ways:
        both = _together((*few, _with_adapter, _divided), setting, first_that_fits)
        ways = [both] if both is not None else []
    return [" and ".join(each.words) for each in ways]


def _together(
    changes: tuple[_Change, ...],
    setting: _Setting,
    first_that_fits: Callable[[Iterator[_Setting]], _Setting | None],
) -> _Setting | None:
    """Make changes one after the other until it fits, and leave out those that it fits without."""

    def made(chosen: tuple[_Change, ...]) -> _Setting | None:
        changed = setting
        for each in chosen[:-1]:
            # As much of it as can be: the last change alone looks for the least.
            for furthest in each(changed):
                changed = furthest
        return first_that_fits(chosen[-1](changed)) if chosen else None

    for count in range(2, len(changes) + 1):
        chosen = changes[:count]
        if made(chosen) is None:
            continue
        for each in changes[: count - 1]:
            fewer = tuple(one for one in chosen if one is not each)
            if made(fewer) is not None:
                chosen = fewer
        return made(chosen)
    return None


def _smaller_batch(setting: _Setting) -> Iterator[_Setting]:
    recipe, before = setting.recipe, setting.plan.micro_batch
    size = before
    while size > 1:
        size //= 2
        words: tuple[str, ...] = (f"trainer.per_device_train_batch_size={size}",)
        if recipe.examples_per_step is None:
            # A step's examples stay as many.
            steps = recipe.trainer.get("gradient_accumulation_steps") or 1
            words += (f"trainer.gradient_accumulation_steps={-(-steps * before // size)}",)
        yield replace(
            setting, plan=replace(setting.plan, micro_batch=size), words=setting.words + words
        )


def _checkpointing(setting: _Setting) -> Iterator[_Setting]:
    if not setting.plan.checkpointing:
        words = (*setting.words, "trainer.activation_checkpointing=true")
        yield replace(setting, plan=replace(setting.plan, checkpointing=True), words=words)


def _with_adapter(setting: _Setting) -> Iterator[_Setting]:
    if setting.recipe.lora is None:
        recipe = setting.recipe.model_copy(update={"lora": LoraRecipe(r=16)})
        yield replace(setting, recipe=recipe, words=(*setting.words, "lora.r=16"))


def _in_4_bits(setting: _Setting) -> Iterator[_Setting]:
    recipe, plan = setting.recipe, setting.plan
    if plan.on_gpu and recipe.lora is not None and not plan.divided and not recipe.quantization:
        recipe = recipe.model_copy(update={"quantization": "nf4"})
        yield replace(setting, recipe=recipe, words=(*setting.words, "quantization=nf4"))


def _divided(setting: _Setting) -> Iterator[_Setting]:
    plan = setting.plan
    # Processes on a CPU share one memory; 4 bit weights aren't divided.
    if not plan.on_gpu or setting.recipe.quantization:
        return
    count = max(plan.processes, 2)
    while count <= _MOST_PROCESSES:
        if not plan.divided or count > plan.processes:
            recipe = setting.recipe.model_copy(update={"sharding": "fsdp2"})
            words = (*setting.words, f"sharding=fsdp2 on {count} processes")
            yield _Setting(recipe, replace(plan, divided=True, processes=count), words)
        count = 2 ** count.bit_length()  # the next power of two


_HERE: tuple[_Change, ...] = (_smaller_batch, _checkpointing, _with_adapter, _in_4_bits)
"""Changes that need no more GPUs, from the one that costs least."""


def _in_gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
