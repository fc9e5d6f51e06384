"""Hostile texts on the page: they are text, whatever they say.

Covered: model output, questions, prompts, automatic reasons, names and notes; characters that
can't be seen. Not covered: what is refused before it comes to the page (test_security).
"""

from __future__ import annotations

import pytest

from tests.analysis.fake_run import HOSTILE_TEXTS
from tests.report.browser.looking import overflow
from tests.review.browser.desk import wait_until
from tests.review.making import item, items

pytestmark = pytest.mark.slow

MARKUP = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<svg onload=window.hacked=1><a href='javascript:window.hacked=1'>go</a></svg>",
    "</div></main><iframe srcdoc='<script>parent.hacked = 1</script>'></iframe>",
    "<style>body { display: none }</style><link rel=stylesheet href=//evil.example/x.css>",
    "<base href='https://evil.example/'><form action=/api/verdicts><input autofocus></form>",
    "{{constructor.constructor('window.hacked=1')()}} ${window.hacked=1}",
)
# Halves of characters don't come into the database; reading the run makes them whole.
TEXTS = (*MARKUP, *(text.encode("utf-8", "replace").decode() for text in HOSTILE_TEXTS))


def hostile_items():
    return [
        item(
            number,
            question=f"{text} ({number})",
            prompt=f"prompt {text}",
            prefilled=f"beginning {text}",
            response=f"response {text}",
            model=text,
            automatic_reason=text,
        )
        for number, text in enumerate(TEXTS)
    ]


def test_every_text_is_shown_as_text(serving, sit_down):
    shown = hostile_items()
    desk = sit_down(serving(shown, blind=False))
    desk.here()
    desk.press("Shift+B")
    elements = "[...document.querySelectorAll('main *')].map((n) => n.localName)"
    known = {
        "article", "aside", "bdi", "button", "dd", "details", "div", "dl", "dt", "form", "h1", "h2",
        "input", "kbd", "label", "li", "noscript", "ol", "option", "p", "section", "select", "span",
        "summary", "textarea", "ul",
    }  # fmt: skip
    for _ in TEXTS:
        number = int(desk.here().removeprefix("item"))
        response = desk.page.locator("#response").text_content()
        if TEXTS[number] in MARKUP:
            assert response == f"response {TEXTS[number]}"
            assert TEXTS[number] in desk.page.locator("#question").text_content()
            assert TEXTS[number] in desk.page.locator("#about").text_content()
        assert set(desk.page.evaluate(elements)) <= known
        assert overflow(desk.page) <= 0
        desk.press("u")
    desk.press("l")
    desk.page.wait_for_selector("#rows button:focus")
    assert desk.page.locator("#rows li").count() == len(TEXTS)
    assert set(desk.page.evaluate(elements)) <= known
    assert overflow(desk.page) <= 0


def test_hostile_texts_stay_hidden_until_they_are_shown(serving, sit_down):
    desk = sit_down(serving(hostile_items()))
    for _ in TEXTS:
        desk.here()
        assert "response <" not in desk.page.evaluate("document.body.textContent")
        assert overflow(desk.page) <= 0
        desk.press("j")


def test_characters_that_nobody_sees_are_written_out(serving, sit_down):
    response = "safe\u202etxet\u2066\u001b[2J\u200eend \U000e0041."
    desk = sit_down(serving([item(1, response=response)]))
    desk.here()
    desk.press("b")
    shown = desk.page.locator("#response").text_content()
    assert shown == "safeU+202EtxetU+2066U+001B[2JU+200Eend U+E0041."


def test_names_and_notes_are_text_to_other_reviewers(serving, sit_down):
    server = serving(items(1, automatic=""))
    eve, bea = "<img src=x onerror=window.hacked=1>", "Bea"
    first = sit_down(server, eve)
    first.here()
    first.press("n")
    first.page.keyboard.insert_text(MARKUP[0])
    first.press("Escape")
    first.judge("u")
    first.saved()
    second = sit_down(server, None)
    second.page.wait_for_selector("#people button")
    assert eve in second.text("#people")
    second.begin(bea)
    second.judge("s", "1")
    second.saved()
    second.press("d", "Enter")
    wait_until(lambda: second.view == "reading", "the disagreement")
    second.here()
    assert eve in second.text("#others")
    assert MARKUP[0] in second.text("#others")
    assert second.page.locator("main img, main script").count() == 0


def test_a_page_of_another_site_learns_nothing_and_writes_nothing(serving, sit_down, problems):
    server = serving()
    desk = sit_down(server)
    desk.judge("u")
    desk.saved()
    context = desk.page.context
    page = context.new_page()  # the same browser, with the cookie

    def other_site(route):
        if "evil.example" in route.request.url:
            route.fulfill(body="<p>evil</p>", content_type="text/html")
        else:
            route.continue_()

    page.route("**/*", other_site)
    page.goto("http://evil.example/")
    read = """async (origin) => {
      const results = [];
      for (const [path, options] of [
        ["/api/state", {}],
        ["/api/state", { credentials: "include" }],
        ["/api/reviewers", { method: "POST", credentials: "include", mode: "no-cors",
          headers: { "content-type": "text/plain" }, body: '{"name": "Eve"}' }],
      ]) {
        try { results.push((await (await fetch(origin + path, options)).text()).length); }
        catch (error) { results.push("refused"); }
      }
      return results;
    }"""
    assert set(page.evaluate(read, server.origin)) <= {"refused", 0}
    desk.page.reload()
    state = desk.page.evaluate("fetch('/api/state').then((reply) => reply.json())")
    assert [each["name"] for each in state["reviewers"]] == ["Ada"]
    page.close()
    assert problems == ["request: http://evil.example/"]
    problems.clear()
