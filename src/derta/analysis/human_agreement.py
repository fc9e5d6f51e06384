"""What people said of a run's responses: agreement, the judge's errors, corrected shares.

A review's verdicts become one JSON-ready mapping, from which the terminal and the page are written.

- What people say of a response is `derta.analysis.human_verdicts.consensus`: the strict majority of
  UNSAFE and SAFE, or, where people differ, what they settled together. A tie, and a response of
  which nobody could tell, is in no share; both are counted.
- Questions are what is independent: where several judged responses belong to one question, kappa's
  interval draws whole questions again.
- A share over a model's scenarios is put together from its scenarios' strata, so that it doesn't
  matter that small ones were drawn as often as large ones. Strata that nobody has judged yet are
  taken to be like the others with the same automatic verdict; how many responses that concerns is
  said.

Covered: any number of reviewers, also none. Not covered: the formulas (`agreement`, `judge_error`,
`judgements_needed`, `judge_rates`), printing (`derta.report.agreement_text`).
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from derta.analysis.agreement import cohen_kappa, confusion, fleiss_kappa
from derta.analysis.human_verdicts import (
    TOGETHER,
    HumanVerdict,
    Judgement,
    Review,
    ReviewItem,
    consensus,
    disagreements,
)
from derta.analysis.judge_error import Stratum, corrected_share
from derta.analysis.judge_rates import judge_rates, scaled_strata
from derta.analysis.judgements_needed import judgements_needed

__all__ = ["SCHEMA", "people_verdicts", "summarise_review"]

SCHEMA = "derta/review/1"

_DECIDED = (HumanVerdict.UNSAFE, HumanVerdict.SAFE)
_Votes = Mapping[str, Mapping[str, HumanVerdict]]
"""Item -> reviewer -> verdict; people's own, without what they settled together."""
_Cells = Mapping[str, Mapping[str, Sequence[Stratum]]]
"""Model -> scenario -> strata by automatic verdict."""


def summarise_review(review: Review, *, width: float = 0.1, seed: int = 0) -> dict[str, Any]:
    """Compute all figures of a review.

    Args:
        review: from `derta.analysis.review_database.read_review`.
        width: of the interval that is wished for a corrected share, from its low to its high end
            (0.1: ten percentage points).
        seed: of the bootstrap.

    Returns:
        JSON-ready. "responses": how many the run has; "sampled", "judged", "decided": of them, in
        the review, judged by somebody, UNSAFE or SAFE by people; "people": how many judged;
        "settled": how many were settled together; "reviewers"; "reasons" of SAFE;
        "kappa": "pairs" and "all"; "confusion": "all" and by scenario, counts of the sample;
        "rates": the judge's, over all responses; "corrected": for each model "all" and
        "scenarios", each what `corrected_share` gives, "readable": the same over the responses that
        the judge calls UNSAFE or SAFE, as "automatic" is, and "needed"; "disagreements"; "notes":
        what isn't known, and why. A figure that isn't known is None.
    """
    items = {item.id: item for item in review.items}
    judgements = [each for each in review.judgements if each.item in items]
    people = [each for each in judgements if each.reviewer != TOGETHER]
    agreed = consensus(_unswayed(judgements))
    votes: dict[str, dict[str, HumanVerdict]] = defaultdict(dict)
    for each in people:
        votes[each.item][each.reviewer] = each.verdict
    judged = [item for item in review.items if item.id in votes or item.id in agreed]
    cells = _cells(review, agreed)
    strata = [each for found in cells.values() for part in found.values() for each in part]
    scaled, lent = scaled_strata(strata)
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "seed": seed,
        "width": width,
        "responses": sum(review.totals.values()),
        "sampled": len(review.items),
        "judged": len(judged),
        "people": len({each.reviewer for each in people}),
        "settled": len(judgements) - len(people),
        "decided": sum(verdict in _DECIDED for verdict in agreed.values()),
        "blind": bool(review.settings.get("blind", True)),
        "reviewers": _reviewers(people, len(review.items)),
        "reasons": dict(Counter(each.reason for each in people if each.reason).most_common()),
        "kappa": _kappas(votes, items, seed),
        "confusion": {
            "all": _confusion(judged, agreed, seed),
            "scenarios": {
                scenario: _confusion(
                    [each for each in judged if each.scenario == scenario], agreed, seed
                )
                for scenario in dict.fromkeys(each.scenario for each in judged)
            },
        },
        "rates": judge_rates(scaled, seed=seed),
        "corrected": {
            model: _corrected(found, width=width, seed=seed) for model, found in cells.items()
        },
        "disagreements": _disagreements(review),
    }
    summary["notes"] = list(_notes(summary, review, cells, lent))
    return summary


def _unswayed(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Leave out what was settled on responses on which people did not differ among themselves.

    It is settled with the automatic verdict in view, and only where that is against them: the
    judge would look better than it is.
    """
    said: dict[str, set[HumanVerdict]] = defaultdict(set)
    for each in judgements:
        if each.reviewer != TOGETHER:
            said[each.item].add(each.verdict)
    return [each for each in judgements if each.reviewer != TOGETHER or len(said[each.item]) != 1]


def people_verdicts(review: Review) -> dict[tuple[str, ...], str]:
    """Give what people say of each response, by what an outcome knows it by.

    Returns:
        (model, scenario, cell, question_id, response) -> UNSAFE or SAFE.
    """
    agreed = consensus(review.judgements)
    return {
        (each.model, each.scenario, each.cell, each.question_id, each.response): str(
            agreed[each.id]
        )
        for each in review.items
        if agreed.get(each.id) in _DECIDED
    }


# --- people ----------------------------------------------------------------------------------


def _reviewers(people: Sequence[Judgement], sampled: int) -> list[dict[str, Any]]:
    found: dict[str, list[Judgement]] = defaultdict(list)
    for each in people:
        found[each.reviewer].append(each)
    entries = []
    for name, own in sorted(found.items()):
        verdicts = Counter(each.verdict for each in own)
        seconds = [each.seconds for each in own if each.seconds is not None]
        entries.append(
            {
                "name": name,
                "judged": len(own),
                "of": sampled,
                "unsafe": verdicts[HumanVerdict.UNSAFE],
                "safe": verdicts[HumanVerdict.SAFE],
                "cannot_tell": verdicts[HumanVerdict.CANNOT_TELL],
                "imported": sum(each.source == "import" for each in own),
                "median_seconds": statistics.median(seconds) if seconds else None,
            }
        )
    return entries


def _kappas(votes: _Votes, items: Mapping[str, ReviewItem], seed: int) -> dict[str, Any]:
    names = sorted({name for found in votes.values() for name in found})
    pairs = []
    for first, second in itertools.combinations(names, 2):
        common = [item for item, found in votes.items() if first in found and second in found]
        decided = [
            item
            for item in common
            if votes[item][first] in _DECIDED and votes[item][second] in _DECIDED
        ]
        kappa = cohen_kappa(
            [str(votes[item][first]) for item in decided],
            [str(votes[item][second]) for item in decided],
            clusters=_questions(items[item] for item in decided),
            seed=seed,
        )
        undecided = len(common) - len(decided)
        pairs.append({"first": first, "second": second, "cannot_tell": undecided, **kappa})
    everybody = None
    if len(names) > 1:
        counted = {
            item: Counter(str(verdict) for verdict in found.values() if verdict in _DECIDED)
            for item, found in votes.items()
        }
        rated = [item for item, counts in counted.items() if counts]
        everybody = fleiss_kappa(
            [counted[item] for item in rated],
            clusters=_questions(items[item] for item in rated),
            seed=seed,
        )
    return {"pairs": pairs, "all": everybody}


def _questions(items: Iterable[ReviewItem]) -> list[str]:
    """Name the question of each item: answers to the same one are not independent."""
    return [item.question_id or item.question or item.prompt for item in items]


def _confusion(
    items: Sequence[ReviewItem], agreed: Mapping[str, HumanVerdict], seed: int
) -> dict[str, Any]:
    return confusion(
        [item.automatic for item in items],
        [str(agreed.get(item.id, "")) for item in items],
        clusters=_questions(items),
        seed=seed,
    )


# --- shares ----------------------------------------------------------------------------------


def _cells(review: Review, agreed: Mapping[str, HumanVerdict]) -> _Cells:
    """Count the strata of every model and scenario that has a response in the review."""
    judged: Counter[tuple[str, str, str]] = Counter()
    unsafe: Counter[tuple[str, str, str]] = Counter()
    there: Counter[tuple[str, str, str]] = Counter()
    for item in review.items:
        there[item.stratum] += 1
        verdict = agreed.get(item.id)
        judged[item.stratum] += verdict in _DECIDED
        unsafe[item.stratum] += verdict == HumanVerdict.UNSAFE
    cells: dict[str, dict[str, list[Stratum]]] = {}
    sampled = {(model, scenario) for model, scenario, _ in there}
    for stratum in dict.fromkeys([*review.totals, *there]):
        model, scenario, automatic = stratum
        if (model, scenario) not in sampled:
            continue
        # A response that the run no longer has may still be in the review.
        total = max(review.totals.get(stratum, 0), judged[stratum])
        found = cells.setdefault(model, {}).setdefault(scenario, [])
        found.append(Stratum(automatic, total, judged[stratum], unsafe[stratum]))
    return cells


def _corrected(
    scenarios: Mapping[str, Sequence[Stratum]], *, width: float, seed: int
) -> dict[str, Any]:
    everything = [stratum for found in scenarios.values() for stratum in found]
    return {
        "all": _share(everything, width, seed) | {"scenarios": list(scenarios)},
        "scenarios": {
            scenario: _share(found, width, seed) for scenario, found in scenarios.items()
        },
    }


def _share(strata: Sequence[Stratum], width: float, seed: int) -> dict[str, Any]:
    whole = _extended(strata, seed)
    readable = [each for each in strata if each.automatic in _DECIDED]
    return {
        **whole,
        # The automatic share is over these alone.
        "readable": whole if readable == strata else _extended(readable, seed),
        # What nobody has judged is asked for, whatever it is taken to be meanwhile.
        "needed": judgements_needed(strata, width),
    }


def _extended(strata: Sequence[Stratum], seed: int) -> dict[str, Any]:
    scaled, lent = scaled_strata(strata)
    return {**corrected_share(scaled, seed=seed), "lent": lent}


# --- where verdicts differ -------------------------------------------------------------------


def _disagreements(review: Review) -> dict[str, Any]:
    found = disagreements(review)
    entries = [
        {
            "item": each.item.id,
            "model": each.item.model,
            "scenario": each.item.scenario,
            "cell": each.item.cell,
            "question_id": each.item.question_id,
            "automatic": each.item.automatic,
            "people": {said.reviewer: str(said.verdict) for said in each.judgements},
            "people_say": None if each.consensus is None else str(each.consensus),
            "between_people": each.people_differ,
            "with_automatic": each.automatic_differs,
            "settled_together": each.resolution is not None,
        }
        for each in found
    ]
    between = [each for each in found if each.people_differ]
    return {
        "between_people": len(between),
        "open": sum(each.resolution is None for each in between),
        "with_automatic": sum(each.automatic_differs for each in found),
        "items": entries,
    }


# --- what isn't known ------------------------------------------------------------------------


def _notes(summary: Mapping[str, Any], review: Review, cells: _Cells, lent: int) -> Iterator[str]:
    """Say in sentences what isn't known, and why.

    Args:
        summary: without its notes.
        review: what it is of.
        cells: of the review.
        lent: how many responses others stand for in the judge's rates.
    """
    if summary["reviewers"]:
        yield from _notes_on_judging(summary, review)
        yield from _notes_on_shares(summary, review, cells)
    else:
        yield "Nobody has judged a response yet."
    if lent and summary["confusion"]["all"]["n"]:
        yield (
            f"The judge's rates: {lent} responses are of models and kinds of which nobody has "
            "judged one; they are taken to be like the others with the same automatic verdict."
        )


def _notes_on_judging(summary: Mapping[str, Any], review: Review) -> Iterator[str]:
    people = summary["reviewers"]
    if len(people) == 1:
        yield (
            "One person has judged: how far people agree isn't known, and their own errors are in "
            "the corrected shares. Let a second person judge."
        )
    elif all(not pair["n"] for pair in summary["kappa"]["pairs"]):
        yield "No response was judged by two people: how far people agree isn't known."
    elsewhere = sum(each["imported"] for each in people)
    if elsewhere:
        yield (
            f"{elsewhere} verdict{'s were' if elsewhere != 1 else ' was'} made elsewhere and taken "
            "in: whether blind isn't known."
        )
    undecided = summary["judged"] - summary["decided"]
    if undecided:
        yield (
            f"{undecided} judged response{'s have' if undecided != 1 else ' has'} no verdict of "
            "people (a tie, or nobody could tell): in no share."
        )
    without = sum(each.automatic not in _DECIDED for each in review.items)
    if without:
        yield (
            f"{without} response{'s' if without != 1 else ''} in the review "
            f"{'have' if without != 1 else 'has'} no automatic verdict: not in the comparison with "
            "the judge."
        )
    if summary["settled"]:
        yield (
            f"{summary['settled']} response{'s were' if summary['settled'] != 1 else ' was'} "
            "settled together, with the automatic verdict in view. It counts in these figures only "
            "where people had differed."
        )
    if not summary["blind"]:
        yield (
            "Not all of it was judged blind: whoever saw model, attack or automatic verdict may "
            "have been led by it."
        )


def _notes_on_shares(summary: Mapping[str, Any], review: Review, cells: _Cells) -> Iterator[str]:
    for model, found in summary["corrected"].items():
        total, name = found["all"], model or "all responses"
        if total["share"] is None:
            yield f"{name}: no corrected share: {total['reason']}"
        elif total["lent"]:
            yield (
                f"{name}: {total['lent']} of {total['n']} responses are of kinds of which nobody "
                "has judged one; they are taken to be like the others with the same automatic "
                "verdict."
            )
    drawn = {model: set(found) for model, found in cells.items()}
    absent = {
        (model, scenario)
        for model, scenario, _ in review.totals
        if scenario not in drawn.get(model, ())
    }
    if absent:
        names = ", ".join(sorted({scenario for _, scenario in absent}))
        yield (
            f"No response is in the review of {len(absent)} "
            f"pair{'s' if len(absent) != 1 else ''} of model and scenario: nothing is said of "
            f"them ({names})."
        )
