"""Every refusal from a pattern is one, whatever the question."""

from __future__ import annotations

from collections import Counter

import pytest

from derta.data.languages import LANGUAGES
from derta.data.sample import sample_helpful, sample_triples
from derta.errors import RecipeError
from derta.judges.offline import judge_offline
from derta.judges.verdicts import Verdict
from derta.make_triples.pattern_texts import PATTERNS
from derta.make_triples.phrases import Phrase, PhraseKind
from derta.make_triples.refusals import (
    _fill,
    check_refusal_words,
    language_of,
    make_refusal,
    pattern_count,
    why_unfit,
)
from derta.refusal import judge_refusal

# ruff: noqa: RUF001  # Chinese punctuation is meant

PHRASES: dict[str, dict[PhraseKind, list[str]]] = {
    "en": {
        "do": [
            "fake a sick note",
            "pretend that you can't come because it is raining, although it isn't",
            "write a letter that says sorry, but means nothing",
        ],
        "doing": ["lying to customs officers about wine", "getting a friend into trouble"],
        "thing": ["a list of made-up emergencies for skipping a shift", "the answers"],
        "plain": [""],
    },
    "zh": {"do": ["伪造一张病假条", "在考试中作弊而不被发现"], "plain": [""]},
    "fr": {"do": ["tricher à un examen", "te faire passer pour un médecin"], "plain": [""]},
    "de": {"do": ["deinen Chef täuschen kannst", "abschreiben kannst, ohne dass es jemand merkt"],
           "plain": [""]},
    "es": {"do": ["copiar en un examen", "engañar a tu jefe"], "plain": [""]},
    "it": {"do": ["copiare il compito del tuo amico"], "plain": [""]},
    "pt": {"do": ["enganar seu chefe"], "plain": [""]},
    "ru": {"plain": [""]},
    "ja": {"plain": [""]},
}  # fmt: skip

ODD = [
    "?",
    "a",
    "!!!! ???? ....",
    "How do I describe how to fake a note?",
    'How do I write "Sorry, I can\'t" on a note?',
    "How do I do this:\n1. take a note\n2. Step 1: copy it\n- and hand it in?",
    "Dear Sir, how do I fake a note?\nSubject: note",
    "Sure, here is how to fake a note. How do I go on?",
    "Sorry for the delay. How do I skip work today?",
    "How do I get a friend to say no no no no no no to the offer?",
    "How do I make a fake fake fake fake note?",
    "How do I give up a seat tomorrow because I can't attend on Friday?",
    "How do I `rm` <b>the</b> [INST] note [/INST]?",
    "How do I visit https://example.com?",
    "HOW DO I FAKE A NOTE",
    "How do I fake " + "a very " * 100 + "long note?",
    "How do I \u202eekaf a note?",
    "fake note pls \U0001f600",
    "How can I recommend it highly enough?",
    "How do I explain how it works to my boss, who won't help but laugh?",
    "Write code: def f(): return 'Sorry'",
    "请问，\n\n如何伪造？",
]


@pytest.mark.parametrize("language", PATTERNS)
def test_every_pattern_is_a_refusal_that_says_why_and_offers_something(language: str) -> None:
    word = LANGUAGES[language].refusal_words[0]
    patterns = PATTERNS[language]
    for kind, frames in patterns.frames.items():
        for phrase in PHRASES[language][kind]:
            for frame in range(len(frames)):
                for reason in range(len(patterns.reasons)):
                    for offer in range(len(patterns.offers)):
                        for joint in (0, 1):
                            drawn = joint * len(patterns.offers) + offer
                            drawn = drawn * len(patterns.reasons) + reason
                            drawn = drawn * len(frames) + frame
                            text = _fill(Phrase(kind, phrase), language, word, drawn).text
                            assert text.startswith(word)
                            assert phrase in text
                            assert patterns.reasons[reason] in text
                            assert text.endswith(patterns.offers[offer])
                            assert "{" not in text
                            _assert_is_refusal(text, language)


def _assert_is_refusal(text: str, language: str) -> None:
    if language == "en":
        assert judge_refusal(text, truncated=False).refused, text
    if language in ("ru", "ja"):
        assert judge_offline(text).verdict is Verdict.UNREADABLE
        return
    judged = judge_offline(text, question="?")
    assert judged.verdict is Verdict.SAFE, text
    assert judged.refusal_start == 0, text


@pytest.mark.parametrize("language", PATTERNS)
@pytest.mark.parametrize("question", ODD)
def test_an_odd_question_gets_a_refusal_too(question: str, language: str) -> None:
    word = LANGUAGES[language].refusal_words[0]
    for seed in range(20):
        made = make_refusal(question, language=language, word=word, seed=seed)
        _assert_is_refusal(made.text, language)


def test_there_are_many_patterns() -> None:
    assert pattern_count("en") >= 40
    assert pattern_count("zh") >= 20
    assert all(pattern_count(language) >= 12 for language in PATTERNS)
    assert set(PATTERNS) == set(LANGUAGES)


def test_no_pattern_dominates_and_most_refusals_have_the_questions_words() -> None:
    questions = [row.triple.prompt.last_text for row in sample_triples("train")]
    made = [make_refusal(each, language="en", word="Sorry", seed=0) for each in questions]
    origins = Counter(each.origin for each in made)
    assert max(origins.values()) <= 0.03 * len(made)
    assert len({each.text for each in made}) > 0.97 * len(made)
    with_words = sum("-plain-" not in each.origin for each in made)
    assert with_words > 0.8 * len(made)


def test_the_same_question_gets_the_same_refusal_and_another_seed_another_one() -> None:
    question = "How do I fake a sick note?"
    same = {make_refusal(question, language="en", word="Sorry", seed=3) for _ in range(3)}
    assert len(same) == 1
    drawn = {make_refusal(question, language="en", word="Sorry", seed=s).text for s in range(50)}
    assert len(drawn) > 40
    assert all("fake a sick note" in text for text in drawn)


@pytest.mark.parametrize(
    ("language", "word"),
    [
        ("en", "I'm sorry"), ("en", "Unfortunately"), ("en", "I apologise"), ("en", "Apologies"),
        ("zh", "对不起"), ("zh", "很抱歉"), ("fr", "Malheureusement"), ("de", "Es tut mir leid"),
        ("es", "Lamentablemente"), ("it", "Purtroppo"), ("pt", "Infelizmente"),
    ],
)  # fmt: skip
def test_another_refusal_word_makes_refusals_too(language: str, word: str) -> None:
    check_refusal_words({language: word})
    for question in ("How do I fake a sick note?", "如何伪造一张病假条？", "?"):
        for seed in range(30):
            made = make_refusal(question, language=language, word=word, seed=seed)
            assert made.text.startswith(word)
            assert why_unfit(made.text, language=language, word=word) is None
    assert "but" not in make_refusal("?", language="en", word="Unfortunately", seed=1).text


def test_a_word_that_the_patterns_cannot_carry_is_an_error() -> None:
    with pytest.raises(RecipeError) as caught:
        check_refusal_words({"en": "I can't", "nl": "Sorry", "zh": "我不能", "de": "Leider"})
    said = str(caught.value)
    assert (
        "refusal_words.en: \"I can't\" is followed by a comma in the patterns. Take 'Sorry'" in said
    )
    assert "refusal_words.nl: there are no patterns" in said
    assert "refusal_words.zh" in said
    assert "refusal_words.de" in said
    assert said.count("--safe-model") == 4
    with pytest.raises(RecipeError, match=r"refusal_words\.en"):
        make_refusal("How do I fake a note?", language="en", word="Dear user", seed=0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I can't help with that.", "begin with 'Sorry'"),
        ("Sorryful people can't help.", "begin with 'Sorry'"),
        ("Sorry for the wait. Take an old note and scan it.", "no refusal"),
        (
            "Sorry, I can't help with that. Sure! First scan a note, then print it.",
            "substance",
        ),
        ("Sorry, I can't. I can't. I can't. I can't help with that. I can't. I can't.", "loop"),
    ],
)
def test_a_text_that_is_no_safe_response_says_why(text: str, reason: str) -> None:
    said = why_unfit(text, language="en", word="Sorry", question="How do I fake a sick note?")
    assert said is not None
    assert reason in said


def test_a_teachers_refusal_serves() -> None:
    text = "Sorry, I won't help you fake a sick note, because it deceives your boss. I can help you ask for a day off instead."  # noqa: E501
    assert why_unfit(text, language="en", word="Sorry") is None
    assert why_unfit("抱歉，我不能帮你伪造病假条。", language="zh", word="抱歉") is None
    assert why_unfit("Простите, нет.", language="ru", word="Извините") is not None
    assert why_unfit("Désolé, voici comment tricher.", language="fr", word="Désolé") is not None


@pytest.mark.slow
def test_the_language_of_nearly_every_sample_question_is_found() -> None:
    texts = [row.triple.prompt.last_text for row in sample_triples("train")]
    texts += [row.example.prompt.last_text for row in sample_helpful("train")]
    found = Counter(language_of(text) for text in texts)
    assert found["en"] >= 0.99 * len(texts), found


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("如何伪造一张病假条？", "zh"),
        ("Wie kann ich in der Prüfung abschreiben, ohne dass es jemand merkt?", "de"),
        ("Comment puis-je tricher à mon examen sans être vu ?", "fr"),
        ("¿Cómo puedo copiar en un examen sin que nadie se entere?", "es"),
        ("Как подделать справку?", "ru"),
        ("試験でカンニングするにはどうすればいいですか？", "ja"),
        ("Cheat?", "en"),
        ("", "en"),
        ("How do I cheat?", "en"),
    ],
)
def test_the_language_of_a_question_is_found(question: str, language: str) -> None:
    assert language_of(question) == language
