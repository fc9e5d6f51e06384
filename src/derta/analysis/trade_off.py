"""Safety against helpfulness, one point a model; and the five training methods side by side.

A model that refuses everything is safe and of no use, so attack success never stands alone: beside
it stand false refusals and what training cost in helpfulness. The frontier is what no other model
beats in both. Source of the ablation: the paper's table of methods (vanilla, harmful prefix, RTO,
both, DPO). Covered: figures of evaluation.json where there is one, else made from outcomes. Not
covered: which point is the best; several runs of one method are pooled, and the interval is over
questions, not over runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from derta.analysis.clustered import question_share
from derta.analysis.outcomes import ERROR, Outcome
from derta.analysis.refusal_place import refusal_places
from derta.analysis.selection import (
    CHANGED_WEIGHTS,
    prefill_depth,
    prefilled_answers,
)
from derta.analysis.shares import HARMFUL, depth_curve, mean_attack_success
from derta.analysis.summary import BENIGN_CATEGORIES

__all__ = ["METHODS", "ablation", "averaged_scenarios", "false_refusals", "trade_off"]

METHODS = ("untouched", "vanilla", "harmful_prefix", "rto", "derta", "dpo")
"""In the order of the table; any other comes after them."""


def averaged_scenarios(
    outcomes: Mapping[str, Sequence[Outcome]], evaluation: Mapping[str, Any] | None
) -> list[str]:
    """Choose the scenarios whose attack success is averaged.

    Args:
        outcomes: by model.
        evaluation: the content of evaluation.json, or None.

    Returns:
        Those that the evaluation averaged for any model; where it has none of them, all scenarios
        with harmful questions but those that train a copy.
    """
    means = [
        entry.get("mean_attack_success") or {}
        for entry in ((evaluation or {}).get("models") or {}).values()
    ]
    named = dict.fromkeys(name for mean in means for name in mean.get("scenarios") or ())
    if named:
        return list(named)
    asked = dict.fromkeys(
        outcome.scenario
        for found in outcomes.values()
        for outcome in found
        if outcome.category == HARMFUL and outcome.scenario not in CHANGED_WEIGHTS
    )
    return list(asked)


def trade_off(
    outcomes: Mapping[str, Sequence[Outcome]],
    *,
    evaluation: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Put each model's attack success beside its false refusals and its loss of helpfulness.

    Args:
        outcomes: by model, in order.
        evaluation: the content of evaluation.json; without one there is no helpfulness.

    Returns:
        One entry a model: "model", "unsafe" (`mean_attack_success`), "false_refusals" by category
        and over all, "helpful_loss" and "agreement" as evaluation.json has them, or None.
    """
    scenarios = averaged_scenarios(outcomes, evaluation)
    models = (evaluation or {}).get("models") or {}
    helpful = ((evaluation or {}).get("helpfulness") or {}).get("models") or {}
    entries = []
    for name, found in outcomes.items():
        unsafe = (models.get(name) or {}).get("mean_attack_success") or {}
        if unsafe.get("share") is None:
            unsafe = mean_attack_success(found, scenarios)
        about = helpful.get(name) or {}
        entries.append(
            {
                "model": name,
                "unsafe": unsafe,
                "false_refusals": false_refusals(found),
                "helpful_loss": about.get("helpful_loss"),
                "agreement": about.get("agreement"),
            }
        )
    return entries


def false_refusals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Compute the share of harmless questions refused, by category and over all; errors apart."""
    answered = [o for o in outcomes if o.category != HARMFUL and o.verdict != ERROR]
    groups = {
        category: [outcome for outcome in answered if outcome.category == category]
        for category in BENIGN_CATEGORIES
    }
    return {name: _refused(found) for name, found in (*groups.items(), ("all", answered))}


def ablation(
    outcomes: Mapping[str, Sequence[Outcome]],
    methods: Mapping[str, str],
    *,
    evaluation: Mapping[str, Any] | None = None,
    minimum: int,
) -> list[dict[str, Any]]:
    """Put the training methods side by side.

    Args:
        outcomes: by model, in order.
        methods: model -> how it was trained; models that aren't in it are left out.
        evaluation: the content of evaluation.json, or None.
        minimum: samples that a prefilled depth needs.

    Returns:
        One entry a method: "method", "runs" (its models), "unsafe" (of several runs over the
        attacks that all of them have, named in its "scenarios"), "false_refusals" (over all
        harmless questions), "deepest": the share refused at the deepest prefill that all the models
        reach, with its "k", "within_first_5" (words), "helpful_loss". What isn't known is None. Of
        several runs the helpful loss is the mean, without an interval.
    """
    runs: dict[str, list[str]] = {}
    for name in outcomes:
        if name in methods:
            runs.setdefault(methods[name], []).append(name)
    order = {method: place for place, method in enumerate(METHODS)}
    single = {each["model"]: each for each in trade_off(outcomes, evaluation=evaluation)}
    scenarios = averaged_scenarios(outcomes, evaluation)
    used = {name: outcomes[name] for names in runs.values() for name in names}
    depth = _deepest(list(used.values()), minimum)
    entries = []
    for method in sorted(runs, key=lambda each: order.get(each, len(order))):
        names = runs[method]
        pooled = [outcome for name in names for outcome in outcomes[name]]
        words = refusal_places(pooled)["words"]
        unsafe = single[names[0]]["unsafe"]
        if len(names) > 1:
            # An attack that only some runs were asked would weigh those alone.
            known = [single[name]["unsafe"]["scenarios"] for name in names]
            common = [each for each in scenarios if all(each in found for found in known)]
            unsafe = mean_attack_success(pooled, common)
        entries.append(
            {
                "method": method,
                "runs": names,
                "unsafe": unsafe,
                "false_refusals": false_refusals(pooled)["all"],
                "deepest": _refused_at(pooled, depth),
                "within_first_5": words["within_first_5"] if words else None,
                "helpful_loss": _mean_loss([single[name]["helpful_loss"] for name in names]),
            }
        )
    return entries


def _refused(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    questions = [outcome.question_id for outcome in outcomes]
    return question_share(questions, [outcome.refused for outcome in outcomes])


def _deepest(models: Sequence[Sequence[Outcome]], minimum: int) -> int | None:
    """Find the deepest prefill that enough samples of every model reach."""
    reached = [
        {point["k"] for point in depth_curve(prefilled_answers(found), minimum=minimum)["points"]}
        for found in models
    ]
    common = set.intersection(*reached) if reached else set()
    return max(common, default=None)


def _refused_at(outcomes: Sequence[Outcome], depth: int | None) -> dict[str, Any] | None:
    if depth is None:
        return None
    there = [
        outcome
        for outcome in prefilled_answers(outcomes)
        if prefill_depth(outcome) == depth and outcome.verdict != ERROR
    ]
    return {"k": depth, **_refused(there)}


def _mean_loss(losses: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    known = [loss for loss in losses if loss is not None and loss.get("difference") is not None]
    if len(known) < len(losses) or not known:
        return None
    if len(known) == 1:
        return dict(known[0])
    mean = sum(float(loss["difference"]) for loss in known) / len(known)
    return {"difference": mean, "low": None, "high": None, "runs": len(known)}
