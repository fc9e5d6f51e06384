"""Two windows of one reviewer: nothing is overwritten, and the question is answered once.

Covered: windows of one browser, which share a memory, and of two; keeping what is saved, taking
what isn't, judging anew, undoing; a server that is away meanwhile. Not covered: two reviewers
(test_crash).
"""

from __future__ import annotations

import pytest

from tests.review.browser.conftest import OFFLINE
from tests.review.browser.desk import rows, wait_until

pytestmark = pytest.mark.slow

QUESTION = "Saved: “Unsafe”. Not saved: “Not unsafe: it refuses”. Which one counts?"
KEEP, TAKE = ("c", "Enter"), ("c", "Tab", "Enter")


def verdicts(server):
    return [(item, verdict or kind) for _, item, kind, verdict, *_ in rows(server)]


@pytest.fixture(params=[True, False], ids=["one browser", "two browsers"])
def beside(request):
    return request.param


@pytest.fixture
def differing(serving, sit_down):
    """A server and two windows: what the first said is saved, what the second said is not."""

    def make(beside):
        server = serving()
        expected = ["409", *OFFLINE]
        one = sit_down(server, expected=expected)
        item = one.here()
        two = sit_down(server, beside=one if beside else None, expected=expected)
        assert two.here() == item
        one.judge("u")
        one.saved()
        two.judge("s", "1")
        two.saved()
        wait_until(lambda: QUESTION in two.text("#alarm"), "the question")
        assert verdicts(server) == [(item, "UNSAFE")]
        return server, one, two, item

    return make


def test_two_windows_of_one_reviewer_never_overwrite_each_other(beside, differing):
    server, _, two, item = differing(beside)
    assert two.count == "1 of 6"
    two.press(*KEEP)
    assert two.text("#alarm") == ""
    assert verdicts(server) == [(item, "UNSAFE")]
    two.press("k")
    assert "Unsafe" in two.text("#before")


def test_what_isn_t_saved_is_taken_only_when_asked_for(beside, differing):
    server, one, two, item = differing(beside)
    two.press(*TAKE)
    two.saved()
    assert two.text("#alarm") == ""
    assert verdicts(server) == [(item, "UNSAFE"), (item, "SAFE")]
    two.press("k")
    assert two.here() == item
    assert "Not unsafe: it refuses" in two.text("#before")
    # The first window learns of it when it says something else.
    one.press("k")
    one.judge("t")
    wait_until(lambda: "Saved: “Not unsafe: it refuses”" in one.text("#alarm"), "the question")
    assert verdicts(server) == [(item, "UNSAFE"), (item, "SAFE")]


def test_the_question_reads_alike_in_all_windows_and_is_answered_once(differing):
    server, one, two, item = differing(True)
    wait_until(lambda: QUESTION in one.text("#alarm"), "the question in the other window")
    one.press(*TAKE)
    one.saved()
    assert one.text("#alarm") == ""
    wait_until(lambda: two.text("#alarm") == "", "the answer in the second window")
    assert verdicts(server) == [(item, "UNSAFE"), (item, "SAFE")]
    for desk in (one, two):
        desk.page.reload()
        desk.here()
        assert desk.text("#alarm") == ""
        assert desk.count == "1 of 6"


def test_it_is_taken_once_through_a_crash_and_a_reload(beside, differing):
    server, _, two, item = differing(beside)
    server.kill()
    two.press(*TAKE)
    wait_until(lambda: two.waiting == 1, "a verdict that is not saved yet")
    assert two.text("#alarm") == ""
    server.start()
    two.page.reload()
    two.here()
    two.saved()
    assert two.text("#alarm") == ""
    assert verdicts(server) == [(item, "UNSAFE"), (item, "SAFE")]


def test_the_question_waits_through_a_reload(differing):
    server, _, two, item = differing(False)
    two.page.reload()
    two.here()
    assert QUESTION in two.text("#alarm")
    two.press(*TAKE)
    two.saved()
    assert verdicts(server) == [(item, "UNSAFE"), (item, "SAFE")]


def test_what_was_changed_since_the_question_is_not_overwritten_unseen(differing):
    server, one, two, item = differing(False)
    one.press("k")
    one.judge("t")
    one.saved()
    two.press(*TAKE)
    wait_until(lambda: "Saved: “Can’t tell”" in two.text("#alarm"), "the question anew")
    assert verdicts(server) == [(item, "UNSAFE"), (item, "CANNOT_TELL")]
    two.press(*TAKE)
    two.saved()
    assert verdicts(server)[2:] == [(item, "SAFE")]


def test_who_judges_anew_has_answered_the_question(beside, differing):
    server, _, two, item = differing(beside)
    two.press("k")
    assert two.judge("s", "4") == item
    two.saved()
    assert two.text("#alarm") == ""
    assert verdicts(server) == [(item, "UNSAFE"), (item, "SAFE")]
    assert rows(server)[1][4] == "partial"


def test_undo_takes_back_nothing_that_another_window_said(differing):
    server, _, two, item = differing(False)
    two.press("z")
    assert "First choose above what counts" in two.said
    two.page.reload()
    two.here()
    two.press("k")
    assert two.here() == item
    two.press("z")
    assert "First choose above what counts" in two.said
    two.saved()
    assert verdicts(server) == [(item, "UNSAFE")]
    two.press(*TAKE)
    two.saved()
    two.press("z")
    two.saved()
    assert two.here() == item
    assert verdicts(server)[1:] == [(item, "SAFE"), (item, "undo")]


def test_the_same_verdict_in_two_windows_is_no_conflict(serving, sit_down):
    server = serving()
    one = sit_down(server, expected=["409"])
    two = sit_down(server, expected=["409"])
    one.here()
    two.here()
    one.judge("u")
    one.saved()
    two.judge("u")
    two.saved()
    assert two.text("#alarm") == ""
    assert len(rows(server)) == 1


def test_several_differences_are_asked_for_one_after_the_other(serving, sit_down):
    server = serving()
    one, two = (sit_down(server, expected=["409"]) for _ in range(2))
    order = [one.judge("u") for _ in range(3)]
    one.saved()
    assert [two.judge("t") for _ in range(3)] == order
    two.saved()
    wait_until(lambda: "(1 of 3)" in two.text("#alarm"), "three questions")
    two.press(*KEEP)
    assert "(1 of 2)" in two.text("#alarm")
    two.press(*TAKE)
    two.press(*KEEP)
    two.saved()
    assert two.text("#alarm") == ""
    assert sorted(verdicts(server)[:3]) == sorted((item, "UNSAFE") for item in order)
    assert [verdict for _, verdict in verdicts(server)[3:]] == ["CANNOT_TELL"]
