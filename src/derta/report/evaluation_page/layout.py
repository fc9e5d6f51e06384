"""What the sections of the page are made of: a line that says what to see, picture, table, command.

Covered: sections, pictures in two shapes, tables that are also copied, commands. Not covered: what
stands in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from derta.report.evaluation_page.collect import PageData
from derta.report.evaluation_page.copyable import Cell, Table, table_markup
from derta.report.evaluation_page.drawing import HALF, NARROW, SMALL, WIDE, Chart
from derta.report.evaluation_page.printed import model_name, shortened
from derta.report.markup import Child, Markup, element
from derta.report.parts import details, section

__all__ = [
    "Shelf",
    "again",
    "chart_figure",
    "chart_grid",
    "name_cell",
    "page_section",
    "see",
    "short_names",
]


class Shelf:
    """Shows tables and keeps them, to be copied in other forms."""

    def __init__(self) -> None:
        """Begin with no table."""
        self.tables: list[Table] = []

    def table(
        self,
        identifier: str,
        caption: str,
        header: Sequence[str],
        rows: Iterable[Sequence[Cell]],
        *,
        left: Iterable[int] = (0,),
    ) -> Markup | None:
        """Show a table; None: it has no rows."""
        made = Table(
            identifier,
            caption,
            tuple(header),
            tuple(tuple(row) for row in rows),
            frozenset(left),
        )
        if not made.rows:
            return None
        self.tables.append(made)
        return table_markup(made)


def page_section(data: PageData, identifier: str, title: str, *content: Child) -> Markup:
    """Make a section that ends with the command that makes its figures again."""
    return section(identifier, title, *content, again(data, identifier))


def see(*words: Child) -> Markup:
    """Say in one line what to see."""
    return element("p", words, class_="see")


def again(data: PageData, identifier: str) -> Markup | None:
    """Show the command that makes a section's figures again."""
    command = data.commands.get(identifier)
    if not command:
        return None
    return details("Make these figures again", element("pre", element("code", command)))


def name_cell(data: PageData, name: str) -> Cell:
    """Make a cell of a model's name, in its colour."""
    return Cell(model_name(name, data.looks[name].key), name, name.casefold())


def short_names(data: PageData) -> list[str]:
    """Give the models' names as headers of columns."""
    return [shortened(name) for name in data.names]


def chart_figure(chart: Chart, *, half: bool = False) -> Markup:
    """Show a chart over the whole width, in another shape on small screens.

    Args:
        chart: what is shown.
        half: show it at half the width instead, where a wide picture would distort it.
    """
    drawn: list[Child] = [chart.draw(HALF)]
    if not half:
        drawn = [
            element("div", chart.draw(WIDE), class_="wide"),
            element("div", chart.draw(NARROW), class_="narrow"),
        ]
    return element(
        "figure",
        element("p", chart.heading, class_="figure-title"),
        drawn,
        element("figcaption", chart.note),
        class_="depth half" if half else "depth",
    )


def chart_grid(charts: Iterable[Chart | None], *, small: bool = False) -> Markup | None:
    """Show charts beside each other: in two columns, or small ones in three.

    All have the same note; it is shown once.
    """
    drawn = [chart for chart in charts if chart is not None]
    if not drawn:
        return None
    shape = SMALL if small else HALF
    figures = [
        element(
            "figure",
            element("p", shortened(chart.short or chart.heading, 60), class_="figure-title"),
            chart.draw(shape),
        )
        for chart in drawn
    ]
    notes = dict.fromkeys(chart.note for chart in drawn)
    return element(
        "div",
        element("div", figures, class_="grid" if small else "grid two"),
        [element("p", note, class_="quiet note") for note in notes],
    )
