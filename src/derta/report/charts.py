"""The pictures of the report: what is drawn from which results.

Covers the depth curve, probability by position, where refusals begin, and training logs. How
lines and bars are drawn is in svg.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from derta.report.figures import (
    DASH,
    MODEL_LABELS,
    interval,
    number,
    percent,
)
from derta.report.markup import Markup
from derta.report.schema import Model, ProbabilityCurve, Results, check_results
from derta.report.svg import (
    Bar,
    Frame,
    Point,
    Series,
    bar_chart,
    line_chart,
    nice_ticks,
    standalone,
)

__all__ = [
    "KINDS",
    "begin_bins",
    "begin_chart",
    "depth_chart",
    "depth_figure",
    "log_chart",
    "probability_chart",
    "well_supported",
]

KINDS = {
    "helpful": ("helpful", "helpful"),
    "safe_response": ("safe", "safe response"),
    "refusal_transition": ("transition", "refusal token"),
}
"""Kind of target in the log: its class and its words."""

_MARKERS = {"untouched": "circle", "vanilla": "square", "derta": "triangle"}
_PERCENT_TICKS = [(0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, "100 %")]
_BINS = [(0, 0), (1, 4), (5, 9), (10, 19), (20, 39), (40, None)]


def _depth_series(results: Results) -> list[Series]:
    series = []
    for model in results.models:
        points = []
        for measure in model.prefill:
            share = measure.refused
            if share is None or share.share is None:
                continue
            note = (
                f"{MODEL_LABELS[model.name]}, k = {measure.k}: {percent(share.share)} % refused "
                f"(95 % interval {interval(share.low, share.high)} %, n = {share.n})"
            )
            points.append(Point(measure.k, share.share, share.low, share.high, note))
        series.append(
            Series(model.name, MODEL_LABELS[model.name], tuple(points), _MARKERS[model.name])
        )
    return series


def _describe_depth(results: Results) -> str:
    sentences = []
    for series in _depth_series(results):
        values = ", ".join(f"{percent(p.y)} % at {p.x:.0f}" for p in series.points)
        sentences.append(f"{series.label}: {values or DASH}.")
    return " ".join(sentences) + " Shaded: 95 % intervals."


def depth_chart(
    results: Results,
    *,
    narrow: bool = False,
    heading_height: float = 0.0,
    identifier: str = "depth",
) -> Markup:
    """Draw the share refused against the number of prefilled tokens, a line for each model."""
    series = _depth_series(results)
    depths = sorted({point.x for line in series for point in line.points}) or [0.0]
    frame = Frame(
        width=372 if narrow else 760,
        height=(316 if narrow else 380) + heading_height,
        left=44 if narrow else 68 if heading_height else 52,
        right=104 if narrow else 128,
        top=22 + heading_height,
        bottom=54,
        x_range=(min(depths), max(depths)),
        y_range=(0.0, 1.0),
    )
    return line_chart(
        series,
        frame,
        identifier=identifier,
        title="Share of harmful requests refused, by tokens of the harmful answer already written",
        description=_describe_depth(results),
        x_ticks=[(depth, f"{depth:.0f}") for depth in depths],
        y_ticks=_PERCENT_TICKS,
        x_label=(
            "tokens of the harmful answer in its mouth"
            if narrow
            else "tokens of the harmful answer put into its mouth (k)"
        ),
    )


def depth_figure(results: Mapping[str, Any]) -> str:
    """Draw the depth curve as a file of its own, for the README.

    Args:
        results: the content of a results.json.

    Returns:
        An SVG document on a white ground, readable on light and dark pages.

    Raises:
        ResultsError: the results don't follow the schema.
    """
    checked = check_results(results)
    heading_height = 64.0
    chart = depth_chart(checked, heading_height=heading_height, identifier="depth-figure")
    harmful = checked.test.get("harmful")
    questions = f"{harmful} test questions" if harmful else "test questions"
    smoke = "SMOKE RUN, figures mean nothing. " if checked.budget == "smoke" else ""
    return standalone(
        chart,
        heading="Share of harmful requests refused",
        note=f"{smoke}{checked.base_model or DASH}, {questions}, 95 % intervals shaded",
        width=760.0,
        height=380.0 + heading_height,
    )


def well_supported(curve: ProbabilityCurve, minimum: int) -> ProbabilityCurve:
    """End a curve where fewer than `minimum` responses go on, as those of an evaluation end.

    Late positions rest on the few longest responses; with one of them a bootstrap has no width.

    Args:
        curve: of the results, up to the longest response.
        minimum: responses that a position needs.
    """
    end = next((place for place, n in enumerate(curve.n) if n < minimum), len(curve.n))
    return ProbabilityCurve(
        position=curve.position[:end],
        mean=curve.mean[:end],
        low=curve.low[:end],
        high=curve.high[:end],
        n=curve.n[:end],
    )


def _curve_points(curve: ProbabilityCurve) -> tuple[Point, ...]:
    return tuple(
        Point(position, mean, low, high)
        for position, mean, low, high in zip(
            curve.position, curve.mean, curve.low, curve.high, strict=True
        )
        if mean is not None
    )


def probability_chart(model: Model, last_position: int, *, minimum: int) -> Markup:
    """Draw the mean probability of the refusal token by position, harmful and benign.

    Args:
        model: whose probabilities.
        last_position: right end of the axis, one for all models, in tokens.
        minimum: responses that a position needs.
    """
    found = model.refusal_probability
    harmful = _curve_points(well_supported(found.harmful, minimum)) if found else ()
    benign = _curve_points(well_supported(found.benign, minimum)) if found else ()
    auc = found.auc if found else None
    name = MODEL_LABELS[model.name]
    value = number(auc.value) if auc else DASH
    known = auc is not None and auc.low is not None and auc.high is not None
    within = f" ({number(auc.low)}–{number(auc.high)})" if auc and known else ""
    ticks = [tick for tick in nice_ticks(last_position) if tick <= last_position]
    words = [f"{name}: AUC {value}."]
    for kind, points in (("Harmful", harmful), ("Benign", benign)):
        if points:
            words.append(
                f"{kind} responses: {number(points[0].y, 2)} at the first position, "
                f"{number(points[-1].y, 2)} at position {points[-1].x:.0f}."
            )
    return line_chart(
        [Series("harmful", "harmful", harmful), Series("benign", "benign", benign)],
        Frame(340, 250, 40, 66, 34, 48, (0.0, float(max(last_position, 1))), (0.0, 1.0)),
        identifier=f"probability-{model.name}",
        title=f"Probability of the refusal token by position, {name}",
        description=" ".join(words),
        x_ticks=[(tick, f"{tick:g}") for tick in ticks],
        y_ticks=[(0.0, "0"), (0.5, "0.5"), (1.0, "1")],
        x_label="tokens of the response written",
        corner=f"AUC {value}{within}",
    )


def begin_bins(words: list[int]) -> list[tuple[str, int]]:
    """Count refusals by the number of words before them."""
    return [
        (
            f"{low}+" if high is None else str(low) if low == high else f"{low}–{high}",
            sum(low <= word and (high is None or word <= high) for word in words),
        )
        for low, high in _BINS
    ]


def begin_chart(model: Model) -> Markup:
    """Draw where refusals begin, in words of the generated text before them."""
    words = model.refusal_position.words if model.refusal_position else []
    bins = begin_bins(words)
    name = MODEL_LABELS[model.name]
    return bar_chart(
        [
            Bar(
                label,
                count / len(words) if words else 0.0,
                str(count) if words else DASH,
                f"{count} of {len(words)} refusals have {label} words before them",
            )
            for label, count in bins
        ],
        key=model.name,
        width=340,
        height=190,
        identifier=f"begin-{model.name}",
        title=f"Where refusals begin, {name}",
        description="; ".join(f"{label} words before: {count}" for label, count in bins),
        x_label="words before the refusal",
    )


def log_chart(model: Model, prefix: str) -> Markup:
    """Draw a figure of the training log by step, a line for each kind of target.

    Args:
        model: whose log.
        prefix: "loss" (nats a target) or "refusal_probability" (0 to 1).
    """
    entries = model.training.log if model.training else []
    series = []
    for kind, (key, label) in KINDS.items():
        values = [(entry.step, getattr(entry, f"{prefix}_{kind}")) for entry in entries]
        points = tuple(Point(step, value) for step, value in values if value is not None)
        series.append(Series(key, label, points))
    largest = max((point.y for line in series for point in line.points), default=1.0)
    y_values = [0.0, 0.5, 1.0] if prefix == "refusal_probability" else nice_ticks(largest, 3)
    last = max((entry.step for entry in entries), default=1)
    name = MODEL_LABELS[model.name]
    what = "Loss, nats a target" if prefix == "loss" else "Probability of the refusal token"
    return line_chart(
        series,
        Frame(420, 230, 40, 104, 16, 48, (0.0, float(max(last, 1))), (0.0, y_values[-1])),
        identifier=f"{prefix.replace('_', '-')}-log-{model.name}",
        title=f"{what}, by optimizer step, {name}",
        description=" ".join(
            f"{line.label}: {number(line.points[0].y, 2)} to {number(line.points[-1].y, 2)}."
            for line in series
            if line.points
        )
        or "No data.",
        x_ticks=[(tick, f"{tick:g}") for tick in nice_ticks(last) if tick <= last],
        y_ticks=[(value, f"{value:g}") for value in y_values],
        x_label="optimizer step",
    )
