"""From an evaluation's folder to rows of a data frame: what the frames' functions share.

Covered: reading the folder, computing one figure, names of columns. Not covered: the frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derta.analysis.analyse import analyse
from derta.analysis.evaluation_folder import read_evaluation
from derta.analysis.outcomes import Outcome, read_outcomes
from derta.analysis.readings import Reading, load_readings, read_about
from derta.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "SHARE",
    "ends",
    "from_outcomes",
    "from_readings",
    "make_frame",
    "read_answers",
    "read_methods",
    "read_texts",
    "values",
]

SHARE = ("count", "n", "share", "low", "high", "questions")
"""Columns of a share."""


def from_outcomes(
    folder: str | Path, figure: str, *, methods: Mapping[str, str] | None = None
) -> Any:
    """Compute one figure (`derta.analysis.analyse.FIGURES`) of a folder's answers.

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    place = Path(folder)
    evaluation = read_evaluation(place)
    made = analyse(
        read_answers(place), (), evaluation=evaluation, methods=methods, figures=(figure,)
    )
    return made[figure]


def from_readings(folder: str | Path, figure: str) -> Any:
    """Compute one figure of a folder's token readings.

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    place = Path(folder)
    evaluation = read_evaluation(place)
    return analyse((), read_texts(place), evaluation=evaluation, figures=(figure,))[figure]


def read_answers(folder: Path) -> list[Outcome]:
    """Read the answers of all models.

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    read_evaluation(folder)
    return read_outcomes(folder / "outcomes.jsonl")


def read_texts(folder: Path) -> list[Reading]:
    """Read the token readings of all models.

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    read_evaluation(folder)
    readings = load_readings(folder)
    if not readings:
        problem = "no model has read texts token by token for this evaluation yet"
        raise DataError.of(folder, problem, f"Run `derta analyse {folder}`")
    return readings


def read_methods(folder: Path) -> dict[str, str]:
    """Read how the models were trained, as far as `derta analyse` found it out.

    Raises:
        DataError: the folder holds no evaluation.
    """
    names = [str(subject["name"]) for subject in read_evaluation(folder)["subjects"]]
    abouts = {name: read_about(folder, name) or {} for name in names}
    return {name: str(about["method"]) for name, about in abouts.items() if about.get("method")}


def ends(name: str) -> tuple[str, str, str]:
    """Name the columns of a value and its interval."""
    return name, f"{name}_low", f"{name}_high"


def values(entry: Mapping[str, Any] | None, name: str = "share") -> list[Any]:
    """Take a value and its interval from an entry; None: three times None."""
    entry = entry or {}
    return [entry.get(name), entry.get("low"), entry.get("high")]


def make_frame(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> DataFrame:
    """Make a data frame that has its columns also where there are no rows."""
    import pandas

    return pandas.DataFrame(list(rows), columns=list(columns))
