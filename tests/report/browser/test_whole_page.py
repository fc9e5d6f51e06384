"""The whole page in a browser: fast, silent, the same for mouse, keyboard, print, phone and dark.

All pages are of made-up runs. Not covered: whether its figures are right (tests that need no
browser), reading responses (test_responses).
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.report.browser.conftest import note_what_ran
from tests.report.browser.looking import (
    headings,
    nameless,
    overflow,
    poor_contrasts,
    tab_stops,
)
from tests.slowness import idle_seconds

pytestmark = pytest.mark.slow

SECONDS_TO_OPEN = 2.0
"""As on an idle machine, where 0.5 s is usual."""
LARGEST_BYTES = 5_000_000


def open_details(page: Any) -> None:
    page.evaluate(
        "() => { for (const each of document.querySelectorAll('main details:not(.copy)')) "
        "each.open = true; }"
    )


# --- the watch itself ---------------------------------------------------------------------------


def test_whatever_a_page_may_not_do_would_be_seen(tmp_path, open_page, problems):
    path = tmp_path / "bad.html"
    path.write_text(
        "<img src='other.png'><script>window.hacked = true; console.error('oh'); alert(1);"
        "open('about:blank'); throw new Error('no')</script>",
        encoding="utf-8",
    )
    page = open_page(path, ready=False)
    page.wait_for_timeout(200)
    note_what_ran(page, problems)
    seen = " | ".join(problems)
    for words in ("request: ", "console: oh", "a dialog", "error: no", "a script of the texts ran"):
        assert words in seen
    problems.clear()
    page.evaluate("() => { delete window.hacked; window.hacked = undefined; }")


# --- size and speed ----------------------------------------------------------------------------


def test_a_suite_of_three_models_is_under_5_mb_and_opens_in_two_seconds(made, open_page):
    path = made(questions=40)
    assert path.stat().st_size < LARGEST_BYTES

    def seconds_to_read():
        page = open_page(path)
        took = page.evaluate(
            "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
        )
        page.close()
        return took / 1000

    assert idle_seconds(seconds_to_read) < SECONDS_TO_OPEN
    assert idle_seconds(lambda: seconds_to_use(open_page, path)) < SECONDS_TO_OPEN


def test_a_run_too_large_for_the_page_still_opens_in_two_seconds(made, open_page):
    path = made(questions=120)
    assert path.stat().st_size < LARGEST_BYTES
    assert idle_seconds(lambda: seconds_to_use(open_page, path)) < SECONDS_TO_OPEN
    assert open_page(path).locator("article.asked").count() == 25


def seconds_to_use(open_page, path):
    """Until the window is open and the responses are listed."""
    start = time.perf_counter()
    page = open_page(path)
    took = time.perf_counter() - start
    page.close()
    return took


# --- without mouse, script, light or room ------------------------------------------------------


def test_without_javascript_every_figure_is_there(made, open_page):
    with_script = open_page(made())
    without = open_page(made(), ready=False, java_script_enabled=False)
    count = with_script.locator("[data-figure]").count()
    assert count > 100
    assert without.locator("[data-figure]").count() == count
    assert without.locator("svg:visible").count() > 3
    assert without.locator("details.copy:visible").count() == 0


@pytest.mark.parametrize("width", [320, 360, 768, 1280, 1920])
@pytest.mark.parametrize("hostile", [False, True])
def test_the_page_is_never_wider_than_its_window(width, hostile, made, open_page):
    page = open_page(made(hostile=hostile), width=width)
    assert overflow(page) <= 0
    open_details(page)
    assert overflow(page) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_text_has_contrast(scheme, width, made, open_page):
    page = open_page(made(), width=width, color_scheme=scheme)
    open_details(page)
    assert poor_contrasts(page) == []


def test_dark_is_dark_and_print_is_light(made, open_page):
    page = open_page(made(), color_scheme="dark")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(21, 23, 26)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"


def test_print_has_tables_and_pictures_and_no_controls(made, open_page):
    page = open_page(made())
    page.emulate_media(media="print")
    assert page.locator("main svg:visible").count() > 3
    assert page.locator("table.figures:visible").count() > 3
    for controls in (".copy", ".filters", "#reveal-all", ".show", ".contents", ".skip"):
        assert page.locator(f"{controls}:visible").count() == 0
    page.pdf(path=None)  # it can be laid out on paper


def test_headings_are_in_order(made, open_page):
    found = headings(open_page(made(), address="#scenario=prefill"))
    levels = [level for level, _ in found]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(words for _, words in found)
    titles = [words for level, words in found if level == 2]
    assert len(titles) == len(set(titles))
    assert "Read the responses" in titles


def test_everything_that_can_be_used_has_a_name(made, open_page):
    page = open_page(made())
    open_details(page)
    assert nameless(page) == []


def test_the_tab_key_goes_through_the_page_in_its_order_and_is_seen(made, open_page):
    page = open_page(made(), address="#scenario=prefill")
    stops = tab_stops(page)
    assert stops[0]["class"] == "skip"
    places = [stop["place"] for stop in stops]
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    assert all(stop["shown"] for stop in stops)
    assert all(stop["outlined"] for stop in stops)
    identifiers = [stop["id"] for stop in stops]
    for control in ("filter-q", "filter-scenario", "reveal-all", "responses-more"):
        assert control in identifiers


def test_contents_lead_to_their_sections(made, open_page):
    page = open_page(made())
    links = page.locator("nav.contents a")
    assert links.count() > 5
    for link in links.all():
        target = link.get_attribute("href")
        assert page.locator(f"section{target}").count() == 1
    links.last.click()
    section = page.locator(f"section{links.last.get_attribute('href')}")
    assert section.evaluate("n => Math.abs(n.getBoundingClientRect().top) < innerHeight")


# --- tables ------------------------------------------------------------------------------------


def table_with_rows(page: Any, least: int = 4) -> Any:
    for table in page.locator("table.figures").all():
        if table.is_visible() and table.locator("tbody tr").count() >= least:
            return table
    raise AssertionError("no table")


def column(table: Any, index: int) -> list[tuple[str | None, str]]:
    found = table.evaluate(
        "(node, at) => [...node.tBodies[0].rows].map((row) => "
        "[row.cells[at].dataset.order ?? null, row.cells[at].textContent])",
        index,
    )
    return [(order, words) for order, words in found]


def test_tables_are_sorted_up_down_and_back_by_the_keyboard(made, open_page):
    page = open_page(made())
    table = table_with_rows(page)
    original = column(table, 0)
    heads = table.locator("thead th")
    numeric = next(
        index
        for index in range(heads.count())
        if len({order for order, _ in column(table, index)}) > 2
        and all(order is None or _is_number(order) for order, _ in column(table, index))
    )
    button = heads.nth(numeric).locator("button")
    button.focus()
    for direction, reverse in (("ascending", False), ("descending", True)):
        page.keyboard.press("Enter")
        assert heads.nth(numeric).get_attribute("aria-sort") == direction
        orders = [order for order, _ in column(table, numeric)]
        known = [float(order) for order in orders if order is not None]
        assert known == sorted(known, reverse=reverse)
        assert all(order is None for order in orders[len(known) :])
    page.keyboard.press("Enter")
    assert heads.nth(numeric).get_attribute("aria-sort") is None
    assert column(table, 0) == original


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_every_table_is_copied_in_three_forms(made, open_page):
    page = open_page(made())
    _keep_what_is_copied(page)
    open_details(page)
    menus = page.locator("details.copy")
    assert menus.count() > 5
    for menu in menus.all():
        menu.locator("summary").click()
        rows = menu.locator("xpath=..").locator("table.figures tbody tr").count()
        copied = {}
        for name in ("Markdown", "CSV", "LaTeX"):
            menu.get_by_role("button", name=name).click()
            page.wait_for_function(
                "([node, words]) => node.querySelector('[role=status]').textContent === words",
                arg=[menu.element_handle(), f"Copied as {name}"],
            )
            copied[name] = page.evaluate("() => window.copied")
        assert copied["Markdown"].count("\n") == rows + 2
        assert copied["Markdown"].splitlines()[1].startswith("| ---")
        assert len(list(csv.reader(io.StringIO(copied["CSV"])))) == rows + 1
        assert copied["LaTeX"].startswith(r"\begin{tabular}")
        assert copied["LaTeX"].count(r" \\") == rows + 1
        page.keyboard.press("Escape")
        assert menu.get_attribute("open") is None


def _keep_what_is_copied(page: Any) -> None:
    """Stand in for the clipboard, which belongs to the machine and not to the test."""
    page.evaluate(
        "() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }"
    )


def test_without_a_clipboard_a_table_is_copied_through_a_selection_or_the_page_says_so(
    made, open_page
):
    page = open_page(made())
    page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"
    )
    menu = page.locator("details.copy").first
    menu.locator("summary").click()
    menu.get_by_role("button", name="CSV").click()
    status = menu.locator("[role=status]")
    page.wait_for_function("node => node.textContent !== ''", arg=status.element_handle())
    assert re.match(r"Copied as CSV|The browser doesn’t let", status.text_content())
    assert page.locator("textarea").count() == 0


# --- pages of other runs -----------------------------------------------------------------------


def test_a_hostile_run_is_copied_as_text(made, open_page):
    page = open_page(made(hostile=True))
    _keep_what_is_copied(page)
    open_details(page)
    for menu in page.locator("details.copy").all()[:3]:
        menu.locator("summary").click()
        menu.get_by_role("button", name="Markdown").click()
        page.wait_for_function("() => window.copied")
        assert "<script>" not in page.evaluate("() => window.copied")
        page.keyboard.press("Escape")


def test_several_folders_make_one_page(tmp_path: Path, open_page):
    from derta.report.evaluation_page.page import write_evaluation_page
    from tests.analysis.fake_run import write_fake_run

    folders = [tmp_path / "first", tmp_path / "second"]
    for number, folder in enumerate(folders):
        write_fake_run(folder, models=1, questions=6, seed=number)
    write_evaluation_page(folders, tmp_path / "report.html", command="derta report first second")
    page = open_page(tmp_path / "report.html", address="#scenario=direct")
    names = page.locator("article.asked").first.locator("h4").all_text_contents()
    assert [name.strip() for name in names] == ["untouched (first)", "untouched (second)"]
    assert overflow(page) <= 0
