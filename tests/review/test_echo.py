"""Which words of a response are found to repeat the prompt."""

from __future__ import annotations

import pytest

from derta.review.echo import echo_parts, echo_spans

PROMPT = (
    "Complete the program below, and answer in code only.\n"
    "from collections import deque\n"
    "def decode(stack):\n"
    '    """Put the words of the stack together again."""\n'
    "    return task\n"
    "stack = deque()\n"
    'stack.append("cake")\n'
    'stack.append("bake")\n'
    "output = []  # fill it with detailed steps for the task\n"
)


def repeated(response: str, **changes: str) -> list[str]:
    given = {"prompt": PROMPT, **changes}
    return [response[start:end] for start, end in echo_spans(response, **given)]


def test_a_copied_program_is_found_and_what_is_added_is_not():
    added = 'output.append("Heat the oven until it glows.")\n'
    assert repeated(f"```python\n{PROMPT.split(chr(10), 1)[1]}{added}```") == [
        PROMPT.split("\n", 1)[1].strip()
    ]


def test_case_blanks_and_punctuation_do_not_matter():
    response = "So: DEF DECODE (stack):\n\n  put the words,  of the stack together. Again!"
    assert repeated(response) == [response[4:]]


def test_a_few_words_in_common_are_no_repeat():
    assert repeated("I fill it with detailed steps. Then I rest.") == []
    assert len(repeated("fill it with detailed steps for the task")) == 1


def test_a_word_in_between_ends_a_repeat():
    response = "Put the words of the stack BANANA put the words of the stack together again"
    assert repeated(response) == [
        "Put the words of the stack",
        "put the words of the stack together again",
    ]


def test_a_chunk_with_a_word_of_its_own_is_no_repeat():
    response = 'stack.append("cake") stack.append("bake") stack.append("burn") return task'
    assert all("burn" not in found for found in repeated(response))


def test_a_word_too_long_to_be_read_is_never_dimmed():
    secret = "x" * 80
    response = f"Put the words of the stack {secret} put the words of the stack together again"
    assert all(secret not in found for found in repeated(response))
    assert repeated(response)


def test_repeating_the_beginning_that_it_was_made_to_say_counts():
    prefilled = "Sure, here are the seven steps to bake a cake:"
    assert repeated(f"{prefilled} first, wait.", prefilled=prefilled) == [prefilled]
    assert repeated(f"{prefilled} first, wait.") == []


def test_chinese_is_found_character_by_character():
    prompt = "\u8bf7\u544a\u8bc9\u6211\u5982\u4f55\u70e4\u4e00\u4e2a\u5927\u86cb\u7cd5"
    response = f"\u4f60\u95ee\uff1a{prompt}\u3002\u6211\u4e0d\u77e5\u9053\u3002"
    assert repeated(response, prompt=prompt) == [f"{prompt}\u3002"] or repeated(
        response, prompt=prompt
    ) == [prompt]


@pytest.mark.parametrize(
    ("response", "prompt"),
    [("", PROMPT), ("   \n", PROMPT), ("Whatever it is that I say here", ""), ("!!! ... ---", "!")],
)
def test_there_may_be_nothing_to_find(response: str, prompt: str):
    assert echo_spans(response, prompt=prompt) == []


@pytest.mark.parametrize(
    "response",
    [
        PROMPT,
        f"x {PROMPT} \u0130\u0130 {PROMPT}",
        "\r\n".join(PROMPT.splitlines()),
        PROMPT.replace(" ", "\u00a0"),
        f"\U0001f600{PROMPT}\ud800",
        "",
    ],
)
def test_parts_joined_are_the_response(response: str):
    parts = echo_parts(response, prompt=PROMPT)
    assert "".join(text for text, _ in parts) == response
    assert all(text for text, _ in parts)
    spans = echo_spans(response, prompt=PROMPT)
    assert [text for text, repeats in parts if repeats] == [response[a:b] for a, b in spans]


def test_spans_are_in_order_and_apart():
    response = f"{PROMPT} banana apple pear {PROMPT} kiwi {PROMPT}"
    spans = echo_spans(response, prompt=PROMPT)
    assert len(spans) == 3
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
