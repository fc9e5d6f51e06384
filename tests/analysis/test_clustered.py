"""Shares over questions: one way to count them, one by one or many at once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from derta.analysis.clustered import (
    clustered_curve,
    clustered_mean,
    clustered_share,
    question_share,
    ratio_interval,
)
from derta.analysis.intervals import group_sums, position_curve, wilson


def test_a_curve_of_shares_is_each_share_to_the_digit() -> None:
    generator = np.random.default_rng(0)
    totals = generator.integers(1, 7, size=30).astype(float)
    shares = np.linspace(0, 1, 9)
    counts = np.array([[round(total * share) for share in shares] for total in totals], float)
    curve = clustered_curve(counts, totals)
    for column in range(len(shares)):
        entry = clustered_share(counts[:, column].tolist(), totals.tolist())
        for name in ("share", "low", "high", "n"):
            assert curve[name][column] == entry[name], (name, column)
    assert (curve["low"][0], curve["high"][-1]) == (0.0, 1.0)


def test_a_curve_of_one_sample_a_question_has_wilsons_intervals() -> None:
    curve = clustered_curve(np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), np.ones(3))
    assert curve["share"] == [1 / 3, 2 / 3]
    assert curve["low"] == [wilson(1, 3)["low"], wilson(2, 3)["low"]]
    assert curve["n"] == [3, 3]


def test_a_curve_of_nothing_is_empty() -> None:
    assert clustered_curve(np.zeros((0, 0)), np.zeros(0)) == {
        "share": [],
        "low": [],
        "high": [],
        "n": [],
    }
    assert clustered_curve(np.zeros((4, 0)), np.ones(4))["share"] == []


def test_samples_of_one_question_count_together() -> None:
    share = question_share(["a", "b", "a", "c"], [1, 0, 1, 1])
    together = clustered_share([2, 0, 1], [2, 1, 1])
    assert share == {name: together[name] for name in wilson(0, 0)} | {"questions": 3}
    assert (share["count"], share["n"]) == (3, 4)
    single = question_share(["a", "b", "c"], [1, 0, 1])
    assert {name: single[name] for name in wilson(2, 3)} == wilson(2, 3)


def test_samples_may_be_counted_already() -> None:
    share = question_share(["a", "b"], [3, 1], [4, 6])
    entry = clustered_share([3, 1], [4, 6])
    assert {name: share[name] for name in ("count", "n", "share", "low", "high")} == {
        name: entry[name] for name in ("count", "n", "share", "low", "high")
    }


@pytest.mark.parametrize("whole", [0, 1, 7, 20, 40])
def test_samples_that_agree_within_each_question_are_worth_one_each(whole: int) -> None:
    share = clustered_share([6] * whole + [0] * (40 - whole), [6] * 40)
    expected = wilson(whole, 40)
    assert share["n"] == 240
    for name in ("share", "low", "high"):
        assert share[name] == pytest.approx(expected[name], abs=1e-12), name
    mean = clustered_mean(
        np.repeat([[1.0], [0.0]], [whole, 40 - whole], axis=0) * np.ones(3), np.ones((40, 3))
    )
    for name in ("share", "low", "high"):
        assert mean[name] == pytest.approx(expected[name], abs=1e-12), name


def test_samples_that_differ_within_questions_are_worth_more_and_never_more_than_they_are() -> None:
    generator = np.random.default_rng(1)
    counts = generator.binomial(6, 0.4, size=400)
    share = clustered_share(counts.tolist(), [6] * 400)
    free = wilson(int(counts.sum()), 2400)
    assert free["high"] - free["low"] <= share["high"] - share["low"]
    assert share["high"] - share["low"] == pytest.approx(free["high"] - free["low"], rel=0.1)
    even = clustered_share([3] * 40, [6] * 40)  # less spread than chance would give
    assert (even["low"], even["high"]) == (wilson(120, 240)["low"], wilson(120, 240)["high"])


def test_one_bad_answer_more_never_makes_a_model_look_surer_to_be_safe() -> None:
    """With a bootstrap, 0 of 240 had the upper end 8.8 % and 1 of 240 had 1.3 %."""
    for size in (2, 6, 10):
        highs = [
            clustered_share([1] * count + [0] * (40 - count), [size] * 40)["high"]
            for count in range(11)
        ]
        assert all(later > 0.95 * earlier for earlier, later in itertools.pairwise(highs)), size
        assert min(highs[:5]) > 0.9 * wilson(0, 40)["high"]


@pytest.mark.parametrize("truth", [0.015, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_the_interval_covers_the_truth_as_often_as_it_says(
    truth: float, correlation: float
) -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        rates = np.full(40, truth)
        if correlation:
            strength = (1 - correlation) / correlation
            rates = generator.beta(truth * strength, (1 - truth) * strength, size=40)
        counts = generator.binomial(6, rates)
        share = clustered_share(counts.tolist(), [6] * 40)
        covered += share["low"] <= truth <= share["high"]
    assert covered / 400 > 0.92  # 3 standard errors below 0.95


@pytest.mark.parametrize("truth", [0.02, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_the_interval_of_a_mean_covers_it_where_shares_have_unlike_many_questions(
    truth: float, shared: float
) -> None:
    generator = np.random.default_rng(0)
    totals = np.ones((40, 6))
    totals[10:, 4:] = 0  # two attacks have 10 of the 40 questions
    covered = 0
    for _ in range(400):
        own, common = generator.random((40, 6)), generator.random((40, 1))
        drawn = np.where(generator.random((40, 6)) < shared, common, own)
        mean = clustered_mean((drawn < truth) * totals, totals)
        covered += mean["low"] <= truth <= mean["high"]
    assert covered / 400 > 0.92


def test_many_alike_samples_of_many_questions_are_not_taken_for_few() -> None:
    """Shares of tokens: every response shows both kinds, so the spread over responses is known."""
    generator = np.random.default_rng(3)
    counts = generator.binomial(60, 0.86, size=40)
    share = clustered_share(counts.tolist(), [60] * 40)
    free = wilson(int(counts.sum()), 2400)
    assert share["high"] - share["low"] < 1.6 * (free["high"] - free["low"])


def test_a_share_of_nothing_has_no_numbers() -> None:
    share = question_share([], [])
    assert share == {**wilson(0, 0), "questions": 0}


def test_rows_are_added_up_in_the_order_in_which_their_groups_appear() -> None:
    table = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    assert group_sums(table, ["b", "a", "b"]).tolist() == [[5.0, 50.0], [2.0, 20.0]]
    assert group_sums(np.zeros((0, 2)), []).shape == (0, 2)


def test_a_ratio_without_spread_between_questions_has_no_interval() -> None:
    assert ratio_interval(np.array([3.0]), np.array([5.0])) == (None, None)
    assert ratio_interval(np.zeros(9), np.ones(9)) == (None, None)
    assert ratio_interval(np.zeros(0), np.zeros(0)) == (None, None)
    low, high = ratio_interval(np.array([1.0, 9.0, 4.0]), np.ones(3))
    assert low is not None
    assert high is not None
    assert low < 14 / 3 < high


def test_a_ratios_interval_is_that_of_drawing_questions_one_by_one() -> None:
    above, below = np.array([1.0, 8.0, 3.0, 0.0]), np.array([2.0, 8.0, 4.0, 5.0])
    generator = np.random.default_rng(7)
    drawn = []
    for _ in range(4000):
        chosen = [int(generator.integers(4)) for _ in range(4)]
        drawn.append(sum(above[i] for i in chosen) / sum(below[i] for i in chosen))
    low, high = ratio_interval(above, below)
    assert low == pytest.approx(np.percentile(drawn, 2.5), abs=0.05)
    assert high == pytest.approx(np.percentile(drawn, 97.5), abs=0.05)


def test_texts_of_one_question_are_drawn_together() -> None:
    values = [np.array([0.0, 0.2]), np.array([1.0]), np.array([0.1, 0.9]), np.array([0.5])]
    alone = position_curve(values, seed=2)
    assert position_curve(values, groups=["a", "b", "c", "d"], seed=2) == alone
    together = position_curve(values, groups=["a", "a", "b", "b"], seed=2)
    assert (together["mean"], together["n"]) == (alone["mean"], alone["n"])
    # Both questions have a low and a high text: nothing is left that could vary much.
    assert together["high"][0] - together["low"][0] < alone["high"][0] - alone["low"][0]
