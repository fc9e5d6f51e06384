"""How many more responses people have to judge, and which, until a corrected share is sure enough.

The next judgements go where they tell most: Neyman's (1934) allocation, n_h proportional to
W_h sqrt(p_h (1 - p_h)), from what was judged so far and never more than there is. The interval that
they would bring is `derta.analysis.judge_error.share_interval` of the sample that is then expected.
What is expected of a stratum is (x_h + 1/2) / (n_h + 1), so that one without an UNSAFE response so
far isn't taken for one that has none.

It is a forecast: people may find something else than was expected, and the interval is then a
little wider or narrower. Ask again after judging.

Covered: strata that are judged in full, strata without a judgement. Not covered: judging the same
response twice, responses that don't exist yet.

Shapes:  H strata.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.judge_error import Stratum, share_interval

__all__ = ["judgements_needed"]

Array = NDArray[np.float64]

_HALVINGS = 60


def judgements_needed(strata: Sequence[Stratum], width: float, *, seed: int = 0) -> dict[str, Any]:
    """Forecast how many more judgements bring the corrected share's interval to a width.

    Args:
        strata: as for `derta.analysis.judge_error.corrected_share`.
        width: wished, from the low to the high end (0.1: ten percentage points), above 0.
        seed: not used, because nothing is drawn.

    Returns:
        "width_now": None where people have judged nothing; "width_wished"; "reachable": whether
        so narrow an interval is expected once they have judged every response;
        "width_if_all_judged": the interval's width then, None without responses; "more": the
        fewest further judgements, None where it isn't reachable; "by_stratum": automatic verdict
        -> how many of them, empty where it isn't reachable; "strata": the same for each stratum in
        the order given. A stratum that nobody has judged gets at least one, because without it
        there is no share.

    Raises:
        ValueError: the width isn't above 0.
    """
    del seed
    if not width > 0:
        raise ValueError(f"an interval can't be made {width} wide")
    present = [stratum.total > 0 for stratum in strata]
    used = [stratum for stratum in strata if stratum.total]
    entry: dict[str, Any] = {
        "width_now": None,
        "width_wished": width,
        "reachable": False,
        "width_if_all_judged": None,
        "more": None,
        "by_stratum": {},
        "strata": [],
    }
    if not used:
        return entry
    totals = np.array([each.total for each in used], np.float64)
    judged = np.array([each.judged for each in used], np.float64)
    unsafe = np.array([each.unsafe for each in used], np.float64)
    if judged.any():
        entry["width_now"] = _width(totals, judged, unsafe)

    def expected_width(more: int) -> float:
        added = _allocate(totals, judged, unsafe, more)
        share = (unsafe + 0.5) / (judged + 1)
        return _width(totals, judged + added, unsafe + share * added)

    most = int((totals - judged).sum())
    fewest = int((judged == 0).sum())
    entry["width_if_all_judged"] = expected_width(most)
    if entry["width_if_all_judged"] > width:
        return entry
    while fewest < most:
        middle = (fewest + most) // 2
        if expected_width(middle) <= width:
            most = middle
        else:
            fewest = middle + 1
    shares = iter(_allocate(totals, judged, unsafe, most).astype(int).tolist())
    of_each = [next(shares) if there else 0 for there in present]
    by_stratum: dict[str, int] = {}
    for stratum, count in zip(strata, of_each, strict=True):
        by_stratum[stratum.automatic] = by_stratum.get(stratum.automatic, 0) + count
    return {**entry, "reachable": True, "more": most, "by_stratum": by_stratum, "strata": of_each}


def _width(totals: Array, judged: Array, unsafe: Array) -> float:
    low, high = share_interval(totals.tolist(), judged.tolist(), unsafe.tolist())
    return high - low


def _allocate(totals: Array, judged: Array, unsafe: Array, more: int) -> Array:
    """Share out further judgements by Neyman's rule, in whole numbers.

    Args:
        totals: (H,) N_h.
        judged: (H,) n_h.
        unsafe: (H,) x_h.
        more: to share out, at least one for each stratum without a judgement.

    Returns:
        (H,) how many more in each; they add up to `more`.
    """
    share = (unsafe + 0.5) / (judged + 1)
    spread = totals * np.sqrt(share * (1 - share))
    fewest = np.maximum(judged, 1)

    def sizes(factor: float) -> Array:
        return np.clip(factor * spread, fewest, totals)

    # What has been judged can't be taken back, so the rule holds for the others: the factor is
    # found by halving.
    low, high = 0.0, float((totals / spread).max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if (sizes(middle) - judged).sum() > more:
            high = middle
        else:
            low = middle
    added = sizes(low) - judged
    whole = np.floor(added + 1e-9)
    # What rounding left over goes to the largest rests, where there is still something to judge.
    rest = np.where(judged + whole < totals, added - whole, -1.0)
    order = np.argsort(-rest, kind="stable")
    whole[order[: round(more - float(whole.sum()))]] += 1
    return whole
