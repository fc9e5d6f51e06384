"""`derta probe`: how likely one model would refuse at every token of a text that somebody typed.

Covered: local models, one pass over prompt and response; the divergence from a second model of the
same vocabulary. Not covered: generating; models behind a provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from derta.analyse_run.fed import held_out_tokens
from derta.analyse_run.held_out import HeldOut
from derta.analyse_run.origin import Origin, find_origin, refusal_ids_of, words_for
from derta.analyse_run.reading import read_texts, shared_text
from derta.analysis.readings import Reading
from derta.analysis.token_reading import ReferenceStates, TokenRow, keep_states
from derta.errors import ModelError
from derta.evaluate.subjects import Subject, make_subjects, without_format
from derta.triple import Conversation

__all__ = ["Probe", "probe"]


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """What a model makes of a text."""

    reading: Reading
    """Its source is "response"; scenario, cell and question's id are empty."""
    refusal_words: tuple[str, ...]
    """Whose probability was measured."""
    reference: str | None
    """The model that the divergence is from."""
    notes: tuple[str, ...]
    """What is missing, in words."""

    def as_json(self) -> dict[str, Any]:
        """Return all values, ready for a JSON file."""
        reading = self.reading
        return {
            "schema": "derta/probe/1",
            "model": reading.model,
            "reference": self.reference,
            "refusal_words": list(self.refusal_words),
            "prompt": reading.question,
            "response": reading.response,
            "tokens": list(reading.tokens),
            "refusal_probability": _numbers(reading.refusal_probability),
            "refusal_rank": _numbers(reading.refusal_rank),
            "token_probability": _numbers(reading.token_probability),
            "token_rank": _numbers(reading.token_rank),
            "top_tokens": list(reading.top_tokens),
            "top_probability": _numbers(reading.top_probability),
            "divergence": None if reading.divergence is None else _numbers(reading.divergence),
            "notes": list(self.notes),
        }


def probe(
    model: str,
    prompt: str,
    response: str,
    *,
    reference: str | None = None,
    refusal_words: Sequence[str] = (),
) -> Probe:
    """Read a response with a model.

    Args:
        model: a run folder, an adapter, a transformers folder or a hub id, as `derta evaluate`
            takes it.
        prompt: the user's message.
        response: the text that is read as the model's answer to it.
        reference: a second model, likewise.
        refusal_words: whose probability is measured; none: those that the model was trained with.

    Raises:
        ModelError: a model can't be loaded, is behind a provider, or reads fewer tokens.
        TokenizerError: no refusal word is one token, or the chat template refuses the prompt.
    """
    subjects = make_subjects([model] if reference is None else [model, reference], batch_size=1)
    for subject in subjects:
        if not subject.local:
            raise ModelError(
                f"{subject.reference}: is behind a provider, which shows no probabilities of every "
                "token. Name a model on this machine (derta/OWNER/NAME for a hub id whose OWNER "
                "is a provider, too)"
            )
    subject, other = subjects[0], subjects[1] if reference is not None else None
    assert subject.encoder is not None  # it is local
    own = _origin(subject)
    beside = Origin(None) if other is None else _origin(other)
    words = words_for(own, [own, beside], tuple(refusal_words))
    refusal_ids, unusable = refusal_ids_of(subject.encoder, words)
    notes = [f"The refusal word {word!r} is no single token and is left out" for word in unusable]
    held_out = HeldOut("response", "", "", Conversation.from_text(prompt), response)
    text = shared_text(held_out, held_out_tokens(subject.encoder, held_out.prompt, response))
    for each in subjects:
        if each.longest is not None and text.row.length > each.longest:
            raise ModelError(
                f"{each.reference}: reads {each.longest} tokens, and prompt and response have "
                f"{text.row.length}. Give shorter ones"
            )
    with TemporaryDirectory(prefix="derta-probe-") as folder:
        states: ReferenceStates | None = None
        if other is not None:
            states = _states(subject, other, text.row, Path(folder), notes)
        with subject.at_work():
            loaded = subject.load()
            (reading,) = read_texts(
                loaded.model,
                loaded.tokenizer,
                subject.name,
                [text],
                list(refusal_ids.values()),
                reference=states,
                batch_size=1,
            )
    if states is not None and reading.divergence is None:
        notes.append("No divergence: the output matrices have other sizes")
    name = other.name if other is not None and reading.divergence is not None else None
    return Probe(reading, tuple(refusal_ids), name, tuple(notes))


def _origin(subject: Subject) -> Origin:
    return find_origin(subject.kind, without_format(subject.reference))


def _states(
    subject: Subject, other: Subject, row: TokenRow, folder: Path, notes: list[str]
) -> ReferenceStates | None:
    """Let the second model read the very tokens of the first; None where they mean other words."""
    assert subject.encoder is not None  # both are local
    assert other.encoder is not None
    if subject.encoder.tokenizer.get_vocab() != other.encoder.tokenizer.get_vocab():
        notes.append(f"No divergence: {other.name} has another vocabulary")
        return None
    with other.at_work():
        return keep_states(other.load().model, [row], path=folder / "states.npy", batch_size=1)


def _numbers(values: Any) -> list[Any]:
    return [value.item() for value in values]
