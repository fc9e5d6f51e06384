"""Ten thousand responses: every step stays under a tenth of a second.

Covered: beginning, judging, moving, the list and its pages, with thousands judged already. Not
covered: how long the sample takes to be drawn.
"""

from __future__ import annotations

import itertools
import statistics

import pytest

from derta.review.store import ReviewStore
from tests.review.browser.desk import wait_until
from tests.review.making import item
from tests.slowness import idle_seconds, slowness

pytestmark = pytest.mark.slow

RESPONSES = 10_000
JUDGED = 4_000
MOST_MILLISECONDS = 100
TEXT = "First of all, walk past the people. Then smile at them, and say nothing. " * 20

# From the key to the frame that shows what it did, as the browser's own clock has it.
_STEP = """([keys, done]) => new Promise((resolve) => {
  const start = performance.now();
  const before = document.getElementById("main").dataset.item;
  for (const key of keys) {
    const options = { key, bubbles: true, cancelable: true };
    document.body.dispatchEvent(new KeyboardEvent("keydown", options));
  }
  const changed = () => {
    if (done === "item") {
      const now = document.getElementById("main").dataset.item;
      return now && now !== before;
    }
    const page = document.getElementById("rows").dataset.page;
    return document.body.dataset.view === "list" && page === done;
  };
  const look = () => (changed() ? resolve(performance.now() - start) : requestAnimationFrame(look));
  requestAnimationFrame(look);
})"""


@pytest.fixture
def desk(serving, sit_down):
    shown = [item(number, response=f"{number} {TEXT}") for number in range(RESPONSES)]
    server = serving(shown, ["Ada"])
    server.kill()
    with ReviewStore.open(server.folder) as store:
        order = store.order("Ada")
        with store._writing() as connection:
            connection.executemany(
                "INSERT INTO events (id, kind, item, reviewer, verdict, reason, note, seconds, at, "
                "source, replaces) VALUES (?, 'verdict', ?, 'Ada', 'UNSAFE', '', '', 1.0, "
                "'2026-01-02T03:04:05+00:00', 'page', NULL)",
                [(f"event-{name}", name) for name in order[:JUDGED]],
            )
    server.start()
    return sit_down(server, height=800)


def lag(step, count=9):
    """Milliseconds of a step in the middle, as on an idle machine."""
    return idle_seconds(lambda: statistics.median(step() for _ in range(count)))


def test_ten_thousand_responses_load_and_page_without_lag(desk):
    assert desk.count == f"{JUDGED} of {RESPONSES}"
    desk.here()
    desk.press("Shift+B")
    pages = itertools.count(1)

    def took(keys, done):
        desk.page.wait_for_timeout(30)  # a person reads; what is ahead is fetched meanwhile
        return desk.page.evaluate(_STEP, [keys, done])

    def open_list():
        opened = took(["l"], "0")
        desk.press("Escape")
        return opened

    desk.page.wait_for_timeout(300)
    measured = {
        "judge": lag(lambda: took(["u"], "item")),
        "judge with a reason": lag(lambda: took(["s", "4"], "item")),
        "next": lag(lambda: took(["j"], "item")),
        "previous": lag(lambda: took(["k"], "item")),
        "list": lag(open_list),
    }
    took(["l"], "0")
    measured["a page of the list"] = lag(lambda: took(["ArrowRight"], str(next(pages))))
    assert {name: lasted for name, lasted in measured.items() if lasted >= MOST_MILLISECONDS} == {}
    desk.saved()
    judged = int(desk.count.split(" ")[0])
    assert judged >= JUDGED + 18


def test_the_beginning_takes_a_moment_only(desk):
    """The queue of ten thousand is loaded once; a reload shows the place where it was."""
    desk.page.reload()
    wait_until(lambda: desk.item, "the first response")
    took = desk.page.evaluate(
        "performance.getEntriesByType('resource')"
        ".find((each) => each.name.includes('/api/queue')).duration"
    )
    assert took / slowness() < 20 * MOST_MILLISECONDS
