"""Which of the figures are wrong: one rule a finding, each with its level.

error: training would stop on it, or it makes the result worthless. warning: it harms training or
measurement from the share on that `WARNED_FROM` states. note: it is there, and less often than
that. Covered: the rules and their remedies. Not covered: how the figures come about (`summary`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from derta.check_data.chunks import KINDS
from derta.check_data.data_report import DataReport, Finding, Level, share_of
from derta.check_data.judged import Example

__all__ = ["CODES", "WARNED_FROM", "list_findings"]

WARNED_FROM: dict[str, float] = {
    "duplicate-rows": 0.0,
    "duplicate-prompts": 0.05,
    "near-duplicate-prompts": 0.05,
    "leak-near": 0.0,
    "safe-does-not-refuse": 0.02,
    "safe-is-no-refusal": 0.05,
    "harmful-refuses": 0.02,
    "harmful-is-harmless": 0.2,
    "helpful-refuses": 0.02,
    "other-refusal-word": 0.05,
    "cut-off-chosen": 0.05,
    "cut-off-completion": 0.05,
    "prompt-holds-response": 0.0,
    "over-limit": 0.0,
}
"""The share from which on a finding is a warning; below it is a note. All others are errors."""

CODES: tuple[str, ...] = (
    "unreadable-rows",
    "leak-exact",
    "contradictory-responses",
    "refused-and-answered",
    "refusal-word-tokens",
    "template-refuses",
    "harmful-too-short",
    *WARNED_FROM,
)
"""All that there are. `over-limit` is an error where `rows.overlong` is error, `harmful-too-short`
always a note, and `refusal-word-tokens` one of words that no recipe asks for."""

_SHOWN_REASONS = 8
_SHOWN_PLACES = 3
_ORDER: tuple[Level, ...] = ("error", "warning", "note")
Examples = Mapping[str, tuple[Example, ...]]


def list_findings(report: DataReport, examples: Examples) -> list[Finding]:
    """List what is wrong, the worst first.

    Args:
        report: whose figures are judged.
        examples: of findings, by code.
    """
    rules = (_of_rows, _of_repeats, _of_leaks, _of_tokens, _of_labels, _of_forms)
    found = [finding for rule in rules for finding in rule(report, examples)]
    return sorted(found, key=lambda finding: _ORDER.index(finding.level))


def _finding(
    code: str,
    share: dict[str, Any] | None,
    text: str,
    remedy: str,
    examples: tuple[Example, ...],
    level: Level | None = None,
) -> Finding:
    if level is None:
        level = "error"
        if code in WARNED_FROM:
            measured = (share or {}).get("share") or 0.0
            level = "warning" if measured >= WARNED_FROM[code] else "note"
    return Finding(code, level, text, remedy, share, examples)


def _count(count: int, n: int) -> dict[str, Any]:
    share = count / n if n else None
    empty = {"low": None, "high": None, "sampled": False}
    return {"count": count, "n": n, "share": share, **empty}


def _of_rows(report: DataReport, _: Examples) -> Iterator[Finding]:
    rows = report.rows
    if rows["unreadable"]:
        total = rows["triples"] + rows["helpful"] + rows["unreadable"]
        examples = [
            Example(place, about="" if index else f"{each['count']:,} x {each['reason']}")
            for each in report.unreadable[:_SHOWN_REASONS]
            for index, place in enumerate(each["places"][:_SHOWN_PLACES])
        ]
        more = len(report.unreadable) - _SHOWN_REASONS
        remedy = "Repair or remove them: training stops on such rows"
        if more > 0:
            remedy += f". {more:,} more reasons are in the JSON (--json)"
        yield _finding(
            "unreadable-rows",
            _count(rows["unreadable"], total),
            "rows can't be read",
            remedy,
            tuple(examples),
        )


def _of_repeats(report: DataReport, examples: Examples) -> Iterator[Finding]:
    repeats = report.repeats
    total = report.rows["triples"] + report.rows["helpful"]
    for code, key, n, text, remedy in (
        (
            "contradictory-responses",
            "contradictions",
            total,
            "a response is to be learnt in one row and rejected in another of the same prompt",
            "Find out which of the two rows is right, and remove the other",
        ),
        (
            "refused-and-answered",
            "refused_and_answered",
            report.rows["triples"],
            "questions of triples are answered in helpful rows",
            "Decide whether the question is harmful, and remove it from one of the two",
        ),
    ):
        if repeats[key]["count"]:
            places = tuple(Example(place) for place in repeats[key]["places"])
            yield _finding(code, _count(repeats[key]["count"], n), text, remedy, places)
    for code, key, text, remedy in (
        (
            "duplicate-rows",
            "rows",
            "rows are copies of an earlier one",
            "Remove the copies: a repeated row weighs more than others",
        ),
        (
            "duplicate-prompts",
            "prompts",
            "rows ask the question of an earlier one",
            "Several responses to a question are fine; keep them together in one split",
        ),
    ):
        if repeats[key]["count"]:
            places = tuple(Example(place) for place in repeats[key]["places"])
            yield _finding(code, _count(repeats[key]["count"], total), text, remedy, places)
    near = repeats["near"]
    if near["prompts"]["count"]:
        yield _finding(
            "near-duplicate-prompts",
            near["prompts"],
            f"prompts are nearly the same as another one (Jaccard {near['threshold']} or more)",
            "Look at the largest group: templates with a word exchanged teach little",
            examples.get("near-duplicate-prompts", ()),
        )


def _of_leaks(report: DataReport, examples: Examples) -> Iterator[Finding]:
    leaks = report.leaks
    if leaks is None:
        return
    out = "Measure on other questions, or remove these: derta data mix --held-out leaves them out"
    near = "Look at both: a template with another word is a leak, too. Remove these by hand"
    for code, key, text, remedy in (
        ("leak-exact", "exact", "held-out questions stand in the training data", out),
        ("leak-near", "near", "held-out questions are nearly in the training data", near),
    ):
        if leaks[key]["count"]:
            yield _finding(code, leaks[key], text, remedy, examples.get(code, ()))


def _of_tokens(report: DataReport, examples: Examples) -> Iterator[Finding]:
    for each in report.model_words:
        if not each["one_token"]:
            said = f"the refusal word {each['word']!r} is not one token of the model"
            remedy = "Choose a word that is (refusal_word in the recipe)"
            if not each["needed"]:
                said += ", should a recipe ask for it"
                remedy = "Name another one in the recipe's refusal_words, or none of this language"
            remedy += "; model_words in the JSON (--json) names some"
            level: Level = "error" if each["needed"] else "note"
            yield _finding("refusal-word-tokens", None, said, remedy, (), level)
    tokens = report.tokens
    if tokens is None:
        return
    failed = sum(tokens["template_refuses"].values())
    if failed:
        total = sum(report.sample[kind] for kind in KINDS)
        yield _finding(
            "template-refuses",
            _count(failed, total),
            "rows are refused by the model's chat template",
            "Write their turns as the template wants them (some know no system message)",
            examples.get("template-refuses", ()),
        )
    for kind, over in tokens["over_limit"].items():
        if over["count"]:
            yield _finding(
                "over-limit",
                over,
                f"{_rows_of(kind)} have more than {tokens['limit']} tokens (rows.max_length)",
                "Raise rows.max_length, shorten them, or set rows.overlong",
                tuple(examples.get("over-limit", ())),
                "error" if tokens["overlong"] == "error" else None,
            )


def _of_labels(report: DataReport, examples: Examples) -> Iterator[Finding]:
    for code, field, stand, text, remedy in (
        (
            "safe-does-not-refuse",
            "chosen",
            "complies",
            "safe responses comply",
            "Look at some: chosen and rejected may be exchanged, or the question is harmless",
        ),
        (
            "harmful-refuses",
            "rejected",
            "refuses",
            "harmful responses refuse",
            "Remove these rows: they teach to refuse after a refusal",
        ),
        (
            "helpful-refuses",
            "completion",
            "refuses",
            "helpful responses refuse",
            "Remove these rows: they teach false refusals",
        ),
    ):
        share = report.stands[field][stand]
        if share["count"]:
            yield _finding(code, share, text, remedy, examples.get(code, ()))
    yield from _of_no_refusal(report, examples)
    yield from _of_harmless(report, examples)
    right = report.refusals["right_word"]
    other = right["n"] - right["count"]
    if other:
        share = {**right, "count": other, "share": other / right["n"]}
        if right["low"] is not None:
            share["low"], share["high"] = 1 - right["high"], 1 - right["low"]
        yield _finding(
            "other-refusal-word",
            share,
            "safe responses begin with another word than the refusal word",
            "Let them begin with it: the model learns this word, and how to go on from it",
            examples.get("other-refusal-word", ()),
        )


def _of_no_refusal(report: DataReport, examples: Examples) -> Iterator[Finding]:
    """Say which safe responses do no harm, and don't refuse either."""
    stands = report.stands["chosen"]
    harmless = stands["harmless"]
    count = harmless["count"] + stands["short"]["count"]
    if count:
        yield _finding(
            "safe-is-no-refusal",
            share_of(count, harmless["n"], sampled=harmless["sampled"]),
            "safe responses neither comply nor refuse, as far as the rules see",
            "Look at some: of a triple the safe response is to refuse. A good answer to a harmless "
            "question belongs in a helpful row",
            examples.get("safe-is-no-refusal", ()),
        )


def _of_harmless(report: DataReport, examples: Examples) -> Iterator[Finding]:
    """Say which harmful responses look harmless, and of which the rules can't say it."""
    stands = report.stands["rejected"]
    harmless, short = stands["harmless"], stands["short"]
    if harmless["count"]:
        told = harmless["n"] - short["count"] - stands["unreadable"]["count"]
        yield _finding(
            "harmful-is-harmless",
            share_of(harmless["count"], told, sampled=harmless["sampled"]),
            "harmful responses seem to hold nothing that would serve the request",
            "Look at some; the rules err, too (docs/judge.md). Vague or evasive responses are "
            "easier to refuse than real ones",
            examples.get("harmful-is-harmless", ()),
        )
    if short["count"]:
        by_language = ", ".join(
            f"{code} {share['count']:,} of {share['n']:,}"
            for code, share in report.too_short.items()
        )
        yield _finding(
            "harmful-too-short",
            short,
            f"harmful responses are too short for the rules to tell if they serve the request "
            f"({by_language})",
            "Look at some, or let a judge model tell: derta judge. Short ones have few places for "
            "a refusal to be learnt at",
            examples.get("harmful-too-short", ()),
            "note",
        )


def _of_forms(report: DataReport, examples: Examples) -> Iterator[Finding]:
    for field, text, remedy in (
        (
            "triples.chosen",
            "safe responses seem to stop in mid-sentence",
            "Complete or remove them: the model learns to stop where they stop",
        ),
        (
            "helpful.completion",
            "helpful responses seem to stop in mid-sentence",
            'Write "finished": false in these rows, so that the end is not learnt',
        ),
    ):
        share = report.cut_off.get(field)
        if share and share["count"]:
            code = f"cut-off-{field.partition('.')[2]}"
            yield _finding(code, share, text, remedy, examples.get(code, ()))
    held = sum(share["count"] for share in report.held.values())
    if held:
        total = report.rows["triples"] + report.rows["helpful"]
        yield _finding(
            "prompt-holds-response",
            _count(held, total),
            "prompts hold a whole response of their row",
            "Cut the response from the prompt: the model would learn to copy it",
            examples.get("prompt-holds-response", ()),
        )


def _rows_of(kind: str) -> str:
    return "triples" if kind == "triples" else "helpful rows"
