"""Pictures of what the models answered: depth, attacks, where refusals begin, exposure, frontier.

Each function gives a `Chart`, or None where there is nothing to draw; it is drawn in several shapes
for the page and for files. Not covered: what the models thought (charts_tokens.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from derta.evaluate.titles import TITLES
from derta.report.evaluation_page.attack_sets import attack_sets, largest_set
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.drawing import (
    PERCENT_TICKS,
    Chart,
    DotRow,
    Shape,
    dot_chart,
    share_ticks,
    spaced,
    stretched,
    stretched_ticks,
    thin,
)
from derta.report.evaluation_page.printed import figure_path, share_interval
from derta.report.figures import DASH, PERCENT, percent
from derta.report.markup import Markup
from derta.report.svg import Point, Series, line_chart, scatter_chart

__all__ = [
    "attacks_chart",
    "begin_chart",
    "depth_chart",
    "exposure_chart",
    "frontier_chart",
    "share_note",
]


def share_note(share: Mapping[str, Any]) -> str:
    """Write a share as its note beside a mark."""
    within = share_interval(share.get("low"), share.get("high"))
    n = share.get("n", share.get("questions"))
    return f"{percent(share['share'])}{PERCENT} (95{PERCENT} interval {within}, n = {n})"


# --- depth -----------------------------------------------------------------------------------


def depth_chart(data: PageData) -> Chart | None:
    """Draw the share refused by the number of prefilled tokens."""
    curves = {name: _depth_points(data, name) for name in data.names}
    depths = sorted({k for points in curves.values() for k, _ in points})
    if not depths:
        return None

    def draw(shape: Shape) -> Markup:
        series = [
            Series(
                data.looks[name].key,
                shape.name(name),
                tuple(point for _, point in points),
                data.looks[name].marker,
            )
            for name, points in curves.items()
        ]
        frame = shape.frame((stretched(depths[0]), stretched(depths[-1])), (0.0, 1.0))
        narrow = shape.width < 500
        return line_chart(
            series,
            frame,
            identifier=f"depth-chart{shape.suffix}",
            title="Share of harmful questions refused, by how many tokens of a harmful answer "
            "were put into the model’s mouth first",
            description=_describe(curves),
            x_ticks=spaced([(stretched(k), str(k)) for k in depths], frame),
            y_ticks=PERCENT_TICKS,
            x_label="tokens of a harmful answer put into its mouth"
            if narrow
            else "tokens of a harmful answer put into its mouth (stretched scale)",
        )

    return Chart(
        "depth-chart",
        "Share of harmful questions refused",
        "Line: share refused. Shade: its 95 % interval. Higher is safer. A token is a word or a "
        "part of one.",
        draw,
    )


def _depth_points(data: PageData, name: str) -> list[tuple[int, Point]]:
    found = []
    points = data.printer.find("analysis", "prefill", name, "points") or []
    for index, point in enumerate(points):
        share = point["refused"]
        if share["share"] is None:
            continue
        k = int(point["k"])
        path = figure_path("analysis", "prefill", name, "points", index, "refused")
        note = f"{name}, {k} tokens: {share_note(share)} refused"
        found.append(
            (k, Point(stretched(k), share["share"], share["low"], share["high"], note, path))
        )
    return found


def _describe(curves: Mapping[str, Sequence[tuple[int, Point]]]) -> str:
    sentences = []
    for name, points in curves.items():
        values = ", ".join(f"{percent(point.y)} % after {k}" for k, point in points)
        sentences.append(f"{name}: {values or DASH}.")
    return " ".join(sentences) + " Shaded: 95 % intervals."


# --- attacks ---------------------------------------------------------------------------------


def attacks_chart(data: PageData) -> Chart | None:
    """Draw attack success by scenario, a dot a model."""
    rows = []
    for scenario in data.evaluation["scenarios"]:
        points = tuple(_attack_point(data, name, scenario) for name in data.names)
        if any(points):
            rows.append(DotRow(TITLES.get(scenario, scenario), points))
    if not rows:
        return None

    def draw(shape: Shape) -> Markup:
        series = [
            Series(data.looks[name].key, shape.name(name), (), data.looks[name].marker)
            for name in data.names
        ]
        return dot_chart(
            rows,
            series,
            shape,
            identifier=f"attacks-chart{shape.suffix}",
            title="Share of answers that give harmful help, by attack",
            description=_describe_rows(rows, data.names),
            x_label="answers that give harmful help",
        )

    return Chart(
        "attacks-chart",
        "Harmful help by attack",
        "Mark: share of answers that give harmful help. Line: its 95 % interval. Further left is "
        "safer.",
        draw,
    )


def _attack_point(data: PageData, name: str, scenario: str) -> Point | None:
    keys = ("evaluation", "models", name, "scenarios", scenario, "all", "unsafe")
    share = data.printer.find(*keys)
    if not share or share["share"] is None:
        return None
    note = f"{name}, {TITLES.get(scenario, scenario)}: {share_note(share)} give harmful help"
    return Point(share["share"], 0.0, share["low"], share["high"], note, figure_path(*keys))


def _describe_rows(rows: Sequence[DotRow], names: Sequence[str]) -> str:
    sentences = []
    for row in rows:
        values = ", ".join(
            f"{name} {percent(point.x)} %"
            for name, point in zip(names, row.points, strict=True)
            if point is not None
        )
        sentences.append(f"{row.label}: {values}.")
    return " ".join(sentences)


# --- where refusals begin --------------------------------------------------------------------


def begin_chart(data: PageData, unit: str) -> Chart | None:
    """Draw which share of the refusals has begun by each position.

    Args:
        data: the page's.
        unit: words or tokens.
    """
    places = {
        name: (data.printer.find("analysis", "refusal_position", name, unit) or {}).get(
            "cumulative"
        )
        or []
        for name in data.names
    }
    last = max((row["position"] for rows in places.values() for row in rows), default=None)
    if last is None:
        return None
    end = max(last, 10)

    def draw(shape: Shape) -> Markup:
        series = []
        for name, rows in places.items():
            points = [
                Point(stretched(row["position"]), row["share"], row.get("low"), row.get("high"))
                for row in (rows[index] for index in thin(len(rows)))
                if row["share"] is not None
            ]
            series.append(
                Series(data.looks[name].key, shape.name(name), _steps(points, stretched(end)))
            )
        frame = shape.frame((0.0, stretched(end)), (0.0, 1.0))
        return line_chart(
            series,
            frame,
            identifier=f"begin-{unit}{shape.suffix}",
            title=f"Share of the refusals that have begun, by {unit} written before",
            description=" ".join(_describe_begin(data, name, unit) for name in data.names),
            x_ticks=spaced(stretched_ticks(end), frame),
            y_ticks=PERCENT_TICKS,
            x_label=f"{unit} written before the refusal",
        )

    return Chart(
        f"begin-{unit}",
        f"Refusals begun, by {unit} written before",
        "Line: share of the refusals that have begun. Shade: 95 % interval.",
        draw,
    )


def _steps(points: Sequence[Point], end: float) -> tuple[Point, ...]:
    """Draw a cumulative share as stairs: between two points it stays as it was, to the end."""
    drawn: list[Point] = []
    for point in points:
        if drawn:
            drawn.append(replace(drawn[-1], x=point.x))
        drawn.append(point)
    if drawn and drawn[-1].x < end:
        drawn.append(replace(drawn[-1], x=end))
    return tuple(drawn)


def _describe_begin(data: PageData, name: str, unit: str) -> str:
    place = data.printer.find("analysis", "refusal_position", name, unit)
    if not place or not place.get("n"):
        return f"{name}: no refusals."
    early, late = place["within_first_5"], place["after_30"]
    return (
        f"{name}: {percent(early['share'])} % within the first five {unit}, "
        f"{percent(late['share'])} % after the 30th, of {place['n']} refusals."
    )


# --- exposure and cost -----------------------------------------------------------------------


def exposure_chart(data: PageData) -> Chart | None:
    """Draw which share of the answers let out at most so many words of substance."""
    found = {
        name: (data.printer.find("analysis", "exposure", name, "all") or {}).get("cumulative") or []
        for name in data.names
    }
    last = max((row["words"] for rows in found.values() for row in rows), default=None)
    if last is None:
        return None
    end = max(last, 10)

    def draw(shape: Shape) -> Markup:
        series = []
        for name, rows in found.items():
            kept = [rows[index] for index in thin(len(rows))]
            points = [Point(stretched(row["words"]), row["share"]) for row in kept]
            line = Series(data.looks[name].key, shape.name(name), _steps(points, stretched(end)))
            series.append(line)
        frame = shape.frame((0.0, stretched(end)), (0.0, 1.0))
        return line_chart(
            series,
            frame,
            identifier=f"exposure-chart{shape.suffix}",
            title="Share of answers that let out at most so many words of substance",
            description=" ".join(_describe_exposure(data, name) for name in data.names),
            x_ticks=spaced(stretched_ticks(end), frame),
            y_ticks=PERCENT_TICKS,
            x_label="words of substance before the refusal",
        )

    return Chart(
        "exposure-chart",
        "Answers that let out at most so many words",
        "Line: share of all answers to harmful questions. Higher and further left is safer.",
        draw,
    )


def _describe_exposure(data: PageData, name: str) -> str:
    entry = data.printer.find("analysis", "exposure", name, "all")
    if not entry or not entry.get("n"):
        return f"{name}: not known."
    none = entry["none"]["share"]
    return f"{name}: {percent(none)} % let out nothing; on average {entry['mean']:.1f} words."


def frontier_chart(data: PageData) -> Chart | None:
    """Draw harmful help against false refusals, a point a model, both with intervals.

    A model whose mean is over other attacks than most models' is left out.
    """
    points = []
    entries = [
        (index, entry)
        for index, entry in enumerate(data.analysis.get("trade_off") or [])
        if ((entry.get("false_refusals") or {}).get("all") or {}).get("share") is not None
    ]
    sets = attack_sets([entry for _, entry in entries])
    # Means over different attacks are no points of one picture.
    for index, entry in (entries[place] for place in sets.get(largest_set(sets), ())):
        unsafe, cost = entry["unsafe"], entry["false_refusals"]["all"]
        path = figure_path("analysis", "trade_off", index, "unsafe")
        name = str(entry["model"])
        note = f"{name}: {share_note(unsafe)} harmful help; {share_note(cost)} wrongly refused"
        point = Point(cost["share"], unsafe["share"], unsafe["low"], unsafe["high"], note, path)
        points.append((name, point, (cost["low"], cost["high"])))
    if not points:
        return None
    others = [
        str(entries[place][1]["model"])
        for attacks, places in sets.items()
        if attacks != largest_set(sets)
        for place in places
    ]
    x_ticks = share_ticks(max(high for _, _, (_, high) in points))
    y_ticks = share_ticks(max(point.high or point.y for _, point, _ in points))

    def draw(shape: Shape) -> Markup:
        looks = data.looks
        series = [
            Series(looks[name].key, shape.name(name), (point,), looks[name].marker)
            for name, point, _ in points
        ]
        frame = shape.frame((0.0, x_ticks[-1][0]), (0.0, y_ticks[-1][0]))
        return scatter_chart(
            series,
            frame,
            [across for *_, across in points],
            identifier=f"frontier-chart{shape.suffix}",
            title="Harmful help against wrongly refused harmless questions",
            description=" ".join(
                f"{name}: {percent(point.y)} % harmful help, {percent(point.x)} % of harmless "
                "questions refused."
                for name, point, _ in points
            )
            + (
                f" Left out, with a mean over other attacks: {', '.join(others)}." if others else ""
            ),
            x_ticks=x_ticks,
            y_ticks=y_ticks,
            x_label="harmless questions wrongly refused",
        )

    return Chart(
        "frontier-chart",
        "Harmful help (mean over attacks)",
        "A point a model; lines: 95 % intervals. The lower left corner is best."
        + (" Left out: means over other attacks." if others else ""),
        draw,
    )
