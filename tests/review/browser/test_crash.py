"""Two reviewers at work, and the server is killed among them: nothing is lost, nothing doubled.

Covered: kill -9 of a real server process at any moment, answers that never arrive, refusals of the
server, reloads. Not covered: two windows of one reviewer (test_windows), another program in the
server's place (test_address), a machine that loses its power (the store commits with
synchronous=FULL), a browser that is killed before its memory is on disk.
"""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from derta.analysis.human_verdicts import REASONS
from derta.review.security import REVIEW_HEADER
from tests.review.browser.conftest import OFFLINE
from tests.review.browser.desk import rows, wait_until
from tests.review.making import items

pytestmark = pytest.mark.slow

OURS = {REVIEW_HEADER: "of a review"}
RESPONSES = 50
CRASHES = {9: 3, 19: 0, 31: 4, 42: 1}
"""After so many responses of each the server is killed, and comes back after so many more."""


def plan(reviewer: str, item: str) -> tuple[tuple[str, ...], tuple[str, str]]:
    """What a reviewer will say of a response: the keys, and what must be on the disk."""
    draw = random.Random(f"{reviewer} {item}")
    choice = draw.choice(("u", "t", "s", "s"))
    if choice == "u":
        return ("u",), ("UNSAFE", "")
    if choice == "t":
        return ("t",), ("CANNOT_TELL", "")
    number = draw.randrange(len(REASONS) + 1)
    if number == len(REASONS):
        return ("s", "Enter"), ("SAFE", "")
    return ("s", str(number + 1)), ("SAFE", list(REASONS)[number])


def test_fifty_responses_two_reviewers_keyboard_only_through_crashes(serving, sit_down):
    server = serving(items(RESPONSES))
    desks = {
        "Ada": sit_down(server, "Ada", expected=OFFLINE),
        "Bea": sit_down(server, "Bea", expected=OFFLINE),
    }
    desks["Bea"].here()
    desks["Bea"].press("Shift+B")  # she shows all of them, Ada one after the other
    draw = random.Random(8)
    orders: dict[str, list[str]] = {name: [] for name in desks}
    comes_back = None
    offline_seen = 0
    for number in range(RESPONSES):
        for name, desk in desks.items():
            item = desk.here()
            assert item not in orders[name]
            assert desk.judge(*plan(name, item)[0]) == item
            orders[name].append(item)
            if number in CRASHES and name == "Ada":
                # In the middle: Ada's last verdict may be on its way, written, or neither.
                time.sleep(draw.uniform(0, 0.02))
                server.kill()
                comes_back = number + CRASHES[number]
        if comes_back is not None:
            # Ada's last one before the crash may have come through.
            for desk in (desks["Bea"],) if number in CRASHES else desks.values():
                wait_until(lambda desk=desk: desk.waiting > 0, "a verdict that is not saved yet")
                wait_until(lambda desk=desk: "not saved yet" in desk.text("#saved"), "the words")
            offline_seen += 1
            if number >= comes_back:
                server.start()
                comes_back = None
    for desk in desks.values():
        desk.saved()
        assert desk.view == "finished"
        assert desk.text("#finished-title") == f"All {RESPONSES} judged"
    assert offline_seen == sum(CRASHES.values()) + len(CRASHES)
    assert orders["Ada"] != orders["Bea"]  # each has an order of their own
    found = rows(server)
    assert len(found) == 2 * RESPONSES
    assert {kind for _, _, kind, _, _, _ in found} == {"verdict"}
    assert len({identity for *_, identity in found}) == 2 * RESPONSES
    assert Counter(name for name, *_ in found) == {"Ada": RESPONSES, "Bea": RESPONSES}
    assert {(name, item): (verdict, reason) for name, item, _, verdict, reason, _ in found} == {
        (name, f"item{number}"): plan(name, f"item{number}")[1]
        for name in desks
        for number in range(RESPONSES)
    }
    assert [item for name, item, *_ in found if name == "Ada"] == orders["Ada"]
    assert [item for name, item, *_ in found if name == "Bea"] == orders["Bea"]


def test_what_was_said_while_the_server_was_away_survives_a_reload(serving, sit_down):
    server = serving()
    desk = sit_down(server, expected=OFFLINE)
    first = desk.judge("u")
    desk.saved()
    server.kill()
    second = desk.judge("s", "1")
    third = desk.here()
    desk.press("n")
    desk.page.keyboard.type("slow")
    desk.press("Escape")
    desk.judge("t")
    desk.press("z")
    assert desk.here() == third
    wait_until(lambda: desk.waiting == 3, "three that wait")
    assert "the server doesn’t answer" in desk.text("#saved")
    server.start()
    desk.page.reload()
    assert desk.here() == third
    desk.saved()
    assert desk.count == "2 of 6"
    assert desk.page.locator("#note").input_value() == "slow"
    assert [(item, kind) for _, item, kind, *_ in rows(server)] == [
        (first, "verdict"),
        (second, "verdict"),
        (third, "verdict"),
        (third, "undo"),
    ]


def test_a_verdict_whose_confirmation_never_arrived_is_not_doubled(serving, sit_down):
    server = serving()
    desk = sit_down(server, expected=["net::ERR_FAILED"])
    lost = []

    def lose(route):
        if len(lost) < 3:
            lost.append(route.fetch().status)  # the server has it on disk
            route.abort()
        else:
            route.continue_()

    desk.page.route("**/api/verdicts", lose)
    given = [desk.judge("u"), desk.judge("s", "2")]
    desk.saved()
    assert lost == [200, 200, 200]
    assert [(item, verdict) for _, item, _, verdict, *_ in rows(server)] == [
        (given[0], "UNSAFE"),
        (given[1], "SAFE"),
    ]


def test_an_answer_that_breaks_off_counts_as_none(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    first = desk.here()
    broken = {"order": 0, "verdicts": 0, "items": 0}

    def break_off(kind):
        def answer(route):
            broken[kind] += 1
            if broken[kind] > 1:
                route.continue_()
            else:
                route.fetch()
                broken_off = {**OURS, "content-type": "application/json"}
                route.fulfill(status=200, headers=broken_off, body='{"id": "')

        return answer

    desk.page.route("**/api/queue*", break_off("order"))
    desk.page.route("**/api/verdicts", break_off("verdicts"))
    desk.page.route(f"**/api/items/{first}", break_off("items"))
    desk.page.reload()
    assert desk.here() == first
    assert desk.judge("u") == first
    desk.saved()
    assert min(broken.values()) > 1
    assert len(rows(server)) == 1


def test_a_server_that_can_not_write_is_told_apart_and_asked_again(serving, sit_down):
    server = serving()
    desk = sit_down(server, expected=["503"])
    full = {"status": 503, "json": {"error": "The disk is full."}, "headers": OURS}
    desk.page.route("**/api/verdicts", lambda route: route.fulfill(**full))
    desk.judge("u")
    wait_until(lambda: "The disk is full" in desk.text("#saved"), "the reason")
    assert desk.waiting == 1
    assert "●" in desk.page.title()
    desk.page.unroute("**/api/verdicts")
    desk.saved()
    assert len(rows(server)) == 1


def test_a_verdict_that_will_never_be_taken_is_shown_and_holds_nothing_up(serving, sit_down):
    server = serving()
    desk = sit_down(server, expected=["400"])
    wrong = {"status": 400, "json": {"error": "That can't be so."}, "headers": OURS}
    desk.page.route("**/api/verdicts", lambda route: route.fulfill(**wrong))
    first = desk.judge("u")
    wait_until(lambda: "That can't be so." in desk.text("#alarm"), "the alarm")
    assert desk.count == "0 of 6"
    desk.page.unroute("**/api/verdicts")
    second = desk.judge("t")
    desk.saved()
    desk.page.reload()
    desk.here()
    assert "That can't be so." in desk.text("#alarm")  # until it is decided
    desk.press("c", "Enter")
    desk.saved()
    assert desk.text("#alarm") == ""
    assert [(item, verdict) for _, item, _, verdict, *_ in rows(server)] == [
        (second, "CANNOT_TELL"),
        (first, "UNSAFE"),
    ]


def test_a_page_whose_token_is_gone_keeps_everything(serving, sit_down):
    server = serving()
    desk = sit_down(server, expected=["403"])
    desk.here()
    desk.page.context.clear_cookies()
    desk.judge("u")
    wait_until(lambda: "needs its token" in desk.text("#saved"), "the reason")
    desk.page.goto(server.address)
    desk.here()
    desk.saved()
    assert len(rows(server)) == 1


def test_a_browser_that_keeps_nothing_says_so_and_still_sends(serving, sit_down):
    server = serving()
    full = "Storage.prototype.setItem = () => { throw new Error('full'); };"
    desk = sit_down(server, script=full, expected=OFFLINE)
    desk.here()
    server.kill()
    desk.judge("u")
    wait_until(lambda: "leave this window open" in desk.text("#saved"), "the warning")
    server.start()
    desk.saved()
    assert len(rows(server)) == 1


# --- two reviewers in one browser ---------------------------------------------------------------


def test_two_reviewers_in_one_browser_keep_apart(serving, sit_down):
    server = serving()
    ada = sit_down(server)
    bea = sit_down(server, "Bea", beside=ada)
    for _ in range(6):
        ada.judge("u")
        bea.judge("s", "1")
    ada.saved()
    bea.saved()
    verdicts = Counter((name, verdict) for name, _, _, verdict, *_ in rows(server))
    assert verdicts == {("Ada", "UNSAFE"): 6, ("Bea", "SAFE"): 6}
