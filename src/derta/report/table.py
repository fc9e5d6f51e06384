"""The table of all measures, as rows of figures and as a table for the terminal.

Covers which measures there are and in which order; the page and the terminal share them.
The terminal table needs 80 columns and never wraps there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from derta.report.figures import DASH, MODEL_LABELS, count_text, interval, number, percent
from derta.report.markup import visible_text
from derta.report.schema import Model, Results, Share, check_results

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Cell", "Measure", "curve_text", "measures", "render_table"]

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one model: the figure, its 95 % interval, and how many it rests on."""

    figure: str = DASH
    interval: str = ""
    n: str = ""
    terminal: str = DASH
    """All three in at most 18 characters."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table."""

    group: str
    label: str
    short: str
    """The label in the terminal: at most 20 characters."""
    unit: str
    cells: tuple[Cell, ...]
    """One a model, in the order of the results."""


def measures(results: Results) -> list[Measure]:
    """List all measures of all models; what was not measured is a dash."""
    models = results.models
    depths = sorted({measure.k for model in models for measure in model.prefill})
    harmful = "Harmful requests refused: higher is better"
    benign = "Harmless questions refused: lower is better"
    rows = [
        Measure(
            harmful,
            f"after {k} tokens of harmful answer"
            if k
            else "asked plainly (k\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0)",
            f"refused, k = {k}",
            "%",
            tuple(_share(_prefilled(model, k)) for model in models),
        )
        for k in depths
    ]
    rows.append(
        Measure(
            harmful,
            "as raw text to continue",
            "refused, raw text",
            "%",
            tuple(_share(model.raw_text.refused if model.raw_text else None) for model in models),
        )
    )
    for key, label, short in (
        ("ordinary", "ordinary questions", "falsely: ordinary"),
        ("look_alike", "questions that look dangerous", "falsely: look-alike"),
    ):
        cells = tuple(_share(getattr(model.false_refusals, key, None)) for model in models)
        rows.append(Measure(benign, label, short, "%", cells))
    position = "Where refusals of harmful requests begin"
    rows += [
        Measure(
            position,
            "median of words before the refusal",
            "median words before",
            "",
            tuple(_median(model) for model in models),
        ),
        Measure(
            position,
            "within the first five words",
            "in first five words",
            "%",
            tuple(
                _share(model.refusal_position.within_first_5 if model.refusal_position else None)
                for model in models
            ),
        ),
        Measure(
            "Probability of the refusal token inside a response",
            "harmful told from harmless (AUC)",
            "AUC, P(refusal)",
            "",
            tuple(_auc(model) for model in models),
        ),
        Measure(
            "Loss on held-out helpful responses: lower is better",
            "nats a token",
            "helpful loss, nats",
            "",
            tuple(_loss(model) for model in models),
        ),
        Measure(
            "Loss on held-out helpful responses: lower is better",
            "difference to the untouched model",
            "  minus untouched's",
            "",
            tuple(_loss_difference(model) for model in models),
        ),
    ]
    return rows


def render_table(results: Mapping[str, Any]) -> Table:
    """Build the terminal's table: rows are measures, columns are models.

    Args:
        results: the content of a results.json.

    Returns:
        A rich table, at most 80 columns wide, that does not wrap.

    Raises:
        ResultsError: the results don't follow the schema.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    checked = check_results(results)
    caption = "percent (95 % interval) n; median and loss in their own units"
    if checked.budget == "smoke":
        caption = "SMOKE RUN: tiny n, these figures mean nothing. " + caption
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=Text(caption, style="dim"),
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True, width=20)
    styles = {"derta": "bold"}
    for model in checked.models:
        table.add_column(
            Text(MODEL_LABELS[model.name]),
            justify="right",
            no_wrap=True,
            min_width=18,
            style=styles.get(model.name, ""),
        )
    group = ""
    for measure in measures(checked):
        if group and measure.group != group:
            table.add_row()
        group = measure.group
        table.add_row(Text(measure.short), *(Text(cell.terminal) for cell in measure.cells))
    return table


def curve_text(results: Mapping[str, Any]) -> str:
    """Draw the refusals against k with block characters, a line for each model.

    Raises:
        ResultsError: the results don't follow the schema.
    """
    checked = check_results(results)
    depths = sorted({measure.k for model in checked.models for measure in model.prefill})
    lines = [f"{'prefilled tokens':<20}" + "".join(f"{k:>6}" for k in depths)]
    for model in checked.models:
        shares = [_prefilled(model, k) for k in depths]
        blocks = "".join(
            f"{_BARS[round(share.share * (len(_BARS) - 1))] * 2:>6}"
            if share is not None and share.share is not None
            else f"{DASH:>6}"
            for share in shares
        )
        lines.append(f"{MODEL_LABELS[model.name]:<20}{blocks}")
    return visible_text("\n".join(lines))


def _prefilled(model: Model, k: int) -> Share | None:
    return next((measure.refused for measure in model.prefill if measure.k == k), None)


def _share(share: Share | None) -> Cell:
    if share is None:
        return Cell()
    cell = Cell(percent(share.share), interval(share.low, share.high), str(share.n))
    within = f"({cell.interval})" if cell.interval != DASH else ""
    return replace(cell, terminal=f"{cell.figure:>3} {within:>9} {share.n:>4}")


def _median(model: Model) -> Cell:
    found = model.refusal_position
    if found is None or found.median is None:
        return Cell()
    count = "" if found.n is None else str(found.n)
    return Cell(f"{found.median:g}", "", count, f"{found.median:g}{'':11}{count:>4}")


def _auc(model: Model) -> Cell:
    auc = model.refusal_probability.auc if model.refusal_probability else None
    if auc is None or auc.value is None:
        return Cell()
    counts = ""
    if auc.harmful_responses is not None and auc.benign_responses is not None:
        counts = count_text(auc.harmful_responses + auc.benign_responses)
    return Cell(
        number(auc.value),
        _between(auc.low, auc.high),
        counts,
        _short(auc.value, auc.low, auc.high, signed=False),
    )


def _loss(model: Model) -> Cell:
    loss = model.helpful_loss
    if loss is None or loss.nats is None:
        return Cell()
    return Cell(number(loss.nats), terminal=number(loss.nats))


def _loss_difference(model: Model) -> Cell:
    loss = model.helpful_loss
    if loss is None or loss.difference is None:
        return Cell()
    return Cell(
        number(loss.difference, signed=True),
        _between(loss.low, loss.high),
        "" if loss.responses is None else count_text(loss.responses),
        _short(loss.difference, loss.low, loss.high, signed=True),
    )


def _between(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f"{number(low)}{' to ' if low < 0 else '–'}{number(high)}"


def _short(value: float, low: float | None, high: float | None, *, signed: bool) -> str:
    """Write a figure and its interval in the 18 characters of a column: no leading zeros."""
    written = ""
    for digits, end_digits in ((3, 2), (2, 2), (2, 1), (1, 1), (1, 0)):
        written = number(value, digits, signed=signed).replace("0.", ".", 1)
        if low is None or high is None:
            return written
        ends = [number(end, end_digits).replace("0.", ".", 1) for end in (low, high)]
        written = f"{written} ({', '.join(ends)})"
        if len(written) <= 18:
            break
    return written
