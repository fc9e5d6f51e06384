"""Probability, rank and stops of the refusal token, position by position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from derta.analysis.by_position import probability_curve, rank_curve
from derta.analysis.intervals import position_curve, wilson
from derta.analysis.readings import Reading
from derta.analysis.stops import stop_curve
from tests.analysis.making import reading

PROBABILITIES = [[0.9, 0.8, 0.7], [0.1, 0.2], [0.5, 0.5, 0.5, 0.5, 0.5]]


def texts() -> list[Reading]:
    return [reading(number, values) for number, values in enumerate(PROBABILITIES)]


# --- probability -------------------------------------------------------------------------------


def test_a_curve_is_the_mean_over_the_texts_that_reach_the_position() -> None:
    curve = probability_curve(texts(), minimum=2)
    assert curve["position"] == [0, 1, 2]
    assert curve["n"] == [3, 3, 2]
    assert curve["mean"] == pytest.approx([0.5, 0.5, 0.6], abs=1e-7)
    assert curve["left_out"] == {"from": 3, "to": 4}


def test_a_curve_is_the_one_that_the_quickstart_draws_cut_where_few_texts_reach() -> None:
    values = [np.asarray(each.refusal_probability, np.float64) for each in texts()]
    whole = position_curve(values, seed=4)
    cut = probability_curve(texts(), minimum=2, seed=4)
    for name in ("position", "mean", "low", "high", "n"):
        assert cut[name] == whole[name][:3]
    assert probability_curve(texts(), minimum=1, seed=4) == {**whole, "left_out": None}


def test_texts_of_one_question_are_drawn_together() -> None:
    values = [[0.1], [0.9], [0.2], [0.8], [0.1], [0.9]]
    apart = probability_curve([reading(n, v) for n, v in enumerate(values)], minimum=1)
    together = probability_curve([reading(n // 2, v) for n, v in enumerate(values)], minimum=1)
    assert together["mean"] == apart["mean"] == pytest.approx([0.5])
    # Each question has a low and a high text, so no draw is far from the mean.
    assert apart["high"][0] - apart["low"][0] > 0.4
    assert together["high"][0] - together["low"][0] < 0.1


def test_too_few_texts_make_no_curve_and_say_so() -> None:
    for curve in (probability_curve(texts(), minimum=20), stop_curve(texts(), minimum=20)):
        assert curve["position"] == []
        assert curve["left_out"] == {"from": 0, "to": 4}
    assert rank_curve(texts(), minimum=20)["median"] == []


def test_no_texts_make_an_empty_curve() -> None:
    for curve in (
        probability_curve([], minimum=1),
        rank_curve([], minimum=1),
        stop_curve([], minimum=1),
    ):
        assert all(v == [] for name, v in curve.items() if name not in ("left_out", "anywhere"))
        assert curve["left_out"] is None
    assert stop_curve([], minimum=1)["anywhere"]["share"] is None


# --- rank --------------------------------------------------------------------------------------


def ranked(*ranks: list[int], **changes: Any) -> list[Reading]:
    return [
        reading(number, [0.1] * len(each), each, **changes) for number, each in enumerate(ranks)
    ]


def test_ranks_have_median_quartiles_and_the_share_of_first_choices() -> None:
    curve = rank_curve(ranked([1, 7], [1, 1], [2, 3], [5], [100, 1]), minimum=4)
    assert curve["position"] == [0, 1]
    assert curve["median"] == [2.0, 2.0]
    assert curve["lower_quartile"] == [1.0, 1.0]
    assert curve["upper_quartile"] == [5.0, 4.0]
    assert curve["first"] == [0.4, 0.5]
    assert curve["n"] == [5, 4]
    assert curve["left_out"] is None


# --- stops -------------------------------------------------------------------------------------


def test_a_text_stays_stopped_from_its_first_first_choice_on() -> None:
    curve = stop_curve(ranked([2, 1, 2, 2], [3, 3, 3, 1], [9, 9, 9, 9]), minimum=3)
    assert curve["share"] == [0, 1 / 3, 1 / 3, 2 / 3]
    assert curve["n"] == [3, 3, 3, 3]
    expected = [wilson(count, 3) for count in (0, 1, 1, 2)]
    assert curve["low"] == [each["low"] for each in expected]
    assert curve["high"] == [each["high"] for each in expected]


def test_a_text_that_ends_keeps_the_state_of_its_end() -> None:
    curve = stop_curve(ranked([1], [2], [2, 2, 1], [2, 2, 2]), minimum=2)
    assert curve["share"] == [0.25, 0.25, 0.5]
    assert curve["n"] == [4, 4, 4]


def long_stopped(**changes: Any) -> list[Reading]:
    """25 short texts, and 15 long ones that are stopped where few texts go on."""
    ranks = [[2] * 50] * 25 + [[2] * 100 + [1] + [2] * 99] * 15
    return ranked(*ranks, **changes)


def test_a_stop_beyond_the_end_of_the_curve_is_a_stop_of_the_text() -> None:
    curve = stop_curve(long_stopped(), minimum=20)
    assert len(curve["position"]) == 50
    assert curve["share"][-1] == 0
    assert curve["anywhere"] == {**wilson(15, 40), "questions": 40}


def test_whole_texts_of_one_question_are_one_piece_of_evidence() -> None:
    made = [reading(number // 4, [0.1], [1 if number < 20 else 2]) for number in range(40)]
    anywhere = stop_curve(made, minimum=20)["anywhere"]
    assert (anywhere["count"], anywhere["n"], anywhere["questions"]) == (20, 40, 10)
    assert anywhere["high"] - anywhere["low"] > wilson(20, 40)["high"] - wilson(20, 40)["low"]


def test_the_share_of_stopped_texts_never_falls() -> None:
    generator = np.random.default_rng(1)
    made = ranked(*(generator.integers(1, 9, size=generator.integers(1, 30)) for _ in range(40)))
    curve = stop_curve(made, minimum=5)
    for name in ("share", "low", "high"):
        assert curve[name] == sorted(curve[name])


def test_texts_of_one_question_are_counted_as_one_piece_of_evidence() -> None:
    made = [reading(number // 4, [0.1], [1 if number < 20 else 2]) for number in range(40)]
    curve = stop_curve(made, minimum=20)
    assert (curve["share"], curve["n"]) == ([0.5], [40])
    single = wilson(5, 10)
    width = curve["high"][0] - curve["low"][0]
    assert width == pytest.approx(single["high"] - single["low"], rel=0.15)


def test_naive_loops_agree() -> None:
    generator = np.random.default_rng(2)
    rows = [[int(r) for r in generator.integers(1, 6, size=5 + 3 * n)] for n in range(12)]
    made = ranked(*rows)
    stops, ranks = stop_curve(made, minimum=4), rank_curve(made, minimum=4)
    end = sorted((len(row) for row in rows), reverse=True)[3]
    assert stops["position"] == ranks["position"] == list(range(end))
    for position in range(end):
        stopped = 0
        here = []
        for row in rows:
            if 1 in row[: position + 1]:
                stopped += 1
            if position < len(row):
                here.append(row[position])
        assert stops["share"][position] == stopped / 12
        assert ranks["first"][position] == pytest.approx(here.count(1) / len(here))
        assert ranks["n"][position] == len(here)
        assert ranks["median"][position] == float(np.median(here))
