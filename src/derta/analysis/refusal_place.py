"""How far into a response refusals begin: at its start alone, or anywhere?

Counted are the refused answers to harmful questions, direct ones and attacks, and in them what the
model itself wrote before the refusal; prefilled text is not its own. A refusal with w words before
it begins at position w + 1. Source: the paper's table 1 (the share of refusals whose refusal word
is among the first five words) and its figure 4 (the share that comes after the 30th position).
Covered: words and tokens. Not covered: where a refusal is in a text (`derta.refusal`).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from derta.analysis.clustered import clustered_curve, question_share
from derta.analysis.intervals import group_sums
from derta.analysis.outcomes import Outcome
from derta.analysis.selection import harmful_answers
from derta.analysis.summary import EARLY_WORDS

__all__ = ["LATE", "refusal_places"]

LATE = 30
"""A refusal "after the 30th position" has so many words or tokens before it, or more."""


def refusal_places(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Compute where one model's refusals begin.

    Args:
        outcomes: of one model.

    Returns:
        {"words", "tokens"}; each {"n", "questions", "median", "within_first_5", "after_30",
        "cumulative"}, or None where no refused answer has a known position. "cumulative" has an
        entry for every position at which the share of refusals with at most so much before them
        changes, and for 0, 4 and 29.
    """
    refused = [outcome for outcome in harmful_answers(outcomes) if outcome.refused]
    places: dict[str, Any] = {}
    for unit in ("words", "tokens"):
        found = [
            (outcome.question_id, getattr(outcome, f"{unit}_before_refusal")) for outcome in refused
        ]
        known = [(question, before) for question, before in found if before is not None]
        places[unit] = _place([q for q, _ in known], [b for _, b in known]) if known else None
    return places


def _place(questions: Sequence[str], before: Sequence[int]) -> dict[str, Any]:
    early = question_share(questions, [b < EARLY_WORDS for b in before])
    positions = sorted({0, EARLY_WORDS - 1, LATE - 1, *before})
    reached = np.asarray(before)[:, None] <= np.asarray(positions)[None, :]
    counts = group_sums(reached.astype(np.float64), questions)
    totals = group_sums(np.ones((len(before), 1)), questions)[:, 0]
    curve = clustered_curve(counts, totals)
    return {
        "n": len(before),
        "questions": early["questions"],
        "median": float(statistics.median(before)),
        "within_first_5": early,
        "after_30": question_share(questions, [b >= LATE for b in before]),
        "cumulative": [
            {"position": position, **{name: values[index] for name, values in curve.items()}}
            for index, position in enumerate(positions)
        ],
    }
