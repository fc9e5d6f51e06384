"""When two prompts ask the same: case, blanks, forms of characters, system messages, turns."""

from __future__ import annotations

import pytest

from derta.data.prompts import asked, compared_turn, hash_text, user_turns
from derta.triple import Conversation, Message

QUESTION = "How do I bake rye bread at home?"


def talk(*turns: str) -> Conversation:
    """Write a conversation; turns begin with their role's first letter."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return Conversation(tuple(Message(roles[turn[0]], turn[2:]) for turn in turns))


@pytest.mark.parametrize(
    "other",
    [
        "how do i bake rye bread at home?",
        "HOW DO I BAKE RYE BREAD AT HOME?",
        "  How  do I\nbake\trye\u3000bread at home? ",
        "\uff28ow do I bake rye bread at home?",
    ],
)
def test_case_blanks_and_forms_of_characters_make_no_difference(other: str) -> None:
    assert hash_text(other) == hash_text(QUESTION)
    assert hash_text("STRASSE") == hash_text("straße")


@pytest.mark.parametrize("other", ["How do I bake rye bread at home", "", "How do I bake?"])
def test_other_texts_are_others(other: str) -> None:
    assert hash_text(other) != hash_text(QUESTION)


def test_another_seed_gives_another_hash() -> None:
    assert hash_text(QUESTION, 1) != hash_text(QUESTION) == hash_text(QUESTION, 0)


def test_half_of_a_surrogate_is_hashed_too() -> None:
    assert hash_text("a \ud800 b") != hash_text("a b")


def test_a_system_message_makes_no_difference() -> None:
    alone = asked(Conversation.from_text(QUESTION))
    assert asked(talk("s Be kind.", f"u {QUESTION}")) == alone
    assert alone.question == alone.ending == hash_text(QUESTION)
    assert alone.turns == ()


def test_a_conversation_is_known_by_all_of_its_turns_and_by_the_one_that_asks() -> None:
    whole = talk("u Good morning.", "a Hello.", f"u {QUESTION}")
    found = asked(whole)
    assert found.question != hash_text(QUESTION)
    assert found.ending == hash_text(QUESTION)
    assert found.turns == (hash_text("Good morning."), hash_text(QUESTION))
    other = talk("u Good morning.", "a What is it?", f"u {QUESTION}")
    assert asked(other) == found, "answers make no difference"


@pytest.mark.parametrize("last", ["Tell me more.", "再说一点。"])
def test_a_short_last_turn_is_taken_with_the_others(last: str) -> None:
    turns = user_turns(talk(f"u {QUESTION}", "a Like this.", f"u {last}"))
    assert compared_turn(turns) == f"{QUESTION}\n{last}"


@pytest.mark.parametrize("last", [QUESTION, "怎样才能在家里烤出好吃的黑麦面包"])
def test_a_last_turn_that_says_enough_is_what_is_asked(last: str) -> None:
    assert compared_turn(user_turns(talk("u Hello.", "a Hi.", f"u {last}"))) == last


def test_a_held_out_question_is_found_in_every_turn() -> None:
    held = frozenset([hash_text(QUESTION.upper())])
    assert asked(Conversation.from_text(QUESTION)).holds(held)
    assert asked(talk(f"u {QUESTION}", "a Like this.", "u Tell me more.")).holds(held)
    assert asked(talk("u Hello.", "a Hi.", f"u {QUESTION}")).holds(held)
    assert not asked(talk("u Hello.", f"a {QUESTION}", "u Tell me more.")).holds(held)
    assert not asked(Conversation.from_text(QUESTION)).holds(frozenset())
