"""Where the words of a response end, in token ids; how a vocabulary writes a blank.

The released code of the paper counts k in words: pieces of h between single blanks, what Python's
`text.split(" ")` returns. Rows are made of token ids, so words are counted there: a token that
begins with a blank ends the word before it. Covered: vocabularies that write a blank as "Ġ"
(byte-level BPE), as "▁" (SentencePiece) or as a blank. Not covered: vocabularies in which no token
holds a blank, and languages that write none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

from derta.errors import TokenizerError

__all__ = ["WordBoundaries", "puts_blank_first"]

_MARKERS = ("Ġ", "▁", " ")
_MOST_BLANKS = 255


@dataclass(frozen=True, slots=True)
class WordBoundaries:
    """Counts words in the token ids of one vocabulary.

    Only two bytes for each token are kept, so that it is small to send to the processes that load
    data.
    """

    tokenizer: InitVar[Any]
    """A transformers tokenizer; it is read and not kept."""
    _begins: bytes = field(default=b"", init=False, repr=False)
    """1 for each token id that begins with a blank."""
    _blanks: bytes = field(default=b"", init=False, repr=False)
    """How many blanks each token id holds, the first included."""
    _own_blank: bool = field(default=False, init=False, repr=False)
    """Whether the tokenizer writes a blank before a text that has none."""

    def __post_init__(self, tokenizer: Any) -> None:
        """Read the vocabulary.

        Raises:
            TokenizerError: no token of it holds a blank, so words can't be told apart.
        """
        marker = _marker(tokenizer)
        if marker is None:
            name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
            raise TokenizerError(
                f"{name}: no token of the tokenizer holds a blank, so the words of a response "
                "can't be counted. Set rows.prefix_unit=tokens"
            )
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        size = max(vocabulary.values()) + 1
        begins, blanks = bytearray(size), bytearray(size)
        for token, token_id in vocabulary.items():
            # Added tokens are plain text: runs of blanks are among them (Phi, OLMo).
            text = token.replace(marker, " ")
            begins[token_id] = text.startswith(" ")
            blanks[token_id] = min(text.count(" "), _MOST_BLANKS)
        object.__setattr__(self, "_begins", bytes(begins))
        object.__setattr__(self, "_blanks", bytes(blanks))
        object.__setattr__(self, "_own_blank", puts_blank_first(tokenizer))

    def ends(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """Return for each word how many tokens hold it and all before it.

        Args:
            token_ids: of a response, from its first token on.

        Returns:
            One number for each word of `text.split(" ")`, none of them smaller than the one
            before. A word that ends inside a token is complete after it. The blank that a
            SentencePiece vocabulary writes before every text is no word's end.
        """
        ends: list[int] = []
        for place, token_id in enumerate(token_ids):
            blanks = self._blanks[token_id]
            if not blanks:
                continue
            inside = blanks
            if self._begins[token_id]:
                inside -= 1
                if place or not self._own_blank:
                    ends.append(place)
            ends += [place + 1] * inside
        ends.append(len(token_ids))
        return tuple(ends)


def puts_blank_first(tokenizer: Any) -> bool:
    """Say whether a tokenizer writes a blank before a text that has none (SentencePiece)."""
    marker = _marker(tokenizer)
    return marker is not None and "".join(_tokens(tokenizer, "a")).startswith(marker)


def _marker(tokenizer: Any) -> str | None:
    """Find how the vocabulary writes a blank; None: it doesn't."""
    written = "".join(_tokens(tokenizer, "a a"))
    return next((marker for marker in _MARKERS if marker in written), None)


def _tokens(tokenizer: Any, text: str) -> list[str]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    tokens: list[str] = tokenizer.convert_ids_to_tokens(ids)
    return tokens
