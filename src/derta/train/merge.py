"""A finished run becomes one whole model: the adapter is added to the weights of its base.

Covered: LoRA on linear layers, on the experts of a MoE (`lora.target_parameters`) and on tied
embeddings, in the data type of the base model's files; a run that trained all parameters is
copied. The result is loaded by plain transformers and by servers that know no adapters. It lies
there whole or not at all. Not covered: quantising the result, other kinds of adapters than LoRA.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from derta.data.models import load_model, load_tokenizer, quiet_transformers
from derta.errors import ModelError
from derta.train.adapt import without_foreign_warnings
from derta.train.card import write_card
from derta.train.origin_note import write_origin_note
from derta.train.recipe import load_recipe
from derta.train.recipe_fields import Recipe

__all__ = ["check_merge", "merge_adapter", "merge_run"]

Progress = Callable[[int, int], None]
"""Called with (done, total) stages."""

_FOREIGN_WARNINGS = (
    "Found missing adapter keys",  # an error of our own says it
    "Model has `tie_word_embeddings=True`",  # see _separate_embeddings
)


def merge_run(run: Path, output: Path, *, progress: Progress | None = None) -> Path:
    """Write the whole model of a finished run into `output`, with its tokenizer, card and origin.

    The weights have the data type of the base model's files. A run with `quantization` trained its
    adapter on weights rounded to 4 bits; it is merged into the unrounded ones in bfloat16, so that
    the merged model differs a little from the trained one. How much was not tested: it takes a GPU.

    Args:
        run: the run folder (recipe.yaml, manifest.json, training.json, model/).
        output: a folder that isn't there yet or is empty.
        progress: called with (done, total) stages: loading, merging, saving.

    Returns:
        `output`.

    Raises:
        ModelError: `run` is no finished run, `output` can't be written or holds something, or the
            base model can't be loaded.
        RecipeError: the run's recipe.yaml can't be used.
    """
    check_merge(run, output)
    recipe = load_recipe(run / "recipe.yaml")
    manifest, training = _read(run / "manifest.json"), _read(run / "training.json")
    report = progress or (lambda *_: None)
    with _folder_beside(output) as temporary:
        if (run / "model" / "adapter_config.json").exists():
            _save_merged(recipe, run / "model", temporary, report)
        else:
            report(0, 1)
            _copy_model(run / "model", temporary)
            report(1, 1)
        measured = run / "evaluation.json"
        evaluation = _read(measured) if measured.exists() else None
        write_card(temporary, recipe, manifest, training, evaluation, merged=True)
        write_origin_note(temporary, recipe, manifest)
    return output


def merge_adapter(base: Any, adapter: Path) -> Any:
    """Add a LoRA adapter to the weights of its base model.

    Where one matrix serves as input and output embedding and the adapter changes one of the two,
    they become two matrices: PEFT alone would add the change to both.

    Args:
        base: the model that the adapter was trained on; it is changed.
        adapter: the folder that PEFT wrote.

    Returns:
        The base model with other weights of the same shapes.

    Raises:
        ModelError: the adapter can't be loaded, or isn't one of this model.
    """
    from peft import PeftModel

    try:
        with without_foreign_warnings():
            for message in _FOREIGN_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            adapted = PeftModel.from_pretrained(base, str(adapter))
            _check_complete(adapted, adapter)
            _separate_embeddings(adapted.get_base_model())
            return adapted.merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0].rstrip(".")
        raise ModelError(
            f"{adapter}: the adapter can't be merged into its base model: {reason}. Check that "
            "`model` in the run's recipe.yaml is the model that it was trained on"
        ) from error


# --- checks --------------------------------------------------------------------------------


def check_merge(run: Path, output: Path) -> None:
    """See that a run can be merged into a folder.

    Raises:
        ModelError: it isn't finished or is no run, or the folder isn't free.
    """
    _check_run(run)
    _check_output(run, output)


def _check_run(run: Path) -> None:
    if not (run / "recipe.yaml").is_file() or not (run / "manifest.json").is_file():
        raise ModelError(
            f"{run}: this is no run folder: recipe.yaml or manifest.json is missing. Name the "
            "folder that was given to `derta train --output`"
        )
    if not (run / "training.json").is_file() or not (run / "model").is_dir():
        raise ModelError(
            f"{run}: this run isn't finished: training.json or model/ is missing. Train it to its "
            "end; the command that began it goes on from the last checkpoint"
        )


def _check_output(run: Path, output: Path) -> None:
    model = (run / "model").resolve()
    if output.resolve().is_relative_to(model):
        raise ModelError(f"{output}: this lies in the model that is merged. Name another folder")
    try:
        occupied = output.exists() and (not output.is_dir() or any(output.iterdir()))
    except OSError as error:
        raise _unwritable(output, error) from error
    if occupied:
        raise ModelError(
            f"{output}: there is something already. Name a folder that isn't there yet or is empty"
        )


def _unwritable(output: Path, error: Exception) -> ModelError:
    reason = getattr(error, "strerror", None) or str(error) or repr(error)
    return ModelError(
        f"{output}: the merged model can't be written: {reason}. Name a folder that you may "
        "write, on a disk with room for the whole model"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: this can't be read: {error}. Train the run again") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: this isn't what a run writes. Train the run again")
    return values


# --- writing -------------------------------------------------------------------------------


@contextlib.contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """Give a folder beside `output` that takes its place if nothing is raised."""
    from safetensors import SafetensorError

    temporary = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
        yield temporary
        if output.exists():
            output.rmdir()  # empty, or somebody else was faster: then it raises
        temporary.rename(output)
    except (OSError, SafetensorError) as error:
        raise _unwritable(output, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _copy_model(model: Path, folder: Path) -> None:
    if not any(model.glob("*.safetensors")):
        raise ModelError(
            f"{model}: here are neither an adapter nor weights in safetensors. Train the run again"
        )
    shutil.copytree(model, folder, dirs_exist_ok=True)


def _save_merged(recipe: Recipe, adapter: Path, folder: Path, report: Progress) -> None:
    report(0, 3)
    # In the data type of its files, which need not be that in which it would be run.
    dtype: Literal["bfloat16", "auto"] = "bfloat16" if recipe.quantization else "auto"
    base = load_model(recipe.model, attention=None, dtype=dtype)
    report(1, 3)
    merged = merge_adapter(base, adapter)
    report(2, 3)
    with quiet_transformers():
        merged.save_pretrained(folder)
        # Trained with, and so with the recipe's prompt format as its template.
        load_tokenizer(str(adapter)).save_pretrained(folder)
    report(3, 3)


def _check_complete(adapted: Any, adapter: Path) -> None:
    """Raise if a matrix of the adapter found no layer, or a layer no matrix: PEFT would go on."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        stored = {name for name in file.keys() if "lora_" in name}  # noqa: SIM118  # no mapping
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    used = {name for name in state if "lora_" in name}
    if stored != used:
        raise ValueError(f"{len(stored ^ used)} of its matrices have no counterpart there")


def _separate_embeddings(model: Any) -> None:
    """Give the output embedding a matrix of its own if an adapter changes one of a tied pair."""
    from torch import nn

    layers = []
    adapted = False
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        while hasattr(layer, "base_layer"):
            layer, adapted = layer.base_layer, True
        layers.append(layer)
    inputs, outputs = layers
    if adapted and outputs is not None and outputs.weight is inputs.weight:
        outputs.weight = nn.Parameter(inputs.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
        model.config.get_text_config().tie_word_embeddings = False
