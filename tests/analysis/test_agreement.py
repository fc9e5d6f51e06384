"""Kappa against published worked examples, independent formulas and simulated raters."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from derta.analysis.agreement import cohen_kappa, confusion, fleiss_kappa
from derta.analysis.intervals import wilson


def raters(table: list[list[int]]) -> tuple[list[str], list[str]]:
    """Spell out a table of counts: the first rater's verdicts are its rows."""
    first, second = [], []
    for row, counts in enumerate(table):
        for column, count in enumerate(counts):
            first += [str(row)] * count
            second += [str(column)] * count
    return first, second


# Cohen (1960), shares of 200 patients; as quoted in the documentation of the R package psych.
COHEN_1960 = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
# Fleiss (1981), page 213 (Fleiss, Levin and Paik 2003, table 18.1): 100 diagnoses.
FLEISS_1981 = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]
# The dermatologists of the manual of SAS, procedure FREQ.
SAS_SKIN = [[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]]
# A table whose SAS output stands in the tests of statsmodels.
SAS_SMALL = [[0, 4, 1], [0, 8, 0], [0, 1, 5]]
# Kundel and Polansky (2003), as computed in the documentation of the R package vcdExtra.
MAMMOGRAMS = [[34, 10, 2, 0], [6, 8, 8, 2], [2, 5, 4, 12], [0, 1, 2, 14]]
# Gwet's example of two abstractors, in the documentation of his R package irrCAC.
ABSTRACTORS = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]

# Fleiss (1971): 30 patients, six psychiatrists each, five diagnoses; the table as in the R package
# irr (`diagnoses`) and the tests of statsmodels.
DIAGNOSES = """
444444 222555 233335 555555 222444 113333 333355 113334 114444 555555
144444 124444 222333 144444 224445 333335 111455 111112 224444 133555
555555 244444 224555 114444 144445 222224 111155 224444 133333 555555
"""

# The first 15 of them, shown with irrCAC's figures in its documentation.
GWET_15 = [Counter(word) for word in DIAGNOSES.split()[:15]]

# Wikipedia's example of Fleiss' kappa: 10 items, 14 raters, five verdicts.
FOURTEEN = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "digits", "kappa", "error"),
    [
        (COHEN_1960, 3, 0.492, None),
        (FLEISS_1981, 2, 0.68, None),
        (SAS_SKIN, 4, 0.3449, 0.0724),
        (SAS_SMALL, 4, 0.4842, 0.1380),
        (MAMMOGRAMS, 4, 0.3713, 0.0603),
        (ABSTRACTORS, 7, 0.7964094, 0.0589107),
    ],
)
def test_cohens_kappa_is_that_of_published_examples_to_the_printed_digit(
    table: list[list[int]], digits: int, kappa: float | None, error: float | None
) -> None:
    result = cohen_kappa(*raters(table))
    assert result["n"] == sum(map(sum, table))
    if kappa is not None:
        assert round(result["kappa"], digits) == kappa
    if error is not None:
        assert round(result["standard_error"], digits) == error


@pytest.mark.parametrize(
    ("table", "low", "high"), [(SAS_SKIN, 0.2030, 0.4868), (SAS_SMALL, 0.2137, 0.7547)]
)
def test_cohens_interval_is_the_one_that_sas_prints(
    table: list[list[int]], low: float, high: float
) -> None:
    result = cohen_kappa(*raters(table))
    assert (round(result["low"], 4), round(result["high"], 4)) == (low, high)


def test_cohens_observed_and_expected_agreement_are_those_of_1960() -> None:
    result = cohen_kappa(*raters(COHEN_1960))
    assert result["observed"] == pytest.approx(0.70)
    assert result["expected"] == pytest.approx(0.41)


def test_cohens_kappa_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    for size, n in [(2, 5), (3, 40), (5, 300)]:
        first = generator.integers(0, size, n).astype(str).tolist()
        second = [
            str(generator.integers(0, size)) if generator.random() < 0.5 else each for each in first
        ]
        assert cohen_kappa(first, second)["kappa"] == pytest.approx(
            cohen_kappa_score(first, second), abs=1e-12
        )


def test_cohens_standard_error_is_the_1969_formula_term_by_term() -> None:
    table = np.array(SAS_SKIN) / 88
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    observed, expected = np.trace(table), rows @ columns
    kappa = (observed - expected) / (1 - expected)
    agreeing = sum(table[i, i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in range(4))
    differing = (1 - kappa) ** 2 * sum(
        table[i, j] * (columns[i] + rows[j]) ** 2 for i in range(4) for j in range(4) if i != j
    )
    square = (kappa - expected * (1 - kappa)) ** 2
    variance = (agreeing + differing - square) / ((1 - expected) ** 2 * 88)
    result = cohen_kappa(*raters(SAS_SKIN))
    assert result["standard_error"] == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_cohens_interval_holds_kappa_95_times_in_100() -> None:
    shares = np.array([[0.30, 0.06], [0.09, 0.55]])
    expected = float(shares.sum(axis=1) @ shares.sum(axis=0))
    truth = (0.85 - expected) / (1 - expected)
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(800):
        counts = generator.multinomial(150, shares.ravel()).reshape(2, 2)
        result = cohen_kappa(*raters(counts.tolist()))
        held += result["low"] <= truth <= result["high"]
    assert 0.93 <= held / 800 <= 0.97


def test_raters_who_never_differed_may_still_differ() -> None:
    result = cohen_kappa(*raters([[12, 0], [0, 28]]))
    expected = 0.3**2 + 0.7**2
    assert result["kappa"] == 1
    assert result["standard_error"] == pytest.approx(0, abs=1e-12)
    assert result["high"] == 1
    agreed = wilson(40, 40)["low"]
    assert result["low"] == pytest.approx((agreed - expected) / (1 - expected))
    assert result["low"] < 0.85


def test_raters_who_always_differ_have_the_lowest_kappa_and_an_interval() -> None:
    result = cohen_kappa(*raters([[0, 10], [10, 0]]))
    assert result["kappa"] == pytest.approx(-1)
    assert result["low"] == pytest.approx(-1)
    assert -1 < result["high"] < 0


def test_kappa_of_nothing_and_of_a_single_verdict_is_not_defined() -> None:
    nothing = {"kappa": None, "standard_error": None, "low": None, "high": None}
    assert cohen_kappa([], []) == {"n": 0, "observed": None, "expected": None} | nothing
    same = cohen_kappa(["SAFE"] * 5, ["SAFE"] * 5)
    assert same == {"n": 5, "observed": 1.0, "expected": 1.0} | nothing


def test_a_single_item_has_a_kappa_of_0_and_no_interval() -> None:
    result = cohen_kappa(["SAFE"], ["UNSAFE"])
    assert result["kappa"] == 0
    assert (result["standard_error"], result["low"], result["high"]) == (None, None, None)


def test_repeated_items_of_a_cluster_make_kappa_no_surer() -> None:
    first, second = raters(SAS_SKIN)
    single = cohen_kappa(first, second)
    four = cohen_kappa(first * 4, second * 4)
    clustered = cohen_kappa(first * 4, second * 4, clusters=list(range(88)) * 4)
    assert four["standard_error"] == pytest.approx(single["standard_error"] / 2)
    assert clustered["kappa"] == pytest.approx(single["kappa"])
    assert clustered["standard_error"] == pytest.approx(
        single["standard_error"] * math.sqrt(88 / 87)
    )
    assert clustered["low"] == pytest.approx(single["low"], abs=0.02)
    assert clustered["high"] == pytest.approx(single["high"], abs=0.02)


def test_clusters_of_one_item_each_are_items() -> None:
    first, second = raters(SAS_SKIN)
    assert cohen_kappa(first, second, clusters=list(range(88))) == cohen_kappa(first, second)


def test_clusters_draw_alike_with_the_same_seed_and_otherwise_with_another() -> None:
    first, second = raters(SAS_SKIN)
    clusters = [index // 2 for index in range(88)]
    again = [cohen_kappa(first, second, clusters=clusters, seed=seed) for seed in (1, 1, 2)]
    assert again[0] == again[1]
    assert again[0]["low"] != again[2]["low"]
    assert again[0]["standard_error"] == again[2]["standard_error"]


def test_clusters_that_never_differed_count_as_one_item_each() -> None:
    first = ["SAFE", "UNSAFE"] * 20
    result = cohen_kappa(first, first, clusters=[index // 8 for index in range(40)])
    agreed = wilson(5, 5)["low"]
    assert result["low"] == pytest.approx((agreed - 0.5) / 0.5)
    assert result["high"] == 1


def test_one_cluster_says_nothing_of_its_spread() -> None:
    result = cohen_kappa(*raters(SAS_SMALL), clusters=["a"] * 19)
    assert result["kappa"] == pytest.approx(0.4842, abs=1e-4)
    assert (result["standard_error"], result["low"], result["high"]) == (None, None, None)


def test_verdicts_that_do_not_pair_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 items, but 1 in 'second'"):
        cohen_kappa(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="1 items, but 2 in 'clusters'"):
        cohen_kappa(["a"], ["a"], clusters=[1, 2])
    with pytest.raises(ValueError, match="1 items, but 0 in 'clusters'"):
        fleiss_kappa([{"a": 2}], clusters=[])


# --- more raters -----------------------------------------------------------------------------


def test_fleiss_kappa_is_that_of_1971_to_the_printed_digit() -> None:
    result = fleiss_kappa([Counter(word) for word in DIAGNOSES.split()])
    assert (result["n"], result["raters_low"], result["raters_high"]) == (30, 6, 6)
    assert round(result["kappa"], 3) == 0.430
    # The same with more digits, as the R package irr prints it.
    assert round(result["kappa"], 7) == 0.4302445


def test_fleiss_kappa_is_that_of_the_best_known_example() -> None:
    result = fleiss_kappa([dict(zip("abcde", row, strict=True)) for row in FOURTEEN])
    assert round(result["kappa"], 3) == 0.210
    assert round(result["observed"], 3) == 0.378
    assert round(result["expected"], 3) == 0.213


def test_fleiss_standard_error_is_gwets_to_the_printed_digit() -> None:
    result = fleiss_kappa(GWET_15)
    assert round(result["observed"], 7) == 0.5511111
    assert round(result["expected"], 7) == 0.2340741
    assert round(result["kappa"], 7) == 0.4139265
    assert round(result["standard_error"], 8) == 0.08119291
    # He prints (0.24, 0.588), with the t distribution of 14 degrees of freedom.
    half = 2.1447867 * result["standard_error"]
    assert round(result["kappa"] - half, 2) == 0.24
    assert round(result["kappa"] + half, 3) == 0.588


def test_unequal_numbers_of_raters_follow_fleiss_and_cuzick() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(2, 7, 40)
    found = generator.binomial(sizes, generator.beta(0.4, 0.6, 40))
    share = found.sum() / sizes.sum()
    own = found / sizes
    kappa = 1 - (sizes * own * (1 - own)).sum() / (40 * (sizes.mean() - 1) * share * (1 - share))
    ratings = [{"UNSAFE": int(x), "SAFE": int(m - x)} for x, m in zip(found, sizes, strict=True)]
    result = fleiss_kappa(ratings)
    assert result["kappa"] == pytest.approx(kappa, rel=1e-12)
    assert (result["raters_low"], result["raters_high"]) == (sizes.min(), sizes.max())


def test_fleiss_standard_error_is_near_the_jackknifes() -> None:
    generator = np.random.default_rng(1)
    sizes = generator.integers(2, 6, 80)
    ratings = []
    for size in sizes:
        shares = generator.dirichlet([0.5, 0.4, 0.2])
        ratings.append(dict(zip("abc", generator.multinomial(size, shares).tolist(), strict=True)))
    without = np.array(
        [fleiss_kappa(ratings[:i] + ratings[i + 1 :])["kappa"] for i in range(len(ratings))]
    )
    jackknife = math.sqrt(79 / 80 * ((without - without.mean()) ** 2).sum())
    assert fleiss_kappa(ratings)["standard_error"] == pytest.approx(jackknife, rel=0.03)


def test_fleiss_interval_holds_kappa_95_times_in_100() -> None:
    slip, share = 0.15, 0.4
    agreement = (1 - slip) ** 2 + slip**2
    said = share * (1 - slip) + (1 - share) * slip
    chance = said**2 + (1 - said) ** 2
    truth = (agreement - chance) / (1 - chance)
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        is_unsafe = generator.random(100) < share
        sizes = generator.integers(2, 5, 100)
        found = generator.binomial(sizes, np.where(is_unsafe, 1 - slip, slip))
        result = fleiss_kappa(
            [{"UNSAFE": int(x), "SAFE": int(m - x)} for x, m in zip(found, sizes, strict=True)]
        )
        held += result["low"] <= truth <= result["high"]
    assert 0.92 <= held / 400 <= 0.98


def test_items_with_fewer_than_two_raters_are_left_out_and_counted() -> None:
    items = [Counter(word) for word in DIAGNOSES.split()]
    lonely = [items[0], {"1": 1}, {}, {"2": 0}, *items[1:]]
    result = fleiss_kappa(lonely, clusters=list(range(len(lonely))))
    assert result == {**fleiss_kappa(items), "left_out": 3}


def test_fleiss_kappa_of_two_raters_does_not_tell_them_apart() -> None:
    first, second = raters(SAS_SKIN)
    pairs = [Counter(pair) for pair in zip(first, second, strict=True)]
    swapped = [Counter(pair) for pair in zip(second, first, strict=True)]
    result = fleiss_kappa(pairs)
    assert result == fleiss_kappa(swapped)
    # Scott's pi: at most Cohen's kappa, and equal to it only for equal margins.
    assert result["kappa"] < cohen_kappa(first, second)["kappa"]
    assert result["observed"] == pytest.approx(cohen_kappa(first, second)["observed"])


def test_fleiss_kappa_without_items_or_with_one_verdict_is_not_defined() -> None:
    nothing = {"kappa": None, "standard_error": None, "low": None, "high": None}
    empty = {"observed": None, "expected": None, "raters_low": None, "raters_high": None}
    assert fleiss_kappa([]) == {"n": 0, "left_out": 0} | empty | nothing
    assert fleiss_kappa([{"a": 1}]) == {"n": 0, "left_out": 1} | empty | nothing
    same = fleiss_kappa([{"a": 3}, {"a": 2}])
    assert (same["n"], same["observed"], same["expected"], same["kappa"]) == (2, 1, 1, None)


def test_repeated_items_of_a_cluster_make_fleiss_kappa_no_surer() -> None:
    items = [Counter(word) for word in DIAGNOSES.split()]
    single = fleiss_kappa(items)
    clustered = fleiss_kappa(items * 3, clusters=list(range(30)) * 3)
    assert clustered["kappa"] == pytest.approx(single["kappa"])
    assert clustered["standard_error"] == pytest.approx(single["standard_error"])
    # The percentile interval of 30 patients is as wide, if not symmetrical.
    width = single["high"] - single["low"]
    assert clustered["high"] - clustered["low"] == pytest.approx(width, rel=0.15)


def test_raters_who_all_agreed_may_still_differ() -> None:
    result = fleiss_kappa([{"a": 3}] * 10 + [{"b": 3}] * 10)
    assert (result["kappa"], result["high"]) == (1, 1)
    assert result["low"] == pytest.approx((wilson(20, 20)["low"] - 0.5) / 0.5)


def test_fewer_than_no_raters_are_an_error() -> None:
    with pytest.raises(ValueError, match="fewer than no raters"):
        fleiss_kappa([{"a": 3, "b": -1}])


# --- the judge against people ----------------------------------------------------------------


def test_the_judges_verdicts_are_counted_against_peoples() -> None:
    automatic = ["UNSAFE"] * 8 + ["SAFE"] * 10 + ["UNREADABLE", "", "SAFE", "UNSAFE"]
    human = ["UNSAFE"] * 6 + ["SAFE"] * 2 + ["UNSAFE"] + ["SAFE"] * 9
    human += ["SAFE", "UNSAFE", "CANNOT_TELL", ""]
    result = confusion(automatic, human)
    assert (result["n"], result["without_verdict"]) == (18, 4)
    assert result["table"] == {
        "UNSAFE": {"UNSAFE": 6, "SAFE": 1},
        "SAFE": {"UNSAFE": 2, "SAFE": 9},
    }
    assert result["precision"] == wilson(6, 8)
    assert result["recall"] == wilson(6, 7)
    assert result["specificity"] == wilson(9, 11)
    assert result["kappa"] == cohen_kappa(automatic[:18], human[:18])


def test_a_comparison_without_common_verdicts_has_no_figures() -> None:
    result = confusion(["SAFE"], [""])
    assert (result["n"], result["without_verdict"]) == (0, 1)
    assert result["precision"]["share"] is None
    assert result["kappa"]["kappa"] is None
    assert result["table"]["UNSAFE"] == {"UNSAFE": 0, "SAFE": 0}


def test_clusters_go_with_the_items_that_are_compared() -> None:
    automatic = ["SAFE", "", "UNSAFE", "SAFE", "SAFE", "UNSAFE"]
    human = ["SAFE", "SAFE", "UNSAFE", "UNSAFE", "SAFE", "SAFE"]
    result = confusion(automatic, human, clusters=["a", "x", "a", "b", "b", "c"], seed=4)
    kept = [0, 2, 3, 4, 5]
    assert result["kappa"] == cohen_kappa(
        [automatic[i] for i in kept],
        [human[i] for i in kept],
        clusters=["a", "a", "b", "b", "c"],
        seed=4,
    )


def test_verdicts_of_different_items_are_an_error() -> None:
    with pytest.raises(ValueError, match="1 items, but 2 in 'human'"):
        confusion(["SAFE"], ["SAFE", "SAFE"])
