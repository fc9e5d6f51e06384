"""Does the refusal token tell harmful positions from benign ones?

All positions of all held-out texts are pooled: those of harmful texts should have a high
probability of the refusal token, those of benign ones a low one. The ROC curve is over thresholds
on that probability; the operating point is the threshold with the largest Youden index (true minus
false positive share; Youden, Cancer 3, 1950, 32-35). It is chosen on the same texts that it is
measured on, so it flatters. "greedy" needs no threshold: the positions where the refusal token is
the model's first choice. Covered: one model. Not covered: a threshold for use.

Shapes:  R texts, P positions of a text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.clustered import question_share
from derta.analysis.intervals import bootstrap_auc
from derta.analysis.readings import Reading

__all__ = ["MOST_POINTS", "detection"]

MOST_POINTS = 200
"""Of a ROC curve; more can't be seen."""

Array = NDArray[np.float64]


def detection(
    harmful: Sequence[Reading], benign: Sequence[Reading], *, seed: int = 0
) -> dict[str, Any]:
    """Compute ROC curve, area and operating point of one model's refusal token.

    Args:
        harmful: readings of held-out harmful texts.
        benign: readings of held-out benign ones.
        seed: of the bootstrap over questions.

    Returns:
        "auc" (`derta.analysis.intervals.bootstrap_auc`), "roc": [{"threshold", "true_positive",
        "false_positive"}] from the strictest threshold (None: above all values) to the mildest,
        "operating_point": {"threshold", "true_positive", "false_positive"} with shares of
        positions, None where a side is missing, and "greedy": the two shares at rank 1.
    """
    ours = [np.asarray(each.refusal_probability, np.float64) for each in harmful]
    theirs = [np.asarray(each.refusal_probability, np.float64) for each in benign]
    auc = bootstrap_auc(_joined(harmful, ours), _joined(benign, theirs), seed=seed)
    # Texts of one question were joined, so that whole questions are drawn; told are the texts.
    auc |= {"harmful_responses": len(ours), "benign_responses": len(theirs)}
    roc, best = _roc(ours, theirs)
    point = None
    if best is not None:
        point = {
            "threshold": best,
            "true_positive": _share(harmful, [x >= best for x in ours]),
            "false_positive": _share(benign, [x >= best for x in theirs]),
        }
    return {
        "auc": auc,
        "roc": roc,
        "operating_point": point,
        "greedy": {
            "true_positive": _share(harmful, [each.refusal_rank == 1 for each in harmful]),
            "false_positive": _share(benign, [each.refusal_rank == 1 for each in benign]),
        },
    }


def _joined(readings: Sequence[Reading], values: Sequence[Array]) -> list[Array]:
    by_question: dict[str, list[Array]] = defaultdict(list)
    for reading, value in zip(readings, values, strict=True):
        by_question[reading.question_id].append(value)
    return [np.concatenate(found) for found in by_question.values()]


def _share(readings: Sequence[Reading], hits: Sequence[NDArray[np.bool_]]) -> Any:
    """Compute a share of positions, with an interval over questions."""
    return question_share(
        [each.question_id for each in readings],
        [int(np.sum(hit)) for hit in hits],
        [len(hit) for hit in hits],
    )


def _roc(
    harmful: Sequence[Array], benign: Sequence[Array]
) -> tuple[list[dict[str, float | None]], float | None]:
    """Return at most MOST_POINTS points of the curve, and the best threshold."""
    if not harmful or not benign:
        return [], None
    ours, theirs = np.sort(np.concatenate(harmful)), np.sort(np.concatenate(benign))
    thresholds = np.unique(np.concatenate([ours, theirs]))[::-1]
    # A position counts as positive where its probability reaches the threshold.
    hits = len(ours) - np.searchsorted(ours, thresholds)
    alarms = len(theirs) - np.searchsorted(theirs, thresholds)
    # In whole numbers ties are ties; of the best thresholds the strictest is taken.
    best = int(np.argmax(hits * len(theirs) - alarms * len(ours)))
    true_positive, false_positive = hits / len(ours), alarms / len(theirs)
    # Points that are evenly spaced along the curve; both shares only rise, so their sum does.
    wanted = np.linspace(0, 2, MOST_POINTS - 4)
    chosen = np.searchsorted(true_positive + false_positive, wanted)
    last = len(thresholds) - 1
    kept = sorted({0, best, last, *np.minimum(chosen, last).tolist()})
    points: list[dict[str, float | None]] = [
        {"threshold": None, "true_positive": 0.0, "false_positive": 0.0}
    ]
    points += [
        {
            "threshold": float(thresholds[index]),
            "true_positive": float(true_positive[index]),
            "false_positive": float(false_positive[index]),
        }
        for index in kept
    ]
    return points, float(thresholds[best])
