"""Which parts of a response only repeat what the model was given.

On the review page they are dimmed, so that a reader finds what the model itself has said: an
answer to CodeAttack may copy the program for a hundred words before anything matters.

Covered: repeats of six words and more, found word by word as the offline judge finds them
(`derta.judges.tokens.Memory`); white space, case and punctuation don't count. Not covered:
paraphrases, and scripts whose words that judge can't read: nothing of them is dimmed.
"""

from __future__ import annotations

import re

from derta.judges.pieces import plain_text
from derta.judges.tokens import Memory, tokenize

__all__ = ["echo_parts", "echo_spans"]

_RUN_WORDS = 4
"""Words in a row that must stand in the prompt as well, for any of them to count as repeated."""
_LEAST_WORDS = 6
"""A shorter repeat ("how to make a") is how one talks about the question, and stays as it is."""
_MOST_CHARACTERS = 200_000
"""Of a response; what comes later isn't looked at."""
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CHUNK = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")
"""What stands between blanks, or one Chinese character: no word of `tokenize` reaches beyond."""


def echo_spans(response: str, *, prompt: str, prefilled: str = "") -> list[tuple[int, int]]:
    """Find the stretches of a response that repeat the prompt.

    Args:
        response: what the model wrote.
        prompt: what it was given; add the question if it reads otherwise.
        prefilled: what it was made to have said before; repeating that counts as well.

    Returns:
        (start, end) in characters of the response, in order, without overlaps.
    """
    memory = Memory(_RUN_WORDS)
    for text in (prompt, prefilled):
        memory.learn(tokenize(plain_text(text)))
    chunks, tokens, owners, new = _chunked(plain_text(response[:_MOST_CHARACTERS]))
    if len(tokens) < _LEAST_WORDS:
        return []
    repeated = bytearray(len(tokens))
    for index in range(len(tokens) - _RUN_WORDS + 1):
        if not memory.new_words(tokens[index : index + _RUN_WORDS]):
            repeated[index : index + _RUN_WORDS] = b"\x01" * _RUN_WORDS
    # A chunk with a word of its own ("bake(cake)") is not a repeat.
    new.update(owner for owner, old in zip(owners, repeated, strict=True) if not old)
    words = [0] * len(chunks)
    for owner in owners:
        words[owner] += 1
    return _runs(chunks, words, new)


def echo_parts(response: str, *, prompt: str, prefilled: str = "") -> list[tuple[str, bool]]:
    """Cut a response into parts, each with whether it repeats the prompt.

    For readers that count characters in other units (JavaScript does): the parts joined are the
    response.
    """
    parts: list[tuple[str, bool]] = []
    at = 0
    for start, end in echo_spans(response, prompt=prompt, prefilled=prefilled):
        parts += [(response[at:start], False), (response[start:end], True)]
        at = end
    return [(text, repeats) for text, repeats in [*parts, (response[at:], False)] if text]


def _chunked(text: str) -> tuple[list[tuple[int, int]], list[str], list[int], set[int]]:
    """List a text's chunks, its words, each word's chunk, and the chunks with unread letters."""
    chunks: list[tuple[int, int]] = []
    tokens: list[str] = []
    owners: list[int] = []
    unread: set[int] = set()
    for match in _CHUNK.finditer(text):
        found = tokenize(match[0])
        if _letters(match[0]) > sum(map(_letters, found)):
            unread.add(len(chunks))  # a word that is too long to be one
        owners += [len(chunks)] * len(found)
        tokens += found
        chunks.append(match.span())
    return chunks, tokens, owners, unread


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


def _runs(chunks: list[tuple[int, int]], words: list[int], new: set[int]) -> list[tuple[int, int]]:
    """Join repeated chunks that follow each other, and drop what is too short."""
    found: list[tuple[int, int]] = []
    run: list[int] = []  # chunks; those without a word (brackets, rules) belong to their neighbours
    for number in [*range(len(chunks)), None]:
        if number is not None and number not in new:
            run.append(number)
            continue
        while run and not words[run[0]]:
            run.pop(0)
        while run and not words[run[-1]]:
            run.pop()
        if sum(words[each] for each in run) >= _LEAST_WORDS:
            found.append((chunks[run[0]][0], chunks[run[-1]][1]))
        run = []
    return found
