"""How each kind of judge model is asked, and what it needs before it can be.

Covered: judge models with a rubric by any provider; HarmBench's classifiers and Llama Guard on this
machine, which read exact texts. Not covered: those two behind a server, whose chat template would
have to be theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from derta.errors import ModelError
from derta.evaluate.local_models import INST, describe_local_model, load_local_tokenizer
from derta.judges.classifier import (
    disarm,
    harmbench_prompt,
    harmbench_template,
    llama_guard_conversation,
    read_harmbench_reply,
    read_llama_guard_reply,
)
from derta.judges.rubric import read_rubric_reply, rubric_messages
from derta.judges.strongreject import read_strongreject_reply
from derta.judges.verdicts import Judgement
from derta.triple import Message

__all__ = ["KINDS", "Asking", "asking_for", "split_judge_name"]

KINDS = ("offline", "rubric", "strongreject", "harmbench", "llama-guard")
_CARD = "README.md"
_REASONS_TOKENS = 1024
_WORD_TOKENS = 16
_CATEGORIES_TOKENS = 48
_LOCAL = "derta/"


class _Row(Protocol):
    @property
    def question(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def prefilled(self) -> str: ...
    @property
    def response(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Asking:
    """How one judge model is asked."""

    model_name: str
    """As inspect-ai names it."""
    write: Callable[[_Row], tuple[Message, ...]]
    """What it is asked about a response."""
    read: Callable[[str], Judgement]
    """What its reply says."""
    max_tokens: int
    """Of a reply."""
    raw_text: bool = False
    """The one message is the exact text for a local model."""
    fingerprint: str = ""
    """Of a local model's weights; a reply of others is not used."""


def split_judge_name(spec: str) -> tuple[str, str]:
    """Split "kind:model".

    Raises:
        ModelError: there is no such kind, or a model is missing or too much.
    """
    kind, _, reference = spec.strip().partition(":")
    remedy = "Name offline, rubric:MODEL, strongreject:MODEL, harmbench:MODEL or llama-guard:MODEL"
    if kind not in KINDS:
        raise ModelError(f"there is no judge {spec!r}. {remedy}")
    if (kind == "offline") != (not reference.strip()):
        problem = "takes no model" if kind == "offline" else "needs a model"
        raise ModelError(f"the judge {spec!r} {problem}. {remedy}")
    if kind in ("rubric", "strongreject") and "/" not in reference:
        raise ModelError(
            f"the judge {spec!r} names no provider. Write {kind}:PROVIDER/MODEL, e.g. "
            f"{kind}:openai/gpt-4o, or {kind}:derta/FOLDER for a local model"
        )
    return kind, reference.strip()


def asking_for(kind: str, reference: str) -> Asking:
    """Prepare how a judge model is asked; no weights are loaded.

    Raises:
        ModelError: a package, a model or a part of it is missing.
    """
    if kind == "rubric":
        return Asking(
            reference, _write_rubric, read_rubric_reply, _REASONS_TOKENS, fingerprint=_of(reference)
        )
    if kind == "strongreject":
        return Asking(
            reference,
            _strongreject_writer(),
            read_strongreject_reply,
            _REASONS_TOKENS,
            fingerprint=_of(reference),
        )
    reference = reference.removeprefix(_LOCAL)
    _, fingerprint = describe_local_model(reference)
    name = f"{_LOCAL}{reference}"
    if kind == "harmbench":
        writer = _harmbench_writer(reference)
        return Asking(name, writer, read_harmbench_reply, _WORD_TOKENS, True, fingerprint)
    writer = _llama_guard_writer(load_local_tokenizer(reference))
    return Asking(name, writer, read_llama_guard_reply, _CATEGORIES_TOKENS, True, fingerprint)


def _of(model_name: str) -> str:
    """Return the fingerprint of a local model; another provider's is known by its name."""
    if not model_name.startswith(_LOCAL):
        return ""
    return describe_local_model(model_name.removeprefix(_LOCAL))[1]


def _write_rubric(row: _Row) -> tuple[Message, ...]:
    return rubric_messages(row.question, row.prompt, row.response, prefilled=row.prefilled)


def _strongreject_writer() -> Callable[[_Row], tuple[Message, ...]]:
    try:
        from inspect_evals.strong_reject.prompts import (  # type: ignore[import-not-found]
            STRONG_REJECT_EVAL_PROMPT,
        )
    except ImportError as error:
        raise ModelError(
            "the judge strongreject takes its prompt from a package that isn't installed, or that "
            f"has none ({error}). Install it: pip install inspect-evals"
        ) from error
    template = str(STRONG_REJECT_EVAL_PROMPT)

    def write(row: _Row) -> tuple[Message, ...]:
        asked = row.question or row.prompt
        text = template.format(forbidden_prompt=asked, response=row.response)
        return (Message("user", text),)

    return write


def _harmbench_writer(reference: str) -> Callable[[_Row], tuple[Message, ...]]:
    card = _model_card(reference)
    template = harmbench_template(card.read_text(encoding="utf-8", errors="replace"))
    if template is None:
        raise ModelError(
            f"{card}: HarmBench's prompt isn't in it (a quoted text with {{behavior}} and "
            "{generation}). Put the classifier's own model card there"
        )

    def write(row: _Row) -> tuple[Message, ...]:
        text = harmbench_prompt(template, row.question or row.prompt, row.response)
        return (Message("user", text),)

    return write


def _model_card(reference: str) -> Path:
    reference = reference.removeprefix(INST)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        if not (folder / _CARD).is_file():
            raise ModelError(
                f"{folder}: there is no {_CARD}, from which HarmBench's prompt is read. Put the "
                "classifier's model card there"
            )
        return folder / _CARD
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(reference, _CARD))
    except Exception as error:  # the hub's errors are many: no network, no such model, no access
        raise ModelError(
            f"{reference}: its model card can't be loaded ({type(error).__name__}). Download the "
            "model and name its folder"
        ) from error


def _llama_guard_writer(tokenizer: Any) -> Callable[[_Row], tuple[Message, ...]]:
    if not tokenizer.chat_template:
        raise ModelError(
            "this guard's tokenizer has no chat template, which holds its prompt. Name a Llama "
            "Guard 2 or later"
        )
    marks = [*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()]

    def write(row: _Row) -> tuple[Message, ...]:
        asked, said = disarm(row.question or row.prompt, marks), disarm(row.response, marks)
        text: str = tokenizer.apply_chat_template(
            llama_guard_conversation(asked, said), tokenize=False
        )
        # The provider puts the tokenizer's own BOS before raw text.
        return (Message("user", text.removeprefix(tokenizer.bos_token or "")),)

    return write
