"""Models that are at hand, by one reference: what is there, its fingerprint, and how it is loaded.

A reference is

- the default model's name (`derta.data.models.DEFAULT_MODEL`);
- a run folder of `derta train` or `derta quickstart` (recipe.yaml, manifest.json, model/), or the
  model/ folder in it: loaded as the recipe says, with the prompt format it was trained in;
- an adapter's folder, as PEFT writes it (adapter_config.json); LoRA is merged into its base model;
- a folder with a whole transformers model (config.json, weights, tokenizer);
- a hub id, if nothing of that name lies here;
- `inst:` and one of these but a run: a base model without a chat template is then asked in the text
  of the paper's released code, as recipes with `prompt_format: inst` train it.

Covered: causal language models on this machine. Not covered: models behind a server; inspect-ai's
own providers serve those.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from derta.data.devices import place_for_inference
from derta.data.encode import ChatEncoder
from derta.data.models import (
    DEFAULT_MODEL,
    PromptFormat,
    load_config,
    load_model,
    load_tokenizer,
    model_hash,
)
from derta.errors import ModelError, TokenizerError
from derta.files import digest

if TYPE_CHECKING:
    from derta.train.recipe_fields import Recipe

__all__ = [
    "INST",
    "LocalKind",
    "LocalModel",
    "base_of_inst_run",
    "describe_local_model",
    "load_local_config",
    "load_local_model",
    "load_local_tokenizer",
    "make_local_encoder",
]

INST = "inst:"
"""Before a reference: the tokenizer gets the prompt format inst in place of its own template."""
LocalKind = Literal["default", "run", "adapter", "folder", "hub"]

_REMEDY = (
    "Give a run folder, an adapter's folder (adapter_config.json), a folder with config.json, "
    f"weights and tokenizer, a hub id, or {DEFAULT_MODEL!r}"
)
_ADAPTER_FILE = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model in memory and what is known about it."""

    name: str
    """The reference that it was loaded by."""
    model: Any
    """A transformers causal language model, or a PEFT model around one."""
    tokenizer: Any
    """Its tokenizer; an adapter's or a run's own where there is one."""
    fingerprint: str
    """Changes with the weights and with what made them."""
    prompt_format: PromptFormat
    """In which it was trained, or was asked for; the tokenizer's template is already that."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What a reference stands for."""

    kind: LocalKind
    reference: str
    folder: Path | None = None
    """Where files are to be read; None for the default model and a hub id."""
    prompt_format: PromptFormat = "chat"
    """inst: asked for before the reference. Of a run the recipe says it."""


def describe_local_model(reference: str) -> tuple[LocalKind, str]:
    """Say what a reference stands for, and the fingerprint it would be loaded with.

    No weights are loaded; of their files only the ends are read.

    Raises:
        ModelError: there is nothing by this name, or it is incomplete.
        RecipeError: a run's recipe.yaml can't be used.
    """
    place = _find(reference)
    return place.kind, _fingerprint(place)


def load_local_model(reference: str) -> LocalModel:
    """Load a model and its tokenizer, onto the device of this process.

    Raises:
        ModelError: there is nothing by this name, or it can't be loaded or is too large.
        RecipeError: a run's recipe.yaml can't be used.
    """
    place = _find(reference)
    fingerprint = _fingerprint(place)
    tokenizer = _tokenizer(place)
    prompt_format = place.prompt_format
    if place.kind == "run":
        prompt_format = _recipe(_folder(place)).prompt_format
    model = place_for_inference(_weights(place), reference)
    return LocalModel(reference, model, tokenizer, fingerprint, prompt_format)


def load_local_tokenizer(reference: str) -> Any:
    """Load the tokenizer that `load_local_model` would load, without the weights.

    Raises:
        ModelError: as `load_local_model`.
    """
    return _tokenizer(_find(reference))


def make_local_encoder(tokenizer: Any, reference: str) -> ChatEncoder:
    """Make the encoder of a model's tokenizer.

    Args:
        tokenizer: as `load_local_tokenizer` gives it.
        reference: by which the model was named.

    Raises:
        TokenizerError: it has no chat template or no end-of-text token.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise TokenizerError(
            f"{reference}: the tokenizer has no chat template; base models have none. Name it "
            f"{INST}{reference} to ask it in the text that recipes with prompt_format=inst train, "
            "name the model's chat (Instruct) version, or set tokenizer.chat_template (a "
            "chat_template.jinja in its folder)"
        )
    return ChatEncoder(tokenizer)


def base_of_inst_run(reference: str) -> str | None:
    """Return which model a run was trained from, if that was in the prompt format inst.

    Raises:
        ModelError, RecipeError: as `load_local_model`.
    """
    place = _find(reference)
    if place.kind != "run":
        return None
    recipe = _recipe(_folder(place))
    return recipe.model if recipe.prompt_format == "inst" else None


def load_local_config(reference: str) -> Any:
    """Load the configuration of the model, or of an adapter's base model, without the weights.

    Raises:
        ModelError, RecipeError: as `load_local_model`.
    """
    place = _find(reference)
    if place.kind == "run":
        folder = _folder(place)
        whole = (folder / "model" / "config.json").is_file()
        return load_config(str(folder / "model") if whole else _recipe(folder).model)
    if place.kind == "adapter":
        return load_local_config(_base_of(_folder(place)))
    return load_config(_loadable(place))


# --- what is there -------------------------------------------------------------------------


def _find(reference: str) -> _Place:
    """Recognise a reference by the files that lie there."""
    if reference.startswith(INST):
        place = _find(reference.removeprefix(INST))
        if place.kind == "run":
            raise ModelError(
                f"{reference}: a run is asked in the prompt format that it was trained in. Name "
                f"it without {INST}"
            )
        return replace(place, prompt_format="inst")
    if not reference.strip():
        raise ModelError(f"the model's name is empty. {_REMEDY}")
    if reference == DEFAULT_MODEL:
        return _Place("default", reference)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return _find_in(folder, reference)
    if folder.exists():
        raise ModelError(f"{reference}: this is a file and no folder. {_REMEDY}")
    if _looks_like_a_path(reference) or (folder.parent != Path() and folder.parent.is_dir()):
        raise ModelError(f"{reference}: there is no such folder. {_REMEDY}")
    return _Place("hub", reference)


def _find_in(folder: Path, reference: str) -> _Place:
    run = folder.parent if folder.name == "model" else folder
    if (run / "recipe.yaml").is_file() and (run / "manifest.json").is_file():
        if (run / "training.json").is_file() and (run / "model").is_dir():
            return _Place("run", reference, run)
        raise ModelError(
            f"{reference}: this run isn't finished. Train it to its end; the command that began "
            "it goes on from the last checkpoint"
        )
    if (folder / _ADAPTER_FILE).is_file():
        return _Place("adapter", reference, folder)
    if (folder / "config.json").is_file():
        return _Place("folder", reference, folder)
    runs = sorted(path.parent.name for path in folder.glob("*/training.json"))
    if runs:
        raise ModelError(
            f"{reference}: this folder holds several runs. Name one of them: "
            + ", ".join(f"{reference.rstrip('/')}/{name}" for name in runs)
        )
    raise ModelError(f"{reference}: there is no model here (config.json is missing). {_REMEDY}")


def _looks_like_a_path(reference: str) -> bool:
    # A hub id is "name" or "owner/name".
    return reference[0] in "./~\\" or reference.count("/") > 1 or reference.endswith("/")


def _fingerprint(place: _Place) -> str:
    if place.prompt_format == "inst":
        # What such a model answers is not what it answers in a template of its own.
        return digest(INST, _fingerprint(replace(place, prompt_format="chat")))
    if place.kind == "run":
        folder = _folder(place)
        made_from = str(_json(folder / "manifest.json").get("fingerprint"))
        return digest(made_from, model_hash(str(folder / "model")))
    if place.kind == "adapter":
        folder = _folder(place)
        settings = (folder / _ADAPTER_FILE).read_text(encoding="utf-8")
        return digest(settings, model_hash(str(folder)), _fingerprint(_find(_base_of(folder))))
    return model_hash(_loadable(place))


def _folder(place: _Place) -> Path:
    assert place.folder is not None  # of a run and an adapter
    return place.folder


def _loadable(place: _Place) -> str:
    return place.reference if place.folder is None else str(place.folder)


# --- runs and adapters ---------------------------------------------------------------------


def _recipe(run: Path) -> Recipe:
    from derta.train.recipe import load_recipe

    return load_recipe(run / "recipe.yaml")


def _base_of(adapter: Path) -> str:
    """Read which model an adapter was trained on."""
    base = _json(adapter / _ADAPTER_FILE).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{adapter / _ADAPTER_FILE}: it doesn't say which model the adapter was trained on. "
            "Set base_model_name_or_path to a folder, a hub id or "
            f"{DEFAULT_MODEL!r}"
        )
    if _looks_like_a_path(base) and not Path(base).expanduser().is_dir():
        raise ModelError(
            f"{adapter / _ADAPTER_FILE} (base_model_name_or_path): the base model's folder {base} "
            "is not on this machine. Set it to where the base model lies"
        )
    return base


def _tokenizer(place: _Place) -> Any:
    if place.kind == "run":
        # Saved with the prompt format's template.
        return load_tokenizer(str(_folder(place) / "model"))
    if place.kind == "adapter" and not (_folder(place) / "tokenizer_config.json").is_file():
        base = _find(_base_of(_folder(place)))
        if place.prompt_format == "inst":
            base = replace(base, prompt_format="inst")
        return _tokenizer(base)
    return load_tokenizer(_loadable(place), place.prompt_format)


def _weights(place: _Place) -> Any:
    """Load a model where it is loaded: on the CPU, on which adapters are merged, too."""
    if place.kind == "run":
        from derta.train.run import load_trained_model

        folder = _folder(place)
        return load_trained_model(_recipe(folder), folder)
    if place.kind == "adapter":
        return _load_adapter(_folder(place))
    return load_model(_loadable(place))


def _load_adapter(folder: Path) -> Any:
    """Load an adapter on its base model."""
    base_name = _base_of(folder)
    base = _weights(_find(base_name)).eval()
    if str(_json(folder / _ADAPTER_FILE).get("peft_type")).upper() == "LORA":
        from derta.train.merge import merge_adapter

        return merge_adapter(base, folder)
    from peft import PeftModel

    from derta.train.adapt import without_foreign_warnings

    try:
        with without_foreign_warnings():
            return PeftModel.from_pretrained(base, str(folder))
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0].rstrip(".")
        raise ModelError(
            f"{folder}: the adapter can't be put on its base model {base_name!r}: {reason}. Check "
            f"base_model_name_or_path in {_ADAPTER_FILE}"
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: this can't be read: {error}. Write it anew") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: this is no JSON object. Write it anew")
    return values
