"""The main figures of `derta analyse` for a terminal of 80 columns, three models side by side.

Covered: one screen; every figure with its 95 % interval and n, and everything that is missing by
name. Not covered: curves and texts, which are on the page (`derta.report.evaluation_page`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from derta.report.evaluation_table import figure
from derta.report.figures import DASH, number
from derta.terminal import safe, visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["analysis_rows", "print_analysis"]

_MODELS_BESIDE = 3
_LABEL_WIDTH, _CELL_WIDTH = 20, 19
"""With a column between them just 80."""

_EXPLAINED = (
    "Refusals begin: of refused answers to harmful questions, how many began within the first 5 "
    "words, and how many after 30 or more. Prefilled: refusals after so many tokens of a harmful "
    "answer. ROC area: how well P(refusal) tells harmful from benign positions (50: not at all). "
    "False stops: benign texts in which a refusal was the first choice at any position. Change: "
    "the share of all divergence from the first model that lies in the first 5 tokens (large: "
    "shallow). Exposed: words of substance in an answer before it refuses."
)


def analysis_rows(
    analysis: Mapping[str, Any], models: Sequence[str]
) -> list[tuple[str, list[str | None]]]:
    """Write the main figures of an analysis.

    Args:
        analysis: what `derta.analysis.analyse.analyse` gives.
        models: names of those that stand side by side.

    Returns:
        (label, one cell a model); a cell is None where a model has no such figure.
    """
    deepest = _deepest(analysis, models)
    prefilled = "prefilled, refused" if deepest is None else f"refused at k = {deepest}"
    rows = [
        ("refusals: in 5 words", [_place(analysis, name, "within_first_5") for name in models]),
        ("refusals: after 30", [_place(analysis, name, "after_30") for name in models]),
        (prefilled, [_prefilled(analysis, name, deepest) for name in models]),
        ("ROC area, %", [_area(analysis, name) for name in models]),
        ("false stops", [_false_stops(analysis, name) for name in models]),
        ("change in 5 tokens", [_change(analysis, name) for name in models]),
        ("exposed words, mean", [_exposed(analysis, name) for name in models]),
    ]
    return [(label, cells) for label, cells in rows if any(cell is not None for cell in cells)]


def print_analysis(analysis: Mapping[str, Any], console: Console, *, smoke: bool = False) -> None:
    """Print the table, how it is read, and all that is missing.

    Args:
        analysis: the content of analysis.json; "notes" says what is missing.
        console: where to.
        smoke: whether the evaluation was a smoke run.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    names = [str(name) for name in analysis["models"]]
    for start in range(0, len(names), _MODELS_BESIDE):
        beside = names[start : start + _MODELS_BESIDE]
        table = Table(
            box=box.SIMPLE_HEAD,
            padding=(0, 0, 0, 0),
            pad_edge=False,
            show_edge=False,
            collapse_padding=True,
        )
        table.add_column("", no_wrap=True, width=_LABEL_WIDTH)
        for name in beside:
            title = safe(" ".join(name.split()))
            table.add_column(
                title, justify="right", no_wrap=True, width=_CELL_WIDTH, overflow="ellipsis"
            )
        for label, cells in analysis_rows(analysis, beside):
            table.add_row(label, *(Text(cell or DASH) for cell in cells))
        console.print(table)
    caption = f"percent (95 % interval) n; seed {analysis['seed']}. {_EXPLAINED}"
    if smoke:
        caption = "SMOKE RUN: tiny n, these figures mean nothing. " + caption
    console.print(Text(visible(caption), style="dim"))
    for line in (*_missing(analysis, names), *analysis.get("notes", ())):
        console.print(Text(visible(str(line)), style="yellow"))


def _missing(analysis: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Name the figures that a model doesn't have and others do."""
    rows = analysis_rows(analysis, names)
    for index, name in enumerate(names):
        absent = [label for label, cells in rows if cells[index] is None]
        if absent:
            yield f"{name}: no figure for {', '.join(absent)}"


# --- cells --------------------------------------------------------------------------------------


def _of(analysis: Mapping[str, Any], key: str, name: str) -> Mapping[str, Any]:
    found = (analysis.get(key) or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _place(analysis: Mapping[str, Any], name: str, key: str) -> str | None:
    place = _of(analysis, "refusal_position", name).get("words")
    return _share(place[key]) if place else None


def _deepest(analysis: Mapping[str, Any], models: Sequence[str]) -> int | None:
    """Find the deepest prefill that as many models as possible have a point at."""
    depths = [
        {int(point["k"]) for point in _of(analysis, "prefill", name).get("points", ())}
        for name in models
    ]
    known = [each for each in depths if each]
    shared = set.intersection(*known) if known else set()
    return max(shared or (k for each in known for k in each), default=None)


def _prefilled(analysis: Mapping[str, Any], name: str, k: int | None) -> str | None:
    points = _of(analysis, "prefill", name).get("points", ())
    return next((_share(point["refused"]) for point in points if point["k"] == k), None)


def _area(analysis: Mapping[str, Any], name: str) -> str | None:
    area = _of(analysis, "detection", name).get("auc")
    if not area or area["value"] is None:
        return None
    texts = int(area["harmful_responses"]) + int(area["benign_responses"])
    return figure({**area, "share": area["value"], "n": texts})


def _false_stops(analysis: Mapping[str, Any], name: str) -> str | None:
    # Not the curve's last point: the curve ends before the longest texts do.
    stops = _of(analysis, "stops", name).get("benign")
    return _share(stops["anywhere"]) if stops else None


def _change(analysis: Mapping[str, Any], name: str) -> str | None:
    first = _of(analysis, "divergence", name).get("first_5")
    return _share(first) if first else None


def _exposed(analysis: Mapping[str, Any], name: str) -> str | None:
    entry = _of(analysis, "exposure", name).get("all")
    if not entry or entry["mean"] is None:
        return None
    text = ""
    for decimals in (1, 0):
        within = "–".join(number(entry[end], decimals) for end in ("low", "high"))
        text = f"{number(entry['mean'], decimals)} ({within}) {entry['n']:>4}"
        if len(text) <= _CELL_WIDTH:
            break
    return text


def _share(share: Mapping[str, Any]) -> str | None:
    return None if share["share"] is None else figure(share)
