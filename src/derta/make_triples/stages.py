"""The three kinds of responses: harmful ones that comply, safe ones that refuse, helpful ones.

Each stage asks a model (`derta.make_triples.asking`) and keeps what serves. A question for which
nothing serves is left out, with the reason; one that waits for the next run's budget is told apart.
Covered: one user's turn a question. Not covered: rows and files (`derta.make_triples.making`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from derta.data.languages import LANGUAGES
from derta.evaluate.judging import Judge, JudgeLimits, Response, judge_responses
from derta.evaluate.refusals import is_refused
from derta.evaluate.subjects import Subject
from derta.files import digest
from derta.judges.verdicts import Judgement, Verdict
from derta.make_triples.asked import Asked, LeftOut, StageName, Status
from derta.make_triples.asking import Budget, Progress, Reply, Request, ask
from derta.make_triples.pattern_texts import PATTERNS
from derta.make_triples.refusals import SafeResponse, make_refusal, why_unfit
from derta.make_triples.settings import MakeSettings
from derta.triple import Message

__all__ = [
    "Harmful",
    "Helpful",
    "Stage",
    "Work",
    "find_harmful",
    "find_helpful",
    "find_safe",
]

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Shows a stage while it runs."""

_OPENINGS = {
    "en": "Sure, here is",
    "zh": "好的，",  # noqa: RUF001  # Chinese punctuation is meant
    "fr": "Bien sûr, voici",
    "de": "Gerne, hier ist",
    "es": "Claro, aquí tienes",
    "it": "Certo, ecco",
    "pt": "Claro, aqui está",
    "ru": "Конечно, вот",
    "ja": "はい、",
}
_INSTRUCTION = (
    "The next message asks for something harmful. Refuse it in {language}. Begin your answer with "
    'the word "{word}". Then say in the words of the message what you will not help with, name the '
    "reason in a few words, and offer one honest alternative. Write two or three sentences without "
    "a list, and nothing that would help with what was asked."
)


@dataclass(frozen=True, slots=True)
class Harmful:
    """A response that complies."""

    text: str
    number: int
    """Of the try, from 1."""
    seed: int | None
    """Of the draw; None: greedily."""
    opening: str
    """What the model was made to begin with; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Helpful:
    """A response to a benign question."""

    text: str
    finished: bool


@dataclass(slots=True)
class Work:
    """What every stage needs, and what it notes."""

    settings: MakeSettings
    folder: Path
    """Of the run; logs lie in it."""
    budget: Budget
    stage: Stage
    left_out: list[LeftOut] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def leave(self, asked: Asked, stage: StageName, status: Status, reason: str) -> None:
        """Note a question without a row."""
        self.left_out.append(LeftOut(asked.id, stage, status, reason))

    def ask(
        self, title: str, requests: Sequence[Request], subject: Subject, kind: str, max_tokens: int
    ) -> dict[str, Reply]:
        """Ask, and show it."""
        with self.stage(title) as progress:
            return ask(
                requests,
                subject,
                self.folder / "logs",
                kind=kind,
                max_tokens=max_tokens,
                budget=self.budget,
                progress=progress,
            )

    def sort_out(
        self, questions: Sequence[Asked], replies: Mapping[str, Reply], stage: StageName
    ) -> list[tuple[Asked, Reply]]:
        """Pair questions with their replies; leave out those that have none."""
        paired = []
        for asked in questions:
            reply = replies.get(asked.id)
            if reply is None:
                self.leave(asked, stage, "waiting", "the budget was spent")
            elif reply.error is not None:
                self.leave(asked, stage, "failed", reply.error)
            else:
                paired.append((asked, reply))
        return paired


# --- harmful responses -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Try:
    number: int
    drawn: bool
    prefilled: bool

    @property
    def title(self) -> str:
        return f"Harmful, try {self.number}" + (" (prefilled)" if self.prefilled else "")


def find_harmful(
    questions: Sequence[Asked], subject: Subject, judge: Judge, work: Work
) -> dict[str, Harmful]:
    """Find a compliant response to each question, try by try.

    Returns:
        By the question's id; the others are in `work.left_out`.

    Raises:
        DertaError: the model or the judge can't be used.
        KeyboardInterrupt: it was interrupted; what was finished is kept.
    """
    found: dict[str, Harmful] = {}
    pending = list(questions)
    reasons: dict[str, str] = {}
    for attempt in _tries(work.settings, subject):
        if not pending:
            break
        requests = {asked.id: _harmful_request(asked, attempt, work.settings) for asked in pending}
        replies = work.ask(
            attempt.title,
            list(requests.values()),
            subject,
            f"harmful {attempt.number}",
            work.settings.max_tokens,
        )
        paired = work.sort_out(pending, replies, "harmful")
        pending = []
        for (asked, reply), said in zip(
            paired, _judged(paired, requests, judge, work), strict=True
        ):
            if isinstance(said, str):
                waits = said.startswith("not asked")
                status: Status = "waiting" if waits else "failed"
                work.leave(asked, "harmful", status, f"judge: {said}")
            elif said.verdict is Verdict.UNSAFE and not reply.withheld:
                found[asked.id] = _harmful(requests[asked.id], reply, attempt)
            else:
                pending.append(asked)
                reasons[asked.id] = "the provider withheld it" if reply.withheld else said.reason
    for asked in pending:
        tries = len(_tries(work.settings, subject))
        reason = f"no compliant response in {tries} tries; the last one: {reasons[asked.id]}"
        work.leave(asked, "harmful", "nothing serves", reason)
    return found


def _tries(settings: MakeSettings, subject: Subject) -> list[_Try]:
    tries = [_Try(number, number > 1, False) for number in range(1, settings.tries + 1)]
    # A provider's prefilled text may be ignored or refused; nothing would say so.
    if settings.prefilled and subject.local:
        tries.append(_Try(len(tries) + 1, False, True))
    return tries


def _harmful_request(asked: Asked, attempt: _Try, settings: MakeSettings) -> Request:
    drawing: dict[str, float] | None = None
    if attempt.drawn:
        made_of = digest(str(settings.seed), asked.question.text, str(attempt.number))
        drawing = {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": int(made_of, 16) % 2**31,
        }
    opening = ""
    if attempt.prefilled:
        opening = settings.opening or _OPENINGS.get(asked.language, _OPENINGS["en"])
    return Request(asked.id, (Message("user", asked.question.text),), opening, drawing)


def _judged(
    paired: Sequence[tuple[Asked, Reply]],
    requests: Mapping[str, Request],
    judge: Judge,
    work: Work,
) -> list[Judgement | str]:
    rows = [
        Response(
            question=asked.question.text,
            prompt=asked.question.text,
            prefilled=requests[asked.id].prefilled,
            response=reply.text,
            truncated=not reply.finished,
        )
        for asked, reply in paired
    ]
    if not judge.needs_model or not rows:
        return judge_responses(rows, judge, work.folder / "judge")
    budget = work.budget
    with work.stage("Judging") as shown:
        first: list[int] = []

        def progress(done: int, total: int) -> None:
            if not first:
                first.append(total - done)
            shown(done, total)

        limits = JudgeLimits(budget.calls, budget.seconds_left)
        said = judge_responses(rows, judge, work.folder / "judge", limits=limits, progress=progress)
    budget.take(sum(first))
    return said


def _harmful(request: Request, reply: Reply, attempt: _Try) -> Harmful:
    seed = int(request.drawing["seed"]) if request.drawing is not None else None
    text = f"{request.prefilled}{reply.text}" if request.prefilled else reply.text.lstrip()
    return Harmful(text.rstrip(), attempt.number, seed, request.prefilled)


# --- safe responses ----------------------------------------------------------------------------


def find_safe(
    questions: Sequence[Asked], teacher: Subject | None, work: Work
) -> dict[str, SafeResponse]:
    """Find a refusal of each question: the teacher's where it serves, else a pattern.

    Args:
        questions: those that have a harmful response.
        teacher: None: patterns for all.
        work: what is noted goes there; `work.notes` counts why a teacher's text didn't serve.

    Raises:
        DertaError: the teacher can't be used, or no pattern is a refusal with the word given.
    """
    if teacher is None:
        return {asked.id: _pattern(asked, work) for asked in questions}
    requests = [_teacher_request(asked, work.settings) for asked in questions]
    replies = work.ask("Safe responses", requests, teacher, "safe", work.settings.safe_max_tokens)
    found = {}
    for asked, reply in work.sort_out(questions, replies, "safe"):
        text = reply.text.strip()
        reason = "it was cut by the token limit"
        if reply.withheld:
            reason = "the provider withheld it"
        elif reply.finished:
            reason = (
                why_unfit(
                    text, language=asked.language, word=asked.word, question=asked.question.text
                )
                or ""
            )
        if not reason:
            found[asked.id] = SafeResponse(text, teacher.reference)
            continue
        work.notes[reason] += 1
        if asked.language in PATTERNS:
            found[asked.id] = _pattern(asked, work)
        else:
            work.leave(asked, "safe", "nothing serves", f"the teacher's refusal: {reason}")
    return found


def _pattern(asked: Asked, work: Work) -> SafeResponse:
    return make_refusal(
        asked.question.text, language=asked.language, word=asked.word, seed=work.settings.seed
    )


def _teacher_request(asked: Asked, settings: MakeSettings) -> Request:
    known = LANGUAGES.get(asked.language)
    language = asked.language if known is None else known.name
    instruction = settings.instruction or _INSTRUCTION
    # No str.format: a user's text may hold other braces.
    instruction = instruction.replace("{word}", asked.word).replace("{language}", language)
    messages = (Message("system", instruction), Message("user", asked.question.text))
    return Request(asked.id, messages)


# --- helpful responses -------------------------------------------------------------------------


def find_helpful(questions: Sequence[Asked], subject: Subject, work: Work) -> dict[str, Helpful]:
    """Let the model that will be trained answer benign questions, greedily; drop refusals.

    Raises:
        DertaError: the model can't be used.
        KeyboardInterrupt: it was interrupted; what was finished is kept.
    """
    requests = [Request(asked.id, (Message("user", asked.question.text),)) for asked in questions]
    replies = work.ask(
        "Helpful responses", requests, subject, "helpful", work.settings.benign_max_tokens
    )
    found = {}
    for asked, reply in work.sort_out(questions, replies, "helpful"):
        text = reply.text.strip()
        reason = ""
        if not text:
            reason = "the response is empty"
        elif reply.withheld:
            reason = "the provider withheld it"
        elif is_refused(text, truncated=not reply.finished):
            reason = "the model refused"
        if reason:
            work.leave(asked, "helpful", "nothing serves", reason)
        else:
            found[asked.id] = Helpful(text, reply.finished)
    return found
