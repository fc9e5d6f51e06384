"""What a user asks in a prompt, and when two prompts ask the same.

Two texts are the same if they differ in case, blanks or the form of characters (NFKC) only; they
are compared by hashes of 64 bits. `derta data check` finds leaks and repeated prompts by these, and
`derta data mix` leaves rows out by them. Covered: conversations of any length. Not covered: what is
nearly the same (`derta.check_data.near`), and the same question in other words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from derta.triple import Conversation

__all__ = [
    "Asked",
    "asked",
    "compared_turn",
    "hash_text",
    "hash_words",
    "join_turns",
    "plain_form",
    "same_words",
    "user_turns",
]

_TURN_WORDS = 5
"""A last turn of fewer words ("Tell me more.") says nothing without the ones before it."""
_WITHOUT_BLANKS = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_CHARACTER_WORDS = 2 / 3
"""Words that one Chinese or Japanese character counts."""


def plain_form(text: str) -> str:
    """Write characters that have several forms (full-width letters, ligatures) in one of them."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def same_words(plain: str) -> list[str]:
    """List the words of a text in plain form, the same whatever its case and blanks."""
    return plain.casefold().split()


def hash_words(words: Sequence[str], seed: int = 0) -> int:
    """Hash words to 64 bits.

    Two different texts share a hash with a chance of 1 in 2**64: among a million texts that happens
    to some pair with a chance of 3 in 100 million.
    """
    return xxhash.xxh3_64_intdigest(" ".join(words).encode("utf-8", "surrogatepass"), seed=seed)


def hash_text(text: str, seed: int = 0) -> int:
    """Hash a text so that case, blanks and forms of characters make no difference."""
    return hash_words(same_words(plain_form(text)), seed)


def user_turns(conversation: Conversation) -> list[str]:
    """List what the user says in a prompt, turn by turn; system messages and answers are left."""
    messages = conversation.messages
    if len(messages) == 1:
        return [messages[0].content]
    return [message.content for message in messages if message.role == "user"]


def join_turns(turns: Sequence[str]) -> str:
    """Write the user's turns as one text."""
    return turns[0] if len(turns) == 1 else "\n".join(turns)


def compared_turn(turns: Sequence[str]) -> str:
    """Choose the turn that asks what a conversation asks: the last one, if it says enough.

    The turns before it differ where the question is the same. A short last turn is taken with the
    others, as many conversations end in the same few words.
    """
    if len(turns) > 1 and _says_enough(turns[-1]):
        return turns[-1]
    return join_turns(turns)


def _says_enough(turn: str) -> bool:
    characters = 0 if turn.isascii() else len(_WITHOUT_BLANKS.findall(turn))
    return max(len(turn.split()), round(_CHARACTER_WORDS * characters)) >= _TURN_WORDS


@dataclass(frozen=True, slots=True)
class Asked:
    """What a prompt asks, as hashes."""

    question: int
    """Of all that the user says."""
    ending: int
    """Of the turn that asks (`compared_turn`); the same as `question` where there is one turn."""
    turns: tuple[int, ...]
    """Of each user turn, where there are several."""

    def holds(self, held_out: frozenset[int]) -> bool:
        """Say whether all that the user says, or one of the turns, is among held-out questions."""
        return self.question in held_out or not held_out.isdisjoint(self.turns)


def asked(conversation: Conversation) -> Asked:
    """Hash what the user asks in a prompt."""
    turns = user_turns(conversation)
    question = hash_text(join_turns(turns))
    if len(turns) == 1:
        return Asked(question, question, ())
    return Asked(question, hash_text(compared_turn(turns)), tuple(map(hash_text, turns)))
