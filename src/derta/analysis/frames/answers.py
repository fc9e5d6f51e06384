"""What models answered, and the figures of it, as pandas data frames.

Covered: outcomes and what is computed of them alone. Not covered: token readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from derta.analysis.frames.folder import (
    SHARE,
    ends,
    from_outcomes,
    make_frame,
    read_answers,
    read_methods,
    values,
)
from derta.analysis.outcomes import Outcome

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "ablation",
    "corrections",
    "differences",
    "exposure",
    "outcomes_frame",
    "prefill_curve",
    "refusal_positions",
    "refusal_summary",
    "trade_off",
]

_NULLABLE = ("refusal_start", "words_before_refusal", "tokens_before_refusal", "exposed_words")


def outcomes_frame(folder: str | Path) -> DataFrame:
    """List all answers with their verdicts, one row an answer.

    Columns: the fields of `derta.analysis.outcomes.Outcome`; of those that count, refusal_start
    is in characters, words_before_refusal and exposed_words in words, tokens_before_refusal in
    tokens, each missing where it isn't known. Texts are not masked.

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    outcomes = read_answers(Path(folder))
    names = [field.name for field in fields(Outcome)]
    rows = [[getattr(outcome, name) for name in names] for outcome in outcomes]
    return make_frame(rows, names).astype(dict.fromkeys(_NULLABLE, "Int64"))


def refusal_positions(folder: str | Path) -> DataFrame:
    """Say by which position refusals have begun: the cumulative distribution.

    Columns: model; unit (words or tokens); position (so many words or tokens before the refusal,
    or fewer); share (of refused answers to harmful questions), low, high; n (refused answers).
    Position 4 is the share within the first five, position 29 what is not after the 30th.

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    found = from_outcomes(folder, "refusal_position")
    return make_frame(
        (
            [model, unit, *(step[name] for name in ("position", "share", "low", "high", "n"))]
            for model, places in found.items()
            for unit, place in places.items()
            if place is not None
            for step in place["cumulative"]
        ),
        ("model", "unit", "position", "share", "low", "high", "n"),
    )


def refusal_summary(folder: str | Path) -> DataFrame:
    """Say where refusals begin, in one row a model and unit.

    Columns: model; unit (words or tokens); n (refused answers), questions; median (words or
    tokens before the refusal); within_first_5, within_first_5_low, within_first_5_high; after_30,
    after_30_low, after_30_high (shares of the refused answers).

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    found = from_outcomes(folder, "refusal_position")
    shares = ("within_first_5", "after_30")
    return make_frame(
        (
            [model, unit, place["n"], place["questions"], place["median"]]
            + [place[name][end] for name in shares for end in ("share", "low", "high")]
            for model, places in found.items()
            for unit, place in places.items()
            if place is not None
        ),
        ("model", "unit", "n", "questions", "median", *(c for name in shares for c in ends(name))),
    )


def prefill_curve(folder: str | Path) -> DataFrame:
    """Say what becomes of answers after k tokens of a harmful response.

    Columns: model; k (prefilled tokens); measure (unsafe: verdict UNSAFE among answers with a
    verdict; refused: among answers without an error); count, n, share, low, high, questions.

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    found = from_outcomes(folder, "prefill")
    return make_frame(
        (
            [model, point["k"], measure, *(point[measure][name] for name in SHARE)]
            for model, curve in found.items()
            for point in curve["points"]
            for measure in ("unsafe", "refused")
        ),
        ("model", "k", "measure", *SHARE),
    )


def corrections(folder: str | Path) -> DataFrame:
    """Say how often a refusal begins within m new tokens after k prefilled ones.

    Columns: model; depth (k, prefilled tokens); within (m, new tokens); count, n, share, low,
    high, questions.

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    found = from_outcomes(folder, "correction")
    names = ("depth", "within", *SHARE)
    return make_frame(
        (
            [model, *(entry[name] for name in names)]
            for model, each in found.items()
            for entry in each
        ),
        ("model", *names),
    )


def exposure(folder: str | Path) -> DataFrame:
    """Say how many words of substance got out before the refusal.

    Columns: model; scenario ("all": over all but those that train a copy); n (answers),
    questions; mean, low, high, median, upper_quartile (words); none (share of answers without
    one), none_low, none_high; left_out (answers that can't be read).

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    found = from_outcomes(folder, "exposure")
    names = ("n", "questions", "mean", "low", "high", "median", "upper_quartile")
    return make_frame(
        (
            [
                *(model, scenario),
                *(entry[name] for name in names),
                *values(entry["none"]),
                entry["left_out"],
            ]
            for model, scenarios in found.items()
            for scenario, entry in scenarios.items()
        ),
        ("model", "scenario", *names, *ends("none"), "left_out"),
    )


def trade_off(folder: str | Path) -> DataFrame:
    """Put safety beside helpfulness, one row a model.

    Columns: model; unsafe (mean attack success), unsafe_low, unsafe_high, attacks (how many are
    averaged), scenarios (which: means over different ones can't be compared); false_refusals (of
    all harmless questions), false_refusals_low, false_refusals_high, and the same for
    ordinary_refusals and lookalike_refusals; helpful_loss (nats a token above the first model's, on
    held-out responses), helpful_loss_low, helpful_loss_high; agreement (share of tokens that both
    would write), agreement_low, agreement_high.

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    groups = {
        "false_refusals": "all",
        "ordinary_refusals": "ordinary",
        "lookalike_refusals": "look-alike",
    }
    rows = []
    for entry in from_outcomes(folder, "trade_off"):
        scenarios = entry["unsafe"]["scenarios"]
        row = [entry["model"], *values(entry["unsafe"]), len(scenarios), ", ".join(scenarios)]
        for category in groups.values():
            row += values(entry["false_refusals"][category])
        row += values(entry["helpful_loss"], "difference")
        rows.append([*row, *values(entry["agreement"])])
    return make_frame(
        rows,
        (
            "model",
            *ends("unsafe"),
            "attacks",
            "scenarios",
            *(column for name in groups for column in ends(name)),
            *ends("helpful_loss"),
            *ends("agreement"),
        ),
    )


def ablation(folder: str | Path, methods: Mapping[str, str] | None = None) -> DataFrame:
    """Put the training methods side by side, one row a method.

    Args:
        folder: of the evaluation.
        methods: model -> untouched, vanilla, harmful_prefix, rto, derta or dpo; None: what
            `derta analyse` found in the runs' recipes.

    Columns, those of shares each with ..._low and ..._high: method; runs (number of models); unsafe
    (mean attack success); scenarios (that it is over; means over different ones can't be compared);
    false_refusals (of all harmless questions); deepest_k (prefilled tokens); deepest (share refused
    there); within_first_5 (share of refusals that begin within five words); helpful_loss (nats a
    token).

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    if methods is None:
        methods = read_methods(Path(folder))
    rows = []
    for entry in from_outcomes(folder, "ablation", methods=methods):
        deepest = entry["deepest"]
        row = [entry["method"], len(entry["runs"])]
        row += [*values(entry["unsafe"]), ", ".join(entry["unsafe"]["scenarios"])]
        row += values(entry["false_refusals"])
        row += [deepest and deepest["k"], *values(deepest), *values(entry["within_first_5"])]
        rows.append([*row, *values(entry["helpful_loss"], "difference")])
    return make_frame(
        rows,
        (
            *("method", "runs", *ends("unsafe"), "scenarios", *ends("false_refusals")),
            "deepest_k",
            *(*ends("deepest"), *ends("within_first_5"), *ends("helpful_loss")),
        ),
    )


def differences(folder: str | Path) -> DataFrame:
    """Compare every two models on the same questions, one row a scenario and measure.

    Columns: first, second (models); scenario, category, measure (unsafe or refused); n (pairs of
    answers), questions; first_share, second_share (shares unsafe or refused); first_only,
    second_only (pairs in which only one is); difference (first share minus second), low, high;
    p_value, p_holm (corrected); better (first, second or missing: less harm, more refusals of
    harmful questions or fewer wrong ones); left_out, unpaired (answers).

    Raises:
        DataError: the folder holds no evaluation, or a file is damaged.
    """
    names = (
        *("first", "second", "scenario", "category", "measure", "n", "questions"),
        *("first_share", "second_share", "first_only", "second_only", "difference", "low", "high"),
        *("p_value", "p_holm", "better", "left_out", "unpaired"),
    )
    found = from_outcomes(folder, "differences")
    return make_frame(([entry.get(name) for name in names] for entry in found), names)
