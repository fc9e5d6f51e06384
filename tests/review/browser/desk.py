"""A reviewer at the page: what a person sees and does, by the keyboard.

Covered: pressing keys, reading what the page says, and what is on the disk. Not covered: what ought
to be there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from derta.analysis.review_database import database_path

SECONDS = 30
_STEP_SECONDS = 0.02


def wait_until(true: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Wait for something to be so."""
    ends = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < ends, f"waited {seconds} s for: {what}"
        time.sleep(_STEP_SECONDS)
    return found


def rows(server: Any) -> list[tuple[str, ...]]:
    """All events on the disk, read by nothing but SQLite."""
    with closing(sqlite3.connect(database_path(server.folder))) as connection:
        query = "SELECT reviewer, item, kind, verdict, reason, id FROM events ORDER BY number"
        return connection.execute(query).fetchall()


class Desk:
    """One window."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def begin(self, name: str) -> None:
        """Type the name and begin."""
        self.page.wait_for_selector("#name:focus")
        self.page.keyboard.type(name)
        self.page.keyboard.press("Enter")
        wait_until(lambda: self.view in ("reading", "finished"), "the first response")
        self.here()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    @property
    def view(self) -> str:
        return str(self.page.evaluate("document.body.dataset.view || ''"))

    @property
    def item(self) -> str:
        """The response that is shown; empty: none, or it is on its way."""
        return str(self.page.evaluate("document.getElementById('main').dataset.item || ''"))

    def here(self) -> str:
        """The response that is shown, once it is there; empty at the end of the row."""
        wait_until(lambda: self.item or self.view == "finished", "a response")
        return self.item

    def text(self, selector: str) -> str:
        """What stands somewhere, if it is seen."""
        found = self.page.locator(selector)
        return str(found.inner_text()).strip() if found.is_visible() else ""

    @property
    def said(self) -> str:
        return self.text("#said")

    @property
    def count(self) -> str:
        return str(self.page.locator("#count").text_content())

    @property
    def waiting(self) -> int:
        """How many verdicts the page says are not saved yet."""
        return int(self.page.locator("#saved").get_attribute("data-waiting") or 0)

    def saved(self) -> None:
        """Wait until the page says that all is saved."""
        wait_until(lambda: self.waiting == 0, "all saved")
        assert self.page.locator("#saved").text_content() == "All saved"

    def judge(self, *keys: str) -> str:
        """Show the response if it is hidden, press the keys, and return which response it was."""
        item = self.here()
        assert item
        if self.page.evaluate("document.getElementById('main').dataset.shown") == "false":
            self.press("b")
        self.press(*keys)
        return item
