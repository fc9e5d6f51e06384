"""What the charts of the page have in common: shapes, scales, thinned curves, rows of dots.

Covered: one chart in several shapes (wide, narrow, a file of its own). Lines and axes are drawn by
derta.report.svg. Not covered: which figures are drawn (charts.py, charts_tokens.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from derta.report.evaluation_page.printed import shortened
from derta.report.markup import Markup, element
from derta.report.svg import Frame, Point, Series, draw_marker, nice_ticks, picture

__all__ = [
    "HALF",
    "NARROW",
    "PERCENT_TICKS",
    "SMALL",
    "WIDE",
    "Chart",
    "DotRow",
    "Shape",
    "curve_points",
    "dot_chart",
    "file_shape",
    "last_position",
    "share_ticks",
    "spaced",
    "stretched",
    "stretched_ticks",
    "thin",
]

PERCENT_TICKS = [(0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, "100 %")]

_FIRST_KEPT = 40
"""No position below it is ever left out of a drawing."""
_MOST_POSITIONS = 120
_LEAST_TEXTS = 5
_STRETCH = 5.0
_HEADING = 64.0


@dataclass(frozen=True, slots=True)
class Shape:
    """Size and margins of a chart, in pixels of its viewBox."""

    suffix: str
    """Of identifiers, so that two shapes of one chart can stand on one page."""
    width: float
    height: float
    left: float
    right: float
    top: float = 22.0
    bottom: float = 54.0
    label: int = 16
    """Characters of a direct label that the right margin has room for."""

    def frame(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> Frame:
        """Lay the scales into the shape."""
        return Frame(
            self.width,
            self.height,
            self.left,
            self.right,
            self.top,
            self.bottom,
            x_range,
            y_range,
        )

    def name(self, text: str) -> str:
        """Shorten a model's name to a direct label."""
        return shortened(text, self.label)


WIDE = Shape("", 760.0, 310.0, 56.0, 150.0)
NARROW = Shape("-narrow", 372.0, 316.0, 44.0, 110.0, label=12)
HALF = Shape("", 372.0, 270.0, 44.0, 110.0, label=12)
SMALL = Shape("", 340.0, 240.0, 40.0, 70.0, top=30.0, label=9)


def file_shape(shape: Shape = WIDE) -> Shape:
    """Give a shape room for a heading above it."""
    return replace(
        shape, suffix="-file", height=shape.height + _HEADING, top=shape.top + _HEADING, left=68.0
    )


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of the page, and of a file."""

    name: str
    """Unique on the page, and the name of its file: letters, digits and -."""
    heading: str
    note: str
    """One line: what the marks are."""
    draw: Callable[[Shape], Markup]
    short: str = ""
    """The heading where charts of the same kind stand beside each other."""


# --- scales ----------------------------------------------------------------------------------


def stretched(value: float) -> float:
    """Map tokens or words to a scale that gives the first ones more room."""
    return math.log2(1 + max(value, 0.0) / _STRETCH)


def stretched_ticks(last: float) -> list[tuple[float, str]]:
    """Choose ticks of a stretched scale up to `last`."""
    values = [0, 5, 10, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000, 10000]
    return [(stretched(value), str(value)) for value in values if value <= max(last, 5)]


def spaced(
    ticks: Sequence[tuple[float, str]], frame: Frame, gap: float = 30.0
) -> list[tuple[float, str]]:
    """Leave out the ticks that would touch the one before; the last one stays."""
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if not kept or frame.x(tick[0]) - frame.x(kept[-1][0]) >= gap:
            kept.append(tick)
    if ticks and kept[-1] != ticks[-1]:
        kept[-1] = ticks[-1]
    return kept


def share_ticks(largest: float) -> list[tuple[float, str]]:
    """Choose ticks of an axis of shares: up to 100 %, or less far where all shares are small."""
    if largest > 0.5:
        return PERCENT_TICKS
    values = nice_ticks(max(0.1, largest))
    return [(value, f"{100 * value:g}" + (" %" if value == values[-1] else "")) for value in values]


# --- curves ----------------------------------------------------------------------------------


def thin(count: int) -> list[int]:
    """Choose which of so many positions are drawn: the first 40 all, then at even steps, the last.

    Returns:
        Indices, ascending.
    """
    if count <= _MOST_POSITIONS:
        return list(range(count))
    step = math.ceil((count - _FIRST_KEPT) / (_MOST_POSITIONS - _FIRST_KEPT))
    return sorted({*range(_FIRST_KEPT), *range(_FIRST_KEPT, count, step), count - 1})


def last_position(curves: Sequence[Mapping[str, Any]]) -> int:
    """Find the last position that at least a tenth of a curve's texts reach, and five of them.

    Beyond it the mean is of a few long texts. A curve of fewer texts is drawn whole.
    """
    last = 1
    for curve in curves:
        counts, positions = curve.get("n") or [], curve.get("position") or []
        if not positions:
            continue
        if not isinstance(counts, Sequence):  # one n for all positions
            last = max(last, positions[-1])
            continue
        least = max(_LEAST_TEXTS, counts[0] / 10) if counts[0] >= _LEAST_TEXTS else 1
        last = max(last, *(p for p, n in zip(positions, counts, strict=True) if n >= least))
    return last


def curve_points(
    curve: Mapping[str, Any], of: str, last: float, scale: Callable[[float], float] = float
) -> tuple[Point, ...]:
    """Make the points of a curve's line and band, thinned.

    Args:
        curve: parallel lists "position", `of`, and perhaps "low" and "high".
        of: which list is y.
        last: positions beyond are left out.
        scale: of y.
    """
    positions = [p for p in curve.get("position") or [] if p <= last]
    values = curve.get(of) or []
    lows, highs = (curve.get(end) or [None] * len(values) for end in ("low", "high"))
    points = []
    for index in thin(len(positions)):
        if values[index] is None:
            continue
        low, high = (None if e is None else scale(e) for e in (lows[index], highs[index]))
        points.append(Point(positions[index], scale(values[index]), low, high))
    return tuple(points)


# --- rows of dots ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DotRow:
    """One row: its words, and a dot with an interval for each series that has one."""

    label: str
    points: tuple[Point | None, ...]
    """`x` is a share; `low` and `high` are of it; in the order of the series. `y` is not used."""


def dot_chart(
    rows: Sequence[DotRow],
    series: Sequence[Series],
    shape: Shape,
    *,
    identifier: str,
    title: str,
    description: str,
    x_label: str,
) -> Markup:
    """Draw shares as rows of dots with their intervals, and what the dots mean above them.

    Args:
        rows: from top to bottom.
        series: the looks; their points are not used.
        shape: width and margins; the height is that of the rows.
        identifier: unique on the page.
        title: what the picture shows, for those who can't see it.
        description: its content in words.
        x_label: what the shares are.
    """
    gap = 12.0
    row_height = max(30.0, gap * len(series) + 8.0)
    left = 150.0 if shape.width > 500 else 112.0
    legend_lines = _legend_lines(series, shape)
    top = shape.top + 20.0 * len(legend_lines)
    height = top + row_height * len(rows) + 40.0
    shown = [point for row in rows for point in row.points if point is not None]
    ticks = share_ticks(max((point.high or point.x for point in shown), default=1.0))
    frame = Frame(shape.width, height, left, 24.0, top, 40.0, (0.0, ticks[-1][0]), (0.0, 1.0))
    base = height - frame.bottom
    parts = []
    for value, words in ticks:
        x = frame.x(value)
        parts.append(element("line", class_="rule", x1=x, x2=x, y1=top, y2=base))
        parts.append(
            element("text", words, class_="tick", x=x, y=base + 17.0, text_anchor="middle")
        )
    for index, row in enumerate(rows):
        middle = top + row_height * (index + 0.5)
        parts.append(
            element(
                "text",
                shortened(row.label, 22 if left > 120 else 17),
                class_="tick",
                x=left - 10.0,
                y=middle + 4.0,
                text_anchor="end",
            )
        )
        for place, (line, point) in enumerate(zip(series, row.points, strict=True)):
            if point is not None:
                y = middle + (place - (len(series) - 1) / 2) * gap
                parts += _dot(line, point, frame, y)
    parts += _legend(legend_lines, shape)
    middle = (left + shape.width - frame.right) / 2
    parts.append(
        element("text", x_label, class_="tick", x=middle, y=height - 6.0, text_anchor="middle")
    )
    return picture(parts, shape.width, height, identifier, title, description)


def _dot(line: Series, point: Point, frame: Frame, y: float) -> list[Markup]:
    parts = []
    if point.low is not None and point.high is not None:
        path = f"M{frame.x(point.low):.1f} {y:.1f}L{frame.x(point.high):.1f} {y:.1f}"
        parts.append(element("path", class_=f"whisker {line.key}", d=path))
    return [*parts, draw_marker(line, point, frame.x(point.x), y)]


def _legend_lines(series: Sequence[Series], shape: Shape) -> list[list[tuple[float, Series]]]:
    """Break the legend into lines that fit."""
    lines: list[list[tuple[float, Series]]] = [[]]
    first = x = max(12.0, shape.left - 36.0)
    for each in series:
        width = 34.0 + 8.8 * len(each.label)
        if lines[-1] and x + width > shape.width:
            lines.append([])
            x = first
        lines[-1].append((x, each))
        x += width
    return lines


def _legend(lines: Sequence[Sequence[tuple[float, Series]]], shape: Shape) -> list[Markup]:
    parts = []
    for row, line in enumerate(lines):
        y = shape.top - 6.0 + 20.0 * row
        for x, each in line:
            parts.append(draw_marker(each, Point(0.0, 0.0), x, y))
            words = element("text", each.label, class_=f"label {each.key}", x=x + 10.0, y=y + 4.5)
            parts.append(words)
    return parts
