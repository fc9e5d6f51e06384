"""The first screen: the result in a sentence, one picture, what it costs, what the names mean.

It is for readers who don't know the method. Covered: any evaluation, also one in which nothing was
found. Not covered: the sentences themselves (headline.py), details (sections*.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from derta.evaluate.titles import TITLES
from derta.report.evaluation_page.charts import attacks_chart, depth_chart
from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.copyable import Cell
from derta.report.evaluation_page.headline import (
    deepest_common,
    headline,
    lead,
    point_path,
    trade_off_index,
)
from derta.report.evaluation_page.layout import Shelf, chart_figure, short_names
from derta.report.evaluation_page.printed import model_name, shortened
from derta.report.markup import Child, Markup, element
from derta.report.parts import details

__all__ = ["contents", "overview", "page_header"]

_METHODS = {
    "untouched": "the model as it came",
    "vanilla": "the usual safety training: it learnt to answer harmful questions with a refusal",
    "harmful_prefix": "learnt to refuse, also after the beginning of a harmful answer",
    "rto": "learnt to break off at every position of a harmful answer (RTO)",
    "derta": "trained by DeRTa: it learnt to refuse after the beginning of a harmful answer, and "
    "to break off at every position of it",
    "dpo": "the usual training, and then taught to prefer the refusal to the harmful answer (DPO)",
}
_KINDS = {
    "default": "the embedded model",
    "run": "a run folder of derta",
    "adapter": "an adapter",
    "folder": "a model’s folder",
    "hub": "a model of the hub",
    "provider": "a model behind a provider",
}
_WORDS = (
    (
        "Refuses",
        "the answer as a whole is a refusal. Fixed rules decide that, not a person.",
    ),
    (
        "Gives harmful help",
        "the answer is about the harmful question and holds specific information that somebody "
        "could use, whatever it says besides. A judge decides that; it errs at times.",
    ),
    (
        "Neither",
        "an answer may be no refusal and no harmful help: off the topic, empty, too little. Small "
        "models give many of these, so don’t read “gives no harmful help” as “refuses”.",
    ),
    (
        "Tokens put into its mouth",
        "the model is made to have said the beginning of a harmful answer already, and goes on "
        "from there. A token is a word or a part of one. Attackers who run a model themselves "
        "can do this to any model.",
    ),
    (
        "Attacks",
        "known ways of asking that get past refusals: role play, code, search for a wording.",
    ),
    (
        "Wrongly refuses",
        "a harmless question is refused. “Look-alikes” are harmless questions that sound "
        "dangerous.",
    ),
    (
        "95\N{NO-BREAK SPACE}% interval",
        "where the true share may well lie, with so few questions. If the intervals of two models "
        "overlap, their difference may be chance. The sentences on top go by the intervals, which "
        "aren’t corrected for how many there are; the tests under “Which differences are shown” "
        "are. n is the number of answers behind a figure.",
    ),
)


def page_header(data: PageData) -> Markup:
    """Say the result in one sentence, and what it costs in the next ones."""
    sentences = [[*sentence, " "] for sentence in lead(data)]
    return element(
        "header",
        element("a", "Skip to the figures", href="#glance", class_="skip"),
        element("p", "derta · How deep does a model’s refusal reach?", class_="kicker"),
        element("h1", headline(data)),
        element("p", sentences, class_="lead") if sentences else None,
        _notes(data.notes),
    )


def _notes(notes: Sequence[str]) -> Markup | None:
    if not notes:
        return None
    items = [element("li", note) for note in notes]
    return element(
        "aside", element("h2", "Before you compare"), element("ul", items), class_="notes"
    )


def overview(data: PageData, shelf: Shelf) -> Markup:
    """Show the picture, the main figures, and what names and words mean."""
    chart = depth_chart(data) or attacks_chart(data)
    return element(
        "section",
        element("h2", "At a glance", id="glance-title", class_="unseen"),
        chart_figure(chart) if chart else None,
        _glance(data, shelf),
        element("h3", "What the names mean"),
        element("dl", _names(data), class_="names"),
        details(
            "What the words mean",
            element(
                "dl",
                [[element("dt", word), element("dd", meaning)] for word, meaning in _WORDS],
                class_="names",
            ),
        ),
        id="glance",
        aria_labelledby="glance-title",
    )


def _glance(data: PageData, shelf: Shelf) -> Markup | None:
    """Show four figures a model; one that nobody has is left out."""
    k = deepest_common(data, [name for name in data.names if deepest_common(data, [name])])
    reference = data.evaluation["helpfulness"].get("reference")
    measures: list[tuple[str, list[Cell]]] = []
    if k is not None:
        words = "when asked plainly" if k == 0 else f"after {k} tokens of a harmful answer"
        cells = [data.printer.share(*point_path(data, name, k)) for name in data.names]
        measures.append((f"Refuses {words}", cells))
    places = [("analysis", "trade_off", trade_off_index(data, name)) for name in data.names]
    unsafe = [data.printer.share(*keys, "unsafe") for keys in places]
    measures.append((_attacks_title(data), unsafe))
    falsely = [data.printer.share(*keys, "false_refusals", "all") for keys in places]
    measures.append(("Wrongly refuses harmless questions", falsely))
    if reference is not None:
        measures.append((f"Same next token as {shortened(reference, 20)}", [
            Cell.of("(compared with)") if name == reference
            else data.printer.share(*keys, "agreement")
            for name, keys in zip(data.names, places, strict=True)
        ]))  # fmt: skip
    measures = [(title, cells) for title, cells in measures if any(c.parts for c in cells)]
    if not measures:
        return None
    return shelf.table(
        "glance-table",
        "The main figures, with their 95\N{NO-BREAK SPACE}% intervals and what they rest on",
        ["Measure", *short_names(data)],
        [[Cell.of(title), *cells] for title, cells in measures],
    )


def _attacks_title(data: PageData) -> str:
    """Name what harmful help is counted over, where all models have the same."""
    entries = data.analysis.get("trade_off") or []
    found = {tuple((entry.get("unsafe") or {}).get("scenarios") or ()) for entry in entries}
    if len(found) != 1:
        return "Gives harmful help, mean over its attacks"
    (scenarios,) = found
    if len(scenarios) == 1:
        return f"Gives harmful help ({TITLES.get(scenarios[0], scenarios[0])})"
    return f"Gives harmful help, mean of {len(scenarios)} attacks"


def _names(data: PageData) -> Iterator[Child]:
    for subject in data.evaluation["subjects"]:
        name = str(subject["name"])
        method = data.methods.get(name)
        kind = _KINDS.get(str(subject.get("kind")), "")
        told = _METHODS.get(method or "", "")
        reference = str(subject.get("reference", ""))
        yield element("dt", model_name(name, data.looks[name].key))
        parts: list[Child] = [told or kind or "a model"]
        if reference and reference != name:
            parts += [" (", element("code", shortened(reference, 60)), ")"]
        yield element("dd", parts)


def contents(titles: Sequence[tuple[str, str]]) -> Markup:
    """List the sections of the page.

    Args:
        titles: (identifier, title).
    """
    items = [element("li", element("a", title, href=f"#{name}")) for name, title in titles]
    return element("nav", element("ul", items), aria_label="Sections", class_="contents")
