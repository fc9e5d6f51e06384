"""What is in the data, as plain values, and what is wrong with it.

The JSON holds counts, shares, places and names, and no text of the data. Covered: the report's
parts and how findings decide the exit code. Not covered: how it looks (`printing`), how it is
measured (`checking`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from derta.analysis.intervals import wilson
from derta.check_data.judged import Example

__all__ = ["DataReport", "FailOn", "Finding", "Level", "share_of", "spread"]

Level = Literal["error", "warning", "note"]
FailOn = Literal["error", "warning", "never"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth a look."""

    code: str
    """Its stable name."""
    level: Level
    text: str
    """What it is, in words, without any of the data's text."""
    remedy: str
    share: dict[str, Any] | None = None
    """How many of how many (`share_of`)."""
    examples: tuple[Example, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all of it but the examples' texts."""
        return {
            "code": self.code,
            "level": self.level,
            "text": self.text,
            "remedy": self.remedy,
            "share": self.share,
            "places": [example.place for example in self.examples],
        }


@dataclass(slots=True)
class DataReport:
    """What is in the data; every part is ready for JSON."""

    data: dict[str, Any]
    """"sources", "named_again" (read once, too), "held_out" (or None), "model" (or None)."""
    sample: dict[str, Any]
    """"size" (None: all rows), "seed", and the "triples" and "helpful" rows that were read."""
    rows: dict[str, Any]
    """"triples", "helpful", "unreadable", "skipped"; "by_source", "by_category"."""
    unreadable: list[dict[str, Any]]
    """{"reason", "count", "places"}, the most frequent first."""
    skipped: dict[str, int]
    """Reason -> rows that a published format has and no example can be made of."""
    languages: dict[str, Any]
    """Kind -> code -> share of the sample's prompts."""
    lengths: dict[str, Any]
    """"triples.prompt" ... -> {"words", "characters"} -> `spread`."""
    tokens: dict[str, Any] | None
    """None without a model: {"limit", "over_limit", "parts": "triples.prompt" ... -> `spread`}."""
    repeats: dict[str, Any]
    """"prompts", "rows", "contradictions", "refused_and_answered", "near"."""
    leaks: dict[str, Any] | None
    """None without held-out questions: {"questions", "exact", "near", "compared"}."""
    stands: dict[str, Any]
    """"chosen", "rejected", "completion" -> what the responses do -> share."""
    too_short: dict[str, Any]
    """Language of the prompt -> share of harmful responses that are too short to tell."""
    refusals: dict[str, Any]
    """"words": language -> word -> share; "right_word": share; "positions": by field."""
    model_words: list[dict[str, Any]]
    """{"word", "one_token", "problem", "needed"} for each refusal word, if a model is given."""
    cut_off: dict[str, Any]
    """Field -> share of responses that seem to stop in mid-sentence."""
    held: dict[str, Any]
    """Kind -> share of rows whose prompt holds a response."""
    findings: list[Finding] = field(default_factory=list)

    def failed(self, fail_on: FailOn = "error") -> bool:
        """Say whether there is a finding of the level `fail_on`, or of a worse one."""
        bad: Mapping[FailOn, tuple[Level, ...]] = {
            "error": ("error",),
            "warning": ("error", "warning"),
            "never": (),
        }
        return any(finding.level in bad[fail_on] for finding in self.findings)

    def exit_code(self, fail_on: FailOn = "error") -> int:
        """Return 1 if it failed, else 0."""
        return int(self.failed(fail_on))

    def to_json(self) -> str:
        """Write the report as JSON."""
        content = {
            "version": _VERSION,
            "data": self.data,
            "sample": self.sample,
            "findings": [finding.to_json() for finding in self.findings],
            "rows": self.rows,
            "unreadable": self.unreadable,
            "skipped": self.skipped,
            "languages": self.languages,
            "lengths": self.lengths,
            "tokens": self.tokens,
            "repeats": self.repeats,
            "leaks": self.leaks,
            "stands": self.stands,
            "too_short": self.too_short,
            "refusals": self.refusals,
            "model_words": self.model_words,
            "cut_off": self.cut_off,
            "held": self.held,
        }
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def share_of(count: int, n: int, *, sampled: bool) -> dict[str, Any]:
    """Write a share; where it was measured on a sample, with its Wilson 95 % interval.

    Returns:
        {"count", "n", "share", "low", "high", "sampled"}; "low" and "high" are None unless sampled,
        "share" is None where n is 0.
    """
    found = wilson(count, n)
    if not sampled:
        found["low"] = found["high"] = None
    return {**found, "sampled": sampled}


def spread(counts: Mapping[int, int]) -> dict[str, int | None]:
    """Describe lengths that are counted: length -> how often.

    Returns:
        {"n", "min", "median", "p95", "max"}; but for n, None where there are none. A percentile is
        the smallest length that so many are not longer than.
    """
    n = sum(counts.values())
    if not n:
        return {"n": 0, "min": None, "median": None, "p95": None, "max": None}
    ordered = sorted(counts)

    def percentile(share: float) -> int:
        rank, below = max(1, math.ceil(share * n)), 0
        for length in ordered:
            below += counts[length]
            if below >= rank:
                return length
        return ordered[-1]

    return {
        "n": n,
        "min": ordered[0],
        "median": percentile(0.5),
        "p95": percentile(0.95),
        "max": ordered[-1],
    }
