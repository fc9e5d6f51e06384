"""Presets: named settings that are laid over any recipe, and the packaged launch configurations.

A preset is a YAML file of sections, each with recipe keys. `all` is laid over the recipe first,
then `full` or `lora` (whether all parameters are trained or an adapter), then `experts` (where
`lora.target_parameters` names weights), then the section named after the method, where there is
one. What a preset doesn't name stays as the recipe has it; `key=value` on the command line wins.

A preset decides what is trained and how it is optimised. It never says which model, which data
files, which refusal word, or how the machine computes; a test holds that. Not covered: whether the
values are valid, which `derta.train.recipe` checks together with the recipe's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from derta.errors import RecipeError
from derta.train.recipe_yaml import Origins, packaged_names, parse_yaml

__all__ = [
    "SECTIONS",
    "engine_path",
    "lay_over",
    "packaged_engines",
    "packaged_presets",
    "preset_sections",
    "preset_values",
]

SECTIONS = ("all", "full", "lora", "experts")
"""Sections of a preset besides the methods' own, in the order in which they are laid."""


def packaged_presets() -> list[str]:
    """Return the names of the presets."""
    return packaged_names("presets")


def packaged_engines() -> list[str]:
    """Return the names of the packaged configurations for `accelerate launch`."""
    return packaged_names("engines")


def engine_path(name: str) -> Path:
    """Return the file of a launch configuration, for `accelerate launch --config_file`.

    Raises:
        RecipeError: there is none of that name; the message lists those that there are.
    """
    return Path(str(_packaged("engine", name)))


def preset_sections(name: str) -> dict[str, dict[str, Any]]:
    """Read a preset: section -> keys and values, as in a recipe.

    Raises:
        RecipeError: there is no preset of that name; the message lists those that there are.
    """
    return parse_yaml(_packaged("preset", name).read_text("utf-8"), f"preset {name}")[0]


def _packaged(kind: str, name: str) -> Traversable:
    """Find a packaged file of a kind (preset, engine) by its name."""
    names = packaged_names(f"{kind}s")
    if name not in names:
        raise RecipeError(f"{name}: there is no such {kind}. Choose one of: {', '.join(names)}")
    return resources.files("derta") / f"{kind}s" / f"{name}.yaml"


def preset_values(name: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a preset sets on a recipe.

    Args:
        name: of the preset.
        recipe: the recipe's keys and values with the overrides in them, which decide the sections
            that apply; they needn't be valid.

    Raises:
        RecipeError: there is no preset of that name.
    """
    sections = preset_sections(name)
    lora = recipe.get("lora")
    experts = isinstance(lora, Mapping) and lora.get("target_parameters") is not None
    applied = ["all", "full" if lora is None else "lora"]
    applied += ["experts"] if experts else []
    applied += [str(recipe.get("method"))]
    values: dict[str, Any] = {}
    for section in applied:
        lay_over(values, sections.get(section) or {})
    return values


def lay_over(
    values: dict[str, Any],
    upper: Mapping[str, Any],
    origins: Origins | None = None,
    name: str = "",
    prefix: str = "",
) -> None:
    """Lay keys and values over others, section by section, in place.

    Args:
        values: what lies below; a key that `upper` doesn't have stays.
        upper: what is laid over it.
        origins: notes which keys now come from `name`; None notes nothing.
        name: what a message calls the source of `upper`.
        prefix: of the keys' dotted names.
    """
    for key, value in upper.items():
        below = values.get(key)
        # Only what is a section, or isn't there at all, is taken apart: a value that can't be one
        # is the recipe's mistake and is to be reported as such.
        if isinstance(value, Mapping) and (below is None or isinstance(below, dict)):
            section = {} if below is None else below
            values[key] = section
            lay_over(section, value, origins, name, f"{prefix}{key}.")
        elif not isinstance(value, Mapping):
            values[key] = value
            if origins is not None:
                origins.laid_over[f"{prefix}{key}"] = name
