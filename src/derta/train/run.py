"""One training run: a recipe becomes a model in a run folder.

    <output>/recipe.yaml     the resolved recipe
            manifest.json    versions, seed, data hashes, fingerprint
            checkpoints/     while training; a killed run continues from the last one
            model/           the adapter (LoRA) or the whole model, loadable without derta
            training.json    steps, tokens, seconds and the log; written last: it says "done"

A finished run with the same fingerprint (recipe, data, base model, version) is not repeated.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derta import __version__
from derta.data.encode import ChatEncoder, find_refusal_id
from derta.data.epoch import TrainingExamples
from derta.data.models import load_model, load_tokenizer
from derta.errors import RecipeError
from derta.files import digest, prepare_run_folder, write_atomically
from derta.matmul import onednn_matmul
from derta.memory import keep_freed_memory
from derta.packing import shared_length
from derta.rows import TargetKind
from derta.train.recipe import LoraRecipe, Recipe, check_trainer_keys, dump_recipe
from derta.train.source import TrainingData, load_training_data, row_settings

if TYPE_CHECKING:
    from derta.train.trainer import DertaTrainer

__all__ = ["Progress", "TrainingSummary", "add_adapter", "load_trained_model", "train_recipe"]

Progress = Callable[[int, int], None]
"""Called with (done, total) steps."""


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """What a finished run was: the part `training` of results.json."""

    method: str
    optimizer_steps: int
    examples: int
    tokens_computed: int
    seconds: float
    log: list[dict[str, float]]


def fingerprint_of(recipe: Recipe, data: TrainingData) -> str:
    """Hash everything that decides the weights: recipe, data, derta's version."""
    return digest(dump_recipe(recipe), json.dumps(data.hashes, sort_keys=True), __version__)


def finished_run(output: Path, fingerprint: str) -> TrainingSummary | None:
    """Return the summary of a finished run with this fingerprint, or None."""
    try:
        manifest = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
        summary = json.loads((output / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if manifest.get("fingerprint") != fingerprint or not (output / "model").is_dir():
        return None
    return TrainingSummary(**summary)


def train_recipe(
    recipe: Recipe, output: Path, *, progress: Progress | None = None
) -> TrainingSummary:
    """Train what the recipe says into `output`; continue or reuse what is there already.

    Raises:
        DataError: rows of the data can't be used; all of them are listed.
        RecipeError: a key of `trainer` is not one of transformers' TrainingArguments, or the
            model can't be given the adapter.
        ModelError, TokenizerError: the model or its tokenizer can't serve.
    """
    check_trainer_keys(recipe)
    tokenizer = load_tokenizer(recipe.model)
    encoder = ChatEncoder(tokenizer)
    refusal_id = find_refusal_id(encoder, recipe.refusal_word)
    data = load_training_data(recipe, encoder)
    fingerprint = fingerprint_of(recipe, data)
    done = finished_run(output, fingerprint)
    if done is not None:
        return done
    _begin(output, recipe, data, fingerprint)

    examples = TrainingExamples(
        data.examples,
        row_settings(recipe, refusal_id),
    )
    started = time.monotonic()
    with _without_foreign_warnings(), onednn_matmul():
        trainer = _make_trainer(recipe, examples, tokenizer, output, progress)
        trainer.train(resume_from_checkpoint=_last_checkpoint(output))
    seconds = time.monotonic() - started

    temporary = output / "model.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    trainer.model.save_pretrained(temporary)  # type: ignore[union-attr, operator]  # a PreTrainedModel or PeftModel
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(output / "model", ignore_errors=True)
    temporary.rename(output / "model")
    summary = TrainingSummary(
        method=recipe.method.value,
        optimizer_steps=trainer.state.global_step,
        examples=len(examples),
        tokens_computed=_tokens_computed(examples, trainer),
        seconds=seconds,
        log=[dict(entry) for entry in trainer.state.log_history if "loss" in entry],
    )
    write_atomically(output / "training.json", json.dumps(asdict(summary), indent=2) + "\n")
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    return summary


def load_trained_model(recipe: Recipe, output: Path) -> Any:
    """Load what `train_recipe` saved, with a LoRA adapter merged into the weights."""
    if recipe.lora is None:
        return load_model(str(output / "model"))
    from peft import PeftModel

    base = load_model(recipe.model)
    with _without_foreign_warnings():
        return PeftModel.from_pretrained(base, str(output / "model")).merge_and_unload()


@contextlib.contextmanager
def _without_foreign_warnings() -> Iterator[None]:
    """Hide a warning that peft causes in transformers; a user can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        yield


def _begin(output: Path, recipe: Recipe, data: TrainingData, fingerprint: str) -> None:
    """Write what the run is; throw away the remains of a run that was something else."""
    prepare_run_folder(output)
    try:
        earlier = json.loads((output / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = {}
    if earlier.get("fingerprint") != fingerprint:
        for name in ("checkpoints", "model", "model.partial"):
            shutil.rmtree(output / name, ignore_errors=True)
        (output / "training.json").unlink(missing_ok=True)
    write_atomically(output / "recipe.yaml", dump_recipe(recipe))
    manifest = {
        "fingerprint": fingerprint,
        "derta": __version__,
        "seed": recipe.seed,
        "data": data.hashes,
        "left_out": data.left_out,
        "versions": _versions(),
    }
    write_atomically(output / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def _versions() -> dict[str, str]:
    import importlib.metadata as metadata

    return {name: metadata.version(name) for name in ("torch", "transformers", "peft")}


def _make_trainer(
    recipe: Recipe,
    examples: TrainingExamples,
    tokenizer: Any,
    output: Path,
    progress: Progress | None,
) -> DertaTrainer:
    import torch
    from transformers import TrainingArguments
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    from derta.attention import FLEX
    from derta.train.callbacks import ReportProgress
    from derta.train.collate import RowCollator
    from derta.train.trainer import DertaTrainer

    keep_freed_memory()
    # LoRA's matrices are drawn from the global generator.
    torch.manual_seed(recipe.seed)
    if recipe.attention == FLEX and not torch.cuda.is_available():
        raise RecipeError("attention: flex_attention can't train on a CPU. Use attention=sdpa")
    model = load_model(recipe.model, attention=recipe.attention)
    if recipe.lora is not None:
        model = add_adapter(model, recipe.lora)
    arguments = TrainingArguments(
        **{
            "output_dir": str(output / "checkpoints"),
            "seed": recipe.seed,
            "report_to": [],
            "logging_steps": 5,
            "save_strategy": "steps",
            "save_steps": 20,
            "save_total_limit": 1,
            "disable_tqdm": True,
            "dataloader_pin_memory": torch.cuda.is_available(),
            **recipe.trainer,
        }
    )
    weights = recipe.rows.weights
    pad_id = tokenizer.pad_token_id
    trainer = DertaTrainer(
        model,
        arguments,
        examples,
        RowCollator(
            pad_id=tokenizer.eos_token_id if pad_id is None else pad_id,
            packed=recipe.rows.pack,
            max_tokens=recipe.rows.pack_tokens,
            helpful_margin=recipe.applied_margin,
            weights={
                TargetKind.HELPFUL: weights.helpful,
                TargetKind.SAFE_RESPONSE: weights.safe_response,
                TargetKind.REFUSAL_TRANSITION: weights.refusal_transition,
            },
        ),
        callbacks=[] if progress is None else [ReportProgress(progress)],
    )
    if progress is not None:
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
    return trainer


def add_adapter(model: Any, lora: LoraRecipe) -> Any:
    """Put LoRA on the model.

    Raises:
        RecipeError: `lora.target_modules` names what the model doesn't have, or the family's
            adapters can't be kept to the upper layers.
    """
    from peft import LoraConfig, get_peft_model

    layers = model.config.get_text_config().num_hidden_layers
    left_out = layers - math.ceil(lora.upper_layers * layers)
    upper = "|".join(map(str, range(left_out, layers)))
    settings = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        # Everything that isn't in one of the upper layers.
        exclude_modules=rf"(?!.*\.layers\.({upper})\.).*" if left_out else None,
        task_type="CAUSAL_LM",
    )
    remedy = "Set lora.target_modules=all-linear and lora.upper_layers=1.0"
    try:
        adapted: Any = get_peft_model(model, settings)
    except ValueError as error:  # peft's, for names that the model doesn't have
        reason = str(error).rstrip(".")
        raise RecipeError(f"lora.target_modules can't be used here: {reason}. {remedy}") from error
    found = adapted.targeted_module_names
    if isinstance(lora.target_modules, list):
        for name in lora.target_modules:
            if not any(module == name or module.endswith(f".{name}") for module in found):
                raise RecipeError(f"lora.target_modules: no module is called {name!r}. {remedy}")
    for name, parameter in adapted.named_parameters():
        place = re.search(r"\.layers\.(\d+)\.", name)
        if parameter.requires_grad and left_out and (not place or int(place[1]) < left_out):
            raise RecipeError(
                f"lora.upper_layers: PEFT can't leave out {name!r}, so adapters of model family "
                f"{model.config.model_type!r} can't be kept to the upper layers. {remedy}"
            )
    return adapted


def _last_checkpoint(output: Path) -> str | None:
    from transformers.trainer_utils import get_last_checkpoint

    folder = output / "checkpoints"
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None


def _tokens_computed(examples: TrainingExamples, trainer: DertaTrainer) -> int:
    """Count the tokens of the examples that were trained on, each sharing its own prefixes."""
    sampler = trainer.sampler()
    left = trainer.state.global_step * sampler.step_size
    tokens = 0
    while left > 0:
        tokens += sum(shared_length(examples[key]) for key in itertools.islice(sampler, left))
        left -= len(sampler)
        sampler.set_epoch(sampler.epoch + 1)
    return tokens
