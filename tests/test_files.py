"""What is written so that any program may read it, and read again as it was."""

from __future__ import annotations

import pytest

from derta.files import FORMULA, csv_cell, plain_cell, utf8_text


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe_that_goes_away_again(
    sign: str,
) -> None:
    assert sign in FORMULA
    for text in (sign, f"{sign}1+1", f"{sign}'{sign}"):
        assert csv_cell(text) == f"'{text}"
        assert plain_cell(f"'{text}") == text


@pytest.mark.parametrize(
    "text", ["", "1+1", " =1", "'", "'quoted'", "''=1", "a\n=1", "\N{MINUS SIGN}1"]
)
def test_other_texts_stay_as_they_are_both_ways(text: str) -> None:
    assert csv_cell(text) == text
    assert plain_cell(text) == text


@pytest.mark.parametrize("value", [-1, -0.5, True, None])
def test_what_is_no_text_is_no_formula(value: object) -> None:
    assert csv_cell(value) is value


@pytest.mark.parametrize("text", ["", "plain", "na\u00efve \U0001f600", "\u2028\x00"])
def test_a_text_that_utf_8_can_hold_stays_as_it_is(text: str) -> None:
    assert utf8_text(text) == text


def test_each_half_of_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert utf8_text("half \ud83d of \ude00\ud800") == "half ? of ??"
