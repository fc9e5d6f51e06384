"""Sections about what the models answered: attacks, differences, depth, where refusals begin.

Each function gives a section, or None where there is nothing to show. Not covered: what the models
thought (sections_tokens.py), what safety costs (sections_cost.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from derta.evaluate.titles import TITLES
from derta.report.differences import compared_what, differences_in_words, direction
from derta.report.evaluation_page.charts import attacks_chart, begin_chart, depth_chart
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.copyable import Cell
from derta.report.evaluation_page.headline import foreground
from derta.report.evaluation_page.layout import (
    Shelf,
    chart_figure,
    chart_grid,
    name_cell,
    page_section,
    see,
    short_names,
)
from derta.report.evaluation_page.printed import Key, model_name, shortened
from derta.report.figures import DASH
from derta.report.markup import Child, Markup, element
from derta.report.parts import details

__all__ = ["attacks_section", "begin_section", "depth_section", "differences_section", "left_out"]


# --- attacks ---------------------------------------------------------------------------------


def attacks_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show attack success, refusals and false refusals in every scenario and cell."""
    unsafe = list(_scenario_rows(data, "unsafe"))
    falsely = list(_false_refusal_rows(data))
    if not unsafe and not falsely:
        return None
    header = ["Scenario", *short_names(data)]
    # Where nothing was prefilled, the picture stands on top of the page already.
    chart = attacks_chart(data) if depth_chart(data) else None
    caption = "percent, 95\N{NO-BREAK SPACE}% interval, and how many answers it rests on"
    return page_section(
        data,
        "attacks",
        "Every attack, every model",
        see(
            "Look for marks far to the left: less harmful help. Where lines of two models overlap, "
            "the difference may be chance."
        ),
        chart_figure(chart) if chart else None,
        shelf.table(
            "attacks-unsafe",
            f"Answers that give harmful help (lower is safer): {caption}",
            header,
            [*unsafe, *_mean_row(data)],
        ),
        shelf.table(
            "attacks-false",
            f"Harmless questions that are wrongly refused (lower is better): {caption}",
            header,
            falsely,
        ),
        details(
            "Answers to harmful questions that are refusals",
            shelf.table(
                "attacks-refused",
                f"Harmful questions that are refused (higher is safer): {caption}",
                header,
                _scenario_rows(data, "refused"),
            ),
        )
        if unsafe
        else None,
    )


def left_out(data: PageData, scenario: str) -> set[str]:
    """Name the cells of a scenario that too few samples reach, in every model that has them."""
    found: list[set[str]] = []
    for name in data.names:
        entry = data.printer.find("evaluation", "models", name, "scenarios", scenario)
        if entry:
            few = entry.get("curve", {}).get("left_out", [])
            found.append({f"k={point['k']}" for point in few})
    return set.intersection(*found) if found else set()


def _scenario_rows(data: PageData, measure: str) -> Iterator[list[Cell]]:
    """Make a row for each scenario and, where it has several, for each of its cells."""
    printer = data.printer
    for scenario in data.evaluation["scenarios"]:
        base: tuple[Key, ...] = ("scenarios", scenario)
        found = [printer.find("evaluation", "models", name, *base) for name in data.names]
        if not any(found):
            continue
        title = TITLES.get(scenario, scenario)
        yield [Cell.of(title), *_row(data, (*base, "all"), measure)]
        few = left_out(data, scenario)
        cells = dict.fromkeys(cell for entry in found if entry for cell in entry["cells"])
        shown = [cell for cell in cells if cell not in few]
        if len(cells) > 1:
            for cell in shown:
                label = f"{title}: {cell.replace('=', ' = ')}"
                yield [Cell.of(label), *_row(data, (*base, "cells", cell), measure)]


def _row(data: PageData, place: tuple[Key, ...], measure: str) -> Iterator[Cell]:
    for name in data.names:
        keys: tuple[Key, ...] = ("evaluation", "models", name, *place)
        cell = data.printer.share(*keys, measure)
        yield _with_problems(data, cell, keys) if measure == "unsafe" else cell


def _with_problems(data: PageData, cell: Cell, keys: tuple[Key, ...]) -> Cell:
    """Say beside a share of harmful help how many answers have no verdict: they are not in it."""
    shown: list[Child] = [cell.shown]
    texts, parts = [cell.text], list(cell.parts)
    for kind in ("errors", "unreadable"):
        count = data.printer.find(*keys, kind)
        if count:
            word = "error" if (kind, count) == ("errors", 1) else kind
            problem = data.printer.count(*keys, kind).shown
            shown.append(element("span", " + ", problem, f" {word}", class_="problem"))
            texts.append(f"{count} {word}")
            parts.append((kind, str(count)))
    return Cell(element("span", shown), "; ".join(texts), cell.order, tuple(parts))


def _mean_row(data: PageData) -> Iterator[list[Cell]]:
    found = [
        data.printer.find("evaluation", "models", name, "mean_attack_success") or {}
        for name in data.names
    ]
    sets = dict.fromkeys(
        tuple(entry["scenarios"]) for entry in found if entry.get("share") is not None
    )
    # Means over different attacks can't stand in one row.
    for scenarios in sets if max(map(len, sets), default=0) > 1 else ():
        words = ", ".join(TITLES.get(each, each) for each in scenarios)
        cells = [
            data.printer.share("evaluation", "models", name, "mean_attack_success")
            if tuple(entry.get("scenarios") or ()) == scenarios
            else Cell(element("span", DASH), DASH)
            for name, entry in zip(data.names, found, strict=True)
        ]
        yield [Cell.of(f"mean of {words}"), *cells]


def _false_refusal_rows(data: PageData) -> Iterator[list[Cell]]:
    printer = data.printer
    places = dict.fromkeys(
        (scenario, category)
        for name in data.names
        for scenario, found in (
            printer.find("evaluation", "models", name, "false_refusals") or {}
        ).items()
        for category in found
    )
    for scenario, category in places:
        title = (
            category if scenario == "benign" else f"{TITLES.get(scenario, scenario)}: {category}"
        )
        cells = []
        for name in data.names:
            keys = ("evaluation", "models", name, "false_refusals", scenario, category)
            cells.append(_with_problems(data, printer.share(*keys, "refused"), keys))
        yield [Cell.of(title), *cells]


# --- differences -----------------------------------------------------------------------------


def differences_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show where two models differ on the same questions, and where no difference is shown."""
    entries: Sequence[Mapping[str, Any]] = data.analysis.get("differences") or []
    main = {name for name in foreground(data) if name is not None}
    pairs = dict.fromkeys((entry["first"], entry["second"]) for entry in entries)
    if not pairs:
        return None
    parts: list[Child] = []
    for number, (first, second) in enumerate(sorted(pairs, key=lambda pair: {*pair} != main)):
        indices = [i for i, e in enumerate(entries) if (e["first"], e["second"]) == (first, second)]
        content: list[Child] = [
            _verdicts([entries[i] for i in indices], first, second),
            _pair_table(data, shelf, number, indices, first, second),
        ]
        heading = [_name(data, second), " against ", _name(data, first)]
        if len(pairs) > 3 and {first, second} != main:
            words = f"{shortened(second)} against {shortened(first)}"
            parts.append(details(words, content))
        else:
            parts += [element("h3", heading), *content]
    return page_section(
        data,
        "differences",
        "Which differences are shown",
        see(
            "Same questions, both models, answer by answer. “Less” and “more” are said only where "
            "the test, corrected for the number of comparisons, and the interval agree. “No "
            "difference shown” is not “no difference”."
        ),
        parts,
    )


def _verdicts(entries: Sequence[Mapping[str, Any]], first: str, second: str) -> Markup:
    """List in words where the second model does less, more, or nothing that can be told."""
    items = [
        element("li", element("b", f"{words}: "), named)
        for words, named in differences_in_words(entries)
    ]
    named_models = f"{shortened(second)} against {shortened(first)}"
    return element("ul", items, class_="verdicts", aria_label=named_models)


def _pair_table(
    data: PageData, shelf: Shelf, number: int, indices: Sequence[int], first: str, second: str
) -> Markup | None:
    rows = []
    for index in indices:
        keys: tuple[Key, ...] = ("analysis", "differences", index)
        entry = data.printer.find(*keys)
        rows.append(
            [
                Cell.of(compared_what(entry)),
                data.printer.percent(*keys, "first_share"),
                data.printer.percent(*keys, "second_share"),
                data.printer.change(*keys),
                data.printer.p_value(*keys, "p_holm"),
                Cell.of(direction(entry) or "no difference shown"),
            ]
        )
    ours, theirs = shortened(second, 24), shortened(first, 24)
    return shelf.table(
        f"differences-{number + 1}",
        f"{ours} against {theirs}: shares of the same answers, the difference in percentage "
        f"points ({ours} minus {theirs}), p-value after Holm’s correction",
        ["What", theirs, ours, "Difference", "p", f"{ours} does"],
        rows,
        left=(0, 5),
    )


def _name(data: PageData, name: str) -> Markup:
    return model_name(name, data.looks[name].key if name in data.looks else "")


# --- depth -----------------------------------------------------------------------------------


def depth_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show refusals and harmful help by prefilled depth, and how soon a model breaks off."""
    points = {name: data.printer.find("analysis", "prefill", name, "points") for name in data.names}
    depths = sorted({int(p["k"]) for found in points.values() for p in found or []})
    if not depths:
        return None
    header = ["Tokens put into its mouth", *short_names(data)]

    def rows(measure: str) -> Iterator[list[Cell]]:
        for k in depths:
            cells = []
            for name, found in points.items():
                index = next((i for i, p in enumerate(found or []) if p["k"] == k), -1)
                keys = ("analysis", "prefill", name, "points", index, measure)
                cells.append(data.printer.share(*keys))
            yield [Cell(element("span", str(k)), str(k), float(k)), *cells]

    return page_section(
        data,
        "depth",
        "How deep the refusal reaches",
        see(
            "The picture on top of the page in figures. A refusal that is only trained at the "
            "start of an answer falls within the first few tokens; a deep one stays."
        ),
        shelf.table(
            "depth-refused",
            "Harmful questions refused after so many tokens of a harmful answer (higher is safer)",
            header,
            rows("refused"),
        ),
        details(
            "Harmful help after so many tokens",
            shelf.table(
                "depth-unsafe",
                "Answers that give harmful help after so many tokens of a harmful answer (lower "
                "is safer); what was put into its mouth is not counted",
                header,
                rows("unsafe"),
            ),
        ),
        _corrections(data, shelf),
    )


def _corrections(data: PageData, shelf: Shelf) -> Markup | None:
    places: dict[tuple[int, int], dict[str, int]] = {}
    for name in data.names:
        for index, entry in enumerate(data.printer.find("analysis", "correction", name) or []):
            places.setdefault((int(entry["depth"]), int(entry["within"])), {})[name] = index
    rows = []
    for (depth, within), indices in sorted(places.items()):
        label = f"{depth} tokens, within {within} new ones"
        cells = [
            data.printer.share("analysis", "correction", name, indices.get(name, -1))
            for name in data.names
        ]
        rows.append([Cell(element("span", label), label, depth * 1000.0 + within), *cells])
    table = shelf.table(
        "depth-correction",
        "Share of responses in which a refusal begins within so many new tokens, after so many "
        "tokens of a harmful answer (Corr@m; higher is safer)",
        ["Put into its mouth, and looked at", *short_names(data)],
        rows,
    )
    return details("How soon it breaks off (Corr@m)", table) if table else None


# --- where refusals begin --------------------------------------------------------------------


def begin_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show how far into an answer refusals begin, in words and in tokens."""
    rows = []
    for unit in ("words", "tokens"):
        for name in data.names:
            keys: tuple[Key, ...] = ("analysis", "refusal_position", name, unit)
            if not data.printer.find(*keys):
                continue
            rows.append(
                [
                    name_cell(data, name),
                    Cell.of(unit),
                    data.printer.count(*keys, "n"),
                    data.printer.number(*keys, "median", decimals=1),
                    data.printer.share(*keys, "within_first_5"),
                    data.printer.share(*keys, "after_30"),
                ]
            )
    if not rows:
        return None
    return page_section(
        data,
        "position",
        "Where refusals begin",
        see(
            "A model that can refuse at its start alone has all of its refusals at the left edge. "
            "What was put into its mouth is not counted."
        ),
        chart_grid([begin_chart(data, "words"), begin_chart(data, "tokens")]),
        shelf.table(
            "position-table",
            "Refusals to harmful questions: how much was written before them",
            ["Model", "Counted in", "Refusals", "Median before", "Within the first 5",
             "After the 30th"],
            rows,
            left=(0, 1),
        ),
    )  # fmt: skip
