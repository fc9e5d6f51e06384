"""How likely the refusal token is at every position of a response, and the response's own loss.

They, and on request the model's likeliest tokens, come from one forward pass over prompt and
response. Position t is the context of t response tokens, t = 0 .. |h|: at t = 0 nothing is written
yet, at t = |h| all of it is. Covered: any causal language model whose logits are the output matrix
plus the scale, bias and soft cap of its configuration, which is checked against the model's own
logits before anything is measured; a run with several refusal words, whose tokens' probabilities
are added. Not covered: ranks (`derta.analysis.token_reading`); tensor parallel models.

Shapes:  B rows, T tokens, S contexts, H hidden size, V vocabulary, R refusal tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from derta.analysis.hidden_states import Stretch, check_head, hidden_states, only_reading
from derta.data.encode import ChatEncoder
from derta.loss import DEFAULT_CHUNK, OutputHead, configured_head, supervised_cross_entropy
from derta.triple import Conversation

__all__ = ["ResponseMeasure", "measure_responses"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ResponseMeasure:
    """What one forward pass says about one response."""

    refusal_probability: Array
    """P(refusal token), of any of several, after 0, 1, ... tokens of the response."""
    losses: Array
    """-log P, in nats, of the response's own tokens, its end-of-turn token last; where the
    response was cut off (`finished` False) that token is not its own and is left out."""
    top_tokens: NDArray[np.int64] | None = None
    """The model's own likeliest token in place of each token that `losses` has; None: not asked
    for."""


def measure_responses(
    model: Any,
    encoder: ChatEncoder,
    pairs: Sequence[tuple[Conversation, str]],
    refusal_id: int | Sequence[int],
    *,
    finished: Sequence[bool] | None = None,
    max_positions: int | None = None,
    top_tokens: bool = False,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> list[ResponseMeasure]:
    """Measure P(refusal token) and the loss at every position of each response.

    Args:
        model: a causal language model, or a PEFT model around one.
        encoder: of the model's tokenizer.
        pairs: prompts with the responses that are read, not generated.
        refusal_id: the refusal token; of several, each one counts.
        finished: whether each response came to its own end; None: all did.
        max_positions: contexts after this many are left out; None: all are measured.
        top_tokens: also find the likeliest token of every context, in a second projection.
        batch_size: B; rows are batched by length and padded on the right.
        progress: called with (pairs done, pairs in all) after every batch.

    Returns:
        One measure a pair, in the order of `pairs`.

    Raises:
        ModelError: the model's head does more than its configuration says, or its adapter is a
            learnt prompt.
        ValueError: `finished` has another length than `pairs`.
    """
    if finished is not None and len(finished) != len(pairs):
        raise ValueError(f"{len(finished)} values of finished for {len(pairs)} pairs")
    with only_reading(model) as inner:
        rows = []
        for index, (conversation, response) in enumerate(pairs):
            prompt = encoder.prompt_ids(conversation)
            targets = encoder.response_ids(conversation, response)[:max_positions]
            whole = finished is None or finished[index]
            kept = len(encoder.prefix_ids(conversation, response)) + int(whole)
            rows.append(_Row(index, prompt, targets, min(kept, len(targets))))
        refusal_ids = (
            [refusal_id] if isinstance(refusal_id, int) else list(dict.fromkeys(refusal_id))
        )
        rows.sort(key=lambda row: len(row.prompt) + len(row.targets), reverse=True)
        measures: dict[int, ResponseMeasure] = {}
        if rows:
            check_head(inner, rows[-1].input_ids)
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            measures.update(_measure(inner, batch, refusal_ids, top_tokens))
            if progress is not None:
                progress(len(measures), len(rows))
    return [measures[index] for index in range(len(rows))]


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    prompt: tuple[int, ...]
    targets: tuple[int, ...]
    """The response's tokens, each predicted at one context."""
    own: int
    """So many of the targets are the response's own."""

    @property
    def input_ids(self) -> tuple[int, ...]:
        return self.prompt + self.targets[:-1]


def _measure(
    inner: Any,
    batch: list[_Row],
    refusal_ids: list[int],
    top_tokens: bool,
) -> dict[int, ResponseMeasure]:
    hidden = hidden_states(
        inner,
        [Stretch(row.input_ids, len(row.prompt) - 1, len(row.targets)) for row in batch],
    )
    target_ids = [token for row in batch for token in row.targets]
    targets = torch.tensor(target_ids, device=hidden.device)
    head = configured_head(inner)
    losses, refusal = supervised_cross_entropy(hidden, head, targets, tracked_id=refusal_ids[0])
    if len(refusal_ids) > 1:
        refusal = refusal + _above_the_first(hidden, head, refusal_ids)
    all_losses = losses.double().cpu().numpy()
    all_refusal = refusal.double().exp().cpu().numpy()
    all_top = _top_tokens(hidden, head) if top_tokens else None
    measures = {}
    start = 0
    for row in batch:
        end = start + len(row.targets)
        measures[row.index] = ResponseMeasure(
            all_refusal[start:end].copy(),
            all_losses[start : start + row.own].copy(),
            None if all_top is None else all_top[start : start + row.own].copy(),
        )
        start = end
    return measures


def _above_the_first(hidden: torch.Tensor, head: OutputHead, ids: list[int]) -> torch.Tensor:
    """Compute by how many nats R tokens together are likelier than the first one, (S,)."""
    bias = None if head.bias is None else head.bias[ids]
    logits = replace(head, weight=head.weight[ids], bias=bias).logits(hidden)  # (S, R)
    return logits.logsumexp(dim=1) - logits[:, 0]


def _top_tokens(hidden: torch.Tensor, head: OutputHead) -> NDArray[np.int64]:
    """Find the likeliest token after each hidden state, (S, H) -> (S,)."""
    chunks = [head.logits(part).argmax(dim=-1) for part in hidden.split(DEFAULT_CHUNK)]
    found: NDArray[np.int64] = torch.cat(chunks).cpu().numpy()
    return found
