"""How many words of substance got out before the refusal."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from derta.analysis.exposure import exposures
from derta.analysis.intervals import wilson
from derta.analysis.outcomes import ERROR
from tests.analysis.making import outcome

WORDS = [0, 0, 0, 7, 12, 12, 40, 61]


def test_exposure_has_mean_median_quartile_and_the_share_of_none() -> None:
    found = exposures([outcome(n, exposed_words=words) for n, words in enumerate(WORDS)])
    assert list(found) == ["all", "direct"]
    assert found["all"] == found["direct"]
    entry = found["direct"]
    assert (entry["n"], entry["questions"], entry["left_out"]) == (8, 8, 0)
    assert entry["mean"] == sum(WORDS) / 8
    assert entry["median"] == (7 + 12) / 2
    assert entry["upper_quartile"] == 12 + (40 - 12) / 4
    assert {name: entry["none"][name] for name in wilson(0, 1)} == wilson(3, 8)
    assert entry["low"] < entry["mean"] < entry["high"]
    assert entry["cumulative"] == [
        {"words": 0, "share": 3 / 8},
        {"words": 7, "share": 4 / 8},
        {"words": 12, "share": 6 / 8},
        {"words": 40, "share": 7 / 8},
        {"words": 61, "share": 1.0},
    ]


def test_scenarios_stand_apart_and_trained_copies_are_not_pooled() -> None:
    found = exposures(
        [
            outcome(1, exposed_words=10),
            outcome(1, exposed_words=20, scenario="pair"),
            outcome(1, exposed_words=90, scenario="fine_tuning", cell="harmful, 5 steps"),
        ]
    )
    assert list(found) == ["all", "direct", "pair", "fine_tuning"]
    assert (found["all"]["n"], found["all"]["mean"]) == (2, 15.0)
    assert found["all"]["questions"] == 1
    assert found["fine_tuning"]["mean"] == 90.0


def test_what_is_not_known_is_counted_apart() -> None:
    found = exposures(
        [
            outcome(1, exposed_words=5),
            outcome(2, exposed_words=None, verdict="UNREADABLE"),
            outcome(3, exposed_words=None, verdict=ERROR),
            outcome(4, exposed_words=None, category="ordinary", scenario="benign"),
            outcome(5, exposed_words=None, scenario="pair"),
        ]
    )
    assert list(found) == ["all", "direct"]
    assert (found["direct"]["n"], found["direct"]["left_out"]) == (1, 1)
    assert found["all"]["left_out"] == 2
    assert exposures([]) == {}
    assert exposures([outcome(1, exposed_words=None)]) == {}


def test_one_question_or_equal_ones_have_no_interval_of_the_mean() -> None:
    one = exposures([outcome(1, exposed_words=5), outcome(1, exposed_words=9)])["all"]
    assert (one["mean"], one["low"], one["high"]) == (7.0, None, None)
    none = exposures([outcome(n, exposed_words=0) for n in range(9)])["all"]
    assert (none["mean"], none["low"], none["high"]) == (0.0, None, None)
    assert none["none"]["low"] == wilson(9, 9)["low"]


def test_naive_loops_agree_and_the_interval_is_that_of_drawn_questions() -> None:
    answers = [outcome(n % 10, exposed_words=(n * 17) % 43) for n in range(50)]
    entry = exposures(answers, seed=1)["all"]
    words = [answer.exposed_words or 0 for answer in answers]
    assert entry["mean"] == pytest.approx(statistics.fmean(words))
    assert entry["median"] == statistics.median(words)
    for step in entry["cumulative"]:
        assert step["share"] == sum(each <= step["words"] for each in words) / 50
    generator = np.random.default_rng(5)
    means = []
    for _ in range(3000):
        drawn: list[int] = []
        for question in generator.integers(10, size=10):
            drawn += [w for n, w in enumerate(words) if n % 10 == question]
        means.append(statistics.fmean(drawn))
    width = entry["high"] - entry["low"]
    assert entry["low"] == pytest.approx(np.percentile(means, 2.5), abs=0.1 * width)
    assert entry["high"] == pytest.approx(np.percentile(means, 97.5), abs=0.1 * width)
