"""The recipe: one YAML file that says all of a training run, read strictly.

An unknown key or a value that can't be used is an error that names the file, the line, the key
and what is valid; all of them are reported at once. Keys under `trainer` are transformers' own:
`check_trainer_keys` checks them once transformers is to be imported anyway. Not covered:
inheritance between recipes (there is none) and the evaluation.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from derta.errors import InputProblem, RecipeError
from derta.rows import Method
from derta.train.recipe_yaml import (
    Origins,
    dump_yaml,
    find_recipe,
    merge_overrides,
    packaged_recipes,
    parse_yaml,
)

__all__ = [
    "DataRecipe",
    "LoraRecipe",
    "Recipe",
    "RowsRecipe",
    "WeightsRecipe",
    "check_trainer_keys",
    "dump_recipe",
    "load_recipe",
    "packaged_recipes",
]

# The descriptions are what an error says is valid, so they read on from "Valid: ".
_Text = Annotated[str, Field(min_length=1, pattern=r"\S", description="a text")]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number, 0 or more")]
_Count = Annotated[int | None, Field(ge=0, description="a number of rows, or null for all of them")]

_Share = Annotated[float, Field(gt=0, le=1, description="a share above 0 and at most 1")]
_ShareOrNone = Annotated[float, Field(ge=0, le=1, description="a share from 0 to 1")]
_Length = Annotated[
    int | None, Field(ge=1, description="a number of tokens, 1 or more, or null for no limit")
]


class _Section(BaseModel):
    # Strict: the text "0.2" is not a number, true is not 1.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class WeightsRecipe(_Section):
    """Weight of each kind of target in the loss."""

    helpful: _Weight = 1.0
    safe_response: _Weight = 1.0
    refusal_transition: _Weight = 1.0

    @model_validator(mode="after")
    def _something_is_trained(self) -> WeightsRecipe:
        if not (self.helpful or self.safe_response or self.refusal_transition):
            raise ValueError("at least one weight above 0")
        return self


class DataRecipe(_Section):
    """Which examples are trained on; paths count from the working directory."""

    triples: Annotated[_Text, Field(description="'sample' or the path of a JSONL file")]
    helpful: Annotated[
        _Text | None, Field(description="'sample', the path of a JSONL file, or null for none")
    ] = None
    ordinary_rows: _Count = None
    """How many ordinary helpful rows of the sample set; None takes all. No matter for a file."""
    look_alike_rows: _Count = None
    """How many rows of the sample set that look dangerous and are not; None takes all. The same."""


class RowsRecipe(_Section):
    """How examples become rows."""

    kept_share: _Share = 1.0
    """Share of the positions of a harmful response that are supervised in an epoch."""
    share_without_prefix: _ShareOrNone = 0.0
    """Share of the triples that get k = 0 besides those that draw it."""
    prefixes_per_triple: Annotated[int, Field(ge=1, description="a number, 1 or more")] = 1
    """How many harmful prefixes are drawn for a triple in an epoch."""
    max_length: Annotated[int, Field(ge=8, description="a number of tokens, 8 or more")] = 1024
    """Tokens of prompt and responses together."""
    max_harmful_length: _Length = None
    """Tokens of a harmful response that are used; the rest is cut."""
    max_helpful_length: _Length = None
    """Tokens of a helpful response that are used; the rest is cut, with no end to learn."""
    short_harmful_share: _ShareOrNone = 0.0
    """Share of the triples of whose harmful response an epoch sees only the first `short_length`
    tokens, drawn anew each epoch."""
    short_helpful_share: _ShareOrNone = 0.0
    """The same share of the helpful examples, of their response."""
    short_length: Annotated[int, Field(ge=1, description="a number of tokens, 1 or more")] = 16
    """Tokens that are left of a harmful or helpful response that is cut so."""
    overlong: Annotated[
        Literal["error", "truncate", "skip"], Field(description="error, truncate or skip")
    ] = "error"
    """What happens to a row over `max_length`."""
    pack: Annotated[bool, Field(description="true or false")] = True
    """Compute common beginnings once and pack rows side by side."""
    pack_tokens: Annotated[int, Field(ge=8, description="a number of tokens, 8 or more")] = 2048
    """Most tokens of a packed row; a longer example has a row of its own. The length is chosen
    below it so that padding and attention cost least. Where attention is computed in blocks (SDPA
    on a CPU), a micro-batch is one row whatever this says."""
    helpful_margin: Annotated[
        float, Field(ge=0, le=20, description="a number of nats from 0 to 20")
    ] = 0.0
    """Added to the refusal token's logit at helpful targets while training: its odds have to be
    e^margin times lower there for the same loss. Only beside RTO (methods rto and derta), whose
    targets it balances: without them it would only weaken the refusal."""
    weights: Annotated[
        WeightsRecipe, Field(description="a section with helpful, safe_response ...")
    ] = WeightsRecipe()


class LoraRecipe(_Section):
    """The adapter, if not all parameters are trained."""

    r: Annotated[int, Field(ge=1, description="a rank, 1 or more")] = 16
    alpha: Annotated[int, Field(ge=1, description="a whole number, 1 or more")] = 32
    dropout: Annotated[float, Field(ge=0, lt=1, description="a share from 0 to below 1")] = 0.0
    target_modules: Annotated[
        _Text | list[str], Field(min_length=1, description="'all-linear' or a list of names")
    ] = "all-linear"
    upper_layers: _Share = 1.0
    """Share of the decoder layers that get adapters, counted from the top and rounded up. Nothing
    is computed backwards below them, which saves time (but with gradient checkpointing)."""


class Recipe(_Section):
    """All of a training run."""

    model: Annotated[_Text, Field(description="a model's name, folder or hub id")]
    method: Annotated[Method, Field(strict=False, description=", ".join(Method))]
    refusal_word: Annotated[_Text, Field(description="a word that is one token")] = "Sorry"
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="a whole number from 0 to below 2**32")
    ] = 1
    attention: Annotated[
        Literal["sdpa", "eager", "flex_attention"],
        Field(description="sdpa, eager or flex_attention"),
    ] = "sdpa"
    """How attention is computed in training. flex_attention skips what examples of a packed row
    don't see of each other, on a GPU (it can't train on a CPU); eager serves Gemma 2 there."""
    data: Annotated[DataRecipe, Field(description="a section with triples, helpful ...")]
    rows: Annotated[RowsRecipe, Field(description="a section with kept_share ...")] = RowsRecipe()
    lora: Annotated[
        LoraRecipe | None, Field(description="a section with r, alpha ..., or null")
    ] = None
    """None trains all parameters."""
    trainer: Annotated[
        dict[str, Any], Field(description="a section of transformers.TrainingArguments' keys")
    ] = {}

    @property
    def applied_margin(self) -> float:
        """`rows.helpful_margin` where the method has RTO targets to balance, else 0."""
        return self.rows.helpful_margin if self.method in (Method.RTO, Method.DERTA) else 0.0


_SET_BY_DERTA = {
    "output_dir": "Use --output",
    "seed": "Use the recipe's own key seed",
    "remove_unused_columns": "derta sets it, because rows have columns of their own",
}
_RENAMED = {
    "warmup_ratio": "Use warmup_steps: below 1 it is a share of all steps",
    "evaluation_strategy": "Use eval_strategy",
}


def load_recipe(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a file, or a packaged one by its name, and apply overrides.

    Args:
        path_or_name: `my.yaml`, or the name of a packaged recipe such as `quickstart`.
        overrides: `key=value` with dotted keys (`rows.kept_share=0.2`); values are YAML.

    Raises:
        RecipeError: the file, an override, a key or a value can't be used; all that is wrong
            is in the message.
    """
    source, text = find_recipe(path_or_name)
    values, origins = parse_yaml(text, source)
    problems = merge_overrides(values, overrides, origins)
    recipe = None
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems += _as_problems(error, origins)
    trainer = values.get("trainer")
    for key in trainer if isinstance(trainer, dict) else ():
        if key in _SET_BY_DERTA:
            dotted = f"trainer.{key}"
            problems.append(origins.problem(dotted, "derta sets this itself", _SET_BY_DERTA[key]))
    if problems or recipe is None:
        problems.sort(key=lambda problem: (problem.path, problem.line or 0))
        raise RecipeError("\n".join(str(problem) for problem in problems))
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """Write a recipe as YAML that `load_recipe` reads back as the same recipe."""
    return dump_yaml(recipe.model_dump(mode="json"))


def check_trainer_keys(recipe: Recipe, source: str = "recipe") -> None:
    """Check the keys and values under `trainer` against transformers.TrainingArguments.

    Imports transformers, which takes seconds: call it when training is to begin.

    Args:
        recipe: whose `trainer` section is checked.
        source: the file's name for the message.

    Raises:
        RecipeError: with all keys that TrainingArguments hasn't, and values of a wrong type.
    """
    from transformers import TrainingArguments

    fields = dataclasses.fields(TrainingArguments)
    known = [f.name for f in fields if f.init and f.name not in _SET_BY_DERTA]
    hints = typing.get_type_hints(TrainingArguments)
    origins = Origins(source)
    problems = []
    for key, value in recipe.trainer.items():
        dotted = f"trainer.{key}"
        if key in known:
            wrong = _wrong_type(value, hints[key])
            if wrong is not None:
                problems.append(
                    origins.problem(dotted, f"{value!r} can't be used", f"Valid: {wrong}")
                )
            continue
        remedy = _RENAMED.get(str(key)) or (
            f"{_did_you_mean(str(key), known)}Valid are the arguments of "
            f"transformers.TrainingArguments: {', '.join(sorted(known))}"
        )
        problems.append(origins.problem(dotted, "unknown key", remedy))
    if problems:
        raise RecipeError("\n".join(str(problem) for problem in problems))


def _wrong_type(value: Any, hint: Any) -> str | None:
    """Say what is valid if a value doesn't suit a type hint, else return None."""
    parts = typing.get_args(hint) if _is_union(hint) else (hint,)
    names = [part for part in parts if isinstance(part, type) and issubclass(part, Enum)]
    if names and isinstance(value, str):
        valid = [str(member.value) for member in names[0]]
        return None if value in valid else ", ".join(valid)
    if isinstance(value, bool) and bool not in parts and (int in parts or float in parts):
        return "a number"
    try:
        TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError:
        return str(getattr(hint, "__name__", hint)).replace("typing.", "")
    return None


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _as_problems(error: ValidationError, origins: Origins) -> Iterable[InputProblem]:
    """Turn pydantic's findings into one problem a key, in the recipe's own words."""
    seen: set[tuple[str, str]] = set()
    for finding in error.errors():
        path, section, description = _walk(finding["loc"])
        key, kind = ".".join(path), finding["type"]
        value = finding["input"]
        # A value that suits no part of a union is found once for each part.
        if (key, kind if kind in ("missing", "extra_forbidden") else "value") in seen:
            continue
        seen.add((key, kind if kind in ("missing", "extra_forbidden") else "value"))
        if kind == "extra_forbidden":
            known = list(section.model_fields)
            remedy = f"{_did_you_mean(path[-1], known)}Valid here: {', '.join(known)}"
            yield origins.problem(key, "unknown key", remedy)
        elif kind == "missing":
            yield origins.problem(key, "the key is missing", f"Add {description}")
        elif kind == "value_error":
            reason = str(finding["ctx"]["error"])
            yield origins.problem(key, "the values don't go together", f"Valid: {reason}")
        else:
            yield origins.problem(key, f"{value!r} can't be used", f"Valid: {description}")


def _walk(location: Sequence[int | str]) -> tuple[list[str], type[BaseModel], str]:
    """Follow a finding's location to its key, the section it stands in, and what is valid."""
    path: list[str] = []
    section: type[BaseModel] = Recipe
    description = "a value"
    below: type[BaseModel] | None = Recipe
    for part in location:
        if below is None or (path and not isinstance(part, str)):
            break  # inside a value: the key is known already
        section = below
        path.append(str(part))
        info = section.model_fields.get(str(part))
        if info is None:
            break
        description = info.description or description
        below = next(
            (
                kind
                for kind in (info.annotation, *typing.get_args(info.annotation))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            None,
        )
    return path, section, description


def _did_you_mean(key: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"Did you mean {nearest[0]}? " if nearest else ""
