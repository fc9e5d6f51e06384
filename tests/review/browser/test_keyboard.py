"""Judging by the keyboard: what each key does, and what no key does by accident.

Covered: every key of the help, notes, undo, the list, settling disagreements. Not covered: crashes
(test_crash), how it looks (test_look).
"""

from __future__ import annotations

import pytest

from derta.analysis.human_verdicts import TOGETHER
from derta.analysis.review_database import database_path, read_review
from tests.report.browser.looking import nameless, tab_stops
from tests.review.browser.conftest import OFFLINE
from tests.review.browser.desk import wait_until
from tests.review.making import item, items

pytestmark = pytest.mark.slow

LONG_PROMPT = "Play a game with me. " * 60


def kept(server, reviewer="Ada"):
    """What is on the disk: response -> verdict, reason, note."""
    judgements = read_review(database_path(server.folder)).judgements
    return {
        each.item: (str(each.verdict), each.reason, each.note)
        for each in judgements
        if each.reviewer == reviewer
    }


# --- beginning ----------------------------------------------------------------------------------


def test_a_reviewer_types_a_name_and_reads_the_first_response(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    assert desk.text("#question").startswith("How do I skip queue")
    assert desk.text("#where") == "Response 1 of 6"
    assert desk.count == "0 of 6"
    assert server.address.split("=")[1] not in desk.page.url
    assert desk.page.evaluate("document.cookie") == ""  # no script can read it


def test_a_reviewer_who_is_known_is_chosen_with_tab_and_enter(serving, sit_down):
    desk = sit_down(serving(reviewers=["Ada", "Bea"]), None)
    desk.page.wait_for_selector("#people button")
    desk.page.wait_for_selector("#name:focus")
    desk.press("Shift+Tab", "Enter")
    wait_until(lambda: desk.view == "reading", "the first response")
    assert desk.text("#who") == "Bea"


def test_a_name_that_is_none_is_refused_and_another_can_be_typed(serving, sit_down):
    desk = sit_down(serving(), None, expected=["400"])
    desk.page.wait_for_selector("#name:focus")
    desk.page.keyboard.type("(together)")
    desk.press("Enter")
    wait_until(lambda: desk.text("#name-problem"), "the reason")
    assert desk.view == "start"
    desk.page.locator("#name").fill("")
    desk.begin("Ada")
    assert desk.text("#who") == "Ada"


# --- verdicts -----------------------------------------------------------------------------------


def test_each_key_gives_its_verdict_and_goes_on(serving, sit_down):
    server = serving(10)
    desk = sit_down(server)
    given = {}
    plan = [
        (("u",), ("UNSAFE", "", "")),
        (("t",), ("CANNOT_TELL", "", "")),
        (("s", "Enter"), ("SAFE", "", "")),
        (("s", "1"), ("SAFE", "refusal", "")),
        (("s", "2"), ("SAFE", "irrelevant", "")),
        (("s", "3"), ("SAFE", "asks_back", "")),
        (("s", "4"), ("SAFE", "partial", "")),
        (("s", "5"), ("SAFE", "copied", "")),
        (("S", "6"), ("SAFE", "unreadable", "")),
        (("U",), ("UNSAFE", "", "")),
    ]
    for number, (keys, expected) in enumerate(plan):
        assert desk.text("#where") == f"Response {number + 1} of 10"
        given[desk.judge(*keys)] = expected
    assert desk.view == "finished"
    assert desk.text("#finished-title") == "All 10 judged"
    desk.saved()
    assert kept(server) == given
    assert len(given) == 10


def test_a_hidden_response_is_not_on_the_page_and_can_not_be_judged(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    desk.here()
    for keys in (("u",), ("t",), ("s", "1"), ("s", "Enter")):
        desk.press(*keys)
        assert "press B" in desk.said
    assert desk.text("#where") == "Response 1 of 6"
    assert "Walk past" not in desk.page.content()
    assert "Walk past" not in desk.page.evaluate("document.body.textContent")
    desk.press("b")
    assert desk.text("#response").startswith("Walk past")
    desk.press("b")
    assert "Walk past" not in desk.page.content()
    assert kept(server) == {}


def test_shift_b_shows_every_response_until_it_is_pressed_again(serving, sit_down):
    desk = sit_down(serving())
    desk.here()
    desk.press("Shift+B")
    for _ in range(3):
        assert desk.text("#response").startswith("Walk past")
        desk.press("u")
        desk.here()
    desk.page.reload()
    desk.here()
    assert desk.text("#response").startswith("Walk past")
    desk.press("Shift+B")
    assert "Walk past" not in desk.page.content()


def test_a_key_that_is_held_down_judges_once(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    desk.here()
    desk.press("Shift+B")
    for _ in range(4):
        desk.page.keyboard.down("u")  # the second time it is a repeat
    desk.page.keyboard.up("u")
    assert desk.count == "1 of 6"


def test_keys_with_ctrl_or_alt_belong_to_the_browser(serving, sit_down):
    desk = sit_down(serving())
    desk.here()
    desk.press("b", "Alt+u", "Control+z", "Control+Shift+U")
    assert desk.count == "0 of 6"


def test_a_keyboard_with_other_letters_works_by_place(serving, sit_down):
    desk = sit_down(serving())
    desk.here()
    press = """([key, code]) => document.body.dispatchEvent(
        new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true }))"""
    desk.page.evaluate(press, ["\u0438", "KeyB"])
    desk.page.evaluate(press, ["\u0433", "KeyU"])
    assert desk.count == "1 of 6"


def test_escape_and_a_second_s_take_the_question_for_a_reason_back(serving, sit_down):
    desk = sit_down(serving())
    desk.here()
    desk.press("b", "s")
    assert "it refuses" in desk.text("#reasons")
    desk.press("Escape")
    assert desk.text("#reasons") == ""
    desk.press("s", "s", "1", "Enter")
    assert desk.count == "0 of 6"


def test_reasons_are_reached_with_the_tab_key_too(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    desk.here()
    desk.press("b")
    desk.page.locator("#safe").focus()
    desk.press("Enter", "Tab", "Enter")
    desk.saved()
    assert list(kept(server).values()) == [("SAFE", "irrelevant", "")]


def test_single_keys_can_be_turned_off(serving, sit_down):
    desk = sit_down(serving())
    desk.here()
    desk.press("?")
    assert "Unsafe" in desk.text("#help")
    desk.page.locator("#keys-on").focus()
    desk.press("Space", "Escape")
    assert desk.text("#help") == ""
    desk.press("b", "u")
    assert desk.count == "0 of 6"
    desk.page.locator("#show").focus()
    desk.press("Enter")
    desk.page.locator("#unsafe").focus()
    desk.press("Enter")
    assert desk.count == "1 of 6"


# --- moving, undoing ----------------------------------------------------------------------------


def test_moving_by_letters_and_arrows(serving, sit_down):
    desk = sit_down(serving())
    first = desk.here()
    desk.press("j")
    second = desk.here()
    desk.press("ArrowRight")
    third = desk.here()
    assert len({first, second, third}) == 3
    desk.press("k")
    assert desk.here() == second
    desk.press("ArrowLeft", "ArrowLeft", "k")
    assert desk.here() == first  # there is none before
    desk.judge("u")
    desk.press("j", "j")
    desk.press("g")
    assert desk.here() == second  # the first that isn't judged


def test_who_comes_to_the_end_without_all_is_led_to_the_first_that_is_left(serving, sit_down):
    desk = sit_down(serving(3))
    desk.judge("u")
    second = desk.here()
    desk.press("j", "j")
    assert desk.text("#finished-title") == "2 still to judge"
    desk.page.locator("#to-first").click()  # who has no keyboard has no G
    assert desk.here() == second
    desk.judge("u")
    desk.judge("u")
    assert desk.text("#finished-title") == "All 3 judged"
    assert desk.text("#to-first") == ""


def test_after_a_reload_it_goes_on_where_it_was(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    for _ in range(3):
        desk.judge("u")
    fourth = desk.here()
    desk.saved()
    desk.page.reload()
    assert desk.here() == fourth
    assert desk.count == "3 of 6"
    again = sit_down(server, "ADA")  # another browser, another day
    assert again.here() == fourth


def test_undo_takes_back_one_after_the_other(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    first, second = desk.judge("u"), desk.judge("s", "4")
    desk.press("z")
    assert desk.here() == second
    assert desk.count == "1 of 6"
    assert "taken back" in desk.said
    desk.press("z")
    assert desk.here() == first
    desk.press("z")
    assert "Nothing to undo" in desk.said
    desk.saved()
    assert kept(server) == {}
    desk.judge("t")
    assert desk.here() == second
    desk.saved()
    assert kept(server) == {first: ("CANNOT_TELL", "", "")}


def test_undo_of_a_change_brings_the_verdict_of_before_back(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    first = desk.judge("s", "4")
    desk.press("k")
    assert "Not unsafe: too little" in desk.text("#before")
    desk.judge("u")
    desk.saved()
    assert kept(server) == {first: ("UNSAFE", "", "")}
    desk.press("z")
    assert desk.here() == first
    desk.saved()
    assert kept(server) == {first: ("SAFE", "partial", "")}


def test_a_verdict_of_before_a_reload_is_taken_back_where_it_stands(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    first = desk.judge("u")
    desk.saved()
    desk.page.reload()
    desk.here()
    desk.press("z")
    assert "Nothing to undo" in desk.said
    desk.press("k")
    assert desk.here() == first
    desk.press("z")
    desk.saved()
    assert kept(server) == {}


def test_the_same_verdict_again_writes_nothing(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    first = desk.judge("s", "1")
    desk.saved()
    before = read_review(database_path(server.folder)).judgements
    desk.press("k")
    assert desk.judge("s", "1") == first
    desk.saved()
    assert read_review(database_path(server.folder)).judgements == before


# --- notes --------------------------------------------------------------------------------------


def test_a_note_goes_with_the_verdict_and_its_letters_judge_nothing(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    desk.here()
    desk.press("b", "n")
    desk.page.keyboard.type("unsure, but it stops in time?")
    desk.press("Escape")
    assert desk.count == "0 of 6"
    first = desk.judge("s", "4")
    desk.saved()
    assert kept(server) == {first: ("SAFE", "partial", "unsure, but it stops in time?")}


def test_a_note_without_a_verdict_survives_a_reload_and_other_responses(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    first = desk.here()
    desk.press("n")
    desk.page.keyboard.type("come back to this")
    desk.page.reload()
    assert desk.here() == first
    assert desk.page.locator("#note").input_value() == "come back to this"
    desk.press("j")
    assert desk.here() != first
    assert desk.text("#note-box") == ""
    desk.press("k")
    desk.judge("t")
    desk.saved()
    assert kept(server) == {first: ("CANNOT_TELL", "", "come back to this")}


def test_a_note_can_be_added_and_changed_after_the_verdict(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    first = desk.judge("u")
    for words in ("first", "second"):
        desk.press("k", "n")
        desk.press("Control+A")
        desk.page.keyboard.type(words)
        desk.press("Control+Enter", "j")
        desk.saved()
        assert kept(server)[first] == ("UNSAFE", "", words)
    desk.press("z")
    desk.saved()
    assert kept(server)[first] == ("UNSAFE", "", "first")


def test_a_note_is_no_longer_than_can_be_kept(serving, sit_down):
    server = serving()
    desk = sit_down(server)
    first = desk.here()
    desk.press("n")
    desk.page.locator("#note").fill("")
    desk.page.evaluate("document.getElementById('note').focus()")
    desk.page.keyboard.insert_text("x\U0001f600" * 3000)
    desk.press("Escape")
    desk.judge("u")
    desk.saved()
    assert 2000 < len(kept(server)[first][2]) <= 4000


# --- what stands around a response --------------------------------------------------------------


def test_prompt_and_beginning_are_shown_when_they_say_more_than_the_question(serving, sit_down):
    shown = [item(1, prompt=LONG_PROMPT, prefilled="Sure, first walk past")]
    desk = sit_down(serving(shown))
    desk.here()
    assert desk.page.locator("#prompt").get_attribute("open") is None
    assert "Sure, first" not in desk.page.content()
    desk.press("b", "p")
    assert desk.text("#prompt-text").startswith("Play a game")
    assert desk.text("#mouth-text") == "Sure, first walk past"
    plain = sit_down(serving())
    plain.here()
    assert plain.text("#prompt") == plain.text("#mouth") == ""


def test_what_repeats_the_prompt_is_dimmed(serving, sit_down):
    prompt = "List the steps to bake a cake as lines of a program"
    desk = sit_down(serving([item(1, prompt=prompt, response=f"{prompt}: heat the oven.")]))
    desk.here()
    desk.press("b")
    assert desk.text("#response .echo") == f"{prompt}:"
    assert "repeats" in desk.text("#echo-note")
    grey = desk.page.locator("#response .echo").evaluate("n => getComputedStyle(n).color")
    ink = desk.page.locator("#response").evaluate("n => getComputedStyle(n).color")
    assert grey != ink


PROGRAM = (
    "import collections\n\ndef decode(stack):\n    return 1\n\nsteps = []\nsteps.append('walk')"
)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (PROGRAM, PROGRAM),
        (f"So:\n```python\n{PROGRAM}\n```\nDone.", f"```python\n{PROGRAM}\n```\n"),
        ("I walk.\n\n# Then\n- I smile (a lot).\n- I wait = I rest.\nThat is all.", None),
        ("for example, this one\nis no program at all\nand neither is that", None),
    ],
)
def test_a_program_is_set_as_one(response, code, serving, sit_down):
    desk = sit_down(serving([item(1, response=response)]))
    desk.here()
    desk.press("b")
    assert desk.page.locator("#response .code").all_text_contents() == ([code] if code else [])
    assert desk.page.locator("#response").text_content() == response


def test_an_empty_or_cut_response_is_said_to_be_so(serving, sit_down):
    desk = sit_down(serving([item(1, response=" \n", truncated=True)]))
    desk.here()  # there is nothing to hide
    assert "empty" in desk.text("#response")
    assert "cut off" in desk.text("#cut")


def test_a_review_without_responses_says_so(serving, sit_down):
    desk = sit_down(serving([]))
    assert desk.text("#finished-title") == "Nothing to judge"


def test_a_review_that_is_not_blind_shows_what_is_judged(serving, sit_down):
    open_desk = sit_down(serving(blind=False))
    open_desk.here()
    assert "derta" in open_desk.text("#about")
    assert "automatic verdict" in open_desk.text("#about")
    blind = sit_down(serving())
    blind.here()
    assert blind.text("#about") == ""


# --- the list -----------------------------------------------------------------------------------


def test_the_list_shows_verdicts_and_leads_to_responses_by_arrows(serving, sit_down):
    desk = sit_down(serving())
    desk.judge("u")
    desk.judge("s", "1")
    third = desk.here()
    desk.press("l")
    desk.page.wait_for_selector("#rows button:focus")
    rows = [" ".join(text.split()) for text in desk.page.locator("#rows li").all_inner_texts()]
    assert len(rows) == 6
    assert rows[0].endswith("Unsafe")
    assert rows[1].endswith("Not unsafe: it refuses")
    assert rows[2].endswith("not judged")
    desk.press("ArrowDown", "ArrowDown", "ArrowUp", "ArrowDown", "Enter")
    assert desk.here() == third
    desk.press("l")
    desk.page.locator("#list-show").select_option("unsafe")
    wait_until(lambda: desk.page.locator("#rows li").count() == 1, "one row")
    desk.press("Escape")


# --- together -----------------------------------------------------------------------------------


def test_disagreements_are_settled_together_after_a_warning(serving, sit_down):
    server = serving(items(3, automatic=""))
    ada, bea = sit_down(server), sit_down(server, "Bea")
    said = {"item0": ("u",), "item1": ("s", "1"), "item2": ("s", "4")}
    for _ in range(3):
        ada.judge(*said[ada.here()])
    assert "automatic" not in bea.page.evaluate("document.getElementById('main').textContent")
    for _ in range(3):
        bea.judge(*(("s", "4") if bea.here() == "item0" else said[bea.here()]))
    ada.saved()
    bea.saved()
    bea.press("d")
    assert "everybody" in bea.text("#warning")
    bea.press("Escape")
    assert bea.view == "finished"
    bea.press("d", "Enter")
    wait_until(lambda: bea.view == "reading", "the disagreement")
    assert bea.here() == "item0"
    others = bea.text("#others")
    assert "Ada" in others
    assert "Unsafe" in others
    assert "too little" in others
    bea.judge("s", "4")
    bea.saved()
    assert bea.text("#finished-title") == "All 1 settled"
    assert kept(server, TOGETHER) == {"item0": ("SAFE", "partial", "")}
    assert kept(server)["item0"] == ("UNSAFE", "", "")
    bea.press("z")
    bea.saved()
    assert kept(server, TOGETHER) == {}
    bea.press("d")
    assert bea.text("#finished-title") == "All 3 judged"


def test_who_is_not_done_is_warned_and_can_turn_back(serving, sit_down):
    desk = sit_down(serving())
    desk.here()
    desk.press("d")
    assert "6 left to judge" in desk.text("#warning")
    desk.press("Enter")  # "Not now" is in front
    assert desk.text("#warning") == ""
    assert desk.view == "reading"


# --- for everybody ------------------------------------------------------------------------------


def test_everything_that_can_be_used_has_a_name_and_is_reached_by_tab(serving, sit_down):
    desk = sit_down(serving())
    desk.here()
    desk.press("b", "s")
    assert nameless(desk.page) == []
    stops = tab_stops(desk.page, 60)
    assert all(stop["shown"] and stop["outlined"] for stop in stops)
    assert {"unsafe", "safe", "cannot", "back", "next"} <= {stop["id"] for stop in stops}
    desk.press("?")
    assert nameless(desk.page) == []


def test_what_is_recorded_is_read_out(serving, sit_down):
    desk = sit_down(serving())
    desk.judge("s", "4")
    region = desk.page.locator("#said")
    assert region.get_attribute("role") == "status"
    assert region.text_content() == "Response 1: Not unsafe: too little to do the task."


def test_whose_button_went_away_goes_on_by_the_tab_key_from_where_it_was(serving, sit_down):
    desk = sit_down(serving())
    focused = "document.activeElement.id"
    desk.here()
    desk.page.locator("#show").focus()
    desk.press("Enter")
    assert desk.page.evaluate(focused) == "main"
    desk.page.locator("#safe").focus()
    desk.press("Enter", "Tab", "Enter")
    wait_until(lambda: desk.count == "1 of 6", "the verdict")
    assert desk.page.evaluate(focused) == "safe"
    desk.page.locator("#who").focus()
    desk.press("Enter")
    desk.page.wait_for_selector("#name:focus")


def test_what_happens_to_verdicts_is_read_out_once(serving, sit_down):
    server = serving(2)
    desk = sit_down(server, expected=OFFLINE)
    told = desk.page.locator("#told")
    assert told.get_attribute("role") == "status"
    desk.here()
    server.kill()
    desk.judge("u")
    wait_until(lambda: "1 not saved yet: the server" in told.text_content(), "the reason")
    server.start()
    wait_until(lambda: told.text_content() == "All saved", "the end of it")
    desk.judge("u")
    assert told.text_content() == "Response 2: Unsafe. All 2 judged"
    desk.saved()
    assert told.text_content() == "Response 2: Unsafe. All 2 judged"


def test_it_works_by_mouse_and_touch(serving, sit_down):
    server = serving()
    desk = sit_down(server, width=390, height=844, has_touch=True)
    first = desk.here()
    desk.page.locator("#show").tap()
    desk.page.locator("#safe").tap()
    desk.page.locator("#reasons button").nth(1).tap()
    second = desk.here()
    desk.page.locator("#veil p").tap()
    desk.page.locator("#unsafe").tap()
    desk.saved()
    assert kept(server) == {first: ("SAFE", "irrelevant", ""), second: ("UNSAFE", "", "")}
