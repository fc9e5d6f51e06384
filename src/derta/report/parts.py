"""Parts that several sections of the report are made of.

Covers sections, tables and what opens on request; all text is escaped by `element`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from derta.report.figures import DASH
from derta.report.markup import Child, Markup, element

__all__ = ["details", "flat_pairs", "pairs", "plain_table", "section"]


def section(identifier: str, title: str, *content: Child) -> Markup:
    """Make a section with a heading that names it."""
    heading = f"{identifier}-title"
    return element(
        "section",
        element("h2", title, id=heading),
        content,
        id=identifier,
        aria_labelledby=heading,
    )


def details(summary: str, content: Child) -> Markup:
    """Make content that opens on request."""
    return element("details", element("summary", summary), content)


def plain_table(header: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    """Make a table of text; the first cell of a row names the row."""
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", c) for c in row[1:]])
        for row in rows
    ]
    head = element("tr", [element("th", words, scope="col") for words in header])
    table = element("table", element("thead", head), element("tbody", body), class_="plain")
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=header[0])


def pairs(rows_of_text: Iterable[tuple[str, str]]) -> Markup:
    """Make a table of keys and values."""
    rows = [
        element("tr", element("th", key, scope="row"), element("td", value))
        for key, value in rows_of_text
    ]
    return element("table", element("tbody", rows), class_="plain left")


def flat_pairs(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested settings to dotted keys and text."""
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found += flat_pairs(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", DASH if value is None else str(value)))
    return found
