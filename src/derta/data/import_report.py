"""What an import made and what it left out: counts, the first places, and how they are shown.

Covered: counting by reason in bounded memory, `import.json`, the terminal. Not covered: what is in
the data that were made (`derta data check`).
"""

from __future__ import annotations

import re
from bisect import insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from derta import __version__
from derta.data.formats import Kind, Made, Skip
from derta.errors import InputProblem
from derta.terminal import print_hanging, safe

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["SHOWN_PLACES", "ImportReport", "Reason", "SourceReport", "render_import"]

SHOWN_PLACES = 100
"""So many rows left out are named one by one for each reason; the others are only counted."""

_MOST_REASONS = 100
_OTHER_REASONS = "other reasons"
_LONGEST_REASON = 160
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|\([^()]*\)")
_NUMBER = re.compile(r"(?<![\w-])(?:0x[0-9a-f]+|\d+)(?!\w)")
_ROW = re.compile(r"row (\d+)")
_SHOWN_REASONS = 12

_Order = tuple[tuple[str, ...], int]
"""Where a row stands among those of its source: the file, and the line or the row's number."""


@dataclass(slots=True)
class Reason:
    """Why rows of a source were left out, how many, and where the first of them stand."""

    text: str
    """Without what is special about one row."""
    broken: bool
    """Whether they couldn't be read; else they were left out on purpose."""
    rows: int = 0
    _places: list[tuple[_Order, InputProblem]] = field(default_factory=list)

    @property
    def first(self) -> list[InputProblem]:
        """The first `SHOWN_PLACES` rows, in the order of the files."""
        return [place for _, place in self._places]

    def add(self, place: InputProblem) -> None:
        """Count a row; rows of groups don't come in the order of the files."""
        self.rows += 1
        order = _order(place)
        if len(self._places) < SHOWN_PLACES or order < self._places[-1][0]:
            insort(self._places, (order, place), key=itemgetter(0))
            del self._places[SHOWN_PLACES:]

    def to_json(self) -> dict[str, Any]:
        """Give what `import.json` says of it."""
        told = {"reason": self.text, "rows": self.rows, "broken": self.broken}
        return {**told, "first": [self._place_to_json(place) for place in self.first]}

    def _place_to_json(self, place: InputProblem) -> dict[str, Any]:
        told = {"path": place.path, "line": place.line, "key": place.key}
        if place.problem != self.text:
            told["reason"] = place.problem
        if self.broken:
            told["remedy"] = place.remedy
        return {name: value for name, value in told.items() if value is not None}


@dataclass(slots=True)
class SourceReport:
    """What became of the rows of one source."""

    name: str
    format: str
    triples: int = 0
    helpful: int = 0
    limited: bool = False
    """Whether reading stopped at the limit, so that there may be more rows."""
    _reasons: dict[tuple[bool, str], Reason] = field(default_factory=dict)

    @property
    def reasons(self) -> list[Reason]:
        """Why rows were left out, the commonest reason first."""
        return sorted(self._reasons.values(), key=lambda reason: -reason.rows)

    @property
    def left_out(self) -> int:
        """Rows that were left out."""
        return sum(reason.rows for reason in self._reasons.values())

    @property
    def skips(self) -> Counter[str]:
        """Rows left out on purpose, by reason."""
        return Counter({each.text: each.rows for each in self.reasons if not each.broken})

    @property
    def problems(self) -> Counter[str]:
        """Rows that couldn't be read, by reason."""
        return Counter({each.text: each.rows for each in self.reasons if each.broken})

    def count(self, kind: Kind) -> None:
        """Count an example that was made."""
        if kind == "triple":
            self.triples += 1
        else:
            self.helpful += 1

    def skip(self, skip: Skip) -> None:
        """Count a row that was left out on purpose."""
        self._add(skip.place.problem(skip.reason, "Left out"), broken=False)

    def problem(self, problem: InputProblem) -> None:
        """Count a row that couldn't be read."""
        self._add(problem, broken=True)

    def refuse(self, made: Made, key: str | None, problem: str) -> None:
        """Count an example that our own reader would refuse."""
        column = f"{re.split(r'[.[]', key)[0]}: " if key else ""
        self.skip(Skip(column + problem, made.place))

    def _add(self, place: InputProblem, *, broken: bool) -> None:
        """Count a reason without what is special about one row, and not too many of them."""
        text = _NUMBER.sub("N", _QUOTED.sub("...", place.problem))[:_LONGEST_REASON]
        if (broken, text) not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            text = _OTHER_REASONS
        self._reasons.setdefault((broken, text), Reason(text, broken)).add(place)

    def to_json(self) -> dict[str, Any]:
        """Give what `import.json` says of it."""
        return {
            "name": self.name,
            "format": self.format,
            "triples": self.triples,
            "helpful": self.helpful,
            "stopped_at_limit": self.limited,
            "left_out": [reason.to_json() for reason in self.reasons],
        }


@dataclass(slots=True)
class ImportReport:
    """What became of all rows."""

    output: Path
    asked: list[str]
    """The sources as the user named them."""
    sources: list[SourceReport] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file that was written: only such files are replaced by a later import."""

    @property
    def triples(self) -> int:
        """Triples that were written."""
        return sum(source.triples for source in self.sources)

    @property
    def helpful(self) -> int:
        """Helpful examples that were written."""
        return sum(source.helpful for source in self.sources)

    @property
    def made(self) -> int:
        """Examples of both kinds that were written."""
        return self.triples + self.helpful

    @property
    def left_out(self) -> int:
        """Rows of all sources that were left out."""
        return sum(source.left_out for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """Give the content of `import.json`."""
        return {
            "derta": __version__,
            "asked": self.asked,
            "made": {"triples": self.triples, "helpful": self.helpful},
            "left_out": self.left_out,
            "files": self.files,
            "sources": [source.to_json() for source in self.sources],
        }


def _order(place: InputProblem) -> _Order:
    row = _ROW.match(place.key or "")
    return _parts(place.path), place.line or (int(row[1]) if row else 0)


@lru_cache(maxsize=1024)
def _parts(path: str) -> tuple[str, ...]:
    return PurePath(path).parts


# --- the terminal ----------------------------------------------------------------------------


def render_import(report: ImportReport, console: Console) -> None:
    """Show what was made, what was left out and why, and where it lies; no text of the data."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("source", overflow="fold", ratio=1)
    table.add_column("format", no_wrap=True)
    for title in ("triples", "helpful", "left out"):
        table.add_column(title, justify="right", no_wrap=True)
    for source in report.sources:
        counts = (source.triples, source.helpful, source.left_out)
        table.add_row(
            safe(source.name), source.format, *(f"{count:,}" if count else "-" for count in counts)
        )
    console.print(table)
    if any(source.limited for source in report.sources):
        console.print("Reading stopped at --limit; there may be more rows.")
    _render_reasons(report.sources, console)
    console.print()
    for name, count in (("triples.jsonl", report.triples), ("helpful.jsonl", report.helpful)):
        if count:
            console.print(f"{count:>10,}  {safe(str(report.output / name))}", soft_wrap=True)
    console.print(f"            {safe(str(report.output / 'import.json'))}", soft_wrap=True)
    console.print("See what is in them: derta data check", soft_wrap=True)


def _render_reasons(sources: Sequence[SourceReport], console: Console) -> None:
    """Show the reasons of all sources, the commonest first, each with its first place."""
    by_text: dict[tuple[bool, str], list[Reason]] = {}
    for source in sources:
        for reason in source.reasons:
            by_text.setdefault((reason.broken, reason.text), []).append(reason)
    counted = sorted(
        ((sum(each.rows for each in alike), alike[0]) for alike in by_text.values()),
        key=lambda each: -each[0],
    )
    if not counted:
        return
    console.print()
    console.print("Left out, by reason:", style="bold")
    for rows, reason in counted[:_SHOWN_REASONS]:
        print_hanging(console, f"{rows:>10,}  ", reason.text)
        place = reason.first[0]
        remedy = f". {place.remedy}" if reason.broken else ""
        print_hanging(console, " " * 12, f"first: {place.place}{remedy}")
    rest = sum(rows for rows, _ in counted[_SHOWN_REASONS:])
    if rest:
        print_hanging(console, f"{rest:>10,}  ", "for other reasons, which import.json lists")
