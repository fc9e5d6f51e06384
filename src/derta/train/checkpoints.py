"""Checkpoints that a killed run can trust, and those of a divided model.

A checkpoint is a folder of several files, and a process can be killed between any two. The Trainer
takes the folder with the highest number, whatever is in it. Here a folder counts only once a marker
says that it is whole; the marker is written last and removed first, and an older checkpoint is
deleted only when a newer one is whole.

A model that transformers has divided among processes (FSDP2) has no checkpoint of the Trainer's:
its weights and its optimizer's state are written by torch.distributed.checkpoint, every process its
own part. Covered: any trainer of transformers' family, TRL's too. Not covered: DeepSpeed's own
files, which it writes into the same folder before the marker.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_utils import SaveStrategy

from derta.files import write_atomically

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

__all__ = ["Checkpoints", "checkpoints", "discard_incomplete", "last_complete_checkpoint"]

MARKER = "complete"
_DIVIDED_STATE = "divided"
_SCHEDULER = "scheduler.pt"


def checkpoints(folder: Path) -> list[Path]:
    """List the whole checkpoints of a folder, the oldest first."""
    numbered = [
        (int(match[1]), path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / MARKER).is_file()
    ]
    return [path for _, path in sorted(numbered)]


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint of a folder, or None."""
    found = checkpoints(folder)
    return found[-1] if found else None


def discard_incomplete(folder: Path) -> None:
    """Delete what a killed run left half-written, so that it is neither loaded nor counted."""
    whole = set(checkpoints(folder))
    for path in folder.glob("checkpoint-*"):
        if path not in whole:
            shutil.rmtree(path, ignore_errors=True)


class Checkpoints(_Trainer):
    """Mixed into a Trainer, before it: `class Mine(Checkpoints, Trainer)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Pass everything on; a divided model gets checkpoints that the Trainer doesn't know."""
        model = kwargs.get("model", args[0] if args else None)
        arguments: Any = kwargs.get("args", args[1] if len(args) > 1 else None)
        divided = bool(getattr(model, "is_distributed_loading_by_transformers", False))
        wanted = False
        if divided and arguments is not None and arguments.save_strategy != SaveStrategy.NO:
            # The Trainer refuses to be made otherwise.
            wanted, arguments.save_only_model = not arguments.save_only_model, True
        super().__init__(*args, **kwargs)
        if wanted:
            self.args.save_only_model = False

    @property
    def _keeps_divided_weights(self) -> bool:
        # An adapter lies beside the divided weights, whole in every process.
        return self.is_distributed_loading_by_transformers and not hasattr(
            self.model, "peft_config"
        )

    # --- writing ---------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()  # each process writes its own random state
        if self.is_world_process_zero():
            run = Path(self._get_output_dir(trial=trial))
            written = run / f"checkpoint-{self.state.global_step}"
            _flush(written)
            write_atomically(written / MARKER, "")
            self._discard_old(run, limit)

    def _discard_old(self, run: Path, limit: int | None) -> None:
        best = self.state.best_model_checkpoint
        kept = [path for path in checkpoints(run) if best is None or path != Path(best)]
        for path in kept[: -max(limit, 1)] if limit else []:
            (path / MARKER).unlink()
            shutil.rmtree(path, ignore_errors=True)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model for others; inside a checkpoint, divided weights stay divided."""
        if _internal_call and self._keeps_divided_weights and not self.args.save_only_model:
            if self.args.should_save and output_dir is not None:
                Path(output_dir).mkdir(parents=True, exist_ok=True)
            self.accelerator.wait_for_everyone()
            return
        with _tied_weights_once(self.model) if self._keeps_divided_weights else _as_it_is():
            super().save_model(output_dir, _internal_call)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self._keeps_divided_weights:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        from torch.distributed.checkpoint.state_dict_saver import save

        save(self._divided_state(), checkpoint_id=str(Path(output_dir) / _DIVIDED_STATE))
        if self.args.should_save:
            torch.save(self._schedule.state_dict(), Path(output_dir) / _SCHEDULER)

    # --- reading ---------------------------------------------------------------------------

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._keeps_divided_weights:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        # Divided weights are read with the optimizer's state.

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self._keeps_divided_weights:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            set_model_state_dict,
            set_optimizer_state_dict,
        )
        from torch.distributed.checkpoint.state_dict_loader import load

        state = self._divided_state()
        load(state, checkpoint_id=str(Path(checkpoint) / _DIVIDED_STATE))
        model: Any = self.model
        set_optimizer_state_dict(
            model,
            self._plain_optimizer,
            state["optimizer"],
            options=StateDictOptions(flatten_optimizer_state_dict=True),
        )
        set_model_state_dict(model, state["model"])
        scheduler = torch.load(Path(checkpoint) / _SCHEDULER, weights_only=True)
        self._schedule.load_state_dict(scheduler)

    @property
    def _schedule(self) -> Any:
        return self.lr_scheduler

    @property
    def _plain_optimizer(self) -> Any:
        return getattr(self.optimizer, "optimizer", self.optimizer)  # below accelerate's

    def _divided_state(self) -> dict[str, Any]:
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            get_model_state_dict,
            get_optimizer_state_dict,
        )

        options = StateDictOptions(flatten_optimizer_state_dict=True)
        model: Any = self.model
        optimizer = get_optimizer_state_dict(model, self._plain_optimizer, options=options)
        return {"optimizer": optimizer, "model": get_model_state_dict(model)}


_as_it_is = contextlib.nullcontext


@contextlib.contextmanager
def _tied_weights_once(model: Any) -> Iterator[None]:
    """Leave out of what is gathered the second name of a tied weight, as a whole model's file does.

    Gathered tensors share no memory, so that transformers doesn't see that they are one.
    """
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())

    def gathered(*args: Any, **kwargs: Any) -> dict[str, Any]:
        state = type(model).gather_sharded_state_dict_for_save(model, *args, **kwargs)
        return {name: weight for name, weight in state.items() if name not in tied}

    model.gather_sharded_state_dict_for_save = gathered
    try:
        yield
    finally:
        del model.gather_sharded_state_dict_for_save


def _flush(folder: Path) -> None:
    """Hand a folder's files to the disk before they are called whole."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
