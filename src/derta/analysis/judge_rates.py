"""How often the automatic judge is right over all responses, from people's verdicts on a part.

People judge a sample in which the rare automatic verdict is drawn more often than it occurs. Counts
of the sample then flatter or slander the judge: its recall, above all, looks higher than it is
where few responses are called UNSAFE (verification bias, Begg and Greenes 1983). Here each judged
response stands for as many as its stratum has. Covered: precision, recall and specificity of UNSAFE
with approximate 95 % intervals. Not covered: responses without an automatic verdict (they are in
none of the three), the share of UNSAFE itself (`derta.analysis.judge_error`), the counts
(`derta.analysis.agreement.confusion`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.judge_error import Stratum

__all__ = ["judge_rates", "scaled_strata"]

Array = NDArray[np.float64]

_DRAWS = 10_000
_PERCENTILES = (2.5, 97.5)
_UNSAFE, _SAFE = "UNSAFE", "SAFE"


def scaled_strata(strata: Sequence[Stratum]) -> tuple[list[Stratum], int]:
    """Let the judged strata of an automatic verdict stand for those that nobody has judged yet.

    A stratum without a judgement is taken to be like the average of the others with the same
    automatic verdict. Where there is no such other one it stays as it is.

    Args:
        strata: of one model; several may have the same automatic verdict (one a scenario).

    Returns:
        Strata whose totals add up to the same numbers, and how many responses others stand for.
    """
    kept: list[Stratum] = []
    lent = 0
    for automatic in dict.fromkeys(stratum.automatic for stratum in strata):
        found = [each for each in strata if each.automatic == automatic and each.total]
        known = [each for each in found if each.judged]
        missing = sum(each.total for each in found) - sum(each.total for each in known)
        if not known or not missing:
            kept += found
            continue
        lent += missing
        totals = _shared_out(missing, [each.total for each in known])
        kept += [
            Stratum(automatic, each.total + more, each.judged, each.unsafe)
            for each, more in zip(known, totals, strict=True)
        ]
    return kept, lent


def _shared_out(count: int, sizes: Sequence[int]) -> list[int]:
    """Share a count out in proportion to sizes, in whole numbers that add up to it."""
    total = sum(sizes)
    parts = [count * size // total for size in sizes]
    rests = sorted(range(len(sizes)), key=lambda i: (-(count * sizes[i] % total), i))
    for index in rests[: count - sum(parts)]:
        parts[index] += 1
    return parts


def judge_rates(strata: Sequence[Stratum], *, seed: int = 0) -> dict[str, Any]:
    """Estimate precision, recall and specificity of the automatic UNSAFE over all responses.

    With N, n and x responses, judged ones and UNSAFE ones of a stratum, the share of UNSAFE among
    the responses with one automatic verdict is the sum of N x / n over the sum of N. Its
    uncertainty is that of a sample of (sum of N)^2 / (sum of N^2 / n) responses (Kish 1965, the
    effective size of a weighted sample); both shares are drawn from their posterior with
    Jeffreys' prior, and the rates follow from each draw. The intervals are approximate, and cover
    the choice of the responses that were judged.

    Args:
        strata: of any number of models and scenarios; those without a judgement are passed over
            (see `scaled_strata`).
        seed: of the draws.

    Returns:
        "precision", "recall" and "specificity", each {"share", "low", "high", "n"}: n responses
        were judged for it; the first three are None where nothing is known.
    """
    generator = np.random.default_rng(seed)
    flagged = _weighted([each for each in strata if each.automatic == _UNSAFE])
    passed = _weighted([each for each in strata if each.automatic == _SAFE])
    both = flagged[2] + passed[2]
    drawn_flagged, drawn_passed = (_drawn(part, generator) for part in (flagged, passed))
    return {
        "precision": _rate(flagged[0], drawn_flagged, flagged[2]) if flagged[2] else _nothing(0),
        "recall": _rate(
            _quotient(_hits(flagged), _hits(passed)),
            _quotients(flagged[1] * drawn_flagged, passed[1] * drawn_passed),
            both,
        )
        if flagged[2] and passed[2]
        else _nothing(both),
        "specificity": _rate(
            _quotient(_misses(passed), _misses(flagged)),
            _quotients(passed[1] * (1 - drawn_passed), flagged[1] * (1 - drawn_flagged)),
            both,
        )
        if flagged[2] and passed[2]
        else _nothing(both),
    }


_Weighted = tuple[float, int, int, float]
"""Share of UNSAFE, responses, judged ones, effective number of judged ones."""


def _weighted(strata: Sequence[Stratum]) -> _Weighted:
    known = [each for each in strata if each.judged and each.total]
    total = sum(each.total for each in known)
    if not total:
        return 0.0, 0, 0, 0.0
    share = sum(each.total * each.unsafe / each.judged for each in known) / total
    effective = total**2 / sum(each.total**2 / each.judged for each in known)
    return share, total, sum(each.judged for each in known), effective


def _drawn(part: _Weighted, generator: np.random.Generator) -> Array:
    share, _, _, effective = part
    drawn: Array = generator.beta(
        share * effective + 0.5, (1 - share) * effective + 0.5, size=_DRAWS
    )
    return drawn


def _hits(part: _Weighted) -> float:
    return part[0] * part[1]


def _misses(part: _Weighted) -> float:
    return (1 - part[0]) * part[1]


def _quotient(part: float, other: float) -> float | None:
    return part / (part + other) if part + other else None


def _quotients(part: Array, other: Array) -> Array:
    quotients: Array = part / (part + other)
    return quotients


def _rate(share: float | None, drawn: Array, n: int) -> dict[str, Any]:
    if share is None:
        return _nothing(n)
    low, high = (float(end) for end in np.percentile(drawn, _PERCENTILES))
    # At 0 and 1 the prior keeps the draws away from the share itself.
    return {"share": share, "low": min(low, share), "high": max(high, share), "n": n}


def _nothing(n: int) -> dict[str, Any]:
    return {"share": None, "low": None, "high": None, "n": n}
