"""Token ids as the pieces of text that they stand for.

A token by itself is not always text: SentencePiece drops the blank before a text's first word, and
a character outside ASCII may be spread over several tokens. Pieces are therefore read in their
context. Covered: any transformers tokenizer; no torch. Not covered: which tokens a text has
(`derta.data.encode`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["PieceReader", "token_pieces"]

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, and so tokens that it can be spread over."""


def token_pieces(tokenizer: Any, token_ids: Sequence[int]) -> tuple[str, ...]:
    """Divide a text into the pieces that its tokens add to it.

    A character that several tokens share stands at the last of them, and the others are empty.
    Bytes that are no character are U+FFFD.

    Returns:
        (S,) pieces that concatenate to what the tokenizer makes of all ids.
    """
    pieces: list[str] = []
    before, start = 0, 0  # the context of what is read, and where that begins
    for end in range(1, len(token_ids) + 1):
        known = _decode(tokenizer, token_ids[before:start])
        text = _decode(tokenizer, token_ids[before:end])
        unfinished = text.endswith(_BROKEN) and end - start < _LONGEST_CHARACTER
        if unfinished and end < len(token_ids):
            pieces.append("")
            continue
        pieces.append(text[len(known) :])
        before, start = start, end
    return tuple(pieces)


class PieceReader:
    """Says what single tokens look like in the middle of a text; each is looked up once."""

    def __init__(self, tokenizer: Any) -> None:
        """Read with a tokenizer."""
        self._tokenizer = tokenizer
        anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
        self._anchor = list(anchor)
        self._start = len(_decode(tokenizer, self._anchor))
        self._known: dict[int, str] = {}

    def __call__(self, token_id: int) -> str:
        """Return a token's text; a special token's name, U+FFFD for a part of a character."""
        if token_id not in self._known:
            text = _decode(self._tokenizer, [*self._anchor, token_id])
            self._known[token_id] = text[self._start :]
        return self._known[token_id]


def _decode(tokenizer: Any, token_ids: Sequence[int]) -> str:
    if not token_ids:
        return ""
    return str(tokenizer.decode(list(token_ids), clean_up_tokenization_spaces=False))
