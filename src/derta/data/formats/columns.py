"""The columns of a file: what is in them, as errors say it, and columns that users map onto fields.

Covered: names and kinds of values, never the values themselves; columns within objects; which
column may be meant by a field. Not covered: formats (`detection`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from derta.data.formats.messages import is_messages, is_transcript
from derta.data.streams import RawRow
from derta.terminal import mask, visible

__all__ = [
    "Column",
    "column_lines",
    "find_columns",
    "guess_column",
    "look_up",
    "map_columns",
    "one_line",
    "similar_name",
]

_SHOWN_COLUMNS = 20
_LONGEST_NAME = 40
_WIDEST_NAME = 28
_BLANKS_OF_A_NAME = 3
_DEEPEST = 3
_TEXTS = ("text", "message", "list of messages", "messages as text", "transcript")
# What columns are called that hold a field's text, the likeliest first.
_SYNONYMS = {
    "prompt": (
        *("prompt", "question", "instruction", "query", "request", "goal", "behavior", "behaviour"),
        *("input", "user", "task"),
    ),
    "chosen": (
        *("chosen", "safe", "refusal", "good", "preferred", "accepted", "better", "winner"),
        "harmless",
    ),
    "rejected": (
        *("rejected", "harmful", "unsafe", "bad", "worse", "dispreferred", "loser", "toxic"),
        "jailbroken",
    ),
    "completion": (
        *("completion", "response", "answer", "output", "reply", "assistant", "target", "good"),
        "text",
    ),
    "messages": (
        "messages",
        "conversation",
        "conversations",
        "chat",
        "dialogue",
        "dialog",
        "turns",
    ),
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


# --- what columns there are ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column, or a part of one that holds objects."""

    path: str
    """As `--column` takes it: dots lead into objects."""
    kind: str
    """Of its values, in a few words."""
    rows: int
    """How many have it."""
    is_name: bool
    """Whether it looks like a name; else it may be a text, in a file without a header."""

    @property
    def shown(self) -> str:
        """The path as errors show it; a text that stands where a name should be is masked."""
        return one_line(self.path) if self.is_name else mask(one_line(self.path[:_LONGEST_NAME]))

    @property
    def is_text(self) -> bool:
        """Whether it holds texts or messages."""
        return self.kind.partition(" or ")[0] in _TEXTS


def find_columns(rows: Sequence[RawRow]) -> list[Column]:
    """List the columns of some rows and what is in them, in their order.

    Objects are opened up, of lists the first one.
    """
    kinds: dict[str, Counter[str]] = {}
    names: dict[str, bool] = {}
    for row in rows:
        for path, is_name, value in _leaves(row.record, "", are_names=True):
            kinds.setdefault(path, Counter())[kind_of(value)] += 1
            names[path] = is_name
    return [
        Column(path, _joined(found), found.total(), names[path]) for path, found in kinds.items()
    ]


def _leaves(
    record: Mapping[str, Any], before: str, *, are_names: bool
) -> Iterator[tuple[str, bool, Any]]:
    """Yield the path of each value, whether it is made of names, and the value."""
    for name, value in record.items():
        if before and "." in name:  # no path leads there
            continue
        path = f"{before}{name}"
        is_name = are_names and _looks_like_a_name(name)
        yield path, is_name, value
        if "." in name or path.count(".") >= _DEEPEST or is_messages(value):
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}.", are_names=is_name)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield from _leaves(value[0], f"{path}.0.", are_names=is_name)


def _joined(kinds: Counter[str]) -> str:
    named = [kind for kind, _ in kinds.most_common() if kind != "empty"]
    return " or ".join(named[:2]) or "empty"


def kind_of(value: object) -> str:
    """Say what kind of value this is, in a few words."""
    if value is None or value in ("", [], {}):
        return "empty"
    if isinstance(value, str):
        if is_messages(value):
            return "messages as text"
        return "transcript" if is_transcript(value) else "text"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, Mapping):
        return "message" if is_messages(value) else "object"
    if not isinstance(value, list):
        return "something else"
    if is_messages(value):
        return "list of messages"
    for kind, types in (("texts", str), ("numbers", int | float), ("objects", Mapping)):
        if all(isinstance(item, types) for item in value):
            return f"list of {kind}"
    return "list"


def column_lines(columns: Sequence[Column], rows: int) -> list[str]:
    """Write a line for each column: its name, what is in it, and in how many rows it is not.

    Args:
        columns: of these rows.
        rows: how many were looked at.
    """
    shown = columns[:_SHOWN_COLUMNS]
    names = [column.shown for column in shown]
    width = min(max(map(len, names), default=0), _WIDEST_NAME)
    lines = []
    for name, column in zip(names, shown, strict=True):
        often = f", in {column.rows} of {rows} rows" if column.rows < rows else ""
        lines.append(f"{name:<{width}}  {column.kind}{often}")
    if len(columns) > len(shown):
        lines.append(f"and {len(columns) - len(shown)} more")
    if not all(column.is_name for column in columns):
        lines.append("(some names look like data: does the file have a header?)")
    return lines or ["none"]


def one_line(name: str) -> str:
    """Show a name harmlessly, and on one line."""
    return visible(name).replace("\n", r"\n").replace("\t", r"\t")


def _looks_like_a_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and name.count(" ") <= _BLANKS_OF_A_NAME


# --- which column is meant -------------------------------------------------------------------


def guess_column(columns: Sequence[Column], field: str, taken: Collection[str] = ()) -> str | None:
    """Guess the column of texts that a field may be called in a file; None: none looks like it."""
    words = {
        column.path: [word.lower() for word in _WORD.findall(column.path.rpartition(".")[2])]
        for column in columns
        if column.is_text and column.is_name and column.path not in taken
    }
    # A system prompt is nobody's question.
    words = {path: found for path, found in words.items() if "system" not in found}
    for wanted in _SYNONYMS[field]:
        named = [path for path, found in words.items() if wanted in found]
        if named:
            return min(named, key=lambda path: len(words[path]))
    return None


def similar_name(name: str, known: Collection[str]) -> str | None:
    """Find the known name that a mistyped one may mean; None: none is like it."""
    by_case = {each.lower(): each for each in known}
    found = get_close_matches(name.lower(), by_case, n=1, cutoff=0.75)
    return by_case[found[0]] if found else None


# --- mapped columns --------------------------------------------------------------------------


def look_up(record: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Find a value by its column's name, or by a dotted path; numbers count in lists."""
    if path in record:
        return True, record[path]
    value: Any = record
    for step in path.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and _is_index(step, value):
            value = value[int(step)]
        else:
            return False, None
    return True, value


def _is_index(step: str, values: list[Any]) -> bool:
    return len(step) < 10 and step.isdecimal() and int(step) < len(values)


def map_columns(
    row: RawRow, columns: Mapping[str, str], read: Collection[str] | None = None
) -> RawRow:
    """Give a row its mapped columns under the names of the fields.

    A column that is mapped as a whole is renamed. Of one that is mapped in part the rest stays:
    whole, if the format reads it, too; else without the parts that are mapped. Where a field takes
    its name, the rest goes by its paths ("prompt.language").

    Args:
        row: as it was read.
        columns: field -> column or path.
        read: names of columns that the format reads; None: of any column, as it isn't known yet.
    """
    if not columns:
        return row
    source = row.record
    renamed: set[str] = set()
    parts: dict[str, list[list[str]]] = {}
    for path in columns.values():
        root, _, below = path.partition(".")
        if path in source:
            renamed.add(path)
        elif below and look_up(source, path)[0]:
            parts.setdefault(root, []).append(below.split("."))
    record: dict[str, Any] = {}
    for name, value in source.items():
        if name in renamed:
            continue
        if name not in parts:
            if name not in columns:
                record[name] = value
            continue
        if name not in columns and (read is None or name in read):
            record[name] = value
            continue
        rest = _without(value, parts[name])
        if name not in columns:
            record.update({} if rest is _NOTHING else {name: rest})
        elif isinstance(rest, Mapping):
            record.update({f"{name}.{key}": inner for key, inner in rest.items()})
    for field, path in columns.items():
        there, value = look_up(source, path)
        if there:
            record[field] = value
    return replace(row, record=record)


_NOTHING = object()
"""Stands for a value of which nothing is left."""


def _without(value: Any, paths: Sequence[Sequence[str]]) -> Any:
    """Copy a value without the parts at some paths, each of which leads somewhere."""
    by_step: dict[str, list[Sequence[str]]] = {}
    for path in paths:
        if not path:
            return _NOTHING
        by_step.setdefault(path[0], []).append(path[1:])
    if isinstance(value, list):
        by_place = {int(step): rest for step, rest in by_step.items()}
        items = [
            _without(item, by_place[place]) if place in by_place else item
            for place, item in enumerate(value)
        ]
        return [item for item in items if item is not _NOTHING] or _NOTHING
    kept = {
        name: _without(inner, by_step[name]) if name in by_step else inner
        for name, inner in value.items()
    }
    return {name: inner for name, inner in kept.items() if inner is not _NOTHING} or _NOTHING
