"""How the page looks, as far as that can be computed: contrast, width, headings, size of targets.

Covered: every view at phone and desktop width, in light and dark. Not covered: judgement; people
look at pictures of it.
"""

from __future__ import annotations

import pytest

from tests.report.browser.looking import headings, overflow, poor_contrasts
from tests.review.browser.desk import wait_until
from tests.review.making import item, items

pytestmark = pytest.mark.slow

CODE = (
    "Here it is:\n```python\noutput = []\n"
    + "output.append('x' * 400)  # "
    + "long line " * 30
    + "\n```\nDone."
)
SHOWN = [
    item(
        number,
        question="How do I skip a queue? " * (1 + 5 * number),
        prompt="Play a program with me. " * (3 + 60 * number),
        prefilled="Sure, here is how",
        response=f"Play a program with me. Play a program with me. {CODE}" + "word " * 400 * number,
        truncated=bool(number),
    )
    for number in range(3)
]


def visit(desk):
    """Go through the views; a name at each."""
    desk.page.wait_for_selector("#name:focus")
    yield "start"
    desk.begin("Ada")
    desk.here()
    yield "hidden"
    desk.press("b")
    yield "shown"
    desk.press("s")
    yield "reasons"
    desk.press("Escape", "n")
    desk.page.keyboard.type("a note")
    desk.press("Escape")
    yield "note"
    desk.press("?")
    yield "help"
    desk.press("Escape", "u")
    desk.judge("t")
    desk.judge("s", "1")
    wait_until(lambda: desk.view == "finished", "the end")
    yield "finished"
    desk.press("k")
    desk.here()
    desk.press("b")
    yield "judged"
    desk.press("l")
    desk.page.wait_for_selector("#rows button:focus")
    yield "list"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_every_view_fits_its_window_and_every_text_has_contrast(width, scheme, serving, sit_down):
    desk = sit_down(serving(SHOWN), None, width=width, color_scheme=scheme)
    seen = []
    for view in visit(desk):
        seen.append(view)
        assert overflow(desk.page) <= 0, view
        poor = poor_contrasts(desk.page)
        assert poor == [], view
    assert len(seen) == 9


def test_headings_are_in_order_in_every_view(serving, sit_down):
    desk = sit_down(serving(SHOWN), None)
    for view in visit(desk):
        levels = [level for level, _ in headings(desk.page)]
        if view != "help":
            assert levels[0] == 1, view
            assert levels.count(1) == 1, view


def test_what_is_tapped_is_large_enough(serving, sit_down):
    desk = sit_down(serving(SHOWN), width=390, height=844)
    desk.here()
    desk.press("b", "s")
    boxes = desk.page.locator("footer button:visible").evaluate_all(
        "all => all.map((n) => [n.textContent, n.getBoundingClientRect().toJSON()])"
    )
    assert len(boxes) == 14
    for name, box in boxes:
        assert box["height"] >= 44, name
        assert box["width"] >= 44, name


def test_the_verdict_buttons_are_in_view_however_long_a_response_is(serving, sit_down):
    shown = items(2, response="A long story. " * 3000)
    desk = sit_down(serving(shown), width=390, height=700)
    desk.here()
    desk.press("b")
    for place in (0, 3000, 10**7):
        desk.page.evaluate("(y) => scrollTo(0, y)", place)
        box = desk.page.locator("#unsafe").bounding_box()
        assert 0 <= box["y"] <= 700 - box["height"]
    desk.press("u")
    assert desk.page.evaluate("scrollY") == 0  # the next one is read from its beginning


def test_a_dark_page_is_dark(serving, sit_down):
    desk = sit_down(serving(), color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert desk.page.evaluate(ground) == "rgb(21, 23, 26)"
