r"""How JSON stands in a file: told from its beginning, whatever the file is called.

Covered: one value a line; a list; an object with the list under a key (`{"data": [...]}`); objects
over several lines, one after the other. A row may itself hold a list (of chat messages, say), so
the keys that chats have don't make an object a container.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from derta.data.streams.json import NotJson, parse_json

__all__ = ["JsonLayout", "Shape", "find_layout", "is_for_measuring", "looks_like_json"]

# fmt: off
_ROW_KEYS = frozenset((
    "messages", "conversation", "conversations", "dialog", "dialogue", "turns", "prompt", "chosen",
    "rejected", "completion", "completions", "response", "responses", "choices", "tools",
    "functions", "history", "context",
))
_CONTAINER_KEYS = frozenset((
    "data", "dataset", "rows", "train", "training", "test", "validation", "valid", "val", "dev",
    "eval", "examples", "samples", "items", "records", "entries", "instances", "questions",
    "prompts", "results",
))
# fmt: on
_MEASURED_BY = frozenset(
    ("test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation")
)
_CONTAINER = re.compile(
    rb"""\s*+\{
    (?:\s*+"[^"\\]*+"\s*+:\s*+                      # members before it: plain values
       (?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[-+.\w]++|\{[^{}\[\]]*+\}|\[[^{}\[\]]*+\])\s*+,)*+
    \s*+"([^"\\]*+)"\s*+:\s*+\[\s*+(\{)?+           # "key": [{""",
    re.VERBOSE | re.DOTALL,
)
_BEGINS_WITH_OBJECT = re.compile(rb'\s*+(?:\[\s*+)?\{\s*+"')


class Shape(Enum):
    """Where the rows of a JSON file stand."""

    LINES = "one a line"
    LIST = "in a list"
    CONTAINER = "in a list that stands in an object"
    VALUES = "one after the other, over several lines"


@dataclass(frozen=True, slots=True)
class JsonLayout:
    """The shape of a file."""

    shape: Shape
    key: bytes | None = None
    """Of the list in a container, as it is written between quotation marks."""


def is_for_measuring(key: bytes) -> bool:
    """Say whether a list is called as one that isn't trained on."""
    return key.decode("utf-8", "replace").lower() in _MEASURED_BY


def looks_like_json(head: bytes) -> bool:
    """Say whether a file that is called a table begins with JSON objects instead."""
    return _BEGINS_WITH_OBJECT.match(head) is not None


def find_layout(
    head: bytes,
    line_end: bytes,
    *,
    complete: bool,
    containers: bool = True,
    named: bool = False,
) -> JsonLayout:
    """Tell the layout from the beginning of a file.

    Args:
        head: the first 64 KB or so, decompressed.
        line_end: what ends its lines.
        complete: whether this is the whole file.
        containers: whether an object may hold the rows; otherwise it is one value.
        named: whether the user named a list, so that a long object is taken for a container.
    """
    lines = _lines(head, line_end)
    first = lines[0]
    second = lines[1] if len(lines) > 1 else None
    whole_line = second is not None or complete
    value = _parsed(first) if whole_line else None
    if first.startswith(b"["):
        return JsonLayout(Shape.LINES if _is_a_line(first, second, value) else Shape.LIST)
    if not first.startswith(b"{"):
        return JsonLayout(Shape.LINES)
    key = _container_key(head, broken=whole_line and value is None) if containers else None
    if value is not None:  # the first line is an object of its own
        held = key if second is None else None
        return JsonLayout(Shape.LINES) if held is None else JsonLayout(Shape.CONTAINER, held)
    if not whole_line:
        # A very long line: an object with everything in it, or a long row of JSON lines.
        known = key is not None and key.decode("utf-8", "replace").lower() in _CONTAINER_KEYS
        holds_rows = known or (named and key is not None)
        return JsonLayout(Shape.CONTAINER, key) if holds_rows else JsonLayout(Shape.LINES)
    if second is None and key is not None:  # one line, and something in it is broken
        return JsonLayout(Shape.CONTAINER, key)
    open_ended = first.endswith((b"{", b"[", b",", b":"))
    if open_ended and key is not None:
        return JsonLayout(Shape.CONTAINER, key)
    if open_ended and second is not None and not second.startswith(b"{"):
        return JsonLayout(Shape.VALUES)
    return JsonLayout(Shape.LINES)


def _is_a_line(first: bytes, second: bytes | None, value: object) -> bool:
    """Say whether a first line with a bracket is a (bad) row of JSON lines, not a list's start."""
    if second is None or first == b"[":
        return False
    goes_on = first.endswith((b",", b"{")) or (first.endswith(b"[") and first.strip(b"[") != b"")
    return value is not None or (not goes_on and isinstance(_parsed(second), dict))


def _container_key(head: bytes, broken: bool) -> bytes | None:
    """Find the key of the list that an object holds; in broken JSON its first row may be broken."""
    match = _CONTAINER.match(head)
    if match is None:
        return None
    name = match[1].decode("utf-8", "replace").lower()
    holds_rows = name not in _ROW_KEYS if match[2] else broken and name in _CONTAINER_KEYS
    return match[1] if holds_rows else None


def _lines(head: bytes, line_end: bytes) -> list[bytes]:
    """Return the first lines that are not blank, one at least; a cut one may be the last."""
    found = [line.strip() for line in head.split(line_end) if line.strip()]
    return found[:2] or [b""]


def _parsed(line: bytes) -> object:
    """Return the JSON value that is the whole line; None: it is none."""
    try:
        text = line.decode()
        value, end = parse_json(text)
    except (UnicodeDecodeError, NotJson):
        return None
    return value if end == len(text) else None
