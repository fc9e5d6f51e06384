"""A training log as pictures of their own: SVG files for a browser or a Markdown page.

Covered: logs of the row methods (losses and probabilities of the refusal token by kind of target)
and of DPO (losses, rewards). Long logs are drawn as means of stretches, with their smallest and
largest values as a band. A value that is no number is left out and counted in the picture. Colours
follow the reader's choice of light or dark. Not covered: the charts of the report page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derta.files import write_atomically
from derta.report.charts import KINDS
from derta.report.colours import DARK, LIGHT
from derta.report.figures import count_text
from derta.report.markup import Markup, element, join
from derta.report.svg import Frame, Point, Series, chart_style, line_chart, nice_ticks

__all__ = ["write_curves"]

_MOST_POINTS = 400
_WIDTH, _PLOT_HEIGHT, _HEADING_HEIGHT, _PANEL_HEADING = 760.0, 330.0, 76.0, 30.0
_LARGEST = 1e15
"""A value beyond it is no loss any more and would leave no room for the others."""
_SMALLEST_LOG = 1e-4
"""Losses below it, in nats, are drawn at it where the axis is logarithmic."""
_LOG_FROM_RATIO = 30.0

Ticks = list[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class _Panel:
    """One plot: its lines, and the words above it."""

    lines: tuple[tuple[str, str, str], ...]
    """Key in the log, class (and so colour), and words of each line."""
    heading: str
    axis: str
    """loss (0 or logarithmic), share (0 to 1) or any (what the values need)."""


_LOSS_HEADING = "nats a target, mean since the log’s line before"
_LOSSES = _Panel(
    tuple((f"loss_{kind}", key, label) for kind, (key, label) in KINDS.items()),
    _LOSS_HEADING,
    "loss",
)
_LOSS = _Panel((("loss", "transition", "loss"),), "nats, mean since the log’s line before", "loss")
_PROBABILITIES = _Panel(
    tuple((f"refusal_probability_{kind}", key, label) for kind, (key, label) in KINDS.items()),
    "mean over the targets of a kind since the log’s line before",
    "share",
)
_ACCURACY = _Panel(
    (("rewards/accuracies", "transition", "pairs in order"),),
    "share of pairs whose safe response has the higher reward",
    "share",
)
_MARGIN = _Panel(
    (("rewards/margins", "transition", "margin"),),
    "reward of the safe response less that of the harmful one, nats",
    "any",
)
_RESPONSES = _Panel(
    (("logps/chosen", "safe", "safe response"), ("logps/rejected", "harmful", "harmful one")),
    "log-probability of a whole response, nats",
    "any",
)


def write_curves(folder: Path, log: Sequence[Mapping[str, float]]) -> list[Path]:
    """Draw a training log into a folder: `losses.svg` and `refusal_probability.svg`.

    A log of DPO gives `losses.svg` and `rewards.svg`. A picture that would be empty is not written.

    Args:
        folder: where the pictures go; it is made if need be.
        log: entries with "step" and, of the other keys, those that are known at that step: the
            `log` of training.json.

    Returns:
        The paths of the pictures that were written.
    """
    entries = _by_step(log)
    dpo = any(key.startswith("rewards/") for _, entry in entries for key in entry)
    by_kind = any(key in entry for _, entry in entries for key, _, _ in _LOSSES.lines)
    what = "by kind of target" if by_kind else "of the pairs" if dpo else "of all targets"
    pictures: list[tuple[str, str, list[_Panel]]] = [
        ("losses", f"Training loss {what}", [_LOSSES if by_kind else _LOSS])
    ]
    if dpo:
        pictures.append(("rewards", "Rewards in DPO", [_ACCURACY, _MARGIN, _RESPONSES]))
    else:
        heading = "Probability of the refusal token by kind of target"
        pictures.append(("refusal_probability", heading, [_PROBABILITIES]))
    written = []
    for name, heading, panels in pictures:
        picture = _draw(name, heading, panels, entries)
        if picture is not None:
            write_atomically(folder / f"{name}.svg", picture)
            written.append(folder / f"{name}.svg")
    return written


# --- from the log to lines -----------------------------------------------------------------


def _by_step(log: Sequence[Mapping[str, float]]) -> list[tuple[float, Mapping[str, float]]]:
    """Order the entries by step; of several at one step, as a resumed run has, the last counts."""
    found: dict[float, Mapping[str, float]] = {}
    for entry in log:
        step = entry.get("step")
        if _is_drawable(step):
            found[float(step)] = entry  # type: ignore[arg-type]  # a number, see above
    return sorted(found.items(), key=lambda pair: pair[0])


def _is_drawable(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < _LARGEST  # type: ignore[arg-type]


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    """Join stretches of points to their means, with their range; the first and last stay."""
    if len(points) <= _MOST_POINTS:
        return tuple(points)
    inner, count = points[1:-1], _MOST_POINTS - 2
    joined = [points[0]]
    for index in range(count):
        stretch = inner[index * len(inner) // count : (index + 1) * len(inner) // count]
        values = [point.y for point in stretch]
        middle = stretch[len(stretch) // 2].x
        mean = math.fsum(values) / len(values)
        joined.append(Point(middle, mean, min(values), max(values)))
    return (*joined, points[-1])


def _mapped(point: Point, scale: Any) -> Point:
    low = None if point.low is None else scale(point.low)
    high = None if point.high is None else scale(point.high)
    return Point(point.x, scale(point.y), low, high)


# --- axes ----------------------------------------------------------------------------------


def _step_ticks(last: float) -> Ticks:
    values = [tick for tick in nice_ticks(last, 5) if tick <= last and tick == int(tick)]
    return [(value, count_text(int(value))) for value in values]


def _linear(low: float, high: float) -> tuple[tuple[float, float], Ticks]:
    """Choose a range of round numbers around the values."""
    spread = high - low
    if spread <= abs(high) * 1e-9:  # all the same
        low, high = min(low, 0.0), max(high, 0.0)
        spread = high - low or 1.0
    step = nice_ticks(spread)[1]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    values = [step * index for index in range(first, last + 1)]
    return (values[0], values[-1]), [(value, _words(value)) for value in values]


def _logarithmic(low: float, high: float) -> tuple[tuple[float, float], Ticks]:
    """Choose powers of ten, or 1, 2 and 5 times these, around the values; in log10."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [(math.log10(m) + d, m * 10.0**d) for d in decades for m in (1, 2, 5)]
    first = max((at for at, _ in fine if at <= math.log10(low) + 1e-9), default=fine[0][0])
    last = min((at for at, _ in fine if at >= math.log10(high) - 1e-9), default=fine[-1][0])
    inside = [(at, value) for at, value in fine if first - 1e-9 <= at <= last + 1e-9]
    if len(inside) > 7:
        every = max(1, len(decades) // 7)
        inside = [
            (at, v) for at, v in inside if at == round(at) and (round(at) - decades[0]) % every == 0
        ]
    return (first, last), [(at, _words(value)) for at, value in inside]


def _words(value: float) -> str:
    text = f"{value + 0.0:.6g}"
    return text.replace("-", "\N{MINUS SIGN}") if "e" not in text else text


# --- drawing -------------------------------------------------------------------------------


def _draw(
    name: str,
    heading: str,
    panels: Sequence[_Panel],
    entries: Sequence[tuple[float, Mapping[str, float]]],
) -> str | None:
    """Draw the panels that have data beneath each other; None if none has."""
    parts: list[Markup] = []
    words: list[str] = []
    top = _HEADING_HEIGHT - _PANEL_HEADING
    for panel in panels:
        drawn = _panel(panel, entries, name)
        if drawn is None:
            continue
        chart, note, description = drawn
        above = element("text", note, class_="tick", x=28.0, y=19.0)
        parts.append(element("g", above, chart, transform=f"translate(0 {top:.0f})"))
        words.append(description)
        top += _PANEL_HEADING + _PLOT_HEIGHT
    if not parts:
        return None
    height = top + 10.0
    picture = element(
        "svg",
        element("title", heading, id=f"{name}-title"),
        element("desc", " ".join(words), id=f"{name}-description"),
        element("style", _style()),
        element("rect", class_="ground", width=_WIDTH, height=height, rx=10.0),
        element("text", heading, class_="heading", x=28.0, y=38.0),
        parts,
        class_="chart",
        width=f"{_WIDTH:.0f}",
        height=f"{height:.0f}",
        viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title {name}-description",
    )
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _panel(
    panel: _Panel, entries: Sequence[tuple[float, Mapping[str, float]]], name: str
) -> tuple[Markup, str, str] | None:
    """Draw one plot; return it with the note above it and its content in words."""
    found: list[tuple[str, str, list[Point]]] = []
    unreadable = 0
    for key, style, label in panel.lines:
        points = []
        for step, entry in entries:
            value = entry.get(key)
            if _is_drawable(value):
                points.append(Point(step, float(value)))  # type: ignore[arg-type]  # a number
            else:
                unreadable += value is not None
        if points:
            found.append((style, label, points))
    if not found:
        return None
    note = panel.heading
    values = [point.y for _, _, points in found for point in points]
    y_range, ticks, logarithmic = _y_axis(panel.axis, values)
    if logarithmic:
        note += "; logarithmic axis"
        floor = 10.0 ** y_range[0]
    drawn = [(style, label, _thinned(points)) for style, label, points in found]
    if any(len(points) > _MOST_POINTS for _, _, points in found):
        note += "; shaded: from the smallest to the largest"
    if unreadable:
        note += f"; {count_text(unreadable)} values that are no numbers are left out"
    if logarithmic:
        drawn = [
            (s, w, tuple(_mapped(p, lambda y: math.log10(max(y, floor))) for p in points))
            for s, w, points in drawn
        ]
    last = max(entries[-1][0], 1.0)
    description = " ".join(
        f"{label}: {_words(points[0].y)} at step {points[0].x:.0f}, "
        f"{_words(points[-1].y)} at step {points[-1].x:.0f}."
        for _, label, points in found
    )
    chart = line_chart(
        [Series(style, label, points) for style, label, points in drawn],
        Frame(
            width=_WIDTH,
            height=_PANEL_HEADING + _PLOT_HEIGHT,
            left=68.0,
            right=128.0,
            top=_PANEL_HEADING + 12.0,
            bottom=54.0,
            x_range=(0.0, last),
            y_range=y_range,
        ),
        identifier=name,
        title="",
        description="",
        x_ticks=_step_ticks(last),
        y_ticks=ticks,
        x_label="optimizer step",
    )
    content = chart[chart.index("</desc>") + len("</desc>") : -len("</svg>")]
    return Markup(content), note, f"{panel.heading}. {description}"


def _y_axis(kind: str, values: Sequence[float]) -> tuple[tuple[float, float], Ticks, bool]:
    """Choose the range of y, its ticks, and whether they are in log10."""
    if kind == "share":
        return (0.0, 1.0), [(tick, _words(tick)) for tick in (0.0, 0.25, 0.5, 0.75, 1.0)], False
    low, high = min(values), max(values)
    if kind == "any":
        return *_linear(low, high), False
    smallest = max(min((v for v in values if v > 0), default=0.0), _SMALLEST_LOG)
    if low >= 0 and high > _LOG_FROM_RATIO * smallest:
        y_range, ticks = _logarithmic(smallest, high)
        if low < smallest * (1 - 1e-9):
            ticks[0] = (ticks[0][0], f"≤{ticks[0][1]}")
        return y_range, ticks, True
    return *_linear(min(low, 0.0), high), False


def _style() -> Markup:
    """Write the charts' style with its colours, and those for dark in place of them."""
    rules = chart_style()
    # Spelt out, as not every reader of SVG knows variables.
    light, dark = (
        re.sub(r"var\((--[a-z]+)\)", lambda match, c=colours: c[match.group(1)], text)  # type: ignore[misc]
        for colours, text in (
            (LIGHT, rules),
            (DARK, "\n".join(line for line in rules.splitlines() if "var(" in line)),
        )
    )
    own = ".chart { width: auto; max-width: 100%; }"
    return join(Markup(f"{light}{own}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"))
