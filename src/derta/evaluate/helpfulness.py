"""How much of a model's helpfulness training has cost, measured offline on held-out responses.

Three figures say it without a judge: the loss of held-out helpful responses against that of the
untouched model, the share of their positions at which both models would write the same next token,
and false refusals (`derta.analysis.shares` counts those, from generated answers). The first two
read responses and generate nothing, so they take seconds.

Covered: two models with one tokenizer. Not covered: GSM8K, MMLU and a win rate, which ask the model
to answer (`derta.evaluate.benchmark_tasks`). Agreement is no measure of quality: a better model
agrees less, too; far less than the share of a retrained copy means that something else was learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derta.analysis.intervals import paired_bootstrap_difference
from derta.analysis.probability import measure_responses
from derta.analysis.shares import clustered_share
from derta.data.encode import ChatEncoder
from derta.errors import DataError, InputProblem
from derta.triple import Conversation

__all__ = [
    "HelpfulnessArrays",
    "compare_helpfulness",
    "measure_helpfulness",
    "read_helpfulness",
    "write_helpfulness",
]

_ANY_TOKEN = 0  # measure_responses tracks one token; its probability is not read here


@dataclass(frozen=True, slots=True)
class HelpfulnessArrays:
    """What one model makes of the held-out responses."""

    losses: tuple[NDArray[np.float64], ...]
    """Nats at each token of each response."""
    top_tokens: tuple[NDArray[np.int64], ...]
    """The model's own likeliest token in place of each."""


def measure_helpfulness(
    model: Any,
    encoder: ChatEncoder,
    rows: Sequence[tuple[Conversation, str]],
    *,
    finished: Sequence[bool] | None = None,
    max_positions: int | None = None,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> HelpfulnessArrays:
    """Read held-out helpful responses with a model.

    Args:
        model: a causal language model, or a PEFT model around one.
        encoder: of the model's tokenizer.
        rows: prompts with helpful responses that the model was not trained on.
        finished: whether each response came to its own end; None: all did.
        max_positions: tokens after this many are left out; None: all are read.
        batch_size: responses at a time.
        progress: called with (responses read, responses in all) after every batch.

    Raises:
        ModelError: the model's head does more than its configuration says, or its adapter is a
            learnt prompt.
    """
    measures = measure_responses(
        model,
        encoder,
        rows,
        _ANY_TOKEN,
        finished=finished,
        max_positions=max_positions,
        top_tokens=True,
        batch_size=batch_size,
        progress=progress,
    )
    return HelpfulnessArrays(
        tuple(measure.losses for measure in measures),
        tuple(measure.top_tokens for measure in measures if measure.top_tokens is not None),
    )


def compare_helpfulness(
    own: HelpfulnessArrays, untouched: HelpfulnessArrays, *, seed: int = 0
) -> dict[str, Any]:
    """Compare a trained model with the untouched one on the same responses.

    Returns:
        "helpful_loss": nats per token of both and the paired difference with its interval;
        "agreement": share of the tokens in whose place both would write the same, with an interval
        over responses (`derta.analysis.clustered`). JSON-ready.

    Raises:
        ValueError: the two did not read the same responses.
    """
    loss = paired_bootstrap_difference(own.losses, untouched.losses, seed=seed)
    same = [
        int(np.sum(mine == theirs))
        for mine, theirs in zip(own.top_tokens, untouched.top_tokens, strict=True)
    ]
    agreement = clustered_share(same, [len(tokens) for tokens in own.top_tokens])
    agreement["responses"] = agreement.pop("groups")
    return {"helpful_loss": loss, "agreement": agreement}


def write_helpfulness(path: Path, arrays: HelpfulnessArrays) -> None:
    """Write the arrays as .npz; the file is complete or, after a crash, as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial.npz")
    np.savez_compressed(
        temporary,
        lengths=np.array([len(tokens) for tokens in arrays.losses], np.int64),
        losses=np.concatenate([*arrays.losses, np.zeros(0)]),
        top_tokens=np.concatenate([*arrays.top_tokens, np.zeros(0, np.int64)]),
    )
    temporary.replace(path)


def read_helpfulness(path: Path) -> HelpfulnessArrays:
    """Read what `write_helpfulness` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            ends = np.cumsum(file["lengths"])[:-1]
            losses, top_tokens = file["losses"], file["top_tokens"]
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        problem = InputProblem(
            str(path), f"can't be read ({error})", "Delete it and run the evaluation again"
        )
        raise DataError([problem]) from error
    if not len(ends) and not len(losses):
        return HelpfulnessArrays((), ())
    return HelpfulnessArrays(tuple(np.split(losses, ends)), tuple(np.split(top_tokens, ends)))
