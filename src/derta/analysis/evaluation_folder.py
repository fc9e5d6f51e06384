"""The folder that `derta evaluate` leaves: told from other folders, and its evaluation.json read.

Covered: what the file says as a whole. Not covered: outcomes (`derta.analysis.outcomes`), token
readings (`derta.analysis.readings`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from derta.errors import DataError

__all__ = ["is_evaluation", "read_evaluation"]

_SCHEMA = "derta/evaluation/"


def is_evaluation(folder: Path) -> bool:
    """Say whether a folder is an evaluation's; a run of `derta quickstart` is not."""
    try:
        values = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # A quickstart's model has a file of the same name without a schema.
    return isinstance(values, dict) and str(values.get("schema", "")).startswith(_SCHEMA)


def read_evaluation(folder: Path) -> dict[str, Any]:
    """Read evaluation.json.

    Raises:
        DataError: it is missing, damaged, or another kind of file.
    """
    path = folder / "evaluation.json"
    if not folder.is_dir():
        raise DataError.of(folder, "there is no such folder", "Name the folder of an evaluation")
    if not path.exists():
        raise DataError.of(
            folder,
            "there is no evaluation.json in it",
            "Name the folder that `derta evaluate` has written to its end; the same command goes "
            "on with one that was interrupted",
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = f"can't be read ({error})"
        raise DataError.of(path, problem, "Run `derta evaluate` again") from error
    if not isinstance(values, dict) or not str(values.get("schema", "")).startswith(_SCHEMA):
        raise DataError.of(
            path,
            "this is no evaluation of `derta evaluate`",
            "Name the folder of an evaluation, such as runs/evaluation-small",
        )
    return values
