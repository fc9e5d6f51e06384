"""Asks models, within a budget; what stands in the logs already is not asked again.

inspect-ai's logs are the only store. A request is known by a hash of all that its reply depends on
(the exact input, the token limit, temperature and seed), in a folder of the model's fingerprint: a
run that was killed goes on with the next request, wherever its question stands by then. Covered:
any model of `derta.evaluate.subjects`; drawn and prefilled replies. Not covered: what is asked, and
what becomes of a reply (`derta.make_triples.stages`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalSample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
)

from derta.errors import TokenizerError
from derta.evaluate.log_store import (
    Counter,
    close_model,
    counted,
    first_line,
    log_folder,
    read_logged_samples,
    run_tasks,
    sample_key,
)
from derta.evaluate.provider import input_token_ids
from derta.evaluate.solvers import answer
from derta.evaluate.subjects import Subject, make_subjects
from derta.files import digest
from derta.triple import Conversation, Message

__all__ = ["Budget", "Models", "Progress", "Reply", "Request", "ask"]

Progress = Callable[[int, int], None]

_TIMED_SLICE = 16
"""Requests between two looks at the clock, where there is a limit of time."""


@dataclass(slots=True)
class Budget:
    """What one run may cost."""

    calls: int | None = None
    """Model calls that are left; None: no limit."""
    ends: float | None = None
    """Of `time.monotonic()`; None: no limit."""
    used: int = 0
    """Model calls that were made."""

    @classmethod
    def of(cls, calls: int | None, seconds: float | None) -> Budget:
        """Begin to count now."""
        return cls(calls, None if seconds is None else time.monotonic() + seconds)

    def take(self, wanted: int) -> int:
        """Take calls out of the budget; return how many may be made."""
        if self.ends is not None and time.monotonic() >= self.ends:
            return 0
        given = wanted if self.calls is None else min(wanted, self.calls)
        if self.calls is not None:
            self.calls -= given
        self.used += given
        return given

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end; None: no limit."""
        return None if self.ends is None else max(0.0, self.ends - time.monotonic())


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a model."""

    id: str
    messages: tuple[Message, ...]
    prefilled: str = ""
    """What the model is made to have said already."""
    drawing: Mapping[str, float] | None = None
    """`temperature`, `top_p` and `seed`; None: greedily."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of it."""

    text: str
    """Newly generated, without the prefilled text."""
    stop_reason: str
    """"stop", "max_tokens", or another word of inspect-ai's."""
    error: str | None = None
    """Why there is no reply."""

    @property
    def finished(self) -> bool:
        """Whether the model came to its own end."""
        return self.stop_reason == "stop"

    @property
    def withheld(self) -> bool:
        """Whether the provider ended it for a reason of its own (a content filter)."""
        return self.stop_reason not in ("stop", "max_tokens", "model_length")


@dataclass(slots=True)
class Models:
    """The models of a run, by reference; at most one has its weights in memory."""

    subjects: dict[str, Subject]
    _held: ExitStack = field(default_factory=ExitStack, repr=False)
    _current: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, references: Sequence[str], *, batch_size: int) -> Models:
        """Look models up; the same reference twice is one model.

        Raises:
            ModelError: there is no such model.
        """
        # One by one: here the same model may be named twice, for two purposes.
        return cls(
            {
                reference: make_subjects([reference], batch_size=batch_size)[0]
                for reference in dict.fromkeys(references)
            }
        )

    def __enter__(self) -> Models:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def use(self, reference: str) -> Subject:
        """Return a model to be asked; the one before it lets its weights go."""
        if reference != self._current:
            self._held.close()
            self._held.enter_context(self.subjects[reference].at_work())
            self._current = reference
        return self.subjects[reference]


def ask(
    requests: Sequence[Request],
    subject: Subject,
    folder: Path,
    *,
    kind: str,
    max_tokens: int,
    budget: Budget,
    progress: Progress | None = None,
) -> dict[str, Reply]:
    """Ask for what is missing, as far as the budget goes.

    Args:
        requests: with ids of their own.
        subject: who is asked.
        folder: of all logs.
        kind: what the replies are for; each kind has its own folder of logs.
        max_tokens: new tokens of a reply.
        budget: is taken from.
        progress: called with (replies there, requests).

    Returns:
        Replies by the request's id; one that was not asked has none.

    Raises:
        ModelError: the model can't be loaded, or the run as a whole failed.
        KeyboardInterrupt: it was interrupted; what was finished is kept.
    """
    logs = log_folder(folder, subject.fingerprint, kind)
    samples = {request.id: _sample(request, subject, kind, max_tokens) for request in requests}
    done = _logged(logs)
    missing = [each for each in samples.values() if not _is_answered(done, each)]
    counter = Counter(len(samples) - len(missing), len(samples), progress)
    counter.add(0)
    if missing and _run(missing, subject, logs, kind, max_tokens, budget, counter):
        done = _logged(logs)
    return {
        name: done[_content_of(sample)]
        for name, sample in samples.items()
        if _content_of(sample) in done
    }


def _is_answered(done: Mapping[str, Reply], sample: Sample) -> bool:
    reply = done.get(_content_of(sample))
    return reply is not None and reply.error is None


def _content_of(sample: Sample | EvalSample) -> str:
    """Name a request by what its reply depends on; ids move when questions are added."""
    return sample_key(sample)[1]


def _logged(logs: Path) -> dict[str, Reply]:
    """Read the replies of a folder's logs; one that is there counts before a later error."""
    found: dict[str, Reply] = {}
    for sample in read_logged_samples(logs):
        key = _content_of(sample)
        if sample.error is None and sample.output.choices:
            found[key] = Reply(sample.output.completion, str(sample.output.stop_reason))
        elif sample.error is not None and (key not in found or found[key].error is not None):
            found[key] = Reply("", "error", first_line(sample.error.message))
    return found


def _run(
    missing: Sequence[Sample],
    subject: Subject,
    logs: Path,
    kind: str,
    max_tokens: int,
    budget: Budget,
    counter: Counter,
) -> int:
    """Ask slice by slice; return how many were asked."""
    size = len(missing) if budget.ends is None else _TIMED_SLICE
    asked = 0
    with _opened(subject) as open_model:
        while asked < len(missing):
            wanted = list(missing[asked : asked + size])
            given = budget.take(len(wanted))
            if not given:
                break
            task = Task(
                dataset=MemoryDataset(wanted[:given], name=kind),
                solver=[answer(), counted(counter)],
                config=GenerateConfig(max_tokens=max_tokens, temperature=0),
                name=kind.replace(" ", "_"),
            )
            run_tasks([task], open_model(), logs, all_at_once=subject.local)
            asked += given
            if given < len(wanted):
                break
    return asked


@contextmanager
def _opened(subject: Subject) -> Iterator[Callable[[], Model]]:
    """Open a model when it is first asked, and close it at the end."""
    opened: list[Model] = []

    def open_model() -> Model:
        if not opened:
            opened.append(subject.open())
        return opened[0]

    try:
        yield open_model
    finally:
        for model in opened:
            close_model(model)


def _sample(request: Request, subject: Subject, kind: str, max_tokens: int) -> Sample:
    messages = _messages(request, subject)
    if subject.encoder is not None:
        given: Any = list(input_token_ids(subject.encoder, messages))
    else:
        given = [[message.role, message.text] for message in messages]
    drawing = dict(request.drawing or {})
    key = digest(json.dumps([given, max_tokens, drawing], sort_keys=True))
    metadata = {"key": key, "drawing": drawing, "prefilled": request.prefilled}
    return Sample(input=messages, id=f"{kind}/{request.id}", metadata=metadata)


def _messages(request: Request, subject: Subject) -> list[ChatMessage]:
    """Write a request for a model; a template that knows no system role gets none."""
    turns = list(request.messages)
    if subject.encoder is not None and len(turns) > 1 and turns[0].role == "system":
        try:
            subject.encoder.prompt_ids(Conversation(tuple(turns)))
        except TokenizerError:
            joined = Message("user", f"{turns[0].content}\n\n{turns[1].content}")
            turns = [joined, *turns[2:]]
    if request.prefilled:
        turns.append(Message("assistant", request.prefilled))
    makers: dict[str, Any] = {
        "system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant
    }  # fmt: skip
    return [makers[turn.role](content=turn.content) for turn in turns]
