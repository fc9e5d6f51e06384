"""Two models on the same questions: is one better, or is it chance?

The test is the exact McNemar test: only the pairs on which the models differ say anything, and
under the null hypothesis each of them is a fair coin. Where a question has several samples its
pairs are not independent, so the coin is flipped once a question (an exact sign-flip test); with
one sample a question that is McNemar's test to the digit. The interval of the difference is
Newcombe's method 10 (Statistics in Medicine 17, 1998, 2635-2650), with several samples a question
that of as many pairs as they are worth (`derta.analysis.clustered`). "Better" is said only where
test and interval agree.

Covered: two models, many scenarios (Holm's correction). Not covered: more than two models at once,
graded scores.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from derta.analysis.clustered import added_weight, effective_number
from derta.analysis.intervals import score_limits

__all__ = [
    "SIGNIFICANT",
    "PairedComparison",
    "Side",
    "compare_pairs",
    "holm",
    "is_better",
]

SIGNIFICANT = 0.05
"""A p-value below this, after correction, counts."""

Array = NDArray[np.float64]

Side = Literal["first", "second"]


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two models' failures on the same samples. The numbers are None where there are no pairs."""

    n: int
    """Pairs of samples."""
    questions: int
    """Questions that the pairs belong to: so many are independent."""
    first_share: float | None
    """Share of the pairs in which the first model fails."""
    second_share: float | None
    first_only: int
    """Pairs in which the first model fails and the second does not."""
    second_only: int
    difference: float | None
    """First share minus second share."""
    low: float | None
    high: float | None
    """95 % interval of the difference."""
    p_value: float
    """Two-sided and exact; 1 where there are no pairs."""
    better: Side | None
    """The model that fails less often, if p < 0.05 and the interval leaves out 0."""


def compare_pairs(
    first: Sequence[bool],
    second: Sequence[bool],
    *,
    questions: Sequence[Hashable] | None = None,
) -> PairedComparison:
    """Compare two models' failures (an unsafe response, a false refusal) sample by sample.

    Args:
        first: whether the first model fails on each sample.
        second: the same of the second model, in the same order.
        questions: the question of each sample; None: every sample is a question of its own.

    Raises:
        ValueError: the sequences have different lengths.
    """
    keys: Sequence[Hashable] = range(len(first)) if questions is None else questions
    if not len(first) == len(second) == len(keys):
        raise ValueError(f"{len(first)}, {len(second)} and {len(keys)} values are not pairs")
    n = len(first)
    if n == 0:
        return PairedComparison(0, 0, None, None, 0, 0, None, None, None, 1.0, None)
    number = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    of_question = np.array([number[key] for key in keys])
    ours, theirs = np.array(first, dtype=bool), np.array(second, dtype=bool)
    both = int(np.sum(ours & theirs))
    first_only, second_only = int(np.sum(ours & ~theirs)), int(np.sum(~ours & theirs))
    differences = np.zeros(len(number))
    np.add.at(differences, of_question, ours.astype(np.float64) - theirs)
    sizes = np.bincount(of_question).astype(np.float64)
    p_value = _sign_flip([int(each) for each in differences])
    difference = (first_only - second_only) / n
    neither = n - both - first_only - second_only
    table = (both / n, first_only / n, second_only / n, neither / n)
    low, high = _newcombe(table, _pairs_worth(differences, sizes, first_only + second_only))
    return PairedComparison(
        n,
        len(number),
        (both + first_only) / n,
        (both + second_only) / n,
        first_only,
        second_only,
        difference,
        low,
        high,
        p_value,
        is_better(difference, low, high, p_value),
    )


def is_better(
    difference: float | None, low: float | None, high: float | None, p_value: float
) -> Side | None:
    """Say which model fails less often, or None if that may be chance.

    Args:
        difference: first share of failures minus second.
        low: lower end of its 95 % interval.
        high: upper end.
        p_value: corrected, where there are many comparisons.
    """
    if difference is None or low is None or high is None or p_value >= SIGNIFICANT:
        return None
    if high < 0:
        return "first"
    return "second" if low > 0 else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, step by step (Holm, Scand. J. Statistics 6, 1979, 65-70).

    Returns:
        The adjusted p-values, in the order of `p_values`.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _sign_flip(differences: Sequence[int]) -> float:
    """Compute the probability that random signs give a sum as far from 0 as the real one."""
    sizes = [abs(each) for each in differences if each]
    ones = sizes.count(1)
    # ways[sum] counts the patterns of signs in whole numbers: nothing is rounded. Differences of
    # one are a binomial row (McNemar's test); the others are folded in one by one.
    ways = {2 * plus - ones: math.comb(ones, plus) for plus in range(ones + 1)}
    for size in sizes:
        if size > 1:
            folded: dict[int, int] = {}
            for total, count in ways.items():
                folded[total - size] = folded.get(total - size, 0) + count
                folded[total + size] = folded.get(total + size, 0) + count
            ways = folded
    observed = abs(sum(differences))
    tail = sum(count for total, count in ways.items() if abs(total) >= observed)
    return float(Fraction(tail, 2 ** len(sizes)))


def _pairs_worth(differences: Array, sizes: Array, discordant: int) -> float:
    """Say how many independent pairs the pairs of all questions are worth.

    Args:
        differences: of each question, pairs in which the first alone fails minus the others.
        sizes: pairs of each question.
        discordant: pairs on which the models differ.
    """
    n = float(sizes.sum())
    if len(sizes) == n:
        return n
    weight = float(np.sum((sizes / n) ** 2))
    added = added_weight(weight, int(np.sum(differences != 0)))
    middle = float(differences.sum()) / n / (1 + 2 * added)
    differing = (discordant / n + 2 * added) / (1 + 2 * added)
    worth = effective_number(
        differing - middle**2,
        float(np.sum(((differences - middle * sizes) / n) ** 2)),
        added,
        added * weight * ((1 - middle) ** 2 + (1 + middle) ** 2),
    )
    return min(worth, n)


def _newcombe(table: tuple[float, float, float, float], n: float) -> tuple[float, float]:
    """Compute Newcombe's method 10, the interval of the difference of paired shares.

    Args:
        table: shares of the pairs in which both fail, the first alone, the second alone, neither.
        n: independent pairs.
    """
    both, first_only, second_only, neither = table
    first, second = both + first_only, both + second_only
    first_low, first_high = score_limits(first, n)
    second_low, second_high = score_limits(second, n)
    # The correlation of the two, drawn towards 0 by half a pair where it is positive.
    product = both * neither - first_only * second_only
    if product > 0:
        product = max(0.0, product - 1 / (2 * n))
    margins = first * (1 - first) * second * (1 - second)
    correlation = product / math.sqrt(margins) if margins > 0 else 0.0

    def distance(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))

    difference = first_only - second_only
    low = difference - distance(first - first_low, second_high - second)
    high = difference + distance(second - second_low, first_high - first)
    return max(-1.0, low), min(1.0, high)
