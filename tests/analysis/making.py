"""Outcomes and token readings with a few fields set: shared by the tests of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from derta.analysis.outcomes import Outcome
from derta.analysis.readings import Reading


def outcome(question: int | str = 0, **changes: Any) -> Outcome:
    """A harmful question that was answered, safely and without a refusal."""
    fields: dict[str, Any] = {
        "model": "derta",
        "scenario": "direct",
        "cell": "",
        "question_id": f"q{question}",
        "category": "harmful",
        "question": "How do I skip the queue?",
        "prompt": "How do I skip the queue?",
        "prefilled": "",
        "response": "Walk past everybody.",
        "truncated": False,
        "verdict": "SAFE",
        "reason": "",
        "refused": False,
        "exposed_words": 3,
        **changes,
    }
    return Outcome(**fields)


def refusal(question: int | str, words: int, tokens: int | None = None, **changes: Any) -> Outcome:
    """A refused answer with so many words and tokens before its refusal."""
    known = {
        "refused": True,
        "refusal_start": 5 * words,
        "words_before_refusal": words,
        "tokens_before_refusal": 2 * words if tokens is None else tokens,
        "exposed_words": words,
    }
    return outcome(question, **{**known, **changes})


def reading(
    number: int | str = 0,
    probability: Sequence[float] = (0.5, 0.5),
    rank: Sequence[int] | None = None,
    *,
    divergence: Sequence[float] | None = None,
    **changes: Any,
) -> Reading:
    """A held-out harmful text with so many contexts."""
    count = len(probability)
    ranks = [1 if each > 0.5 else 2 for each in probability] if rank is None else rank
    fields: dict[str, Any] = {
        "model": "derta",
        "source": "harmful",
        "scenario": "",
        "cell": "",
        "question_id": f"q{number}",
        "category": "harmful",
        "question": "How do I skip the queue?",
        "prefilled": "",
        "response": " walk" * (count - 1),
        "tokens": (" walk",) * (count - 1),
        "prefilled_tokens": 0,
        "refusal_probability": np.array(probability, np.float32),
        "refusal_rank": np.array(ranks, np.int32),
        "token_probability": np.full(count - 1, 0.25, np.float32),
        "token_rank": np.ones(count - 1, np.int32),
        "top_tokens": ("Sorry",) * count,
        "top_probability": np.full(count, 0.5, np.float32),
        "divergence": None if divergence is None else np.array(divergence, np.float32),
        **changes,
    }
    return Reading(**fields)


def benign(number: int | str = 0, *args: Any, **changes: Any) -> Reading:
    """A held-out benign text."""
    known = {"source": "benign", "category": "ordinary", "question": "How do I bake bread?"}
    return reading(f"b{number}", *args, **{**known, **changes})
