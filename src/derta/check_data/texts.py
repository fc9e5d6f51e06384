"""What is read off a text at a glance: its hash, its length, whether it ends in mid-sentence.

Covered: texts of any language; words are runs between blanks, in a text with other letters than
ASCII those of `derta.judges.tokens` (a Chinese character is two thirds of a word). Not covered:
what a text means; scripts that end no sentence with a sign, such as Thai, look cut off.
"""

from __future__ import annotations

import re

from derta.data.prompts import hash_words, plain_form, same_words
from derta.judges.tokens import count_words, tokenize
from derta.triple import Conversation

__all__ = ["holds", "looks_cut_off", "measure_text", "whole_prompt", "words_in"]

_SHORT_LINE_WORDS = 4
"""A last line of no more words may lack its full stop: a name, a number, the end of a letter."""
_ITEM_WORDS = 12
"""The same for an item of a list or a heading."""
_ITEM = re.compile(r"[ \t]*(?:[-*•+#>|]|\d{1,3}[.)])")
_UNFINISHED = frozenset(",-–—([{&/（，、")  # noqa: RUF001  # Chinese punctuation is meant
_WIDE_SCRIPT_CHARACTERS = 3
"""So many characters stand for a word where a script writes no blanks."""
_SHORTEST_HELD = 20
"""Characters of a response that are looked for in the prompt; a shorter one is there by chance."""


def measure_text(text: str) -> tuple[int, int]:
    """Hash a text (`derta.data.prompts`) and count its words: (64 bits, words)."""
    plain = plain_form(text)
    words = same_words(plain)
    count = len(words) if plain is text else round(count_words(tokenize(plain)))
    return hash_words(words), count


def words_in(text: str) -> int:
    """Count the words of a text."""
    return len(text.split()) if text.isascii() else round(count_words(tokenize(text)))


def whole_prompt(conversation: Conversation) -> str:
    """Write a prompt as one text: a lone user message as it is, other turns with their roles."""
    messages = conversation.messages
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


def holds(prompt: str, response: str) -> bool:
    """Say whether a prompt holds the whole response, as data that was cut wrongly does."""
    text = response.strip()
    return len(text) >= _SHORTEST_HELD and text in prompt


def looks_cut_off(text: str) -> bool:
    """Say whether a response seems to stop in mid-sentence: its last sign ends nothing.

    A short last line and an item of a list may lack their full stop.
    """
    ended = text.rstrip()
    last = ended[-1:]
    if not (last.isalnum() or last in _UNFINISHED):
        return False
    line = ended[ended.rfind("\n") + 1 :]
    words = len(line.split())
    if not line.isascii():
        words = max(words, len(line) // _WIDE_SCRIPT_CHARACTERS)
    return words > (_ITEM_WORDS if _ITEM.match(line) else _SHORT_LINE_WORDS)
