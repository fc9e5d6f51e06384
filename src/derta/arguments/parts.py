"""What several commands' arguments have in common."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["COLUMN_HELP", "JUDGE_HELP", "OVERRIDES_HELP", "command", "count", "positive"]

OVERRIDES_HELP = (
    "change keys of the recipe: dotted keys, YAML values, e.g. rows.kept_share=0.2 lora=null"
)
JUDGE_HELP = (
    "offline, rubric:MODEL, strongreject:MODEL, harmbench:MODEL or llama-guard:MODEL (default: "
    "offline, rules that need no model)"
)
COLUMN_HELP = "what a column is called (may be given several times)"


def count(text: str) -> int:
    """Read a whole number, 0 or more.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    number = int(text) if text.isdecimal() else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return number


def positive(text: str) -> int:
    """Read a whole number, 1 or more.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return number


def command(
    commands: Any, name: str, description: str, epilog: str, summary: str = ""
) -> argparse.ArgumentParser:
    """Make the parser of a command; of the program itself where `commands` is None."""
    settings: dict[str, Any] = {
        "description": description,
        "epilog": epilog,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }
    if commands is None:
        return argparse.ArgumentParser(prog=name, **settings)
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, **settings)
    return parser
