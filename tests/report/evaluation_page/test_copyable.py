"""Tables to be copied: whatever stands in a cell stays in its cell, in each of the three forms."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from derta.report.evaluation_page.copyable import (
    Cell,
    Table,
    script_json,
    table_markup,
    tables_data,
    to_csv,
    to_latex,
    to_markdown,
)
from derta.report.markup import element
from tests.analysis.fake_run import HOSTILE_TEXTS
from tests.report.evaluation_page.printed_page import PrintedPage

FIGURE = Cell(
    element("span", "79 % 67–88 n 53"),
    "79\xa0% (67–88), n = 53",
    0.79,
    (("share", "0.79"), ("low", "0.67"), ("high", "0.88"), ("n", "53")),
)


def table(*texts: str) -> Table:
    rows = tuple((Cell.of(text), FIGURE) for text in texts)
    return Table("some-table", "What it shows", ("Scenario", "derta"), rows)


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_no_text_breaks_out_of_a_cell(text: str) -> None:
    hostile = table(text, "plain")
    lines = to_markdown(hostile).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3, line
    assert not re.search(r"<(?!1)", lines[2])
    rows = list(csv.reader(io.StringIO(to_csv(hostile))))
    assert [len(row) for row in rows] == [5, 5, 5]
    assert not rows[1][0].startswith(("=", "+", "-", "@", "\t", "\r"))
    latex = to_latex(hostile)
    assert latex.count("\\end{tabular}") == 1
    assert latex.count("\\\\\n") == 3
    body = latex.splitlines()[4]
    assert len(re.findall(r"(?<!\\)&", body)) == 1
    commands = {
        "\\textbackslash", "\\textasciicircum", "\\textasciitilde", "\\textless", "\\textgreater",
        "\\textbar", "\\textquotedbl", "\\textasciigrave", "\\langle", "\\rangle", "\\ldots",
        "\\times",
    }  # fmt: skip
    assert set(re.findall(r"\\[a-z]+", body)) <= commands
    assert not re.search(r"(?<!\\)[#%]", body.replace("79~\\%", ""))
    page = PrintedPage(str(table_markup(hostile)))
    assert len(page.all("tr")) == 3
    assert not page.all("script")


def test_a_figure_is_one_cell_in_words_and_four_in_csv() -> None:
    assert "| direct | 79\xa0% (67–88), n = 53 |" in to_markdown(table("direct"))
    assert to_csv(table("direct")) == (
        "Scenario,derta,derta: low,derta: high,derta: n\ndirect,0.79,0.67,0.88,53\n"
    )
    assert "direct & 79~\\% (67--88), n = 53 \\\\" in to_latex(table("direct"))


def test_numbers_keep_their_sign_in_csv_and_formulas_get_an_apostrophe() -> None:
    loss = Cell(element("span"), "-0.1", -0.1, (("difference", "-0.1"), ("low", "-1e-05")))
    made = Table("t", "c", ("a", "b"), ((Cell.of("-1+1"), loss),))
    assert to_csv(made) == "a,b,b: low\n'-1+1,-0.1,-1e-05\n"


def test_markdown_says_which_columns_are_words() -> None:
    assert "| --- | ---: |" in to_markdown(table("x"))


def test_the_data_of_all_tables_cannot_end_their_script() -> None:
    text = tables_data([table(*HOSTILE_TEXTS)])
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text)["some-table"]["csv"].startswith("Scenario,derta,")
    assert script_json({"x": "</script>\ud800\u2028"}) == (
        '{"x":"\\u003c/script\\u003e\\ud800\\u2028"}'
    )


def test_cells_carry_the_key_they_are_sorted_by_and_unknown_ones_none() -> None:
    small = Cell(element("span", "<1 %"), "<1 %", 0.0041)
    unknown = Cell(element("span", "–"), "–")
    made = Table("t", "c", ("a", "b"), ((Cell.of("B"), small), (Cell.of("a"), unknown)))
    page = PrintedPage(str(table_markup(made)))
    cells = [each for each in page.elements if each.tag in ("td", "th")][2:]
    assert [c.attributes.get("data-order") for c in cells] == ["b", "0.0041", "a", None]


def test_a_table_has_a_caption_a_box_that_can_be_scrolled_by_keyboard_and_a_menu() -> None:
    page = PrintedPage(str(table_markup(table("x"))))
    (box,) = page.all("div", class_="scroll")
    assert box.attributes["tabindex"] == "0"
    (caption,) = page.all("caption")
    assert box.attributes["aria-labelledby"] == caption.attributes["id"]
    (menu,) = page.all("details")
    assert "hidden" in menu.attributes  # the script shows it: without it nothing would happen
    forms = [each.attributes["data-copy"] for each in page.all("button")]
    assert forms == ["markdown", "csv", "latex"]
    assert page.all("span", role="status")
