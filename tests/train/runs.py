"""Small training runs for the tests of the Trainer, in one process and in two.

Run as a script under torchrun it trains in every process and saves, in process 0, what the test
compares: see `main`. Not covered: GPUs, FSDP, DeepSpeed.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import TrainingArguments

from derta.data.epoch import TrainingExamples
from derta.rows import TargetKind
from derta.train.collate import RowCollator
from derta.train.trainer import DertaTrainer
from tests.tiny import tiny_model, training_examples

WEIGHTS = {
    TargetKind.HELPFUL: 1.0,
    TargetKind.SAFE_RESPONSE: 2.0,
    TargetKind.REFUSAL_TRANSITION: 0.25,
}


def make_trainer(
    folder: Path | str,
    model: nn.Module,
    data: TrainingExamples,
    *,
    packed: bool = True,
    batch: int = 4,
    accumulation: int = 1,
    max_tokens: int = 60,
    **arguments: Any,
) -> DertaTrainer:
    """Make a trainer: SGD at a constant rate, every step logged, nothing saved."""
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 2,
        "optim": "sgd",
        "learning_rate": 0.02,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "seed": 5,
        **arguments,
    }
    return DertaTrainer(
        model,
        TrainingArguments(**settings),
        data,
        RowCollator(pad_id=0, packed=packed, max_tokens=max_tokens, weights=WEIGHTS),
    )


def lora(model: nn.Module, seed: int = 1) -> nn.Module:
    """Put LoRA on all projections, in the model's own dtype."""
    torch.manual_seed(seed)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # see tests.tiny.PEFT_WARNING
        return get_peft_model(model, settings, autocast_adapter_dtype=False)  # type: ignore[arg-type]


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copy the trained weights."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def same_as_in_two_processes(kind: str) -> tuple[nn.Module, TrainingExamples]:
    """Make the model and the data of one of the comparisons: 7 examples, steps of 4."""
    data = training_examples(4, 3, kept_share=0.5)
    model: nn.Module = tiny_model("llama", dtype=torch.float64)
    return (lora(model) if kind == "lora" else model), data


def main(folder: Path) -> None:
    """Train under torchrun: full (with checkpoints), resumed inside an epoch, and LoRA."""
    histories = {}
    settings = {"batch": 1, "accumulation": 2}
    for kind in ("full", "resumed", "lora"):
        model, data = same_as_in_two_processes(kind)
        arguments: dict[str, Any] = {}
        if kind != "lora":
            # Also the case in which DDP waits for every gradient: no search for unused ones.
            arguments = {"save_strategy": "steps", "save_steps": 3}
            arguments["ddp_find_unused_parameters"] = False
        trainer = make_trainer(folder / "checkpoints", model, data, **settings, **arguments)
        start = str(folder / "checkpoints" / "checkpoint-3") if kind == "resumed" else None
        trainer.train(resume_from_checkpoint=start)
        histories[kind] = trainer.state.log_history
        if trainer.is_world_process_zero():
            torch.save(weights_of(model), folder / f"{kind}.pt")
    if trainer.is_world_process_zero():
        assert trainer.args.world_size == 2
        (folder / "history.json").write_text(json.dumps(histories))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # The threads of the process group must end before the interpreter does: torn down at exit,
    # they abort now and then ("terminate called without an active exception").
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # an exception above has ended the process with its own status before this
