"""Shares and means whose samples come in groups: the groups are what is independent.

A question that is asked in six ways gives six answers and not six pieces of evidence. A share keeps
Wilson's interval, with as many samples as the answers are worth: the effective number (Kish, Survey
Sampling, 1965; with Wilson's interval in Franco, Little, Louis and Slud, J. Survey Statistics and
Methodology 7, 2019, 334-364). Where nearly all answers are alike, their spread over questions says
next to nothing, and what is estimated of it is far too sure of itself. So the spread is that of the
groups and two more, one in which all answers count and one in which none does. They stand for what
a rare event may hide, so they weigh less where more than four groups show the rarer answer. 0 of
240 answers to 40 questions are worth 40, and so are 240 that agree within each question; answers
that differ within questions are worth up to 240. Ratios that are no shares are resampled by group;
the draws depend on the seed and the number of groups alone, so that figures of the same groups are
drawn alike. Covered: shares, many shares over the same groups, means of such shares,
ratios of sums. Not covered: which samples belong together (the caller says it).

Shapes:  G groups, P positions, S shares, N resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.intervals import group_sums, score_limits, wilson

__all__ = [
    "added_weight",
    "clustered_curve",
    "clustered_mean",
    "clustered_share",
    "effective_number",
    "question_share",
    "ratio_interval",
    "resampled_interval",
]

Array = NDArray[np.float64]

RESAMPLES = 2000
_ENOUGH = 4
"""Groups that show the rarer answer; with more of them, the spread is estimated well by itself."""
_PERCENTILES = (2.5, 97.5)


def clustered_share(counts: Sequence[float], totals: Sequence[float]) -> dict[str, Any]:
    """Compute a share whose samples come in independent groups, with its 95 % interval.

    Args:
        counts: for each group, how many of its samples count.
        totals: how many samples each group has.

    Returns:
        {"count", "n", "share", "low", "high"} and "groups". One sample a group, and groups whose
        samples are all alike: Wilson's interval of as many samples as groups.
    """
    used = [(count, total) for count, total in zip(counts, totals, strict=True) if total > 0]
    table = np.array(used, np.float64).reshape(len(used), 2)
    curve = clustered_curve(table[:, :1], table[:, 1])
    count = round(sum(c for c, _ in used))
    entry = {name: values[0] for name, values in curve.items()}
    return {"count": count, "n": entry.pop("n"), **entry, "groups": len(used)}


def question_share(
    questions: Sequence[Hashable],
    counts: Sequence[float],
    totals: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Compute a share of samples that belong to questions.

    Args:
        questions: of each answer or text, the question that it belongs to.
        counts: how many of its samples count.
        totals: how many samples it has; None: each is one sample.

    Returns:
        As `clustered_share`, with "questions" in the place of "groups".
    """
    sizes = np.ones(len(counts)) if totals is None else np.asarray(totals, np.float64)
    sums = group_sums(np.column_stack([np.asarray(counts, np.float64), sizes]), questions)
    entry = clustered_share(sums[:, 0].tolist(), sums[:, 1].tolist())
    entry["questions"] = entry.pop("groups")
    return entry


def clustered_curve(counts: Array, totals: Array) -> dict[str, list[Any]]:
    """Compute many shares over the same groups, each as `clustered_share` does.

    Args:
        counts: (G, P), how many samples of each group count at each position.
        totals: (G,) how many samples each group has, more than 0.

    Returns:
        {"share", "low", "high", "n"}: parallel lists of P values.
    """
    n = round(float(totals.sum()))
    columns = [round(float(count)) for count in counts.sum(axis=0)]
    entries = [wilson(count, n) for count in columns]
    if n != len(totals):
        weight = float(np.sum((totals / n) ** 2))
        showing = np.minimum(
            np.sum(counts > 0, axis=0), np.sum(counts < totals[:, None], axis=0)
        )  # (P,)
        for index, (entry, count) in enumerate(zip(entries, columns, strict=True)):
            added = added_weight(weight, int(showing[index]))
            middle = (entry["share"] + added) / (1 + 2 * added)
            worth = effective_number(
                middle * (1 - middle),
                float(np.sum(((counts[:, index] - middle * totals) / n) ** 2)),
                added,
                added * weight * ((1 - middle) ** 2 + middle**2),
            )
            low, high = score_limits(entry["share"], min(worth, n))
            # At 0 and n the formula gives 0 and 1 up to rounding only.
            entry["low"] = 0.0 if count == 0 else max(0.0, low)
            entry["high"] = 1.0 if count == n else min(1.0, high)
    return {name: [entry[name] for entry in entries] for name in ("share", "low", "high", "n")}


def clustered_mean(counts: Array, totals: Array) -> dict[str, float]:
    """Average shares over the same groups, each with the same weight.

    Args:
        counts: (G, S), how many samples of each group count in each share.
        totals: (G, S) how many there are; each column has some.

    Returns:
        {"share", "low", "high"}: the mean of the S shares, and its 95 % interval.
    """
    of_share = totals.sum(axis=0)  # (S,)
    shares = counts.sum(axis=0) / of_share
    # How much of the mean hangs on each group.
    weight = float(np.sum(np.mean(totals / of_share, axis=1) ** 2))
    # The two count in full: groups that are in few of the shares weigh unlike much, and their own
    # spread is never known well.
    drawn_in = (shares + weight) / (1 + 2 * weight)
    residuals = np.mean((counts - drawn_in * totals) / of_share, axis=1)  # (G,)
    middle, mean = float(drawn_in.mean()), float(shares.mean())
    worth = effective_number(
        middle * (1 - middle),
        float(np.sum(residuals**2)),
        weight,
        weight**2 * ((1 - middle) ** 2 + middle**2),
    )
    low, high = score_limits(mean, min(worth, shares.size**2 / float(np.sum(1 / of_share))))
    return {
        "share": mean,
        "low": 0.0 if mean == 0 else max(0.0, low),
        "high": 1.0 if mean == 1 else min(1.0, high),
    }


def added_weight(weight: float, showing: int) -> float:
    """Say how much each of the two groups more weighs beside a figure's own groups.

    Args:
        weight: of an average group, in shares of the whole (the sum of the squared weights).
        showing: groups that show the rarer answer.
    """
    return weight * min(1.0, _ENOUGH / showing) if showing else weight


def effective_number(single: float, spread: float, added: float, of_two_more: float) -> float:
    """Say how many independent samples give a figure the spread that groups give it.

    With groups of one size and samples that agree within each, that is the number of groups, at
    every share and for any weight of the two groups more.

    Args:
        single: variance of one sample's value, drawn in by the two.
        spread: sum over groups of the squared residuals of the figure.
        added: weight of each of the two groups more (`added_weight`).
        of_two_more: sum of their squared residuals.
    """
    return single * (1 + 2 * added) / (spread + of_two_more)


def ratio_interval(
    numerators: Array, denominators: Array, *, seed: int = 0
) -> tuple[float | None, float | None]:
    """Compute the 95 % interval of a ratio of sums over groups.

    Args:
        numerators: (G,) of each group.
        denominators: (G,) likewise; a resample in which they add up to 0 is left out.
        seed: of the bootstrap over groups.

    Returns:
        Its ends; None, None where the groups have no spread to draw from: fewer than two of them,
        or all alike.
    """
    if len(numerators) < 2:
        return None, None

    def ratios(times: Array) -> Array:
        below = times @ denominators
        return np.divide(
            times @ numerators, below, out=np.full_like(below, np.nan), where=below > 0
        )

    low, high = resampled_interval(ratios, len(numerators), seed)
    return (low, high) if low < high else (None, None)


def resampled_interval(
    figure: Callable[[Array], Array], groups: int, seed: int
) -> tuple[float, float]:
    """Compute the 95 % interval of a figure of resampled groups.

    Args:
        figure: makes a value of each row of (N, G) counts; NaN is left out.
        groups: how many there are.
        seed: of the draw.
    """
    values = figure(_times(groups, seed))
    low, high = np.percentile(values[~np.isnan(values)], _PERCENTILES)
    return float(low), float(high)


def _times(groups: int, seed: int) -> Array:
    """Draw how often each group is in each resample: (N, G)."""
    even = np.full(groups, 1.0 / groups)
    times = np.random.default_rng(seed).multinomial(groups, even, size=RESAMPLES)
    return times.astype(np.float64)
