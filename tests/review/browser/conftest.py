"""A real browser before a real review server.

The browser is that of tests.report.browser; without it the tests are skipped, or fail where
DERTA_BROWSER_TESTS=required. Whatever a test does, when it is done the page must have asked only
its own server, reported no error, and opened no dialog; a test that kills the server says so.

Covered: windows and servers. Not covered: other browsers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.human_verdicts import ReviewItem
from tests.report.browser.conftest import (
    TIMEOUT_MILLISECONDS,
    browser,
    note_what_ran,
    problems,
)
from tests.review.browser.desk import Desk
from tests.review.making import items, made_store
from tests.review.serving_process import ServerProcess

__all__ = ["browser", "problems"]

OFFLINE = ("net::ERR_",)
"""What a browser reports when the server is gone: refused, reset, broken off in the middle."""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Serve a review in a process of its own; it is gone when the test is done."""
    servers: list[ServerProcess] = []

    def start(
        shown: Sequence[ReviewItem] | int = 6, reviewers: Sequence[str] = (), **options: Any
    ) -> ServerProcess:
        folder = tmp_path / f"review{len(servers)}"
        made = items(shown) if isinstance(shown, int) else shown
        made_store(folder, made, reviewers).close()
        server = ServerProcess(folder, **options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def sit_down(browser: Any, problems: list[str]) -> Iterator[Callable[..., Desk]]:
    """Open the page in a window with a memory of its own, as another person's browser would."""
    contexts: list[Any] = []

    def open_it(
        server: ServerProcess,
        name: str | None = "Ada",
        *,
        width: int = 1280,
        height: int = 900,
        script: str = "",
        beside: Desk | None = None,
        expected: Sequence[str] = (),
        **options: Any,
    ) -> Desk:
        """Open a window.

        Args:
            server: to go to.
            name: of the reviewer, typed in; None: stay at the start.
            width: of the window.
            height: of the window.
            script: runs before the page's own.
            beside: open another window of this one's browser.
            expected: parts of console messages that are no problem.
            options: of the browser's context.
        """
        if beside is None:
            size = {"width": width, "height": height}
            context = browser.new_context(viewport=size, **options)
            contexts.append(context)
            context.set_default_timeout(TIMEOUT_MILLISECONDS)
            context.on("request", lambda request: _asked(request, server, problems))
        else:
            context = beside.page.context
        page = context.new_page()

        def said(message: Any) -> None:
            if message.type in ("error", "warning"):
                if any(each in message.text for each in expected):
                    return
                problems.append(f"console: {message.text[:300]}")

        page.on("console", said)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
        page.on("popup", lambda other: problems.append(f"a window: {other.url[:200]}"))
        if script:
            page.add_init_script(script)
        page.goto(server.address, wait_until="load")
        desk = Desk(page)
        if name is not None:
            desk.begin(name)
        return desk

    yield open_it
    for context in contexts:
        for page in context.pages:
            note_what_ran(page, problems)
        context.close()
    assert problems == []


def _asked(request: Any, server: ServerProcess, problems: list[str]) -> None:
    if not request.url.startswith(server.origin + "/"):
        problems.append(f"request: {request.url[:200]}")
