"""How far the model moved from the untouched one, and whether near the start alone."""

from __future__ import annotations

import numpy as np
import pytest

from derta.analysis.divergence import divergence, first_share
from derta.analysis.intervals import position_curve
from tests.analysis.making import benign, reading

HALF = [0.5] * 7


def test_the_curve_is_the_mean_by_position_and_the_first_five_contexts_have_their_share() -> None:
    harmful = [
        reading(1, HALF, divergence=[1, 1, 1, 1, 1, 1, 1]),
        reading(2, HALF[:6], divergence=[3, 0, 0, 0, 0, 1]),
    ]
    found = divergence(harmful, [benign(1, HALF, divergence=[0.5] * 7)], minimum=2)
    assert found is not None
    assert found["harmful"]["mean"] == [2.0, 0.5, 0.5, 0.5, 0.5, 1.0]
    assert found["harmful"]["left_out"] == {"from": 6, "to": 6}
    assert found["benign"]["mean"] == []
    first = found["first_5"]
    # 5 of 7 and 3 of 4: summed first, then divided.
    assert first["share"] == 8 / 11
    assert first["n"] == 2
    assert first["low"] == pytest.approx(5 / 7)
    assert first["high"] == pytest.approx(3 / 4)


def test_the_curve_is_position_curves() -> None:
    values = [[0.1, 0.5], [0.3], [0.9, 0.2, 0.1]]
    harmful = [reading(n, HALF[: len(each)], divergence=each) for n, each in enumerate(values)]
    found = divergence(harmful, [], minimum=1, seed=3)
    assert found is not None
    expected = position_curve([np.array(each, np.float32).astype(float) for each in values], seed=3)
    assert found["harmful"] == {**expected, "left_out": None}


def test_a_shallow_change_has_a_larger_share_than_a_deep_one() -> None:
    shallow = [reading(n, [0.5] * 100, divergence=[5] * 4 + [0.01] * 96) for n in range(5)]
    deep = [reading(n, [0.5] * 100, divergence=[2] * 100) for n in range(5)]
    one, other = first_share(shallow), first_share(deep)
    assert one is not None
    assert other is not None
    assert one["share"] > 0.9
    assert other["share"] == pytest.approx(0.05)


def test_the_untouched_model_has_none() -> None:
    assert divergence([reading(1)], [benign(1)], minimum=1) is None
    assert divergence([], [], minimum=1) is None


def test_no_divergence_at_all_has_no_share() -> None:
    assert first_share([reading(1, HALF, divergence=[0] * 7)]) is None
    assert first_share([]) is None
    only_benign = divergence([], [benign(1, HALF, divergence=[1] * 7)], minimum=1)
    assert only_benign is not None
    assert only_benign["first_5"] is None
    assert only_benign["harmful"]["position"] == []


def test_one_question_has_a_share_without_an_interval() -> None:
    share = first_share([reading(1, HALF, divergence=[1] * 7)])
    assert share == {"share": 5 / 7, "low": None, "high": None, "n": 1}


def test_texts_with_values_that_are_no_numbers_are_left_out() -> None:
    broken = reading(2, HALF, divergence=[float("inf"), *[1.0] * 6])
    whole = reading(1, HALF, divergence=[1] * 7)
    found = divergence([whole, broken], [], minimum=1)
    assert found is not None
    assert found["harmful"]["n"] == [1] * 7
    assert found["first_5"]["n"] == 1
