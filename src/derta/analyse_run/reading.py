"""Texts as a model reads them, and the readings that come of it.

Covered: one model at a time, in memory. Not covered: which texts (`derta.analyse_run.held_out`,
`derta.analyse_run.choosing`), keeping what was read (`derta.analysis.readings`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from derta.analyse_run.fed import FedText
from derta.analyse_run.held_out import HeldOut
from derta.analysis.outcomes import Outcome
from derta.analysis.readings import Reading, Source
from derta.analysis.token_pieces import PieceReader, token_pieces
from derta.analysis.token_reading import (
    READING_VERSION,
    ReferenceStates,
    TokenArrays,
    TokenRow,
    read_tokens,
)
from derta.files import digest

__all__ = ["Text", "own_text", "read_texts", "shared_text", "texts_key"]


@dataclass(frozen=True, slots=True)
class Text:
    """A text that a model reads; the fields are those of `Reading`."""

    source: Source
    scenario: str
    cell: str
    question_id: str
    category: str
    question: str
    prefilled: str
    response: str
    fed: FedText

    @property
    def row(self) -> TokenRow:
        """Its tokens."""
        return self.fed.row


def shared_text(held_out: HeldOut, fed: FedText) -> Text:
    """Make a text that every model reads."""
    return Text(
        held_out.source,
        "",
        "",
        held_out.question_id,
        held_out.category,
        held_out.prompt.last_text,
        "",
        held_out.response,
        fed,
    )


def own_text(outcome: Outcome, fed: FedText) -> Text:
    """Make a text of what the model wrote itself."""
    return Text(
        "response",
        outcome.scenario,
        outcome.cell,
        outcome.question_id,
        outcome.category,
        outcome.question,
        outcome.prefilled,
        outcome.response,
        fed,
    )


def texts_key(texts: Iterable[Text], *parts: str) -> str:
    """Hash all that a model's readings depend on: texts, tokens, and what else is given.

    Args:
        texts: what is read.
        parts: fingerprint, refusal words and so on.
    """
    told = [
        repr(
            (
                *(text.source, text.scenario, text.cell, text.question_id, text.category),
                *(text.question, text.prefilled, text.response, text.fed),
            )
        )
        for text in texts
    ]
    return digest(READING_VERSION, *parts, *told)


def read_texts(
    model: Any,
    tokenizer: Any,
    name: str,
    texts: Sequence[Text],
    refusal_ids: Sequence[int],
    *,
    reference: ReferenceStates | None = None,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Reading]:
    """Read texts with a model.

    Args:
        model: a causal language model, or a PEFT model around one.
        tokenizer: its tokenizer.
        name: what the readings call the model.
        texts: what is read.
        refusal_ids: the refusal tokens.
        reference: what the reference makes of the same texts.
        batch_size: texts at a time, at most.
        progress: called with (texts done, texts in all) after every batch.

    Returns:
        One reading a text, in their order.

    Raises:
        ModelError: as `derta.analysis.token_reading.read_tokens`.
    """
    arrays = read_tokens(
        model,
        [text.row for text in texts],
        refusal_ids,
        reference=reference,
        batch_size=batch_size,
        progress=progress,
    )
    piece = PieceReader(tokenizer)
    return [
        _reading(name, text, found, tokenizer, piece)
        for text, found in zip(texts, arrays, strict=True)
    ]


def _reading(
    name: str, text: Text, found: TokenArrays, tokenizer: Any, piece: PieceReader
) -> Reading:
    return Reading(
        model=name,
        source=text.source,
        scenario=text.scenario,
        cell=text.cell,
        question_id=text.question_id,
        category=text.category,
        question=text.question,
        prefilled=text.prefilled,
        response=text.response,
        tokens=token_pieces(tokenizer, text.row.text_ids),
        prefilled_tokens=len(text.fed.prefilled_ids),
        refusal_probability=found.refusal_probability,
        refusal_rank=found.refusal_rank,
        token_probability=found.token_probability,
        token_rank=found.token_rank,
        top_tokens=tuple(piece(int(token)) for token in found.top_ids),
        top_probability=found.top_probability,
        divergence=found.divergence,
    )
