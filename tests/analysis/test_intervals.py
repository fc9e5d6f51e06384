"""Intervals against closed forms and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from derta.analysis.intervals import (
    bootstrap_auc,
    paired_bootstrap_difference,
    position_curve,
    wilson,
)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (5, 10, 0.23659, 0.76341),
     (1, 50, 0.00354, 0.10495)],
)  # fmt: skip
def test_wilson_gives_the_textbook_interval(count: int, n: int, low: float, high: float) -> None:
    share = wilson(count, n)
    assert share["count"] == count
    assert share["n"] == n
    assert share["share"] == count / n
    assert share["low"] == pytest.approx(low, abs=1e-4)
    assert share["high"] == pytest.approx(high, abs=1e-4)


def test_a_share_of_nothing_has_no_numbers() -> None:
    assert wilson(0, 0) == {"count": 0, "n": 0, "share": None, "low": None, "high": None}


def test_a_share_larger_than_the_whole_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 out of 2"):
        wilson(3, 2)


def responses(seed: int, count: int, shift: float) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    # Rounded, so that there are ties.
    return [
        np.round(generator.normal(shift, 1.0, generator.integers(1, 30)), 1) for _ in range(count)
    ]


def test_the_area_equals_that_of_scikit_learn_with_ties() -> None:
    harmful, benign = responses(0, 12, 1.0), responses(1, 17, 0.0)
    auc = bootstrap_auc(harmful, benign)
    scores = np.concatenate([*harmful, *benign])
    labels = np.repeat([1, 0], [sum(map(len, harmful)), sum(map(len, benign))])
    assert auc["value"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert auc["harmful_positions"] == sum(map(len, harmful))
    assert auc["benign_responses"] == 17
    assert auc["low"] < auc["value"] < auc["high"]


def test_the_areas_interval_is_that_of_resampled_responses() -> None:
    harmful, benign = responses(2, 8, 1.0), responses(3, 9, 0.0)
    auc = bootstrap_auc(harmful, benign, seed=5, resamples=4000)
    generator = np.random.default_rng(11)
    values = []
    for _ in range(1500):
        drawn = [harmful[i] for i in generator.integers(0, 8, 8)]
        other = [benign[i] for i in generator.integers(0, 9, 9)]
        labels = np.repeat([1, 0], [sum(map(len, drawn)), sum(map(len, other))])
        values.append(roc_auc_score(labels, np.concatenate([*drawn, *other])))
    low, high = np.percentile(values, (2.5, 97.5))
    assert auc["low"] == pytest.approx(low, abs=0.02)
    assert auc["high"] == pytest.approx(high, abs=0.02)


def test_an_area_without_a_side_has_no_numbers() -> None:
    auc = bootstrap_auc([], responses(0, 2, 0.0))
    assert auc["value"] is None
    assert auc["harmful_responses"] == 0


def test_an_area_without_spread_has_no_interval() -> None:
    apart = bootstrap_auc([np.ones(4)] * 3, [np.zeros(4)] * 3)
    assert (apart["value"], apart["low"], apart["high"]) == (1.0, None, None)
    single = bootstrap_auc([np.array([0.1, 0.9])], [np.array([0.1, 0.9])])
    assert (single["value"], single["low"], single["high"]) == (0.5, None, None)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    harmful, benign = responses(0, 6, 0.5), responses(1, 6, 0.0)
    assert bootstrap_auc(harmful, benign, seed=1) == bootstrap_auc(harmful, benign, seed=1)
    assert bootstrap_auc(harmful, benign, seed=1) != bootstrap_auc(harmful, benign, seed=2)


def test_a_curve_averages_the_responses_that_reach_a_position() -> None:
    curve = position_curve([np.array([0.0, 1.0, 0.5]), np.array([1.0])])
    assert curve["position"] == [0, 1, 2]
    assert curve["mean"] == [0.5, 1.0, 0.5]
    assert curve["n"] == [2, 1, 1]
    assert (curve["low"][0], curve["high"][0]) == (0.0, 1.0)
    assert (curve["low"][1], curve["high"][1]) == (1.0, 1.0)


def test_a_curves_interval_has_the_width_of_the_standard_error() -> None:
    values = [np.array([x]) for x in np.random.default_rng(0).normal(0, 1, 400)]
    curve = position_curve(values, resamples=2000)
    assert curve["high"][0] - curve["low"][0] == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_no_responses_give_an_empty_curve() -> None:
    assert position_curve([])["position"] == []


def test_the_loss_difference_is_per_token_and_its_interval_is_paired() -> None:
    generator = np.random.default_rng(0)
    untouched = [generator.exponential(2.0, size) for size in (3, 50, 20, 7)]
    losses = [x + 0.05 for x in untouched]
    result = paired_bootstrap_difference(losses, untouched)
    total = np.concatenate(untouched)
    assert result["untouched_nats"] == pytest.approx(total.mean())
    assert result["nats"] == pytest.approx(total.mean() + 0.05)
    assert result["difference"] == pytest.approx(0.05)
    # The same responses on both sides: a constant difference has no spread at all.
    assert result["low"] == pytest.approx(0.05)
    assert result["high"] == pytest.approx(0.05)
    assert (result["responses"], result["tokens"]) == (4, 80)


def test_losses_of_different_responses_are_not_compared() -> None:
    with pytest.raises(ValueError, match="not of the same responses"):
        paired_bootstrap_difference([np.ones(3)], [np.ones(4)])
