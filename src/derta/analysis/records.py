"""One generated text and its verdict, as plain data, and the file that keeps them.

Covered: reading and writing JSONL. Not covered: where records come from (`derta.evaluate.run`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from derta.errors import DataError, InputProblem
from derta.files import write_atomically

__all__ = ["RefusalRecord", "Scenario", "read_records", "write_records"]

Scenario = Literal["prefill", "raw_text", "benign"]


@dataclass(frozen=True, slots=True)
class RefusalRecord:
    """One model's output on one sample of one scenario."""

    id: str
    """The sample set's id of the question."""
    scenario: Scenario
    k: int | None
    """Prefilled tokens of the harmful response; None outside the prefill scenario."""
    category: str
    """`harmful`, `ordinary` or `look-alike`."""
    prompt: str
    prefilled: str
    """The text of the prefilled tokens."""
    output: str
    """The newly generated text alone."""
    refused: bool
    reason: str
    """A `derta.refusal.RefusalReason`."""
    span: tuple[int, int] | None
    """The refusal sentence's characters in `output`."""
    words_before: int | None
    """Words of `output` before the refusal sentence."""


def write_records(path: Path, records: Iterable[RefusalRecord]) -> None:
    """Write records as JSONL; the file is complete or, after a crash, as it was before."""
    lines = [json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records]
    write_atomically(path, "".join(lines))


def read_records(path: Path) -> list[RefusalRecord]:
    """Read records.

    Raises:
        DataError: the file is missing or lines can't be used; all of them are listed.
    """
    remedy = "Delete the file and run the evaluation again"
    try:
        # Not splitlines(): model output may hold separators that only look like line ends.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError([InputProblem(str(path), f"can't be read ({error})", remedy)]) from error
    records = []
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            records.append(_record(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            problems.append(
                InputProblem(str(path), f"is not a record ({error})", remedy, line=number)
            )
    if problems:
        raise DataError(problems)
    return records


def _record(row: dict[str, Any]) -> RefusalRecord:
    values = {field.name: row[field.name] for field in fields(RefusalRecord)}
    if values["span"] is not None:
        values["span"] = tuple(values["span"])
    return RefusalRecord(**values)
