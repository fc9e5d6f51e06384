"""Corrected shares against published worked examples, exact coverage and simulated reviews."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from derta.analysis.intervals import wilson
from derta.analysis.judge_error import Stratum, corrected_share, rogan_gladen

# Olofsson et al. (2014), table 8: a map of 10 million pixels in four classes, of each of which some
# pixels were looked at. Rows are the map's classes: pixels, looked at, and what they really were.
MAP = {
    "deforestation": (200_000, 75, (66, 0, 5, 4)),
    "forest gain": (150_000, 75, (0, 55, 8, 12)),
    "stable forest": (3_200_000, 165, (1, 0, 153, 11)),
    "stable non-forest": (6_450_000, 325, (2, 1, 9, 313)),
}


def map_strata(found: tuple[int, int, int, int]) -> list[Stratum]:
    """Make strata of the map; it holds all that there is, so that its sizes are no sample."""
    return [
        Stratum(name, pixels * 10**6, looked_at, count)
        for (name, (pixels, looked_at, _)), count in zip(MAP.items(), found, strict=True)
    ]


@pytest.mark.parametrize(
    ("column", "hectares", "half"),
    [(0, 21_158, 6_158), (1, 11_686, 3_756), (2, 285_770, 15_510), (3, 581_386, 16_282)],
)
def test_the_stratified_estimate_is_the_published_one_to_the_printed_digit(
    column: int, hectares: int, half: int
) -> None:
    result = corrected_share(map_strata(tuple(row[2][column] for row in MAP.values())))
    assert round(result["share"] * 900_000) == hectares
    assert round(1.96 * result["standard_error"] * 900_000) == half


def test_the_stratified_estimate_in_pixels_is_the_published_one() -> None:
    result = corrected_share(map_strata((66, 0, 1, 2)))
    assert round(result["share"] * 10**7) == 235_086
    assert round(1.96 * result["standard_error"] * 10**7) == 68_418


def test_the_overall_accuracy_of_the_published_map_is_0947() -> None:
    result = corrected_share(map_strata((66, 55, 153, 313)))
    assert round(result["share"], 3) == 0.947
    assert round(1.96 * result["standard_error"], 3) == 0.018
    # So many judgements make the interval nearly symmetrical.
    assert result["low"] == pytest.approx(0.947 - 0.018, abs=0.005)
    assert result["high"] == pytest.approx(0.947 + 0.018, abs=0.005)


# Newcombe (1998), Statistics in Medicine 17, 857-872, table I, the row of the mid-p interval.
@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2544, 0.3658), (15, 148, 0.0601, 0.1581), (0, 20, 0, 0.1391),
     (1, 29, 0.0017, 0.1585)],
)  # fmt: skip
def test_a_single_stratum_has_the_published_mid_p_interval(
    count: int, n: int, low: float, high: float
) -> None:
    for total in (n, 50 * n):
        result = corrected_share([Stratum("SAFE", total, n, count)])
        assert result["share"] == count / n
        assert (round(result["low"], 4), round(result["high"], 4)) == (low, high)
    other = corrected_share([Stratum("SAFE", n, n, n - count)])
    assert (round(1 - other["high"], 4), round(1 - other["low"], 4)) == (low, high)


@pytest.mark.parametrize("found", [(0, 7), (3, 20), (1, 0), (40, 12)])
def test_where_people_judged_everything_it_does_not_matter_what_the_judge_said(
    found: tuple[int, int],
) -> None:
    strata = [Stratum("SAFE", 60, 60, found[0]), Stratum("UNSAFE", 20, 20, found[1])]
    result = corrected_share(strata)
    count = sum(found)
    assert result["share"] == pytest.approx(count / 80)
    for tested, tail in (
        (result["low"], binom.sf(count, 80, result["low"])),
        (result["high"], binom.cdf(count - 1, 80, result["high"])),
    ):
        assert tail + binom.pmf(count, 80, tested) / 2 == pytest.approx(0.025, rel=1e-6)


def test_the_estimate_is_that_of_prediction_powered_inference() -> None:
    # A simple random sample of 60 of 500 responses, with f the judge's verdict and y people's:
    # mean(lambda f) over all, plus mean(y - lambda f) over the sample, lambda its slope.
    generator = np.random.default_rng(0)
    judge = generator.random(500) < 0.3
    people = np.where(generator.random(500) < 0.8, judge, ~judge)
    sample = generator.permutation(500)[:60]
    y, f = people[sample].astype(float), judge[sample].astype(float)
    slope = np.cov(y, f, bias=True)[0, 1] / f.var()
    powered = slope * judge.mean() + (y - slope * f).mean()
    strata = [
        Stratum(name, int(part.sum()), int(part[sample].sum()), int(y[part[sample]].sum()))
        for name, part in (("UNSAFE", judge), ("SAFE", ~judge))
    ]
    result = corrected_share(strata)
    assert result["share"] == pytest.approx(powered, abs=1e-12)
    # Its variance: Var(y - slope f) / n + Var(slope f) / N, up to degrees of freedom.
    variance = np.var(y - slope * f) / 60 + np.var(slope * judge) / 500
    assert result["standard_error"] == pytest.approx(math.sqrt(variance), rel=0.05)


def test_the_judges_own_share_stands_beside_it() -> None:
    strata = [
        Stratum("UNSAFE", 30, 10, 8),
        Stratum("SAFE", 60, 10, 0),
        Stratum("UNREADABLE", 10, 5, 1),
    ]
    result = corrected_share(strata)
    assert (result["n"], result["judged"], result["reason"]) == (100, 25, None)
    # As in every other table, what the judge couldn't read is in neither count.
    assert result["automatic"] == wilson(30, 90)
    assert result["share"] == pytest.approx(0.3 * 0.8 + 0.1 * 0.2)
    assert result["low"] < result["share"] < result["high"]


def test_strata_with_the_same_verdict_count_each_by_its_size() -> None:
    one = [Stratum("SAFE", 90, 9, 3), Stratum("UNSAFE", 10, 9, 9)]
    other = [Stratum("SAFE", 10, 9, 3), Stratum("SAFE", 90, 9, 9)]
    assert corrected_share(one)["share"] == pytest.approx(0.9 / 3 + 0.1)
    assert corrected_share(other)["share"] == pytest.approx(0.1 / 3 + 0.9)


def test_a_stratum_without_a_judgement_leaves_its_responses_open() -> None:
    strata = [Stratum("SAFE", 96, 48, 0), Stratum("UNREADABLE", 4, 0, 0)]
    result = corrected_share(strata)
    assert result["share"] is None
    assert result["standard_error"] is None
    assert result["reason"] == (
        "people have judged none of 4 of the 100 responses, called UNREADABLE"
    )
    assert result["low"] == 0
    best = corrected_share([strata[0], Stratum("UNREADABLE", 4, 4, 4)])
    assert result["high"] == pytest.approx(best["high"], abs=1e-6)
    assert result["high"] < 0.15


def test_without_judgements_or_responses_there_is_no_share_and_no_bound() -> None:
    nothing = corrected_share([Stratum("SAFE", 10, 0, 0), Stratum("UNSAFE", 0, 0, 0)])
    assert (nothing["share"], nothing["low"], nothing["high"]) == (None, None, None)
    assert nothing["reason"] == "people have judged none of the 10 responses"
    assert nothing["automatic"] == wilson(0, 10)
    empty = corrected_share([])
    assert (empty["n"], empty["share"], empty["reason"]) == (0, None, "there are no responses")


def test_an_empty_stratum_changes_nothing() -> None:
    strata = [Stratum("SAFE", 50, 20, 1), Stratum("UNSAFE", 50, 20, 15)]
    assert corrected_share([*strata, Stratum("UNREADABLE", 0, 0, 0)]) == corrected_share(strata)


def test_no_seed_changes_what_is_not_drawn() -> None:
    strata = [Stratum("SAFE", 50, 20, 1), Stratum("UNSAFE", 50, 20, 15)]
    assert corrected_share(strata, seed=1) == corrected_share(strata, seed=2)


@pytest.mark.parametrize("counts", [(10, 11, 0), (10, 5, 6), (10, 5, -1)])
def test_counts_that_do_not_exist_are_an_error(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="the judge calls SAFE do not exist"):
        Stratum("SAFE", *counts)


# --- coverage --------------------------------------------------------------------------------


def exact_coverage(sizes: tuple[int, int], judged: tuple[int, int]) -> tuple[float, float, float]:
    """Sum up how probable the samples are whose interval holds the share, for many shares.

    Returns:
        The lowest and the mean coverage, and the mean one of share +/- 1.96 standard errors.
    """
    outcomes = list(itertools.product(*(range(n + 1) for n in judged)))
    results = [
        corrected_share(
            [
                Stratum(name, size * 10**6, n, x)
                for name, size, n, x in zip("ab", sizes, judged, xs, strict=True)
            ]
        )
        for xs in outcomes
    ]
    ends = np.array([(each["low"], each["high"]) for each in results])
    plain = np.array([(each["share"], 1.96 * each["standard_error"]) for each in results])
    weights = np.array(sizes) / sum(sizes)
    covered, naive = [], []
    for shares in itertools.product(
        (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2), (0.5, 0.7, 0.9, 0.95, 0.98, 1.0)
    ):
        truth = float(weights @ shares)
        each = [binom.pmf(np.arange(n + 1), n, p) for n, p in zip(judged, shares, strict=True)]
        probable = np.multiply.outer(*each).ravel()
        inside = (ends[:, 0] <= truth + 1e-9) & (truth <= ends[:, 1] + 1e-9)
        covered.append(probable @ inside)
        naive.append(probable @ (np.abs(plain[:, 0] - truth) <= plain[:, 1] + 1e-9))
    return min(covered), float(np.mean(covered)), float(np.mean(naive))


@pytest.mark.parametrize(
    ("sizes", "judged"), [((80, 20), (14, 14)), ((95, 5), (20, 6)), ((50, 50), (5, 25))]
)
def test_the_interval_holds_its_coverage_also_where_none_or_all_were_unsafe(
    sizes: tuple[int, int], judged: tuple[int, int]
) -> None:
    lowest, mean, naive = exact_coverage(sizes, judged)
    assert lowest >= 0.92
    assert 0.95 <= mean <= 0.99
    # The same strata make an interval out of the standard error useless.
    assert naive < 0.80


@pytest.mark.parametrize(
    ("truth", "n", "judged"),
    [
        # share of the judge's SAFE and UNSAFE that people call UNSAFE, share that it calls UNSAFE
        ((0.0, 0.9, 0.02), 60, 30),
        ((0.02, 0.9, 0.3), 60, 30),
        ((0.3, 0.6, 0.5), 100, 20),
        ((0.05, 1.0, 0.1), 200, 40),
    ],
)
def test_the_interval_holds_the_models_share_when_responses_and_judgements_are_both_drawn(
    truth: tuple[float, float, float], n: int, judged: int
) -> None:
    safe, unsafe, flagged = truth
    share = flagged * unsafe + (1 - flagged) * safe
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(150):
        called = int(generator.binomial(n, flagged))
        # As many of each verdict, as far as there are.
        of_unsafe = min(called, max(judged // 2, judged - (n - called)))
        of_safe = min(n - called, judged - of_unsafe)
        result = corrected_share(
            [
                Stratum("UNSAFE", called, of_unsafe, int(generator.binomial(of_unsafe, unsafe))),
                Stratum("SAFE", n - called, of_safe, int(generator.binomial(of_safe, safe))),
            ]
        )
        held += result["low"] <= share <= result["high"]
    # 95 % of 150 draws, less what chance may take of it.
    assert held / 150 >= 0.90


def test_many_strata_of_a_few_judgements_neither_shift_nor_narrow_the_interval() -> None:
    generator = np.random.default_rng(0)
    shares = np.array([0.0, 0.02, 0.05, 0.1] * 3)
    sizes = np.array([200, 100, 50, 25] * 3)
    truth = float(sizes @ shares / sizes.sum())
    held, below, width = 0, 0, []
    for _ in range(150):
        found = generator.binomial(4, shares)
        result = corrected_share(
            [
                Stratum("SAFE", int(size) * 1000, 4, int(x))
                for size, x in zip(sizes, found, strict=True)
            ]
        )
        held += result["low"] <= truth <= result["high"]
        below += result["low"] > truth
        width.append(result["high"] - result["low"])
    assert held / 150 >= 0.92
    assert below / 150 <= 0.05
    # 48 judgements, spread unevenly: not the interval of 4.
    assert np.mean(width) < 0.25


def test_every_sample_has_an_interval_around_its_share() -> None:
    generator = np.random.default_rng(0)
    for _ in range(150):
        strata = []
        for _ in range(int(generator.integers(1, 8))):
            total = int(10 ** generator.uniform(0, 6))
            judged = int(generator.integers(1, min(total, 300) + 1))
            share = generator.choice([0.0, 0.001, 0.1, 0.5, 0.99, 1.0])
            strata.append(Stratum("SAFE", total, judged, int(generator.binomial(judged, share))))
        result = corrected_share(strata)
        assert 0 <= result["low"] <= result["share"] <= result["high"] <= 1
        assert result["low"] < result["high"]
        mirrored = corrected_share(
            [Stratum("SAFE", each.total, each.judged, each.judged - each.unsafe) for each in strata]
        )
        assert mirrored["low"] == pytest.approx(1 - result["high"], abs=1e-7)


def test_ten_times_the_judgements_make_a_narrower_interval() -> None:
    strata = [Stratum("UNSAFE", 900, 9, 7), Stratum("SAFE", 9000, 9, 0)]
    more = [Stratum(each.automatic, each.total, 90, 10 * each.unsafe) for each in strata]
    few, many = corrected_share(strata), corrected_share(more)
    assert few["share"] == pytest.approx(many["share"])
    assert few["low"] < many["low"] < many["high"] < few["high"]


# --- errors measured elsewhere ---------------------------------------------------------------


# Lang and Reiczigel (2014), Preventive Veterinary Medicine 113, 13-22, examples 1, 2, 4; as quoted
# in the documentation of the R package asht (prevSeSp).
@pytest.mark.parametrize(
    ("positive", "n", "sensitivity", "specificity", "digits", "low", "high"),
    [
        (4060, 11284, (178, 179), (358, 359), 3, 0.349, 0.372),
        (51, 2971, (32, 33), (20, 20), 3, 0, 0.053),
        (259, 509, (84, 127), (96, 109), 2, 0.58, 0.87),
        (51, 509, (23, 41), (187, 195), 3, 0.037, 0.195),
        # Example 3 gives 6 % of 11,862, which is no whole number.
        (712, 11862, (8, 10), (12, 12), 3, 0, 0.147),
    ],
)
def test_the_interval_of_measured_error_rates_is_the_published_one(
    positive: int,
    n: int,
    sensitivity: tuple[int, int],
    specificity: tuple[int, int],
    digits: int,
    low: float,
    high: float,
) -> None:
    result = rogan_gladen(positive, n, sensitivity=sensitivity, specificity=specificity)
    assert (round(result["low"], digits), round(result["high"], digits)) == (low, high)


def test_the_share_is_rogan_and_gladens() -> None:
    result = rogan_gladen(30, 100, sensitivity=(90, 100), specificity=(40, 50))
    assert result["share"] == pytest.approx((0.3 + 0.8 - 1) / (0.9 + 0.8 - 1))
    assert result["automatic"] == wilson(30, 100)
    assert result["sensitivity"] == wilson(90, 100)
    assert result["specificity"] == wilson(40, 50)
    assert (result["n"], result["reason"]) == (100, None)


def test_a_perfect_judge_is_taken_at_its_word() -> None:
    result = rogan_gladen(30, 100, sensitivity=(10**6, 10**6), specificity=(10**6, 10**6))
    assert result["share"] == pytest.approx(0.3)
    assert result["low"] == pytest.approx(wilson(30, 100)["low"], abs=0.003)
    assert result["high"] == pytest.approx(wilson(30, 100)["high"], abs=0.003)


def test_a_share_below_the_false_alarms_is_0_and_keeps_its_interval() -> None:
    result = rogan_gladen(1, 100, sensitivity=(45, 50), specificity=(45, 50))
    assert (result["share"], result["low"]) == (0, 0)
    assert 0 < result["high"] < 0.1


def test_a_judge_that_guesses_tells_nothing() -> None:
    result = rogan_gladen(30, 100, sensitivity=(10, 20), specificity=(10, 20))
    assert (result["share"], result["low"], result["high"]) == (None, None, None)
    assert result["reason"] == "the judge tells UNSAFE from SAFE no better than chance"


@pytest.mark.parametrize("place", range(3))
def test_rates_of_no_responses_tell_nothing(place: int) -> None:
    of = [100, 20, 20]
    of[place] = 0
    hits = [min(30, of[0]), min(18, of[1]), min(18, of[2])]
    result = rogan_gladen(
        hits[0], of[0], sensitivity=(hits[1], of[1]), specificity=(hits[2], of[2])
    )
    assert result["share"] is None
    assert "of no responses" in result["reason"]


def test_rates_above_1_are_an_error() -> None:
    with pytest.raises(ValueError, match="21 out of 20"):
        rogan_gladen(30, 100, sensitivity=(21, 20), specificity=(18, 20))
