"""Keys and values of prompts that begin alike, each computed once.

The prompts are laid out as trees (`derta.packing`): a system prompt, or the nested prefixes of a
curve over k, costs one pass however many prompts begin with it. A tree may stand on a beginning
that was computed earlier (`derta.evaluate.prefix_store`). Covered: models for which
`derta.evaluate.decoding.reason_decoding_is_plain` is None. Not covered: what comes after
(`derta.evaluate.decoding`).

Shapes:  L tokens of a context, P of its beginning that is known, T tokens of a tree, K key-value
heads, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from derta.attention import tree_mask
from derta.evaluate.prefix_store import Layers, PrefixStore
from derta.packing import share_prefixes
from derta.rows import TargetKind, TrainingRow, plain_row

__all__ = ["DEFAULT_PREFILL_TOKENS", "prefill"]

DEFAULT_PREFILL_TOKENS = 768
"""Tokens of a tree, about: a dense mask costs its square (2,050 tokens: 9.0 s instead of 4.1 s with
135M parameters on two cores)."""

_STEP = 16
"""A known beginning is cut to a multiple of this, so that contexts which also share their first
words stand on the same one."""

_WORTH = 2
"""A context is kept if at least one in so many of its tokens is new. Where most is known, what
comes next will share that, too."""


def prefill(
    inner: Any,
    contexts: Sequence[tuple[int, ...]],
    prefill_tokens: int = DEFAULT_PREFILL_TOKENS,
    store: PrefixStore | None = None,
) -> Iterator[tuple[int, Layers]]:
    """Compute the keys and values of every context, in no order; empty ones are left out.

    Args:
        inner: a transformers causal language model.
        contexts: token ids.
        prefill_tokens: a tree is closed before it has more tokens than this, except for contexts
            that are all prefixes of one another.
        store: what was computed earlier; what is computed here is added.

    Yields:
        Which context, and its keys and values, each (K, L, D), layer by layer; not to be changed.
    """
    store = store or PrefixStore(0)
    standing: dict[tuple[int, ...], tuple[list[int], Layers]] = {}
    for index, context in enumerate(contexts):
        known, layers = store.find(context)
        if context and known == len(context):
            yield index, layers
            continue
        # Those that share a beginning stand on it together: as one tree, not as many small ones.
        known -= known % _STEP
        indices, _ = standing.setdefault(
            context[:known], ([], [(key[:, :known], value[:, :known]) for key, value in layers])
        )
        indices.append(index)
    for beginning, (indices, past) in standing.items():
        known = len(beginning)
        rests = [contexts[index][known:] for index in indices]
        for group in _trees(rests, prefill_tokens):
            tree = share_prefixes(_row(rests[place], place) for place in group)
            layers = _run_tree(inner, tree, past if known else [], known)
            expires_at = torch.tensor(tree.expires_at, device=inner.device)
            begin = torch.arange(known, device=inner.device)
            for last, place in zip(tree.target_positions, tree.target_ids, strict=True):
                # The ancestors of a token, and the token: what has not expired there.
                path = (expires_at[: last + 1] > last).nonzero()[:, 0]
                path = torch.cat([begin, path + known])
                found = [(key[0, :, path], value[0, :, path]) for key, value in layers]
                index = indices[place]
                if len(rests[place]) * _WORTH >= len(contexts[index]):
                    store.keep(contexts[index], found)
                yield index, found


def _row(context: tuple[int, ...], index: int) -> TrainingRow:
    """Make a row whose one target marks where the context ends in the tree, and whose it is."""
    return plain_row(context, [(len(context) - 1, index, TargetKind.HELPFUL)])


def _trees(contexts: Sequence[tuple[int, ...]], prefill_tokens: int) -> Iterator[list[int]]:
    """Group the contexts, neighbours in the dictionary together."""
    group: list[int] = []
    size, previous, nested = 0, (), True  # type: int, tuple[int, ...], bool
    for index in sorted(range(len(contexts)), key=lambda i: contexts[i]):
        context = contexts[index]
        if not context:
            continue
        common = _common(previous, context)
        added = len(context) - common
        # Prefixes of one another need no mask, however long they are.
        continues = nested and common == len(previous)
        if group and size + added > prefill_tokens and not continues:
            yield group
            group, size, added, continues = [], 0, len(context), True
        nested = continues
        group.append(index)
        size += added
        previous = context
    if group:
        yield group


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the tokens that two sequences begin with alike."""
    for length, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return length
    return min(len(first), len(second))


def _run_tree(inner: Any, tree: TrainingRow, past: Layers, known: int) -> Layers:
    """Run the decoder over a tree that stands on P known tokens.

    Returns:
        Keys and values, (1, K, P + T, D), of each layer.
    """
    device = inner.device
    input_ids = torch.tensor([tree.token_ids], device=device)  # (1, T)
    position_ids = torch.tensor([tree.position_ids], device=device)
    expires_at = torch.tensor([tree.expires_at], device=device)
    dtype = inner.get_input_embeddings().weight.dtype
    mask: Any = None
    # One line from the very beginning needs none: attention knows it.
    if known or min(tree.expires_at) < len(tree.token_ids):
        mask = tree_mask(inner.config.get_text_config(), expires_at, position_ids, dtype)
        seen = True if mask.dtype == torch.bool else 0.0
        mask = torch.nn.functional.pad(mask, (known, 0), value=seen)  # (1, 1, T, P + T)
    cache = DynamicCache()
    for number, (key, value) in enumerate(past):
        cache.update(key[None], value[None], number)
    inner.get_decoder()(
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=position_ids + known,
        past_key_values=cache,
        use_cache=True,
    )
    layers: list[Any] = cache.layers  # of a cache without a configuration: full attention layers
    return [(layer.keys, layer.values) for layer in layers]
