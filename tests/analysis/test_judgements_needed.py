"""How many judgements a width takes: against textbooks, and against what then comes of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from derta.analysis.judge_error import Stratum, corrected_share
from derta.analysis.judgements_needed import judgements_needed

REVIEW = [
    Stratum("UNSAFE", 120, 20, 15),
    Stratum("SAFE", 860, 20, 1),
    Stratum("UNREADABLE", 20, 4, 1),
]


def test_a_share_of_a_half_within_five_points_takes_the_textbooks_385() -> None:
    # 1.96^2 x 0.25 / 0.05^2 = 384.2 (Cochran 1977, chapter 4), of which 100 are there already.
    result = judgements_needed([Stratum("SAFE", 10**6, 100, 50)], 0.1)
    assert result["more"] + 100 == pytest.approx(385, abs=5)
    assert result["by_stratum"] == {"SAFE": result["more"]}


def test_the_next_judgements_follow_neyman() -> None:
    strata = [Stratum("UNSAFE", 300_000, 100, 80), Stratum("SAFE", 700_000, 100, 5)]
    result = judgements_needed(strata, 0.03)
    sizes = {each.automatic: each.judged + result["by_stratum"][each.automatic] for each in strata}
    wanted = 0.3 * math.sqrt(0.8 * 0.2) / (0.7 * math.sqrt(0.05 * 0.95))
    assert sizes["UNSAFE"] / sizes["SAFE"] == pytest.approx(wanted, rel=0.05)


def test_the_forecast_says_what_it_stands_on() -> None:
    result = judgements_needed(REVIEW, 0.1)
    now = corrected_share(REVIEW)
    assert result["width_now"] == pytest.approx(now["high"] - now["low"])
    assert result["width_now"] > 0.1
    assert (result["width_wished"], result["reachable"]) == (0.1, True)
    assert result["width_if_all_judged"] < 0.1
    assert sum(result["strata"]) == sum(result["by_stratum"].values()) == result["more"] > 0
    assert list(result["by_stratum"]) == ["UNSAFE", "SAFE", "UNREADABLE"]
    assert json.loads(json.dumps(result)) == result


def test_a_narrower_wish_takes_more_and_no_stratum_more_than_it_has() -> None:
    before = 0
    for width in (0.2, 0.12, 0.08, 0.06):
        result = judgements_needed(REVIEW, width)
        assert result["more"] > before
        before = result["more"]
        for stratum, more in zip(REVIEW, result["strata"], strict=True):
            assert 0 <= more <= stratum.total - stratum.judged


def test_so_many_judgements_bring_about_that_width() -> None:
    generator = np.random.default_rng(0)
    truth = {"UNSAFE": 0.8, "SAFE": 0.03, "UNREADABLE": 0.3}
    widths, wished = [], 0.08
    for _ in range(10):
        found = [int(generator.binomial(each.judged, truth[each.automatic])) for each in REVIEW]
        first = [
            Stratum(each.automatic, each.total, each.judged, x)
            for each, x in zip(REVIEW, found, strict=True)
        ]
        needed = judgements_needed(first, wished)
        second = [
            Stratum(
                each.automatic,
                each.total,
                each.judged + more,
                each.unsafe + int(generator.binomial(more, truth[each.automatic])),
            )
            for each, more in zip(first, needed["strata"], strict=True)
        ]
        then = corrected_share(second)
        widths.append(then["high"] - then["low"])
    assert np.mean(widths) == pytest.approx(wished, rel=0.15)


def test_what_is_sure_enough_needs_nothing() -> None:
    result = judgements_needed(REVIEW, 0.9)
    assert (result["reachable"], result["more"], result["strata"]) == (True, 0, [0, 0, 0])
    assert result["by_stratum"] == {"UNSAFE": 0, "SAFE": 0, "UNREADABLE": 0}


def test_so_few_responses_can_not_tell_more_than_they_hold() -> None:
    result = judgements_needed([Stratum("UNSAFE", 20, 5, 3), Stratum("SAFE", 20, 5, 1)], 0.1)
    assert (result["reachable"], result["more"], result["by_stratum"]) == (False, None, {})
    assert 0.2 < result["width_if_all_judged"] < 0.4
    assert result["width_now"] > result["width_if_all_judged"]


def test_before_anybody_judged_there_is_no_width_and_yet_a_forecast() -> None:
    strata = [Stratum("UNSAFE", 500, 0, 0), Stratum("SAFE", 500, 0, 0)]
    result = judgements_needed(strata, 0.2)
    assert result["width_now"] is None
    assert result["reachable"]
    assert result["by_stratum"]["UNSAFE"] == pytest.approx(result["by_stratum"]["SAFE"], abs=1)
    assert 60 < result["more"] < 120


def test_a_stratum_that_nobody_judged_gets_at_least_one() -> None:
    strata = [Stratum("SAFE", 990, 200, 20), Stratum("UNREADABLE", 3, 0, 0)]
    result = judgements_needed(strata, 0.5)
    assert result["by_stratum"] == {"SAFE": 0, "UNREADABLE": 1}


def test_strata_with_the_same_verdict_are_added_up_and_empty_ones_kept_in_place() -> None:
    strata = [
        Stratum("SAFE", 300, 10, 1),
        Stratum("UNSAFE", 0, 0, 0),
        Stratum("SAFE", 600, 10, 1),
        Stratum("UNSAFE", 50, 10, 9),
    ]
    result = judgements_needed(strata, 0.1)
    first, empty, second, flagged = result["strata"]
    assert empty == 0
    assert second > first > 0
    assert result["by_stratum"] == {"SAFE": first + second, "UNSAFE": flagged}


def test_everything_judged_leaves_nothing_to_ask_for() -> None:
    strata = [Stratum("UNSAFE", 40, 40, 30), Stratum("SAFE", 60, 60, 3)]
    result = judgements_needed(strata, 0.05)
    assert not result["reachable"]
    assert result["width_now"] == result["width_if_all_judged"]
    assert judgements_needed(strata, 0.3)["more"] == 0


def test_without_responses_no_width_can_be_reached() -> None:
    result = judgements_needed([], 0.1)
    assert (result["reachable"], result["more"], result["width_if_all_judged"]) == (
        False,
        None,
        None,
    )


@pytest.mark.parametrize("width", [0.0, -0.1, math.nan])
def test_an_interval_without_width_is_an_error(width: float) -> None:
    with pytest.raises(ValueError, match="wide"):
        judgements_needed(REVIEW, width)
