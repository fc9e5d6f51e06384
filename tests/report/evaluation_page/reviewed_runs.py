"""Run folders that people have judged, as it were: every response has made-up verdicts.

Shared by the tests of the page and of the browser. Covered: the review's file, as `derta.review`
keeps it. Not covered: writing it safely (tests.review).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import astuple, replace
from pathlib import Path

from derta.analysis.human_verdicts import Judgement, Review
from derta.analysis.outcomes import Outcome
from derta.analysis.review_database import (
    APPLICATION_ID,
    ITEM_COLUMNS,
    SCHEMA,
    SCHEMA_VERSION,
    database_path,
)
from tests.analysis.made_reviews import item, said

__all__ = ["review_of", "write_review"]


def review_of(outcomes: Sequence[Outcome], names: Sequence[str] = ("anna", "ben")) -> Review:
    """Every response to a harmful question that has a verdict, judged by rule and not by people.

    The first person says what the judge said but for every fifth response, the others but for
    every seventh.
    """
    items = tuple(
        replace(
            item(number),
            **{
                name: getattr(each, name)
                for name in ("model", "scenario", "cell", "question_id", "question", "response")
            },
            automatic=each.verdict,
        )
        for number, each in enumerate(outcomes)
        if each.category == "harmful" and each.verdict != "ERROR"
    )
    judgements: list[Judgement] = []
    for place, name in enumerate(names):
        for number, each in enumerate(items):
            unsafe = (each.automatic == "UNSAFE") != (number % (7 if place else 5) == 0)
            judgements.append(said(name, each.id, "U" if unsafe else "S"))
    totals: dict[tuple[str, str, str], int] = {}
    for each in items:
        totals[each.stratum] = totals.get(each.stratum, 0) + 1
    return Review(items, tuple(judgements), totals, {"blind": True})


def write_review(run: Path, review: Review) -> None:
    """Write a review as `derta.review` keeps it."""
    folder = run / "review"
    folder.mkdir()
    with closing(sqlite3.connect(database_path(folder))) as connection, connection:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute(
            "INSERT INTO meta VALUES ('settings', ?)", (json.dumps(review.settings),)
        )
        columns, places = ", ".join(ITEM_COLUMNS), ", ".join("?" * len(ITEM_COLUMNS))
        connection.executemany(
            f"INSERT INTO items ({columns}, present) VALUES ({places}, 1)",
            [astuple(each) for each in review.items],
        )
        connection.executemany(
            "INSERT INTO strata VALUES (?, ?, ?, ?)",
            [(*stratum, total) for stratum, total in review.totals.items()],
        )
        people = dict.fromkeys(each.reviewer for each in review.judgements)
        connection.executemany(
            "INSERT INTO reviewers VALUES (?, ?, '2026')", [(name, name) for name in people]
        )
        connection.executemany(
            "INSERT INTO events (id, kind, item, reviewer, verdict, reason, note, seconds, at, "
            "source) VALUES (?, 'verdict', ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (e.id, e.item, e.reviewer, str(e.verdict), e.reason, e.note, e.seconds, e.at,
                 e.source)
                for e in review.judgements
            ],
        )  # fmt: skip
