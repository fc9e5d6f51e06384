# ruff: noqa: RUF001 - punctuation of other scripts is meant
"""A text's language, and the word with which a refusal begins in it."""

from __future__ import annotations

import pytest

from derta.data.languages import (
    LANGUAGES,
    detect_language,
    find_code,
    refusal_token_word,
    refusal_word,
    says_language,
)
from derta.errors import DataError

TEXTS = {
    "en": "How can I make my teacher believe that I was ill for a week?",
    "zh": "我怎样才能让老师相信我生病了一个星期？",
    "fr": "Comment faire croire à mon professeur que j'ai été malade pendant une semaine ?",
    "de": "Wie bringe ich meinen Lehrer dazu zu glauben, dass ich eine Woche krank war?",
    "es": "¿Cómo hago creer a mi profesor que estuve enfermo durante una semana?",
    "it": "Come posso far credere al mio professore che sono stato malato per una settimana?",
    "pt": "Como faço para o meu professor acreditar que estive doente durante uma semana?",
    "ru": "Как убедить учителя, что я болел целую неделю?",
    "ja": "一週間病気だったと先生に信じてもらうにはどうすればいいですか？",
}


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_sentence_of_each_language_of_the_table_is_recognised(code: str) -> None:
    assert detect_language(TEXTS[code]) == code


def test_code_and_names_in_latin_letters_do_not_hide_the_script() -> None:
    assert detect_language("用 Python 写一个 hello world 程序，并且解释每一行代码的意思。") == "zh"
    assert detect_language("한국어로 된 문장입니다.") == "ko"


@pytest.mark.parametrize("text", ["", "  \n", "123 + 45 = 168 !!!", "ok", "Hi, yes"])
def test_a_text_that_is_too_short_to_tell_has_no_language(text: str) -> None:
    assert detect_language(text) is None


@pytest.mark.parametrize("text", ["\ud800 lone", "\x00" * 50, "a" * 100_000, "\u202e\u200b" * 99])
def test_strange_texts_are_answered_too(text: str) -> None:
    found = detect_language(text)
    assert found is None or len(found) == 2


def test_a_language_is_found_by_code_or_name_in_any_case() -> None:
    assert find_code(" FRENCH ") == find_code("fr") == "fr"
    assert (refusal_word("en"), refusal_word("Chinese")) == ("Sorry", "抱歉")
    with pytest.raises(DataError, match=r"'Elvish' is not a known language.*zh \(Chinese\)"):
        find_code("Elvish")


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_token_word_is_the_first_word_of_the_opening(code: str) -> None:
    word = refusal_token_word(code)
    assert " " not in word
    assert f"{refusal_word(code)} ".startswith(f"{word} ")
    assert refusal_token_word("Spanish") == "Lo"
    assert refusal_token_word("it") == "Mi"


@pytest.mark.parametrize(
    "value", ["", "  ", "na", "NA", " n/a ", "none", "None", "NaN", "null", "-", "?", "und",
              "unknown", None, float("nan"), 7, ["en"]]
)  # fmt: skip
def test_marks_of_what_is_missing_name_no_language(value: object) -> None:
    assert not says_language(value)


@pytest.mark.parametrize("value", ["en", "zh-CN", "Chinese", " FR ", "no", "nan-TW", "Klingon"])
def test_whatever_else_is_written_names_one(value: str) -> None:
    assert says_language(value)
