"""The first reading of a mix: of each row what decides on it, and nothing of its text.

Covered: hashes of what is asked, sources, languages, what is held out. Not covered: the decision
(`derta.data.mixing.plan`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from derta.data.mixing.options import KINDS, Kind, MixWish
from derta.data.mixing.plan import RowTable, rank_of
from derta.data.mixing.report import MixReport
from derta.data.mixing.rows import is_look_alike, language_of, parse_row, read_cells, source_of
from derta.data.prompts import asked
from derta.data.streams import RawRow, stream_rows
from derta.errors import DataError, InputProblem

__all__ = ["Progress", "Steps", "read_tables"]

Progress = Callable[[int, int], None]
"""Called with (done, total): 100 for each reading of a source."""
_SHOWN_PROBLEMS = 100


@dataclass(slots=True)
class Steps:
    """Sources that are done, for a progress bar: each counts 100, whatever its size."""

    total: int
    progress: Progress | None
    done: int = 0

    def __call__(self) -> None:
        """Say that another source has been read."""
        self.done += 100
        if self.progress is not None:
            self.progress(self.done, self.total)

    def within(self, read: int, total: int) -> None:
        """Say how many bytes of a source have been read."""
        if self.progress is not None and 0 < read < total:
            self.progress(self.done + 100 * read // total, self.total)


def read_tables(
    wish: MixWish, held_out: frozenset[int], report: MixReport, steps: Steps
) -> dict[Kind, RowTable]:
    """Read all sources; keep of each row what decides.

    Args:
        wish: what was asked for.
        held_out: hashes of the questions that are left out.
        report: counts rows that can't be used.
        steps: told of every source that is done.

    Raises:
        DataError: of all sources that can't be read, or a kind of which nothing can be used.
    """
    tables: dict[Kind, RowTable] = {kind: RowTable() for kind in KINDS}
    names: dict[str, int] = {}
    problems: list[InputProblem] = []
    for kind in KINDS:
        for source in wish.sources(kind):
            try:
                for raw in stream_rows(source, load_hub=wish.load_hub, on_bytes=steps.within):
                    if isinstance(raw, InputProblem):
                        report.note_problem(kind, raw, _SHOWN_PROBLEMS)
                    else:
                        _add(tables[kind], raw, kind, wish, held_out, names, report)
            except DataError as error:
                problems += error.problems
            steps()
    if problems:
        raise DataError(problems)
    for kind in KINDS:
        if wish.sources(kind) and not any(tables[kind].usable):
            wanted = "prompt, chosen, rejected" if kind == "triples" else "prompt, completion"
            problem = f"of {len(tables[kind]):,} rows none can be used"
            if report.problems:
                problem += f" (the first: {report.problems[0].rstrip('.')})"
            remedy = f"Bring rows with {wanted}; `derta data import` makes them of other formats"
            raise DataError([InputProblem(", ".join(wish.sources(kind)), problem, remedy)])
    return tables


def _add(
    table: RowTable,
    raw: RawRow,
    kind: Kind,
    wish: MixWish,
    held_out: frozenset[int],
    names: dict[str, int],
    report: MixReport,
) -> None:
    raw = read_cells(raw, kind)
    row = parse_row(raw, kind)
    if isinstance(row, InputProblem):
        report.note_problem(kind, row, _SHOWN_PROBLEMS)
        table.add_unusable()
        return
    source = names.setdefault(source_of(raw), len(names))
    language = 0
    if wish.languages is not None:
        code = language_of(raw, row)
        known = wish.languages
        language = known.index(code) if code in known else len(known)
    question = asked(row.prompt)
    table.add(
        question.question,
        question.ending,
        rank_of(question.question, wish.seed),
        source,
        language,
        # Without a share, both categories are drawn from alike.
        look_alike=is_look_alike(raw),
        held_out=question.holds(held_out),
    )
