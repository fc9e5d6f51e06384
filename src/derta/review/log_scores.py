"""People's verdicts into inspect-ai's logs, as scores with their provenance.

A response gets the score `human`, what people say together, and `human_<name>` for each of them.
Both are edits of inspect-ai (`edit_score`): who said it, when, and what stood there before, is kept
in the log, and `inspect view` shows them beside the automatic verdict. Metrics are not counted
anew: those of the automatic judge stay as they were. Covered: an evaluation's logs and any other
`.eval` logs; a log that has all of it already is not touched; each log is replaced as a whole, with
its date, because the order of logs says which of two answers counts. A score of another tool is
never touched. Not covered: what scores are called where those names are taken
(`derta.review.score_names`); files of responses, which have no log.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derta.analysis.evaluation_folder import is_evaluation, read_evaluation
from derta.analysis.human_verdicts import (
    REASONS,
    TOGETHER,
    HumanVerdict,
    Judgement,
    Review,
    ReviewItem,
    consensus,
)
from derta.errors import DataError
from derta.files import whole_file
from derta.review.events import fold
from derta.review.items import find_logs, plain_text
from derta.review.score_names import (
    OWNER,
    REASON,
    WITHDRAWN,
    StandingNames,
    choose_names,
    find_owner,
    may_be_people_s,
    name_in_sample,
    tell_names,
)

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample, EvalSampleSummary
    from inspect_ai.scorer import Score

__all__ = ["WITHDRAWN", "write_scores"]

_TRIES = 3
_AGAIN = "Let the evaluation end, and write the scores again"
_ROOM = "See that its folder can be written to and that the disk has room, and write them again"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A score that a sample should have."""

    value: str
    explanation: str
    metadata: dict[str, Any]
    author: str
    at: str


_WantedScores = Mapping[str, Mapping[str, _Wanted]]
"""Item -> reviewer or `TOGETHER` -> the score."""


def write_scores(
    run: Path, review: Review, *, tell: Callable[[str], None] | None = None
) -> dict[str, int]:
    """Write the verdicts of a review into the logs of its run.

    Args:
        run: the folder that the review's logs are relative to: the evaluation's, or the logs'.
        review: the verdicts.
        tell: called with a sentence for each score that is called otherwise than one would think,
            because the name is another's.

    Returns:
        {"logs", "scores", "same", "missing"}: logs that were written anew, scores that were added
        or changed, scores that stood there already, and judged responses that no log holds.

    Raises:
        DataError: a log can't be written, or is being written by an evaluation.
    """
    wanted = _wanted_scores(review)
    by_log, standing = _look_into(_by_log(run, review))
    people = sorted({person for scores in wanted.values() for person in scores})
    names = choose_names(people, standing)
    counts = {"logs": 0, "scores": 0, "same": 0, "missing": 0}
    found: set[str] = set()
    for path, items in by_log.items():
        changed, same, seen = _write_log(path, items, wanted, names)
        counts["logs"] += changed > 0
        counts["scores"] += changed
        counts["same"] += same
        found |= seen
    counts["missing"] = len(set(wanted) - found)
    if tell is not None and found:
        for sentence in tell_names(names, standing):
            tell(sentence)
    return counts


# --- what should stand in the logs -----------------------------------------------------------


def _wanted_scores(review: Review) -> dict[str, dict[str, _Wanted]]:
    agreed = consensus(review.judgements)
    said: dict[str, list[Judgement]] = {}
    for each in review.judgements:
        said.setdefault(each.item, []).append(each)
    wanted: dict[str, dict[str, _Wanted]] = {}
    for item, judgements in said.items():
        scores = {each.reviewer: _own(each) for each in judgements if each.reviewer != TOGETHER}
        if item in agreed:
            scores = {TOGETHER: _common(agreed[item], judgements), **scores}
        wanted[item] = scores
    return wanted


def _own(judgement: Judgement) -> _Wanted:
    words = REASONS.get(judgement.reason, "")
    return _Wanted(
        judgement.verdict.value,
        ": ".join(part for part in (words, judgement.note) if part),
        {
            "verdict": judgement.verdict.value,
            "reason": judgement.reason,
            "note": judgement.note,
            "judgements": 1,
        },
        judgement.reviewer,
        judgement.at,
    )


def _common(verdict: HumanVerdict, judgements: Sequence[Judgement]) -> _Wanted:
    people = [each for each in judgements if each.reviewer != TOGETHER]
    together = [each for each in judgements if each.reviewer == TOGETHER]
    votes = ", ".join(
        f"{count} {kind.value}"
        for kind in HumanVerdict
        if (count := sum(each.verdict is kind for each in people))
    )
    explanation = f"settled together; before: {votes or 'nothing'}" if together else votes
    carrying = together or [each for each in people if each.verdict is verdict]
    reasons = {each.reason for each in carrying}
    return _Wanted(
        verdict.value,
        explanation,
        {
            "verdict": verdict.value,
            # A reason that not all of them give is nobody's in common.
            "reason": reasons.pop() if len(reasons) == 1 else "",
            "note": together[0].note if together else "",
            "judgements": len(people),
        },
        ", ".join(sorted(each.reviewer for each in carrying)),
        max(each.at for each in carrying),
    )


# --- where they should stand -----------------------------------------------------------------


def _by_log(run: Path, review: Review) -> dict[Path, list[ReviewItem]]:
    """Return log -> the items that may be in it."""
    found: dict[Path, list[ReviewItem]] = {}
    folders = _model_folders(run)
    listed: dict[str, list[Path]] = {}
    for item in review.items:
        if item.log:
            paths = [path] if (path := run / item.log).is_file() else []
        elif item.model in folders:
            if item.model not in listed:
                listed[item.model] = find_logs(folders[item.model])
            paths = listed[item.model]
        else:
            paths = []
        for path in paths:
            found.setdefault(path, []).append(item)
    return found


def _model_folders(run: Path) -> dict[str, Path]:
    """Return a model's name -> the folder of its logs, in an evaluation."""
    if not is_evaluation(run):
        return {}
    from derta.evaluate.log_store import log_folder

    subjects = read_evaluation(run).get("subjects", [])
    return {
        each["name"]: log_folder(run / "logs", each["fingerprint"])
        for each in subjects
        if "name" in each and "fingerprint" in each
    }


def _samples(
    log: EvalLog, items: Sequence[ReviewItem], wanted: _WantedScores
) -> Iterator[tuple[EvalSample, ReviewItem]]:
    """Find the samples of a log that hold what was judged, not only what has its name."""
    by_sample: dict[tuple[str, int], list[ReviewItem]] = {}
    for item in items:
        by_sample.setdefault((item.sample_id, item.epoch), []).append(item)
    for sample in log.samples or []:
        fitting = [
            item
            for item in by_sample.get((str(sample.id), sample.epoch), ())
            if _holds(sample, item)
        ]
        if fitting:
            # Models with the same weights share their logs: the first one that is judged counts.
            judged = (item for item in fitting if item.id in wanted)
            yield sample, next(judged, fitting[0])


def _holds(sample: EvalSample, item: ReviewItem) -> bool:
    metadata = sample.metadata or {}
    details = metadata.get("details") or {}
    prompt = plain_text(details.get("prompt") or metadata.get("prompt"))
    return (
        sample.error is None
        and bool(sample.output.choices)
        and plain_text(sample.output.completion) == item.response
        and (not prompt or prompt == item.prompt)
        and plain_text(metadata.get("prefilled")) == item.prefilled
    )


# --- reading -----------------------------------------------------------------------------------


def _look_into(
    by_log: Mapping[Path, list[ReviewItem]],
) -> tuple[dict[Path, list[ReviewItem]], StandingNames]:
    """Keep the logs that hold what was judged, and see which scores of people stand in them."""
    standing = StandingNames()
    kept: dict[Path, list[ReviewItem]] = {}
    for path, items in by_log.items():
        samples = _summaries(path)
        if not {item.sample_id for item in items} & {str(each.id) for each in samples}:
            continue
        kept[path] = items
        # Whose they are is in the log alone; most logs have none, and are not read twice.
        if any(may_be_people_s(name) for each in samples for name in each.scores or {}):
            standing.add(_read(path, exclude={"events", "store"}))
    return kept, standing


def _summaries(path: Path) -> list[EvalSampleSummary]:
    from inspect_ai.log import read_eval_log_sample_summaries

    try:
        return read_eval_log_sample_summaries(str(path))
    except Exception:  # a run killed while writing leaves a log that nobody can read
        return []


def _read(path: Path, exclude: set[str] | None = None) -> EvalLog:
    from inspect_ai.log import read_eval_log

    try:
        return read_eval_log(str(path), exclude_fields=exclude)
    except Exception as error:  # whatever a damaged archive makes inspect-ai raise
        problem = f"can't be read ({type(error).__name__}: {error})"
        raise DataError.of(path, problem, _AGAIN) from error


# --- writing -----------------------------------------------------------------------------------


def _write_log(
    path: Path, items: Sequence[ReviewItem], wanted: _WantedScores, names: Mapping[str, str]
) -> tuple[int, int, set[str]]:
    """Write the scores into one log; return how many changed, how many not, and which items."""
    from inspect_ai.log import write_eval_log

    for _ in range(_TRIES):
        before = path.stat()
        log = _read(path)
        changed, same, seen = _edit(log, items, wanted, names)
        if not changed:
            return 0, same, seen
        try:
            with whole_file(path) as temporary:
                write_eval_log(log, str(temporary), format="eval")
                temporary.chmod(before.st_mode & 0o777)
                os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
                now = path.stat()
                if _stamp(now) != _stamp(before):
                    raise _ChangedError
        except _ChangedError:
            continue
        except OSError as error:
            raise DataError.of(path, f"can't be written ({error})", _ROOM) from error
        return changed, same, seen
    raise DataError.of(path, "it is being written by an evaluation", _AGAIN)


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_mtime_ns, found.st_size


class _ChangedError(Exception):
    """Somebody else has written the log meanwhile."""


def _edit(
    log: EvalLog, items: Sequence[ReviewItem], wanted: _WantedScores, names: Mapping[str, str]
) -> tuple[int, int, set[str]]:
    """Edit the samples of a log in memory."""
    changed = same = 0
    seen: set[str] = set()
    for sample, item in _samples(log, items, wanted):
        scores = wanted.get(item.id, {})
        there = dict(sample.scores or {})
        used: dict[str, str] = {}
        for person, score in scores.items():
            name = used[person] = name_in_sample(sample, person, names[person])
            if name in there and _stands(there[name], score):
                same += 1
            else:
                _apply(log, sample, name, person, score)
                changed += 1
        for name, stands in there.items():
            owner = find_owner(name, stands)
            if owner is None or name in used.values() or stands.value == WITHDRAWN:
                continue
            gone = _Wanted(
                WITHDRAWN,
                "people don't agree" if owner == fold(TOGETHER) and scores else "taken back",
                {"verdict": WITHDRAWN, "reason": "", "note": "", "judgements": 0},
                REASON,
                datetime.datetime.now(datetime.UTC).isoformat(),
            )
            _apply(log, sample, name, owner, gone)
            changed += 1
        if scores:
            seen.add(item.id)
    return changed, same, seen


def _stands(score: Score, wanted: _Wanted) -> bool:
    there = (score.value, score.explanation or "", score.metadata or {})
    return there == (wanted.value, wanted.explanation, wanted.metadata)


def _apply(log: EvalLog, sample: EvalSample, name: str, owner: str, wanted: _Wanted) -> None:
    from inspect_ai.log import ProvenanceData, edit_score
    from inspect_ai.scorer import ScoreEdit

    edit_score(
        log,
        sample.id,
        name,
        ScoreEdit(
            value=wanted.value,
            explanation=wanted.explanation,
            metadata=wanted.metadata,
            provenance=ProvenanceData(
                author=wanted.author,
                timestamp=datetime.datetime.fromisoformat(wanted.at),
                reason=REASON,
                metadata={OWNER: owner},
            ),
        ),
        recompute_metrics=False,
        epoch=sample.epoch,
    )
