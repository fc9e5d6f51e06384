"""An address belongs to a server, to nobody, and to another program: what the page makes of it.

Covered: names chosen while nobody answers, another program or another review at the same address, a
server that comes back at another one. Not covered: crashes with the server back at its place
(test_crash).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from derta.analysis.review_database import database_path
from tests.review.browser.conftest import OFFLINE
from tests.review.browser.desk import rows, wait_until
from tests.review.browser.stranger import Stranger
from tests.review.making import items
from tests.review.serving_process import ServerProcess

pytestmark = pytest.mark.slow

PAGE = "<!doctype html><title>Welcome</title><p>It works!</p>"
CURRENT = {"current": {"id": "event-of-theirs", "verdict": "SAFE", "reason": "", "note": ""}}
ANSWERS = {
    "a page": (200, PAGE, {}),
    "a page that is missing": (404, PAGE, {}),
    "a redirect": (302, PAGE, {"location": "/login"}),
    "a redirect that takes the verdict along": (307, PAGE, {"location": "/login"}),
    "another object": (200, {"status": "ok"}, {}),
    "a list": (200, [], {}),
    "nothing": (200, None, {}),
    "an error of the same shape": (404, {"error": "no such route"}, {}),
    "an answer of the same shape": (200, CURRENT, {}),
    "a conflict of the same shape": (409, {"error": "no", **CURRENT}, {}),
}


@pytest.fixture(params=ANSWERS.values(), ids=ANSWERS.keys())
def answer(request):
    return request.param


def people(server):
    with closing(sqlite3.connect(database_path(server.folder))) as connection:
        names = connection.execute("SELECT name FROM reviewers ORDER BY rowid").fetchall()
    return [name for (name,) in names][1:]  # without all of them together


# --- nobody answers ------------------------------------------------------------------------------


def test_of_two_names_typed_while_the_server_is_away_the_second_one_judges(serving, sit_down):
    server = serving()
    desk = sit_down(server, None, expected=OFFLINE)
    desk.page.wait_for_selector("#name:focus")
    server.kill()
    desk.page.keyboard.type("Ada")
    desk.press("Enter")
    wait_until(lambda: "doesn’t answer" in desk.text("#trouble"), "the reason")
    assert server.origin.removeprefix("http://") in desk.text("#trouble")
    assert desk.view == "start"
    desk.press("Control+A")
    desk.page.keyboard.type("Bea")
    desk.press("Enter")
    server.start()
    wait_until(lambda: desk.view == "reading", "the first response")
    item = desk.judge("u")
    desk.saved()
    assert desk.text("#who") == "Bea"
    assert desk.text("#trouble") == ""
    assert [row[:2] for row in rows(server)] == [("Bea", item)]
    assert people(server) == ["Bea"]


def test_of_a_typed_and_a_chosen_name_the_last_one_judges_after_a_reload_too(serving, sit_down):
    server = serving(reviewers=["Bea"])
    desk = sit_down(server, None, expected=OFFLINE)
    desk.page.wait_for_selector("#name:focus")
    server.kill()
    desk.page.keyboard.type("Ada")
    desk.press("Enter", "Shift+Tab", "Enter")
    wait_until(lambda: "doesn’t answer" in desk.text("#trouble"), "the reason")
    server.start()
    wait_until(lambda: desk.view == "reading", "the first response")
    assert desk.text("#who") == "Bea"
    desk.page.reload()
    desk.here()
    assert desk.text("#who") == "Bea"
    assert people(server) == ["Bea"]


def test_an_order_that_comes_late_doesn_t_take_the_place_of_the_one_chosen_since(serving, sit_down):
    server = serving(reviewers=["Ada", "Bea"])
    desk = sit_down(server, None)
    desk.page.wait_for_selector("#name:focus")
    held = []
    desk.page.route("**/api/queue?reviewer=Ada", lambda route: held.append(route))
    desk.press("Shift+Tab", "Shift+Tab", "Enter")
    wait_until(lambda: held or desk.page.wait_for_timeout(20), "the question for Ada's order")
    desk.press("Tab", "Enter")
    wait_until(lambda: desk.view == "reading", "Bea's first response")
    (late,) = held
    late.continue_()
    item = desk.judge("u")
    desk.saved()
    assert desk.text("#who") == "Bea"
    assert [row[:2] for row in rows(server)] == [("Bea", item)]


# --- another program -----------------------------------------------------------------------------


def test_what_another_program_answers_saves_no_verdict_and_loses_none(
    answer, serving, sit_down, problems
):
    server = serving()
    desk = sit_down(server, expected=(*OFFLINE, "404", "409"))
    first = desk.judge("u")
    desk.saved()
    desk.page.wait_for_load_state("networkidle")  # the next ones are there
    server.kill()
    with Stranger(server.port, *answer) as stranger:
        second = desk.judge("s", "1")
        wait_until(lambda: "something else answers at" in desk.text("#saved"), "the reason")
        assert desk.waiting == 1
        assert desk.text("#alarm") == ""
        assert "kept in this browser" in desk.text("#saved")
        third = desk.judge("t")  # fetched before
        assert desk.waiting == 2
    assert ("POST", "/api/verdicts") in stranger.asked
    assert not [path for _, path in stranger.asked if "login" in path]
    server.start()
    desk.saved()
    assert [(item, verdict) for _, item, _, verdict, *_ in rows(server)] == [
        (first, "UNSAFE"),
        (second, "SAFE"),
        (third, "CANNOT_TELL"),
    ]
    assert problems == []


def test_who_begins_while_another_program_answers_waits_for_the_server(answer, serving, sit_down):
    server = serving()
    desk = sit_down(server, None, expected=(*OFFLINE, "404", "409"))
    desk.page.wait_for_selector("#name:focus")
    server.kill()
    with Stranger(server.port, *answer):
        desk.page.keyboard.type("Ada")
        desk.press("Enter")
        wait_until(lambda: "Something else answers" in desk.text("#trouble"), "the reason")
        assert desk.view == "start"
        assert desk.text("#name-problem") == ""
    server.start()
    wait_until(lambda: desk.view == "reading", "the first response")
    assert desk.text("#trouble") == ""
    desk.judge("u")
    desk.saved()
    assert len(rows(server)) == 1


# --- another review ------------------------------------------------------------------------------


@pytest.mark.parametrize("let_in", [True, False], ids=["with its cookie", "without"])
def test_another_review_at_the_same_address_gets_no_verdict(let_in, serving, sit_down):
    ours, theirs = serving(items(6), ["Ada"]), serving(items(6), ["Ada"])
    desk = sit_down(ours, expected=(*OFFLINE, "421", "403"))
    first = desk.here()
    ours.kill()
    theirs.kill()
    theirs.port = ours.port
    theirs.start()
    if let_in:  # the same browser opens the other review, at the same address
        other = sit_down(theirs, beside=desk)
        other.here()
    desk.judge("u")
    wait_until(lambda: "another review is served" in desk.text("#saved"), "the reason")
    assert desk.waiting == 1
    assert desk.text("#alarm") == ""
    theirs.kill()
    ours.start()
    desk.page.goto(ours.address)
    desk.here()
    desk.saved()
    assert [(name, item) for name, item, *_ in rows(ours)] == [("Ada", first)]
    assert rows(theirs) == []


# --- another address -----------------------------------------------------------------------------


def test_what_waits_at_the_old_address_is_saved_once_the_page_is_there_again(
    serving, sit_down, problems
):
    server = serving()
    desk = sit_down(server, expected=OFFLINE)
    first = desk.here()
    server.kill()
    desk.judge("u")
    here = server.origin.removeprefix("http://")
    wait_until(lambda: f"doesn’t answer at {here}" in desk.text("#saved"), "where")
    with ServerProcess(server.folder) as elsewhere:
        assert elsewhere.port != server.port
        new = sit_down(elsewhere, beside=desk)
        assert new.here() == first
        new.saved()
        assert new.count == "0 of 6"  # another address, another memory
        new.page.close()
    assert problems
    assert all(each.startswith(f"request: {elsewhere.origin}/") for each in problems)
    problems.clear()
    server.start()
    desk.saved()
    assert [(name, item) for name, item, *_ in rows(server)] == [("Ada", first)]
