"""What a format is: how its rows are recognised, and what each becomes.

A format reads one row at a time. Most rows are whole examples (`Made`); rows of some formats hold
one response each (`Part`), and examples are made when all rows that share a prompt are together.
What can't be used is a `Skip` with a reason out of few, so that reasons can be counted.

Covered: the types, and what all formats do with labels and further columns. Not covered: chat
messages (`messages`), which format a file has (`detection`), the grouping of parts (`grouping`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, Protocol

from derta.data.languages import find_code, says_language
from derta.data.streams import RawRow
from derta.errors import DataError
from derta.files import utf8_text

__all__ = [
    "Format",
    "Group",
    "Kind",
    "Made",
    "Part",
    "Skip",
    "Unusable",
    "kept_columns",
    "named_harms",
    "pair_record",
    "plain_value",
    "read_truth",
]

Kind = Literal["triple", "helpful"]


class Unusable(Exception):  # noqa: N818  (never leaves this package)
    """A row of which nothing can be made; the text is the reason, one out of few."""


@dataclass(frozen=True, slots=True)
class Made:
    """An example in one of our own two formats (docs/data-format.md)."""

    kind: Kind
    record: dict[str, Any]
    """Our columns, then the row's other ones; `id` and `source` are the row's own, if any."""
    place: RawRow
    """The row that it was made of; for a pair of rows, that of the safe response."""
    pair_row: int | None = None
    """Line or number of the row with the harmful response, where it is another one."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A row that is left out on purpose."""

    reason: str
    place: RawRow


@dataclass(frozen=True, slots=True)
class Part:
    """A row that becomes an example only together with others of its group."""

    key: str
    """What a group shares: the prompt."""
    label: str
    text: str
    """The response; in a group, a text counts once under each label."""
    record: dict[str, Any]
    place: RawRow


class Group(Protocol):
    """The parts of one key."""

    def parts(
        self, label: str, *, also_in: str | None = None, not_in: str | None = None
    ) -> Iterable[Part]:
        """Give the parts with a label in the order of their rows.

        Args:
            label: of the parts.
            also_in: only those whose text stands under this label, too.
            not_in: only those whose text doesn't stand under this label.
        """
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """A published shape of rows."""

    name: str
    description: str
    """What it becomes, in a few words."""
    columns: tuple[str, ...]
    """The columns that make it known, as errors and the documentation list them."""
    makes: frozenset[Kind]
    matches: Callable[[Mapping[str, Any]], bool]
    """Whether a record has this shape."""
    read: Callable[[RawRow, Kind | None], Made | Part]
    """Reads a row, with the wanted kind where the format can make either; raises `Unusable`."""
    finish: Callable[[Group], Iterator[Made | Skip]] | None = None
    """Makes examples of a group; None: no row needs another one."""
    optional: frozenset[str] = frozenset()
    """Those of its columns that may be missing."""
    over: frozenset[str] = frozenset()
    """Names of formats whose columns such rows also have, and which then don't count."""
    reads_system: bool = True
    """Whether a column `system` goes before its prompts."""

    def convert(self, row: RawRow, kind: Kind | None = None) -> Iterator[Made | Part | Skip]:
        """Make of a row what can be made of it alone.

        Args:
            row: as it was read.
            kind: what to make of a preference pair; None: a triple.
        """
        try:
            yield self.read(row, kind)
        except Unusable as unusable:
            yield Skip(str(unusable), row)


# --- examples --------------------------------------------------------------------------------


def pair_record(
    kind: Kind | None, prompt: Any, chosen: str, rejected: str, others: Mapping[str, Any]
) -> tuple[Kind, dict[str, Any]]:
    """Make the record of a preference pair: a triple, or a helpful example with a worse response.

    Args:
        kind: None: a triple.
        prompt: text, or messages.
        chosen: the safe or better response.
        rejected: the harmful or worse one.
        others: further columns.
    """
    if kind == "helpful":
        return kind, {"prompt": prompt, "completion": chosen, "rejected": rejected, **others}
    return "triple", {"prompt": prompt, "chosen": chosen, "rejected": rejected, **others}


# --- labels and other columns ----------------------------------------------------------------

_OWN_COLUMNS = frozenset(("prompt", "chosen", "rejected", "completion", "finished"))
_HANDLED = frozenset(("category", "language"))
_CATEGORIES = ("ordinary", "look-alike")
_DEEPEST = 8
_LONGEST_INTEGER_BITS = 256
_TRUTHS = {
    **dict.fromkeys(("true", "yes", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "0", "0.0"), False),
}
"""pandas writes 1.0 and 0.0 where a column of true and false has gaps."""


def read_truth(value: object) -> bool | None:
    """Read a label that is true or false, also as text or 0 and 1; None: it is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int | float):
        return _TRUTHS.get(str(value).strip().lower())
    return None


def named_harms(value: object) -> list[str]:
    """Name the harms of a label: names with true or false, a list of names, or one name."""
    if isinstance(value, Mapping):
        return [utf8_text(str(name)) for name, there in value.items() if read_truth(there)]
    if isinstance(value, str):
        return [utf8_text(value)] if value.strip() else []
    if isinstance(value, list):
        return [utf8_text(name) for name in value if isinstance(name, str) and name.strip()]
    return []


def kept_columns(record: Mapping[str, Any], used: Iterable[str] = ()) -> dict[str, Any]:
    """Give a row's other columns, as values that JSON can hold.

    `category` stays if it is one of ours (ordinary, look-alike); a text of another kind becomes
    the topic, and labels of several harms become `harm_categories`. `language` becomes a code.

    Args:
        record: the row's columns.
        used: columns that are already in the example, or repeat it.
    """
    used = frozenset(used)
    gone = _OWN_COLUMNS | _HANDLED | used
    kept: dict[str, Any] = {}
    for name, value in record.items():
        plain = None if name in gone else plain_value(value)
        if plain is not None:
            kept[utf8_text(str(name))] = plain
    if "category" in record and "category" not in used:
        kept.update(_category_columns(record["category"], has_topic="topic" in kept))
    if "language" in record and "language" not in used:
        kept.update(_language_columns(record["language"]))
    return kept


def _category_columns(value: object, *, has_topic: bool) -> dict[str, Any]:
    if isinstance(value, str):
        word = value.strip().lower().replace("_", "-").replace(" ", "-")
        if word in _CATEGORIES:
            return {"category": word}
        return {"topic": plain_value(value)} if value.strip() and not has_topic else {}
    harms = named_harms(value)
    return {"harm_categories": harms} if harms else {}


def _language_columns(value: object) -> dict[str, Any]:
    if not isinstance(value, str) or not says_language(value):
        return {}
    code = _language_code(value[:40])
    return {"language": code} if code else {"language_name": plain_value(value)}


@lru_cache(maxsize=256)
def _language_code(value: str) -> str | None:
    try:
        return find_code(value)
    except DataError:  # not of our table: any two letters are a code all the same
        word = value.strip().lower().replace("_", "-").partition("-")[0]
        return word if len(word) == 2 and word.isascii() and word.isalpha() else None


def plain_value(value: object, depth: int = 0) -> Any:
    """Make a value one that JSON can hold; None: it can't be kept, or says nothing."""
    if isinstance(value, str):
        return utf8_text(value) or None
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _LONGEST_INTEGER_BITS else None
    if isinstance(value, Decimal):  # as some readers of JSON and Parquet give fractions
        value = float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):  # a date and time is one, too
        return value.isoformat()
    if depth < _DEEPEST and isinstance(value, list):
        return [plain_value(item, depth + 1) for item in value] or None
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {
            utf8_text(str(name)): plain_value(item, depth + 1) for name, item in value.items()
        } or None
    return None
