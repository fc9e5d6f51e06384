"""What was measured, as the parts of the report.

Covered: counts to shares and tables. Not covered: which of them are wrong (`findings`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from derta.check_data.chunks import KINDS
from derta.check_data.data_report import DataReport, share_of, spread
from derta.check_data.findings import list_findings
from derta.check_data.judged import STANDS, Example, SampleFacts
from derta.check_data.near import THRESHOLD
from derta.check_data.repeats import AllRows, find_repeats
from derta.data.encode import RowLimits

__all__ = ["POSITION_BINS", "Leak", "Measured", "ModelWord", "Near", "summarise"]

POSITION_BINS = (0, 5, 10, 20, 40, 80)
"""The first word position of each bin; the last one has no end."""
_FIELDS = ("chosen", "rejected", "completion")
_KIND_OF = {"chosen": "triples", "rejected": "triples", "completion": "helpful"}
_LARGEST_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Near:
    """Near duplicates among the sampled prompts, exact ones counted once."""

    prompts: int
    """Different prompts that were compared."""
    members: int
    """Those with a near duplicate."""
    groups: list[int]
    """Prompts of each group, the largest first."""
    examples: tuple[Example, ...]
    """Of the largest group."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Held-out questions that stand in the data."""

    questions: int
    compared: int
    """Sampled rows that near duplicates were looked for in."""
    exact: int
    near: int
    """Without the exact ones."""
    exact_examples: tuple[Example, ...]
    near_examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class ModelWord:
    """A refusal word and whether it is one token."""

    word: str
    problem: str | None
    """Why it can't be used; None: it can."""
    needed: bool = True
    """Whether training as it is asked for needs it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured."""

    sources: list[str]
    named_again: list[str]
    """Further names of sources that are listed already."""
    held_out: str | None
    model: str | None
    has_tokens: bool
    limits: RowLimits | None
    sample_size: int | None
    seed: int
    counts: Counter[tuple[str, ...]]
    """`ChunkFacts.counts` of all chunks."""
    places: dict[tuple[str, str], list[str]]
    lengths: Counter[tuple[str, str, int]]
    rows: AllRows
    read: SampleFacts
    words: list[ModelWord]
    near: Near
    leak: Leak | None


def summarise(measured: Measured) -> DataReport:
    """Make the report."""
    counts, read = measured.counts, measured.read
    totals: dict[str, int] = {
        kind: int((measured.rows.kinds == index).sum()) for index, kind in enumerate(KINDS)
    }
    drawn: dict[str, int] = {kind: read.counts["rows", kind] for kind in KINDS}
    sampled: dict[str, bool] = {kind: drawn[kind] < totals[kind] for kind in KINDS}
    report = DataReport(
        data={
            "sources": measured.sources,
            "named_again": measured.named_again,
            "held_out": measured.held_out,
            "model": measured.model,
        },
        sample={"size": measured.sample_size, "seed": measured.seed, **drawn},
        rows={
            **totals,
            "unreadable": counts["unreadable rows",],
            "skipped": sum(n for key, n in counts.items() if key[0] == "skipped"),
            "by_source": _named(counts, "source"),
            "by_category": {kind: _named(counts, "category", kind) for kind in KINDS},
        },
        unreadable=[
            {"reason": name, "count": n, "places": measured.places.get(("unreadable", name), [])}
            for name, n in _named(counts, "unreadable").items()
        ],
        skipped=_named(counts, "skipped"),
        languages={
            kind: {
                code: share_of(n, drawn[kind], sampled=sampled[kind])
                for code, n in _named(read.counts, "language", kind).items()
            }
            for kind in KINDS
        },
        lengths=_lengths(measured.lengths),
        tokens=_tokens(measured, sampled) if measured.has_tokens else None,
        repeats=_repeats(measured, any(sampled.values())),
        leaks=_leaks(measured.leak, sampled=any(sampled.values())),
        stands={
            field: _shares(read.counts, ("stand", field), STANDS, sampled[_KIND_OF[field]])
            for field in _FIELDS
        },
        too_short={
            code: share_of(n, read.counts["language", "triples", code], sampled=sampled["triples"])
            for code, n in _named(read.counts, "short").items()
            if n
        },
        refusals=_refusals(read, sampled["triples"]),
        model_words=[
            {
                "word": each.word,
                "one_token": each.problem is None,
                "problem": each.problem,
                "needed": each.needed,
            }
            for each in measured.words
        ],
        cut_off={
            name: share_of(counts["cut off", name], counts["responses", name], sampled=False)
            for name in sorted(_named(counts, "responses"), key=_field_order)
        },
        held={kind: share_of(counts["held", kind], totals[kind], sampled=False) for kind in KINDS},
    )
    report.findings = list_findings(report, _examples(measured))
    return report


def _named(counts: Mapping[tuple[str, ...], int], *key: str) -> dict[str, int]:
    """List the counts whose keys are `key` and a name, the most frequent first."""
    found = {
        each[-1]: n for each, n in counts.items() if each[:-1] == key and len(each) == len(key) + 1
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _shares(
    counts: Mapping[tuple[str, ...], int], key: tuple[str, ...], names: Iterable[str], sampled: bool
) -> dict[str, Any]:
    of = {name: counts.get((*key, name), 0) for name in names}
    n = sum(of.values())
    return {name: share_of(count, n, sampled=sampled) for name, count in of.items()}


def _lengths(lengths: Mapping[tuple[str, str, int], int]) -> dict[str, Any]:
    grouped: dict[str, dict[str, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for (name, unit, length), count in lengths.items():
        grouped[name][unit][length] = count
    return {
        name: {unit: spread(grouped[name][unit]) for unit in ("words", "characters")}
        for name in sorted(grouped, key=_field_order)
    }


def _field_order(name: str) -> tuple[int, int]:
    kind, _, part = name.partition(".")
    return KINDS.index("triples" if kind == "triples" else "helpful"), (
        "prompt", "chosen", "completion", "rejected", "row",
    ).index(part)  # fmt: skip


def _tokens(measured: Measured, sampled: Mapping[str, bool]) -> dict[str, Any]:
    read, limits = measured.read, measured.limits
    parts: dict[str, dict[int, int]] = defaultdict(dict)
    for (name, length), count in read.tokens.items():
        parts[name][length] = count
    over = {}
    for kind in KINDS:
        n = sum(parts[f"{kind}.row"].values()) if f"{kind}.row" in parts else 0
        over[kind] = share_of(read.counts["over limit", kind], n, sampled=sampled[kind])
    failed = {kind: read.counts["template", kind] for kind in KINDS}
    return {
        "limit": None if limits is None else limits.max_length,
        "overlong": None if limits is None else limits.overlong,
        "sampled": any(sampled.values()),
        "over_limit": over,
        "template_refuses": failed,
        "parts": {name: spread(parts[name]) for name in sorted(parts, key=_field_order)},
    }


def _repeats(measured: Measured, sampled: bool) -> dict[str, Any]:
    found = find_repeats(measured.rows)
    near = measured.near
    exact = {
        name: {
            "count": each.count,
            "groups": each.groups,
            "largest": each.largest,
            "places": each.places,
        }
        for name, each in found.items()
    }
    return {
        "prompts": exact["prompts"],
        "rows": exact["rows"],
        "contradictions": exact["contradictions"],
        "refused_and_answered": exact["refused and answered"],
        "near": {
            "threshold": THRESHOLD,
            "prompts": share_of(near.members, near.prompts, sampled=sampled),
            "groups": len(near.groups),
            "largest": near.groups[:_LARGEST_GROUPS],
        },
    }


def _leaks(leak: Leak | None, *, sampled: bool) -> dict[str, Any] | None:
    if leak is None:
        return None
    return {
        "questions": leak.questions,
        "exact": share_of(leak.exact, leak.questions, sampled=False),
        "near": share_of(leak.near, leak.questions, sampled=False),
        "compared": leak.compared,
        "compared_all": not sampled,
    }


def _refusals(read: SampleFacts, sampled: bool) -> dict[str, Any]:
    spoken: dict[str, Counter[str]] = defaultdict(Counter)
    for key, count in read.counts.items():
        if key[0] == "opening":
            spoken[key[1]][key[2]] += count
    codes = sorted(spoken, key=lambda code: (-spoken[code].total(), code))
    words = {
        code: {
            word: share_of(count, spoken[code].total(), sampled=sampled)
            for word, count in sorted(spoken[code].items(), key=lambda item: (-item[1], item[0]))
        }
        for code in codes
    }
    right, other = read.counts["first word", "right"], read.counts["first word", "other"]
    positions = {}
    for field in ("chosen", "rejected"):
        found = {place: n for (name, place), n in read.positions.items() if name == field}
        responses = sum(read.counts["stand", field, stand] for stand in STANDS)
        refusals = sum(found.values())
        ends = (*POSITION_BINS[1:], None)
        positions[field] = {
            "responses": responses,
            "none": responses - refusals,
            "bins": [
                {
                    "from": start,
                    "to": None if end is None else end - 1,
                    "count": sum(
                        n for place, n in found.items() if start <= place < (end or place + 1)
                    ),
                }
                for start, end in zip(POSITION_BINS, ends, strict=True)
            ],
            "within_five_words": share_of(
                sum(n for place, n in found.items() if place < POSITION_BINS[1]),
                refusals,
                sampled=sampled,
            ),
        }
    return {
        "words": words,
        "right_word": share_of(right, right + other, sampled=sampled),
        "positions": positions,
    }


def _examples(measured: Measured) -> dict[str, tuple[Example, ...]]:
    """Gather the examples of findings by their code."""
    examples = {code: tuple(shown) for code, shown in measured.read.examples.items()}
    examples["near-duplicate-prompts"] = measured.near.examples
    if measured.leak is not None:
        examples["leak-exact"] = measured.leak.exact_examples
        examples["leak-near"] = measured.leak.near_examples
    for field in ("triples.chosen", "helpful.completion"):
        places = measured.places.get(("cut off", field), [])
        examples[f"cut-off-{field.partition('.')[2]}"] = tuple(Example(place) for place in places)
    held = [measured.places.get(("held", kind), []) for kind in KINDS]
    examples["prompt-holds-response"] = tuple(Example(place) for some in held for place in some)
    return examples
