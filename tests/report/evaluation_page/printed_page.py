"""A page read back: its printed figures, its elements, and the numbers of tables without a path.

Shared by the page's tests. Covered: nesting, attributes, text by place. Not covered: what a figure
should be (naive_figures.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Figure", "PrintedPage", "keys_of", "plain"]

_VOID = {"meta", "br", "hr", "input"}
_APART = {"td", "th", "dt", "dd", "li"}
"""Their texts stand apart from each other on the page, too."""


@dataclass
class Figure:
    """One printed figure."""

    path: str
    kind: str
    text: str = ""


@dataclass
class _Element:
    tag: str
    attributes: dict[str, str | None]
    text: list[str] = field(default_factory=list)


def plain(text: str) -> str:
    """Write all blanks as one blank, and no blank within a number."""
    return " ".join(text.replace("\N{NARROW NO-BREAK SPACE}", "").split())


def keys_of(path: str) -> list[str]:
    """Split a figure's path into keys."""
    return [key.replace("~2", ".").replace("~1", "/").replace("~0", "~") for key in path.split(".")]


class PrintedPage(HTMLParser):
    """Reads a page; the nesting must be right."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.figures: list[Figure] = []
        self.elements: list[_Element] = []
        self.bare_numbers: list[str] = []
        """Texts with numbers in cells of tables that no figure holds."""
        self._open: list[_Element] = []
        self._printing: list[tuple[int, Figure]] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = _Element(tag, dict(attrs))
        assert len(made.attributes) == len(attrs), f"an attribute twice: {attrs}"
        self.elements.append(made)
        if tag in _VOID:
            return
        self._open.append(made)
        path = made.attributes.get("data-figure")
        if path is not None:
            figure = Figure(path, str(made.attributes.get("data-kind")))
            self.figures.append(figure)
            self._printing.append((len(self._open), figure))

    def handle_endtag(self, tag: str) -> None:
        if self._printing and self._printing[-1][0] == len(self._open):
            self._printing.pop()
        assert self._open.pop().tag == tag
        if tag in _APART:
            for element in self._open:
                element.text.append(" ")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data: str) -> None:
        for _, figure in self._printing:
            figure.text += data
        for element in self._open:
            element.text.append(data)
        if any(each.tag == "td" for each in self._open) and not self._printing:
            self.bare_numbers += re.findall(r"^.*\d.*$", data)

    def all(self, tag: str, **attributes: str) -> list[_Element]:
        """Find elements by tag and attributes (`class_` holds one of the classes)."""
        return [
            each
            for each in self.elements
            if each.tag == tag
            and all(
                value in (each.attributes.get("class") or "").split()
                if name == "class_"
                else each.attributes.get(name.replace("_", "-")) == value
                for name, value in attributes.items()
            )
        ]

    def text(self, tag: str, **attributes: str) -> str:
        """Give the text of all such elements, blanks made plain."""
        return plain(" ".join("".join(each.text) for each in self.all(tag, **attributes)))
