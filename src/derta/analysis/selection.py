"""Which outcomes and token readings a figure is made of.

Covered: the choices that several figures share. Not covered: the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.outcomes import ERROR, Outcome
from derta.analysis.readings import Reading
from derta.analysis.shares import HARMFUL

__all__ = [
    "CHANGED_WEIGHTS",
    "PREFILLED",
    "generation_limits",
    "harmful_answers",
    "long_enough",
    "of_source",
    "prefill_depth",
    "prefilled_answers",
]

CHANGED_WEIGHTS = frozenset({"fine_tuning"})
"""Scenarios that ask a trained copy: what it says is not pooled with the model's own answers."""

PREFILLED = ("prefill", "long_prefill")
"""Scenarios that put the first k tokens of a harmful response into the model's mouth."""


def harmful_answers(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Choose the model's own answers to harmful questions: no errors, no trained copies."""
    return [
        outcome
        for outcome in outcomes
        if outcome.category == HARMFUL
        and outcome.verdict != ERROR
        and outcome.scenario not in CHANGED_WEIGHTS
    ]


def prefilled_answers(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Choose the outcomes with harmful questions that have a prefilled depth, errors included."""
    return [
        outcome
        for outcome in outcomes
        if outcome.category == HARMFUL
        and outcome.scenario in PREFILLED
        and prefill_depth(outcome) is not None
    ]


def prefill_depth(outcome: Outcome) -> int | None:
    """Read the prefilled tokens from a cell named "k=20"; None: it is named otherwise."""
    name, _, depth = outcome.cell.partition("=")
    return int(depth) if name == "k" and depth.isdecimal() else None


def generation_limits(evaluation: Mapping[str, Any] | None) -> dict[str, int]:
    """Read how many new tokens an answer of the prefilled scenarios has at most.

    Args:
        evaluation: the content of evaluation.json; None: nothing is known.

    Returns:
        By scenario; one whose limit isn't known is left out.
    """
    settings = (evaluation or {}).get("settings") or {}
    limits = {}
    for scenario in PREFILLED:
        section = settings.get(scenario) or {}
        limit = section.get("max_tokens") or settings.get("max_tokens")
        if limit is not None:
            limits[scenario] = int(limit)
    return limits


def of_source(readings: Iterable[Reading], source: str) -> list[Reading]:
    """Choose the readings of held-out harmful or benign texts."""
    return [reading for reading in readings if reading.source == source]


def long_enough(values: Sequence[NDArray[Any]], minimum: int) -> int:
    """Count the positions that at least `minimum` texts reach.

    Args:
        values: of each text, a value at every position.
        minimum: texts, at least 1.
    """
    lengths = np.sort([len(value) for value in values])[::-1]
    return int(lengths[minimum - 1]) if 1 <= minimum <= len(lengths) else 0
