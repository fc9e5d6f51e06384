"""Training runs in several processes, one after the other: run as a script under torchrun.

The argument is a JSON file: a list of [recipe file, run folder, step]. A step above 0 first stops
the run after the checkpoint of that step, in every process, and then trains it again. A second
argument "deepspeed" makes the processes meet as DeepSpeed's do on a machine without a GPU.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from derta.train.checkpoints import Checkpoints
from derta.train.recipe import load_recipe
from derta.train.run import train_recipe


class Stopped(Exception):  # noqa: N818  (no error)
    """The run was stopped on purpose."""


def stop_after(step: int) -> Any:
    """Let every trainer stop after the checkpoint of a step; return what undoes it."""
    save = Checkpoints._save_checkpoint

    def stopping(self: Any, model: Any, trial: Any) -> None:
        save(self, model, trial)
        if self.state.global_step == step:
            self.accelerator.wait_for_everyone()
            raise Stopped

    Checkpoints._save_checkpoint = stopping  # type: ignore[method-assign]
    return lambda: setattr(Checkpoints, "_save_checkpoint", save)


def main(cases: Path) -> None:
    """Train every case."""
    warnings.simplefilter("ignore")
    for recipe_file, output, step in json.loads(cases.read_text("utf-8")):
        recipe = load_recipe(recipe_file)
        if step:
            undo = stop_after(step)
            try:
                train_recipe(recipe, Path(output))
            except Stopped:
                pass
            else:
                raise AssertionError("the run was not stopped")
            finally:
                undo()
        train_recipe(recipe, Path(output))


if __name__ == "__main__":
    if sys.argv[2:] == ["deepspeed"]:
        import deepspeed  # type: ignore[import-not-found]  # optional

        deepspeed.init_distributed(dist_backend="gloo")
    main(Path(sys.argv[1]))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # see tests.train.runs
