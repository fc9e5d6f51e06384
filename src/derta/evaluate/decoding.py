"""Decoding of many prompts at a time; rows join and leave while the others go on.

1. Joining: what several new prompts begin with is computed once (`derta.evaluate.prefill`), and
   not at all if it is kept from earlier ones (`derta.evaluate.prefix_store`). Each prompt gets a
   row of the cache with the keys and values along its own path.
2. A step adds a token to every row. A row that has ended, or has its limit of tokens, leaves
   (`derta.evaluate.row_cache`); a step costs nearly the same with few rows as with many, so others
   should join in its place.

Covered: models whose attention can be given a tree's mask. For the others,
`reason_decoding_is_plain` says why, and the caller takes transformers' `generate`. Which token
follows is `derta.evaluate.choosing`'s. Not covered: beams, penalties.

Shapes:  B rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from derta.attention import FLEX, reason_trees_are_unsupported
from derta.data.models import has_learnt_prompt, inner_model
from derta.evaluate.choosing import Chooser, Sampling, Steering
from derta.evaluate.prefill import DEFAULT_PREFILL_TOKENS, prefill
from derta.evaluate.prefix_store import PrefixStore
from derta.evaluate.row_cache import RowCache
from derta.train.forward import KNOWN_FAMILIES

__all__ = [
    "Generated",
    "PrefillError",
    "Prompt",
    "RunningBatch",
    "decode",
    "reason_decoding_is_plain",
]


class PrefillError(Exception):
    """Prompts could not join; its cause says why. Those who run are not touched."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What the model wrote for one prompt."""

    token_ids: tuple[int, ...]
    """New tokens, without the end-of-turn token."""
    finished: bool
    """Whether the model ended its turn, rather than the token limit."""
    steered: int = 0
    """So many of the first tokens were chosen by the request's steering."""
    forced: int = 0
    """So many of those were not the model's first choice."""
    forced_head: int = 0
    """The tokens up to the last forced one; what follows is the model's own."""


def reason_decoding_is_plain(model: Any) -> str | None:
    """Say why this model is left to its own `generate`, or None."""
    if has_learnt_prompt(model):
        return "its adapter is a learnt prompt, which stands outside the model"
    inner = inner_model(model)
    if not hasattr(inner, "config") or not hasattr(inner, "get_decoder"):
        return f"{type(inner).__name__} has no decoder that derta knows"
    config = inner.config.get_text_config()
    # A wrong mask or position is silent, so only families that the tests hold are decoded here.
    if config.model_type not in KNOWN_FAMILIES:
        return f"model family {config.model_type!r} has not been tried"
    reason = reason_trees_are_unsupported(config)
    if reason is None and config._attn_implementation == FLEX:
        return "flex_attention is made for long rows, not for one token a row"
    if reason is None and _rope_types(config) & {"dynamic", "longrope"}:
        return "its rotary embedding depends on the longest row of a batch"
    if reason is None and getattr(config, "sliding_window", None) is not None:
        # Left padding and a window along the path would have to be told apart in every layer.
        return "its attention has a sliding window"
    return reason


def _rope_types(config: Any) -> set[str]:
    """List the kinds of rotary embedding; a configuration may name one for each kind of layer."""
    named = getattr(config, "rope_parameters", None) or {}
    parts = [named, *(part for part in named.values() if isinstance(part, dict))]
    return {str(part["rope_type"]) for part in parts if "rope_type" in part}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one row continues."""

    key: int
    """By which its result is known; no two rows of a batch have the same."""
    input_ids: tuple[int, ...]
    """At least one."""
    max_new_tokens: int
    """At most so many new tokens, 1 or more."""
    sampling: Sampling | None = None
    """How tokens are drawn; None: greedily."""
    steering: Steering | None = None
    """Chooses the first tokens, if given."""


@dataclass(slots=True)
class _Row:
    prompt: Prompt
    choice: int
    """Its number with the chooser."""
    written: list[int] = field(default_factory=list)


class RunningBatch:
    """Rows that are decoded together, each from its own beginning to its own end."""

    def __init__(
        self,
        model: Any,
        end_ids: Collection[int],
        *,
        most_rows: int,
        prefill_tokens: int = DEFAULT_PREFILL_TOKENS,
        store: PrefixStore | None = None,
    ) -> None:
        """Make one without rows.

        Args:
            model: a causal language model, or a PEFT model around one, in evaluation mode when
                rows are added and stepped, for which `reason_decoding_is_plain` is None.
            end_ids: tokens that end a turn.
            most_rows: so many rows are expected at a time; more are allowed.
            prefill_tokens: tokens of a tree of prompts, about.
            store: what prompts of this model began with earlier; None: nothing is kept.
        """
        self._store = store
        self._inner = inner_model(model)
        self._ends = torch.tensor(sorted(end_ids), device=self._inner.device)
        self._chooser = Chooser(end_ids)
        self._most_rows = most_rows
        self._prefill_tokens = prefill_tokens
        self._rows: list[_Row] = []
        self._cache = RowCache(
            self._inner.config.get_text_config().num_hidden_layers, self._inner.device
        )
        self._tokens = torch.zeros(0, dtype=torch.long, device=self._inner.device)  # (B,)

    def __len__(self) -> int:
        return len(self._rows)

    @torch.inference_mode()
    def add(self, prompts: Sequence[Prompt], most_rows: int | None = None) -> None:
        """Let prompts join. Neighbours that begin alike share most.

        Args:
            prompts: who joins.
            most_rows: so many rows are expected at a time from now on; None: as before.

        Raises:
            PrefillError: what the prompts begin with can't be computed; nobody has joined.
        """
        if not prompts:
            return
        # The last token of each prompt is fed by the first step: the model's own forward then
        # makes all the logits, whatever its head does.
        contexts = [prompt.input_ids[:-1] for prompt in prompts]
        lengths = [len(each) for each in contexts]
        first = self._cache.open_rows(lengths, most_rows or self._most_rows)
        rows = []
        try:
            for index, layers in prefill(self._inner, contexts, self._prefill_tokens, self._store):
                self._cache.fill(first + index, layers)
            for prompt in prompts:
                choice = self._chooser.add(prompt.input_ids, prompt.sampling, prompt.steering)
                rows.append(_Row(prompt, choice))
        except BaseException as error:
            self._cache.remove(range(first, first + len(prompts)))
            for row in rows:
                self._chooser.forget(row.choice)
            raise PrefillError(str(error)) from error
        last = [prompt.input_ids[-1] for prompt in prompts]
        self._tokens = torch.cat([self._tokens, torch.tensor(last, device=self._tokens.device)])
        self._rows += rows

    @torch.inference_mode()
    def step(self) -> list[tuple[int, Generated]]:
        """Add a token to every row; return the keys and results of those that are done."""
        if not self._rows:
            return []
        positions = torch.tensor(self._cache.lengths, device=self._tokens.device)  # (B,)
        logits = self._inner(
            input_ids=self._tokens[:, None],
            attention_mask=self._cache.begin_step(),
            position_ids=positions[:, None],
            past_key_values=self._cache.model_cache,
            use_cache=True,
        ).logits[:, -1]
        self._cache.end_step()
        self._tokens = self._chooser.choose(logits, [row.choice for row in self._rows])
        ended = torch.isin(self._tokens, self._ends).tolist()
        done: list[int] = []
        results: list[tuple[int, Generated]] = []
        for place, (row, token) in enumerate(zip(self._rows, self._tokens.tolist(), strict=True)):
            if not ended[place]:
                row.written.append(token)
            if ended[place] or len(row.written) >= row.prompt.max_new_tokens:
                done.append(place)
                steered = self._chooser.steered(row.choice)
                result = Generated(tuple(row.written), ended[place], *steered)
                results.append((row.prompt.key, result))
        self._leave(done)
        return results

    def remove(self, keys: Collection[int]) -> None:
        """Let rows leave that nobody waits for any more; keys that aren't here are passed over."""
        with torch.inference_mode():
            self._leave([i for i, row in enumerate(self._rows) if row.prompt.key in keys])

    def _leave(self, places: Sequence[int]) -> None:
        for place in places:
            self._chooser.forget(self._rows[place].choice)
        for new, old in self._cache.remove(places):
            self._rows[new] = self._rows[old]
            self._tokens[new] = self._tokens[old]
        del self._rows[len(self._rows) - len(places) :]
        self._tokens = self._tokens[: len(self._rows)]


def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    end_ids: Collection[int],
    prefill_tokens: int = DEFAULT_PREFILL_TOKENS,
) -> list[Generated]:
    """Continue every prompt greedily until its turn ends, all in one batch.

    Args:
        model: a causal language model, or a PEFT model around one, in evaluation mode, for which
            `reason_decoding_is_plain` is None.
        prompts: token ids, at least one each. Neighbours that begin alike share most.
        max_new_tokens: at most so many new tokens a prompt.
        end_ids: tokens that end a turn.
        prefill_tokens: tokens of a tree of prompts, about.

    Returns:
        One result a prompt, in their order. The same as one by one and without a cache, but for
        the rounding of sums in another order.
    """
    batch = RunningBatch(model, end_ids, most_rows=len(prompts), prefill_tokens=prefill_tokens)
    batch.add([Prompt(i, tuple(prompt), max_new_tokens) for i, prompt in enumerate(prompts)])
    results: dict[int, Generated] = {}
    while len(batch):
        results.update(batch.step())
    return [results[index] for index in range(len(prompts))]
