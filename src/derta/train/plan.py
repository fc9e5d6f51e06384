"""What a run will do and need, said before its model is loaded: for `--dry-run` and the check.

Covered: steps, their layout and the memory of a process. Not covered: the estimate's formulas
(`derta.train.estimate`) and time, which depends on the machine.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from derta.data.epoch import TrainingExamples
from derta.data.models import load_config
from derta.packing import share_prefixes
from derta.train.settings import trainer_values
from derta.train.source import row_settings

if TYPE_CHECKING:
    from derta.train.estimate import Plan
    from derta.train.run import Prepared

__all__ = ["check_enough_memory", "describe", "memory_plan"]

_LOOKED_AT = 2000
"""Examples whose length is looked at: encoding all rows of a large file would take minutes."""


def memory_plan(prepared: Prepared, values: dict[str, Any]) -> Plan:
    """Say how a run is laid out, for the estimate.

    Args:
        prepared: the run.
        values: TrainingArguments' keyword values.
    """
    import torch

    from derta.train.estimate import Plan

    recipe, layout = prepared.recipe, prepared.layout
    by_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    checkpointing = values.get("activation_checkpointing") or values.get("gradient_checkpointing")
    return Plan(
        processes=layout.processes,
        on_gpu=torch.cuda.is_available(),
        divided=recipe.sharding is not None or by_deepspeed or bool(values.get("deepspeed")),
        micro_batch=layout.micro_batch,
        checkpointing=bool(checkpointing),
        mixed_precision=bool(values.get("bf16") or values.get("fp16")),
        optimizer=str(values.get("optim", "adamw_torch_fused")),
        longest_tokens=_longest_tokens(prepared, layout.micro_batch),
    )


def check_enough_memory(prepared: Prepared, values: dict[str, Any]) -> None:
    """Stop a run that the memory of this machine is too small for.

    Raises:
        ModelError: it is too small; the message says what would fit.
    """
    from derta.train.estimate import available_bytes, check_memory

    plan = memory_plan(prepared, values)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    config = load_config(prepared.recipe.model)
    check_memory(prepared.recipe, config, plan, available_bytes(plan.on_gpu, here))


def describe(prepared: Prepared) -> str:
    """Say in a few lines what a run would do and need, at most 80 columns wide."""
    from derta.train.estimate import describe_memory, estimate_memory

    values = trainer_values(prepared.recipe)
    layout = prepared.layout
    steps = int(values.get("max_steps", -1))
    if steps <= 0:
        steps = round(float(values.get("num_train_epochs", 3)) * prepared.steps_an_epoch + 0.4999)
    plan = memory_plan(prepared, values)
    estimate = estimate_memory(prepared.recipe, load_config(prepared.recipe.model), plan)
    lines = [
        f"examples   {_examples(prepared)}",
        f"a step     {layout.examples} examples: {layout.micro_batch} at once, "
        f"{layout.accumulation} times in each of {layout.processes} processes",
        f"steps      {steps}, of which {prepared.steps_an_epoch} are an epoch",
        f"longest    {plan.longest_tokens} tokens an example, in a micro-batch of the longest",
        "",
        describe_memory(estimate),
    ]
    return "\n".join(lines)


def _examples(prepared: Prepared) -> str:
    count = prepared.examples_count
    left_out = prepared.data.left_out
    if prepared.start is not None:
        pairs: Any = prepared.data
        return (
            f"{count} pairs; {pairs.without_rejected} helpful rows without `rejected` and "
            f"{left_out} over-long rows are left out"
        )
    data: Any = prepared.data
    triples = sum(len(file.examples) for file in data.files if file.triples)
    return f"{triples} triples, {count - triples} helpful; {left_out} over-long rows are left out"


def _longest_tokens(prepared: Prepared, micro_batch: int) -> int:
    """Count an example's tokens in the micro-batch of the longest examples that are looked at."""
    lengths = heapq.nlargest(micro_batch, _lengths(prepared))
    return -(-sum(lengths) // len(lengths))


def _lengths(prepared: Prepared) -> Iterator[int]:
    """Yield the tokens of the rows of each example that is looked at."""
    if prepared.start is not None:
        pairs: Any = prepared.data
        for row in pairs.rows:
            yield 2 * len(row.prompt_ids) + len(row.chosen_ids) + len(row.rejected_ids)
        return
    data: Any = prepared.data
    settings = row_settings(prepared.recipe, prepared.refusal_id, prepared.tokenizer)
    examples = TrainingExamples(data.examples, settings)
    every = max(1, len(examples) // _LOOKED_AT)
    for index in range(0, len(examples), every):
        rows = examples.rows(0, index)
        packed = prepared.recipe.rows.pack
        yield len(share_prefixes(rows)) if packed else sum(map(len, rows))
