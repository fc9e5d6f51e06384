"""Shares, curves and areas with their 95 % intervals.

Shares get Wilson intervals. Everything measured at token positions is resampled by *response*:
positions of one response are not independent, so a bootstrap over positions would be far too
sure of itself. Covered: numpy arrays in, plain JSON-ready values out; the same seed gives the
same interval. Not covered: comparing more than two models, corrections for many comparisons.

Shapes:  R responses, P positions, N resamples.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "bootstrap_auc",
    "group_sums",
    "paired_bootstrap_difference",
    "position_curve",
    "score_limits",
    "wilson",
]

Array = NDArray[np.float64]

RESAMPLES = 1000
_Z_95 = 1.959963984540054
_PERCENTILES = (2.5, 97.5)


def wilson(count: int, n: int) -> dict[str, Any]:
    """Compute a share with its Wilson 95 % score interval.

    Returns:
        {"count", "n", "share", "low", "high"}; the last three are None where n is 0.

    Raises:
        ValueError: count is negative or larger than n.
    """
    if not 0 <= count <= n:
        raise ValueError(f"a share of {count} out of {n} does not exist")
    if n == 0:
        return {"count": 0, "n": 0, "share": None, "low": None, "high": None}
    share = count / n
    low, high = score_limits(share, n)
    # At 0 and n the formula gives 0 and 1 up to rounding, which must not leave the unit interval.
    low = 0.0 if count == 0 else max(0.0, low)
    high = 1.0 if count == n else min(1.0, high)
    return {"count": count, "n": n, "share": share, "low": low, "high": high}


def score_limits(share: float, n: float) -> tuple[float, float]:
    """Compute Wilson's 95 % limits, for shares and n that need not be whole numbers."""
    spread = _Z_95**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = _Z_95 / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return middle - half, middle + half


def bootstrap_auc(
    harmful: Sequence[Array],
    benign: Sequence[Array],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Compute the area under the ROC curve of harmful against benign positions.

    The positions of all responses are pooled. The interval resamples responses of both sides; it
    is exact and fast, because wins between positions are counted once for each pair of responses.

    Args:
        harmful: a score for each position of each harmful response.
        benign: the same for benign responses.
        seed: of the bootstrap.
        resamples: N.

    Returns:
        The "auc" part of results.json; the numbers are None where a side has no positions, and the
        interval's ends where all resamples give the same: there is no spread to draw from.
    """
    harmful = [x for x in harmful if len(x)]
    benign = [x for x in benign if len(x)]
    counts: dict[str, Any] = {
        "harmful_positions": sum(map(len, harmful)),
        "benign_positions": sum(map(len, benign)),
        "harmful_responses": len(harmful),
        "benign_responses": len(benign),
    }
    if not harmful or not benign:
        return {"value": None, "low": None, "high": None, **counts}
    wins = _wins(harmful, benign)  # (R harmful, R benign)
    lengths_harmful = np.array([len(x) for x in harmful], dtype=np.float64)
    lengths_benign = np.array([len(x) for x in benign], dtype=np.float64)
    generator = np.random.default_rng(seed)
    times_harmful = _draw(generator, len(harmful), resamples)  # (N, R harmful)
    times_benign = _draw(generator, len(benign), resamples)
    won = ((times_harmful @ wins) * times_benign).sum(axis=1)
    pairs = (times_harmful @ lengths_harmful) * (times_benign @ lengths_benign)
    low, high = np.percentile(won / pairs, _PERCENTILES)
    value = wins.sum() / (lengths_harmful.sum() * lengths_benign.sum())
    ends = {"low": float(low), "high": float(high)} if low < high else {"low": None, "high": None}
    return {"value": float(value), **ends, **counts}


def position_curve(
    values: Sequence[Array],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, list[Any]]:
    """Average values by position, with a percentile bootstrap interval over responses.

    Args:
        values: for each response, a value at positions 0, 1, 2, ...; responses differ in length.
        groups: of each response, what is resampled as a whole (its question); None: every
            response is a group of its own.
        seed: of the bootstrap.
        resamples: N.

    Returns:
        {"position", "mean", "low", "high", "n"}: parallel lists; n counts the responses that
        reach the position.
    """
    longest = max((len(x) for x in values), default=0)
    if longest == 0:
        return {"position": [], "mean": [], "low": [], "high": [], "n": []}
    table = np.zeros((len(values), longest))  # (R, P)
    present = np.zeros((len(values), longest))
    for row, value in enumerate(values):
        table[row, : len(value)] = value
        present[row, : len(value)] = 1
    counts = present.sum(axis=0)
    mean = table.sum(axis=0) / counts
    if groups is not None:
        table, present = group_sums(table, groups), group_sums(present, groups)
    times = _draw(np.random.default_rng(seed), len(table), resamples)  # (N, R)
    totals = times @ present  # (N, P)
    # A resample that misses every response of a late position says nothing about it.
    means = np.divide(times @ table, totals, out=np.full_like(totals, np.nan), where=totals > 0)
    low = np.empty(longest)
    high = np.empty(longest)
    for position in range(longest):
        column = means[:, position]
        known = column[~np.isnan(column)]
        ends = np.percentile(known, _PERCENTILES) if len(known) else (mean[position],) * 2
        low[position], high[position] = ends
    return {
        "position": list(range(longest)),
        "mean": mean.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "n": counts.astype(int).tolist(),
    }


def group_sums(table: Array, groups: Sequence[Hashable]) -> Array:
    """Add up the rows of a table that belong together.

    Args:
        table: (rows, columns).
        groups: of each row.

    Returns:
        (groups, columns), in the order in which the groups first appear.
    """
    number = {key: index for index, key in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(number), table.shape[1]))
    np.add.at(sums, np.array([number[key] for key in groups], np.intp), table)
    return sums


def paired_bootstrap_difference(
    losses: Sequence[Array],
    untouched_losses: Sequence[Array],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Compare the loss per token of two models on the same responses.

    Args:
        losses: nats at each token of each response.
        untouched_losses: the same of the untouched model, token by token.
        seed: of the bootstrap.
        resamples: N; both models see the same resampled responses.

    Returns:
        The "helpful_loss" part of results.json; the numbers are None where there are no tokens.

    Raises:
        ValueError: the two do not hold the same responses.
    """
    if [len(x) for x in losses] != [len(x) for x in untouched_losses]:
        raise ValueError("the two models' losses are not of the same responses")
    lengths = np.array([len(x) for x in losses], dtype=np.float64)
    tokens = int(lengths.sum())
    if tokens == 0:
        nothing = dict.fromkeys(("nats", "untouched_nats", "difference", "low", "high"))
        return {**nothing, "responses": len(losses), "tokens": 0}
    own = np.array([float(np.sum(x)) for x in losses])
    other = np.array([float(np.sum(x)) for x in untouched_losses])
    times = _draw(np.random.default_rng(seed), len(losses), resamples)
    drawn = times @ lengths
    differences = (times @ (own - other))[drawn > 0] / drawn[drawn > 0]
    low, high = np.percentile(differences, _PERCENTILES)
    return {
        "nats": float(own.sum() / tokens),
        "untouched_nats": float(other.sum() / tokens),
        "difference": float((own.sum() - other.sum()) / tokens),
        "low": float(low),
        "high": float(high),
        "responses": len(losses),
        "tokens": tokens,
    }


def _draw(generator: np.random.Generator, size: int, resamples: int) -> Array:
    """Draw how often each of `size` responses is in each resample: (N, R)."""
    even = np.full(size, 1.0 / size)
    return generator.multinomial(size, even, size=resamples).astype(np.float64)


def _wins(harmful: Sequence[Array], benign: Sequence[Array]) -> Array:
    """Count for each pair of responses the position pairs that harmful wins; ties are halves."""
    pooled = np.concatenate(harmful)
    starts = np.concatenate(([0], np.cumsum([len(x) for x in harmful])[:-1]))
    wins = np.empty((len(harmful), len(benign)))
    for column, scores in enumerate(benign):
        ordered = np.sort(scores)
        below = np.searchsorted(ordered, pooled, side="left")
        upto = np.searchsorted(ordered, pooled, side="right")
        wins[:, column] = np.add.reduceat((below + upto) / 2, starts)
    return wins
