"""What a mix holds and what it left out: for mix.json and for the terminal.

Covered: counts, and how much text of each kind is trained on. Not covered: lengths in tokens, which
need a model (`derta data check --model`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from derta import __version__
from derta.data.mixing.plan import Fate
from derta.errors import InputProblem
from derta.terminal import safe

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["KINDS", "MixReport", "count_reasons", "render_mix"]

KINDS = ("triples", "helpful")
_REASONS = {
    Fate.HELD_OUT: "held-out questions",
    Fate.DUPLICATE: "prompts that came before",
    Fate.CONTRADICTORY: "prompts both harmful and helpful",
    Fate.OTHER_LANGUAGE: "in other languages",
    Fate.OVER_LIMIT: "over the limit of their source",
    Fate.NOT_NEEDED: "not drawn",
}
_SHOWN_SOURCES = 12


def _by_kind(kind_of_value: Any) -> Any:
    return {kind: kind_of_value() for kind in KINDS}


@dataclass(slots=True)
class MixReport:
    """What was written into a folder, and what of the sources was not."""

    output: str
    triples: int = 0
    helpful: int = 0
    look_alikes: int = 0
    """Helpful rows whose category is look-alike."""
    languages: dict[str, Counter[str]] = field(default_factory=lambda: _by_kind(Counter))
    """Rows by kind and language; empty where no shares of languages were asked for."""
    sources: dict[str, Counter[str]] = field(default_factory=lambda: _by_kind(Counter))
    """Rows by kind and source."""
    left_out: dict[str, dict[str, int]] = field(default_factory=lambda: _by_kind(dict))
    """Usable rows by kind and reason."""
    unusable: dict[str, int] = field(default_factory=lambda: _by_kind(int))
    """Rows that can't be read or lack something."""
    problems: list[str] = field(default_factory=list)
    """What is wrong with the first of them."""
    openings: Counter[str] = field(default_factory=Counter)
    """How safe responses began; empty unless openings were to be rewritten."""
    characters: Counter[str] = field(default_factory=Counter)
    """Of all texts in a column."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file that was written: only such files are replaced by a later mix."""

    @property
    def ratio(self) -> float | None:
        """Helpful rows for each safety row, a triple being two."""
        return self.helpful / (2 * self.triples) if self.triples else None

    def note_problem(self, kind: str, problem: InputProblem, most: int) -> None:
        """Count a row that can't be used, and keep what is wrong with the first ones."""
        self.unusable[kind] += 1
        if len(self.problems) < most:
            self.problems.append(str(problem))

    def count_fates(self, kind: str, counts: Sequence[int]) -> None:
        """Take over how many rows were left out, by `Fate`."""
        self.left_out[kind] = count_reasons(counts)

    def to_json(self, settings: Mapping[str, Any]) -> str:
        """Write all of it, with what was asked for."""
        # asdict would rebuild a Counter of its pairs, counting them.
        names = [each.name for each in fields(self) if each.name != "output"]
        counted = {name: getattr(self, name) for name in names}
        content = {"derta": __version__, "settings": settings, "ratio": self.ratio, **counted}
        return json.dumps(content, indent=2, ensure_ascii=False)


def count_reasons(counts: Sequence[int]) -> dict[str, int]:
    """Name why usable rows were left out, with how many; `counts` are by `Fate`."""
    return {reason: counts[fate] for fate, reason in _REASONS.items() if counts[fate]}


def render_mix(report: MixReport, console: Console) -> None:
    """Print what was written, what was left out, and what the mix comes to."""

    def say(text: str) -> None:
        console.print(safe(text))

    say(f"{report.triples:,} triples and {report.helpful:,} helpful rows are in {report.output}")
    if report.ratio is not None and report.helpful:
        say(f"  helpful : safety rows = {report.ratio:.3g} : 1 (a triple counts two)")
    if report.helpful:
        say(f"  look-alikes: {report.look_alikes:,} ({report.look_alikes / report.helpful:.0%})")
    for kind in KINDS:
        for what, counts in (("language", report.languages), ("source", report.sources)):
            listed = [f"{name} {n:,}" for name, n in counts[kind].most_common(_SHOWN_SOURCES)]
            more = len(counts[kind]) - len(listed)
            if listed:
                say(f"  {kind} by {what}: {', '.join(listed)}" + (f", {more} more" if more else ""))
        reasons = dict(report.left_out[kind])
        if report.unusable[kind]:
            reasons["can't be used"] = report.unusable[kind]
        if reasons:
            say(f"  {kind} left out: {sum(reasons.values()):,}")
        for reason, count in reasons.items():
            say(f"    {count:>7,}  {reason}")
    if report.problems:
        say("  the first rows that can't be used (more in mix.json):")
    for problem in report.problems[:3]:
        say(f"    {problem}")
    if report.openings:
        listed = [f"{name} {count:,}" for name, count in report.openings.most_common()]
        say(f"  safe responses: {', '.join(listed)}")
    harmful, helpful = report.characters["rejected"], report.characters["completion"]
    if harmful and helpful:
        say(
            f"  text under refusal targets : under helpful ones = {harmful / helpful:.2g} : 1, in "
            "characters, before rows.kept_share"
        )
