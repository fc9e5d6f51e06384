"""Tables of the page, and the same tables as Markdown, CSV and LaTeX.

What is copied is made here, from the cells' texts, and not by the browser from what it shows: so
each form is escaped for the program that will read it. Text in cells may be hostile (names of
models, questions): no cell can end a row, a table or a formula. Covered: tables with one header
row. Not covered: cells that span several columns.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from derta.files import csv_cell
from derta.report.markup import Markup, element, visible_text

__all__ = ["Cell", "Table", "script_json", "table_markup", "tables_data", "to_csv", "to_latex",
           "to_markdown"]  # fmt: skip

Align = Literal["left", "right"]

_MARKDOWN = re.compile(r"([\\`*_\[\]|#~])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{MATHEMATICAL LEFT ANGLE BRACKET}": r"$\langle$",
    "\N{MATHEMATICAL RIGHT ANGLE BRACKET}": r"$\rangle$",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
}
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
_FORMS = (("markdown", "Markdown"), ("csv", "CSV"), ("latex", "LaTeX"))


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: as the page shows it, as plain text, and by what it is sorted."""

    shown: Markup
    text: str
    """What is copied; any text."""
    order: float | str | None = None
    """None: sorted last."""
    parts: tuple[tuple[str, str], ...] = ()
    """(name, plain number) of a figure, the figure itself first: columns of their own in CSV."""

    @classmethod
    def of(cls, text: str) -> Cell:
        """Make a cell of words."""
        return cls(element("span", text), text, text.casefold())


@dataclass(frozen=True, slots=True)
class Table:
    """A table with one header row; the first cell of a row names it."""

    identifier: str
    """Unique on the page; of letters, digits and -."""
    caption: str
    """What one row is and what the figures are; readers of the page hear it first."""
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left: frozenset[int] = frozenset({0})
    """Columns of words."""


# --- on the page -----------------------------------------------------------------------------


def table_markup(table: Table) -> Markup:
    """Show a table in a box of its own that scrolls, with the menu that copies it.

    Both the menu and sorting are the script's: without it the table is whole and they are absent.
    """
    head = [
        element("th", name, scope="col", class_="words" if index in table.left else None)
        for index, name in enumerate(table.header)
    ]
    body = [
        element(
            "tr",
            [
                element(
                    "th" if index == 0 else "td",
                    cell.shown,
                    scope="row" if index == 0 else None,
                    class_="words" if index in table.left else None,
                    data_order=_order(cell),
                )
                for index, cell in enumerate(row)
            ],
        )
        for row in table.rows
    ]
    caption = f"{table.identifier}-caption"
    grid = element(
        "table",
        element("caption", table.caption, id=caption),
        element("thead", element("tr", head)),
        element("tbody", body),
        id=table.identifier,
        class_="figures",
    )
    return element(
        "div",
        _menu(table),
        element("div", grid, class_="scroll", tabindex="0", role="region", aria_labelledby=caption),
        class_="table-box",
    )


def _order(cell: Cell) -> str | None:
    """Write the sort key; numbers keep all their digits, because `element` rounds floats."""
    return None if cell.order is None else str(cell.order)


def _menu(table: Table) -> Markup:
    buttons = [
        element("button", words, type="button", data_copy=form, data_table=table.identifier)
        for form, words in _FORMS
    ]
    return element(
        "details",
        element(
            "summary", "Copy", element("span", f" the table: {table.caption}", class_="unseen")
        ),
        element("div", buttons, class_="choices"),
        element("span", role="status", class_="copied"),
        class_="copy",
        hidden=True,
    )


def tables_data(tables: Sequence[Table]) -> str:
    """Write all tables in all three forms as JSON for a script element."""
    forms = {
        table.identifier: {
            "markdown": to_markdown(table),
            "csv": to_csv(table),
            "latex": to_latex(table),
        }
        for table in tables
    }
    return script_json(forms)


def script_json(value: Mapping[str, object]) -> str:
    """Write JSON that can't end the script element that it stands in.

    Args:
        value: JSON-ready. Halves of surrogates are written as escapes.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


# --- to be copied ----------------------------------------------------------------------------


def to_markdown(table: Table) -> str:
    """Write a pipe table as GitHub and most other readers understand it."""
    lines = ["| " + " | ".join(_markdown(name) for name in table.header) + " |"]
    rules = ("---" if index in table.left else "---:" for index in range(len(table.header)))
    lines.append("| " + " | ".join(rules) + " |")
    lines += ["| " + " | ".join(_markdown(cell.text) for cell in row) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    escaped = _MARKDOWN.sub(r"\\\1", _one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def to_csv(table: Table) -> str:
    """Write comma-separated values, with a figure's interval and n in columns of their own.

    A cell that a spreadsheet would run gets an apostrophe.
    """
    names = [
        tuple(dict.fromkeys(name for row in table.rows for name, _ in row[index].parts))
        for index in range(len(table.header))
    ]
    lines: list[list[str]] = [[]]
    for title, parts in zip(table.header, names, strict=True):
        lines[0] += [title, *(f"{title}: {part}" for part in parts[1:])]
    for row in table.rows:
        line: list[str] = []
        for cell, parts in zip(row, names, strict=True):
            values = dict(cell.parts)
            line += [values.get(part, "") for part in parts] if parts else [cell.text]
        lines.append(line)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_csv(text) for text in line] for line in lines)
    return buffer.getvalue()


def _csv(text: str) -> str:
    plain = _one_line(text)
    return plain if _NUMBER.fullmatch(plain) else csv_cell(plain)


def to_latex(table: Table) -> str:
    """Write a tabular environment that needs no package but the kernel's own."""
    columns = "".join("l" if index in table.left else "r" for index in range(len(table.header)))
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline"]
    lines.append(" & ".join(_latex(name) for name in table.header) + r" \\")
    lines.append(r"\hline")
    lines += [" & ".join(_latex(cell.text) for cell in row) + r" \\" for row in table.rows]
    lines += [r"\hline", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in _one_line(text))
    # After \\ a bracket would be read as an amount of space.
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped


def _one_line(text: str) -> str:
    return re.sub(r"[\n\t]", " ", visible_text(text))
