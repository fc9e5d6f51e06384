"""Token readings of the explorer as short strings: some nine characters a token.

Numbers are written in base 88, in characters that JSON and HTML leave as they are, two a number:

- a probability by its log odds in 7,744 steps from -20.7 to 20.7. What is read back is within
  0.27 % of the probability and of its complement, and within 0.07 percentage points;
- a rank as it is, up to 7,744, which also stands for all ranks beyond.

Where the token that stands there is the model's first choice, its probability is that of the first
choice and isn't written again. Covered: one reading to one row. Not covered: which readings are
kept (`explorer_data`), reading it back (`explorer.js`).

Shapes:  S tokens; T contexts that are kept, the last T of S + 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.readings import Reading
from derta.report.evaluation_page.explorer_texts import Numbers, utf16_length
from derta.report.markup import visible_text

__all__ = ["ALPHABET", "LEVELS", "LOG_ODDS_LIMIT", "HeatRows", "pack", "probability_codes"]

ALPHABET = "".join(chr(code) for code in range(35, 127) if chr(code) not in "&<>\\")
"""88 characters that stand for themselves in JSON within HTML."""

_BASE = len(ALPHABET)
LEVELS = _BASE**2
LOG_ODDS_LIMIT = 20.7
"""Probabilities below 1e-9, and above 1 less that, are written as such."""

_DIGITS = np.frombuffer(ALPHABET.encode("ascii"), dtype=np.uint8)


def pack(values: NDArray[np.int64], width: int) -> str:
    """Write whole numbers in base 88.

    Args:
        values: (N,) from 0 to 88**width - 1.
        width: characters a number.
    """
    digits = [values // _BASE**place % _BASE for place in reversed(range(width))]
    packed: bytes = _DIGITS[np.stack(digits, axis=-1)].tobytes()
    return packed.decode("ascii")


def probability_codes(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Compute the level of each probability, (N,) -> (N,) of 0 to 7,743; what is no number is 0."""
    values = np.nan_to_num(np.asarray(probabilities, np.float64), nan=0.0)
    values = np.clip(values, 1e-12, 1 - 1e-12)
    odds = np.clip(np.log(values) - np.log1p(-values), -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT)
    codes: NDArray[np.int64] = np.rint(
        (odds + LOG_ODDS_LIMIT) / (2 * LOG_ODDS_LIMIT) * (LEVELS - 1)
    ).astype(np.int64)
    return codes


class HeatRows:
    """Readings by number, with the tables of pieces and next choices that they share."""

    def __init__(self, mouth_tokens: int | None = None) -> None:
        """Begin with nothing.

        Args:
            mouth_tokens: of text put into the model's mouth so many tokens are kept, the last
                ones; None: all.
        """
        self._mouth_tokens = mouth_tokens
        self._pieces = Numbers[str | tuple[str, ...]]()
        self._choices = Numbers[str]()
        self.rows: list[list[Any]] = []
        self.shortened = 0
        """So many have lost the beginning of what was put into the mouth."""

    def add(self, reading: Reading, prefilled: str, response: str) -> int:
        """Write a reading and give its number.

        Args:
            reading: of the text.
            prefilled: what was put into the mouth, as the page has it: whole.
            response: likewise.
        """
        first = 0
        if self._mouth_tokens is not None:
            first = max(0, reading.prefilled_tokens - self._mouth_tokens)
        self.shortened += first > 0
        pieces, start = _cut(reading.tokens, prefilled + response, first)
        ranks = reading.token_rank[first:].astype(np.int64)
        other = ranks > 1  # (T - 1,) where another token is the first choice
        choices = [reading.top_tokens[first + int(t)] for t in np.flatnonzero(other)]
        numbers = [self._choices.add(visible_text(c)) for c in (*choices, reading.top_tokens[-1])]
        token_probability = reading.token_probability[first:]
        self.rows.append(
            [
                self._pieces.add(pieces),
                first,
                start,
                reading.prefilled_tokens,
                len(reading.tokens),
                pack(probability_codes(reading.refusal_probability[first:]), 2),
                pack(_rank_codes(reading.refusal_rank[first:]), 2),
                pack(probability_codes(reading.top_probability[first:]), 2),
                pack(_rank_codes(ranks), 2),
                pack(probability_codes(token_probability[other]), 2),
                pack(np.array(numbers, np.int64), 3),
            ]
        )
        return len(self.rows) - 1

    def tables(self) -> dict[str, Any]:
        """Give what the page needs to read the rows."""
        return {
            "alphabet": ALPHABET,
            "log_odds_limit": LOG_ODDS_LIMIT,
            "heat": self.rows,
            "pieces": [
                piece if isinstance(piece, str) else list(piece) for piece in self._pieces.values()
            ],
            "choices": self._choices.values(),
        }


def _cut(tokens: tuple[str, ...], text: str, first: int) -> tuple[str | tuple[str, ...], int]:
    """Write the tokens from `first` on as lengths, and where they begin in the text.

    Where they don't add up to the text (bytes that are no character alone) or one is too long for
    a length, they are written out, and begin nowhere.
    """
    shown = [visible_text(token) for token in tokens]
    lengths = [utf16_length(token) for token in shown]
    if "".join(shown) != visible_text(text) or max(lengths, default=0) >= _BASE:
        return tuple(shown[first:]), -1
    return "".join(ALPHABET[length] for length in lengths[first:]), sum(lengths[:first])


def _rank_codes(ranks: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    return np.clip(ranks.astype(np.int64), 1, LEVELS) - 1
