"""The judge's rates over all responses, from a sample that has more of the rare verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from derta.analysis.judge_error import Stratum
from derta.analysis.judge_rates import judge_rates, scaled_strata


def test_where_everything_was_judged_the_rates_are_the_counts() -> None:
    rates = judge_rates([Stratum("UNSAFE", 50, 50, 40), Stratum("SAFE", 150, 150, 10)])
    assert rates["precision"]["share"] == pytest.approx(40 / 50)
    assert rates["recall"]["share"] == pytest.approx(40 / 50)
    assert rates["specificity"]["share"] == pytest.approx(140 / 150)
    assert rates["precision"]["n"] == 50
    assert rates["recall"]["n"] == rates["specificity"]["n"] == 200


def test_the_recall_of_a_sample_is_weighted_by_how_many_responses_it_stands_for() -> None:
    # In the sample 40 of 45 UNSAFE ones were found; of all 1,000 only 40 of 85.
    strata = [Stratum("UNSAFE", 50, 50, 40), Stratum("SAFE", 950, 100, 5)]
    rates = judge_rates(strata)
    missed = 950 * 5 / 100
    assert rates["recall"]["share"] == pytest.approx(40 / (40 + missed))
    assert rates["recall"]["high"] < 40 / 45
    assert rates["specificity"]["share"] == pytest.approx((950 - missed) / (950 - missed + 10))


def test_small_strata_that_were_drawn_as_often_as_large_ones_count_less() -> None:
    rates = judge_rates([Stratum("UNSAFE", 1000, 10, 9), Stratum("UNSAFE", 10, 10, 0)])
    assert rates["precision"]["share"] == pytest.approx(1000 * 0.9 / 1010)
    assert rates["precision"]["n"] == 20
    # As sure as some ten responses, not as twenty.
    alone = judge_rates([Stratum("UNSAFE", 1010, 20, 18)])["precision"]
    width = rates["precision"]["high"] - rates["precision"]["low"]
    assert width > alone["high"] - alone["low"]


def test_intervals_hold_the_share_also_where_no_error_was_seen() -> None:
    rates = judge_rates([Stratum("UNSAFE", 30, 30, 30), Stratum("SAFE", 30, 30, 0)])
    for rate in rates.values():
        assert rate["share"] == 1.0 == rate["high"]
        assert 0.8 < rate["low"] < 1.0


def test_nine_of_ten_intervals_and_more_hold_the_true_recall() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for seed in range(200):
        # 100 called UNSAFE, 900 SAFE; 80 % and 6 % of them are UNSAFE; 60 of each are judged.
        flagged = generator.hypergeometric(80, 20, 60)
        passed = generator.hypergeometric(54, 846, 60)
        rate = judge_rates(
            [Stratum("UNSAFE", 100, 60, int(flagged)), Stratum("SAFE", 900, 60, int(passed))],
            seed=seed,
        )["recall"]
        held += rate["low"] <= 80 / 134 <= rate["high"]
    assert held >= 180


@pytest.mark.parametrize(
    ("strata", "known"),
    [
        ([], set()),
        ([Stratum("UNREADABLE", 10, 10, 5)], set()),
        ([Stratum("UNSAFE", 10, 0, 0), Stratum("SAFE", 10, 0, 0)], set()),
        ([Stratum("UNSAFE", 10, 5, 5), Stratum("SAFE", 10, 0, 0)], {"precision"}),
        ([Stratum("UNSAFE", 10, 0, 0), Stratum("SAFE", 10, 5, 0)], set()),
    ],
)
def test_a_rate_without_anything_to_count_is_none(strata: list[Stratum], known: set[str]) -> None:
    rates = judge_rates(strata)
    assert {name for name, rate in rates.items() if rate["share"] is not None} == known


def test_a_rate_of_nothing_unsafe_is_none_and_no_error() -> None:
    rates = judge_rates([Stratum("UNSAFE", 10, 10, 0), Stratum("SAFE", 10, 10, 0)])
    assert rates["recall"]["share"] is None
    assert rates["precision"]["share"] == 0.0
    assert rates["specificity"]["share"] == pytest.approx(0.5)


def test_the_same_seed_gives_the_same_interval() -> None:
    strata = [Stratum("UNSAFE", 50, 20, 15), Stratum("SAFE", 90, 20, 2)]
    assert judge_rates(strata, seed=1) == judge_rates(strata, seed=1)
    assert judge_rates(strata, seed=1) != judge_rates(strata, seed=2)


# --- strata that nobody has judged ---------------------------------------------------------------


def test_judged_strata_stand_for_those_with_the_same_verdict_that_nobody_has_judged() -> None:
    strata = [
        Stratum("UNSAFE", 30, 5, 4),
        Stratum("UNSAFE", 10, 5, 1),
        Stratum("UNSAFE", 20, 0, 0),
        Stratum("SAFE", 40, 5, 0),
    ]
    scaled, lent = scaled_strata(strata)
    assert lent == 20
    assert scaled == [
        Stratum("UNSAFE", 45, 5, 4),
        Stratum("UNSAFE", 15, 5, 1),
        Stratum("SAFE", 40, 5, 0),
    ]


def test_totals_stay_whole_and_add_up() -> None:
    strata = [Stratum("SAFE", 3, 1, 0), Stratum("SAFE", 3, 1, 0), Stratum("SAFE", 5, 0, 0)]
    scaled, lent = scaled_strata(strata)
    assert lent == 5
    assert sorted(each.total for each in scaled) == [5, 6]


def test_without_a_judged_stratum_of_that_verdict_nothing_is_taken_to_be_like_it() -> None:
    strata = [Stratum("UNSAFE", 30, 0, 0), Stratum("SAFE", 10, 5, 1)]
    assert scaled_strata(strata) == (strata, 0)
    assert scaled_strata([]) == ([], 0)
