"""What the killed processes of `tests.review.killed` write; made without any library."""

from __future__ import annotations

from derta.analysis.human_verdicts import HumanVerdict, Judgement, ReviewItem

COUNT = 300


def population(count: int = COUNT) -> list[ReviewItem]:
    """Make that many responses, long enough to fill some pages of the file."""
    return [
        ReviewItem(
            id=f"item{number}",
            model="derta",
            scenario="direct",
            cell="",
            question_id=f"q{number}",
            category="harmful",
            question="How do I skip the queue?",
            prompt="How do I skip the queue?",
            prefilled="",
            response=f"Walk past {number} people. " * 20,
            truncated=False,
            automatic="SAFE",
            automatic_reason="",
            log="",
            sample_id="",
            epoch=1,
        )
        for number in range(count)
    ]


def imported() -> list[Judgement]:
    """Make a judgement of each."""
    return [
        Judgement(
            id=f"import-{number}",
            item=f"item{number}",
            reviewer="Bo",
            verdict=HumanVerdict.SAFE,
            reason="refusal",
            note="made elsewhere",
            seconds=None,
            at="2026-01-02T03:04:05.000+00:00",
            source="import",
        )
        for number in range(COUNT)
    ]
