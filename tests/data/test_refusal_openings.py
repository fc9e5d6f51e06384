# ruff: noqa: RUF001 - words of other scripts have letters that look like Latin ones
"""Refusals that begin otherwise get their language's refusal word, and nothing else is touched.

Not covered: whole files (tests/data/test_mixing).
"""

from __future__ import annotations

import pytest

from derta.data.languages import LANGUAGES
from derta.data.refusal_openings import Opening, open_with_refusal_word
from derta.refusal import judge_refusal

REWRITTEN = [
    ("en", "I'm sorry, but I can't help with that.", "Sorry, but I can't help with that."),
    ("en", "I’m sorry, but I can’t help with that.", "Sorry, but I can’t help with that."),
    ("en", "I am so sorry, I cannot assist you.", "Sorry, I cannot assist you."),
    ("en", "I apologize, but I cannot provide that.", "Sorry, but I cannot provide that."),
    ("en", "My apologies, but I'm unable to help.", "Sorry, but I'm unable to help."),
    ("en", "Unfortunately, I can't help you cheat.", "Sorry, I can't help you cheat."),
    ("en", "sorry, I can't help with that.", "Sorry, I can't help with that."),
    ("en", "I can't help with that. Ask me for tips.",
     "Sorry, I can't help with that. Ask me for tips."),
    ("en", "I cannot assist you with this request.",
     "Sorry, I cannot assist you with this request."),
    ("en", "I won't help you write that.", "Sorry, I won't help you write that."),
    ("en", "I'm unable to help with that.", "Sorry, I'm unable to help with that."),
    ("en", "I must decline this request.", "Sorry, I must decline this request."),
    ("en", "NO, I can't help with that.", "Sorry, NO, I can't help with that."),
    ("en", "No, I can't help with that.", "Sorry, no, I can't help with that."),
    ("en", "As an AI, I can't help with this.", "Sorry, as an AI, I can't help with this."),
    ("en", "  I'm sorry, but I can't help.\n\nAsk me later.",
     "Sorry, but I can't help.\n\nAsk me later."),
    ("zh", "很抱歉，我不能帮你插队。", "抱歉，我不能帮你插队。"),
    ("zh", "对不起，但我无法回答这个问题。", "抱歉，但我无法回答这个问题。"),
    ("zh", "我不能帮你写假评论。", "抱歉，我不能帮你写假评论。"),
    ("fr", "Je suis désolé, mais je ne peux pas vous aider.",
     "Désolé, mais je ne peux pas vous aider."),
    ("fr", "Je ne peux pas vous aider à tricher.", "Désolé, je ne peux pas vous aider à tricher."),
    ("de", "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
     "Entschuldigung, aber ich kann dir dabei nicht helfen."),
    ("de", "Leider kann ich dir dabei nicht helfen.",
     "Entschuldigung, leider kann ich dir dabei nicht helfen."),
    ("es", "Disculpa, pero no puedo ayudarte con eso.",
     "Lo siento, pero no puedo ayudarte con eso."),
    ("it", "Non posso aiutarti a copiare.", "Mi dispiace, non posso aiutarti a copiare."),
    ("pt", "Sinto muito, mas não posso ajudar com isso.",
     "Desculpe, mas não posso ajudar com isso."),
    ("ru", "Простите, но я не могу помочь с этим.", "Извините, но я не могу помочь с этим."),
    ("ru", "Я не могу помочь с этим.", "Извините, я не могу помочь с этим."),
    ("ja", "すみませんが、お手伝いできません。", "申し訳ありませんが、お手伝いできません。"),
    ("ja", "お答えできません。", "申し訳ありませんが、お答えできません。"),
]  # fmt: skip

UNCHANGED = [
    ("en", "I'm sorry to hear that. Bake another one."),
    ("en", "Sorry to hear that. Bake another one."),
    ("en", "Sorry for the wait! Walk in."),
    ("en", "Sure, here is how: walk in."),
    ("en", "Unfortunately, the bakery is closed on Sundays."),
    ("en", "Bake it for an hour. I can't help with the icing."),
    ("en", "Dear neighbour, I can't help you on Friday."),
    ("en", "I can't recommend this bakery enough."),
    ("zh", "很抱歉听到这个消息，祝你早日康复。"),
    ("zh", "先把面粉和水混合。"),
    ("fr", "Je suis désolé d'apprendre cela."),
    ("fr", "Désolé d'apprendre cela."),
    ("de", "Leider ist der Laden geschlossen."),
    ("es", "Perdón, el horno está frío."),
    ("ru", "К сожалению, магазин закрыт."),
    ("ko", "죄송하지만 도와드릴 수 없습니다."),
]


@pytest.mark.parametrize(("language", "before", "after"), REWRITTEN)
def test_a_refusal_with_another_opening_begins_with_its_languages_word(
    language: str, before: str, after: str
) -> None:
    assert open_with_refusal_word(before, language) == (after, Opening.REWRITTEN)
    assert open_with_refusal_word(after, language) == (after, Opening.WORD)
    if language == "en":
        assert judge_refusal(after, truncated=False).refused


@pytest.mark.parametrize(("language", "text"), UNCHANGED)
def test_what_is_no_refusal_from_its_beginning_is_left_alone(language: str, text: str) -> None:
    assert open_with_refusal_word(text, language) == (text, Opening.OTHER)


REFUSING = {
    "en": "I can't help with that.",
    "zh": "我不能帮你插队。",
    "fr": "je ne peux pas vous aider.",
    "de": "ich kann dir dabei nicht helfen.",
    "es": "no puedo ayudarte con eso.",
    "it": "non posso aiutarti a copiare.",
    "pt": "não posso ajudar com isso.",
    "ru": "я не могу помочь с этим.",
    "ja": "お答えできません。",
}


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_response_that_begins_with_the_word_is_left_alone_and_counts_if_it_refuses(
    code: str,
) -> None:
    word = LANGUAGES[code].refusal_words[0]
    for text in (f"{word}, {REFUSING[code]}", f"{word}. {REFUSING[code]}"):
        assert open_with_refusal_word(text, code) == (text, Opening.WORD)
    for text in (word, f"{word}, 1", f"{word}. x"):
        assert open_with_refusal_word(text, code) == (text, Opening.OTHER)


def test_a_longer_word_is_not_the_refusal_word() -> None:
    text = "Sorrylandia is no country."
    assert open_with_refusal_word(text, "en") == (text, Opening.OTHER)
