"""Everything that the page shows, collected from evaluation folders.

Covered: reading, merging several folders, computing the analysis, the commands that make each
part again. Not covered: words, pictures and markup. Nothing here loads torch, so a page is made on
any machine from the files alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from derta.analysis.analyse import analyse
from derta.analysis.human_agreement import people_verdicts, summarise_review
from derta.analysis.outcomes import Outcome
from derta.analysis.readings import Reading
from derta.errors import DataError
from derta.report.evaluation_page.folders import EvaluationFolder, read_folder
from derta.report.evaluation_page.merging import merge_evaluations, with_unique_names
from derta.report.evaluation_page.printed import Printer
from derta.report.evaluation_page.series import Look, series_looks

__all__ = ["FROM_EVALUATE", "FROM_READINGS", "PageData", "collect"]

FROM_EVALUATE = ("attacks", "differences", "depth", "position", "exposure", "trade-off")
"""Sections whose figures come from answers."""
FROM_READINGS = ("knowledge", "detection", "stops", "divergence")
"""Sections whose figures come from token readings."""


@dataclass(frozen=True, slots=True, eq=False)
class PageData:
    """What the page shows."""

    names: tuple[str, ...]
    """The models, in order; unique."""
    evaluations: tuple[Mapping[str, Any], ...]
    """The content of each folder's evaluation.json, with the names as they are here."""
    evaluation: Mapping[str, Any]
    """All of them as one, in evaluation.json's form."""
    analysis: Mapping[str, Any]
    """What `derta.analysis.analyse` gives."""
    outcomes: tuple[Outcome, ...]
    readings: tuple[Reading, ...]
    notes: tuple[str, ...]
    """What a reader must know before comparing figures."""
    commands: Mapping[str, str]
    """Section -> the command, or commands a line each, that makes it again."""
    created: str
    smoke: bool
    """Whether any of it is a smoke run, whose figures mean nothing."""
    methods: Mapping[str, str] = field(default_factory=dict)
    """Model -> untouched, vanilla, derta ..., where it is known."""
    people: tuple[Mapping[str, Any], ...] = ()
    """What `derta.analysis.human_agreement` gives, and "folder"; one for each reviewed folder."""
    people_verdicts: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """Model, scenario, cell, question_id and response -> UNSAFE or SAFE, as people say."""

    @property
    def printer(self) -> Printer:
        """Writes the figures."""
        return Printer(self.evaluation, self.analysis, self.people)

    @property
    def looks(self) -> dict[str, Look]:
        """Colour and marker of each model."""
        return series_looks(self.names, self.methods)


def collect(folders: Sequence[Path], command: str) -> PageData:
    """Read evaluation folders and compute what the page shows.

    Args:
        folders: of `derta evaluate`; the first one's judge and settings are named where they agree.
        command: the one that makes this page.

    Raises:
        DataError: a folder is named twice, or a file of it can't be used.
    """
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise DataError.of(folder, "is named twice", "Name each folder once")
    if not folders:
        raise DataError.of(".", "no folder is named", "Name one that `derta evaluate` made")
    found = with_unique_names([read_folder(folder) for folder in folders])
    evaluation, notes = merge_evaluations(found)
    outcomes = tuple(outcome for folder in found for outcome in folder.outcomes)
    readings = tuple(reading for folder in found for reading in folder.readings)
    methods = {name: each for folder in found for name, each in folder.methods.items()}
    analysis = analyse(outcomes, readings, evaluation=evaluation, methods=methods)
    reviewed = [(folder, folder.review) for folder in found if folder.review is not None]
    return PageData(
        names=tuple(name for folder in found for name in folder.names),
        evaluations=tuple(folder.evaluation for folder in found),
        evaluation=evaluation,
        analysis=analysis,
        outcomes=outcomes,
        readings=readings,
        notes=(*notes, *(note for folder in found for note in folder.notes)),
        commands=_commands(found, command),
        created=max(str(folder.evaluation.get("created", "")) for folder in found),
        smoke=any(folder.evaluation["budget"] == "smoke" for folder in found),
        methods=methods,
        people=tuple(
            {"folder": str(folder.path), **summarise_review(review)} for folder, review in reviewed
        ),
        people_verdicts={
            key: verdict
            for _, review in reviewed
            for key, verdict in people_verdicts(review).items()
        },
    )


def _commands(folders: Sequence[EvaluationFolder], command: str) -> dict[str, str]:
    """Name the command behind each section."""
    evaluate = "\n".join(_evaluate_command(folder) for folder in folders)
    review = "\n".join(
        shlex.join(["derta", "review", str(folder.path), "--agreement"])
        for folder in folders
        if folder.review is not None
    )
    analyse_again = "\n".join(
        shlex.join(["derta", "analyse", str(folder.path)]) for folder in folders
    )
    return {
        "page": command,
        **({"people": review} if review else {}),
        **dict.fromkeys(FROM_EVALUATE, evaluate),
        **dict.fromkeys(FROM_READINGS, analyse_again),
        "ablation": f"{evaluate}\n{analyse_again}",
        "responses": f"{evaluate}\n{analyse_again}",
    }


def _evaluate_command(folder: EvaluationFolder) -> str:
    """Give the command that was run, or, for a call from Python, one that does the same."""
    known = folder.evaluation.get("command")
    if known:
        return str(known)
    references = [
        str(each.get("reference", each["name"])) for each in folder.evaluation["subjects"]
    ]
    budget = str(folder.evaluation["budget"])
    options = ["--budget", budget, "--output", str(folder.path)]
    return shlex.join(["derta", "evaluate", *references, *options])
