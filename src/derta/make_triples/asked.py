"""Which questions are asked, and what is known of each before any model is.

Covered: harmful and benign questions from wherever `derta.data.questions` reads them; the language
and the refusal word of each. Not covered: conversations of several turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from derta.data.languages import LANGUAGES, find_code
from derta.data.question_sets import Category
from derta.data.questions import Question, QuestionSet, load_questions
from derta.data.tables import HubLoader
from derta.errors import DataError, InputProblem
from derta.make_triples.refusals import language_of
from derta.make_triples.settings import MakeSettings

__all__ = ["Asked", "LeftOut", "StageName", "Status", "choose_questions", "load_sets"]

StageName = Literal["question", "harmful", "safe", "helpful"]
Status = Literal["nothing serves", "failed", "waiting"]
_SAMPLE, _BENIGN_SAMPLE = "sample", "sample-benign"
_BENIGN_PREFIX = "benign."


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what is known of it before any model is asked."""

    question: Question
    language: str
    word: str
    """With which its safe response begins."""
    source: str
    """File and row, or data set and row."""

    @property
    def id(self) -> str:
        """Of the question."""
        return self.question.id


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A question without a row."""

    id: str
    stage: StageName
    status: Status
    """failed: a model or judge gave no reply. waiting: the budget was spent."""
    reason: str


def load_sets(
    questions: str,
    benign: str | None,
    settings: MakeSettings,
    columns: Mapping[str, str],
    load_hub: HubLoader | None,
) -> dict[str, QuestionSet]:
    """Load harmful and benign questions.

    Returns:
        By "harmful" and, where there are any, "benign".

    Raises:
        DataError: with every problem of both.
    """
    if benign is None and questions == _SAMPLE:
        benign = _BENIGN_SAMPLE
    of_benign = {
        field.removeprefix(_BENIGN_PREFIX): column
        for field, column in columns.items()
        if field.startswith(_BENIGN_PREFIX)
    }
    if of_benign and benign is None:
        field, column = next(iter(of_benign.items()))
        problem, remedy = "no benign questions are named", "Name their file with --benign"
        raise DataError.of(f"--column {_BENIGN_PREFIX}{field}={column}", problem, remedy)
    of_harmful = {k: v for k, v in columns.items() if not k.startswith(_BENIGN_PREFIX)}
    wanted: list[tuple[str, str | None, dict[str, str], Category]] = [
        ("harmful", questions, of_harmful, "harmful"),
        ("benign", benign, of_benign, "ordinary"),
    ]
    sets: dict[str, QuestionSet] = {}
    problems: list[InputProblem] = []
    for name, source, mapping, category in wanted:
        if source is None:
            continue
        # Training on the sample set's test split would spoil every measurement on it.
        ours = source in (_SAMPLE, _BENIGN_SAMPLE)
        split = settings.split or ("train" if ours else None)
        try:
            sets[name] = load_questions(
                source,
                columns=mapping or None,
                split=split,
                seed=settings.seed,
                category=category,
                load_hub=load_hub,
            )
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return sets


def choose_questions(
    questions: QuestionSet, limit: int | None, settings: MakeSettings, *, harmful: bool
) -> tuple[list[Asked], list[LeftOut]]:
    """Choose questions, each text once; find out languages and refusal words.

    Args:
        questions: all of them.
        limit: at most so many different ones.
        settings: languages and words.
        harmful: whether they are to be refused, which needs a refusal word.

    Raises:
        DataError: the language in the settings isn't known.
    """
    chosen: list[Asked] = []
    left_out: list[LeftOut] = []
    seen: dict[str, str] = {}
    of_all = settings.language
    if of_all is not None and of_all not in settings.refusal_words:
        of_all = find_code(of_all)
    path = Path(questions.name)
    name = path.name if path.exists() else questions.name
    for question in questions.questions:
        if limit is not None and len(seen) >= limit:
            break
        text = " ".join(question.text.split())
        language = of_all or language_of(question.text)
        word = _word(language, settings)
        asked = Asked(question, language, word or "", f"{name}/{question.id}")
        if text in seen:
            reason = f"the same question as {seen[text]}"
            left_out.append(LeftOut(question.id, "question", "nothing serves", reason))
            continue
        seen[text] = question.id
        if harmful and word is None:
            reason = f"no refusal word is known for the language {language!r}"
            left_out.append(LeftOut(question.id, "question", "nothing serves", reason))
        else:
            chosen.append(asked)
    return chosen, left_out


def _word(language: str, settings: MakeSettings) -> str | None:
    own = settings.refusal_words.get(language)
    if own is not None:
        return own
    known = LANGUAGES.get(language)
    return None if known is None else known.refusal_words[0]
