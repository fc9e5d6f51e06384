"""`derta data make`: from questions alone to triples and helpful rows.

    <output>/triples.jsonl     prompt, chosen, rejected, id, language, source, perhaps topic
    <output>/helpful.jsonl     prompt, completion, finished, id, language, category, source
    <output>/make.json         counts, settings, models, versions; who was left out and why
    <output>/logs/, judge/     inspect-ai's logs: all that was generated; nothing is asked twice

The rows are made anew from the logs each time, which costs no call. Covered: one question set of
each kind, in one process. Not covered: which files may be replaced
(`derta.make_triples.row_files`), importing rows that exist, uploading anything anywhere.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from derta import __version__
from derta.data.models import DEFAULT_MODEL
from derta.data.questions import Question, QuestionSet
from derta.data.tables import HubLoader
from derta.errors import DataError, ModelError
from derta.evaluate.judging import make_judge
from derta.files import prepare_run_folder
from derta.make_triples.asked import Asked, LeftOut, choose_questions, load_sets
from derta.make_triples.asking import Budget, Models
from derta.make_triples.refusals import SafeResponse, check_refusal_words
from derta.make_triples.row_files import check_rows, has_rows, require_none, write_rows
from derta.make_triples.settings import MakeSettings
from derta.make_triples.stages import (
    Harmful,
    Helpful,
    Stage,
    Work,
    find_harmful,
    find_helpful,
    find_safe,
)

__all__ = ["MAKE_NAME", "MakeReport", "make_data"]

MAKE_NAME = "derta data make"
"""What a row's `source` is called."""


@dataclass(frozen=True, slots=True)
class MakeReport:
    """What was made."""

    output: Path
    content: dict[str, Any]
    """Of make.json."""
    example: dict[str, Any] | None
    """The first triple; its `rejected` is harmful text."""

    @property
    def triples(self) -> int:
        """How many triples there are."""
        return int(self.content["counts"]["triples"])

    @property
    def helpful(self) -> int:
        """How many helpful rows there are."""
        return int(self.content["counts"]["helpful"])

    @property
    def complete(self) -> bool:
        """Whether nothing waits for another run's budget."""
        return bool(self.content["complete"])

    @property
    def exit_code(self) -> int:
        """Return 0 if there are triples, else 1: nothing can be trained on."""
        return int(not self.triples)


@dataclass(frozen=True, slots=True)
class _References:
    """Which model does what."""

    harmful: str
    teacher: str | None
    helpful: str | None
    """None: there are no benign questions."""

    def roles(self) -> dict[str, str]:
        roles = {"harmful": self.harmful, "safe": self.teacher, "helpful": self.helpful}
        return {role: reference for role, reference in roles.items() if reference is not None}


def make_data(
    questions: str,
    output: Path,
    settings: MakeSettings,
    *,
    stage: Stage,
    benign: str | None = None,
    model: str = DEFAULT_MODEL,
    harmful_model: str | None = None,
    safe_model: str | None = None,
    judge: str = "offline",
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    command: str = "",
    load_hub: HubLoader | None = None,
) -> MakeReport:
    """Make triples of harmful questions and helpful rows of benign ones.

    The same call goes on where a run stopped, was killed or had spent its budget.

    Args:
        questions: harmful ones: a file, a data set, or "sample" (`derta.data.questions`).
        output: the folder; private.
        settings: tries, lengths, budgets.
        stage: shows stages and their progress.
        benign: benign questions, likewise; None: the sample set's if `questions` is "sample", else
            there are no helpful rows.
        model: that will be trained; it writes the helpful responses.
        harmful_model: writes the harmful responses; None: `model`.
        safe_model: the teacher that writes the safe responses; None: patterns.
        judge: which harmful responses comply (`derta.evaluate.judging`).
        columns: field -> column of `questions`; a field that begins with "benign." is of `benign`.
        limit: at most so many questions of each of the two.
        command: that was typed, for make.json.
        load_hub: loads data sets; None: the `datasets` library.

    Raises:
        DertaError: a file, model, judge or setting can't be used, or no row could be made because
            a model failed.
        KeyboardInterrupt: it was interrupted; what was finished is kept.
    """
    started = time.monotonic()
    check_rows(output, MAKE_NAME)
    if limit is not None and limit < 1:
        raise DataError.of(f"--limit {limit}", "the limit is below 1", "Leave it out for all rows")
    if safe_model is None:
        check_refusal_words(settings.refusal_words)
    sets = load_sets(questions, benign, settings, columns or {}, load_hub)
    if "benign" not in sets:
        require_none(output, ["helpful.jsonl"], "this call names no benign questions")
    references = _References(
        harmful_model or model, safe_model, model if "benign" in sets else None
    )
    judging = make_judge(judge)
    budget = Budget.of(settings.calls, settings.seconds)
    work = Work(settings, output, budget, stage)
    asked: dict[str, list[Asked]] = {}
    for name, each in sets.items():
        asked[name], left_out = choose_questions(each, limit, settings, harmful=name == "harmful")
        work.left_out += left_out
    with Models.of(list(references.roles().values()), batch_size=settings.batch_size) as models:
        prepare_run_folder(output)
        harmful = find_harmful(asked["harmful"], models.use(references.harmful), judging, work)
        with_harmful = [each for each in asked["harmful"] if each.id in harmful]
        teacher = models.use(safe_model) if safe_model is not None and with_harmful else None
        safe = find_safe(with_harmful, teacher, work)
        helpful: dict[str, Helpful] = {}
        if references.helpful is not None:
            helpful = find_helpful(asked["benign"], models.use(references.helpful), work)
        about_models = {
            role: _about_model(models, reference) for role, reference in references.roles().items()
        }
    triples = [
        _triple(each, harmful[each.id], safe[each.id], references, judging.name)
        for each in with_harmful
        if each.id in safe
    ]
    rows = [
        _helpful_row(each, helpful[each.id], model)
        for each in asked.get("benign", [])
        if each.id in helpful
    ]
    content = {
        "schema": "derta/make/1",
        "derta_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "complete": not any(each.status == "waiting" for each in work.left_out),
        "counts": _counts(asked, triples, rows, work.left_out),
        "teacher_not_used": dict(work.notes.most_common()),
        "models": about_models,
        "judge": judging.name,
        "questions": {name: _about_questions(each) for name, each in sets.items()},
        "settings": settings.model_dump(mode="json"),
        "calls": budget.used,
        "seconds": round(time.monotonic() - started, 1),
        "versions": {
            "python": platform.python_version(),
            **{
                name: importlib.metadata.version(name)
                for name in ("torch", "transformers", "inspect-ai")
            },
        },
        "left_out": [asdict(each) for each in work.left_out],
    }
    failed = _all_failed(triples, rows, work.left_out)
    # Where all calls failed, the rows of an earlier run stay.
    if failed is None or not has_rows(output):
        write_rows(output, MAKE_NAME, content, {"triples.jsonl": triples, "helpful.jsonl": rows})
    if failed is not None:
        raise failed
    return MakeReport(output, content, triples[0] if triples else None)


# --- rows --------------------------------------------------------------------------------------


def _triple(
    asked: Asked, harmful: Harmful, safe: SafeResponse, references: _References, judge: str
) -> dict[str, Any]:
    source: dict[str, Any] = {
        "name": MAKE_NAME,
        "question": asked.source,
        "harmful_model": references.harmful,
        "safe": safe.origin,
        "judge": judge,
        "seed": harmful.seed,
        "try": harmful.number,
    }
    if harmful.opening:
        source["opening"] = harmful.opening
    row = {
        "id": asked.id,
        "prompt": asked.question.text,
        "chosen": safe.text,
        "rejected": harmful.text,
        "language": asked.language,
    }
    return {**row, **_topic(asked.question), "source": source}


def _helpful_row(asked: Asked, helpful: Helpful, model: str) -> dict[str, Any]:
    row = {
        "id": asked.id,
        "prompt": asked.question.text,
        "completion": helpful.text,
        "finished": helpful.finished,
        "language": asked.language,
        "category": asked.question.category,
    }
    source = {"name": MAKE_NAME, "question": asked.source, "model": model}
    return {**row, **_topic(asked.question), "source": source}


def _topic(question: Question) -> dict[str, str]:
    return {} if question.topic is None else {"topic": question.topic}


# --- make.json ---------------------------------------------------------------------------------


def _counts(
    asked: Mapping[str, Sequence[Asked]],
    triples: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    left_out: Sequence[LeftOut],
) -> dict[str, Any]:
    tries = Counter(
        "prefilled" if "opening" in row["source"] else str(row["source"]["try"]) for row in triples
    )
    patterns = sum(row["source"]["safe"].startswith("pattern ") for row in triples)
    return {
        "triples": len(triples),
        "helpful": len(rows),
        "harmful_questions": len(asked["harmful"]),
        "benign_questions": len(asked.get("benign", [])),
        "by_try": dict(sorted(tries.items())),
        "safe_by_pattern": patterns,
        "safe_by_teacher": len(triples) - patterns,
        "helpful_finished": sum(row["finished"] for row in rows),
        "languages": dict(Counter(row["language"] for row in (*triples, *rows)).most_common()),
        "left_out": {
            stage: dict(Counter(each.status for each in left_out if each.stage == stage))
            for stage in ("question", "harmful", "safe", "helpful")
        },
    }


def _about_model(models: Models, reference: str) -> dict[str, str]:
    subject = models.subjects[reference]
    return {
        "reference": reference,
        "kind": subject.kind,
        "fingerprint": subject.fingerprint,
    }


def _about_questions(questions: QuestionSet) -> dict[str, Any]:
    return {
        "name": questions.name,
        "rows": len(questions.questions),
        "sha256": questions.content_hash,
    }


def _all_failed(
    triples: Sequence[object], rows: Sequence[object], left_out: Sequence[LeftOut]
) -> ModelError | None:
    """Make the error of a run of which nothing came because models failed."""
    failed = [each for each in left_out if each.status == "failed"]
    if not failed or triples or rows:
        return None
    return ModelError(
        f"no row could be made: {len(failed)} responses failed, the first with "
        f"{failed[0].reason.rstrip('.')}. Mend this; the same command asks again"
    )
