"""What each model of an evaluation is to read: looked up, encoded and hashed before any is loaded.

Covered: models that are gone, changed, behind a provider, or without a usable refusal word; each
is named with its reason and costs its own readings only. Not covered: reading
(`derta.analyse_run.running`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from derta.analyse_run.choosing import choose_outcomes
from derta.analyse_run.fed import LoggedAnswers, fed_tokens, held_out_tokens
from derta.analyse_run.held_out import HeldOut, held_out_texts
from derta.analyse_run.origin import (
    Origin,
    find_origin,
    refusal_ids_of,
    with_untouched_bases,
    words_for,
)
from derta.analyse_run.reading import Text, own_text, shared_text, texts_key
from derta.analysis.outcomes import Outcome
from derta.analysis.readings import read_about
from derta.analysis.token_reading import DEFAULT_BATCH_SIZE
from derta.errors import DertaError, ModelError
from derta.evaluate.log_store import log_folder
from derta.evaluate.subjects import Subject, without_format
from derta.evaluate.weight_attacks import FINE_TUNING

__all__ = ["DEFAULT_RESPONSES", "AnalysisOptions", "Plan", "Plans", "find_origins", "make_plans"]

DEFAULT_RESPONSES = 40


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """What is read."""

    responses: int = DEFAULT_RESPONSES
    """Own outputs a scenario and model, at most."""
    batch_size: int = DEFAULT_BATCH_SIZE
    """Texts at a time, at most."""
    models: tuple[str, ...] = ()
    """Names of evaluation.json; none: all of them."""
    divergence: bool = True
    """Whether models are compared with the first one, token by token."""
    refusal_words: tuple[str, ...] = ()
    """None: those that the models were trained with."""


@dataclass(slots=True)
class Plan:
    """What one model is to read."""

    subject: Subject
    origin: Origin
    texts: list[Text]
    refusal_ids: dict[str, int]
    """By word."""
    reference: Subject | None
    """What it is compared with."""
    notes: list[str] = field(default_factory=list)
    """What is missing of it, in words."""

    def key(self, reference_fingerprint: str) -> str:
        """Hash all that its readings depend on."""
        words = [f"{word}={token}" for word, token in self.refusal_ids.items()]
        return texts_key(
            self.texts, self.subject.name, self.subject.fingerprint, *words, reference_fingerprint
        )

    @property
    def wanted_key(self) -> str:
        """That of the readings that are wanted."""
        return self.key("" if self.reference is None else self.reference.fingerprint)

    def is_done(self, folder: Path, *, divergence: bool) -> bool:
        """Say whether an evaluation's folder holds the readings.

        Args:
            folder: of the evaluation.
            divergence: whether one is wanted; if not, readings that have one serve as well.
        """
        about = read_about(folder, self.subject.name)
        if about is None:
            return False
        keys = {self.wanted_key}
        if not divergence:
            keys.add(self.key(str(about.get("reference_fingerprint", ""))))
        return about.get("key") in keys


@dataclass(frozen=True, slots=True)
class Plans:
    """What all models are to read."""

    plans: list[Plan]
    reference: Subject | None
    """The first local model of the evaluation, with which the others are compared."""
    notes: list[str]
    """What is missing altogether, in words."""


def make_plans(
    folder: Path,
    evaluation: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    origins: Mapping[str, Origin],
    options: AnalysisOptions,
    progress: Callable[[int, int], None],
) -> Plans:
    """Find every model's texts, and the model that the others are compared with.

    Args:
        folder: of the evaluation.
        evaluation: the content of its evaluation.json.
        outcomes: all of them.
        origins: of all models.
        options: what is read.
        progress: called with (models done, models in all).

    Raises:
        ModelError: `options.models` names one that was not evaluated.
        DataError: the sample set can't be read.
    """
    entries = evaluation["subjects"]
    _check_names(entries, options.models)
    held_out, notes = held_out_texts(evaluation)
    if any(outcome.scenario == FINE_TUNING for outcome in outcomes):
        notes.append(
            "fine_tuning: its answers are not read token by token; they come from a changed copy "
            "of the weights that is not kept"
        )
    chosen = choose_outcomes(outcomes, options.responses)
    first = next((str(each["name"]) for each in entries if each["kind"] != "provider"), None)
    subjects: dict[str, Subject] = {}
    for each in entries:
        # The reference is needed even where it isn't to be read itself.
        if not options.models or each["name"] in options.models or each["name"] == first:
            subject = _subject(folder, each, options, notes)
            if subject is not None:
                subjects[subject.name] = subject
    reference = subjects.get(str(first)) if options.divergence else None
    if options.divergence and reference is None and subjects:
        notes.append(f"No divergence: {first}, with which models are compared, can't be read")
    plans = []
    wanted = [subject for name, subject in subjects.items() if name in (options.models or subjects)]
    for number, subject in enumerate(wanted):
        progress(number, len(wanted))
        name = subject.name
        words = words_for(origins[name], origins.values(), options.refusal_words)
        material = _Material(folder, held_out, chosen.get(name, []))
        try:
            plans.append(
                _plan(
                    subject,
                    origins[name],
                    words,
                    material,
                    reference if reference is not subject else None,
                )
            )
        except DertaError as error:
            notes.append(f"{name}: not read token by token: {error}")
    progress(len(wanted), len(wanted))
    return Plans(plans, reference, notes)


def find_origins(evaluation: Mapping[str, Any]) -> dict[str, Origin]:
    """Find how each model was trained; a folder that is gone says nothing.

    Args:
        evaluation: the content of evaluation.json.
    """
    references = {
        str(each["name"]): (str(each["kind"]), without_format(str(each["reference"])))
        for each in evaluation["subjects"]
    }
    origins = {}
    for name, (kind, reference) in references.items():
        try:
            origins[name] = find_origin(kind, reference)
        except DertaError:
            origins[name] = Origin(None)
    return with_untouched_bases(origins, references)


def _check_names(entries: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> None:
    names = [str(each["name"]) for each in entries]
    for name in wanted:
        if name not in names:
            raise ModelError(
                f"--model {name}: the evaluation has no such model. It has {', '.join(names)}"
            )


def _subject(
    folder: Path, about: Mapping[str, Any], options: AnalysisOptions, notes: list[str]
) -> Subject | None:
    """Look up a model that was evaluated; None, and why, where it can't be read."""
    name, problem = str(about["name"]), None
    if about["kind"] == "provider":
        problem = "it is behind a provider, which shows no probabilities of every token"
    else:
        try:
            subject = Subject(name, str(about["reference"]), batch_size=options.batch_size)
        except DertaError as error:
            problem = str(error)
        else:
            if subject.local and subject.fingerprint == about["fingerprint"]:
                return subject
            problem = (
                "its weights are not those that were evaluated. Run the same `derta evaluate` again"
            )
    kept = read_about(folder, name) or {}
    if kept.get("fingerprint") == about["fingerprint"]:
        problem += ". What it read in an earlier run is used"
    notes.append(f"{name}: not read token by token: {problem}")
    return None


@dataclass(frozen=True, slots=True)
class _Material:
    """What a model's texts are made of."""

    folder: Path
    held_out: Sequence[HeldOut]
    chosen: Sequence[Outcome]


def _plan(
    subject: Subject,
    origin: Origin,
    words: tuple[str, ...],
    material: _Material,
    reference: Subject | None,
) -> Plan:
    """Encode a model's texts and find its refusal tokens.

    Raises:
        TokenizerError: there is no refusal token, or the chat template refuses a text.
    """
    encoder = subject.encoder
    assert encoder is not None  # only local models have come here
    name = subject.name
    refusal_ids, unusable = refusal_ids_of(encoder, words)
    notes = [
        f"{name}: the refusal word {word!r} is no single token and is left out" for word in unusable
    ]
    texts = [
        shared_text(each, held_out_tokens(encoder, each.prompt, each.response))
        for each in material.held_out
    ]
    answers = LoggedAnswers(log_folder(material.folder / "logs", subject.fingerprint))
    lost = 0
    for outcome in material.chosen:
        sample = answers.of(outcome)
        if sample is None:
            lost += 1
        else:
            texts.append(own_text(outcome, fed_tokens(encoder, sample)))
    if lost:
        notes.append(f"{name}: {lost} of its answers are not read: they are not in its logs")
    longest = subject.longest
    fitting = [text for text in texts if longest is None or text.row.length <= longest]
    if len(fitting) < len(texts):
        count = len(texts) - len(fitting)
        notes.append(f"{name}: {count} texts are not read: they are longer than the model reads")
    if reference is not None and _vocabulary(reference) != _vocabulary(subject):
        notes.append(f"{name}: no divergence: its vocabulary is not that of {reference.name}")
        reference = None
    return Plan(subject, origin, fitting, refusal_ids, reference, notes)


def _vocabulary(subject: Subject) -> dict[str, int]:
    assert subject.encoder is not None  # as above
    vocabulary: dict[str, int] = subject.encoder.tokenizer.get_vocab()
    return vocabulary
