"""Paired comparisons against worked examples of the literature and brute force.

The digits of the intervals are quoted from memory of the literature; two public implementations of
the same formula give them, too.
"""

from __future__ import annotations

import itertools
import random

import pytest

from derta.analysis.paired import compare_pairs, holm, is_better


def pairs(
    both: int, first_only: int, second_only: int, neither: int
) -> tuple[list[bool], list[bool]]:
    first = [True] * (both + first_only) + [False] * (second_only + neither)
    second = [True] * both + [False] * first_only + [True] * second_only + [False] * neither
    return first, second


@pytest.mark.parametrize(
    ("table", "p_value"),
    [
        # Two culture media (Armitage and Berry 1994, p. 127): exact P = 0.0129.
        ((20, 12, 2, 16), 0.0129),
        # The vignette of R's exact2x2: 9 against 2.
        ((21, 9, 2, 12), 0.06543),
        # Airway reactivity (Bentur 2009) and response to therapy (Cavo 2012), in Fagerland,
        # Lydersen and Laake, Statistical Analysis of Contingency Tables, chapter 8.
        ((1, 1, 7, 12), 0.0703),
        ((59, 6, 16, 80), 0.0525),
    ],
)
def test_the_p_value_is_that_of_the_exact_mcnemar_test(
    table: tuple[int, int, int, int], p_value: float
) -> None:
    assert compare_pairs(*pairs(*table)).p_value == pytest.approx(p_value, abs=5e-5)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Newcombe 1998, and the media above.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        # Altman et al., Statistics with Confidence (2000), table 6.2.
        ((14, 5, 0, 22), 0.011, 0.226),
        # Bentur 2009, as above.
        ((1, 1, 7, 12), -0.507, -0.026),
    ],
)
def test_the_interval_is_newcombes_method_10(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    result = compare_pairs(*pairs(*table))
    digits = 5e-4 if round(low, 3) == low else 5e-5
    assert result.low == pytest.approx(low, abs=digits)
    assert result.high == pytest.approx(high, abs=digits)
    assert result.difference == pytest.approx((table[1] - table[2]) / sum(table))


def test_the_model_that_fails_less_often_is_better_only_beyond_chance() -> None:
    clear = compare_pairs(*pairs(2, 12, 1, 25))
    assert clear.better == "second"
    assert compare_pairs(*pairs(2, 1, 12, 25)).better == "first"
    assert (clear.first_only, clear.second_only, clear.n, clear.questions) == (12, 1, 40, 40)
    # Newcombe's interval leaves out 0 here, the exact test does not see it.
    doubtful = compare_pairs(*pairs(1, 1, 7, 12))
    assert doubtful.high is not None
    assert doubtful.high < 0
    assert doubtful.better is None
    assert is_better(0.2, 0.1, 0.3, 0.05) is None


def test_two_models_that_never_differ_are_not_told_apart_and_the_interval_has_a_width() -> None:
    result = compare_pairs([False] * 54, [False] * 54)
    assert (result.p_value, result.better, result.difference) == (1.0, None, 0.0)
    assert result.low == pytest.approx(-0.0664, abs=1e-4)
    assert result.high == pytest.approx(0.0664, abs=1e-4)


def test_no_pairs_have_no_numbers() -> None:
    result = compare_pairs([], [])
    assert (result.n, result.difference, result.low, result.p_value) == (0, None, None, 1.0)
    assert result.better is None


def test_sequences_of_different_lengths_are_not_pairs() -> None:
    with pytest.raises(ValueError, match="2, 1 and 2"):
        compare_pairs([True, False], [True])


def test_the_sign_flip_test_counts_every_pattern_of_signs() -> None:
    generator = random.Random(3)
    for _ in range(20):
        questions = [generator.randrange(6) for _ in range(24)]
        first = [generator.random() < 0.6 for _ in questions]
        second = [generator.random() < 0.4 for _ in questions]
        sums = [
            sum(a - b for a, b, q in zip(first, second, questions, strict=True) if q == question)
            for question in range(6)
        ]
        patterns = [
            abs(sum(sign * size for sign, size in zip(signs, sums, strict=True)))
            for signs in itertools.product((-1, 1), repeat=6)
        ]
        expected = sum(value >= abs(sum(sums)) for value in patterns) / len(patterns)
        result = compare_pairs(first, second, questions=questions)
        assert result.p_value == pytest.approx(expected, abs=1e-12)


def test_many_samples_of_one_question_do_not_make_a_difference_surer() -> None:
    first, second = pairs(0, 6, 1, 13)
    alone = compare_pairs(first, second)
    questions = [number for number in range(20) for _ in range(10)]
    repeated = compare_pairs(
        [x for x in first for _ in range(10)],
        [x for x in second for _ in range(10)],
        questions=questions,
    )
    assert (repeated.n, repeated.questions) == (200, 20)
    assert repeated.p_value == alone.p_value
    assert repeated.difference == alone.difference
    assert repeated.low is not None
    assert repeated.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.2)
    unclustered = compare_pairs([x for x in first for _ in range(10)], [False] * 200)
    assert unclustered.better == "second"
    assert repeated.better is None


def test_pairs_that_agree_within_each_question_are_worth_one_each() -> None:
    for table in ((0, 10, 0, 0), (0, 0, 0, 10), (3, 9, 2, 26), (0, 1, 0, 39)):
        first, second = pairs(*table)
        plain = compare_pairs(first, second)
        result = compare_pairs(
            [x for x in first for _ in range(4)],
            [x for x in second for _ in range(4)],
            questions=[number for number in range(len(first)) for _ in range(4)],
        )
        assert result.low == pytest.approx(plain.low, abs=1e-9), table
        assert result.high == pytest.approx(plain.high, abs=1e-9), table


def test_a_rare_difference_is_no_surer_than_none() -> None:
    questions = [number for number in range(40) for _ in range(6)]
    none = compare_pairs([False] * 240, [False] * 240, questions=questions)
    one = compare_pairs([True] + [False] * 239, [False] * 240, questions=questions)
    assert none.high is not None
    assert one.high is not None
    assert one.low is not None
    assert one.high > 0.8 * none.high
    assert one.low < 0


def test_large_tables_are_exact_and_quick() -> None:
    result = compare_pairs(*pairs(100, 700, 500, 700))
    assert result.p_value == pytest.approx(8.4e-9, rel=0.2)


def test_holms_correction_is_that_of_r() -> None:
    # The first is printed in the documentation of an R package; the second follows from the rule.
    assert holm([0.319, 0.201, 0.4, 0.374, 0.113]) == pytest.approx(
        [0.957, 0.804, 0.957, 0.957, 0.565]
    )
    assert holm([0.01, 0.04, 0.20, 0.03, 0.005, 0.07]) == pytest.approx(
        [0.05, 0.12, 0.20, 0.12, 0.03, 0.14]
    )
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]
