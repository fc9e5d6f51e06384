"""What people judge: the responses of an evaluation, of inspect-ai's logs, or of a file.

A response is known by a hash of all that is judged, so that another one never inherits its verdict.
Covered: the folder of `derta evaluate` (harmful questions only, without those whose attack or judge
failed), one `.eval` log or a folder of them, and files of responses as `derta judge` reads them.
Not covered: which of them are shown (`derta.review.sampling`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derta.analysis.evaluation_folder import is_evaluation
from derta.analysis.human_verdicts import ReviewItem
from derta.analysis.outcomes import ERROR, read_outcomes, sample_id
from derta.analysis.shares import HARMFUL
from derta.errors import DataError
from derta.files import digest, utf8_text
from derta.terminal import mask

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

__all__ = [
    "HUMAN_SCORE",
    "choose_items",
    "find_logs",
    "load_items",
    "plain_text",
    "review_folder",
]

HUMAN_SCORE = "human"
"""What people's verdict is called in inspect-ai's logs; a person's own is `human_<name>`."""

_AUTOMATIC = ("UNSAFE", "SAFE", "UNREADABLE")
_LOG_ENDING = ".eval"
_VERDICT_COLUMN = "verdict"
_MAPPING = re.compile(r"Map one: --column (\w+)=NAME")


def review_folder(logs: Path) -> Path:
    """Say where the review of a run, of logs or of a file lies.

    Raises:
        DataError: there is no such file or folder.
    """
    run = _run(logs)
    if run.is_dir():
        return run / "review"
    if run.suffix == _LOG_ENDING:
        return run.parent / "review"
    return run.parent / f"{run.stem}-review"


def load_items(logs: Path) -> list[ReviewItem]:
    """Read the responses that can be judged.

    Args:
        logs: the folder of an evaluation, a log or a folder of logs, or a file of responses.

    Raises:
        DataError: there is nothing to judge in it, or it can't be read.
    """
    run = _run(logs)
    if run.is_dir() and is_evaluation(run):
        found = _of_evaluation(run)
    elif run.is_dir() or run.suffix == _LOG_ENDING:
        found = _of_logs(run)
    else:
        found = _of_file(run)
    if not found:
        remedy = "Name an evaluation, logs or a file that has some"
        raise DataError.of(run, "there is no response to a harmful question in it", remedy)
    return found


def choose_items(
    items: Sequence[ReviewItem],
    logs: Path,
    *,
    scenarios: Sequence[str] = (),
    models: Sequence[str] = (),
) -> list[ReviewItem]:
    """Keep the responses of some scenarios and models.

    Args:
        items: from `load_items`.
        logs: what they were loaded from, for errors.
        scenarios: only these; none: all.
        models: only these; none: all.

    Raises:
        DataError: there is no such scenario or model, or none of these models in these scenarios.
    """
    run = _run(logs)
    wanted_scenarios = _choose("scenario", scenarios, [item.scenario for item in items], run)
    wanted_models = _choose("model", models, [item.model for item in items], run)
    chosen = [
        item for item in items if item.scenario in wanted_scenarios and item.model in wanted_models
    ]
    if not chosen:
        pairs = sorted({f"{item.model} in {item.scenario}" for item in items})
        remedy = f"It has {', '.join(pairs)}"
        raise DataError.of(run, "these models have no response in these scenarios", remedy)
    return chosen


def plain_text(text: Any) -> str:
    """Make text that can be hashed and written (`utf8_text`); of nothing, an empty one."""
    return utf8_text(str(text or ""))


def _run(logs: Path) -> Path:
    """Find the folder of an evaluation when one of its parts is named."""
    if not logs.exists():
        remedy = "Name the folder of an evaluation, a log of inspect-ai, or a file of responses"
        raise DataError.of(logs, "there is no such file or folder", remedy)
    parts = ("evaluation.json", "outcomes.jsonl", "logs")
    return logs.parent if logs.name in parts and is_evaluation(logs.parent) else logs


def _choose(what: str, wanted: Sequence[str], there: Sequence[str], run: Path) -> set[str]:
    known = set(there)
    if not wanted:
        return known
    chosen = set()
    for name in wanted:
        match = next((each for each in (name, name.replace("-", "_")) if each in known), None)
        if match is None:
            names = ", ".join(each for each in dict.fromkeys(there) if each)
            remedy = f"It has {names}" if names else f"It names no {what}s: leave --{what} out"
            raise DataError.of(run, f"there is no {what} {name!r} in it", remedy)
        chosen.add(match)
    return chosen


def _numbered(items: Iterable[ReviewItem]) -> list[ReviewItem]:
    """Give each item its id; equal ones are counted."""
    seen: Counter[str] = Counter()
    numbered = []
    for item in items:
        parts = (
            item.model,
            item.scenario,
            item.cell,
            item.question_id,
            item.question,
            item.prompt,
            item.prefilled,
            item.response,
        )
        name = digest(*parts)
        seen[name] += 1
        if seen[name] > 1:
            name = digest(*parts, str(seen[name]))
        numbered.append(replace(item, id=name))
    return numbered


def _item(**values: Any) -> ReviewItem:
    """Make an item without its id; texts are made plain."""
    made: dict[str, Any] = {"id": "", "log": "", "sample_id": ""}
    made["truncated"] = bool(values.pop("truncated"))
    made["epoch"] = int(values.pop("epoch", 1))
    made.update((name, plain_text(text)) for name, text in values.items())
    return ReviewItem(**made)


# --- an evaluation ---------------------------------------------------------------------------


def _of_evaluation(folder: Path) -> list[ReviewItem]:
    return _numbered(
        _item(
            model=each.model,
            scenario=each.scenario,
            cell=each.cell,
            question_id=each.question_id,
            category=each.category,
            question=each.question,
            prompt=each.prompt,
            prefilled=each.prefilled,
            response=each.response,
            truncated=each.truncated,
            automatic=each.verdict,
            automatic_reason=each.reason,
            sample_id=sample_id(each.scenario, each.cell, each.question_id),
        )
        for each in read_outcomes(folder / "outcomes.jsonl")
        if each.category == HARMFUL and each.verdict != ERROR
    )


# --- logs ------------------------------------------------------------------------------------


def find_logs(place: Path) -> list[Path]:
    """List the logs of a folder and the folders in it, oldest first; a file is its own list."""
    if place.is_file():
        return [place]
    found = [path for path in place.rglob(f"*{_LOG_ENDING}") if path.is_file()]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _of_logs(place: Path) -> list[ReviewItem]:
    from inspect_ai.log import read_eval_log

    if (place / "settings.yaml").exists() and (place / "logs").is_dir():
        raise DataError.of(
            place,
            "this evaluation isn't finished: it has no evaluation.json",
            "Run the same `derta evaluate` again, it goes on; or name its folder logs",
        )
    folder = place if place.is_dir() else place.parent
    paths = find_logs(place)
    if not paths:
        remedy = "Name the folder of an evaluation, logs of inspect-ai, or a file of responses"
        raise DataError.of(place, "there are no responses in this folder", remedy)
    found: dict[tuple[str, ...], ReviewItem] = {}
    unreadable: list[str] = []
    for path in paths:
        try:
            log = read_eval_log(str(path), exclude_fields={"events", "store"})
        except Exception as error:  # whatever a damaged archive makes inspect-ai raise
            if place.is_file():
                problem = f"can't be read ({type(error).__name__}: {error})"
                raise DataError.of(path, problem, "Name another log") from error
            unreadable.append(path.name)  # a run that was killed while writing leaves such
            continue
        if "judge" in (log.eval.metadata or {}):
            continue  # these are questions to a judge model
        name = path.relative_to(folder).as_posix()
        for sample in log.samples or []:
            item = _of_sample(log, sample, name)
            if item is not None:
                # A log that continues another holds its samples once more, with the same uuid.
                key = (sample.uuid,) if sample.uuid else (name, str(sample.id), str(sample.epoch))
                found[key] = item
    if unreadable and not found:
        problem = f"no response is in what can be read of its logs (not in {unreadable[0]})"
        raise DataError.of(place, problem, "Name logs of evaluations that came to their end")
    return _numbered(found.values())


def _of_sample(log: EvalLog, sample: EvalSample, name: str) -> ReviewItem | None:
    metadata = sample.metadata or {}
    verdict, reason = _automatic(sample)
    if (
        sample.error is not None
        or not sample.output.choices
        or metadata.get("category", HARMFUL) != HARMFUL
        or verdict == ERROR
    ):
        return None
    asked = _asked(sample)
    details = metadata.get("details") or {}
    return _item(
        model=log.eval.model,
        scenario=metadata.get("scenario") or log.eval.task.rsplit("/", 1)[-1],
        cell=metadata.get("cell"),
        question_id=metadata.get("question_id") or sample.id,
        category=HARMFUL,
        question=metadata.get("question") or asked,
        prompt=details.get("prompt") or metadata.get("prompt") or asked,
        prefilled=metadata.get("prefilled"),
        response=sample.output.completion,
        truncated=sample.output.stop_reason != "stop",
        automatic=verdict,
        automatic_reason=reason,
        log=name,
        sample_id=sample.id,
        epoch=sample.epoch,
    )


def _automatic(sample: EvalSample) -> tuple[str, str]:
    """Find what an automatic judge said; our own scorer's word counts before another's."""
    scores = sample.scores or {}
    for name in sorted(scores, key=lambda each: each != _VERDICT_COLUMN):
        value = str(scores[name].value)
        people = name == HUMAN_SCORE or name.startswith(f"{HUMAN_SCORE}_")
        if not people and value in (*_AUTOMATIC, ERROR):
            return value, scores[name].explanation or ""
    return "", ""


def _asked(sample: EvalSample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    said = [message.text for message in sample.input if message.role == "user"]
    return said[-1] if said else ""


# --- a file of responses ---------------------------------------------------------------------


def _of_file(path: Path) -> list[ReviewItem]:
    from derta.data.tables import read_table
    from derta.evaluate.judged_files import find_responses

    table = read_table(path)
    try:
        rows = find_responses(table)
    except DataError as error:
        # `derta judge` maps columns by an option; a review is of the file as it is.
        raise DataError(
            [
                replace(each, remedy=_MAPPING.sub(r'Call one "\1" in a copy', each.remedy))
                for each in error.problems
            ]
        ) from error
    written = [row.response for row in rows if row.response.strip()]
    if written and all(text == mask(text) for text in written):
        remedy = "Write the file again with --reveal: nobody can judge what is masked"
        raise DataError.of(path, "the responses are masked", remedy)
    items = []
    for row, written_row in zip(rows, table.rows, strict=True):
        record = written_row.record  # with the columns that judges write
        said = str(record.get(_VERDICT_COLUMN) or "").upper()
        automatic = said if said in _AUTOMATIC else ""
        question, prompt = plain_text(row.question), plain_text(row.prompt)
        items.append(
            _item(
                model=row.model,
                scenario=row.scenario,
                cell="",
                # Responses to one question belong together, with or without ids.
                question_id=row.id or f"q-{digest(question or prompt)}",
                category=HARMFUL,
                question=question,
                prompt=prompt or question,
                prefilled=row.prefilled,
                response=row.response,
                truncated=row.truncated,
                automatic=automatic,
                automatic_reason=record.get("reason") if automatic else "",
            )
        )
    return _numbered(items)
