"""Where the browser's tests find their browser, and what happens where there is none."""

from __future__ import annotations

import pytest

from tests.report.browser import conftest


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in ("DERTA_CHROMIUM", "DERTA_BROWSER_TESTS"):
        monkeypatch.delenv(name, raising=False)


def test_a_browser_that_is_named_is_taken(monkeypatch, tmp_path):
    path = tmp_path / "my-chromium"
    path.touch()
    monkeypatch.setenv("DERTA_CHROMIUM", str(path))
    assert conftest.find_chromium() == str(path)
    path.unlink()
    with pytest.raises(pytest.fail.Exception, match="there is no such file"):
        conftest.find_chromium()


def test_without_a_browser_the_tests_are_skipped_with_the_reason_or_fail_if_required(monkeypatch):
    monkeypatch.setattr(conftest.shutil, "which", lambda _: None)
    with pytest.raises(pytest.skip.Exception, match="DERTA_CHROMIUM"):
        conftest.find_chromium()
    monkeypatch.setenv("DERTA_BROWSER_TESTS", "required")
    with pytest.raises(pytest.fail.Exception, match="no Chromium was found"):
        conftest.find_chromium()
