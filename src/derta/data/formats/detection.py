"""Which format a file has, told by the columns and values of its first rows.

Covered: recognition, names that users give, fields that users map, and what to do where nothing
fits. Not covered: files whose rows have different formats; the one that most of the first rows have
is read, and others are skips.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence

from derta.data.formats.base import Format
from derta.data.formats.columns import (
    Column,
    column_lines,
    find_columns,
    guess_column,
    look_up,
    one_line,
    similar_name,
)
from derta.data.formats.instruction import (
    ALPACA,
    DOLLY,
    MESSAGES,
    PROMPT_COMPLETION,
    PROMPT_RESPONSE,
    QUESTION_ANSWER,
    SHAREGPT,
)
from derta.data.formats.labelled import BEAVERTAILS, PKU_SAFERLHF
from derta.data.formats.preference import HH_RLHF, PREFERENCE
from derta.data.formats.training_lines import TRAINING_LINES
from derta.data.streams import RawRow
from derta.errors import DataError

__all__ = [
    "FIRST_ROWS",
    "FORMATS",
    "check_columns",
    "choose_format",
    "detect_format",
    "find_format",
    "names_read",
]

FORMATS: tuple[Format, ...] = (
    PREFERENCE,
    HH_RLHF,
    PKU_SAFERLHF,
    BEAVERTAILS,
    TRAINING_LINES,
    PROMPT_COMPLETION,
    ALPACA,
    DOLLY,
    PROMPT_RESPONSE,
    QUESTION_ANSWER,
    MESSAGES,
    SHAREGPT,
)
"""All formats; the order is that of the documentation and says nothing."""

FIRST_ROWS = 100
"""Rows that are enough to tell a format."""

_SHOWN_FORMATS = 3
_OTHER_FIELDS = ("finished", "system", "id", "source", "language", "category", "topic")
_CONVERSATIONS = ("messages", "conversations", "conversation")


def _names(format: Format) -> list[str]:
    """Name a format's columns; a listed one may say behind a blank what is in it."""
    return [column.partition(" ")[0] for column in format.columns]


_OWN_FIELDS = frozenset(name for format in FORMATS for name in _names(format))
_FIELDS = _OWN_FIELDS.union(_OTHER_FIELDS, _CONVERSATIONS, ("history",))


def detect_format(first_rows: Sequence[RawRow], mapped: Collection[str] = ()) -> Format:
    """Recognise the format that most of the first rows have.

    Args:
        first_rows: of the source.
        mapped: fields that the user mapped; of several formats, the one that reads them is meant.

    Raises:
        DataError: none or several, with the columns found and how to go on.
    """
    matching = [
        format
        for format in FORMATS
        if 2 * sum(format.matches(row.record) for row in first_rows) >= max(1, len(first_rows))
    ]
    hidden = {name for format in matching for name in format.over}
    found = [format for format in matching if format.name not in hidden]
    meant = [format for format in found if names_read(format).issuperset(mapped)]
    for chosen in (found, meant):
        if len(chosen) == 1:
            return chosen[0]
    path = first_rows[0].path if first_rows else "the data"
    columns = find_columns(first_rows)
    if not found:
        held = _held_in_one_object(first_rows)
        if held is not None:
            raise DataError.of(path, *held)
        raise DataError.of(path, "no known format has such rows", _how_to_map(first_rows, columns))
    width = max(len(format.name) for format in found)
    choices = [f"--format {format.name:<{width}}  {format.description}" for format in found]
    raise DataError.of(
        path, "the rows have the columns of several formats", _laid_out("Choose one", choices)
    )


def find_format(name: str) -> Format:
    """Look up a format by its name.

    Raises:
        DataError: there is none of this name.
    """
    by_name = {format.name: format for format in FORMATS}
    if name in by_name:
        return by_name[name]
    meant = similar_name(name, by_name)
    said = f"Did you mean {meant}? " if meant else ""
    remedy = f"{said}Known are {', '.join(by_name)}"
    raise DataError.of(f"--format {name}", "there is no such format", remedy)


def choose_format(
    first_rows: Sequence[RawRow], name: str | None = None, columns: Iterable[str] = ()
) -> Format:
    """Choose the format: the named one, that of the mapped columns, or the one that is recognised.

    Args:
        first_rows: with mapped columns already under their new names.
        name: of a format, if the user gave one.
        columns: fields that the user mapped.

    Raises:
        DataError: there is no such format, or none is recognised.
    """
    if name is not None:
        return find_format(name)
    mapped = set(columns)
    for format in (PREFERENCE, PROMPT_COMPLETION):
        if mapped.issuperset(format.columns):
            return format
    return detect_format(first_rows, mapped.intersection(_OWN_FIELDS))


def names_read(format: Format) -> frozenset[str]:
    """Name the columns that a format reads."""
    own = _names(format)
    chats = _CONVERSATIONS if set(own) & set(_CONVERSATIONS) else ()
    return frozenset((*own, *chats, "finished", "history", "system"))


def check_columns(first_rows: Sequence[RawRow], columns: Mapping[str, str]) -> None:
    """Check that fields are known and that some row has each mapped column.

    Args:
        first_rows: as they were read.
        columns: field -> column, which may be a dotted path into objects ("example.question").

    Raises:
        DataError: a field is unknown, or no row has a column.
    """
    for field, path in columns.items():
        if field not in _FIELDS:
            meant = similar_name(field, _FIELDS)
            said = f"Did you mean {meant}? " if meant else ""
            remedy = f"{said}Fields: {', '.join(sorted(_FIELDS))}"
            raise DataError.of(f"--column {field}={path}", "there is no such field", remedy)
        if first_rows and not any(look_up(row.record, path)[0] for row in first_rows):
            there = find_columns(first_rows)
            meant = similar_name(path, [column.path for column in there if column.is_name])
            remedy = _laid_out(
                f"Map another one: {_option(field, meant)}; dots lead into objects, numbers into "
                "lists",
                ["columns:", *_indented(column_lines(there, len(first_rows)))],
            )
            raise DataError.of(
                first_rows[0].path, f"no row has a column {one_line(path)!r}", remedy
            )


# --- where nothing fits ----------------------------------------------------------------------


def _how_to_map(rows: Sequence[RawRow], columns: Sequence[Column]) -> str:
    """Say what was found, which formats are near, and what to write."""
    lines = ["columns found:", *_indented(column_lines(columns, len(rows)))]
    near = _nearest(rows, columns)
    if near:
        lines += ["nearest formats:", *_indented(near)]
    for title, fields in _WHAT_FOR.items():
        command = _command(columns, fields)
        lines += [f"for {title}:", f"  {command}"] if command else []
    chat = guess_column([each for each in columns if each.kind in _CHATS], "messages")
    if chat not in (None, "messages"):
        lines += ["for the last responses of conversations:", f"  {_option('messages', chat)}"]
    if sum(column.is_text for column in columns) == 1 and chat is None:
        lines.append("for questions without any response: derta data make")
    return _laid_out("Say which column is which", lines)


def _held_in_one_object(rows: Sequence[RawRow]) -> tuple[str, str] | None:
    """Recognise a file whose only object holds all rows in another way; give problem and remedy."""
    if len(rows) != 1 or not rows[0].record:
        return None
    values = list(rows[0].record.values())
    tables = [value for value in values if isinstance(value, Mapping) and value]
    if len(tables) == len(values) and all(key.isdecimal() for each in tables for key in each):
        return "the file holds columns, not rows", _WRITE_ROWS
    alike = len(tables) == len(values) > 1 and len({frozenset(each) for each in tables}) == 1
    if alike and _FIELDS.isdisjoint(rows[0].record):
        problem = "the file is one object with a row under each key"
        return problem, "Write the rows as a list, with the key as a column of its own"
    lists = [value for value in values if isinstance(value, list)]
    equal = len({len(value) for value in lists}) == 1
    if len(lists) == len(values) > 1 and equal and len(lists[0]) > 1:
        return "the file holds columns, not rows", _WRITE_ROWS
    inner = [
        column.shown
        for column in find_columns(rows)
        if column.kind == "list of objects" and "." in column.path and ".0." not in column.path
    ]
    if len(inner) == 1 and len(tables) == len(values):
        problem = f"the file is one object, and its rows seem to stand in {inner[0]}"
        return problem, f"Write this list into a file of its own, e.g. with jq '.{inner[0]}[]'"
    return None


_WRITE_ROWS = "Write an object for each row; in pandas, to_json(FILE, orient='records', lines=True)"
_WHAT_FOR = {
    "triples": ("prompt", "chosen", "rejected"),
    "helpful examples": ("prompt", "completion"),
}
_CHATS = ("list of messages", "messages as text")


def _nearest(rows: Sequence[RawRow], columns: Sequence[Column]) -> list[str]:
    """Write a line for each of the formats that come nearest: what they lack here."""
    kinds = {column.path: column.kind for column in columns}
    ranked = []
    for format in FORMATS:
        names = [name for name in _names(format) if name not in format.optional]
        lacks = [name for name in names if name not in kinds]
        share = sum(format.matches(row.record) for row in rows)
        if share:
            said = f"{share} of {len(rows)} rows have it: --format {format.name} keeps only these"
        elif lacks:
            said = f"lacks {', '.join(lacks)}"
        else:
            said = "; ".join(f"{name} is here: {kinds[name]}" for name in names)
        if share or len(lacks) < len(names):
            ranked.append(((-share, len(lacks), -len(names)), format.name, said))
    ranked.sort(key=lambda each: each[0])
    shown = ranked[:_SHOWN_FORMATS]
    width = max((len(name) for _, name, _ in shown), default=0)
    return [f"{name:<{width}}  {said}" for _, name, said in shown]


def _command(columns: Sequence[Column], fields: Iterable[str]) -> str:
    """Write the options that map some fields, with guesses where a column looks like one.

    A column that is called as its field needs none.
    """
    taken: dict[str, str | None] = {}
    for field in fields:
        used = [path for path in taken.values() if path]
        taken[field] = guess_column(columns, field, used)
    return " ".join(_option(field, path) for field, path in taken.items() if path != field)


def _option(field: str, path: str | None) -> str:
    return (
        f"--column {field}=NAME" if path is None else f"--column {shlex.quote(f'{field}={path}')}"
    )


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _laid_out(first: str, lines: Iterable[str]) -> str:
    return "\n".join([f"{first}:", *_indented(lines)])
