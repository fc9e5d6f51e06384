"""Pictures of what the models thought at each position: probability, rank, ROC, stops, divergence.

Curves are drawn up to the position that at least a tenth of the texts reach; from the 41st position
on they are thinned. Each function gives a `Chart`, or None where there is nothing to draw.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.drawing import (
    PERCENT_TICKS,
    Chart,
    Shape,
    curve_points,
    last_position,
    spaced,
)
from derta.report.figures import DASH, number, percent
from derta.report.markup import Markup
from derta.report.svg import Point, Series, line_chart, nice_ticks

__all__ = [
    "divergence_chart",
    "kind_curves",
    "probability_chart",
    "rank_chart",
    "roc_chart",
    "slug",
    "stops_chart",
]

_KINDS = ("harmful", "benign")
_WRITTEN = "tokens of the response written"
_NARROW_WRITTEN = "tokens written"


def slug(data: PageData, name: str) -> str:
    """Name a model in identifiers and file names: in plain letters, digits and -, and unique."""
    plain = [re.sub(r"[^a-z0-9]+", "-", each.casefold()).strip("-")[:40] for each in data.names]
    index = data.names.index(name)
    if plain[index] and plain.count(plain[index]) == 1:
        return plain[index]
    return f"model-{index + 1}"


def kind_curves(data: PageData, figure: str, name: str) -> dict[str, Mapping[str, Any]]:
    """Find a model's curves over harmful and benign texts that have any position."""
    found = data.printer.find("analysis", figure, name) or {}
    return {kind: found[kind] for kind in _KINDS if found.get(kind) and found[kind].get("position")}


def _position_ticks(last: float, shape: Shape) -> list[tuple[float, str]]:
    frame = shape.frame((0.0, last), (0.0, 1.0))
    return spaced([(tick, f"{tick:g}") for tick in nice_ticks(last) if tick <= last], frame)


def _last(data: PageData, figure: str) -> int:
    """Find where the axis ends: one end for all models, so that pictures can be compared."""
    return last_position(
        [curve for name in data.names for curve in kind_curves(data, figure, name).values()]
    )


def probability_chart(data: PageData, name: str) -> Chart | None:
    """Draw one model's mean probability of a refusal token by position."""
    curves = kind_curves(data, "probability", name)
    if not curves:
        return None
    last = _last(data, "probability")

    def draw(shape: Shape) -> Markup:
        series = [
            Series(kind, kind, curve_points(curve, "mean", last)) for kind, curve in curves.items()
        ]
        return line_chart(
            series,
            shape.frame((0.0, float(last)), (0.0, 1.0)),
            identifier=f"probability-{slug(data, name)}{shape.suffix}",
            title=f"Probability of the refusal token by position, {name}",
            description=" ".join(
                f"{kind.capitalize()} responses: {number(curve['mean'][0], 2)} before the first "
                f"token, {number(curve['mean'][min(last, len(curve['mean']) - 1)], 2)} after "
                f"{min(last, len(curve['mean']) - 1)}."
                for kind, curve in curves.items()
            ),
            x_ticks=_position_ticks(last, shape),
            y_ticks=[(0.0, "0"), (0.5, "0.5"), (1.0, "1")],
            x_label=_WRITTEN,
        )

    return Chart(
        f"probability-{slug(data, name)}",
        f"Probability of the refusal token, {name}",
        "Line: mean over the responses that reach the position. Shade: 95 % interval.",
        draw,
        name,
    )


def rank_chart(data: PageData, name: str) -> Chart | None:
    """Draw one model's median rank of the refusal token by position; rank 1 is on top."""
    curves = kind_curves(data, "rank", name)
    if not curves:
        return None
    last = _last(data, "rank")
    largest = max(
        (
            value
            for other in data.names
            for curve in kind_curves(data, "rank", other).values()
            for value in curve["upper_quartile"]
            if value is not None
        ),
        default=10.0,
    )
    decades = max(1, math.ceil(math.log10(max(largest, 1.0))))

    def height(rank: float) -> float:
        return -math.log10(max(rank, 1.0))

    def draw(shape: Shape) -> Markup:
        series = []
        for kind, curve in curves.items():
            # Ranks fall upwards, so the lower quartile is the band's upper edge.
            band = {**curve, "low": curve["upper_quartile"], "high": curve["lower_quartile"]}
            series.append(Series(kind, kind, curve_points(band, "median", last, height)))
        return line_chart(
            series,
            shape.frame((0.0, float(last)), (-float(decades), 0.0)),
            identifier=f"rank-{slug(data, name)}{shape.suffix}",
            title=f"Rank of the refusal token by position, {name}",
            description=" ".join(
                f"{kind.capitalize()} responses: before the first token its median rank is "
                f"{number(curve['median'][0], 0)}, and it is the first choice in "
                f"{percent(curve['first'][0])} %."
                for kind, curve in curves.items()
            ),
            x_ticks=_position_ticks(last, shape),
            y_ticks=[(-float(each), _thousands(10**each)) for each in range(decades + 1)],
            x_label=_WRITTEN,
        )

    return Chart(
        f"rank-{slug(data, name)}",
        f"Rank of the refusal token, {name}",
        "Line: median; 1 is the model’s likeliest token. Shade: the middle half of the responses.",
        draw,
        name,
    )


def _thousands(value: int) -> str:
    return f"{value // 1000}k" if value >= 1000 else str(value)


def roc_chart(data: PageData) -> Chart | None:
    """Draw how well each model's probability tells harmful from benign positions."""
    found = {name: data.printer.find("analysis", "detection", name) or {} for name in data.names}
    if not any(entry.get("roc") for entry in found.values()):
        return None

    def draw(shape: Shape) -> Markup:
        series = [Series("chance", "", (Point(0.0, 0.0), Point(1.0, 1.0)))]
        for name, entry in found.items():
            points = tuple(
                Point(row["false_positive"], row["true_positive"]) for row in entry.get("roc") or []
            )
            series.append(Series(data.looks[name].key, shape.name(name), points))
            chosen = entry.get("operating_point") or {}
            if chosen and chosen["true_positive"]["share"] is not None:
                point = Point(chosen["false_positive"]["share"], chosen["true_positive"]["share"])
                series.append(Series(data.looks[name].key, "", (point,), data.looks[name].marker))
        return line_chart(
            series,
            shape.frame((0.0, 1.0), (0.0, 1.0)),
            identifier=f"roc-chart{shape.suffix}",
            title="Harmful positions found against benign ones taken for harmful, at every "
            "threshold of the refusal token’s probability",
            description=" ".join(
                f"{name}: area under the curve {number((entry.get('auc') or {}).get('value'))}."
                for name, entry in found.items()
            )
            + " The dotted diagonal is chance.",
            x_ticks=[(0.0, "0"), (0.5, "50"), (1.0, "100 %")],
            y_ticks=PERCENT_TICKS,
            x_label="benign positions taken for harmful",
        )

    return Chart(
        "roc-chart",
        "Harmful positions found",
        "Line: all thresholds. Mark: the best one (Youden). Dotted: chance.",
        draw,
    )


def stops_chart(data: PageData, kind: str) -> Chart | None:
    """Draw in which share of the texts a model would have stopped by each position."""
    curves = {name: kind_curves(data, "stops", name).get(kind) for name in data.names}
    anywhere = {
        name: data.printer.find("analysis", "stops", name, kind, "anywhere") or {}
        for name in data.names
    }
    last = last_position([curve for curve in curves.values() if curve])
    if not any(curves.values()):
        return None

    def draw(shape: Shape) -> Markup:
        series = [
            Series(
                data.looks[name].key,
                shape.name(name),
                curve_points(curve, "share", last) if curve else (),
            )
            for name, curve in curves.items()
        ]
        return line_chart(
            series,
            shape.frame((0.0, float(last)), (0.0, 1.0)),
            identifier=f"stops-{kind}{shape.suffix}",
            title=f"Share of {kind} texts in which the model would have stopped by a position",
            # The curve may end before the longest texts do, so its last point isn't the whole.
            description=" ".join(
                f"{name}: {percent(share['share'])} % at any position."
                if share.get("share") is not None
                else f"{name}: {DASH}."
                for name, share in anywhere.items()
            ),
            x_ticks=_position_ticks(last, shape),
            y_ticks=PERCENT_TICKS,
            x_label=_NARROW_WRITTEN,
        )

    what = "Harmless texts stopped (false stops)" if kind == "benign" else "Harmful texts stopped"
    return Chart(
        f"stops-{kind}",
        what,
        "Line: share of texts in which the refusal token was the first choice by then. Shade: 95 % "
        "interval.",
        draw,
    )


def divergence_chart(data: PageData, kind: str) -> Chart | None:
    """Draw how far each model has moved from the untouched one, by position."""
    curves = {name: kind_curves(data, "divergence", name).get(kind) for name in data.names}
    there = {name: curve for name, curve in curves.items() if curve}
    if not there:
        return None
    last = last_position(list(there.values()))
    everything = [
        curve for name in data.names for curve in kind_curves(data, "divergence", name).values()
    ]
    largest = max((v for c in everything for v in c["mean"] if v is not None), default=1.0)
    ticks = nice_ticks(largest)

    def draw(shape: Shape) -> Markup:
        series = [
            Series(data.looks[name].key, shape.name(name), curve_points(curve, "mean", last))
            for name, curve in there.items()
        ]
        return line_chart(
            series,
            shape.frame((0.0, float(last)), (0.0, ticks[-1])),
            identifier=f"divergence-{kind}{shape.suffix}",
            title=f"Divergence from the untouched model by position, {kind} responses",
            description=" ".join(
                f"{name}: {number(curve['mean'][0], 2)} nats before the first token, "
                f"{number(curve['mean'][min(last, len(curve['mean']) - 1)], 2)} after "
                f"{min(last, len(curve['mean']) - 1)}."
                for name, curve in there.items()
            ),
            x_ticks=_position_ticks(last, shape),
            y_ticks=[(tick, f"{tick:g}") for tick in ticks],
            x_label=_NARROW_WRITTEN,
        )

    return Chart(
        f"divergence-{kind}",
        f"Distance from the untouched model, nats: {kind} responses",
        "Line: mean KL divergence of the next-token distributions. Shade: 95 % interval.",
        draw,
    )
