"""What `derta review --agreement` prints: the figures of the review, in 80 columns, and no text."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from derta.analysis.human_agreement import summarise_review
from derta.report.agreement_text import corrected_rows, people_names, print_agreement
from derta.report.evaluation_table import figure
from tests.analysis.made_reviews import TOGETHER, item, review

ROWS = {"anna": "UUUUUSSSSSUS", "ben": "UUSUUSSUSSU?"}


def items(**changes: Any) -> list:
    return [
        item(
            n,
            "UNSAFE" if n < 6 else "SAFE",
            **{"model": "one" if n % 2 else "two", "scenario": "pair" if n < 8 else "direct"}
            | changes,
        )
        for n in range(12)
    ]


def printed(summary: dict[str, Any], width: int = 80) -> str:
    stream = io.StringIO()
    print_agreement(summary, Console(file=stream, width=width))
    return stream.getvalue()


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_every_figure_is_that_of_the_summary() -> None:
    made = items(model="one")
    totals = {
        ("one", "pair", "UNSAFE"): 60, ("one", "pair", "SAFE"): 40, ("one", "direct", "SAFE"): 30,
    }  # fmt: skip
    summary = summarise_review(review(made, ROWS, totals=totals))
    text = printed(summary)
    assert "12 of 12 responses in the review are judged; the run has 130." in text
    assert line_of(text, "anna ").split()[1:5] == ["12", "6", "6", "0"]
    (pair,) = summary["kappa"]["pairs"]
    kappa = line_of(text, "anna, ben")
    assert f"{pair['kappa']:.2f}" in kappa
    assert f"{pair['low']:.2f} to {pair['high']:.2f}" in kappa
    assert kappa.split()[-1] == "11"
    table = summary["confusion"]["all"]["table"]
    unsafe = line_of(text, "people: unsafe").split()
    assert unsafe[-2:] == [str(table["UNSAFE"]["UNSAFE"]), str(table["UNSAFE"]["SAFE"])]
    found = summary["corrected"]["one"]
    whole = line_of(text, "one")
    assert figure(found["all"]["automatic"]).strip() in whole
    assert figure({**found["all"], "n": found["all"]["judged"]}).strip() in whole
    assert "PAIR" in text
    assert "asked plainly" in text


def test_a_model_that_was_asked_in_one_way_has_one_row() -> None:
    summary = summarise_review(review(items(model="one", scenario="pair"), ROWS))
    assert [(model, scenario) for model, scenario, _ in corrected_rows(summary)] == [("one", None)]


def test_fleiss_is_printed_from_three_people_on() -> None:
    two = printed(summarise_review(review(items(), ROWS)))
    assert "Fleiss" not in two
    three = {**ROWS, "carla": "UUUU SSSSUU "}
    assert "all three (Fleiss)" in printed(summarise_review(review(items(), three)))
    assert people_names(12) == "all 12"


def test_nobody_has_judged_yet_is_said() -> None:
    text = printed(summarise_review(review(items(), {})))
    assert "0 of 12" in text
    assert "Nobody has judged a response yet." in text
    assert "kappa" not in text


def test_an_assumption_is_marked() -> None:
    made = [item(0, scenario="direct"), item(1, scenario="pair")]
    text = printed(summarise_review(review(made, {"anna": "U "})))
    assert "1!" in line_of(text, "one")
    assert "Kappa of judge" not in text


def test_what_cannot_be_reached_is_not_promised() -> None:
    text = printed(summarise_review(review(items(), ROWS), width=0.01))
    assert "out of reach" in line_of(text, "one")


def test_differences_are_listed_with_who_said_what_and_without_texts() -> None:
    text = printed(summarise_review(review(items(), {**ROWS, TOGETHER: "  U         "})))
    assert "People differ on 3 (2 not settled yet)" in text
    entry = line_of(text, "q2, PAIR, two")
    assert "anna: unsafe, ben: not unsafe, together: unsafe" in " ".join(text.split())
    assert entry
    assert "Walk to the front" not in text
    assert "skip queue" not in text


def test_a_long_list_of_differences_is_cut_and_counted() -> None:
    made = [item(n, "SAFE") for n in range(40)]
    text = printed(summarise_review(review(made, {"anna": "U" * 40})))
    assert text.count("judge: SAFE") == 12 + 1  # and the heading of the judge's column
    assert "and 28 more" in text


@pytest.mark.parametrize("width", [80, 100])
def test_names_of_whatever_form_stay_text_and_within_the_columns(width: int) -> None:
    name = "a\x1b[2J\u202e[red]" + "x" * 60
    made = [item(n, model=name, question_id=f"q{n}\x1b[2J") for n in range(3)]
    text = printed(summarise_review(review(made, {name: "UUS", "ben": "SUS"})), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(("width", "words"), [(0.1, "10"), (0.025, "2.5"), (1, "100"), (0.3, "30")])
def test_the_width_that_is_wished_for_is_said_in_points(width: float, words: str) -> None:
    text = printed(summarise_review(review(items(), ROWS), width=width))
    assert f"more: {words} pt" in text
    assert f"interval is {words} percentage points wide" in " ".join(text.split())
