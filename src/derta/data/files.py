"""JSONL files to triples and helpful examples, checked row by row.

The formats are the field's standard ones: preference rows (`prompt`, `chosen`, `rejected`) and
prompt-completion rows (`prompt`, `completion`, and `rejected` if DPO is wanted). A prompt is text
(one user message) or a list of chat messages that ends in the user's turn; a response is text or
a list of exactly one assistant message. Other columns are kept beside the rows. Everything that
is wrong in a file is found in one reading. Covered: local UTF-8 files with one JSON object a
line. Not covered: hub data sets, other file formats, tool calls and images in messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from derta.data.jsonl import open_rows
from derta.errors import DataError, InputProblem
from derta.triple import Conversation, HelpfulExample, Message, Triple

__all__ = [
    "Loaded",
    "ParsedRow",
    "is_to_avoid",
    "load_helpful",
    "load_triples",
    "overlong_problems",
    "parse_helpful",
    "parse_rows",
    "parse_triple",
    "read_helpful",
    "read_triples",
]

Row = TypeVar("Row", Triple, HelpfulExample)

_ROLES = ("system", "user", "assistant")


class _Rejected(Exception):  # noqa: N818  (never leaves this module)
    """One thing wrong with one row."""

    def __init__(self, problem: str, remedy: str, key: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.remedy, self.key = problem, remedy, key


Parser = Callable[[Mapping[str, Any], list[_Rejected]], Row | None]
"""Makes a row of a record, and notes what is wrong with it instead of stopping."""


@dataclass(frozen=True, slots=True)
class ParsedRow(Generic[Row]):
    """A line of a file that was read."""

    line: int
    """Counted from 1."""
    row: Row | None
    """None if there is any problem."""
    record: dict[str, Any]
    """All columns as they stand in the file."""
    problems: list[InputProblem]


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Row]):
    """The usable rows of a file, and what is wrong with the others."""

    path: str
    rows: list[Row] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    """Line number of each row, counted from 1."""
    columns: list[dict[str, Any]] = field(default_factory=list)
    """Each row's other columns (id, topic, split ...), as they stand in the file."""
    problems: list[InputProblem] = field(default_factory=list)

    def checked(self) -> list[Row]:
        """Return the rows if all of the file is usable.

        Raises:
            DataError: some row is not; all problems are listed.
        """
        if self.problems:
            raise DataError(self.problems)
        return self.rows


def read_triples(path: str | Path) -> list[Triple]:
    """Read a file of triples (`prompt`, `chosen`, `rejected`), all of which must be usable.

    Raises:
        DataError: with every problem of the file.
    """
    return load_triples(path).checked()


def read_helpful(path: str | Path) -> list[HelpfulExample]:
    """Read a file of helpful examples (`prompt`, `completion`, perhaps `rejected`).

    Raises:
        DataError: with every problem of the file.
    """
    return load_helpful(path).checked()


def load_triples(path: str | Path) -> Loaded[Triple]:
    """Read the usable triples of a file and collect the problems of the other rows.

    Raises:
        DataError: the file as a whole can't be read: missing, a folder, empty, not text.
    """
    return _load(path, ("prompt", "chosen", "rejected"), parse_triple)


def load_helpful(path: str | Path) -> Loaded[HelpfulExample]:
    """Read the usable helpful examples of a file and collect the problems of the other rows.

    Raises:
        DataError: the file as a whole can't be read: missing, a folder, empty, not text.
    """
    return _load(path, ("prompt", "completion", "rejected"), parse_helpful)


def overlong_problems(
    path: str | Path, lines_and_lengths: Iterable[tuple[int, int]], max_length: int
) -> list[InputProblem]:
    """Name the rows that are longer than `max_length`.

    Args:
        path: the file that the rows come from.
        lines_and_lengths: (line number, length in tokens of prompt and responses) of each row.
        max_length: in tokens.
    """
    return [
        InputProblem(
            str(path),
            f"the row is {length} tokens long, {length - max_length} over max_length",
            f"Raise rows.max_length (now {max_length}), shorten the row, or set rows.overlong "
            "to truncate or skip",
            line,
        )
        for line, length in lines_and_lengths
        if length > max_length
    ]


# --- the file --------------------------------------------------------------------------------


def parse_rows(
    path: str, numbered_lines: Iterable[tuple[int, bytes]], parse: Parser[Row]
) -> Iterator[ParsedRow[Row]]:
    """Parse lines with their numbers in the file; blank ones are passed over."""
    for number, line in numbered_lines:
        if not line.strip():
            continue
        found: list[_Rejected] = []
        row = None
        record: dict[str, Any] = {}
        try:
            record = _parse_line(line.rstrip(b"\r\n"))
        except _Rejected as rejected:
            found.append(rejected)
        else:
            row = parse(record, found)
        problems = [
            InputProblem(path, each.problem, each.remedy, number, each.key) for each in found
        ]
        yield ParsedRow(number, None if found else row, record, problems)


def _load(path: str | Path, own_columns: tuple[str, ...], parse: Parser[Row]) -> Loaded[Row]:
    loaded: Loaded[Row] = Loaded(str(path))
    with open_rows(path) as file:
        for parsed in parse_rows(loaded.path, enumerate(file, start=1), parse):
            loaded.problems.extend(parsed.problems)
            if parsed.row is not None:
                loaded.rows.append(parsed.row)
                loaded.lines.append(parsed.line)
                loaded.columns.append(
                    {k: v for k, v in parsed.record.items() if k not in own_columns}
                )
    return loaded


def _parse_line(line: bytes) -> dict[str, Any]:
    one_object = "Write one JSON object a line"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Rejected(
            f"byte {error.start + 1} of the line is not UTF-8", "Save the file as UTF-8"
        ) from None
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise _Rejected(
            f"the line is not JSON: {error.msg} at column {error.colno}", one_object
        ) from None
    except (ValueError, RecursionError):
        raise _Rejected("the line is not JSON that can be read", one_object) from None
    if not isinstance(record, dict):
        raise _Rejected(f"the line is {_kind(record)}, not a JSON object", one_object)
    return record


# --- the rows --------------------------------------------------------------------------------


def parse_triple(record: Mapping[str, Any], found: list[_Rejected]) -> Triple | None:
    """Make a triple of a record (`prompt`, `chosen`, `rejected`)."""
    prompt = _collect(found, lambda: _prompt(record))
    safe = _collect(found, lambda: _response(record, "chosen"))
    harmful = _collect(found, lambda: _response(record, "rejected"))
    if prompt is None or safe is None or harmful is None:
        return None
    if safe.strip() == harmful.strip():
        found.append(
            _Rejected(
                "chosen and rejected are the same text",
                "chosen is the safe response, rejected the harmful one",
                "rejected",
            )
        )
    return Triple(prompt, safe, harmful)


def parse_helpful(record: Mapping[str, Any], found: list[_Rejected]) -> HelpfulExample | None:
    """Make a helpful example of a record (`prompt`, `completion`, perhaps `rejected`)."""
    prompt = _collect(found, lambda: _prompt(record))
    response = _collect(found, lambda: _response(record, "completion"))
    if not isinstance(record.get("finished", True), bool):
        found.append(
            _Rejected(
                f"the value is {_kind(record['finished'])}",
                "Write false if the response was cut off, true or nothing if it was not",
                "finished",
            )
        )
    if is_to_avoid(record):
        found.append(
            _Rejected(
                "label is false: a response to avoid",
                "Remove the row, or let `derta data import` leave such rows out",
                "label",
            )
        )
    rejected = None
    if record.get("rejected") is not None:
        rejected = _collect(found, lambda: _response(record, "rejected"))
    if prompt is None or response is None:
        return None
    if rejected is not None and rejected.strip() == response.strip():
        found.append(
            _Rejected(
                "completion and rejected are the same text",
                "rejected is a worse response; leave it out if there is none",
                "rejected",
            )
        )
    return HelpfulExample(prompt, response, rejected)


def is_to_avoid(record: Mapping[str, Any]) -> bool:
    """Whether a response is marked as a bad one, as in TRL's unpaired preference type."""
    label = record.get("label")
    return label is False or (isinstance(label, str) and label.strip().lower() == "false")


_Value = TypeVar("_Value")


def _collect(found: list[_Rejected], read: Callable[[], _Value]) -> _Value | None:
    """Read one field; note what is wrong instead of stopping, so that all fields are checked."""
    try:
        return read()
    except _Rejected as rejected:
        found.append(rejected)
        return None


def _field(record: Mapping[str, Any], key: str) -> Any:
    if key not in record:
        present = ", ".join(repr(name) for name in record) or "none"
        raise _Rejected(f"the field is missing (the row has: {present})", f"Add {key!r}", key)
    return record[key]


def _prompt(record: Mapping[str, Any]) -> Conversation:
    value = _field(record, "prompt")
    if isinstance(value, str):
        return Conversation.from_text(_text(value, "prompt"))
    messages = _messages(value, "prompt")
    if messages[-1].role != "user":
        raise _Rejected(
            f"the last message is the {messages[-1].role}'s",
            "A prompt ends in the user's turn; responses have fields of their own",
            "prompt",
        )
    return Conversation(messages)


def _response(record: Mapping[str, Any], key: str) -> str:
    value = _field(record, key)
    if isinstance(value, str):
        return _text(value, key)
    messages = _messages(value, key)
    if [message.role for message in messages] != ["assistant"]:
        roles = ", ".join(message.role for message in messages)
        raise _Rejected(
            f"the messages' roles are: {roles}",
            f"{key} holds exactly one assistant message; earlier turns belong in 'prompt'",
            key,
        )
    return messages[0].content


def _messages(value: Any, key: str) -> tuple[Message, ...]:
    wanted = 'Write text, or a list of messages like {"role": "user", "content": "..."}'
    if not isinstance(value, list):
        raise _Rejected(f"the value is {_kind(value)}", wanted, key)
    if not value:
        raise _Rejected("the list of messages is empty", wanted, key)
    messages = []
    for index, item in enumerate(value):
        place = f"{key}[{index}]"
        if not isinstance(item, dict):
            raise _Rejected(f"the message is {_kind(item)}", wanted, place)
        if item.get("role") not in _ROLES:
            raise _Rejected(
                f"the role is {item.get('role')!r}",
                f"Known roles: {', '.join(_ROLES)}",
                f"{place}.role",
            )
        content = item.get("content")
        if not isinstance(content, str):
            raise _Rejected(f"the value is {_kind(content)}", "Write text", f"{place}.content")
        messages.append(Message(item["role"], _text(content, f"{place}.content")))
    return tuple(messages)


def _text(text: str, key: str) -> str:
    if not text.strip():
        raise _Rejected("the text is empty", "Fill it in, or remove the row", key)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _Rejected(
            "the text holds half of a surrogate pair", "Repair the \\u escape", key
        ) from None
    return text


def _kind(value: Any) -> str:
    """Name a JSON value's type as people who write JSON call it."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
