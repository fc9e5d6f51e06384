"""Where a model would have stopped: the first position at which the refusal token is its choice.

At greedy decoding a model begins to refuse where the refusal token has rank 1. On a harmful text
that is what it should do, the sooner the better; on a benign one it is a false stop. The share of
stopped texts by position can only rise. A text that ends before a position keeps the state that it
had at its end: it was finished without a stop, or stopped before. So n is all texts everywhere, and
the curve ends where fewer than `minimum` texts are still going on. What is stopped beyond that end
is in `anywhere` alone, which looks at whole texts. Covered: held-out texts of one model. Not
covered: whether a refusal really follows the token.

Shapes:  R texts, P positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from derta.analysis.by_position import left_out
from derta.analysis.clustered import clustered_curve, question_share
from derta.analysis.intervals import group_sums
from derta.analysis.readings import Reading
from derta.analysis.selection import long_enough

__all__ = ["stop_curve"]


def stop_curve(readings: Sequence[Reading], *, minimum: int) -> dict[str, Any]:
    """Compute the share of texts that a model would have stopped in by each position.

    Args:
        readings: of one model and source.
        minimum: texts that a position needs.

    Returns:
        {"position", "share", "low", "high", "n"}: parallel lists; "anywhere": the share
        (`derta.analysis.clustered.question_share`) of texts that it would have stopped in at any
        position, also beyond the curve's end; and "left_out" as in
        `derta.analysis.by_position.mean_curve`.
    """
    ranks = [each.refusal_rank for each in readings]
    end = long_enough(ranks, minimum)
    stopped = np.zeros((len(ranks), end))  # (R, P)
    for row, rank in enumerate(ranks):
        chosen = np.flatnonzero(rank == 1)
        if len(chosen):
            stopped[row, chosen[0] :] = 1
    questions = [each.question_id for each in readings]
    counts = group_sums(stopped, questions)
    totals = group_sums(np.ones((len(ranks), 1)), questions)[:, 0]
    curve: dict[str, Any] = clustered_curve(counts, totals)
    anywhere = question_share(questions, [float((rank == 1).any()) for rank in ranks])
    return {
        "position": list(range(end)),
        **curve,
        "anywhere": anywhere,
        "left_out": left_out(ranks, end),
    }
