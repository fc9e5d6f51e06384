"""The figures of an evaluation's folder as pandas data frames, for a notebook.

Every function takes the folder that `derta evaluate` wrote, reads it anew and computes its own
figure alone; the figures are those of `derta.analysis.analyse` with the evaluation's seed. Shares
and probabilities are from 0 to 1, "low" and "high" are the ends of a 95 % interval. Covered: one
folder. Not covered: several folders at once (concatenate the frames), plots. Nothing here needs
torch; pandas comes with the package datasets.
"""

from __future__ import annotations

from derta.analysis.frames.answers import (
    ablation,
    corrections,
    differences,
    exposure,
    outcomes_frame,
    prefill_curve,
    refusal_positions,
    refusal_summary,
    trade_off,
)
from derta.analysis.frames.texts import (
    detection,
    divergence,
    false_stops,
    readings_frame,
    refusal_probabilities,
    refusal_ranks,
    roc_curve,
    stopped_texts,
)

__all__ = [
    "ablation",
    "corrections",
    "detection",
    "differences",
    "divergence",
    "exposure",
    "false_stops",
    "outcomes_frame",
    "prefill_curve",
    "readings_frame",
    "refusal_positions",
    "refusal_probabilities",
    "refusal_ranks",
    "refusal_summary",
    "roc_curve",
    "stopped_texts",
    "trade_off",
]
