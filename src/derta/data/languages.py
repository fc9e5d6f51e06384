# ruff: noqa: RUF001 - words of other scripts have letters that look like Latin ones
"""Languages: how refusals begin in them, and which one a text is written in.

Covered: the languages of the table; a text's language by its script where that decides, else by
py3langid, a model of byte sequences. Not covered: texts of several languages (the most frequent
one is named) and texts of a few words (None).
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from derta.errors import DataError, InputProblem

__all__ = [
    "LANGUAGES",
    "Language",
    "code_of",
    "detect_language",
    "find_code",
    "find_language",
    "refusal_token_word",
    "refusal_word",
    "says_language",
]


@dataclass(frozen=True, slots=True)
class Language:
    """A language and how one refuses in it."""

    name: str
    """Its English name."""
    refusal_words: tuple[str, ...]
    """How refusals begin in it; the first one is the opening that stands for "Sorry"."""

    @property
    def token_word(self) -> str:
        """The first word of that opening, which RTO asks for: "Lo" of "Lo siento"."""
        return self.refusal_words[0].split()[0]


_TABLE = {
    "en": Language(
        "English",
        ("Sorry", "I'm sorry", "I apologise", "I apologize", "I can't", "I cannot", "I'm unable",
         "I am unable", "I won't", "I must decline", "Unfortunately"),
    ),
    "zh": Language(
        "Chinese",
        ("抱歉", "很抱歉", "对不起", "我不能", "我无法", "不好意思", "我拒绝"),
    ),
    "fr": Language(
        "French",
        ("Désolé", "Je suis désolé", "Je regrette", "Je ne peux pas", "Je ne suis pas en mesure",
         "Malheureusement"),
    ),
    "de": Language(
        "German",
        ("Entschuldigung", "Es tut mir leid", "Tut mir leid", "Ich kann nicht",
         "Das kann ich nicht", "Leider"),
    ),
    "es": Language(
        "Spanish",
        ("Lo siento", "Disculpa", "No puedo", "Me temo que no", "Lamentablemente"),
    ),
    "it": Language(
        "Italian",
        ("Mi dispiace", "Spiacente", "Non posso", "Purtroppo"),
    ),
    "pt": Language(
        "Portuguese",
        ("Desculpe", "Lamento", "Sinto muito", "Não posso", "Infelizmente"),
    ),
    "ru": Language(
        "Russian",
        ("Извините", "Простите", "К сожалению", "Я не могу"),
    ),
    "ja": Language(
        "Japanese",
        ("申し訳ありません", "申し訳ございません", "すみません", "ごめんなさい", "できません"),
    ),
}  # fmt: skip

LANGUAGES = MappingProxyType(_TABLE)
"""The languages by their ISO 639-1 code."""

_CODES_BY_NAME = {
    **{entry.name.lower(): code for code, entry in LANGUAGES.items()},
    **dict.fromkeys(("中文", "汉语", "漢語", "简体中文", "繁體中文", "繁体中文", "普通话"), "zh"),
    **{"français": "fr", "deutsch": "de", "español": "es", "italiano": "it", "português": "pt"},
    **{"русский": "ru", "日本語": "ja"},
}
"""In English, and by those who speak them."""

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
)
"""Scripts that decide by themselves; Han characters are Chinese where no kana stands among them,
Cyrillic ones are called Russian."""
_LETTER = re.compile(r"[^\W\d_]")
_SCRIPT_SHARE = 0.3
"""So many of a text's letters make it one of that script: code and names are often Latin. Kana make
a smaller share of a Japanese text."""
_READ_CHARACTERS = 400
"""Of a text: more change no answer and cost time."""
_SHORTEST = 12
"""Letters below which the model of byte sequences guesses."""

_MARKS = """
    - -- ? #n/a #na <na> mis missing mul n.a. n/a na nan nil none null other und undefined unk
    unknown zxx
"""
_MISSING = frozenset(_MARKS.split())
"""What a column says where nothing is known, as tables and ISO 639 write it. `na` would be Nauruan,
but hardly ever is."""

_lock = threading.Lock()


def find_language(language: str) -> Language:
    """Look up a language by its code, its English name or its own, in any case.

    Raises:
        DataError: the table doesn't hold it.
    """
    return LANGUAGES[find_code(language)]


def find_code(language: str) -> str:
    """Look up a language's code, as `find_language` does.

    Raises:
        DataError: the table doesn't hold it.
    """
    code = code_of(language)
    if code is not None:
        return code
    known = ", ".join(f"{code} ({entry.name})" for code, entry in LANGUAGES.items())
    raise DataError(
        [InputProblem("language", f"{language!r} is not a known language", f"Known are {known}")]
    )


def code_of(language: str) -> str | None:
    """Look up the code of a language of the table; None: it doesn't hold it."""
    wanted = language.strip().lower()
    return wanted if wanted in LANGUAGES else _CODES_BY_NAME.get(wanted)


def says_language(value: object) -> bool:
    """Say whether what a column `language` holds names one; "", "na", "none", "und" ... don't."""
    if not isinstance(value, str):
        return False
    word = value.strip().lower()
    return bool(word) and word not in _MISSING


def refusal_word(language: str) -> str:
    """Name the opening that stands for "Sorry" in a language.

    Raises:
        DataError: the table doesn't hold the language.
    """
    return find_language(language).refusal_words[0]


def refusal_token_word(language: str) -> str:
    """Name the word whose token stands for "Sorry": the first one of `refusal_word`.

    A refusal token is one token, and no vocabulary has one that holds a blank in its middle. After
    "Lo", the model goes on from the safe responses: "Lo siento".

    Raises:
        DataError: the table doesn't hold the language.
    """
    return find_language(language).token_word


def detect_language(text: str) -> str | None:
    """Say which language a text is written in.

    Returns:
        An ISO 639-1 code, of the table's languages or another one; None where the text is too
        short to tell, or has no letters.
    """
    read = text[:_READ_CHARACTERS]
    letters = len(_LETTER.findall(read))
    if not letters:
        return None
    for code, script in _SCRIPTS:
        share = _SCRIPT_SHARE / 3 if code == "ja" else _SCRIPT_SHARE
        if len(script.findall(read)) >= max(1, share * letters):
            return code
    if letters < _SHORTEST:
        return None
    with _lock:  # the identifier is not said to be thread-safe
        code, _ = _identifier().classify(read)
    return str(code)


@cache
def _identifier() -> Any:
    import py3langid.langid  # type: ignore[import-untyped]  # ships no types

    return py3langid.langid.LanguageIdentifier.from_model_file(py3langid.langid.MODEL_FILE)
