"""YAML for recipes: where a recipe lies, what its text says, and on which line each key stands.

Two habits of YAML 1.1 are left out, because they surprise: `2e-4` is a number here (there it is
text without a dot), and only true and false are truth values (there `no` and `on` are, too). A
key given twice is an error. Covered: finding, parsing, overriding and writing. Not covered: which
keys and values are valid (`derta.train.recipe`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from derta.errors import InputProblem, RecipeError

__all__ = [
    "Origins",
    "dump_yaml",
    "find_recipe",
    "merge_overrides",
    "packaged_names",
    "packaged_recipes",
    "parse_yaml",
]

_COMMAND_LINE = "command line"


class Origins:
    """Where each key of a recipe was given: a line of the file, a preset, or the command line."""

    def __init__(self, source: str) -> None:
        """Begin without keys; `source` is the file's name for messages."""
        self.source = source
        self.lines: dict[str, int] = {}
        self.overridden: set[str] = set()
        self.laid_over: dict[str, str] = {}
        """Key -> the name, for messages, of the preset that it was taken from."""

    def problem(self, key: str, problem: str, remedy: str) -> InputProblem:
        """Say where a key stands, what is wrong with it, and the remedy."""
        parts = key.split(".")
        above = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
        below = any(name.startswith(f"{key}.") for name in self.overridden)
        if below or any(name in self.overridden for name in above):
            return InputProblem(_COMMAND_LINE, problem, remedy, key=key)
        preset = next((self.laid_over[name] for name in above if name in self.laid_over), None)
        if preset is not None:
            return InputProblem(preset, problem, remedy, key=key)
        # A missing key has no line: its section's is the place to add it.
        line = next((self.lines[name] for name in above if name in self.lines), None)
        return InputProblem(self.source, problem, remedy, line, key or None)


class _Loader(yaml.SafeLoader):
    """YAML with numbers and truth values as people expect them."""


class _Dumper(yaml.SafeDumper):
    """Quotes texts that `_Loader` or a reader of YAML 1.1 would take for something else."""


_NUMBER = re.compile(
    r"^[-+]?(?:(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.inf|\.nan)$",
    re.IGNORECASE,
)
_TRUTH = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_FLOAT_TAG, _BOOL_TAG = "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"

_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in (_FLOAT_TAG, _BOOL_TAG)]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL_TAG, _TRUTH, list("tTfF"))
for _class in (_Loader, _Dumper):
    # Comes after the integers' rule in the list, which wins where both match.
    _class.add_implicit_resolver(_FLOAT_TAG, _NUMBER, list("-+.0123456789"))


def packaged_recipes() -> list[str]:
    """Return the names of the recipes that are shipped with derta."""
    return packaged_names("recipes")


def packaged_names(folder: str) -> list[str]:
    """Return the names, without ending, of the YAML files in a folder of the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in (resources.files("derta") / folder).iterdir()
        if entry.name.endswith(".yaml")
    )


def find_recipe(path_or_name: str | Path) -> tuple[str, str]:
    """Return a recipe's name for messages and its text.

    Raises:
        RecipeError: there is no such file or packaged recipe, or it isn't UTF-8 text.
    """
    path = Path(path_or_name)
    names = packaged_recipes()
    if str(path_or_name) in names:
        entry = resources.files("derta") / "recipes" / f"{path_or_name}.yaml"
        return f"{path_or_name} (packaged)", entry.read_text("utf-8")
    try:
        return str(path), path.read_text("utf-8-sig")
    except FileNotFoundError:
        problem = "there is no such recipe file"
    except IsADirectoryError:
        problem = "this is a folder, not a recipe file"
    except UnicodeDecodeError:
        problem = "the recipe is not UTF-8 text"
    except (OSError, ValueError) as error:
        problem = f"the recipe can't be read: {error}"
    raise RecipeError(
        f"{path}: {problem}. Name a YAML file or a packaged recipe: {', '.join(names)}"
    )


def parse_yaml(text: str, source: str) -> tuple[dict[str, Any], Origins]:
    """Parse a recipe's text.

    Returns:
        Its keys and values, and where each key stands.

    Raises:
        RecipeError: bad YAML, a key given twice, or not a mapping of keys to values.
    """
    origins = Origins(source)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _note_lines(node, "", origins)
        values = {} if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise RecipeError(str(_yaml_problem(error, source))) from None
    except (RecursionError, ValueError) as error:
        raise RecipeError(f"{source}: the YAML can't be read: {error}. Mend it") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{source}: this is not a recipe. Write `key: value` lines")
    return values, origins


def merge_overrides(
    values: dict[str, Any], overrides: Sequence[str], origins: Origins
) -> list[InputProblem]:
    """Set dotted keys in `values`, creating sections where there are none.

    Returns:
        What is wrong with overrides: one that isn't `key=value`, a value that isn't YAML, a key
        below one that is no section.
    """
    problems = []
    remedy = "Write e.g. rows.kept_share=0.2"
    for override in overrides:
        dotted, equals, text = (part.strip() for part in override.partition("="))
        parts = dotted.split(".")
        if not equals or not all(parts):
            problems.append(InputProblem(_COMMAND_LINE, f"{override!r} isn't key=value", remedy))
            continue
        try:
            value = yaml.load(text, _Loader)
        except (yaml.YAMLError, ValueError, RecursionError):
            problem = f"{text!r} is not a YAML value"
            problems.append(InputProblem(_COMMAND_LINE, problem, remedy, key=dotted))
            continue
        section: Any = values
        for part in parts[:-1]:
            if section.get(part) is None:
                section[part] = {}
            section = section[part]
            if not isinstance(section, dict):
                problem = f"{part} has no keys below it"
                problems.append(InputProblem(_COMMAND_LINE, problem, remedy, key=dotted))
                break
        else:
            section[parts[-1]] = value
            origins.overridden.add(dotted)
    return problems


def dump_yaml(values: dict[str, Any]) -> str:
    """Write values as YAML that `parse_yaml` reads back as they were."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def _note_lines(node: yaml.Node, prefix: str, origins: Origins) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key_node, value_node in node.value:
        key = f"{prefix}{key_node.value}"
        line = key_node.start_mark.line + 1
        if key in origins.lines:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key} is given twice", key_node.start_mark
            )
        origins.lines[key] = line
        _note_lines(value_node, f"{key}.", origins)


def _yaml_problem(error: yaml.YAMLError, source: str) -> InputProblem:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it can't be parsed"
    return InputProblem(
        source,
        f"bad YAML: {problem}",
        "Mend this line; `key: value`, sections indented by two spaces",
        None if mark is None else mark.line + 1,
    )
