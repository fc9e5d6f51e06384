"""Questions that training must not see: those that a model is measured on.

Covered: files and data sets in any form that has a question or a prompt in a column, published sets
by name, the test split of the sample set. Not covered: which rows of the data have them
(`derta.check_data`, `derta.data.mixing`).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from derta.data.formats.base import Unusable
from derta.data.formats.messages import (
    Messages,
    is_messages,
    is_transcript,
    listed,
    read_messages,
    read_transcript,
    with_context,
)
from derta.data.prompts import compared_turn, hash_text, join_turns, user_turns
from derta.data.question_sets import FIELDS, PUBLISHED_SETS
from derta.data.sample import sample_helpful, sample_triples
from derta.data.tables import HubLoader, Table, read_hub, read_table
from derta.errors import DataError, InputProblem

__all__ = [
    "HELD_OUT_FIELD",
    "HeldOut",
    "read_held_out",
    "require_apart",
    "source_identity",
    "split_columns",
]

HELD_OUT_FIELD = "held-out.question"
"""What `--column` calls the column of the held-out questions."""
_PREFIX = "held-out."
_SAMPLE = "sample"
_COLUMNS = (*FIELDS["question"], "query", "messages", "conversation", "conversations")
"""The first one of these that a row has text in is its question."""
_OWN_FILES = ("triples.jsonl", "helpful.jsonl")
_INSTRUCTION, _INPUT = "instruction", "input"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Questions that training must not see."""

    name: str
    places: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    """All that the user says in each."""
    compared: list[str] = field(default_factory=list)
    """What is compared with near texts (`derta.data.prompts.compared_turn`)."""

    def add(self, place: str, turns: Sequence[str]) -> None:
        """Add the question that the user's turns ask."""
        self.places.append(place)
        self.questions.append(join_turns(turns))
        self.compared.append(compared_turn(turns))

    def hashes(self) -> frozenset[int]:
        """Hash every question, and of a conversation the turn that asks, too."""
        return frozenset(map(hash_text, (*self.questions, *self.compared)))


def split_columns(columns: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """Take the column of the held-out questions out of a mapping of columns.

    Returns:
        The other fields' columns, and that column; None: nobody named one.

    Raises:
        DataError: another field of the held-out questions is named.
    """
    others = {name: column for name, column in columns.items() if not name.startswith(_PREFIX)}
    for name, column in columns.items():
        if name.startswith(_PREFIX) and name != HELD_OUT_FIELD:
            problem = "held-out questions have one field, the question"
            raise DataError.of(
                f"--column {name}={column}", problem, f"Write --column {HELD_OUT_FIELD}=NAME"
            )
    return others, columns.get(HELD_OUT_FIELD)


def read_held_out(
    source: str | Path, load_hub: HubLoader | None = None, column: str | None = None
) -> HeldOut:
    """Read held-out questions.

    Args:
        source: a file, a data set of the hub, the name of a published set
            (`derta.data.question_sets`), or "sample" for the test split of the sample set.
        load_hub: loads data sets; None: the `datasets` library.
        column: which column the question is; None: it is recognised by its name.

    Raises:
        DataError: it can't be read, or rows have no question.
    """
    if str(source) == _SAMPLE:
        if column is not None:
            remedy = f"Leave --column {HELD_OUT_FIELD} out"
            raise DataError.of(_SAMPLE, "the sample set's questions need no column", remedy)
        return _sample()
    tables, columns = _read(str(source), load_hub)
    if column is not None:
        columns = (column,)
    held = HeldOut(str(source) if len(tables) > 1 else tables[0].path)
    problems: list[InputProblem] = []
    for table in tables:
        _add_rows(held, table, columns, named=column, problems=problems)
    if problems:
        raise DataError(problems)
    return held


def _add_rows(
    held: HeldOut,
    table: Table,
    columns: Sequence[str],
    *,
    named: str | None,
    problems: list[InputProblem],
) -> None:
    """Add a table's questions, and note which rows have none.

    Raises:
        DataError: none of the columns is there.
    """
    if not any(name in table.columns for name in columns):
        there = ", ".join(table.columns)
        problem = "no column is recognised as the question"
        if named is not None:
            problem = f"there is no column {named!r}"
        remedy = f"Say which it is: --column {HELD_OUT_FIELD}=NAME"
        raise DataError.of(table.path, f"{problem} (the columns are: {there})", remedy)
    for row in table.rows:
        turns = _turns(row.record, columns)
        if not turns:
            remedy = "Write text or the messages of a conversation, or remove the row"
            problems.append(row.problem(table.path, "the row has no question", remedy))
            continue
        place = table.path if row.line is None else f"{table.path}:{row.line}"
        held.add(place if row.line is not None else f"{place} row {row.number}", turns)


def source_identity(name: str | Path) -> Hashable:
    """Say which file or data set a name means: links and detours make no difference."""
    try:
        status = Path(name).stat()
    except (OSError, ValueError):  # a data set of the hub, or nothing at all
        return str(name).removeprefix("hub:")
    return status.st_dev, status.st_ino


def require_apart(held_out: str | Path, sources: Iterable[str | Path]) -> None:
    """See that the held-out questions are not one of the sources.

    The sample set's are its test split, which is no part of its data.

    Raises:
        DataError: they are.
    """
    name = source_identity(held_out)
    if str(held_out) != _SAMPLE and any(name == source_identity(each) for each in sources):
        problem = "the held-out questions are one of the files of data"
        remedy = "Name the file of the questions that you measure on, or leave --held-out out"
        raise DataError.of(held_out, problem, remedy)


def _sample() -> HeldOut:
    held = HeldOut(f"{_SAMPLE}, test split")
    prompts = [(row.id, row.triple.prompt) for row in sample_triples("test")]
    prompts += [(row.id, row.example.prompt) for row in sample_helpful("test")]
    for name, prompt in prompts:
        held.add(f"{held.name}, {name}", user_turns(prompt))
    return held


def _read(name: str, load_hub: HubLoader | None) -> tuple[list[Table], tuple[str, ...]]:
    """Read a table, or those of our own folder; say which columns its question may be in."""
    published = PUBLISHED_SETS.get(name)
    if published is None or Path(name).exists():
        own = [path for path in (Path(name) / file for file in _OWN_FILES) if path.is_file()]
        if own:  # a folder as `derta data` writes it
            return [read_table(path) for path in own], _COLUMNS
        known = ", ".join((_SAMPLE, *PUBLISHED_SETS))
        return [read_table(name, load_hub=load_hub, hint=f", or one of: {known}")], _COLUMNS
    return [read_hub(published.hub, load_hub=load_hub)], (published.columns["question"],)


def _turns(record: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """List what the user says in a held-out row; nothing: it has no question."""
    for name in columns:
        turns = _user_texts(record.get(name))
        if name == _INSTRUCTION and len(turns) == 1:
            turns = _with_input(turns[0], record.get(_INPUT))
        if any(turn.strip() for turn in turns):
            return turns
    return []


def _user_texts(value: object) -> list[str]:
    """List the user's turns of a cell, in the forms that `derta data import` reads."""
    messages = listed(value) or []
    if isinstance(value, str) and not is_messages(value):
        messages = []
        if is_transcript(value):
            with suppress(Unusable):
                messages += read_transcript(value.rstrip().removesuffix("Assistant:"))
        if not messages:
            return [value]
    turns = []
    for each in messages:
        # What is no message with a text (a tool's result, a picture) asks nothing.
        with suppress(Unusable):
            turns += [m["content"] for m in read_messages([each]) if m["role"] == "user"]
    return turns


def _with_input(instruction: str, given: object) -> list[str]:
    """Join an instruction and what it is about, as the import does."""
    asked: Messages = [{"role": "user", "content": instruction}]
    with suppress(Unusable):
        asked = with_context(asked, given, _INPUT)
    return [message["content"] for message in asked]
