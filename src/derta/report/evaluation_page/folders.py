"""An evaluation's folder, read and checked: figures, answers, token readings, what people said.

Covered: files that are missing, damaged, of another version, or that don't belong together; each
error names the file, the key and what to do. Not covered: several folders (merging.py), computing
figures (`derta.analysis.analyse`). Nothing here loads torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derta.analysis.human_verdicts import Review
from derta.analysis.outcomes import ERROR, Outcome, read_outcomes
from derta.analysis.readings import Reading, load_readings, read_about
from derta.analysis.review_database import database_path, has_review, read_review
from derta.analysis.shares import HARMFUL
from derta.errors import DataError
from derta.train.origin_note import read_origin_note

__all__ = ["EVALUATION_SCHEMA", "EvaluationFolder", "read_folder"]

EVALUATION_SCHEMA = "derta/evaluation/1"
_AGAIN = "Run the same `derta evaluate` again: what it has it keeps"
_KEYS: dict[str, type | tuple[type, ...]] = {
    "subjects": list,
    "models": Mapping,
    "scenarios": list,
    "skipped": list,
    "questions": list,
    "comparisons": list,
    "helpfulness": Mapping,
    "settings": Mapping,
    "judge": str,
    "budget": str,
    "seed": int,
}
_WORDS = {list: "a list", str: "text", int: "a whole number", Mapping: "an object"}


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationFolder:
    """What one folder holds."""

    path: Path
    evaluation: Mapping[str, Any]
    """The content of evaluation.json."""
    outcomes: tuple[Outcome, ...]
    readings: tuple[Reading, ...]
    methods: Mapping[str, str]
    """Model -> untouched, vanilla, derta ...; a model of which that is not known is not in it."""
    notes: tuple[str, ...]
    """What a reader must know about these files."""
    review: Review | None = None
    """What people said; None: nobody has judged a response."""

    @property
    def names(self) -> tuple[str, ...]:
        """The models, in order."""
        return tuple(str(each["name"]) for each in self.evaluation["subjects"])


def read_folder(path: Path) -> EvaluationFolder:
    """Read an evaluation's folder.

    Raises:
        DataError: a file is missing or damaged, or the answers are not those of the figures.
    """
    place = path / "evaluation.json"
    evaluation = _evaluation(place)
    outcomes = read_outcomes(path / "outcomes.jsonl")
    _check_outcomes(path / "outcomes.jsonl", evaluation, outcomes)
    readings = load_readings(path)
    names = [str(each["name"]) for each in evaluation["subjects"]]
    abouts = {name: read_about(path, name) for name in names}
    methods = _methods(evaluation["subjects"], abouts)
    notes = [*_old(path, outcomes), *_unread(path, names, abouts, readings)]
    return EvaluationFolder(
        path,
        evaluation,
        tuple(outcomes),
        tuple(readings),
        methods,
        tuple(notes),
        _review(path),
    )


def _review(path: Path) -> Review | None:
    database = database_path(path / "review")
    if not has_review(database):
        return None
    review = read_review(database)
    return review if review.judgements else None


def _evaluation(place: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        remedy = "Name a folder that `derta evaluate` made, or a results.json"
        raise DataError.of(place, "there is no such file", remedy) from error
    except json.JSONDecodeError as error:
        problem = f"is no JSON ({error.msg})"
        raise DataError.of(place, problem, _AGAIN, line=error.lineno) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError.of(place, f"can't be read ({error})", _AGAIN) from error
    schema = found.get("schema") if isinstance(found, Mapping) else None
    if schema != EVALUATION_SCHEMA:
        problem = f"is {schema!r} and not {EVALUATION_SCHEMA!r}"
        remedy = "Make the page with the derta that made it, or evaluate again"
        raise DataError.of(place, problem, remedy, key="schema")
    for key, kind in _KEYS.items():
        if not isinstance(found.get(key), kind):
            word = _WORDS[kind if isinstance(kind, type) else kind[0]]
            raise DataError.of(place, f"is missing or not {word}", _AGAIN, key=key)
    for index, subject in enumerate(found["subjects"]):
        name = subject.get("name") if isinstance(subject, Mapping) else None
        if not isinstance(name, str) or not isinstance(found["models"].get(name, {}), Mapping):
            raise DataError.of(place, "has no name", _AGAIN, key=f"subjects[{index}]")
    if not found["subjects"]:
        raise DataError.of(place, "there are no models", _AGAIN, key="subjects")
    evaluation: Mapping[str, Any] = found
    return evaluation


def _check_outcomes(path: Path, evaluation: Mapping[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Hold answers and figures together by their numbers.

    Raises:
        DataError: they are of two runs.
    """
    there = Counter((o.model, o.scenario) for o in outcomes if o.category == HARMFUL)
    names = {str(each["name"]) for each in evaluation["subjects"]}
    strangers = {outcome.model for outcome in outcomes} - names
    if strangers:
        problem = f"has answers of {min(strangers)!r}, which evaluation.json doesn't know"
        raise DataError.of(path, problem, _AGAIN)
    for name in names:
        scenarios = evaluation["models"].get(name, {}).get("scenarios") or {}
        for scenario, entry in scenarios.items():
            try:
                expected = int(entry["all"]["n_all"])
            except (KeyError, TypeError, ValueError) as error:
                key = f"models.{name}.scenarios.{scenario}.all.n_all"
                place = path.with_name("evaluation.json")
                raise DataError.of(place, "is missing", _AGAIN, key=key) from error
            if there[name, scenario] != expected:
                problem = (
                    f"has {there[name, scenario]} answers of {name!r} to {scenario}, and "
                    f"evaluation.json counts {expected}: they are not of the same run"
                )
                raise DataError.of(path, problem, _AGAIN)


def _old(path: Path, outcomes: Sequence[Outcome]) -> list[str]:
    """Say that an older derta wrote the answers, which didn't keep where refusals begin."""
    refused = [o for o in outcomes if o.category == HARMFUL and o.refused and o.verdict != ERROR]
    if not refused or any(outcome.refusal_start is not None for outcome in refused):
        return []
    return [
        f"{path / 'outcomes.jsonl'} was written by an older derta: it doesn't say where refusals "
        "begin, nor how much got out before them. The same `derta evaluate` adds both, and "
        "generates nothing again."
    ]


def _unread(
    path: Path,
    names: Sequence[str],
    abouts: Mapping[str, Mapping[str, Any] | None],
    readings: Sequence[Reading],
) -> list[str]:
    """Name the models whose token readings are missing while others have some, or are old."""
    there = {reading.model for reading in readings}
    missing = [name for name in names if name not in there]
    if not there and not any(abouts.values()):
        return []  # the page says it in its list of what is not in it
    return [
        f"{name}: "
        + ("its token readings are of other weights" if abouts[name] else "no token readings")
        + f". `derta analyse {path}` makes them."
        for name in missing
    ]


def _methods(
    subjects: Sequence[Mapping[str, Any]], abouts: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, str]:
    """Say how models were trained, where readings or references tell; leave out the others."""
    recipes = {str(each["name"]): _recipe(each) for each in subjects}
    bases = {recipe["model"] for recipe in recipes.values() if "model" in recipe}
    methods = {}
    for each in subjects:
        name, kind = str(each["name"]), each.get("kind")
        method = (abouts[name] or {}).get("method") or recipes[name].get("method")
        named = kind in ("folder", "hub") and str(each.get("reference")).rstrip("/") in bases
        if not method and (kind == "default" or named):
            method = "untouched"  # the default model, or one from which another was trained
        if method:
            methods[name] = str(method)
    return methods


def _recipe(subject: Mapping[str, Any]) -> dict[str, str]:
    """Read method and base model of a run or a merged model, as far as its folder says them."""
    folder = Path(str(subject.get("reference")).removeprefix("derta/")).expanduser()
    if subject.get("kind") == "folder":
        note = read_origin_note(folder)
        known = {} if note is None else {"method": note.method, "model": note.base_model}
        return {key: value for key, value in known.items() if value}
    if subject.get("kind") != "run":
        return {}
    run = folder if (folder / "recipe.yaml").is_file() else folder.parent
    try:
        lines = (run / "recipe.yaml").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError):
        return {}
    pairs = {key: value.strip().strip("'\"") for key, _, value in (x.partition(":") for x in lines)}
    found = {"method": pairs.get("method", "").replace("-", "_"), "model": pairs.get("model", "")}
    return {key: value.rstrip("/") for key, value in found.items() if value}
