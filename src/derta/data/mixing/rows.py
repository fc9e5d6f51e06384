"""One row on its way into a mix: what it is, and how it is written.

Covered: rows in our two formats. Not covered: which rows are taken (`derta.data.mixing.plan`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from derta.data.files import parse_helpful, parse_triple
from derta.data.formats.base import read_truth
from derta.data.formats.messages import is_messages, listed
from derta.data.languages import detect_language, says_language
from derta.data.mixing.options import Kind, language_code
from derta.data.mixing.report import MixReport
from derta.data.refusal_openings import Opening, open_with_refusal_word
from derta.data.streams import RawRow, find_ending
from derta.errors import InputProblem
from derta.triple import HelpfulExample, Triple

__all__ = [
    "is_look_alike",
    "language_of",
    "parse_row",
    "read_cells",
    "source_of",
    "written_row",
]

Row = Triple | HelpfulExample


_OPTIONAL: dict[Kind, tuple[str, ...]] = {
    "triples": ("category", "language", "source"),
    "helpful": ("category", "language", "source", "finished", "rejected"),
}

_TEXT_TABLES = (".csv", ".tsv")
_TEXTS = ("prompt", "chosen", "rejected", "completion")


def read_cells(raw: RawRow, kind: Kind) -> RawRow:
    """Read a table's cells as our format has them.

    An empty optional one says nothing, nor does a language called "na" or the like, and `finished`
    may be text or a number. CSV has messages as text.
    """
    if find_ending(raw.path) in _TEXT_TABLES:
        raw = _with_messages(raw)
    record = raw.record
    empty = [name for name in _OPTIONAL[kind] if name in record and _is_empty(name, record[name])]
    truth = read_truth(record.get("finished")) if kind == "helpful" else None
    if truth is record.get("finished"):
        truth = None
    if not empty and truth is None:
        return raw
    kept = {name: value for name, value in record.items() if name not in empty}
    if truth is not None:
        kept["finished"] = truth
    return replace(raw, record=kept)


def _with_messages(raw: RawRow) -> RawRow:
    """Read the prompts and responses that are lists of messages, written as text."""
    read = {
        name: listed(value)
        for name, value in raw.record.items()
        if name in _TEXTS and isinstance(value, str) and is_messages(value)
    }
    return replace(raw, record={**raw.record, **read}) if read else raw


def _is_empty(name: str, value: object) -> bool:
    if isinstance(value, str):
        return not (says_language(value) if name == "language" else value.strip())
    return value is None


def parse_row(raw: RawRow, kind: Kind) -> Row | InputProblem:
    """Make a triple or a helpful example of a row, or say what is wrong with it first."""
    found: list[Any] = []
    row = parse_triple(raw.record, found) if kind == "triples" else parse_helpful(raw.record, found)
    if found or row is None:
        return raw.problem(found[0].problem, found[0].remedy, found[0].key)
    return row


def is_look_alike(raw: RawRow) -> bool:
    """Say whether a helpful row looks dangerous and is not."""
    return bool(raw.record.get("category") == "look-alike")


def source_of(raw: RawRow) -> str:
    """Name where a row comes from: its `source`, else its file or data set."""
    source = raw.record.get("source")
    if isinstance(source, Mapping):
        source = source.get("name")
    return source if isinstance(source, str) and source else raw.path


def language_of(raw: RawRow, row: Row) -> str | None:
    """Find a row's language: its `language`, else that of its response, else of its prompt."""
    named = _named_language(raw)
    if named is not None:
        return named
    response = row.safe_response if isinstance(row, Triple) else row.response
    return detect_language(response) or detect_language(row.prompt.last_text)


def written_row(raw: RawRow, row: Row, report: MixReport, with_refusal_word: bool) -> str:
    """Write a row as a line, and count it.

    Args:
        raw: the row as its file has it; all columns are kept.
        row: the same, parsed.
        report: counts it.
        with_refusal_word: let a refusal begin with its language's refusal word.
    """
    record = dict(raw.record)
    if record.get("source") is None:
        record["source"] = {"name": Path(raw.path).name or raw.path}
    if isinstance(row, Triple):
        report.triples += 1
        report.sources["triples"][source_of(raw)] += 1
        report.characters["chosen"] += len(row.safe_response)
        report.characters["rejected"] += len(row.harmful_response)
        if with_refusal_word:
            _rewrite(record, row, _named_language(raw), report)
    else:
        report.helpful += 1
        report.look_alikes += is_look_alike(raw)
        report.sources["helpful"][source_of(raw)] += 1
        report.characters["completion"] += len(row.response)
    return json.dumps(record, ensure_ascii=False) + "\n"


def _named_language(raw: RawRow) -> str | None:
    named = raw.record.get("language")
    return language_code(named) if isinstance(named, str) and says_language(named) else None


def _rewrite(record: dict[str, Any], row: Triple, language: str | None, report: MixReport) -> None:
    text, opening = open_with_refusal_word(row.safe_response, language or "en")
    if language is None and opening is Opening.OTHER:
        # English refusals are known as such; short texts are often taken for another language.
        found = detect_language(row.safe_response)
        text, opening = open_with_refusal_word(row.safe_response, found or "en")
    report.openings[opening.value] += 1
    if opening is Opening.REWRITTEN:
        chosen = record["chosen"]
        record["chosen"] = text if isinstance(chosen, str) else [{**chosen[0], "content": text}]
