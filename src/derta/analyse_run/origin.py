"""How a model was trained, as far as its folder says: method, seed, base model, refusal words.

Covered: run folders of `derta train` and `derta quickstart`, what `derta merge` wrote, adapters,
models that others were trained from. Not covered: any other whole model; anybody may have trained
it in any way, so its method is not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from derta.data.encode import ChatEncoder, find_refusal_id
from derta.errors import TokenizerError
from derta.train.origin_note import read_origin_note, trained_words
from derta.train.recipe import load_recipe

__all__ = [
    "DEFAULT_WORD",
    "Origin",
    "find_origin",
    "refusal_ids_of",
    "with_untouched_bases",
    "words_for",
]

DEFAULT_WORD = "Sorry"
"""Where nothing says another word."""
_WHOLE = ("folder", "hub")
"""Kinds of models that others may have been trained from."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known about how a model came to be."""

    method: str | None
    """untouched, vanilla, harmful_prefix, rto, derta or dpo; None: not known."""
    seed: int | None = None
    """Of the training."""
    base_model: str | None = None
    """Which model was trained."""
    words: tuple[str, ...] = ()
    """Refusal words that it was trained with, the default first; none for an untouched model."""


def find_origin(kind: str, reference: str) -> Origin:
    """Read what a local model's folder says.

    Args:
        kind: a `derta.evaluate.local_models.LocalKind`.
        reference: as the evaluation names the model.

    Raises:
        RecipeError: a run's recipe.yaml can't be used.
    """
    folder = Path(reference.removeprefix("derta/")).expanduser()
    if kind == "run":
        run = folder if (folder / "recipe.yaml").is_file() else folder.parent
        recipe = load_recipe(run / "recipe.yaml")
        words = trained_words(recipe, _json(run / "manifest.json"))
        return Origin(str(recipe.method).replace("-", "_"), recipe.seed, recipe.model, words)
    if kind == "adapter":
        base = _json(folder / "adapter_config.json").get("base_model_name_or_path")
        return Origin(None, base_model=None if base is None else str(base))
    if kind == "default":
        return Origin("untouched", base_model=reference)
    note = read_origin_note(folder) if kind == "folder" else None
    return Origin(None) if note is None else Origin(*astuple(note))


def with_untouched_bases(
    origins: Mapping[str, Origin], references: Mapping[str, tuple[str, str]]
) -> dict[str, Origin]:
    """Recognise the models from which others of the same evaluation were trained.

    Args:
        origins: by model, each by itself (`find_origin`).
        references: by model: its kind and its reference.

    Returns:
        The same, where a whole model of unknown origin that another one's recipe, adapter or note
        names as its base is untouched.
    """
    bases = {
        place
        for origin in origins.values()
        if origin.base_model is not None
        for place in _places(origin.base_model)
    }
    found = dict(origins)
    for name, (kind, reference) in references.items():
        unknown = origins[name].method is None and kind in _WHOLE
        if unknown and bases & _places(reference):
            found[name] = Origin("untouched", base_model=reference)
    return found


def _places(reference: str) -> set[str]:
    """Name a model as it is written and, if it is a folder, by its place, through links."""
    name = reference.removeprefix("derta/").rstrip("/")
    path = Path(name).expanduser()
    return {name, str(path.resolve())} if path.exists() else {name}


def words_for(own: Origin, others: Iterable[Origin], asked: tuple[str, ...]) -> tuple[str, ...]:
    """Choose whose probability is measured.

    What was asked for comes first, then the words that the model was trained with. One that was
    trained with none, such as the untouched model, is measured with the words of those that it is
    compared with.

    Args:
        own: of the model.
        others: of all models of the evaluation.
        asked: words that the user named.
    """
    if asked:
        return tuple(dict.fromkeys(asked))
    if own.words:
        return own.words
    together = dict.fromkeys(word for origin in others for word in origin.words)
    return tuple(together) or (DEFAULT_WORD,)


def refusal_ids_of(
    encoder: ChatEncoder, words: tuple[str, ...]
) -> tuple[dict[str, int], list[str]]:
    """Find the token of each refusal word.

    Returns:
        Word -> token id, of the words that are one token; and those that are not.

    Raises:
        TokenizerError: none of them is.
    """
    found: dict[str, int] = {}
    problems: dict[str, TokenizerError] = {}
    for word in words:
        try:
            found[word] = find_refusal_id(encoder, word)
        except TokenizerError as error:
            problems[word] = error
    if not found:
        named = ", ".join(repr(word) for word in words)
        raise TokenizerError(
            f"no refusal word of {named} is one token at the beginning of a response, so its "
            "probability can't be read. Name one that is: --refusal-word WORD"
        ) from next(iter(problems.values()), None)
    return found, list(problems)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
