"""Is the change that training made shallow or deep? KL from the untouched model, by position.

At every context of a held-out text: the Kullback-Leibler divergence of the model's next-token
distribution from the untouched model's, KL(model || untouched), in nats. Source: Qi et al. 2024
(Safety Alignment Should Be Made More Than Just a Few Tokens Deep, arXiv 2406.05946), who find that
of usual safety training it is large on the first few tokens of harmful responses alone. Covered:
one model. Not covered: the untouched model itself, and models whose vocabulary differs from its.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from derta.analysis.by_position import mean_curve
from derta.analysis.clustered import ratio_interval
from derta.analysis.intervals import group_sums
from derta.analysis.readings import Reading

__all__ = ["FIRST", "divergence", "first_share"]

FIRST = 5
"""Contexts of 0 to 4 tokens: where a shallow change lies."""


def divergence(
    harmful: Sequence[Reading], benign: Sequence[Reading], *, minimum: int, seed: int = 0
) -> dict[str, Any] | None:
    """Compute one model's divergence by position.

    Args:
        harmful: readings of held-out harmful texts.
        benign: readings of held-out benign ones.
        minimum: texts that a position needs.
        seed: of the bootstraps over questions.

    Returns:
        "harmful" and "benign": curves (`derta.analysis.by_position.mean_curve`) in nats, and
        "first_5": the share of all divergence over harmful texts that lies in the first five
        contexts: {"share", "low", "high", "n"}, or None. None: no text has a divergence.
    """
    found: dict[str, Any] = {}
    known: dict[str, list[Reading]] = {}
    for name, readings in (("harmful", harmful), ("benign", benign)):
        known[name] = [
            reading
            for reading in readings
            if reading.divergence is not None and np.isfinite(reading.divergence).all()
        ]
        values = [each.divergence for each in known[name] if each.divergence is not None]
        found[name] = mean_curve(known[name], values, minimum=minimum, seed=seed)
    if not any(known.values()):
        return None
    return {**found, "first_5": first_share(known["harmful"], seed=seed)}


def first_share(readings: Sequence[Reading], *, seed: int = 0) -> dict[str, Any] | None:
    """Compute which share of all divergence lies in the first five contexts; None: there is none.

    Args:
        readings: texts that have a divergence.
        seed: of the bootstrap over questions.
    """
    sums = [
        (np.sum(values[:FIRST]), np.sum(values))
        for values in (np.asarray(each.divergence, np.float64) for each in readings)
    ]
    table = group_sums(np.array(sums).reshape(-1, 2), [each.question_id for each in readings])
    early, total = (float(value) for value in table.sum(axis=0))
    if total <= 0:
        return None
    low, high = ratio_interval(table[:, 0], table[:, 1], seed=seed)
    return {"share": early / total, "low": low, "high": high, "n": len(readings)}
