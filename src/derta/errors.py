"""Errors that a user can act on: each names the file, the line or key, and the remedy.

Covers every error that bad input can cause. The command line turns them into a message and
exit code 2; a traceback is a defect of derta.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["DataError", "DertaError", "InputProblem", "ModelError", "RecipeError", "TokenizerError"]


class DertaError(Exception):
    """Base of all errors that are the input's fault and not derta's."""


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One thing that is wrong in a file, and how to mend it."""

    path: str
    problem: str
    remedy: str
    line: int | None = None
    key: str | None = None

    @property
    def place(self) -> str:
        """Where it is: the file, the line and the key, as far as there are such."""
        place = self.path
        if self.line is not None:
            place += f":{self.line}"
        if self.key is not None:
            place += f" ({self.key})"
        return place

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}. {self.remedy}"


class DataError(DertaError):
    """One or more rows of a data file can't be used; all of them are listed."""

    def __init__(self, problems: list[InputProblem], *, shown: int = 20) -> None:
        """Collect the problems; the message shows the first `shown` and counts the rest."""
        self.problems = problems
        lines = [str(problem) for problem in problems[:shown]]
        if len(problems) > shown:
            lines.append(f"... and {len(problems) - shown} more problems")
        super().__init__("\n".join(lines))

    @classmethod
    def of(
        cls,
        path: str | Path,
        problem: str,
        remedy: str,
        *,
        line: int | None = None,
        key: str | None = None,
    ) -> Self:
        """Make the error of one problem: of a whole file, of an option, or of one place."""
        return cls([InputProblem(str(path), problem, remedy, line, key)])


class RecipeError(DertaError):
    """A recipe or an override has an unknown key or a value that can't be used."""


class TokenizerError(DertaError):
    """The tokenizer can't serve: no chat template, or no single token for the refusal word."""


class ModelError(DertaError):
    """A model can't be found, loaded or used."""
