"""Safe responses from patterns, and whether a text is one.

Which parts of a pattern a question gets is drawn by a hash of seed and question: no pattern
dominates, and the same question always gets the same refusal. Every refusal is checked by the rules
that measure refusals, before it is used; one that they would not count is made without the words
of the question. Covered: the languages of `derta.data.languages`; those whose refusals no rule
reads (Russian, Japanese) are checked for their beginning only. Not covered: whether the reason is
the right one for this question.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from derta.data.languages import LANGUAGES, detect_language
from derta.errors import RecipeError
from derta.judges.offline import judge_offline
from derta.judges.tokens import reads
from derta.judges.verdicts import Verdict
from derta.make_triples.pattern_texts import PATTERNS
from derta.make_triples.phrases import Phrase, PhraseKind, find_phrase
from derta.refusal import judge_refusal

__all__ = [
    "SafeResponse",
    "check_refusal_words",
    "language_of",
    "make_refusal",
    "pattern_count",
    "why_unfit",
]

_UNREADABLE_BY_RULES = frozenset(("ru", "ja"))
_WORDS = """
    a an the i my me we our how do can could would what is are to for of on in at with without and
    or so that this it you your who where when why which write give tell explain make get from be
    some any them their his her not by about into than there best way
"""
_ENGLISH_WORDS = frozenset(_WORDS.split())
_ENGLISH_SHARE = 0.3
"""Of the words: short questions with so many of these are English, whatever their letters suggest
to a model of byte sequences."""


@dataclass(frozen=True, slots=True)
class SafeResponse:
    """A refusal and where it comes from."""

    text: str
    origin: str
    """"pattern en-do-17", or the model that wrote it."""


def language_of(question: str) -> str:
    """Say which language a question is in; English where it is too short to tell."""
    words = re.findall(r"[a-z']+", question.lower())
    if question.isascii() and words:
        known = sum(word in _ENGLISH_WORDS for word in words)
        if known >= _ENGLISH_SHARE * len(words):
            return "en"
    return detect_language(question) or "en"


def why_unfit(response: str, *, language: str, word: str, question: str = "") -> str | None:
    """Say why a finished text can't be a safe response; None: it can.

    Args:
        response: as it would be trained on.
        language: in which it should be.
        word: with which it must begin.
        question: what it refuses.
    """
    after = response[len(word) : len(word) + 1]
    if not response.startswith(word) or (after.isalpha() and after.isascii() and word.isascii()):
        return f"it doesn't begin with {word!r}"
    if language in _UNREADABLE_BY_RULES or not reads(response):
        return None
    if language == "en":
        judgement = judge_refusal(response, truncated=False)
        if not judgement.refused:
            return f"it is no refusal: {judgement.reason}"
    verdict = judge_offline(response, question=question, prompt=question)
    if verdict.refusal_start is None:
        return "it is no refusal: no refusal sentence"
    if verdict.verdict is not Verdict.SAFE:
        return f"it is no refusal: {verdict.reason}"
    return None


def check_refusal_words(words: dict[str, str]) -> None:
    """Check words that the patterns are to begin with.

    Raises:
        RecipeError: a language has no patterns, or a word can't stand before a pause.
    """
    problems = []
    for language, word in words.items():
        patterns = PATTERNS.get(language)
        key = f"refusal_words.{language}"
        if patterns is None:
            known = ", ".join(PATTERNS)
            problems.append(f"{key}: there are no patterns for this language, only for {known}")
        elif re.match(patterns.unfit_words, word, re.IGNORECASE):
            good = LANGUAGES[language].refusal_words[0]
            problems.append(
                f"{key}: {word!r} is followed by a comma in the patterns. Take {good!r}"
            )
    if problems:
        raise RecipeError("\n".join(f"{each}, or name a --safe-model" for each in problems))


def pattern_count(language: str) -> int:
    """Count the different refusals of a language, apart from the words of the question."""
    patterns = PATTERNS[language]
    frames = sum(len(each) for each in patterns.frames.values())
    return frames * len(patterns.reasons) * len(patterns.offers)


def make_refusal(question: str, *, language: str, word: str, seed: int) -> SafeResponse:
    """Make the refusal of a question.

    Args:
        question: what is refused.
        language: one that has patterns.
        word: with which the refusal begins.
        seed: other seeds draw other parts.

    Raises:
        RecipeError: no pattern with this word is a refusal.
    """
    drawn = int.from_bytes(hashlib.sha256(f"{seed}\0{question}".encode()).digest(), "big")
    phrase = find_phrase(question, language)
    if phrase is not None and phrase.kind in PATTERNS[language].frames:
        made = _fill(phrase, language, word, drawn)
        if why_unfit(made.text, language=language, word=word, question=question) is None:
            return made
    made = _fill(Phrase("plain", ""), language, word, drawn)
    reason = why_unfit(made.text, language=language, word=word, question=question)
    if reason is not None:
        good = LANGUAGES[language].refusal_words[0]
        raise RecipeError(
            f"refusal_words.{language}: a refusal that begins with {word!r} isn't seen as one "
            f"({reason}). Take {good!r}, or name a --safe-model"
        )
    return made


def _fill(phrase: Phrase, language: str, word: str, drawn: int) -> SafeResponse:
    patterns = PATTERNS[language]
    kind: PhraseKind = phrase.kind
    frames = patterns.frames[kind]
    drawn, frame = divmod(drawn, len(frames))
    drawn, reason = divmod(drawn, len(patterns.reasons))
    drawn, offer = divmod(drawn, len(patterns.offers))
    sorry = re.search(patterns.apologies, word, re.IGNORECASE) is not None
    joint = patterns.but if sorry and drawn % 2 else patterns.after_word
    text = (
        f"{word}{joint}{frames[frame].format(what=phrase.text)}{patterns.reasons[reason]}"
        f"{patterns.stop}{patterns.offers[offer]}"
    )
    number = (frame * len(patterns.reasons) + reason) * len(patterns.offers) + offer + 1
    return SafeResponse(text, f"pattern {language}-{kind}-{number}")
