"""The models under test: ours on this machine, or another's behind a provider of inspect-ai.

Covered: telling the two apart, names for tables, loading once and only when something is asked.
A base model without a chat template is asked in the prompt format of the run that was trained from
it, if that run is named beside it. Not covered: what a local reference may be
(`derta.evaluate.local_models`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inspect_ai.model import Model, get_model

from derta.data.encode import ChatEncoder
from derta.errors import ModelError
from derta.evaluate.local_models import (
    INST,
    LocalModel,
    base_of_inst_run,
    describe_local_model,
    load_local_config,
    load_local_model,
    load_local_tokenizer,
    make_local_encoder,
)
from derta.evaluate.provider import local_model
from derta.files import digest
from derta.matmul import onednn_matmul
from derta.memory import give_back_freed_memory, keep_freed_memory
from derta.terminal import visible

__all__ = ["Subject", "make_subjects", "without_format"]

_OURS = "derta/"


class Subject:
    """A model under test; weights are loaded when they are first needed."""

    def __init__(self, name: str, reference: str, *, batch_size: int) -> None:
        """Look the model up.

        Raises:
            ModelError: there is no such model.
            TokenizerError: it has no chat template.
        """
        self.name = name
        self.reference = reference
        self.batch_size = batch_size
        self._loaded: LocalModel | None = None
        self.local = not _is_foreign(reference)
        if self.local:
            self._place = reference.removeprefix(_OURS)
            kind, self.fingerprint = describe_local_model(self._place)
            self.kind: str = kind
            tokenizer = load_local_tokenizer(self._place)
            self.encoder: ChatEncoder | None = make_local_encoder(tokenizer, self._place)
        else:
            self.kind, self.fingerprint = "provider", digest("provider", reference)
            self.encoder = None

    def load(self) -> LocalModel:
        """Load the weights, once."""
        if self._loaded is None:
            keep_freed_memory()
            self._loaded = load_local_model(self._place)
        return self._loaded

    def open(self) -> Model:
        """Make the model that inspect-ai asks; close its api afterwards.

        Raises:
            ModelError: it can't be loaded or reached.
        """
        if not self.local:
            try:
                return get_model(self.reference, memoize=False)
            except Exception as error:  # providers raise whatever they like
                raise ModelError(
                    f"{self.reference}: can't be used: {error}. Name a local model, or a model of "
                    "a provider of inspect-ai whose package and key are at hand"
                ) from error
        loaded = self.load()
        return local_model(loaded.model, loaded.tokenizer, self.name, self.batch_size)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Compute fast meanwhile, and let the weights and all memory go at the end."""
        try:
            with onednn_matmul():
                yield
        finally:
            self._loaded = None
            give_back_freed_memory()

    @property
    def longest(self) -> int | None:
        """How many tokens a local model reads, where its configuration says so."""
        if not self.local:
            return None
        config: Any = load_local_config(self._place)
        return getattr(config, "max_position_embeddings", None)


def make_subjects(references: Sequence[str], *, batch_size: int) -> list[Subject]:
    """Look models up and give each a short name of its own.

    Raises:
        ModelError: there is no such model, or one is named twice.
        TokenizerError: one has no chat template, and no run that was trained from it is named.
    """
    _check_different(references)
    formatted = [_as_its_run(each, references) for each in references]
    _check_different(formatted)
    plain = [without_format(each) for each in formatted]
    # A model may be asked in two formats: then its names tell them.
    alike = len(set(map(_absolute, plain))) < len(plain)
    names = _short_names(formatted if alike else plain)
    return [
        Subject(name, reference, batch_size=batch_size)
        for name, reference in zip(names, formatted, strict=True)
    ]


def without_format(reference: str) -> str:
    """Return a reference without the prompt format that is asked for before it."""
    ours = _OURS if reference.startswith(_OURS + INST) else ""
    return ours + reference.removeprefix(_OURS + INST).removeprefix(INST)


def _check_different(references: Sequence[str]) -> None:
    places = [_absolute(each) for each in references]
    for reference, place in zip(references, places, strict=True):
        if places.count(place) > 1:
            raise ModelError(f"{reference}: the model is named twice. Name each model once")


def _as_its_run(reference: str, references: Sequence[str]) -> str:
    """Ask for the prompt format inst where a run among the references was trained from it so.

    A model with a template of its own keeps it. What is done is said on the error stream.
    """
    if _is_foreign(reference) or without_format(reference) != reference:
        return reference
    for run in references:
        if run == reference or _is_foreign(run):
            continue
        base = base_of_inst_run(run.removeprefix(_OURS))
        if base is None or _absolute(base) != _absolute(reference):
            continue
        place = reference.removeprefix(_OURS)
        if load_local_tokenizer(place).chat_template:
            return reference
        sys.stderr.write(
            visible(f"{reference}: no chat template; asked as {run} was trained ({INST}{place})")
            + "\n"
        )
        return f"{INST}{place}"
    return reference


def _short_names(references: Sequence[str]) -> list[str]:
    """Take the last part of each reference, and more of it where two would be alike."""
    parts = [_absolute(each).split("/") for each in references]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(references)


def _absolute(reference: str) -> str:
    """Write a folder's path in full, so that `.` and `..` have names; others stay as they are."""
    plain = without_format(reference)
    place = Path(plain.removeprefix(_OURS)).expanduser()
    path = os.path.abspath(place) if place.exists() else plain.rstrip("/")  # noqa: PTH100
    return path if plain == reference else INST + path


def _is_foreign(reference: str) -> bool:
    """Whether a reference names a provider of inspect-ai other than ours."""
    if reference.startswith((_OURS, INST)) or Path(reference).expanduser().exists():
        return False
    provider, slash, _ = reference.partition("/")
    return bool(slash) and provider in _providers()


def _providers() -> set[str]:
    from inspect_ai._util.registry import registry_find
    from inspect_ai.model._providers import providers as known  # noqa: F401  (registers them)

    found = registry_find(lambda info: info.type == "modelapi")
    return {_name(each).split("/")[-1] for each in found} - {"derta"}


def _name(entry: Any) -> str:
    from inspect_ai._util.registry import registry_info

    return str(registry_info(entry).name)
