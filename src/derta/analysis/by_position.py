"""The refusal token along held-out texts: its probability and its rank at every position.

Every model reads the same harmful and benign responses; nothing is generated. Position t is the
context of t tokens of the response, t = 0 .. S. A curve ends where fewer than `minimum` texts reach
(`derta.analysis.shares.CURVE_MINIMUM`), and says what it leaves out. Covered: curves of one model.
Not covered: how probabilities come about (`derta.analysis.token_reading`).

Shapes:  R texts, S tokens of a text, P positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.intervals import position_curve
from derta.analysis.readings import Reading
from derta.analysis.selection import long_enough

__all__ = ["left_out", "mean_curve", "probability_curve", "rank_curve"]


def probability_curve(
    readings: Sequence[Reading], *, minimum: int, seed: int = 0
) -> dict[str, Any]:
    """Average P(refusal token) by position.

    Args:
        readings: of one model and source.
        minimum: texts that a position needs.
        seed: of the bootstrap over questions.

    Returns:
        As `mean_curve`.
    """
    return mean_curve(
        readings, [each.refusal_probability for each in readings], minimum=minimum, seed=seed
    )


def mean_curve(
    readings: Sequence[Reading],
    values: Sequence[NDArray[np.float32]],
    *,
    minimum: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Average something by position, with an interval over questions.

    Args:
        readings: R texts.
        values: of each text, at positions 0, 1, 2, ...
        minimum: texts that a position needs.
        seed: of the bootstrap over questions.

    Returns:
        As `derta.analysis.intervals.position_curve`, with "left_out": {"from", "to"}, the first and
        the last position that too few texts reach, or None.
    """
    end = long_enough(values, minimum)
    curve: dict[str, Any] = position_curve(
        [np.asarray(value[:end], np.float64) for value in values],
        groups=[each.question_id for each in readings],
        seed=seed,
    )
    return {**curve, "left_out": left_out(values, end)}


def rank_curve(readings: Sequence[Reading], *, minimum: int) -> dict[str, Any]:
    """Say which rank the refusal token has by position; 1 is the model's first choice.

    Returns:
        {"position", "median", "lower_quartile", "upper_quartile", "first", "n"}: parallel lists;
        "first" is the share of texts in which it is the first choice, n the texts that reach the
        position; and "left_out" as in `mean_curve`.
    """
    ranks = [each.refusal_rank for each in readings]
    end = long_enough(ranks, minimum)
    found: dict[str, Any] = {
        name: []
        for name in ("position", "median", "lower_quartile", "upper_quartile", "first", "n")
    }
    for position in range(end):
        here = np.array([rank[position] for rank in ranks if len(rank) > position], np.float64)
        lower, median, upper = np.percentile(here, (25, 50, 75))
        values = (position, median, lower, upper, np.mean(here == 1), len(here))
        for name, value in zip(found, values, strict=True):
            found[name].append(value if isinstance(value, int) else float(value))
    return {**found, "left_out": left_out(ranks, end)}


def left_out(values: Sequence[NDArray[Any]], end: int) -> dict[str, int] | None:
    """Name the positions from `end` on that some text reaches; None: there are none."""
    longest = max((len(value) for value in values), default=0)
    return {"from": end, "to": longest - 1} if longest > end else None
