"""The share of UNSAFE by people's standard, where people judged a part and a judge all responses.

**People judged responses of this very run** (`corrected_share`): a sample, stratified by the
automatic verdict. With N_h responses, n_h judged ones and x_h of these UNSAFE in stratum h, and
W_h = N_h / N,

    share    = sum W_h p_h,   p_h = x_h / n_h
    variance = sum W_h^2 p_h (1 - p_h) / n_h  +  sum W_h (p_h - share)^2 / N

which is double sampling (Neyman 1938; Tenenbein 1970), and for a binary verdict the same estimate
as prediction-powered inference with its tuned weight (Angelopoulos et al. 2023, arXiv 2311.01453).
The second term is there because the responses are themselves a sample of what the model would
answer: if people judge all of them, the interval is that of an ordinary share and not a point. The
judge need not be good: a bad one makes the interval wide, and never wrong.

The interval inverts a test, as Wilson's does. A share is in it unless what was found is too far in
its tail: 2.5 % on each side, counting half of what was found itself (mid-p). The p_h of a tested
share are those that fit the sample best among all that add up to it, so that a stratum with x_h = 0
or n_h isn't taken for certain. The distribution of the estimate for these p_h is that of a shifted
and scaled binomial number with the same four cumulants: as skewed as a share of few found is. One
stratum, or all judged: it is the mid-p interval of a binomial share (Newcombe 1998, method 6).

**The judge's errors were measured elsewhere** (`rogan_gladen`): Rogan and Gladen (1978) with the
interval of Lang and Reiczigel (2014). It trusts that the judge errs here as it did there.

All intervals are for 95 %. Covered: sparse strata, strata without a judgement (bounds). Not
covered: people's own errors; that several responses to one question are alike (each counts as
one of its own).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from derta.analysis.intervals import wilson

__all__ = ["Stratum", "corrected_share", "rogan_gladen", "share_interval"]

UNSAFE, SAFE = "UNSAFE", "SAFE"  # derta.judges.verdicts.Verdict
_Z_95 = 1.959963984540054
_TAIL = 0.025
_HALVINGS = 34
_ROUNDING = 1e-10
_NORMAL = 1e8


@dataclass(frozen=True, slots=True)
class Stratum:
    """Responses with one automatic verdict, and what people said of some of them."""

    automatic: str
    """The automatic verdict; several strata may have the same (one a scenario)."""
    total: int
    """N_h: responses."""
    judged: int
    """n_h: of them, those that people found UNSAFE or SAFE; drawn at random."""
    unsafe: int
    """x_h: of these, the UNSAFE ones."""

    def __post_init__(self) -> None:
        if not 0 <= self.unsafe <= self.judged <= self.total:
            raise ValueError(
                f"{self.unsafe} UNSAFE of {self.judged} judged of {self.total} responses that "
                f"the judge calls {self.automatic or 'nothing'} do not exist"
            )


def corrected_share(strata: Sequence[Stratum], *, seed: int = 0) -> dict[str, Any]:
    """Estimate the share of UNSAFE by people's standard among all responses.

    Args:
        strata: of one model, or of one model in one scenario.
        seed: not used, because nothing is drawn; all figures of a review are asked for alike.

    Returns:
        "n": responses; "judged": those that people judged; "automatic": share of UNSAFE among the
        automatic UNSAFE and SAFE, with Wilson's interval; "share", "low", "high", "standard_error"
        by people's standard, for all n; "reason": None, or why there is no share. Where nobody
        judged a stratum, "share" is None and "low" and "high" leave all of that stratum open, from
        none to all UNSAFE. The standard error is the formula's with n_h - 1 in the place of n_h;
        it is not what the interval is made of, and 0 where no stratum was seen to vary.
    """
    del seed
    used = [stratum for stratum in strata if stratum.total]
    n, judged = sum(each.total for each in used), sum(each.judged for each in used)
    flagged = sum(each.total for each in used if each.automatic == UNSAFE)
    cleared = sum(each.total for each in used if each.automatic == SAFE)
    entry: dict[str, Any] = {
        "n": n,
        "judged": judged,
        "automatic": wilson(flagged, flagged + cleared),
        "share": None,
        "low": None,
        "high": None,
        "standard_error": None,
        "reason": None,
    }
    if not n:
        return {**entry, "reason": "there are no responses"}
    if not judged:
        return {**entry, "reason": f"people have judged none of the {n} responses"}
    totals, known, unsafe = zip(*map(_counts, used), strict=True)
    entry["low"], entry["high"] = share_interval(totals, known, unsafe)
    blank = [each for each in used if not each.judged]
    if blank:
        names = " or ".join(dict.fromkeys(each.automatic or "nothing" for each in blank))
        open_ = sum(each.total for each in blank)
        reason = f"people have judged none of {open_} of the {n} responses, called {names}"
        return {**entry, "reason": reason}
    share, variance = _estimate(used)
    # The ends are found by halving, to the last digits but one.
    low, high = min(entry["low"], share), max(entry["high"], share)
    return {
        **entry,
        "share": share,
        "low": low,
        "high": high,
        "standard_error": math.sqrt(variance),
    }


def share_interval(
    totals: Sequence[float], judged: Sequence[float], unsafe: Sequence[float]
) -> tuple[float, float]:
    """Compute the interval of `corrected_share`.

    Args:
        totals: N_h of each stratum, all above 0.
        judged: n_h; 0: nothing is known of the stratum. At least one is above 0.
        unsafe: x_h; counts need not be whole, so that a sample can be imagined.

    Returns:
        Its ends. Each of them takes strata without a judgement at their worst.
    """
    safe = [of - x for of, x in zip(judged, unsafe, strict=True)]
    # The high end is the low end of SAFE, seen from above.
    return _end(totals, judged, unsafe), 1.0 - _end(totals, judged, safe)


def rogan_gladen(
    positive: int, n: int, *, sensitivity: tuple[int, int], specificity: tuple[int, int]
) -> dict[str, Any]:
    """Estimate the share of UNSAFE from the judge's share and its error rates measured elsewhere.

        share = (p + specificity - 1) / (sensitivity + specificity - 1),   p = positive / n

    (Rogan and Gladen 1978, brought into 0 to 1), with the interval of Lang and Reiczigel (2014,
    equations 4, 6, 7, 16, 17): p' has z^2 / 2 found and z^2 / 2 not found added, sensitivity' and
    specificity' one each, share' is made of these, and its ends are share' + d +/- z sqrt(V),

        V = (p'(1 - p') / n' + share'^2 v_se + (1 - share')^2 v_sp) / (se' + sp' - 1)^2
        d = 2 z^2 (share' v_se - (1 - share') v_sp),   v_se = se'(1 - se') / n_se', v_sp alike

    (the paper prints (1 + share')^2 in V, which is a slip).

    Args:
        positive: responses that the judge calls UNSAFE.
        n: responses that it calls UNSAFE or SAFE.
        sensitivity: of the responses that are UNSAFE, how many it called so: (hits, of).
        specificity: of the responses that are SAFE, how many it called so: (hits, of).

    Returns:
        {"n", "automatic", "sensitivity", "specificity", "share", "low", "high", "reason"}: the
        first three shares with Wilson's interval; the others are None with a reason where there is
        nothing to estimate from, or the judge tells no better than chance.

    Raises:
        ValueError: a count is negative or larger than what it is a part of.
    """
    automatic, found, cleared = wilson(positive, n), wilson(*sensitivity), wilson(*specificity)
    entry: dict[str, Any] = {
        "n": n,
        "automatic": automatic,
        "sensitivity": found,
        "specificity": cleared,
        "share": None,
        "low": None,
        "high": None,
        "reason": None,
    }
    if not (n and found["n"] and cleared["n"]):
        return {**entry, "reason": "the judge's share or its error rates are of no responses"}
    used = n + _Z_95**2
    share_ = (positive + _Z_95**2 / 2) / used
    of_se, of_sp = found["n"] + 2, cleared["n"] + 2
    se, sp = (found["count"] + 1) / of_se, (cleared["count"] + 1) / of_sp
    better, better_ = found["share"] + cleared["share"] - 1, se + sp - 1
    if min(better, better_) <= 0:
        return {**entry, "reason": "the judge tells UNSAFE from SAFE no better than chance"}
    middle = (share_ + sp - 1) / better_
    unsure_se, unsure_sp = se * (1 - se) / of_se, sp * (1 - sp) / of_sp
    variance = share_ * (1 - share_) / used + middle**2 * unsure_se + (1 - middle) ** 2 * unsure_sp
    half = _Z_95 * math.sqrt(variance) / better_
    middle += 2 * _Z_95**2 * (middle * unsure_se - (1 - middle) * unsure_sp)
    share = _inside((automatic["share"] + cleared["share"] - 1) / better)
    return {
        **entry,
        "share": share,
        "low": min(_inside(middle - half), share),
        "high": max(_inside(middle + half), share),
    }


def _inside(value: float) -> float:
    return min(1.0, max(0.0, value))


def _counts(stratum: Stratum) -> tuple[int, int, int]:
    return stratum.total, stratum.judged, stratum.unsafe


def _estimate(strata: Sequence[Stratum]) -> tuple[float, float]:
    """Compute the share and its variance; every stratum has a judgement."""
    n = sum(each.total for each in strata)
    parts = [(each.total / n, each.unsafe / each.judged, each.judged) for each in strata]
    share = sum(weight * p for weight, p, _ in parts)
    # A stratum with one judgement has p of 0 or 1: its part is 0 whatever it is divided by.
    within = sum(weight**2 * p * (1 - p) / max(of - 1, 1) for weight, p, of in parts)
    between = sum(weight * (p - share) ** 2 for weight, p, _ in parts) / n
    return share, within + between


# --- the interval's low end ------------------------------------------------------------------


def _end(totals: Sequence[float], judged: Sequence[float], unsafe: Sequence[float]) -> float:
    """Find the share below the estimate at which the sample lies 2.5 % deep in the upper tail."""
    n = sum(totals)
    weights = [total / n for total in totals]
    strata = list(zip(weights, judged, unsafe, strict=True))
    estimate = sum(weight * x / of for weight, of, x in strata if of > 0)
    if estimate == 0:
        return 0.0
    # A multiplier says how hard the p_h are pulled down; at 0 they are x_h / n_h.
    nearest = -14.0
    farthest = math.log(max(of / weight for weight, of, _ in strata)) + 21.0
    tested = estimate
    for _ in range(_HALVINGS):
        middle = (nearest + farthest) / 2
        multiplier = math.exp(middle)
        found = [_pulled(multiplier * weight, of, x) for weight, of, x in strata]
        tested = sum(weight * p for weight, p in zip(weights, found, strict=True))
        if _upper_tail(estimate, tested, _cumulants(n, weights, judged, found, tested)) < _TAIL:
            farthest = middle
        else:
            nearest = middle
    return tested


def _pulled(pull: float, judged: float, unsafe: float) -> float:
    """Find a stratum's part in the likeliest p_h of all that have one weighted sum.

    The derivative of the binomial log likelihood, (x - n p) / (p (1 - p)), is the same multiple of
    W in every stratum: a quadratic equation, pull p^2 - (n + pull) p + x = 0. Of its roots the
    smaller one is a share. A stratum without a judgement gets 0.

    Args:
        pull: the multiplier times W_h, above 0.
        judged: n_h.
        unsafe: x_h.
    """
    # (n - pull)^2 + 4 pull (n - x): a form without a difference of large numbers.
    root = math.sqrt((judged - pull) ** 2 + 4 * pull * (judged - unsafe))
    return 2 * unsafe / (judged + pull + root)


def _cumulants(
    n: float,
    weights: Sequence[float],
    judged: Sequence[float],
    found: Sequence[float],
    share: float,
) -> tuple[float, float, float]:
    """Compute the estimate's variance, third and fourth cumulant, if the p_h are the shares.

    The estimate is the mean of N independent responses, each from stratum h with probability W_h,
    whose value has mean p_h and, as only n_h of N_h are known, the cumulants of a yes or no with
    variance, third and fourth cumulant times N_h / n_h, its square and its cube.
    """
    second = third = fourth = 0.0
    for weight, of, p in zip(weights, judged, found, strict=True):
        apart, spread = p - share, p * (1 - p)
        stands_for = n * weight / of if of else 0.0
        own2 = spread * stands_for
        own3 = own2 * (1 - 2 * p) * stands_for
        own4 = own2 * (1 - 6 * spread) * stands_for**2
        second += weight * (apart**2 + own2)
        third += weight * (apart**3 + 3 * apart * own2 + own3)
        fourth += weight * (apart**4 + 6 * apart**2 * own2 + 4 * apart * own3 + own4 + 3 * own2**2)
    return second / n, third / n**2, (fourth - 3 * second**2) / n**3


def _upper_tail(estimate: float, tested: float, cumulants: tuple[float, float, float]) -> float:
    """Compute how probable so high an estimate is, or a higher one, if `tested` is the share.

    The estimate's distribution is taken for that of a + b Y: Y is binomial, and all four cumulants
    are the estimate's; where no binomial is so long-tailed, Y is Poisson and three of them are. A
    value that Y can't take is what the incomplete beta or gamma function makes of it.
    """
    variance, third, fourth = cumulants
    if variance < _ROUNDING**2 or tested >= 1:
        return 0.5 if tested > estimate * (1 - _ROUNDING) else 0.0
    skew, tails = third / variance, fourth / variance
    if skew**2 > tails:
        step = math.sqrt(3 * skew**2 - 2 * tails)
        share = (1 - skew / step) / 2
        if share * (1 - share) > 0:
            size = variance / (step**2 * share * (1 - share))
            count = (estimate - tested) / step + size * share
            return _binomial_tail(count, size, share)
    mean = variance / skew**2 if skew else math.inf
    if mean > _NORMAL:
        return math.erfc((estimate - tested) / math.sqrt(2 * variance)) / 2
    count = (estimate - tested) / skew + mean
    # With the long tail below, a high estimate is a small Y.
    return _poisson_tail(count, mean) if skew > 0 else 1 - _poisson_tail(count, mean)


def _binomial_tail(count: float, size: float, share: float) -> float:
    """Compute P(Y > count) + P(Y = count) / 2 of a binomial Y."""
    from scipy.special import betainc  # type: ignore[import-untyped]  # ships no types

    def at_least(first: float, second: float) -> float:
        if first <= 0:
            return 1.0
        return float(betainc(first, second, share)) if second > 0 else 0.0

    rest = size - count
    return (at_least(count, rest + 1) + at_least(count + 1, rest)) / 2


def _poisson_tail(count: float, mean: float) -> float:
    """Compute P(Y > count) + P(Y = count) / 2 of a Poisson Y."""
    from scipy.special import gammainc

    def at_least(least: float) -> float:
        return float(gammainc(least, mean)) if least > 0 else 1.0

    return (at_least(count) + at_least(count + 1)) / 2
