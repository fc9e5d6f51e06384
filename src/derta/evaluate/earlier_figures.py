"""What an evaluation's folder holds already, so that no call silently drops earlier figures.

A suite writes its figures anew from what it was asked for; the logs of all calls stay. Covered:
models, scenarios and question sets that an earlier call measured and this one doesn't name. Not
covered: other settings or another judge for the same ones, whose figures take the place of the
earlier ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from derta.errors import DataError
from derta.evaluate.subjects import Subject

__all__ = ["require_no_figures_lost"]

_SCHEMA = "derta/evaluation/"


def require_no_figures_lost(
    output: Path,
    subjects: Sequence[Subject],
    scenarios: Sequence[str],
    questions: Sequence[str],
    *,
    overwrite: bool = False,
) -> None:
    """Make sure that a suite in this folder replaces only what it measures again.

    Args:
        output: the suite's folder; there may be none yet.
        subjects: the models that will be measured.
        scenarios: their scenarios.
        questions: the names of the question sets, in the order of evaluation.json.
        overwrite: drop the figures of what isn't named.

    Raises:
        DataError: figures would be lost, or evaluation.json is another command's.
    """
    path = output / "evaluation.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # none yet, or nothing that anybody could read
    if not isinstance(found, dict) or not str(found.get("schema", "")).startswith(_SCHEMA):
        problem = "`derta evaluate` didn't write this file"
        raise DataError.of(path, problem, "Name another folder with --output")
    if overwrite:
        return
    lost = {
        "models": _models(found, subjects),
        "scenarios": [str(each) for each in found.get("scenarios", []) if each not in scenarios],
        "questions": _questions(found, questions),
    }
    if any(lost.values()):
        told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in lost.items() if names)
        problem = f"it has figures that this call would drop ({told})"
        remedy = (
            "Name these, too (what is done is not asked again), or another folder with --output; "
            "--overwrite drops them and keeps the logs"
        )
        raise DataError.of(path, problem, remedy)


def _models(found: Mapping[str, Any], subjects: Sequence[Subject]) -> list[str]:
    """List the earlier models that are measured no more; one that was moved is still the same."""
    known = {subject.fingerprint for subject in subjects}
    known |= {_place(subject.reference) for subject in subjects}
    return [
        str(each["reference"])
        for each in found.get("subjects", [])
        if each["fingerprint"] not in known and _place(str(each["reference"])) not in known
    ]


def _questions(found: Mapping[str, Any], questions: Sequence[str]) -> list[str]:
    """List the earlier question sets that give way to others; one that grew keeps its name."""
    earlier = [str(each["name"]) for each in found.get("questions", [])]
    pairs = zip(earlier, questions, strict=False)
    return [was for was, now in pairs if was != now and _place(was) != _place(now)]


def _place(name: str) -> str:
    """Write a path in full, through links; a name that is none stays as it is."""
    path = Path(name.removeprefix("derta/")).expanduser()
    return str(path.resolve()) if path.exists() else name.rstrip("/")
