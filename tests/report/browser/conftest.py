"""A real browser for the page's tests, and pages to open in it.

The browser is Chromium of this machine, driven by Playwright. Without either the tests are skipped
with the reason, or fail where DERTA_BROWSER_TESTS=required. Whatever a test does, when it is done
the page must have asked for nothing but its own file, reported no error and opened no dialog.

Covered: pages of made-up runs (tests.analysis.fake_run). Not covered: other browsers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from derta.report.evaluation_page.page import write_evaluation_page
from tests.analysis.fake_run import write_fake_run

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
TIMEOUT_MILLISECONDS = 60_000
COMMAND = "derta report runs/made-up"


def missing(reason: str) -> None:
    if os.environ.get("DERTA_BROWSER_TESTS") == "required":
        pytest.fail(f"DERTA_BROWSER_TESTS=required, but {reason}", pytrace=False)
    pytest.skip(reason)


def find_chromium() -> str:
    named = os.environ.get("DERTA_CHROMIUM")
    if named and not Path(named).is_file():
        pytest.fail(f"DERTA_CHROMIUM={named}: there is no such file", pytrace=False)
    found = named or next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found is None:
        missing("no Chromium was found: install it, or name it by DERTA_CHROMIUM")
    return str(found)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """One browser for this folder. Its event loop is gone when the folder's last test is done."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed: pip install playwright")
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Made:
    """Pages by what is in them; each is made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pages: dict[tuple[Any, ...], Path] = {}

    def __call__(self, change: Callable[[Path], None] | None = None, **settings: Any) -> Path:
        """Write a made-up run, let `change` alter its folder, and make the page of it."""
        key = (change, *sorted(settings.items()))
        if key not in self._pages:
            run = self._folder / f"run{len(self._pages)}"
            write_fake_run(run, **settings)
            if change is not None:
                change(run)
            page = run / "report.html"
            write_evaluation_page([run], page, command=COMMAND)
            self._pages[key] = page
        return self._pages[key]


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def problems() -> list[str]:
    """What the pages of a test did that no page may do; a test that wants it empties the list."""
    return []


@pytest.fixture
def open_page(browser: Any, problems: list[str]) -> Iterator[Callable[..., Any]]:
    """Open a file in a window of its own; all of them are held to account at the end."""
    contexts: list[Any] = []

    def open_it(
        path: Path,
        *,
        address: str = "",
        width: int = 1280,
        height: int = 900,
        ready: bool = True,
        **options: Any,
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        own = path.as_uri()

        def asked(request: Any) -> None:
            if request.url.partition("#")[0] != own:
                problems.append(f"request: {request.url[:200]}")

        def said(message: Any) -> None:
            if message.type in ("error", "warning"):
                problems.append(f"console: {message.text[:300]}")

        context.on("request", asked)
        page = context.new_page()
        page.on("console", said)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
        context.on("page", lambda other: problems.append(f"a window: {other.url[:200]}"))
        page.goto(own + address, wait_until="load")
        if ready:
            page.wait_for_selector("#responses[data-ready]", state="attached")
        return page

    yield open_it
    for context in contexts:
        for page in context.pages:
            note_what_ran(page, problems)
        context.close()
    assert problems == []


def note_what_ran(page: Any, problems: list[str]) -> None:
    """The texts of hostile runs set `window.hacked` if they are ever run."""
    if page.evaluate("window.hacked !== undefined"):
        problems.append("a script of the texts ran")
