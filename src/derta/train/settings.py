"""What a recipe and the way a run was launched come to: TrainingArguments and the step's layout.

A step's examples are divided among processes and micro-batches. Covered: one process, and several
started by torchrun or `accelerate launch` on one machine or many, which set WORLD_SIZE and friends.
Not covered: the model and the data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from derta.errors import RecipeError
from derta.train.recipe_fields import DPO, Recipe

if TYPE_CHECKING:
    from transformers import TrainingArguments

__all__ = [
    "StepLayout",
    "check_machine",
    "divides_by_zero3",
    "is_main_process",
    "launched_by_deepspeed",
    "leave_the_group",
    "made_arguments",
    "processes",
    "refused",
    "shared",
    "step_layout",
    "tensorboard_beside",
    "trainer_values",
    "training_arguments",
    "wait_for_all",
    "weights_dtype",
]

_MICRO_BATCH = 8
"""transformers' own default."""
_DEFAULTS: dict[str, Any] = {
    "report_to": [],
    "logging_steps": 5,
    "save_strategy": "steps",
    "save_steps": 20,
    "save_total_limit": 1,
    "disable_tqdm": True,
    # A loss that is no number ends the run (derta.train.finite); it isn't hidden from the log.
    "logging_nan_inf_filter": False,
    # Every micro-batch reaches every weight, even one without targets; DDP need not search.
    "ddp_find_unused_parameters": False,
}

_DPO_DEFAULTS: dict[str, Any] = {"learning_rate": 5e-7, "num_train_epochs": 1}
"""Of the paper, for 8B. A rate for plain training is a hundred times too high for DPO."""


@dataclass(frozen=True, slots=True)
class StepLayout:
    """How the examples of an optimizer step are divided."""

    processes: int
    micro_batch: int
    """Examples that a process computes at once."""
    accumulation: int
    """Micro-batches of a process in a step."""

    @property
    def examples(self) -> int:
        """Examples of a step, over all processes."""
        return self.processes * self.micro_batch * self.accumulation


def processes() -> int:
    """Count the processes that train together, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_by_deepspeed() -> bool:
    """Say whether `accelerate launch` started this process for DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("true", "1")


def divides_by_zero3(config: Any) -> bool:
    """Say whether DeepSpeed divides the weights, as its stage 3 does.

    Args:
        config: `trainer.deepspeed`: a file, its content, or None.
    """
    if launched_by_deepspeed():
        return os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3") == "3"
    if isinstance(config, str):
        try:
            config = json.loads(Path(config).read_text("utf-8"))
        except (OSError, ValueError):
            return False  # transformers will say what is wrong with it
    stage = config.get("zero_optimization", {}).get("stage") if isinstance(config, dict) else None
    return bool(stage == 3)


def is_main_process() -> bool:
    """Say whether this process writes the run folder and speaks to the user."""
    return int(os.environ.get("RANK", "0")) == 0


def trainer_values(recipe: Recipe) -> dict[str, Any]:
    """Return the keys under `trainer`; for DPO those under `dpo.trainer` come before them."""
    if recipe.method != DPO:
        return dict(recipe.trainer)
    values = {**recipe.trainer, **_DPO_DEFAULTS, **recipe.dpo.trainer}
    if "max_steps" not in recipe.dpo.trainer:
        values.pop("max_steps", None)  # it would win over the epochs
    return values


def step_layout(recipe: Recipe) -> StepLayout:
    """Divide a step's examples among the processes that were launched.

    Raises:
        RecipeError: `examples_per_step` can't be divided so.
    """
    count = processes()
    values = trainer_values(recipe)
    largest = int(values.get("per_device_train_batch_size", _MICRO_BATCH))
    total = recipe.examples_per_step
    if total is None:
        return StepLayout(count, largest, int(values.get("gradient_accumulation_steps", 1)))
    share, rest = divmod(total, count)
    if rest:
        raise RecipeError(
            f"examples_per_step: {total} can't be divided among {count} processes. Set it to a "
            f"multiple of {count}, or start another number of processes"
        )
    micro = max(size for size in range(1, min(largest, share) + 1) if share % size == 0)
    return StepLayout(count, micro, share // micro)


def training_arguments(recipe: Recipe, folder: Path, layout: StepLayout) -> dict[str, Any]:
    """Resolve the keyword values of transformers.TrainingArguments.

    Raises:
        RecipeError: a service in `report_to` isn't installed.
    """
    import torch

    values = {
        **_DEFAULTS,
        "dataloader_pin_memory": torch.cuda.is_available(),
        **trainer_values(recipe),
        "output_dir": str(folder),
        "seed": recipe.seed,
        "per_device_train_batch_size": layout.micro_batch,
        "gradient_accumulation_steps": layout.accumulation,
    }
    _check_services(values["report_to"])
    return values


def check_machine(recipe: Recipe) -> None:
    """See that what a recipe asks of the machine is there.

    Raises:
        RecipeError: it asks for a GPU where there is none, or for several processes where one was
            started.
    """
    import torch

    on_gpu = torch.cuda.is_available() and not recipe.trainer.get("use_cpu")
    if on_gpu:
        _check_gpus(torch.cuda.device_count())
    if recipe.attention == "flex_attention" and not on_gpu:
        raise RecipeError("attention: flex_attention can't train on a CPU. Use attention=sdpa")
    if recipe.quantization is not None and not on_gpu:
        raise RecipeError(
            f"quantization: {recipe.quantization} needs a CUDA GPU. Use quantization=null"
        )
    if recipe.sharding is not None and launched_by_deepspeed():
        raise RecipeError(
            f"sharding: {recipe.sharding} and DeepSpeed would both divide the weights. Set "
            "sharding=null"
        )
    if recipe.sharding is not None and processes() < 2:
        raise RecipeError(
            f"sharding: {recipe.sharding} divides the weights among processes, and one was "
            "started. Start several (torchrun --nproc-per-node 2 -m derta train ...), or set "
            "sharding=null"
        )


def _check_gpus(there: int) -> None:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > there:
        raise RecipeError(
            f"{here} processes were started on a machine with {there} GPUs. Start {there} or fewer "
            f"(--nproc-per-node {there})"
        )
    if there > 1 and "LOCAL_RANK" not in os.environ:
        raise RecipeError(
            f"{there} GPUs are visible to one process. Start one for each (torchrun "
            f"--nproc-per-node {there} -m derta train ...), or set CUDA_VISIBLE_DEVICES=0"
        )


def made_arguments(values: dict[str, Any]) -> TrainingArguments:
    """Make transformers' TrainingArguments and, with several processes, their group.

    Args:
        values: keyword values; keys of a subclass, such as TRL's, are left out.

    Raises:
        RecipeError: transformers refuses the values, or their combination, on this machine, or the
            processes can't meet.
    """
    from transformers import TrainingArguments

    known = {each.name for each in dataclasses.fields(TrainingArguments) if each.init}
    try:
        arguments = TrainingArguments(**{k: v for k, v in values.items() if k in known})
    except (ValueError, ImportError) as error:
        raise refused(error) from error
    try:
        _ = arguments.device  # the processes meet here
    except (ValueError, RuntimeError) as error:
        text = " ".join(str(error).split()).rstrip(".")
        raise RecipeError(
            f"the processes can't meet: {text}. Check --master-addr and --master-port, and that "
            "each process has a GPU of its own"
        ) from error
    return arguments


def refused(error: Exception) -> RecipeError:
    """Say in a recipe's words that transformers refused the values under `trainer`."""
    text = " ".join(str(error).split()) or type(error).__name__
    return RecipeError(f"trainer: transformers refuses these values: {text.rstrip('.')}. Mend them")


def _check_services(report_to: Any) -> None:
    from transformers.integrations.integration_utils import get_available_reporting_integrations

    wanted = [report_to] if isinstance(report_to, str) else list(report_to or ())
    there = get_available_reporting_integrations()
    for name in wanted:
        if name not in (*there, "all", "none"):
            raise RecipeError(
                f"trainer.report_to: {name!r} can't be used here: it is no service that "
                f"transformers knows, or its package isn't installed (pip install {name}). "
                f"Usable now: {', '.join(there) or 'none'}"
            )


@contextlib.contextmanager
def tensorboard_beside(folder: Path) -> Iterator[None]:
    """Let TensorBoard's callback write into a folder, unless the user has chosen one.

    By itself it writes among the checkpoints, which are removed at the end.
    """
    name = "TENSORBOARD_LOGGING_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(folder)
    try:
        yield
    finally:
        del os.environ[name]


def weights_dtype(recipe: Recipe, on_gpu: bool) -> Literal["float32", "bfloat16"]:
    """Return the data type that a model's weights are loaded in for training.

    Trained weights are held in float32: steps of 1e-5 vanish in bfloat16's rounding.
    """
    frozen = recipe.lora is not None
    return recipe.dtype or ("bfloat16" if frozen and on_gpu else "float32")


def wait_for_all() -> None:
    """Wait until every process has come here."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def shared(value: Any) -> Any:
    """Return what the main process gave, in every process."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def leave_the_group() -> None:
    """End the processes' group: torn down at the interpreter's exit, it aborts now and then."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
