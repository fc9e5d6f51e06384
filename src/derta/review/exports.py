"""Verdicts of people as a file, for others to read.

Covered: CSV, JSONL and a JSON list, one row a judgement, with texts masked unless they are asked
for; `read_verdicts` brings such a file, or another's, in again (`derta.review.imports`). Not
covered: figures (`derta.analysis.human_agreement`), the logs (`derta.review.log_scores`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from derta.analysis.human_verdicts import Judgement, Review, ReviewItem
from derta.files import csv_text, write_atomically
from derta.review.imports import read_verdicts
from derta.terminal import mask

__all__ = ["read_verdicts", "write_verdicts"]

_COLUMNS = (
    "item", "model", "scenario", "cell", "question_id", "question", "prompt", "response",
    "automatic", "reviewer", "verdict", "reason", "note", "seconds", "at", "source",
)  # fmt: skip


def write_verdicts(path: Path, review: Review, *, reveal: bool = False) -> int:
    """Write one row a judgement; only the owner can read the file.

    Args:
        path: ends in .csv, in .json for a list, or in anything else for JSONL.
        review: what is written.
        reveal: write questions, prompts, responses and notes as they are; otherwise they are
            masked.

    Returns:
        How many rows.
    """
    items = {item.id: item for item in review.items}
    shown: Callable[[str], str] = (lambda text: text) if reveal else mask
    rows = [_row(items[each.item], each, shown) for each in review.judgements if each.item in items]
    ending = path.suffix.lower()
    if ending == ".csv":
        write_atomically(path, csv_text(rows, _COLUMNS))
    elif ending == ".json":
        write_atomically(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    else:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        write_atomically(path, "".join(lines))
    return len(rows)


def _row(item: ReviewItem, judgement: Judgement, shown: Callable[[str], str]) -> dict[str, Any]:
    values = (
        item.id,
        item.model,
        item.scenario,
        item.cell,
        item.question_id,
        shown(item.question),
        shown(item.prompt),
        shown(item.response),
        item.automatic,
        judgement.reviewer,
        judgement.verdict.value,
        judgement.reason,
        shown(judgement.note),
        judgement.seconds,
        judgement.at,
        judgement.source,
    )
    return dict(zip(_COLUMNS, values, strict=True))
