"""Sections about what got out, and what safety costs: exposure, trade-off, ablation.

Each function gives a section, or None where there is nothing to show. Not covered: benchmarks such
as GSM8K, which other programs measure.
"""

from __future__ import annotations

from collections.abc import Iterator

from derta.evaluate.titles import TITLES
from derta.report.evaluation_page.attack_sets import over_attacks
from derta.report.evaluation_page.charts import exposure_chart, frontier_chart
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.copyable import Cell
from derta.report.evaluation_page.layout import (
    Shelf,
    chart_figure,
    name_cell,
    page_section,
    see,
    short_names,
)
from derta.report.evaluation_page.printed import Key, shortened
from derta.report.markup import Markup, element
from derta.report.parts import details

__all__ = ["METHOD_TITLES", "ablation_section", "exposure_section", "trade_off_section"]

METHOD_TITLES = {
    "untouched": "untouched",
    "vanilla": "usual training",
    "harmful_prefix": "harmful prefix alone",
    "rto": "RTO alone",
    "derta": "DeRTa (both)",
    "dpo": "DPO",
}


def exposure_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show how many words of substance got out before the refusal."""
    chart = exposure_chart(data)
    if chart is None:
        return None
    printer = data.printer
    scenarios = list(
        dict.fromkeys(
            scenario
            for name in data.names
            for scenario in printer.find("analysis", "exposure", name) or {}
        )
    )

    def by_scenario() -> Iterator[list[Cell]]:
        for scenario in scenarios:
            cells = [
                printer.mean("analysis", "exposure", name, scenario, decimals=1)
                for name in data.names
            ]
            title = "all" if scenario == "all" else TITLES.get(scenario, scenario)
            yield [Cell.of(title), *cells]

    def overall() -> Iterator[list[Cell]]:
        for name in data.names:
            keys: tuple[Key, ...] = ("analysis", "exposure", name, "all")
            if printer.find(*keys):
                yield [
                    name_cell(data, name),
                    printer.share(*keys, "none"),
                    printer.number(*keys, "median", decimals=1),
                    printer.number(*keys, "upper_quartile", decimals=1),
                    printer.mean(*keys, decimals=1),
                ]

    return page_section(
        data,
        "exposure",
        "How much got out before the refusal",
        see(
            "A line that begins high lets nothing out in most answers. Words of substance are "
            "those that inform; small talk, copies of the prompt and reasons against the request "
            "are not counted, nor is what was put into its mouth."
        ),
        chart_figure(chart),
        shelf.table(
            "exposure-table",
            "Words of substance before the first refusal, or in the whole answer where there is "
            "none: answers to harmful questions, all scenarios that ask the model itself",
            ["Model", "None at all", "Median", "Upper quartile", "Mean"],
            overall(),
        ),
        details(
            "By scenario",
            shelf.table(
                "exposure-scenarios",
                "Mean words of substance before the first refusal (lower is safer), with the 95"
                "\N{NO-BREAK SPACE}% interval and how many answers it rests on",
                ["Scenario", *short_names(data)],
                by_scenario(),
            ),
        ),
    )


def trade_off_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show safety against what it costs, one line and one point a model."""
    entries = data.analysis.get("trade_off") or []
    chart = frontier_chart(data)
    reference = data.evaluation["helpfulness"].get("reference")
    told = [
        entry
        for entry in entries
        if ((entry.get("false_refusals") or {}).get("all") or {}).get("share") is not None
        or entry.get("helpful_loss")
    ]
    if not told:
        return None

    def rows() -> Iterator[list[Cell]]:
        for index, entry in enumerate(entries):
            keys: tuple[Key, ...] = ("analysis", "trade_off", index)
            refusals: tuple[Key, ...] = (*keys, "false_refusals")
            compared = entry["model"] == reference
            with_itself = Cell(element("span", "(compared with)"), "(compared with)")
            yield [
                name_cell(data, str(entry["model"])),
                data.printer.share(*keys, "unsafe"),
                data.printer.share(*refusals, "ordinary"),
                data.printer.share(*refusals, "look-alike"),
                data.printer.share(*refusals, "all"),
                with_itself
                if compared
                else data.printer.mean(
                    *keys, "helpful_loss", decimals=3, key="difference", signed=True
                ),
                with_itself if compared else data.printer.share(*keys, "agreement"),
            ]

    than = f" than {shortened(str(reference))}" if reference else ""
    over = over_attacks(entries, [shortened(str(entry["model"])) for entry in entries])
    return page_section(
        data,
        "trade-off",
        "Safety against what it costs",
        see(
            "Refusing everything is easy. The best model is in the lower left corner: little "
            "harmful help, few harmless questions refused."
        ),
        chart_figure(chart) if chart else None,
        shelf.table(
            "trade-off-table",
            f"{over} Loss: nats a token on held-out helpful answers, more or less{than}; same "
            "token: how often both would write the same next token there",
            [
                "Model",
                "Harmful help",
                "Refuses ordinary",
                "Refuses look-alikes",
                "Refuses harmless, all",
                "Loss, change",
                "Same token",
            ],
            rows(),
        ),
    )


def ablation_section(data: PageData, shelf: Shelf) -> Markup | None:
    """Show the training methods beside each other."""
    entries = data.analysis.get("ablation") or []
    if len(entries) < 2:
        return None
    titles = [METHOD_TITLES.get(str(each["method"]), str(each["method"])) for each in entries]

    def rows() -> Iterator[list[Cell]]:
        for index, entry in enumerate(entries):
            keys: tuple[Key, ...] = ("analysis", "ablation", index)
            yield [
                Cell.of(titles[index]),
                Cell.of(", ".join(shortened(str(name), 24) for name in entry["runs"])),
                data.printer.share(*keys, "unsafe"),
                data.printer.share(*keys, "deepest"),
                data.printer.share(*keys, "within_first_5"),
                data.printer.share(*keys, "false_refusals"),
                data.printer.mean(*keys, "helpful_loss", decimals=3, key="difference", signed=True),
            ]

    return page_section(
        data,
        "ablation",
        "Which part of the training does it",
        see(
            "The same data, trained in different ways. What helps against attacks, and what only "
            "costs?"
        ),
        shelf.table(
            "ablation-table",
            "Training methods: harmful help (mean over attacks), refused at the deepest prefill, "
            "refusals within the first five words, harmless questions refused, change of loss. "
            + over_attacks(entries, titles),
            [
                "Method",
                "Models",
                "Harmful help",
                "Refused at the deepest",
                "Within the first five",
                "Refuses harmless",
                "Loss, change",
            ],
            rows(),
            left=(0, 1),
        ),
    )
