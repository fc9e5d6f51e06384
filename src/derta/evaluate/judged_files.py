"""Responses that exist already, made by any system: read, and written with their verdicts.

Columns are recognised by names in common use, or mapped by the user. Covered: JSONL, a JSON list,
CSV and Parquet in; JSONL and CSV out, with texts masked and all other columns kept, over nothing
but an earlier copy; counts by model and scenario, and the agreement with labels where there are
any. Not covered: conversations of several turns.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from derta.analysis.intervals import wilson
from derta.analysis.outcomes import ERROR
from derta.data.tables import Table, TableRow, choose_columns, read_table
from derta.errors import DataError, InputProblem
from derta.files import csv_text, plain_cell, utf8_text, write_atomically
from derta.judges.verdicts import LABELS, Judgement, Verdict
from derta.terminal import mask

__all__ = [
    "Response",
    "find_responses",
    "judge_summary",
    "read_responses",
    "require_copy_path",
    "write_judged",
]


@dataclass(frozen=True, slots=True)
class Response:
    """A response to be judged, and what is known of how it came about."""

    question: str
    """In plain words; empty: the prompt stands for it."""
    prompt: str
    """What the model was given; empty: the question."""
    prefilled: str
    """What the model was made to have said already."""
    response: str
    """The newly generated text."""
    truncated: bool
    """Whether generation stopped at the token limit."""
    scenario: str = ""
    model: str = ""
    label: str | None = None
    """UNSAFE or SAFE, where somebody has judged it before."""
    id: str = ""
    others: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What else the row of a file had: column -> value. No judge reads it."""


COLUMNS: dict[str, tuple[str, ...]] = {
    "question": ("question", "goal", "behavior", "behaviour", "forbidden_prompt", "query"),
    "prompt": ("prompt", "instruction", "input", "test_case", "attack_prompt"),
    "response": ("response", "output", "completion", "generation", "answer", "model_output"),
    "prefilled": ("prefilled", "prefill", "prefix"),
    "truncated": ("truncated", "cut"),
    "scenario": ("scenario", "attack", "method"),
    "model": ("model", "model_name", "target_model"),
    "label": ("label", "verdict", "human", "human_label", "judgement", "judgment"),
    "id": ("id", "question_id", "sample_id"),
}
"""Field -> the column names that stand for it; the first that a file has is taken."""

_NEEDED: dict[tuple[str, ...], str] = {
    ("response",): "no column holds the response",
    ("question", "prompt"): "no column holds the question or prompt",
}
_COPY_COLUMNS = (
    *("id", "model", "scenario", "question", "prompt", "prefilled", "response", "truncated"),
    *("label", "verdict", "reason", "score", "refusal_start", "words_before_refusal"),
    "substance_words",
)
"""Of a judged copy, in this order; the file's own other columns follow."""
_GIVEN = "given_"
"""Stands before the name of a column that has one of these names and another meaning."""
_WORD = re.compile(r"[A-Za-z0-9_.:/-]{0,40}")
"""An id, a number, a tag: too short to hold anything harmful."""
_LONGEST_FIRST_LINE = 16 << 20  # characters
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def read_responses(path: Path, columns: Mapping[str, str] | None = None) -> list[Response]:
    """Read responses to be judged.

    Args:
        path: a .jsonl, .json, .csv, .tsv or .parquet file.
        columns: field -> column, for those that are called otherwise (`COLUMNS`).

    Raises:
        DataError: the file can't be read, a column isn't there, or rows can't be used.
    """
    return find_responses(read_table(path), columns)


def find_responses(table: Table, columns: Mapping[str, str] | None = None) -> list[Response]:
    """Find the responses in a table, one a row.

    Args:
        table: the rows of a file.
        columns: field -> column, for those that are called otherwise (`COLUMNS`).

    Raises:
        DataError: a column isn't there, or rows can't be used.
    """
    chosen = choose_columns(table, COLUMNS, columns or {}, _NEEDED)
    rows: list[Response] = []
    problems: list[InputProblem] = []
    for row in table.rows:
        _read_row(row, table, chosen, rows, problems)
    if problems:
        raise DataError(problems)
    if not rows:
        raise DataError(
            [InputProblem(table.path, "there are no responses", "Write one object a line")]
        )
    return rows


def _read_row(
    row: TableRow,
    table: Table,
    columns: Mapping[str, str],
    rows: list[Response],
    problems: list[InputProblem],
) -> None:
    path, found = table.path, len(problems)
    values: dict[str, str] = {}
    for name, column in columns.items():
        value = row.record.get(column)
        if isinstance(value, (dict, list)):
            problems.append(row.problem(path, "this is no text", "Write a string", column))
        text = "" if value is None else str(value)
        values[name] = plain_cell(text) if table.is_spreadsheet else text
    if row.record.get(columns["response"]) is None:
        remedy = 'Write "" for an empty response, or leave the line out'
        problems.append(row.problem(path, "there is no response", remedy, columns["response"]))
    if not (values.get("question", "").strip() or values.get("prompt", "").strip()):
        remedy = "Say what was asked: a response can't be judged without it"
        problems.append(row.problem(path, "there is no question or prompt", remedy))
    truncated = values.get("truncated", "").strip().lower()
    if truncated not in _FLAGS:
        remedy = "Write true or false"
        problems.append(row.problem(path, f"{truncated!r}", remedy, columns["truncated"]))
    label = values.get("label", "").strip().lower()
    if label and label not in LABELS:
        remedy = "Write UNSAFE or SAFE, or leave it empty"
        problems.append(row.problem(path, f"the label is {label!r}", remedy, columns["label"]))
    if len(problems) > found:
        return
    texts = ("question", "prompt", "prefilled", "response", "scenario", "model", "id")
    understood = set(columns.values())
    rows.append(
        Response(
            **{name: values.get(name, "") for name in texts},
            truncated=_FLAGS[truncated],
            label=str(LABELS[label]) if label else None,
            others={
                name: plain_cell(each) if table.is_spreadsheet and isinstance(each, str) else each
                for name, each in row.record.items()
                if name not in understood
            },
        )
    )


def require_copy_path(path: Path, source: Path) -> None:
    """Make sure that a judged copy at `path` overwrites nothing but an earlier copy.

    Args:
        path: where the copy is to be written.
        source: the file with the responses.

    Raises:
        DataError: it would overwrite the source, by a link say, or a file that is no judged copy.
    """
    if not path.exists():
        return
    problem = None
    if source.exists() and path.samefile(source):
        problem = "the copy would overwrite the responses that are judged"
    elif path.is_dir():
        problem = "this is a folder"
    elif not _is_copy(path):
        problem = "there is a file already that is no judged copy"
    if problem is not None:
        raise DataError.of(path, problem, "Name another file with -o")


def _is_copy(path: Path) -> bool:
    """Say whether a file's first line is that of a judged copy; an empty file loses nothing."""
    if not path.is_file():  # /dev/stdout, say
        return False
    try:
        with path.open(encoding="utf-8", newline="") as file:
            line = file.readline(_LONGEST_FIRST_LINE)
        if not line:
            return True
        is_table = path.suffix.lower() == ".csv"
        found: Any = next(csv.reader([line])) if is_table else json.loads(line)
    except (ValueError, RecursionError, csv.Error):
        return False
    return isinstance(found, dict | list) and tuple(found)[: len(_COPY_COLUMNS)] == _COPY_COLUMNS


def write_judged(
    path: Path,
    rows: Sequence[Response],
    judgements: Sequence[Judgement | str],
    *,
    reveal: bool = False,
) -> None:
    """Write responses with their verdicts, as CSV or else as JSONL; only the owner can read it.

    Args:
        path: ends in .csv, or in anything else for JSONL.
        rows: in the order of `judgements`.
        judgements: a judgement, or why there is none.
        reveal: write the texts as they are; otherwise they are masked, and so is whatever else
            the rows have (`Response.others`), but for numbers, truth values and single words.
    """
    records = [
        {**_record(row, said, reveal), **_others(row, reveal)}
        for row, said in zip(rows, judgements, strict=True)
    ]
    if path.suffix.lower() == ".csv":
        columns = list(dict.fromkeys(name for record in records for name in record))
        text = csv_text([_cells(record) for record in records], columns)
    else:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_atomically(path, utf8_text(text))


def _others(row: Response, reveal: bool) -> dict[str, Any]:
    """Give the columns that aren't ours, so that none is lost and none is taken for ours."""
    shown = {name: each if reveal else _masked(each) for name, each in row.others.items()}
    own = {name: each for name, each in shown.items() if name not in _COPY_COLUMNS}
    # A copy that is judged again has verdicts of the one before beside its own.
    return own | {_GIVEN + name: shown[name] for name in _COPY_COLUMNS if name in shown}


def _masked(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) else mask(value)
    return mask(json.dumps(value, ensure_ascii=False))


def _cells(record: Mapping[str, Any]) -> dict[str, Any]:
    """Write lists and objects as JSON, as they stand in a JSONL file."""
    return {
        name: json.dumps(each, ensure_ascii=False) if isinstance(each, dict | list) else each
        for name, each in record.items()
    }


def _record(row: Response, judgement: Judgement | str, reveal: bool) -> dict[str, Any]:
    shown = (lambda text: text) if reveal else mask
    said = judgement if isinstance(judgement, Judgement) else None
    return {
        "id": row.id,
        "model": row.model,
        "scenario": row.scenario,
        "question": shown(row.question),
        "prompt": shown(row.prompt),
        "prefilled": shown(row.prefilled),
        "response": shown(row.response),
        "truncated": row.truncated,
        "label": row.label,
        "verdict": ERROR if said is None else str(said.verdict),
        "reason": judgement if isinstance(judgement, str) else judgement.reason,
        "score": said.score if said is not None else None,
        "refusal_start": said.refusal_start if said is not None else None,
        "words_before_refusal": said.words_before_refusal if said is not None else None,
        "substance_words": said.substance_words if said is not None else None,
    }


def judge_summary(
    rows: Sequence[Response], judgements: Sequence[Judgement | str]
) -> dict[str, Any]:
    """Count verdicts by model and scenario, and compare them with the labels.

    Returns:
        {"cells": [{"model", "scenario", "n", "safe", "unreadable", "errors", "unsafe"}, ...],
        "agreement": None or {"labelled", "unsafe_as_unsafe", "unsafe_as_safe", "safe_as_unsafe",
        "safe_as_safe", "without_verdict", "precision", "recall"}}. "unsafe", "precision" and
        "recall" are shares with Wilson intervals (`derta.analysis.intervals.wilson`); the share of
        unsafe ones is of those with a readable verdict.
    """
    verdicts = [str(said.verdict) if isinstance(said, Judgement) else ERROR for said in judgements]
    cells: dict[tuple[str, str], list[str]] = {}
    for row, verdict in zip(rows, verdicts, strict=True):
        cells.setdefault((row.model, row.scenario), []).append(verdict)
    return {
        "cells": [
            {
                "model": model,
                "scenario": scenario,
                "n": len(found),
                "safe": found.count(Verdict.SAFE),
                "unreadable": found.count(Verdict.UNREADABLE),
                "errors": found.count(ERROR),
                "unsafe": wilson(
                    found.count(Verdict.UNSAFE),
                    found.count(Verdict.UNSAFE) + found.count(Verdict.SAFE),
                ),
            }
            for (model, scenario), found in cells.items()
        ],
        "agreement": _agreement([row.label for row in rows], verdicts),
    }


def _agreement(labels: Sequence[str | None], verdicts: Sequence[str]) -> dict[str, Any] | None:
    pairs = [(a, b) for a, b in zip(labels, verdicts, strict=True) if a is not None]
    if not pairs:
        return None
    hits, misses = pairs.count(("UNSAFE", "UNSAFE")), pairs.count(("UNSAFE", "SAFE"))
    alarms, passed = pairs.count(("SAFE", "UNSAFE")), pairs.count(("SAFE", "SAFE"))
    return {
        "labelled": len(pairs),
        "unsafe_as_unsafe": hits,
        "unsafe_as_safe": misses,
        "safe_as_unsafe": alarms,
        "safe_as_safe": passed,
        "without_verdict": len(pairs) - hits - misses - alarms - passed,
        "precision": wilson(hits, hits + alarms),
        # What the judge can't read it has not recognised either.
        "recall": wilson(hits, sum(label == "UNSAFE" for label, _ in pairs)),
    }
