"""How a merged model was trained, in a small file beside its weights: derta.json.

A run folder says it by its recipe; a whole model that lies elsewhere would be taken for any other
model. Covered: method, seed, refusal words, the base model where it is no folder of this machine.
Not covered: everything else that the model card says. Nothing here loads torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derta.files import write_atomically

if TYPE_CHECKING:
    from derta.train.recipe_fields import Recipe

__all__ = ["NOTE_NAME", "OriginNote", "read_origin_note", "trained_words", "write_origin_note"]

NOTE_NAME = "derta.json"
_SCHEMA = "derta/origin/1"
_METHODS = ("vanilla", "harmful_prefix", "rto", "derta", "dpo")


@dataclass(frozen=True, slots=True)
class OriginNote:
    """What the file says."""

    method: str
    """vanilla, harmful_prefix, rto, derta or dpo."""
    seed: int | None = None
    base_model: str | None = None
    """None: a folder, whose place is nobody else's business."""
    words: tuple[str, ...] = ()
    """Refusal words, the default first."""


def write_origin_note(folder: Path, recipe: Recipe, manifest: Mapping[str, Any]) -> None:
    """Write how a run's model was trained into the folder of a whole model."""
    is_folder = Path(recipe.model).expanduser().exists()
    note = {
        "schema": _SCHEMA,
        "method": str(recipe.method).replace("-", "_"),
        "seed": recipe.seed,
        "base_model": None if is_folder else recipe.model,
        "refusal_words": list(trained_words(recipe, manifest)),
    }
    write_atomically(folder / NOTE_NAME, json.dumps(note, indent=1) + "\n")


def read_origin_note(folder: Path) -> OriginNote | None:
    """Read how a model was trained; None: there is no such file, or it can't be relied on."""
    try:
        found = json.loads((folder / NOTE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("schema") != _SCHEMA:
        return None
    method, seed, base = (found.get(key) for key in ("method", "seed", "base_model"))
    if method not in _METHODS:
        return None
    words: Any = found.get("refusal_words")
    return OriginNote(
        str(method),
        seed if isinstance(seed, int) else None,
        base if isinstance(base, str) and base else None,
        tuple(each for each in words if isinstance(each, str) and each)
        if isinstance(words, list)
        else (),
    )


def trained_words(recipe: Recipe, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """List the refusal words that a run was trained with, the default first."""
    by_language: Any = manifest.get("refusal_words")  # what `auto` came to
    if isinstance(by_language, dict):
        words = [each.get("word") for each in by_language.values() if isinstance(each, dict)]
    elif isinstance(recipe.refusal_words, dict):
        words = list(recipe.refusal_words.values())
    else:
        words = []
    named = [recipe.refusal_word, *(word for word in words if isinstance(word, str) and word)]
    return tuple(dict.fromkeys(named))
