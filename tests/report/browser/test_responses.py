"""Reading the responses in a browser: hidden until asked for, filtered, beside each other.

All pages are of made-up runs. Not covered: the rest of the page (test_whole_page), what is in the
data (tests.report.evaluation_page.test_explorer).
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.outcomes import Outcome, read_outcomes, write_outcomes
from tests.analysis.fake_run import HOSTILE_TEXTS, model_names
from tests.report.browser.looking import accessible, nameless, overflow, poor_contrasts, read_aloud

pytestmark = pytest.mark.slow

HARM = "#scenario=prefill&cell=k%3D20"
"""A view with prefilled texts and token readings."""


@functools.cache
def outcomes_of(page_path: Path) -> list[Outcome]:
    return read_outcomes(page_path.parent / "outcomes.jsonl")


def count(page: Any) -> tuple[int, int]:
    """Responses and questions that match, as the page says it."""
    text = page.locator("#responses-count").text_content().replace("\u202f", "")
    match = re.match(r"Matching: (\d+) responses? to (\d+) questions?\.", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def choose(page: Any, key: str, value: str) -> None:
    page.select_option(f"#filter-{key}", value)


def first(page: Any) -> Any:
    """The question that is open when the list is new."""
    return page.locator("article.asked").first


def edges(cards: Any) -> tuple[set[int], set[int]]:
    """Where boxes begin, from the top and from the left."""
    boxes = cards.evaluate_all("all => all.map((n) => n.getBoundingClientRect().toJSON())")
    return {round(box["top"]) for box in boxes}, {round(box["left"]) for box in boxes}


def shown_questions(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("article.asked .question").all_text_contents()]


def with_heat(page: Any) -> Any:
    """A question whose three answers are shown as heat maps; the others are closed."""
    place = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll("article.asked")];
          return all.findIndex((article) => {
            const button = article.querySelector(".question");
            if (button.getAttribute("aria-expanded") === "false") button.click();
            const heat = article.querySelector(".heat-switch");
            if (heat && heat.getAttribute("aria-pressed") === "false") heat.click();
            if (article.querySelectorAll(".tokens").length === 3) return true;
            button.click();
            return false;
          });
        }"""
    )
    assert place >= 0, "no question has three heat maps"
    return page.locator("article.asked").nth(place)


def open_questions(page: Any, most: int = 25) -> None:
    page.evaluate(
        "(most) => [...document.querySelectorAll('.question[aria-expanded=false]')]"
        ".slice(0, most).forEach((button) => button.click())",
        most,
    )


def dom_text(page: Any) -> str:
    """All text of the page but that of scripts."""
    return page.evaluate("() => document.querySelector('main').textContent")


# --- hidden until asked for --------------------------------------------------------------------


def harmful_texts(path: Path) -> list[str]:
    return [
        text
        for each in outcomes_of(path)
        if each.category == "harmful"
        for text in (each.response[: each.refusal_start], each.prefilled)
        if len(text) > 60
    ]


def test_no_harmful_text_is_on_the_page_before_it_is_asked_for(made, open_page):
    path = made()
    page = open_page(path, address=HARM)
    texts = harmful_texts(path)
    assert len(texts) > 100
    open_questions(page, 8)
    on_page, heard = dom_text(page), read_aloud(page)
    for text in texts:
        assert text[:40] not in on_page
        assert text[:40] not in heard
    assert page.locator(".bars").count() > 10
    assert page.locator(".bars:not([aria-hidden=true])").count() == 0


def test_hidden_text_is_neither_copied_nor_printed(made, open_page):
    page = open_page(made(), address=HARM)
    page.evaluate("() => getSelection().selectAllChildren(document.querySelector('#responses'))")
    copied = page.evaluate("() => getSelection().toString()")
    assert "price tags" in copied  # a question
    page.emulate_media(media="print")
    printed = page.evaluate("() => document.querySelector('#responses').innerText")
    for text in harmful_texts(made()):
        assert text[:40] not in copied
        assert text[:40] not in printed
    assert page.locator(".bar").first.is_visible()


def test_the_question_and_the_refusal_are_never_hidden(made, open_page):
    page = open_page(made(), address="#scenario=direct&verdict=SAFE&refused=yes")
    question = first(page)
    assert question.locator(".question").text_content().startswith("How do I get away with")
    assert question.locator("mark").first.text_content().startswith("Sorry, I can't help with")
    assert question.locator("mark").first.is_visible()


def test_one_button_shows_all_harmful_text_and_hides_it_again(made, open_page):
    page = open_page(made(), address=HARM)
    reveal = page.get_by_role("button", name="Show harmful text", exact=True)
    assert reveal.get_attribute("aria-pressed") == "false"
    assert "may be harmful" in page.locator("#veil-reason").text_content()
    reveal.click()
    assert reveal.get_attribute("aria-pressed") == "true"
    assert page.locator(".bars").count() == 0
    on_page = dom_text(page)
    text = next(t for t in harmful_texts(made()) if t[:40] in on_page)
    page.locator(".question[aria-expanded=false]").first.click()
    assert page.locator(".bars").count() == 0  # what is opened later is shown, too
    reveal.click()
    assert page.locator(".bars").count() > 0
    assert text[:40] not in dom_text(page)


def test_a_single_text_is_shown_by_its_own_button_with_the_keyboard(made, open_page):
    page = open_page(made(), address=HARM)
    cards = first(page).locator(".answer:has(.show)")
    card, others = cards.first, cards.count() - 1
    name = card.locator("h4").text_content()
    button = card.get_by_role("button", name=re.compile(f"^Show what {name} wrote"))
    assert button.get_attribute("aria-expanded") == "false"
    assert page.locator(f"#{button.get_attribute('aria-controls')}").count() == 1
    button.focus()
    page.keyboard.press("Enter")
    assert card.locator(".bars").count() == 0
    assert others > 0
    assert cards.locator(".hidden-text").count() == others
    hide = card.get_by_role("button", name=re.compile(f"^Hide what {name} wrote"))
    assert hide.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Enter")
    assert card.locator(".bars").count() > 0


def test_prompts_are_shown_as_sent_on_request(made, open_page):
    page = open_page(made(), address="#scenario=jailbreak_chat")
    sent = first(page).locator(".sent").first
    assert "The prompt as sent" in sent.text_content()
    assert "[jailbreak_chat" not in sent.text_content()
    sent.get_by_role("button", name=re.compile("^Show the prompt as sent")).click()
    assert "[jailbreak_chat" in sent.text_content()


def test_harmless_questions_hide_nothing(made, open_page):
    page = open_page(made(), address="#scenario=benign")
    assert page.locator(".bars").count() == 0
    assert len(first(page).locator(".answer .text").first.text_content()) > 40
    assert first(page).locator(".show").count() == 0


# --- filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "fits"),
    [
        ({"scenario": "prefill"}, lambda o: o.scenario == "prefill"),
        (
            {"scenario": "prefill", "cell": "k=20"},
            lambda o: o.scenario == "prefill" and o.cell == "k=20",
        ),
        (
            {"scenario": "prefill", "verdict": "UNSAFE"},
            lambda o: o.scenario == "prefill" and o.verdict == "UNSAFE",
        ),
        ({"verdict": "UNREADABLE"}, lambda o: o.verdict == "UNREADABLE"),
        ({"verdict": "ERROR"}, lambda o: o.verdict == "ERROR"),
        (
            {"verdict": "SAFE", "model": "derta"},
            lambda o: o.verdict == "SAFE" and o.model == "derta" and o.category == "harmful",
        ),
        (
            {"refused": "yes", "category": "look-alike"},
            lambda o: o.refused and o.category == "look-alike" and o.verdict != "ERROR",
        ),
        (
            {"refused": "no", "scenario": "direct"},
            lambda o: not o.refused and o.scenario == "direct" and o.verdict != "ERROR",
        ),
    ],
)
def test_filters_count_what_the_file_holds(chosen, fits, made, open_page):
    page = open_page(made())
    for key, value in chosen.items():
        choose(page, key, value)
    fitting = [each for each in outcomes_of(made()) if fits(each)]
    questions = {(e.scenario, e.cell, e.question_id) for e in fitting}
    assert fitting
    assert count(page) == (len(fitting), len(questions))
    assert page.locator("article.asked").count() == min(25, len(questions))


def test_all_responses_are_there_and_25_questions_at_a_time_are_listed(made, open_page):
    page = open_page(made())
    responses, questions = count(page)
    assert responses > len(outcomes_of(made()))  # with the texts that all models read
    assert page.locator("article.asked").count() == 25
    more = page.locator("#responses-more")
    more.click()
    assert page.locator("article.asked").count() == 50
    focused = page.evaluate(
        "() => document.activeElement.closest('article') && "
        "[...document.querySelectorAll('article.asked')].indexOf("
        "document.activeElement.closest('article'))"
    )
    assert focused == 25
    assert "The first 50 questions are listed." in page.locator("#responses-count").text_content()
    choose(page, "verdict", "ERROR")
    assert page.locator("article.asked").count() < questions


def test_nothing_that_matches_is_said_and_filters_are_cleared_by_one_button(made, open_page):
    page = open_page(made())
    everything = count(page)
    choose(page, "scenario", "benign")
    choose(page, "verdict", "UNSAFE")
    assert "No response matches" in page.locator("#responses-count").text_content()
    assert page.locator("article.asked").count() == 0
    page.get_by_role("button", name="Clear the filters").click()
    assert count(page) == everything
    assert page.locator("#filter-scenario").input_value() == ""


def test_changes_are_announced(made, open_page):
    page = open_page(made())
    status = next(node for node in accessible(page) if node["role"] == "status")
    assert status
    assert page.locator("#responses-count").get_attribute("role") == "status"


def test_settings_are_offered_of_the_scenario_that_was_chosen(made, open_page):
    page = open_page(made())
    cell = page.locator("#filter-cell")
    assert cell.is_disabled()
    choose(page, "scenario", "prefill")
    assert cell.is_enabled()
    offered = cell.locator("option:not([disabled])").evaluate_all("all => all.map(o => o.value)")
    assert offered == ["", "k=0", "k=5", "k=10", "k=20", "k=40", "k=80"]
    choose(page, "cell", "k=40")
    choose(page, "scenario", "code_attack")
    assert cell.input_value() == ""
    choose(page, "scenario", "direct")
    assert cell.is_disabled()


def test_the_search_reads_questions_only_until_the_texts_are_shown(made, open_page):
    page = open_page(made(), address="#scenario=direct")
    search = page.get_by_role("searchbox")
    search.fill("FLEA market")
    page.wait_for_function("() => location.hash.includes('FLEA')")
    assert count(page)[1] == 2
    assert all("flea market" in question for question in shown_questions(page))
    search.fill("nobody has time to check")  # stands in responses alone
    page.wait_for_function("() => location.hash.includes('nobody')")
    assert count(page) == (0, 0)
    page.locator("#reveal-all").click()
    responses, _ = count(page)
    expected = [
        each
        for each in outcomes_of(made())
        if each.scenario == "direct" and "nobody has time to check" in each.response
    ]
    assert responses == len(expected) > 0
    assert "questions and responses" in page.locator("#filter-q-label").text_content()
    page.locator("#reveal-all").click()
    assert count(page) == (0, 0)


def test_questions_are_sorted_by_where_models_differ_or_by_name(made, open_page):
    page = open_page(made(), address="#scenario=prefill&cell=k%3D40")
    outcomes = [o for o in outcomes_of(made()) if o.scenario == "prefill" and o.cell == "k=40"]

    def differs(question: str) -> bool:
        said = {each.verdict for each in outcomes if each.question == question}
        return {"SAFE", "UNSAFE"} <= said

    flags = [differs(question) for question in shown_questions(page)]
    assert flags == sorted(flags, reverse=True)
    assert True in flags
    choose(page, "sort", "question")
    questions = shown_questions(page)
    assert questions == sorted(questions, key=str.casefold)
    assert "sort=question" in page.url


# --- the address -------------------------------------------------------------------------------


def test_the_address_keeps_the_view_and_back_and_forward_go_through_views(made, open_page):
    page = open_page(made())
    everything = count(page)
    choose(page, "scenario", "prefill")
    in_prefill = count(page)
    choose(page, "verdict", "UNSAFE")
    unsafe = count(page)
    assert page.url.endswith("#scenario=prefill&verdict=UNSAFE")
    page.go_back()
    page.wait_for_function("() => document.querySelector('#filter-verdict').value === ''")
    assert count(page) == in_prefill
    page.go_back()
    page.wait_for_function("() => document.querySelector('#filter-scenario').value === ''")
    assert count(page) == everything
    page.go_forward()
    page.go_forward()
    page.wait_for_function("() => document.querySelector('#filter-verdict').value === 'UNSAFE'")
    assert count(page) == unsafe


def test_an_address_that_was_shared_opens_the_same_view(made, open_page):
    page = open_page(made(), address="#verdict=UNSAFE&scenario=prefill&model=derta&q=diary")
    assert page.locator("#filter-model").input_value() == "derta"
    assert page.get_by_role("searchbox").input_value() == "diary"
    assert page.locator("#responses-title").evaluate(
        "node => node.getBoundingClientRect().top < innerHeight"
    )
    fitting = [
        o
        for o in outcomes_of(made())
        if (o.scenario, o.verdict, o.model) == ("prefill", "UNSAFE", "derta")
        and "diary" in o.question
    ]
    assert count(page)[0] == len(fitting)


@pytest.mark.parametrize(
    "address",
    [
        "#scenario=%3Cscript%3Ewindow.hacked=1%3C/script%3E",
        "#scenario=nothing&verdict=X&cell=__proto__&sort=constructor&model=toString",
        "#q=%3Cimg src=x onerror=window.hacked=1%3E",
        "#=&&&==&%zz=%ff",
        "#q=" + "x" * 5000,
    ],
)
def test_an_address_that_makes_no_sense_does_no_harm(address, made, open_page):
    page = open_page(made(), address=address)
    assert page.locator("#filter-scenario").input_value() == ""
    assert page.locator("#filter-verdict").input_value() == ""
    assert overflow(page) <= 0
    if "q=" not in address:
        assert count(page)[0] > 0


def test_links_to_other_sections_leave_the_filters_alone(made, open_page):
    page = open_page(made(), address="#scenario=direct")
    expected = count(page)
    page.evaluate("() => { location.hash = '#attacks'; }")
    page.wait_for_timeout(100)
    assert count(page) == expected


# --- side by side ------------------------------------------------------------------------------


def test_models_stand_side_by_side_and_on_a_phone_below_each_other(made, open_page):
    for width, beside in ((1280, True), (360, False)):
        page = open_page(made(), address=HARM, width=width)
        cards = first(page).locator(".answer")
        assert [each.strip() for each in cards.locator("h4").all_text_contents()] == model_names()
        tops, lefts = edges(cards)
        assert (len(tops), len(lefts)) == ((1, 3) if beside else (3, 1))
        assert overflow(page) <= 0


def test_every_card_says_its_verdict_in_words_with_its_reason(made, open_page):
    page = open_page(made(), address=HARM + "&sort=question")
    by_key = {
        (o.question, o.model): o
        for o in outcomes_of(made())
        if o.scenario == "prefill" and o.cell == "k=20"
    }
    for article in page.locator("article.asked").all()[:6]:
        button = article.locator(".question")
        if button.get_attribute("aria-expanded") == "false":
            button.click()
        question = button.text_content().strip()
        for card in article.locator(".answer").all():
            outcome = by_key[question, card.locator("h4").text_content().strip()]
            said = card.locator(".verdict").text_content()
            words = {
                "UNSAFE": "gives harmful help",
                "SAFE": "no harmful help",
                "UNREADABLE": "no verdict: can’t be read",
                "ERROR": "no verdict: it failed",
            }[outcome.verdict]
            assert words in said
            assert said.endswith(f": {outcome.reason}")
            facts = card.locator(".facts")
            if outcome.verdict != "ERROR":
                assert facts.text_content().startswith(
                    "a refusal" if outcome.refused else "not a refusal"
                )
                assert ("cut at the token limit" in facts.text_content()) == outcome.truncated


def test_what_was_put_into_the_mouth_stands_apart_once_for_all_models(made, open_page):
    page = open_page(made(), address=HARM)
    page.locator("#reveal-all").click()
    part = first(page).locator("> .opened > .sent", has_text="Put into its mouth")
    assert part.count() == 1
    question = first(page).locator(".question").text_content().strip()
    prefilled = next(
        o.prefilled
        for o in outcomes_of(made())
        if (o.question, o.scenario, o.cell) == (question, "prefill", "k=20")
    )
    assert part.locator(".text").text_content() == prefilled


def test_a_model_filter_leaves_its_answers_alone(made, open_page):
    page = open_page(made(), address=HARM + "&model=derta")
    assert first(page).locator(".answer").count() == 1
    assert set(page.locator(".summary li .name").all_text_contents()) == {"derta"}


def test_questions_open_and_close_by_the_keyboard(made, open_page):
    page = open_page(made(), address=HARM)
    button = page.locator(".question").nth(1)
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    page.keyboard.press("Enter")
    content = page.locator(f"#{button.get_attribute('aria-controls')}")
    assert button.get_attribute("aria-expanded") == "true"
    assert content.locator(".answer").count() == 3
    page.keyboard.press("Enter")
    assert content.is_hidden()
    assert content.locator(".answer").count() == 0


# --- heat maps ---------------------------------------------------------------------------------


def tokens(card: Any) -> Any:
    return card.locator(".tokens [role=option]")


def test_the_heat_map_shows_every_token_by_its_probability(made, open_page):
    page = open_page(made(), address=HARM)
    page.locator("#reveal-all").click()
    question = with_heat(page)
    assert question.locator(".legend").is_visible()
    cards = question.locator(".answer").all()
    assert len(cards) == 3
    words = question.locator(".question").text_content().strip()
    for card in cards:
        key = (card.locator("h4").text_content().strip(), words, "prefill", "k=20")
        outcome = next(
            o for o in outcomes_of(made()) if (o.model, o.question, o.scenario, o.cell) == key
        )
        texts = tokens(card).all_text_contents()
        assert "".join(texts[:-1]) == outcome.prefilled + outcome.response
        mouth = card.locator(".tokens .mouth").all_text_contents()
        assert "".join(mouth) == outcome.prefilled
    # A model that refuses everywhere is dark, one that doesn't is light: also by the underline.
    thick = "all => all.map(n => parseFloat(getComputedStyle(n).borderBottomWidth))"
    untouched, _, derta = (tokens(card).evaluate_all(thick) for card in cards)
    assert sum(derta) / len(derta) > 2
    assert sum(untouched) / len(untouched) < 1
    backgrounds = "all => new Set(all.map(n => getComputedStyle(n).backgroundColor)).size"
    assert tokens(cards[2]).evaluate_all(backgrounds) > 1


def test_pointing_at_a_token_says_what_the_model_would_do_there(made, open_page):
    page = open_page(made(), address=HARM)
    page.locator("#reveal-all").click()
    card = with_heat(page).locator(".answer").nth(2)
    line = card.locator(".token-line")
    assert line.get_attribute("aria-live") == "polite"
    tokens(card).nth(3).hover()
    said = line.text_content()
    assert re.match(
        r"Token 4 of \d+ “.+”, put into its mouth: refusal here: [\d.]+\u00a0%, "
        r"(its first choice|rank [\d\u202f]+); this token: [\d.]+\u00a0%, "
        r"(its first choice\.|rank [\d\u202f]+\. First choice: “.+” [\d.]+\u00a0%\.)$",
        said,
    )
    tokens(card).last.hover()
    assert line.text_content().startswith("After the text: refusal here: ")
    # Not in a title alone: there is none.
    assert page.locator("#responses [title]").count() == 0


def test_a_heat_map_is_one_tab_stop_and_arrow_keys_go_through_it(made, open_page):
    page = open_page(made(), address=HARM)
    page.locator("#reveal-all").click()
    card = with_heat(page).locator(".answer").first
    stops = "all => all.filter(n => n.tabIndex === 0).length"
    assert tokens(card).evaluate_all(stops) == 1
    line = card.locator(".token-line")
    here = (
        "() => [...document.activeElement.parentElement.children].indexOf(document.activeElement)"
    )
    tokens(card).first.focus()
    assert line.text_content().startswith("Token 1 of")
    for key, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("Home", 0)):
        page.keyboard.press(key)
        assert page.evaluate(here) == place
        assert line.text_content().startswith(f"Token {place + 1} of")
        assert tokens(card).evaluate_all(stops) == 1
    page.keyboard.press("ArrowDown")
    below = page.evaluate(here)
    assert below > 1
    bottom = "n => n.getBoundingClientRect().bottom"
    assert tokens(card).nth(below).evaluate(bottom) > tokens(card).first.evaluate(bottom)
    page.keyboard.press("ArrowUp")
    assert page.evaluate(here) == 0
    page.keyboard.press("End")
    assert line.text_content().startswith("After the text")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(here) == tokens(card).count() - 1
    selected = card.locator("[role=option][aria-selected=true]")
    assert selected.count() == 1
    page.keyboard.press("Tab")
    assert not card.evaluate(
        "node => document.activeElement.matches('.tokens *') && "
        "node.contains(document.activeElement)"
    )


def test_a_hidden_heat_map_shows_colours_and_no_word(made, open_page):
    page = open_page(made(), address=HARM)
    card = with_heat(page).locator(".answer").nth(2)
    assert tokens(card).count() > 20
    assert card.locator(".tokens .bar").count() >= tokens(card).count() - 2
    tokens(card).nth(3).hover()
    said = card.locator(".token-line").text_content()
    assert "refusal here" in said
    assert "“" not in said
    on_page = dom_text(page)
    for text in harmful_texts(made()):
        assert text[:40] not in on_page
    card.get_by_role("button", name=re.compile("^Show what derta wrote")).click()
    assert card.locator(".tokens .bar").count() == 0


def test_texts_that_every_model_reads_are_open_as_heat_maps(made, open_page):
    for scenario, hidden in (("read_harmful", True), ("read_harmless", False)):
        page = open_page(made(), address=f"#scenario={scenario}")
        question = first(page)
        assert question.locator(".heat-switch").get_attribute("aria-pressed") == "true"
        assert tokens(question.locator(".answer").first).count() > 10
        assert (question.locator(".tokens .bar").count() > 0) == hidden
        said = question.locator(".verdict").all_text_contents()
        assert all(re.fullmatch(r"· would refuse at \d+ of \d+ places", each) for each in said)
        stops = [int(each.split()[4]) for each in said]
        framed = [
            card.locator(".tokens .first").count() for card in question.locator(".answer").all()
        ]
        assert framed == stops
        assert "No model wrote this text" in question.text_content()


def test_a_response_without_a_reading_offers_no_heat_map(made, open_page):
    page = open_page(made(), address="#scenario=self_cipher")
    assert first(page).locator(".heat-switch").count() == 0


# --- hostile texts -----------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_texts_are_text_and_break_no_layout(width, made, open_page):
    page = open_page(made(hostile=True), address="#scenario=direct&sort=question", width=width)
    page.locator("#reveal-all").click()
    open_questions(page)
    assert overflow(page) <= 0
    seen = dom_text(page)
    for text in HOSTILE_TEXTS:
        if "\ud800" not in text and text.isprintable() and text.isascii():
            assert text in seen
    for code in ("⟨U+202E⟩", "⟨U+200B⟩", "⟨U+0000⟩", "⟨U+001B⟩", "⟨U+D800⟩", "⟨U+2028⟩"):
        assert code in seen
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", seen)
    assert (
        page.evaluate(
            "() => document.querySelectorAll('#responses script, #responses img, "
            "#responses svg, #responses iframe, #responses style').length"
        )
        == 0
    )
    assert (
        page.evaluate(
            "() => document.querySelectorAll('#responses [onerror], "
            "#responses [onload], #responses [onmouseover]').length"
        )
        == 0
    )


def test_no_text_leaves_its_box(made, open_page):
    """Marks that pile up and lines without end are clipped where their box ends."""
    page = open_page(made(hostile=True), address="#scenario=direct&sort=question", width=360)
    page.locator("#reveal-all").click()
    open_questions(page)
    boxes = page.evaluate(
        "() => [...document.querySelectorAll('#responses .text')].map((n) => "
        "[n.getBoundingClientRect().right, getComputedStyle(n).overflowX])"
    )
    assert boxes
    assert all(right <= 360 and overflow_x == "clip" for right, overflow_x in boxes)


def test_100_000_characters_open_at_once_and_are_shown_on_request(made, open_page):
    path = made(hostile=True)
    long = max(outcomes_of(path), key=lambda o: len(o.response))
    assert len(long.response) == 100_000
    page = open_page(path, address="#scenario=direct&sort=question")
    page.locator("#reveal-all").click()
    article = page.locator("article.asked", has_text=long.question[:60]).first
    button = article.locator(".question")
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    card = article.locator(".answer").first
    assert len(card.locator(".text").last.text_content()) < 5000
    show_all = card.get_by_role("button", name=re.compile("^Show all .* characters"))
    milliseconds = page.evaluate(
        """(node) => { const start = performance.now(); node.click();
        document.body.getBoundingClientRect(); return performance.now() - start; }""",
        show_all.element_handle(),
    )
    assert milliseconds < 1500  # some 100 ms on an idle core
    assert len(card.locator(".text").last.text_content()) > 99_000
    assert overflow(page) <= 0


def test_a_hostile_heat_map_is_text_too(made, open_page):
    page = open_page(made(hostile=True), address="#scenario=read_harmful&sort=question")
    page.locator("#reveal-all").click()
    open_questions(page)
    assert overflow(page) <= 0
    token = page.locator(".tokens [role=option]").nth(5)
    token.hover()
    assert "<script>" in dom_text(page)


# --- other runs --------------------------------------------------------------------------------


def test_one_model_alone_has_the_whole_width(made, open_page):
    page = open_page(made(models=1), address=HARM)
    card = first(page).locator(".answer")
    assert card.count() == 1
    assert card.bounding_box()["width"] > 800
    assert page.locator("#filter-sort option").count() == 1
    assert overflow(page) <= 0


def test_six_models_wrap(made, open_page):
    page = open_page(made(models=6, questions=6), address=HARM)
    cards = first(page).locator(".answer")
    assert cards.count() == 6
    assert [len(each) for each in edges(cards)] == [2, 3]
    assert overflow(page) <= 0


def without_readings(folder: Path) -> None:
    shutil.rmtree(folder / "analysis")


def test_without_readings_responses_are_read_and_the_command_for_heat_maps_is_named(
    made, open_page
):
    page = open_page(made(without_readings), address=HARM)
    assert "derta analyse" in page.locator("#responses").text_content()
    assert page.locator(".heat-switch").count() == 0
    assert first(page).locator(".answer").count() == 3
    values = page.locator("#filter-scenario option").evaluate_all("all => all.map(o => o.value)")
    assert "read_harmful" not in values


def without_outcomes(folder: Path) -> None:
    from derta.analysis.shares import summarise

    without_readings(folder)
    write_outcomes(folder / "outcomes.jsonl", [])
    path = folder / "evaluation.json"
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    evaluation |= summarise([])
    path.write_text(json.dumps(evaluation), encoding="utf-8")


def test_without_responses_the_section_says_so(made, open_page):
    page = open_page(made(without_outcomes), ready=False)
    assert "no responses" in page.locator("#responses").text_content()
    assert page.locator("#responses select").count() == 0
    assert page.locator("#responses button:visible").count() == 0


def test_without_javascript_the_section_says_what_it_needs(made, open_page):
    page = open_page(made(), ready=False, java_script_enabled=False)
    section = page.locator("#responses")
    assert "needs JavaScript" in section.inner_text()
    assert section.locator("select:visible, button:visible").count() == 0
    for text in harmful_texts(made())[:50]:
        assert text[:40] not in section.inner_text()


# --- for everybody -----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_and_token_has_contrast(scheme, made, open_page):
    page = open_page(made(), address=HARM, color_scheme=scheme)
    assert poor_contrasts(page) == []
    page.locator("#reveal-all").click()
    with_heat(page)
    assert page.locator(".token.heat-4").count() > 0
    assert poor_contrasts(page) == []


def test_everything_that_can_be_used_has_a_name(made, open_page):
    page = open_page(made(), address=HARM)
    with_heat(page)
    assert nameless(page) == []
    page.locator("#reveal-all").click()
    assert nameless(page) == []


def test_nothing_moves_where_less_motion_is_wanted(made, open_page):
    page = open_page(made(), address=HARM, reduced_motion="reduce")
    moving = page.evaluate(
        "() => [...document.querySelectorAll('#responses *')].filter((n) => "
        "getComputedStyle(n).animationName !== 'none' || "
        "parseFloat(getComputedStyle(n).transitionDuration) > 0).length"
    )
    assert moving == 0
