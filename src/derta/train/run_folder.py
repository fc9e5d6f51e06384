"""The folder of a training run: what it is, whether it is finished, and who may write into it.

    <output>/recipe.yaml     the resolved recipe
            manifest.json    versions, seed, data hashes, fingerprint
            checkpoints/     while training; a killed run continues from the last whole one
            model/           the adapter (LoRA) or the whole model, loadable without derta
            training.json    steps, tokens, seconds and the log; written last: it says "done"

A finished run with the same fingerprint (recipe, data, examples a step, version) is not repeated.
Covered: one writer at a time. Not covered: the training itself (`derta.train.run`).
"""

from __future__ import annotations

import contextlib
import importlib.metadata as metadata
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from derta import __version__
from derta.errors import RecipeError
from derta.files import digest, prepare_run_folder, write_atomically
from derta.train.recipe import dump_recipe
from derta.train.recipe_fields import Recipe

__all__ = [
    "TrainingSummary",
    "as_the_base",
    "begin",
    "check_place",
    "fingerprint_of",
    "finished_run",
    "only_writer",
    "replace_model",
]

_PACKAGES = (
    "torch", "transformers", "accelerate", "peft", "datasets", "tokenizers", "trl", "bitsandbytes",
    "deepspeed",
)  # fmt: skip
_UNDECISIVE = frozenset((
    "activation_checkpointing", "dataloader_num_workers", "dataloader_pin_memory", "disable_tqdm",
    "gradient_checkpointing", "logging_steps", "report_to", "run_name", "save_steps",
    "save_total_limit",
))  # fmt: skip
"""Keys of `trainer` that a run may be continued with other values of."""
_REMAINS = ("checkpoints", "model", "model.partial")


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What a finished run was: the part `training` of results.json."""

    method: str
    optimizer_steps: int
    examples: int
    tokens_computed: int | None
    """Of the examples trained on, common beginnings once; None for DPO, which counts none."""
    seconds: float
    """Of the last start: a run that was continued took longer."""
    log: list[dict[str, float]]


def fingerprint_of(recipe: Recipe, hashes: dict[str, Any], examples_per_step: int) -> str:
    """Hash everything that decides the weights: recipe, data, examples of a step, version."""
    trainer = {key: value for key, value in recipe.trainer.items() if key not in _UNDECISIVE}
    if recipe.examples_per_step is not None:
        trainer.pop("per_device_train_batch_size", None)  # the step's examples stay the same
    decisive = recipe.model_copy(update={"check_memory": True, "trainer": trainer})
    return digest(
        dump_recipe(decisive),
        json.dumps(hashes, sort_keys=True),
        str(examples_per_step),
        __version__,
    )


def finished_run(output: Path, fingerprint: str) -> TrainingSummary | None:
    """Return the summary of a finished run with this fingerprint, or None."""
    manifest, summary = _read(output / "manifest.json"), _read(output / "training.json")
    if manifest.get("fingerprint") != fingerprint or not (output / "model").is_dir():
        return None
    try:
        return TrainingSummary(**summary)
    except TypeError:  # it isn't there, or of another version
        return None


@contextlib.contextmanager
def only_writer(output: Path) -> Iterator[None]:
    """Keep a second run out of the folder while this one trains.

    Raises:
        RecipeError: another process is at work there.
    """
    prepare_run_folder(output)
    lock = FileLock(output / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RecipeError(
            f"{output}: another process is training into this folder. Wait for it, or name "
            "another folder with --output"
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_place(output: Path, recipe: Recipe, fingerprint: str, facts: dict[str, Any]) -> None:
    """See that the folder is free for this run, or is its own.

    Args:
        output: the run folder.
        recipe: resolved.
        fingerprint: of the run.
        facts: what the manifest will say of data and steps.

    Raises:
        RecipeError: it holds another run, finished or with checkpoints; the message says what is
            different.
    """
    earlier = _read(output / "manifest.json")
    if earlier and earlier.get("fingerprint") != fingerprint:
        _refuse(output, recipe, earlier, facts)


def begin(output: Path, recipe: Recipe, fingerprint: str, facts: dict[str, Any]) -> None:
    """Write what the run is, and throw away another one that is there.

    Args:
        output: the run folder.
        recipe: resolved.
        fingerprint: of the run.
        facts: what else the manifest says: data hashes, processes and so on.
    """
    earlier = _read(output / "manifest.json")
    if earlier and earlier.get("fingerprint") != fingerprint:
        for name in _REMAINS:
            shutil.rmtree(output / name, ignore_errors=True)
        (output / "training.json").unlink(missing_ok=True)
    write_atomically(output / "recipe.yaml", dump_recipe(recipe))
    manifest = {
        "fingerprint": fingerprint,
        "derta": __version__,
        "seed": recipe.seed,
        **facts,
        "command": sys.argv[1:],
        "python": platform.python_version(),
        "versions": _versions(),
        "git": _git_commit(),
    }
    write_atomically(output / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def _refuse(output: Path, recipe: Recipe, earlier: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raise if there is something to lose; say what is different."""
    if (output / "training.json").exists():
        what = "a finished run"
    elif any((output / "checkpoints").glob("checkpoint-*")):
        what = "an unfinished run with checkpoints"
    else:
        return
    differences = []
    with contextlib.suppress(OSError):
        if (output / "recipe.yaml").read_text("utf-8") != dump_recipe(recipe):
            differences.append("its recipe.yaml is not this recipe")
    if earlier.get("data") != facts.get("data"):
        differences.append("the data are not the same")
    if earlier.get("base_model") != facts.get("base_model"):
        differences.append("the base model is not the same")
    if earlier.get("examples_per_step") != facts.get("examples_per_step"):
        differences.append(
            f"a step had {earlier.get('examples_per_step')} examples and would have "
            f"{facts.get('examples_per_step')}"
        )
    if earlier.get("derta") != __version__:
        differences.append(f"it is of derta {earlier.get('derta')}")
    raise RecipeError(
        f"{output}: {what} that is not this one is here ({'; '.join(differences) or 'it differs'})."
        " Name another folder with --output, or replace it with --overwrite"
    )


def as_the_base(folder: Path, dtype: Any) -> None:
    """Write a saved model's weights in its base model's data type if that has 16 bits.

    Training holds weights in 32 bits; nobody who loads the model wants files of twice the size.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    if dtype not in (torch.bfloat16, torch.float16):
        return
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
        cast = {n: w.to(dtype) if w.is_floating_point() else w for n, w in weights.items()}
        save_file(cast, path, metadata)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    write_atomically(folder / "config.json", json.dumps(config, indent=2) + "\n")
    for index in folder.glob("*.index.json"):
        listed = json.loads(index.read_text("utf-8"))
        listed.get("metadata", {}).pop("total_size", None)
        write_atomically(index, json.dumps(listed, indent=2) + "\n")


def replace_model(output: Path) -> None:
    """Put `model.partial` in the place of `model`."""
    shutil.rmtree(output / "model", ignore_errors=True)
    (output / "model.partial").rename(output / "model")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _git_commit() -> str | None:
    """Return the commit of derta's own checkout, or None for an installed package."""
    source = Path(__file__).resolve()
    if "site-packages" in source.parts:
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(source.parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
