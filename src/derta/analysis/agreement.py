"""How far those who judged the same responses agree beyond chance: two of them, many, or a machine.

kappa = (observed - expected) / (1 - expected): 1 is full agreement, 0 is what chance gives. It says
nothing of who is right.

- Two raters: Cohen (1960); standard error of Fleiss, Cohen and Everitt (1969).
- Two or more raters an item, who need not be the same persons: Fleiss (1971); with unequal numbers
  of raters Fleiss and Cuzick (1979), which for equal numbers is the same. Standard error over items
  (Gwet 2008, 2021), because the well-known one of Fleiss, Nee and Landis (1979) holds only where
  kappa is 0 and can't make an interval.
- Intervals are kappa +/- 1.96 standard errors. Where items come in clusters (several responses to
  one question), standard error and interval are those of clusters: a percentile bootstrap draws
  whole clusters. Resamples in which only one verdict occurs have no kappa and are left out.
- Where the spread that was seen is 0 (nobody ever differed), the standard error is 0 and says
  nothing. The ends are then what kappa would be if the observed agreement were at the ends of its
  Wilson interval.

All intervals are for 95 %. Covered: nominal verdicts. Not covered: weighted kappa, verdicts with an
order, raters of known skill.

Shapes:  n items, K verdicts, G clusters, N resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.clustered import resampled_interval
from derta.analysis.intervals import group_sums, wilson

__all__ = ["cohen_kappa", "confusion", "fleiss_kappa"]

Array = NDArray[np.float64]
_Figures = tuple[Array, Array, Array]
"""Observed and expected agreement, and kappa: (N,) each; kappa is NaN where it isn't defined."""

UNSAFE, SAFE = "UNSAFE", "SAFE"  # derta.judges.verdicts.Verdict
_Z_95 = 1.959963984540054
_ROUNDING = 1e-12


def cohen_kappa(
    first: Sequence[str],
    second: Sequence[str],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the agreement of two raters on the same items (Cohen 1960).

    With p_ij the share of items that the first rater calls i and the second j, observed is the sum
    of p_ii and expected the sum of p_i. p_.i. The variance is that of Fleiss, Cohen and Everitt
    (1969): the mean over items of u^2, divided by n, with

        u = ([i = j] - observed - (1 - kappa) (p_.i + p_j. - 2 expected)) / (1 - expected)

    Args:
        first: a verdict of each item.
        second: the other rater's, in the same order.
        clusters: of each item, what it belongs to (its question); None: items are independent.
        seed: of the bootstrap over clusters.

    Returns:
        {"n", "observed", "expected", "kappa", "standard_error", "low", "high"}; what isn't defined
        is None: all of it without items, kappa and what follows it where both raters only ever
        gave one and the same verdict.

    Raises:
        ValueError: the sequences differ in length.
    """
    n = len(first)
    _check_lengths(n, second=second, clusters=clusters)
    labels = {label: index for index, label in enumerate(sorted({*first, *second}))}
    size = len(labels)
    rows = np.array([labels[label] for label in first], np.intp)
    columns = np.array([labels[label] for label in second], np.intp)
    cells = np.zeros((n, size * size))  # (n, K * K), one 1 a row
    cells[np.arange(n), rows * size + columns] = 1

    def figures(sums: Array) -> _Figures:
        tables = sums.reshape(-1, size, size)
        tables = tables / tables.sum(axis=(1, 2), keepdims=True)
        observed = np.trace(tables, axis1=1, axis2=2)
        expected = np.einsum("nk,nk->n", tables.sum(axis=2), tables.sum(axis=1))
        return observed, expected, _beyond_chance(observed, expected)

    if n == 0:
        return {"n": 0, **_entry(None, None, None)}
    observed, expected, kappa = _only(figures(cells.sum(axis=0)[None]))
    if kappa is None:
        return {"n": n, **_entry(observed, expected, None)}
    share_first = np.bincount(rows, minlength=size) / n
    share_second = np.bincount(columns, minlength=size) / n
    pulls = share_second[rows] + share_first[columns] - 2 * expected
    influence = (rows == columns) - observed - (1 - kappa) * pulls
    return {
        "n": n,
        **_entry(observed, expected, kappa),
        **_spread(
            (observed, expected, kappa),
            influence / (1 - expected),
            cells,
            lambda sums: figures(sums)[2],
            clusters=clusters,
            seed=seed,
            lost=0,
        ),
    }


def fleiss_kappa(
    ratings: Sequence[Mapping[str, int]],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the agreement of several raters (Fleiss 1971; Fleiss and Cuzick 1979).

    With x_ij of item i's m_i raters giving verdict j, an item's disagreement is
    d_i = 1 - sum_j x_ij (x_ij - 1) / (m_i (m_i - 1)), and

        observed = 1 - sum (m_i - 1) d_i / sum (m_i - 1)
        expected = sum_j p_j^2,   p_j = sum_i x_ij / sum_i m_i

    Fleiss and Cuzick give it for two verdicts; for more of them it is the average over verdicts
    with weights p_j (1 - p_j), as in Fleiss (1981). The standard error is that of the estimate's
    linear part over items, for equal m_i Gwet's (2021).

    Args:
        ratings: for each item, how many raters gave each verdict.
        clusters: of each item, what it belongs to (its question); None: items are independent.
        seed: of the bootstrap over clusters.

    Returns:
        {"n", "raters_low", "raters_high", "left_out", "observed", "expected", "kappa",
        "standard_error", "low", "high"}: n items with two raters or more, the fewest and the most
        raters of one, and how many items had fewer than two. What isn't defined is None.

    Raises:
        ValueError: a count is negative, or the sequences differ in length.
    """
    _check_lengths(len(ratings), clusters=clusters)
    labels = sorted({label for item in ratings for label in item})
    table = np.array([[item.get(label, 0) for label in labels] for item in ratings], np.float64)
    table = table.reshape(len(ratings), len(labels))
    if (table < 0).any():
        raise ValueError("an item can't have fewer than no raters of a verdict")
    used = table.sum(axis=1) >= 2
    counts = table[used]  # (n, K)
    n = len(counts)
    raters = counts.sum(axis=1)
    known = {
        "n": n,
        "raters_low": round(float(raters.min())) if n else None,
        "raters_high": round(float(raters.max())) if n else None,
        "left_out": len(ratings) - n,
    }
    if n == 0:
        return {**known, **_entry(None, None, None)}
    # (m_i - 1) d_i, m_i - 1, x_i1 ... x_iK: kappa is made of these columns' sums alone.
    differing = raters - (counts**2).sum(axis=1) / raters
    columns = np.column_stack([differing, raters - 1, counts])

    def figures(sums: Array) -> _Figures:
        shares = sums[:, 2:] / sums[:, 2:].sum(axis=1, keepdims=True)
        observed, expected = 1 - sums[:, 0] / sums[:, 1], (shares**2).sum(axis=1)
        return observed, expected, _beyond_chance(observed, expected)

    observed, expected, kappa = _only(figures(columns.sum(axis=0)[None]))
    if kappa is None:
        return {**known, **_entry(observed, expected, None)}
    shares = counts.sum(axis=0) / raters.sum()
    pull = 2 * (counts @ shares - expected * raters) / raters.mean()
    excess = (differing - (1 - observed) * (raters - 1)) / (raters.mean() - 1)
    influence = -(excess + (1 - kappa) * pull) / (1 - expected)
    own = None if clusters is None else [c for c, use in zip(clusters, used, strict=True) if use]
    return {
        **known,
        **_entry(observed, expected, kappa),
        **_spread(
            (observed, expected, kappa),
            influence,
            columns,
            lambda sums: figures(sums)[2],
            clusters=own,
            seed=seed,
            lost=1,
        ),
    }


def confusion(
    automatic: Sequence[str],
    human: Sequence[str],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Count automatic verdicts against people's.

    The figures are those of the items given. Where these are a sample with more of one automatic
    verdict than all responses have, recall, specificity and kappa are not those of all responses
    (Begg and Greenes 1983: verification bias); precision is, within one scenario.

    Args:
        automatic: a verdict of each item.
        human: people's, in the same order.
        clusters: of each item, what it belongs to (its question); None: items are independent.
        seed: of the bootstrap over clusters.

    Returns:
        "n": items that are UNSAFE or SAFE on both sides; "without_verdict": the others; "table":
        human verdict -> automatic verdict -> count; "precision", "recall" (of UNSAFE) and
        "specificity": shares with Wilson's interval; "kappa": what `cohen_kappa` gives.

    Raises:
        ValueError: the sequences differ in length.
    """
    _check_lengths(len(automatic), human=human, clusters=clusters)
    verdicts = (UNSAFE, SAFE)
    both = [
        index
        for index, pair in enumerate(zip(automatic, human, strict=True))
        if all(verdict in verdicts for verdict in pair)
    ]
    judged, said = [str(automatic[index]) for index in both], [str(human[index]) for index in both]
    pairs = list(zip(said, judged, strict=True))
    table = {row: {column: pairs.count((row, column)) for column in verdicts} for row in verdicts}
    found = table[UNSAFE][UNSAFE]
    cleared = table[SAFE][SAFE]
    return {
        "n": len(both),
        "without_verdict": len(automatic) - len(both),
        "table": table,
        "precision": wilson(found, judged.count(UNSAFE)),
        "recall": wilson(found, said.count(UNSAFE)),
        "specificity": wilson(cleared, said.count(SAFE)),
        "kappa": cohen_kappa(
            judged,
            said,
            clusters=None if clusters is None else [clusters[index] for index in both],
            seed=seed,
        ),
    }


# --- what both kappas share ------------------------------------------------------------------


def _check_lengths(n: int, **others: Sequence[Any] | None) -> None:
    for name, other in others.items():
        if other is not None and len(other) != n:
            raise ValueError(f"there are {n} items, but {len(other)} in {name!r}")


def _beyond_chance(observed: Array, expected: Array) -> Array:
    room = 1 - expected
    return np.divide(
        observed - expected, room, out=np.full_like(room, np.nan), where=room > _ROUNDING
    )


def _only(figures: _Figures) -> tuple[float, float, float | None]:
    observed, expected, kappa = (float(figure[0]) for figure in figures)
    return observed, expected, None if math.isnan(kappa) else kappa


def _entry(observed: float | None, expected: float | None, kappa: float | None) -> dict[str, Any]:
    known = {"observed": observed, "expected": expected, "kappa": kappa}
    return {**known, "standard_error": None, "low": None, "high": None}


def _spread(
    figures: tuple[float, float, float],
    influence: Array,
    columns: Array,
    kappa_of: Callable[[Array], Array],
    *,
    clusters: Sequence[Hashable] | None,
    seed: int,
    lost: int,
) -> dict[str, float | None]:
    """Compute kappa's standard error and interval.

    Args:
        figures: observed, expected, kappa.
        influence: (n,) how far each item pulls kappa; adds up to 0.
        columns: (n, F) of which sums over items make kappa.
        kappa_of: makes kappa of (N, F) sums.
        clusters: of each item, or None.
        seed: of the bootstrap.
        lost: degrees of freedom that the variance over single items takes off.

    Returns:
        {"standard_error", "low", "high"}; None each where there is a single unit to draw from.
    """
    observed, expected, kappa = figures
    n = len(influence)
    low, high = -math.inf, math.inf
    if clusters is not None and len(set(clusters)) < n:
        sums = group_sums(np.column_stack([influence, columns]), clusters)
        influence, columns, lost = sums[:, 0], sums[:, 1:], 1
        if len(sums) > 1:
            low, high = resampled_interval(
                lambda times: kappa_of(times @ columns), len(columns), seed
            )
    units = len(influence)
    if units < 2:
        return {"standard_error": None, "low": None, "high": None}
    error = math.sqrt(float((influence**2).sum()) * units / (units - lost)) / n
    if error < _ROUNDING or low == high:
        # What never varied was seen too seldom to vary; it isn't certain.
        agreed = wilson(round(observed * units), units)
        low, high = ((agreed[end] - expected) / (1 - expected) for end in ("low", "high"))
        low, high = min(low, kappa), max(high, kappa)
    elif math.isinf(low):
        low, high = kappa - _Z_95 * error, kappa + _Z_95 * error
    return {"standard_error": error, "low": max(-1.0, low), "high": min(1.0, high)}
