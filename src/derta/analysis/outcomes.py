"""One response to one sample of one scenario with its verdict, and the file that keeps them.

Covered: reading and writing JSONL; files of before a field was added are read, too. Not covered:
where outcomes come from (`derta.evaluate`), and what is counted in them (`derta.analysis.shares`,
`derta.analysis.analyse`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from derta.analysis.records import read_rows, write_rows

__all__ = ["ERROR", "Outcome", "read_outcomes", "sample_id", "write_outcomes"]

ERROR = "ERROR"
"""In the place of a verdict: the attack or the judge failed, so nothing is known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model answered, and what the judge said of it."""

    model: str
    scenario: str
    cell: str
    """The setting within the scenario ("k=20", "list", "French"); empty where there is one."""
    question_id: str
    category: str
    """`harmful`, `ordinary` or `look-alike`."""
    question: str
    prompt: str
    """The text of the last turn that the model was given."""
    prefilled: str
    """What the model was made to have said already."""
    response: str
    """The newly generated text alone."""
    truncated: bool
    """Whether generation stopped at the token limit."""
    verdict: str
    """A `derta.judges.verdicts.Verdict`, or ERROR."""
    reason: str
    refused: bool
    """Whether the whole response is a refusal (`derta.refusal`)."""
    score: float | None = None
    """The judge's scale, 0 to 1, where it has one."""
    details: dict[str, Any] | None = None
    """What only this scenario knows: calls and errors of a search, steps of fine-tuning."""
    refusal_start: int | None = None
    """Characters of `response` before the first refusal; None: there is none. The response as a
    whole need not be a refusal: it may go on to comply."""
    words_before_refusal: int | None = None
    """Words of `response` before it, of whatever kind; a word that it breaks off counts."""
    tokens_before_refusal: int | None = None
    """Tokens of `response` that end before it; None also behind a provider, whose tokens aren't
    known."""
    exposed_words: int | None = None
    """Words of substance (`derta.judges.offline`) before the first refusal, in all of `response`
    where there is none. None: a harmless question, an error, or a language that isn't read."""


def sample_id(scenario: str, cell: str, question_id: str) -> str:
    """Name a sample as an evaluation's logs do: "prefill/k=20/q7"; without a cell, "direct/q7"."""
    return "/".join(part for part in (scenario, cell, question_id) if part)


def write_outcomes(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write outcomes as JSONL; the file is complete or, after a crash, as it was before."""
    write_rows(path, outcomes)


def read_outcomes(path: Path) -> list[Outcome]:
    """Read outcomes.

    Raises:
        DataError: the file is missing or lines can't be used; all of them are listed.
    """
    return read_rows(path, _outcome, "an outcome")


def _outcome(row: dict[str, Any]) -> Outcome:
    return Outcome(
        **{
            field.name: row[field.name]
            for field in fields(Outcome)
            # What has a default may be missing: the file is older than the field.
            if field.name in row or field.default is MISSING
        }
    )
