"""What models think at every token of a text, and the figures of it, as pandas data frames.

Covered: token readings and what is computed of them. Not covered: answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from derta.analysis.frames.folder import (
    SHARE,
    ends,
    from_readings,
    make_frame,
    read_texts,
    values,
)
from derta.analysis.readings import Reading

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "detection",
    "divergence",
    "false_stops",
    "readings_frame",
    "refusal_probabilities",
    "refusal_ranks",
    "roc_curve",
    "stopped_texts",
]

_QUARTILES = ("median", "lower_quartile", "upper_quartile")


def readings_frame(folder: str | Path) -> DataFrame:
    """List what the models think at every position of every text they read, one row a context.

    Columns: model; source (harmful, benign: held-out texts that all models read; response: the
    model's own); scenario, cell (of its own responses), question_id, category; text (number of
    the text, of this model from 0); position (tokens before the context, prefilled ones
    included); prefilled (whether the token that follows was put into the model's mouth);
    refusal_probability, refusal_rank (1 = first choice); token, token_probability, token_rank (of
    the token that follows in the text; missing at its end); top_token, top_probability (the
    model's own choice); divergence (nats, from the untouched model; missing where it isn't known).

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    import pandas

    numbers: dict[str, int] = {}
    parts: list[dict[str, Any]] = []
    for reading in read_texts(Path(folder)):
        text = numbers.get(reading.model, 0)
        numbers[reading.model] = text + 1
        parts.append(_contexts(reading, text))
    columns = {name: [value for part in parts for value in part[name]] for name in parts[0]}
    frame = pandas.DataFrame(columns)
    return frame.astype({"token_rank": "Int64"})


def _contexts(reading: Reading, text: int) -> dict[str, Sequence[Any]]:
    """Make the columns of one text: S + 1 rows."""
    count = len(reading.tokens) + 1
    same = {
        "model": reading.model,
        "source": reading.source,
        "scenario": reading.scenario,
        "cell": reading.cell,
        "question_id": reading.question_id,
        "category": reading.category,
        "text": text,
    }
    divergence = np.full(count, np.nan) if reading.divergence is None else reading.divergence
    return {
        **{name: [value] * count for name, value in same.items()},
        "position": range(count),
        "prefilled": [position < reading.prefilled_tokens for position in range(count)],
        "refusal_probability": reading.refusal_probability.tolist(),
        "refusal_rank": reading.refusal_rank.tolist(),
        "token": [*reading.tokens, None],
        "token_probability": [*reading.token_probability.tolist(), None],
        "token_rank": [*reading.token_rank.tolist(), None],
        "top_token": reading.top_tokens,
        "top_probability": reading.top_probability.tolist(),
        "divergence": divergence.tolist(),
    }


def refusal_probabilities(folder: str | Path) -> DataFrame:
    """Average the refusal token's probability by position of held-out texts.

    Columns: model; source (harmful or benign); position (tokens of the response before); mean,
    low, high; n (texts that reach the position).

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    return _curves(folder, "probability", ("mean", "low", "high"))


def refusal_ranks(folder: str | Path) -> DataFrame:
    """Say which rank the refusal token has by position of held-out texts.

    Columns: model; source (harmful or benign); position (tokens of the response before); median,
    lower_quartile, upper_quartile (ranks, 1 = first choice); first (share of texts in which it is
    the first choice); n (texts that reach the position).

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    return _curves(folder, "rank", (*_QUARTILES, "first"))


def roc_curve(folder: str | Path) -> DataFrame:
    """Trace how well the refusal token tells harmful positions from benign ones.

    Columns: model; threshold (on the probability; missing: above all of them); true_positive
    (share of harmful positions that reach it), false_positive (of benign ones).

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    names = ("threshold", "true_positive", "false_positive")
    found = from_readings(folder, "detection")
    return make_frame(
        (
            [model, *(point[name] for name in names)]
            for model, entry in found.items()
            for point in entry["roc"]
        ),
        ("model", *names),
    )


def detection(folder: str | Path) -> DataFrame:
    """Sum up detection, one row a model.

    Columns: model; auc, auc_low, auc_high; threshold (with the largest Youden index);
    true_positive, ..._low, ..._high, false_positive, ..._low, ..._high (shares of positions that
    reach it); greedy_true_positive, ..., greedy_false_positive, ... (shares of positions where the
    refusal token is the first choice).

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    shares = ("true_positive", "false_positive")
    rows = []
    for model, entry in from_readings(folder, "detection").items():
        point, greedy = entry["operating_point"] or {}, entry["greedy"]
        row = [model, *values(entry["auc"], "value"), point.get("threshold")]
        row += [value for name in shares for value in values(point.get(name))]
        rows.append([*row, *(value for name in shares for value in values(greedy[name]))])
    return make_frame(
        rows,
        (
            *("model", *ends("auc"), "threshold"),
            *(column for name in shares for column in ends(name)),
            *(column for name in shares for column in ends(f"greedy_{name}")),
        ),
    )


def false_stops(folder: str | Path) -> DataFrame:
    """Say in which share of held-out texts a model would have stopped, by position.

    The last position is not the last of every text: `stopped_texts` looks at whole ones.

    Columns: model; source (harmful; benign: these stops are false); position (tokens of the
    response before); share (of texts in which the refusal token was the first choice up to here),
    low, high; n (all texts).

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    return _curves(folder, "stops", ("share", "low", "high"))


def stopped_texts(folder: str | Path) -> DataFrame:
    """Say in which share of held-out texts a model would have stopped at all.

    The curve of `false_stops` ends where few texts go on; this looks at whole texts.

    Columns: model; source (harmful; benign: these stops are false); count (texts in which the
    refusal token was the first choice at any position), n (all texts), share, low, high;
    questions.

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    return make_frame(
        (
            [model, side, *(sides[side]["anywhere"][name] for name in SHARE)]
            for model, sides in from_readings(folder, "stops").items()
            for side in ("harmful", "benign")
        ),
        ("model", "source", *SHARE),
    )


def divergence(folder: str | Path) -> DataFrame:
    """Average the divergence from the untouched model by position of held-out texts.

    Columns: model; source (harmful or benign); position (tokens of the response before); mean,
    low, high (nats); n (texts that reach the position). The untouched model has no rows.

    Raises:
        DataError: the folder holds no evaluation or no token readings, or a file is damaged.
    """
    return _curves(folder, "divergence", ("mean", "low", "high"))


def _curves(folder: str | Path, figure: str, names: Sequence[str]) -> DataFrame:
    found = from_readings(folder, figure)
    columns = ("position", *names, "n")
    return make_frame(
        (
            [model, side, *row]
            for model, sides in found.items()
            for side in ("harmful", "benign")
            for row in zip(*(sides[side][name] for name in columns), strict=True)
        ),
        ("model", "source", *columns),
    )
