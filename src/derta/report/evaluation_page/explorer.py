"""The section in which every response can be read, side by side, and its tokens seen.

Covered: the frame (heading, filters, empty places) and the data beside it. `explorer.js` fills it;
without a script the section says that it needs one. No harmful text stands in the frame: it is in
the data alone, and the script puts it on the page only when it is asked for. Not covered: what is
in the data (`explorer_data`), the page around the section (`page`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING

from derta.evaluate.titles import TITLES
from derta.report.evaluation_page.explorer_data import NOT_JUDGED, collect_items, responses_json
from derta.report.evaluation_page.explorer_words import cell_words, scenario_title
from derta.report.evaluation_page.layout import again
from derta.report.evaluation_page.printed import shortened
from derta.report.markup import Child, Markup, element, visible_text

if TYPE_CHECKING:
    from derta.report.evaluation_page.collect import PageData
    from derta.report.evaluation_page.explorer_data import Item

__all__ = ["explorer_data", "explorer_script", "explorer_section"]

_ANY = ("", "any")
_VERDICTS = (
    _ANY,
    ("UNSAFE", "gives harmful help"),
    ("SAFE", "no harmful help"),
    ("UNREADABLE", "no verdict: can’t be read"),
    ("ERROR", "no verdict: failed"),
    (NOT_JUDGED, "not judged: harmless, or only read"),
)
_REFUSED = (_ANY, ("yes", "refused"), ("no", "not refused"))
_PEOPLE = (
    _ANY,
    ("UNSAFE", "harmful help"),
    ("SAFE", "no harmful help"),
    ("differs", "not as the judge says"),
    ("none", "not judged by people"),
)
_CATEGORIES = {
    "harmful": "harmful",
    "ordinary": "harmless, ordinary",
    "look-alike": "harmless, sounds dangerous",
}


def explorer_data(data: PageData, *, budget_bytes: int) -> str:
    """Write the JSON for the script element `responses-data`; see `explorer_data.responses_json`.

    Args:
        data: of the page.
        budget_bytes: the JSON's size in UTF-8; what doesn't fit is left out and named in it.
    """
    return responses_json(data, budget_bytes=budget_bytes)


def explorer_script() -> str:
    """Give the section's script; it stands after the section and its data."""
    folder = resources.files("derta.report.evaluation_page")
    names = ("explorer_tokens.js", "explorer.js")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def explorer_section(data: PageData, *, budget_bytes: int) -> Markup:
    """Make the frame of the section.

    Args:
        data: of the page.
        budget_bytes: that `explorer_data` was given; the text names it.
    """
    items = collect_items(data.outcomes, data.readings, data.people_verdicts)
    heading = element("h2", "Read the responses", id="responses-title")
    if not items:
        content: Child = element("p", "This run has no responses.", class_="quiet")
    else:
        content = [_introduction(budget_bytes), _veil(), _filters(data.names, items), _places()]
    return element(
        "section",
        heading,
        content,
        again(data, "responses"),
        id="responses",
        class_="explorer",
        aria_labelledby="responses-title",
    )


def _introduction(budget_bytes: int) -> list[Markup]:
    return [
        element(
            "p",
            "Every figure above was counted from these. Choose a question to see what each model "
            "wrote, side by side, with its verdict; the heat map shows at every token how near the "
            "model was to refusing. The verdicts are automatic: read before you believe.",
        ),
        element(
            "noscript",
            element(
                "p",
                "Reading the responses needs JavaScript. Nothing else on this page does; they are "
                "in outcomes.jsonl, too.",
                class_="quiet",
            ),
        ),
        element(
            "p",
            f"This page keeps up to {budget_bytes / 1e6:.1f} MB of responses.",
            class_="quiet",
            id="responses-left-out",
            hidden=True,
        ),
    ]


def _veil() -> Markup:
    return element(
        "div",
        element(
            "p",
            "What models wrote to harmful questions is hidden, and so is what was put into their "
            "mouths, because it may be harmful. It is kept to show what each model does.",
            id="veil-reason",
        ),
        element(
            "button",
            "Show harmful text",
            type="button",
            id="reveal-all",
            aria_pressed="false",
            aria_describedby="veil-reason",
        ),
        class_="veil",
        hidden=True,
    )


def _filters(names: Sequence[str], items: Sequence[Item]) -> Markup:
    scenarios = dict.fromkeys(item.scenario for item in items)
    cells = dict.fromkeys(
        (item.cell, item.scenario) for item in items if item.cell and item.scenario in TITLES
    )
    categories = dict.fromkeys(item.category for item in items)
    orders = [("question", "question, A to Z")]
    if len(names) > 1:
        orders.insert(0, ("disagreement", "where models differ most"))
    return element(
        "div",
        element(
            "div",
            element("label", "Search the questions", for_="filter-q", id="filter-q-label"),
            class_="field search-field",
        ),
        _select(
            "scenario", "How it was asked", [_ANY, *((s, scenario_title(s)) for s in scenarios)]
        ),
        _select("cell", "Setting", [_ANY, *((c, cell_words(c)) for c, _ in cells)]),
        _select("verdict", "Verdict", _VERDICTS),
        _select("refused", "Refusal", _REFUSED),
        _select("people", "People say", _PEOPLE) if _judged_by_people(items) else None,
        _select("model", "Model", [("", "all")] + [(name, shortened(name)) for name in names]),
        _select(
            "category",
            "Kind of question",
            [_ANY, *((c, _CATEGORIES.get(c, c)) for c in categories)],
        ),
        _select("sort", "Order", orders),
        element("button", "Clear the filters", type="button", id="filter-clear"),
        class_="filters",
        role="search",
        aria_label="Filter the responses",
        hidden=True,
    )


def _judged_by_people(items: Sequence[Item]) -> bool:
    return any(answer.people for item in items for answer in item.answers)


def _select(key: str, label: str, options: Iterable[tuple[str, str]]) -> Markup:
    identifier = f"filter-{key}"
    choices = [
        element("option", words, value=visible_text(value))
        for value, words in dict(options).items()
    ]
    return element(
        "div",
        element("label", label, for_=identifier),
        element("select", choices, id=identifier, data_filter=key),
        class_="field",
    )


def _places() -> list[Markup]:
    return [
        element("p", id="responses-count", class_="count", role="status"),
        element("div", id="responses-list"),
        element("button", "Show more questions", type="button", id="responses-more", hidden=True),
    ]
