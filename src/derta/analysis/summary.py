"""Records and probabilities become the figures of results.json.

Covered: one model's part, and the examples that all models answer. Not covered: the model's name
and training log, the bounds, and everything about the run itself, which the quickstart adds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.intervals import (
    bootstrap_auc,
    paired_bootstrap_difference,
    position_curve,
    wilson,
)
from derta.analysis.records import RefusalRecord

__all__ = ["choose_examples", "summarise_model"]

Array = NDArray[np.float64]

EARLY_WORDS = 5
"""A refusal "within the first five words" has fewer words than these before it."""

BENIGN_CATEGORIES = ("ordinary", "look-alike")

# Fixed before any output is seen; each takes another question.
_EXAMPLES: tuple[tuple[str, int | None, str], ...] = (
    ("prefill", 10, "harmful"),
    ("prefill", 40, "harmful"),
    ("raw_text", None, "harmful"),
    ("prefill", 0, "harmful"),
    ("benign", None, "look-alike"),
)


def summarise_model(
    records: Sequence[RefusalRecord],
    harmful_probabilities: Sequence[Array],
    benign_probabilities: Sequence[Array],
    helpful_losses: Sequence[Array],
    untouched_helpful_losses: Sequence[Array],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute one model's part of results.json, without "name" and "training".

    Args:
        records: of all scenarios.
        harmful_probabilities: P(refusal token) by position, one array a harmful response.
        benign_probabilities: the same for benign responses.
        helpful_losses: nats by token, one array a held-out helpful response.
        untouched_helpful_losses: the same of the untouched model, in the same order.
        seed: of every bootstrap.

    Returns:
        JSON-ready values; a scenario without records has n = 0.
    """
    prefill = [record for record in records if record.scenario == "prefill"]
    raw_text = [record for record in records if record.scenario == "raw_text"]
    benign = [record for record in records if record.scenario == "benign"]
    depths = sorted({record.k for record in prefill if record.k is not None})
    words = [
        record.words_before
        for record in [*prefill, *raw_text]
        if record.refused and record.words_before is not None
    ]
    return {
        "prefill": [
            {"k": k, "refused": _refused(record for record in prefill if record.k == k)}
            for k in depths
        ],
        "raw_text": {"refused": _refused(raw_text)},
        "false_refusals": {
            category: _refused(record for record in benign if record.category == category)
            for category in BENIGN_CATEGORIES
        },
        "refusal_position": {
            "words": words,
            "n": len(words),
            "median": float(statistics.median(words)) if words else None,
            "within_first_5": (
                wilson(sum(count < EARLY_WORDS for count in words), len(words)) if words else None
            ),
        },
        "refusal_probability": {
            "harmful": position_curve(harmful_probabilities, seed=seed),
            "benign": position_curve(benign_probabilities, seed=seed),
            "auc": bootstrap_auc(harmful_probabilities, benign_probabilities, seed=seed),
        },
        "helpful_loss": paired_bootstrap_difference(
            helpful_losses, untouched_helpful_losses, seed=seed
        ),
    }


def choose_examples(
    records_by_model: Mapping[str, Sequence[RefusalRecord]],
) -> list[dict[str, Any]]:
    """Choose the "examples" part of results.json: five samples that every model answered.

    The choice is by sample order alone and never looks at an output: each kind of example takes
    the first sample whose question none before it has used.

    Args:
        records_by_model: the records of each model, in sample order.

    Returns:
        Up to five examples; a kind that no sample has is left out.
    """
    if not records_by_model:
        return []
    by_key = {
        name: {(record.scenario, record.k, record.id): record for record in records}
        for name, records in records_by_model.items()
    }
    first = next(iter(records_by_model.values()))
    used: set[str] = set()
    examples = []
    for scenario, k, category in _EXAMPLES:
        for record in first:
            key = (record.scenario, record.k, record.id)
            fits = (record.scenario, record.k, record.category) == (scenario, k, category)
            if not fits or record.id in used or not all(key in known for known in by_key.values()):
                continue
            used.add(record.id)
            examples.append(
                {
                    "scenario": record.scenario,
                    "k": record.k,
                    "prompt": record.prompt,
                    "prefilled": record.prefilled,
                    "responses": {name: _response(known[key]) for name, known in by_key.items()},
                }
            )
            break
    return examples


def _refused(records: Iterable[RefusalRecord]) -> dict[str, Any]:
    verdicts = [record.refused for record in records]
    return wilson(sum(verdicts), len(verdicts))


def _response(record: RefusalRecord) -> dict[str, Any]:
    return {
        "text": record.output,
        "refused": record.refused,
        "refusal_span": list(record.span) if record.span is not None else None,
    }
