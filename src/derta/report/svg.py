"""Small inline SVG charts: lines with interval bands, and bars. No library, no script.

Covers scales, ticks, direct labels that keep clear of each other, title and description. Colours
come from classes, so that one chart serves light and dark; `standalone` writes them into the
picture. Not covered: anything interactive. Units: pixels of the viewBox, origin at top left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from derta.report.colours import LIGHT
from derta.report.markup import Markup, element

__all__ = [
    "Bar",
    "Frame",
    "Point",
    "Series",
    "bar_chart",
    "chart_style",
    "draw_marker",
    "line_chart",
    "nice_ticks",
    "picture",
    "scatter_chart",
    "spread",
    "standalone",
]

_LABEL_GAP = 16.0
_CORNERS = {
    "triangle": ((0.0, -5.5), (5.0, 3.5), (-5.0, 3.5)),
    "down": ((0.0, 5.5), (5.0, -3.5), (-5.0, -3.5)),
    "diamond": ((0.0, -5.5), (5.5, 0.0), (0.0, 5.5), (-5.5, 0.0)),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One measured point with its interval, and the words shown when it is pointed at."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    figure: str = ""
    """Path of the figure that the note says, where a page can be checked against its data."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line; `key` is its class and so its colour and marker."""

    key: str
    label: str
    points: tuple[Point, ...]
    marker: str = ""
    """circle, square, triangle, diamond, down (a triangle on its tip), or empty for none."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with the words beneath and above it."""

    label: str
    value: float
    above: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the plot lies in the picture, and which values its edges stand for."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Map a value to a horizontal pixel."""
        first, last = self.x_range
        share = (value - first) / (last - first) if last > first else 0.5
        return self.left + share * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        """Map a value to a vertical pixel; values outside are held at the edge."""
        first, last = self.y_range
        share = (value - first) / (last - first) if last > first else 0.5
        base = self.height - self.bottom
        return base - min(max(share, 0.0), 1.0) * (base - self.top)


def nice_ticks(largest: float, count: int = 4) -> list[float]:
    """Choose round ticks from 0 to at least `largest`."""
    if not math.isfinite(largest) or largest <= 0:
        return [0.0, 1.0]
    rough = largest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-9))
    return [step * i for i in range(math.ceil(largest / step - 1e-9) + 1)]


def spread(wanted: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Move labels apart to at least `gap`, each as near as may be to where it is wanted."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    floor = low
    for index in order:
        placed[index] = max(wanted[index], floor)
        floor = placed[index] + gap
    ceiling = high
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed


def line_chart(
    series: Sequence[Series],
    frame: Frame,
    *,
    identifier: str,
    title: str,
    description: str,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_label: str,
    corner: str = "",
) -> Markup:
    """Draw lines over their interval bands, each labelled at its end.

    Args:
        series: the lines; empty ones are left out.
        frame: size and scales.
        identifier: unique on the page; ids of title and description begin with it.
        title: what the picture shows, for those who can't see it.
        description: its content in words.
        x_ticks: positions and words.
        y_ticks: the same; each gets a thin rule.
        x_label: what x is.
        corner: words written into the upper right of the plot.
    """
    drawn = [line for line in series if line.points]
    parts = _axes(frame, x_ticks, y_ticks, x_label)
    parts += [_band(line, frame) for line in drawn]
    for line in drawn:
        ordered = sorted(line.points, key=lambda point: point.x)
        path = "L".join(f"{frame.x(p.x):.1f} {frame.y(p.y):.1f}" for p in ordered)
        parts.append(element("path", class_=f"line {line.key}", d="M" + path))
        if line.marker or len(ordered) == 1:
            parts += [_marker(line, point, frame) for point in ordered]
    labelled = [line for line in drawn if line.label]
    ends = [max(line.points, key=lambda point: point.x) for line in labelled]
    base = frame.height - frame.bottom
    right = max((frame.x(end.x) for end in ends), default=0.0) + 10.0
    heights = spread([frame.y(end.y) for end in ends], frame.top, base, _LABEL_GAP)
    for line, height in zip(labelled, heights, strict=True):
        parts.append(
            element("text", line.label, class_=f"label {line.key}", x=right, y=height + 4.5)
        )
    if not drawn:
        middle = (frame.left + frame.width - frame.right) / 2
        parts.append(_tick("no data", middle, (frame.top + base) / 2, "middle"))
    if corner:
        parts.append(
            element(
                "text",
                corner,
                class_="corner",
                x=frame.width - frame.right,
                y=frame.top - 10.0,
                text_anchor="end",
            )
        )
    return picture(parts, frame.width, frame.height, identifier, title, description)


def bar_chart(
    bars: Sequence[Bar],
    *,
    key: str,
    width: float,
    height: float,
    identifier: str,
    title: str,
    description: str,
    x_label: str,
) -> Markup:
    """Draw upright bars of shares, 0 to 1, with their counts above them."""
    frame = Frame(width, height, 8.0, 8.0, 26.0, 44.0, (0.0, float(max(len(bars), 1))), (0.0, 1.0))
    base = frame.height - frame.bottom
    parts = [_rule(frame, base)]
    for index, bar in enumerate(bars):
        left, right = frame.x(index + 0.14), frame.x(index + 0.86)
        middle, top = (left + right) / 2, frame.y(bar.value)
        shape = element(
            "rect",
            element("title", bar.note) if bar.note else None,
            class_=f"bar {key}",
            x=left,
            y=top,
            width=right - left,
            height=max(base - top, 0.0),
        )
        parts += [
            shape,
            _tick(bar.above, middle, top - 6.0, "middle"),
            _tick(bar.label, middle, base + 17.0, "middle"),
        ]
    parts.append(_axis_title(x_label, frame))
    return picture(parts, width, height, identifier, title, description)


def chart_style() -> str:
    """Read the style sheet of charts; it names colours by variable."""
    return resources.files("derta.report").joinpath("chart.css").read_text(encoding="utf-8")


def scatter_chart(
    series: Sequence[Series],
    frame: Frame,
    across: Sequence[tuple[float, float] | None],
    *,
    identifier: str,
    title: str,
    description: str,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_label: str,
) -> Markup:
    """Draw single points with their intervals upwards and sideways, each with its label.

    Args:
        series: one point each; `low` and `high` are of y.
        frame: size and scales.
        across: the interval of x of each; None: unknown.
        identifier: unique on the page.
        title: what the picture shows.
        description: its content in words.
        x_ticks: positions and words.
        y_ticks: the same.
        x_label: what x is.
    """
    parts = _axes(frame, x_ticks, y_ticks, x_label)
    placed = [(line, line.points[0]) for line in series]
    for (line, point), ends in zip(placed, across, strict=True):
        parts.append(_band(line, frame))
        if ends is not None:
            low, high = (frame.x(value) for value in ends)
            height = frame.y(point.y)
            path = f"M{low:.1f} {height:.1f}L{high:.1f} {height:.1f}"
            parts.append(element("path", class_=f"whisker {line.key}", d=path))
    parts += [_marker(line, point, frame) for line, point in placed]
    wanted = [frame.y(point.y) - 9.0 for _, point in placed]
    heights = spread(wanted, frame.top, frame.height - frame.bottom, _LABEL_GAP)
    for (line, point), height in zip(placed, heights, strict=True):
        x = frame.x(point.x)
        # On the side that has more room.
        left = x > (frame.left + frame.width - frame.right) / 2
        place = {"x": x - 9.0 if left else x + 9.0, "text_anchor": "end" if left else "start"}
        parts.append(element("text", line.label, class_=f"label {line.key}", y=height, **place))
    return picture(parts, frame.width, frame.height, identifier, title, description)


def standalone(
    chart: Markup,
    *,
    heading: str,
    note: str,
    width: float,
    height: float,
    more_style: str = "",
    more_colours: Mapping[str, str] | None = None,
) -> str:
    """Make a file of its own from a chart: white ground, its own style, heading above.

    Args:
        chart: what `line_chart` drew with the same width and a top margin for the heading.
        heading: one line above the plot.
        note: a quiet line beneath the heading.
        width: width of the chart.
        height: height of the chart.
        more_style: rules beside those of all charts.
        more_colours: variables of these rules beside `LIGHT`.
    """
    colours = {**LIGHT, **(more_colours or {})}
    rules = chart_style() + more_style
    style = re.sub(r"var\((--[a-z0-9]+)\)", lambda match: colours[match.group(1)], rules)
    ground = element("rect", class_="ground", width=width, height=height, rx=10.0)
    words = [
        element("text", heading, class_="heading", x=28.0, y=40.0),
        element("text", note, class_="tick", x=28.0, y=62.0),
    ]
    opening = chart.index(">") + 1
    tag = chart[: opening - 1] + ' xmlns="http://www.w3.org/2000/svg">'
    tag = tag.replace("<svg ", f'<svg width="{width:.0f}" height="{height:.0f}" ', 1)
    # Title and description stay first, as readers of SVG expect.
    body = chart[opening:]
    split = body.index("</desc>") + len("</desc>")
    return f"{tag}{body[:split]}<style>{style}</style>{ground}{''.join(words)}{body[split:]}\n"


def picture(
    parts: Sequence[Markup],
    width: float,
    height: float,
    identifier: str,
    title: str,
    description: str,
) -> Markup:
    """Put parts into a picture with its title and description."""
    return element(
        "svg",
        element("title", title, id=f"{identifier}-title"),
        element("desc", description, id=f"{identifier}-description"),
        parts,
        class_="chart",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{identifier}-title {identifier}-description",
    )


def _axes(
    frame: Frame,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_label: str,
) -> list[Markup]:
    base = frame.height - frame.bottom
    parts = []
    for value, words in y_ticks:
        height = frame.y(value)
        parts += [_rule(frame, height), _tick(words, frame.left - 8.0, height + 4.0, "end")]
    for value, words in x_ticks:
        parts.append(_tick(words, frame.x(value), base + 19.0, "middle"))
    parts.append(_axis_title(x_label, frame))
    return parts


def _rule(frame: Frame, height: float) -> Markup:
    return element(
        "line", class_="rule", x1=frame.left, x2=frame.width - frame.right, y1=height, y2=height
    )


def _tick(words: str, x: float, y: float, anchor: str) -> Markup:
    return element("text", words, class_="tick", x=x, y=y, text_anchor=anchor)


def _axis_title(words: str, frame: Frame) -> Markup:
    middle = (frame.left + frame.width - frame.right) / 2
    return _tick(words, middle, frame.height - 6.0, "middle")


def _band(line: Series, frame: Frame) -> Markup:
    known = sorted(
        (p for p in line.points if p.low is not None and p.high is not None), key=lambda p: p.x
    )
    above = [f"{frame.x(p.x):.1f} {frame.y(p.high or 0.0):.1f}" for p in known]
    below = [f"{frame.x(p.x):.1f} {frame.y(p.low or 0.0):.1f}" for p in known]
    if len(known) < 2:
        # One point has no area: its interval is a stroke.
        path = f"M{above[0]}L{below[0]}" if known else "M0 0"
        return element("path", class_=f"whisker {line.key}", d=path)
    return element("path", class_=f"band {line.key}", d=f"M{'L'.join([*above, *reversed(below)])}Z")


def _marker(line: Series, point: Point, frame: Frame) -> Markup:
    return draw_marker(line, point, frame.x(point.x), frame.y(point.y))


def draw_marker(line: Series, point: Point, x: float, y: float) -> Markup:
    """Draw a point of a line at a pixel, with its note for those who point at it."""
    figure = point.figure or None
    kind = "note" if figure else None
    words = element("title", point.note, data_figure=figure, data_kind=kind) if point.note else None
    name = f"marker {line.key}"
    if line.marker == "square":
        return element("rect", words, class_=name, x=x - 4.0, y=y - 4.0, width=8.0, height=8.0)
    if line.marker in _CORNERS:
        corners = (f"{x + right:.1f} {y + down:.1f}" for right, down in _CORNERS[line.marker])
        return element("path", words, class_=name, d=f"M{'L'.join(corners)}Z")
    return element("circle", words, class_=name, cx=x, cy=y, r=4.5)
