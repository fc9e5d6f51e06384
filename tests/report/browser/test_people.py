"""What people say, in a browser: beside the automatic verdict, and as a filter.

Covered: made-up runs with made-up verdicts. Not covered: the page on which people judge
(tests.review.browser).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from derta.analysis.human_agreement import people_verdicts
from derta.analysis.outcomes import read_outcomes
from tests.report.browser.looking import nameless, overflow, poor_contrasts
from tests.report.evaluation_page.reviewed_runs import review_of, write_review

pytestmark = pytest.mark.slow


def judged(run: Path) -> None:
    outcomes = read_outcomes(run / "outcomes.jsonl")
    write_review(run, review_of([each for each in outcomes if each.scenario == "direct"]))


def matching(page: Any) -> int:
    words = page.locator("#responses-count").text_content()
    return int(words.replace("\u202f", "").split()[1]) if words.startswith("Matching") else 0


def test_answers_show_both_verdicts_and_are_filtered_by_what_people_say(made, open_page) -> None:
    path = made(judged, models=2, questions=20)
    page = open_page(path, address="#scenario=direct")
    outcomes = [o for o in read_outcomes(path.parent / "outcomes.jsonl") if o.scenario == "direct"]
    verdicts = people_verdicts(review_of(outcomes))
    said = {
        key: sum(
            verdicts.get((o.model, o.scenario, o.cell, o.question_id, o.response)) == key
            for o in outcomes
        )
        for key in ("UNSAFE", "SAFE")
    }
    assert min(said.values()) > 0
    for key, count in said.items():
        page.select_option("#filter-people", key)
        assert matching(page) == count
    page.select_option("#filter-people", "differs")
    differing = matching(page)
    assert differing == sum(
        o.verdict in ("UNSAFE", "SAFE")
        and verdicts.get((o.model, o.scenario, o.cell, o.question_id, o.response), o.verdict)
        != o.verdict
        for o in outcomes
    )
    assert differing > 0
    card = page.locator("article.asked").first
    assert "people: " in card.locator(".answer .verdict").all_text_contents()[1]
    assert "people=differs" in page.evaluate("location.hash")
    page.select_option("#filter-people", "none")
    assert matching(page) == len(outcomes) - sum(said.values())


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_section_can_be_read_on_any_screen(made, open_page, width, scheme) -> None:
    page = open_page(made(judged, models=2, questions=20), width=width, color_scheme=scheme)
    page.locator("#people").scroll_into_view_if_needed()
    assert page.locator("#people h2").text_content() == "What people say"
    assert overflow(page) == 0
    assert poor_contrasts(page) == []
    assert nameless(page) == []


def test_a_run_that_nobody_judged_has_no_such_filter(made, open_page) -> None:
    page = open_page(made(models=2, questions=20))
    assert page.locator("#filter-people").count() == 0
    assert page.locator("#people").count() == 0
