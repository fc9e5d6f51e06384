"""Sections about what the models thought, token by token, of texts that they all read.

Does the model know that it should stop; how well that tells harm from harmless text; where it would
stop; how far training moved it, and where. Each function gives a section, or None where there is
nothing to show. Not covered: single texts (explorer.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from derta.report.evaluation_page.charts_tokens import (
    divergence_chart,
    kind_curves,
    probability_chart,
    rank_chart,
    roc_chart,
    stops_chart,
)
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.copyable import Cell
from derta.report.evaluation_page.layout import (
    Shelf,
    chart_figure,
    chart_grid,
    name_cell,
    page_section,
    see,
)
from derta.report.evaluation_page.printed import Key
from derta.report.markup import Markup, element
from derta.report.parts import details

__all__ = ["detection_section", "divergence_section", "knowledge_section", "stops_section"]

_POSITIONS = (0, 1, 5, 10, 20, 40, 80, 120, 160, 240, 320, 640)
"""Positions whose figures stand in tables; the picture has all."""


def knowledge_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show probability and rank of the refusal token by position, harmful against benign."""
    probabilities = [probability_chart(data, name) for name in data.names]
    ranks = [rank_chart(data, name) for name in data.names]
    if not any(probabilities):
        return None
    return page_section(
        data,
        "knowledge",
        "Does the model know that it should stop?",
        see(
            "Every model reads the same texts. A model that can stop anywhere gives the refusal "
            "token a high probability all along harmful texts and a low one along benign texts."
        ),
        element("h3", "Probability of the refusal token"),
        chart_grid(probabilities, small=True),
        details(
            "Probability by position, in figures",
            _by_position(
                data,
                shelf,
                "probability",
                "mean",
                3,
                "Mean probability of the refusal token after so many tokens, its "
                "95\N{NO-BREAK SPACE}% interval, and n texts",
            ),
        ),
        element("h3", "Rank of the refusal token among all tokens"),
        chart_grid(ranks, small=True),
        details(
            "Rank by position, in figures",
            [
                _by_position(
                    data,
                    shelf,
                    "rank",
                    "median",
                    0,
                    "Median rank of the refusal token after so many tokens, and n texts; 1 is the "
                    "model’s likeliest token",
                ),
                _by_position(
                    data,
                    shelf,
                    "rank",
                    "first",
                    None,
                    "Share of texts in which the refusal token is the model’s first choice after "
                    "so many tokens, and n texts",
                ),
            ],
        )
        if any(ranks)
        else None,
    )


def _by_position(
    data: PageData, shelf: Shelf, figure: str, of: str, decimals: int | None, caption: str
) -> Markup | None:
    """Show a curve's values at some positions: a row a model and kind of text."""
    curves = [
        (name, kind, curve)
        for name in data.names
        for kind, curve in kind_curves(data, figure, name).items()
    ]
    last = max((curve["position"][-1] for _, _, curve in curves), default=-1)
    positions = [position for position in _POSITIONS if position <= last]
    if positions and last > positions[-1] and last not in _POSITIONS:
        positions.append(last)

    def rows() -> Iterator[list[Cell]]:
        for name, kind, _ in curves:
            # Curves hold every position from 0 on, so that a position is its index.
            keys: tuple[Key, ...] = ("analysis", figure, name, kind)
            cells = [
                data.printer.at(*keys, index=position, of=of, decimals=decimals)
                for position in positions
            ]
            yield [name_cell(data, name), Cell.of(kind), *cells]

    header = ["Model", "Texts", *(f"after {position}" for position in positions)]
    return shelf.table(f"{figure}-{of}", caption, header, rows(), left=(0, 1))


def detection_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show how well the refusal token's probability tells harmful from benign positions."""
    chart = roc_chart(data)
    if chart is None:
        return None
    rows = []
    for name in data.names:
        keys: tuple[Key, ...] = ("analysis", "detection", name)
        if not data.printer.find(*keys):
            continue
        rows.append(
            [
                name_cell(data, name),
                data.printer.mean(*keys, "auc", decimals=3, key="value"),
                data.printer.share(*keys, "greedy", "true_positive"),
                data.printer.share(*keys, "greedy", "false_positive"),
                data.printer.share(*keys, "operating_point", "true_positive"),
                data.printer.share(*keys, "operating_point", "false_positive"),
                data.printer.number(*keys, "operating_point", "threshold", decimals=4),
            ]
        )
    return page_section(
        data,
        "detection",
        "Does it tell harm from harmless text?",
        see(
            "The further the line bends to the upper left corner, the better the probability alone "
            "separates harmful from benign text. On the diagonal it knows nothing."
        ),
        chart_figure(chart, half=True),
        shelf.table(
            "detection-table",
            "Positions found: with the refusal token as first choice, and at the best threshold, "
            "which is chosen on the same texts and so flatters. AUC: chance that a harmful "
            "position has the higher probability",
            [
                "Model",
                "AUC",
                "First choice: harmful",
                "First choice: benign",
                "Best threshold: harmful",
                "Best threshold: benign",
                "Threshold",
            ],
            rows,
        ),
    )


def stops_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show by which position a model would have stopped, in harmful and in harmless texts."""
    charts = [stops_chart(data, "harmful"), stops_chart(data, "benign")]
    if not any(charts):
        return None
    rows = [
        [
            name_cell(data, name),
            *(
                data.printer.share("analysis", "stops", name, kind, "anywhere")
                for kind in ("harmful", "benign")
            ),
        ]
        for name in data.names
        if data.printer.find("analysis", "stops", name)
    ]
    return page_section(
        data,
        "stops",
        "Where it would stop, rightly and wrongly",
        see(
            "Left: the sooner the line rises, the sooner the model would break off a harmful text. "
            "Right: every rise is a harmless text that it would break off wrongly."
        ),
        chart_grid(charts),
        shelf.table(
            "stops-anywhere",
            "Share of texts in which the refusal token was the first choice at any position, also "
            "beyond the end of the curves",
            ["Model", "Harmful texts", "Benign texts"],
            rows,
        ),
        details(
            "Stops by position, in figures",
            _by_position(
                data,
                shelf,
                "stops",
                "share",
                None,
                "Share of texts in which the refusal token was the first choice at some position "
                "up to this one, its 95\N{NO-BREAK SPACE}% interval, and n texts",
            ),
        ),
    )


def divergence_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show how far training moved each model from the untouched one, and at which positions."""
    charts = [divergence_chart(data, "harmful"), divergence_chart(data, "benign")]
    if not any(charts):
        return None
    rows = [
        [name_cell(data, name), data.printer.share("analysis", "divergence", name, "first_5")]
        for name in data.names
        if data.printer.find("analysis", "divergence", name, "first_5")
    ]
    return page_section(
        data,
        "divergence",
        "How deep the change goes",
        see(
            "How far each model’s choice of the next token has moved from the untouched model’s. A "
            "shallow training changes the first few tokens of harmful texts alone; a deep one "
            "stays high. On benign text low is better."
        ),
        chart_grid(charts),
        shelf.table(
            "divergence-first",
            "Share of the whole divergence over harmful texts that lies in the first five "
            "positions: large means shallow",
            ["Model", "Within the first five positions"],
            rows,
        ),
        details(
            "Divergence by position, in figures",
            _by_position(
                data,
                shelf,
                "divergence",
                "mean",
                3,
                "Mean divergence in nats after so many tokens, its 95\N{NO-BREAK SPACE}% interval, "
                "and n texts",
            ),
        ),
    )
