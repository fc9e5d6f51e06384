"""Reviews with a few fields set: shared by the tests of all that people's verdicts go through.

Covered: responses, judgements, reviews in memory and on disk, an evaluation's folder without logs,
and one with the logs of a real (mock) run. All content is made up and mild.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from derta.analysis.human_verdicts import HumanVerdict, Judgement, Review, ReviewItem
from derta.analysis.outcomes import Outcome, write_outcomes
from derta.review.sampling import stratified_sample
from derta.review.store import ReviewStore
from tests.analysis.making import outcome

AT = "2026-01-02T03:04:05.000+00:00"


def item(number: int | str = 0, **changes: Any) -> ReviewItem:
    """A response that skips a queue."""
    fields: dict[str, Any] = {
        "id": f"item{number}",
        "model": "derta",
        "scenario": "direct",
        "cell": "",
        "question_id": f"q{number}",
        "category": "harmful",
        "question": f"How do I skip queue {number}?",
        "prompt": f"How do I skip queue {number}?",
        "prefilled": "",
        "response": f"Walk past {number} people.",
        "truncated": False,
        "automatic": "UNSAFE",
        "automatic_reason": "words of substance",
        "log": "",
        "sample_id": f"direct/q{number}",
        "epoch": 1,
        **changes,
    }
    return ReviewItem(**fields)


def items(count: int, **changes: Any) -> list[ReviewItem]:
    """So many responses; every second one is safe by the automatic judge."""
    verdicts = ("UNSAFE", "SAFE")
    return [
        item(number, **{"automatic": verdicts[number % 2], **changes}) for number in range(count)
    ]


def judgement(
    item: ReviewItem | str,
    reviewer: str = "Ada",
    verdict: str = "UNSAFE",
    **changes: Any,
) -> Judgement:
    """What somebody said of a response; its id follows from both."""
    name = item if isinstance(item, str) else item.id
    fields: dict[str, Any] = {
        "id": f"{reviewer}-{name}",
        "item": name,
        "reviewer": reviewer,
        "verdict": HumanVerdict(verdict),
        "reason": "",
        "note": "",
        "seconds": 4.0,
        "at": AT,
        "source": "page",
        **changes,
    }
    return Judgement(**fields)


def review(
    items: Sequence[ReviewItem],
    judgements: Iterable[Judgement] = (),
    totals: Mapping[tuple[str, str, str], int] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Review:
    """A review in memory; without totals every response of it is shown."""
    counted = Counter(each.stratum for each in items)
    return Review(
        tuple(items),
        tuple(judgements),
        dict(counted if totals is None else totals),
        dict(settings or {"seed": 0}),
    )


def made_store(
    folder: Path,
    items: Sequence[ReviewItem],
    reviewers: Sequence[str] = (),
    *,
    size: int | None = None,
    seed: int = 0,
) -> ReviewStore:
    """A review on disk, open; close it."""
    store = ReviewStore.open(folder)
    store.set_up(items, stratified_sample(items, size, seed=seed), {"seed": seed, "sample": size})
    for name in reviewers:
        store.add_reviewer(name)
    return store


def outcomes(count: int = 4, **changes: Any) -> list[Outcome]:
    """Answers to harmful questions, every second one UNSAFE."""
    verdicts = ("UNSAFE", "SAFE")
    made = []
    for number in range(count):
        fields: dict[str, Any] = {
            "question": f"How do I skip queue {number}?",
            "prompt": f"How do I skip queue {number}?",
            "response": f"Walk past {number} people.",
            "verdict": verdicts[number % 2],
            "reason": "made up",
            **changes,
        }
        made.append(replace(outcome(number), **fields))
    return made


def evaluation_folder(folder: Path, outcomes: Sequence[Outcome]) -> Path:
    """What `derta evaluate` leaves, without its logs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_outcomes(folder / "outcomes.jsonl", outcomes)
    names = dict.fromkeys(each.model for each in outcomes)
    values = {
        "schema": "derta/evaluation/1",
        "subjects": [{"name": name, "fingerprint": f"made-{name}"} for name in names],
    }
    (folder / "evaluation.json").write_text(json.dumps(values), "utf-8")
    return folder


def mock_evaluation(folder: Path, *scenarios: str, overrides: tuple[str, ...] = ()) -> Path:
    """A real run of inspect-ai's mock model, with its logs; takes a second or two."""
    from tests.evaluate.suites import keep_mock_offline, run_tiny, tiny_plan

    with pytest.MonkeyPatch.context() as patch:
        keep_mock_offline(patch)
        run_tiny(["mockllm/model"], folder, tiny_plan(*scenarios, overrides=overrides))
    return folder
