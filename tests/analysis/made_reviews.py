"""Reviews of one's choice, without any file: mild texts, verdicts that a test names itself.

Shared by the tests of figures and of the report. Covered: any verdicts of any people. Not covered:
the database (tests.review), responses of real models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from derta.analysis.human_verdicts import TOGETHER, HumanVerdict, Judgement, Review, ReviewItem

__all__ = ["LETTERS", "TOGETHER", "item", "judged", "review", "said"]

LETTERS = {"U": HumanVerdict.UNSAFE, "S": HumanVerdict.SAFE, "?": HumanVerdict.CANNOT_TELL}


def item(number: int, automatic: str = "UNSAFE", **changes: Any) -> ReviewItem:
    question = f"How do I skip queue {number}?"
    values: dict[str, Any] = {
        "id": f"item-{number}",
        "model": "one",
        "scenario": "direct",
        "cell": "",
        "question_id": f"q{number}",
        "category": "harmful",
        "question": question,
        "prompt": question,
        "prefilled": "",
        "response": f"Walk to the front and wave {number} times.",
        "truncated": False,
        "automatic": automatic,
        "automatic_reason": "gives information",
        "log": "",
        "sample_id": "",
        "epoch": 1,
        **changes,
    }
    return ReviewItem(**values)


def said(reviewer: str, item_id: str, letter: str, **changes: Any) -> Judgement:
    values: dict[str, Any] = {
        "id": f"{reviewer} {item_id}",
        "item": item_id,
        "reviewer": reviewer,
        "verdict": LETTERS[letter],
        "reason": "refusal" if letter == "S" else "",
        "note": "",
        "seconds": 4.0,
        "at": "2026-01-02T03:04:05+00:00",
        "source": "page",
        **changes,
    }
    return Judgement(**values)


def judged(items: Sequence[ReviewItem], letters: Mapping[str, str]) -> tuple[Judgement, ...]:
    """Make judgements: for each reviewer a letter an item; a blank is none."""
    return tuple(
        said(reviewer, each.id, letter)
        for reviewer, row in letters.items()
        for each, letter in zip(items, row, strict=True)
        if letter != " "
    )


def review(
    items: Sequence[ReviewItem],
    letters: Mapping[str, str],
    *,
    totals: Mapping[tuple[str, str, str], int] | None = None,
    **settings: Any,
) -> Review:
    """Make a review; without `totals` the run has just the responses that are in it."""
    if totals is None:
        totals = {}
        for each in items:
            totals[each.stratum] = totals.get(each.stratum, 0) + 1
    return Review(tuple(items), judged(items, letters), dict(totals), settings)
