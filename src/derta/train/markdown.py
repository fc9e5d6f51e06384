"""Values as Markdown in which they can't act: no markup, no new line, no end of a table's cell.

Covered: code, numbers and tables for a model card. Not covered: HTML pages (`derta.report`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence

__all__ = ["DASH", "code", "is_number", "number", "one_line", "plain", "table"]

DASH = "–"
_PLAIN = re.compile(r"[\w ./:=+,@()\[\]{}'\"-]+")
"""Texts that can stand between backticks; `|` would end a table's cell even there."""


def code(value: object) -> str:
    """Write any text as code that stays on its line and inside its cell."""
    text = one_line(str(value)) or DASH
    if _PLAIN.fullmatch(text):
        return f"`{text}`"
    escaped = (c if (c.isascii() and c.isalnum()) or c == " " else f"&#{ord(c)};" for c in text)
    return f"<code>{''.join(escaped)}</code>"


def one_line(text: str) -> str:
    """Join lines, and write characters that act without being seen as their code."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in joined)


def plain(value: object) -> str:
    """Write a recipe's value in the way a person would."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def is_number(value: object) -> bool:
    """Say whether a value from JSON is a number that can be told: no truth value, no NaN."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]  # a number, see above


def number(value: object) -> str:
    """Write a count with commas between thousands; what is no number is a dash."""
    return f"{value:,}" if is_number(value) else DASH


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table of cells that are Markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
