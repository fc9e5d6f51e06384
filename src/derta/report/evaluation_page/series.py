"""How each model looks in pictures and tables: colour, dashes and marker, never colour alone.

Covers any number of models; from the ninth on looks repeat and only the label tells them apart.
Not covered: lines of harmful and benign texts, which derta.report.colours has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["SERIES_DARK", "SERIES_LIGHT", "Look", "series_looks", "series_style"]

# Each has a contrast of at least 4.5 : 1 to its paper, as the colours of derta.report.colours.
SERIES_LIGHT = {
    "--s0": "#0068a6",
    "--s1": "#bd5200",
    "--s2": "#6b6f75",
    "--s3": "#00795a",
    "--s4": "#a2437d",
    "--s5": "#7d6200",
    "--s6": "#6650c4",
    "--s7": "#b8322a",
}
SERIES_DARK = {
    "--s0": "#5cb8ec",
    "--s1": "#ee9a3a",
    "--s2": "#a9aeb6",
    "--s3": "#3cc39b",
    "--s4": "#df93bd",
    "--s5": "#d3b95c",
    "--s6": "#b0a3f2",
    "--s7": "#f28d80",
}

_DASHES = ("", "8 4", "2 4", "10 3 2 3", "14 5", "5 3", "1 4", "9 2 2 2 2 2")
_MARKERS = ("triangle", "square", "circle", "diamond", "down", "circle", "square", "triangle")
_ROLES = {"derta": 0, "vanilla": 1, "untouched": 2}
"""These three look as they do on the quickstart's page."""


@dataclass(frozen=True, slots=True)
class Look:
    """A model's class in style sheets, and its marker."""

    key: str
    marker: str


def series_looks(names: Sequence[str], methods: Mapping[str, str]) -> dict[str, Look]:
    """Give each model a look: the roles that the quickstart knows first, the others in order.

    Args:
        names: the models.
        methods: model -> how it was trained, where that is known.
    """
    chosen: dict[str, int] = {}
    for name in names:
        place = _ROLES.get(methods.get(name, ""))
        if place is not None and place not in chosen.values():
            chosen[name] = place
    free = [place for place in range(len(_DASHES)) if place not in chosen.values()]
    others = [name for name in names if name not in chosen]
    for index, name in enumerate(others):
        chosen[name] = free[index] if index < len(free) else index % len(_DASHES)
    return {name: Look(f"s{chosen[name]}", _MARKERS[chosen[name]]) for name in names}


def series_style() -> str:
    """Write the style rules of all looks; colours are variables."""
    rules = []
    for index, dashes in enumerate(_DASHES):
        key, colour = f"s{index}", f"var(--s{index})"
        dash = f" stroke-dasharray: {dashes};" if dashes else ""
        rules.append(f".line.{key} {{ stroke: {colour};{dash} }}")
        rules.append(f".whisker.{key} {{ stroke: {colour}; }}")
        rules.append(f".label.{key}, .marker.{key}, .band.{key}, .bar.{key} {{ fill: {colour}; }}")
        rules.append(f".name.{key} {{ color: {colour}; }}")
    rules.append(".line.chance { stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 2 4; }")
    rules.append(".label.chance { fill: var(--quiet); font-weight: 400; }")
    return "\n".join(rules) + "\n"
