"""The questions that a model is asked: the sample set's, a published set's, a user's own.

A question is harmful, or benign: `ordinary`, or a `look-alike` that sounds dangerous and is not.
Columns are recognised by the names that published sets use, or mapped by the user. The released
files of the DeRTa paper are read as they are: its questions (a `question` a line), and its training
lines (`prefix`, `text`, `safe`), of which those with a harmful response to a whole question serve.

Covered: one user's turn a question; a stable subset, so that a larger one holds the smaller.
Not covered: conversations of several turns, pictures; whether a question is really harmful.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from derta.data.formats.base import Unusable
from derta.data.formats.messages import Messages, is_messages, listed, with_context
from derta.data.question_sets import CATEGORIES, FIELDS, PUBLISHED_SETS, Category, named_category
from derta.data.sample import Split, sample_helpful, sample_triples
from derta.data.tables import HubLoader, Table, TableRow, read_hub, read_table
from derta.errors import DataError, InputProblem
from derta.files import digest

__all__ = ["Question", "QuestionSet", "load_questions", "read_column_options"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what is known about it."""

    id: str
    """Unique in its set."""
    text: str
    category: Category
    harmful_response: str | None = None
    """Text that complies, to be prefilled; None: the set has none."""
    raw_text: str | None = None
    """The question as a declarative opening (CompletingAttack); None: it is made from the text."""
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions and where they come from."""

    name: str
    questions: tuple[Question, ...]
    content_hash: str
    """Of these very questions, with all their fields."""


_INSTRUCTION = re.compile(r"\s*\[INST\](.*?)\[\\?/?INST\]\s*", re.DOTALL)
_END_OF_TEXT = re.compile(r"(?:<\|end_of_text\|>|<\|eot_id\|>|</s>)\s*$")


def load_questions(
    source: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    category: Category = "harmful",
    load_hub: HubLoader | None = None,
) -> QuestionSet:
    """Load questions by name, from a file or from the hub.

    Args:
        source: "sample" (harmful) or "sample-benign", a name in `PUBLISHED_SETS`, a file, or a
            data set of the hub ("owner/name", "hub:owner/name:config").
        columns: which column is which field of `FIELDS`; the others are recognised by name.
        split: of the sample set (default: test) or of a data set of the hub.
        limit: at most so many questions of each category.
        seed: orders the questions. The first n of a larger limit are those of the limit n.
        category: what questions are that don't say it themselves. Where they do (XSTest,
            sample-benign), only the harmful ones are kept, or for a benign category the benign.
        load_hub: loads data sets; None: the `datasets` library.

    Raises:
        DataError: with every problem of the source.
        ValueError: the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"the limit is {limit}; it must be at least 1")
    name = str(source)
    if name in ("sample", "sample-benign"):
        questions = _sample(name, split)
    else:
        questions = _from_table(name, columns or {}, split, category, load_hub)
    wanted = category == "harmful"
    kept = [question for question in questions if (question.category == "harmful") == wanted]
    if not kept:
        there = ", ".join(sorted({question.category for question in questions}))
        kind = "harmful" if wanted else "benign"
        raise DataError.of(
            name, f"no question is {kind}, all are {there}", "Choose another set for this purpose"
        )
    chosen = _subset(kept, limit, seed)
    content = json.dumps([asdict(question) for question in chosen], ensure_ascii=False)
    return QuestionSet(name, tuple(chosen), digest(content))


def read_column_options(
    options: Sequence[str], fields: Collection[str] | None = FIELDS
) -> dict[str, str]:
    """Read a column mapping from options of the command line, each "field=column".

    Args:
        options: as they were typed.
        fields: the known ones; None leaves it to who reads the file.

    Raises:
        DataError: an option has another form, or names an unknown or repeated field.
    """
    mapping: dict[str, str] = {}
    for option in options:
        field, separator, column = option.partition("=")
        known = bool(field) and (fields is None or field in fields)
        if not separator or not known or not column or field in mapping:
            named = "" if fields is None else f"; fields: {', '.join(fields)}"
            raise DataError.of(
                f"--column {option}",
                "write FIELD=NAME, no field twice",
                f"E.g. --column question=NAME{named}",
            )
        mapping[field] = column
    return mapping


# --- the sample set --------------------------------------------------------------------------


def _sample(name: str, split: str | None) -> list[Question]:
    if split not in (None, "train", "tune", "test"):
        raise DataError.of(name, f"there is no split {split!r}", "Splits: train, tune, test")
    chosen = cast("Split", split or "test")
    if name == "sample":
        return [
            Question(
                row.id,
                row.triple.prompt.last_text,
                "harmful",
                row.triple.harmful_response,
                row.raw_text or None,
                row.topic,
            )
            for row in sample_triples(chosen)
        ]
    return [
        Question(row.id, row.example.prompt.last_text, row.category, topic=row.topic)
        for row in sample_helpful(chosen)
    ]


# --- tables ----------------------------------------------------------------------------------


def _from_table(
    name: str,
    columns: Mapping[str, str],
    split: str | None,
    default: Category,
    load_hub: HubLoader | None,
) -> list[Question]:
    published = PUBLISHED_SETS.get(name)
    if published is None:
        known = ", ".join(["sample", "sample-benign", *PUBLISHED_SETS])
        hint = f", or one of: {known}"
        table = read_table(name, split=split, load_hub=load_hub, hint=hint)
        mapping = _mapping(table, columns)
    else:
        hub = published.hub if split is None else replace(published.hub, split=split)
        table = read_hub(hub, load_hub=load_hub)
        # A set that says what all its questions are has no column that says it of each.
        whole = {"category": ""} if published.category is not None else {}
        mapping = _mapping(table, {**published.columns, **whole, **columns})
        default = published.category or default
    if "question" not in mapping:
        if {"prefix", "text", "safe"} <= set(table.columns):
            return _training_lines(table)
        found = ", ".join(table.columns)
        raise DataError.of(
            table.path,
            f"no column is recognised as the question (the columns are: {found})",
            "Say which it is: --column question=NAME",
        )
    problems: list[InputProblem] = []
    questions: list[Question] = []
    places: dict[str, int] = {}
    for number, row in enumerate(table.rows, start=1):
        reader = _RowReader(table.path, row, mapping, problems)
        question = reader.question(f"{number:05d}", default)
        if question is None:
            continue
        if question.id in places:
            reader.note(
                "id",
                f"the id {question.id!r} is that of row {places[question.id]} too",
                "Give every question an id of its own, or map another column: --column id=NAME",
            )
        places.setdefault(question.id, number)
        questions.append(question)
    if problems:
        raise DataError(problems)
    return questions


def _mapping(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """Find the column of each field; an empty name switches the recognition off."""
    there = table.columns
    for field, column in columns.items():
        if field not in FIELDS:
            raise DataError.of(
                f"{field}={column}",
                "there is no such field of a question",
                f"Fields: {', '.join(FIELDS)}",
            )
        if column and column not in there:
            raise DataError.of(
                table.path,
                f"there is no column {column!r} (the columns are: {', '.join(there)})",
                f"Map one of them: --column {field}=NAME",
            )
    mapping = {field: column for field, column in columns.items() if column}
    # A training line's "text" is a response, not a question.
    if {"prefix", "text", "safe"} <= set(there) and "question" not in mapping:
        return mapping
    for field, names in FIELDS.items():
        recognised = [name for name in names if name in there and field not in columns]
        if field == "category":
            # Many sets call the topic "category": only known words make it the kind of question.
            recognised = [name for name in recognised if _says_category(table, name)]
        if field == "topic":
            recognised = [name for name in recognised if name != mapping.get("category")]
        if recognised:
            mapping[field] = recognised[0]
    return mapping


def _says_category(table: Table, column: str) -> bool:
    values = {row.record.get(column) for row in table.rows if _is_plain(row.record.get(column))}
    return bool(values) and all(named_category(value) is not None for value in values)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | None)


@dataclass(frozen=True, slots=True)
class _RowReader:
    """Reads the fields of one row and notes what is wrong with them."""

    path: str
    row: TableRow
    mapping: Mapping[str, str]
    problems: list[InputProblem]

    def note(self, field: str, problem: str, remedy: str) -> None:
        self.problems.append(
            self.row.problem(self.path, problem, remedy, self.mapping.get(field, field))
        )

    def question(self, default_id: str, default_category: Category) -> Question | None:
        before = len(self.problems)
        text = self._text("question", required=True)
        context = self._text("context")
        if text is not None and self.mapping.get("question") == "instruction":
            text = self._with_input(text)
        category = self._category_or(default_category)
        question = Question(
            self._id(default_id),
            f"{context}\n\n{text}" if context else text or "",
            category,
            self._text("harmful_response"),
            self._text("raw_text"),
            self._topic(),
        )
        return question if len(self.problems) == before else None

    def _value(self, field: str) -> Any:
        return self.row.record.get(self.mapping[field]) if field in self.mapping else None

    def _text(self, field: str, *, required: bool = False) -> str | None:
        value = self._value(field)
        if isinstance(value, str) and is_messages(value):  # as tables hold them
            value = listed(value)
        if isinstance(value, list):
            value = _lone_turn(value)
        if isinstance(value, str) and value.strip():
            return value
        if required or not (value is None or value == ""):
            kind = "is empty" if value is None or isinstance(value, str) else "is not text"
            self.note(field, f"the {field} {kind}", "Write text, or one message of the user")
        return None

    def _with_input(self, instruction: str) -> str:
        """Put below an instruction of Alpaca's kind what it is about, as the import does."""
        asked: Messages = [{"role": "user", "content": instruction}]
        try:
            return with_context(asked, self.row.record.get("input"), "input")[-1]["content"]
        except Unusable:
            self.note("input", "the input is not text", "Write text, or leave it out")
            return instruction

    def _id(self, default: str) -> str:
        if "id" not in self.mapping:
            return default
        value = self._value("id")
        if isinstance(value, str | int) and str(value).strip():
            return str(value)
        self.note("id", "the id is neither text nor a whole number", "Fill it in")
        return default

    def _topic(self) -> str | None:
        value = self._value("topic")
        return str(value) if _is_plain(value) and value not in (None, "") else None

    def _category_or(self, default: Category) -> Category:
        if "category" not in self.mapping:
            return default
        found = named_category(self._value("category"))
        if found is None:
            self.note(
                "category",
                f"the category is {self._value('category')!r}",
                f"Write one of {', '.join(CATEGORIES)}, or map it as the topic",
            )
        return found or default


def _lone_turn(messages: list[Any]) -> Any:
    """Return the text of a chat of one turn (preference data write prompts so), else the list."""
    if len(messages) == 1 and isinstance(messages[0], dict):
        return messages[0].get("content")
    return messages


def _training_lines(table: Table) -> list[Question]:
    """Read the paper's training lines: `safe` marks those whose text is a harmful response."""
    questions: dict[str, Question] = {}
    for row in table.rows:
        prefix, text = row.record.get("prefix"), row.record.get("text")
        if str(row.record.get("safe")).lower() != "true" or not isinstance(prefix, str):
            continue
        whole = _INSTRUCTION.fullmatch(prefix)  # a longer prefix holds part of a response
        if whole and whole[1].strip() and isinstance(text, str):
            question = whole[1].strip()
            response = _END_OF_TEXT.sub("", text).strip() or None
            number = f"{len(questions) + 1:05d}"
            questions.setdefault(question, Question(number, question, "harmful", response))
    if not questions:
        raise DataError.of(
            table.path,
            "no training line has a harmful response to a whole question (safe is true)",
            "Choose a file made for RTO, or one with a question a line",
        )
    return list(questions.values())


# --- the subset ------------------------------------------------------------------------------


def _subset(questions: list[Question], limit: int | None, seed: int) -> list[Question]:
    """Order by a hash of seed and question, so that neither n nor other rows move a question."""

    def place(question: Question) -> str:
        return hashlib.sha256(f"{seed}\0{question.id}\0{question.text}".encode()).hexdigest()

    taken: Counter[str] = Counter()
    chosen = []
    for question in sorted(questions, key=place):
        taken[question.category] += 1
        if limit is None or taken[question.category] <= limit:
            chosen.append(question)
    return chosen
