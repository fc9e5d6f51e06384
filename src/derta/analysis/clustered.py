"""Shares and means whose samples come in groups: the groups are what is independent.

A question that is asked in six ways gives six answers and not six pieces of evidence, so whole
questions are resampled. The draws depend on the seed and the number of groups alone: figures of the
same groups are drawn alike, one by one or many at once. Covered: shares, many shares over the same
groups, ratios of sums. Not covered: which samples belong together (the caller says it).

Shapes:  G groups, P positions, N resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.intervals import group_sums, wilson

__all__ = [
    "clustered_curve",
    "clustered_share",
    "question_share",
    "ratio_interval",
    "resampled_interval",
]

Array = NDArray[np.float64]

RESAMPLES = 2000
_PERCENTILES = (2.5, 97.5)


def clustered_share(
    counts: Sequence[float], totals: Sequence[float], *, seed: int = 0
) -> dict[str, Any]:
    """Compute a share whose samples come in independent groups, with its 95 % interval.

    Args:
        counts: for each group, how many of its samples count.
        totals: how many samples each group has.
        seed: of the bootstrap over groups.

    Returns:
        {"count", "n", "share", "low", "high"} and "groups". One sample a group: Wilson's interval.
        All groups alike (0 of 40, 40 of 40): Wilson's interval of as many samples as groups,
        because a bootstrap of what has no spread has no width.
    """
    used = [(count, total) for count, total in zip(counts, totals, strict=True) if total > 0]
    count, n = round(sum(c for c, _ in used)), round(sum(t for _, t in used))
    entry = {**wilson(count, n), "groups": len(used)}
    if n == len(used):
        return entry
    low, high = resampled_interval(
        lambda times: (
            (times @ np.array([c for c, _ in used])) / (times @ np.array([t for _, t in used]))
        ),
        len(used),
        seed,
    )
    if low == high:
        low, high = _alike(len(used), count, n, low, high)
    return {**entry, "low": low, "high": high}


def question_share(
    questions: Sequence[Hashable],
    counts: Sequence[float],
    totals: Sequence[float] | None = None,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute a share of samples that belong to questions.

    Args:
        questions: of each answer or text, the question that it belongs to.
        counts: how many of its samples count.
        totals: how many samples it has; None: each is one sample.
        seed: of the bootstrap over questions.

    Returns:
        As `clustered_share`, with "questions" in the place of "groups".
    """
    sizes = np.ones(len(counts)) if totals is None else np.asarray(totals, np.float64)
    sums = group_sums(np.column_stack([np.asarray(counts, np.float64), sizes]), questions)
    entry = clustered_share(sums[:, 0].tolist(), sums[:, 1].tolist(), seed=seed)
    entry["questions"] = entry.pop("groups")
    return entry


def clustered_curve(counts: Array, totals: Array, *, seed: int = 0) -> dict[str, list[Any]]:
    """Compute many shares over the same groups, each as `clustered_share` does.

    Args:
        counts: (G, P), how many samples of each group count at each position.
        totals: (G,) how many samples each group has, more than 0.
        seed: of the bootstrap over groups.

    Returns:
        {"share", "low", "high", "n"}: parallel lists of P values.
    """
    groups, n = len(totals), round(float(totals.sum()))
    columns = [round(float(count)) for count in counts.sum(axis=0)]
    entries = [wilson(count, n) for count in columns]
    if groups and n != groups and columns:
        times = _times(groups, seed)
        shares = (times @ counts) / (times @ totals)[:, None]  # (N, P)
        lows, highs = np.percentile(shares, _PERCENTILES, axis=0)
        for entry, count, low, high in zip(entries, columns, lows, highs, strict=True):
            ends = float(low), float(high)
            if low == high:
                ends = _alike(groups, count, n, *ends)
            entry["low"], entry["high"] = ends
    return {name: [entry[name] for entry in entries] for name in ("share", "low", "high", "n")}


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


def _alike(groups: int, count: int, n: int, low: float, high: float) -> tuple[float, float]:
    """Widen the interval of groups that are all alike to that of as many single samples."""
    single = wilson(round(groups * count / n), groups)
    return min(low, single["low"]), max(high, single["high"])
