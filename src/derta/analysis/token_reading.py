"""How a model sees every token of a text: probabilities, ranks, and how far it is from another.

Each row is read once. At every context, that is after every token of the text and before the first
one, the model's distribution over its vocabulary says how likely a refusal is there, how many
tokens are likelier, what it thinks of the token that stands there, and what it would write itself.
The divergence from a reference model, KL(model || reference) in nats, needs that model's
distribution at the same contexts: its final hidden states are kept, 4 x H bytes a context (2.3 kB
for the default model, 16 kB for one of 7 billion parameters), in memory or in a file, and projected
again beside the model's. So only one model is in memory at a time, and of either no more logits
than those of one chunk of contexts.

Covered: any causal language model whose logits are the output matrix plus the scale, bias and soft
cap of its configuration, which is checked against the model's own logits first. Not covered: which
texts are read and how they become ids (`derta.analyse_run`); learnt prompts; what common beginnings
of rows would save.

Shapes:  B rows, T tokens, S tokens of a text (S + 1 contexts), C contexts of a chunk, N contexts of
all rows, H hidden size, V vocabulary, R refusal tokens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from derta.analysis.hidden_states import Stretch, check_head, hidden_states, only_reading
from derta.errors import ModelError
from derta.loss import DEFAULT_CHUNK, OutputHead, configured_head

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "READING_VERSION",
    "ReferenceStates",
    "TokenArrays",
    "TokenRow",
    "keep_states",
    "read_tokens",
    "states_bytes",
]

READING_VERSION = "1"
"""Counted up when the same texts would be read otherwise: readings of before are then out of
date."""

DEFAULT_BATCH_SIZE = 16
_BATCH_TOKENS = 4096
"""Tokens of a padded batch at most; a longer row goes alone."""
_IN_MEMORY_BYTES = 256 << 20
"""Hidden states beyond it are kept in a file."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A prompt and the text after it, as token ids."""

    prompt_ids: tuple[int, ...]
    """At least one."""
    text_ids: tuple[int, ...]
    """(S,); none at all is allowed: then the one context is the prompt's."""

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.prompt_ids) + len(self.text_ids)

    @property
    def contexts(self) -> int:
        """S + 1."""
        return len(self.text_ids) + 1

    @property
    def stretch(self) -> Stretch:
        """The contexts as places of the row."""
        return Stretch(self.prompt_ids + self.text_ids, len(self.prompt_ids) - 1, self.contexts)


@dataclass(frozen=True, slots=True, eq=False)
class TokenArrays:
    """What one model says about one row; context t is the text after t of its tokens."""

    refusal_probability: NDArray[np.float32]
    """(S + 1,) P(any refusal token)."""
    refusal_rank: NDArray[np.int32]
    """(S + 1,) 1 + the number of tokens with a higher logit than the best refusal token."""
    token_probability: NDArray[np.float32]
    """(S,) of the token that stands there."""
    token_rank: NDArray[np.int32]
    """(S,) likewise 1 + the number of tokens with a higher logit."""
    top_ids: NDArray[np.int64]
    """(S + 1,) the likeliest token."""
    top_probability: NDArray[np.float32]
    """(S + 1,) likewise."""
    divergence: NDArray[np.float32] | None
    """(S + 1,) KL(model || reference) in nats; None: there is no reference, or one of another
    vocabulary."""


class ReferenceStates:
    """The final hidden states of a reference at every context of rows, and its output head."""

    def __init__(
        self, head: OutputHead, places: dict[TokenRow, slice], values: NDArray[np.float32]
    ) -> None:
        """Keep what `keep_states` found.

        Args:
            head: of the reference; the rest of it may be let go.
            places: of each row in `values`.
            values: (N, H).
        """
        self.head = head
        self._places = places
        self._values = values

    def of(self, row: TokenRow) -> torch.Tensor:
        """Return a row's states, (S + 1, H), on the CPU.

        Raises:
            KeyError: the reference has not read the row.
        """
        return torch.from_numpy(np.array(self._values[self._places[row]]))


def read_tokens(
    model: Any,
    rows: Sequence[TokenRow],
    refusal_ids: Sequence[int],
    *,
    reference: ReferenceStates | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    progress: Progress | None = None,
) -> list[TokenArrays]:
    """Read rows with a model.

    Args:
        model: a causal language model, or a PEFT model around one.
        rows: what is read; nothing is generated.
        refusal_ids: the refusal tokens; their probabilities are added, the best one's rank counts.
        reference: what another model makes of the same rows. Its token ids must mean the same.
        batch_size: B at most; rows are batched by length and padded on the right.
        progress: called with (rows done, rows in all) after every batch.

    Returns:
        One entry a row, in the order of `rows`.

    Raises:
        ModelError: the model's head does more than its configuration says, its adapter is a learnt
            prompt, or memory ran out.
        ValueError: there is no refusal token, or a row without a prompt.
    """
    if not refusal_ids:
        raise ValueError("there is no refusal token")
    arrays: dict[int, TokenArrays] = {}
    with only_reading(model) as inner, _memory_is_enough():
        head = configured_head(inner)
        if reference is not None and len(reference.head.weight) != len(head.weight):
            reference = None
        other = None if reference is None else _on_device(reference.head, head.weight.device)
        ids = torch.tensor(list(dict.fromkeys(refusal_ids)), device=head.weight.device)
        for batch in _batches(inner, rows, batch_size):
            hidden = hidden_states(inner, [rows[index].stretch for index in batch])
            beside = None
            if reference is not None and other is not None:
                states = torch.cat([reference.of(rows[index]) for index in batch])
                beside = (states.to(other.weight.device, other.weight.dtype), other)
            targets = [token for index in batch for token in (*rows[index].text_ids, 0)]
            found = _project(hidden, head, targets, ids, beside)
            start = 0
            for index in batch:
                end = start + rows[index].contexts
                arrays[index] = found.part(start, end)
                start = end
            if progress is not None:
                progress(len(arrays), len(rows))
    return [arrays[index] for index in range(len(rows))]


def keep_states(
    model: Any,
    rows: Sequence[TokenRow],
    *,
    path: Path,
    batch_size: int = DEFAULT_BATCH_SIZE,
    progress: Progress | None = None,
) -> ReferenceStates:
    """Read rows with a reference model and keep its final hidden states.

    Args:
        model: a causal language model, or a PEFT model around one.
        rows: each is read once, however often it stands there.
        path: of a file for states that would take too much memory; the caller removes it.
        batch_size: B at most.
        progress: called with (rows done, rows in all) after every batch.

    Raises:
        ModelError: as `read_tokens`.
        OSError: there is no room for the file.
    """
    different = list(dict.fromkeys(rows))
    with only_reading(model) as inner, _memory_is_enough():
        head = configured_head(inner)
        places: dict[TokenRow, slice] = {}
        total = 0
        for row in different:
            places[row] = slice(total, total + row.contexts)
            total += row.contexts
        values = _room(path, total, head.weight.shape[1])
        done = 0
        for batch in _batches(inner, different, batch_size):
            chosen = [different[index] for index in batch]
            states = hidden_states(inner, [row.stretch for row in chosen]).float().cpu().numpy()
            start = 0
            for row in chosen:
                values[places[row]] = states[start : start + row.contexts]
                start += row.contexts
            done += len(chosen)
            if progress is not None:
                progress(done, len(different))
    return ReferenceStates(head, places, values)


def states_bytes(rows: Sequence[TokenRow], hidden_size: int) -> int:
    """Say how many bytes `keep_states` takes for rows."""
    return 4 * hidden_size * sum(row.contexts for row in dict.fromkeys(rows))


# --- one batch ------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """The values at all contexts of a batch, (C,) each."""

    refusal_probability: torch.Tensor
    refusal_rank: torch.Tensor
    token_probability: torch.Tensor
    token_rank: torch.Tensor
    top_ids: torch.Tensor
    top_probability: torch.Tensor
    divergence: torch.Tensor | None = None

    def part(self, start: int, end: int) -> TokenArrays:
        """Cut out a row's contexts; after the last one no token stands."""

        def cut(values: torch.Tensor, dtype: Any, last: int = end) -> NDArray[Any]:
            return np.array(values[start:last].numpy(), dtype)

        return TokenArrays(
            cut(self.refusal_probability, np.float32),
            cut(self.refusal_rank, np.int32),
            cut(self.token_probability, np.float32, end - 1),
            cut(self.token_rank, np.int32, end - 1),
            cut(self.top_ids, np.int64),
            cut(self.top_probability, np.float32),
            None if self.divergence is None else cut(self.divergence, np.float32),
        )


def _project(
    hidden: torch.Tensor,
    head: OutputHead,
    targets: Sequence[int],
    refusal_ids: torch.Tensor,
    beside: tuple[torch.Tensor, OutputHead] | None,
) -> _Found:
    """Project hidden states (N, H) to the vocabulary, chunk by chunk, and keep what is asked of it.

    Args:
        hidden: of all contexts of a batch.
        head: of the model.
        targets: (N,) the token after each context.
        refusal_ids: (R,).
        beside: hidden states (N, H) and head of the reference.
    """
    target_ids = torch.tensor(targets, device=hidden.device)
    chunks: list[list[torch.Tensor]] = []
    for start in range(0, len(hidden), DEFAULT_CHUNK):
        part = slice(start, start + DEFAULT_CHUNK)
        logits = head.logits(hidden[part])  # (C, V)
        sums = logits.logsumexp(dim=1)
        highest, top = logits.max(dim=1)
        refusal = logits[:, refusal_ids]  # (C, R)
        token = logits.gather(1, target_ids[part, None])[:, 0]
        values = [
            (refusal - sums[:, None]).exp().sum(dim=1).clamp(max=1.0),
            _rank(logits, refusal.amax(dim=1)),
            (token - sums).exp(),
            _rank(logits, token),
            top,
            (highest - sums).exp(),
        ]
        if beside is not None:
            states, other = beside
            own = logits.sub_(sums[:, None])  # log probabilities from here on
            theirs = other.logits(states[part]).to(own.dtype).log_softmax(dim=1)
            # What rounding leaves below nothing is nothing.
            values.append((own.exp() * (own - theirs)).sum(dim=1).clamp(min=0.0))
        chunks.append([value.cpu() for value in values])
    return _Found(*(torch.cat(column) for column in zip(*chunks, strict=True)))


def _rank(logits: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Count 1 + the logits of each row that are higher than its own one, (C, V), (C,) -> (C,)."""
    return 1 + (logits > own[:, None]).sum(dim=1)


def _batches(inner: Any, rows: Sequence[TokenRow], batch_size: int) -> Iterator[list[int]]:
    """Group rows of similar length, the longest first: what is too much is seen at once."""
    order = sorted(range(len(rows)), key=lambda index: -rows[index].length)
    if any(not row.prompt_ids for row in rows):
        raise ValueError("a row has no prompt, so there is no context before its first token")
    if order:
        stretch = rows[order[-1]].stretch
        check_head(inner, stretch.input_ids)
    while order:
        count = max(1, min(batch_size, _BATCH_TOKENS // rows[order[0]].length))
        yield order[:count]
        order = order[count:]


# --- memory -----------------------------------------------------------------------------------


@contextmanager
def _memory_is_enough() -> Iterator[None]:
    """Say in one line that memory ran out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # On the CPU torch raises a plain RuntimeError and says so in words only.
        told = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not told and "can't allocate memory" not in str(error):
            raise
        raise ModelError(
            "memory ran out while texts were read. Read fewer at a time: --batch-size 1, or use "
            "a machine with more memory"
        ) from error


def _on_device(head: OutputHead, device: torch.device) -> OutputHead:
    bias = None if head.bias is None else head.bias.to(device)
    return OutputHead(head.weight.to(device), bias, head.scale, head.softcap)


def _room(path: Path, count: int, hidden_size: int) -> NDArray[np.float32]:
    """Make an array (N, H) in memory, or in a file where it is large."""
    shape = (count, hidden_size)
    if 4 * count * hidden_size <= _IN_MEMORY_BYTES:
        return np.empty(shape, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # A full disk is an error here; later, it would end the process.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return mapped
