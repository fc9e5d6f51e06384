"""Keys and values of what prompts began with lately, kept for those that come later.

The turns of a conversation begin with all that was said before, the depths of a curve over k with
one another, the questions of a scenario with its instructions. Where they don't join a batch at the
same moment, what they share would be computed anew. Covered: layers of full attention; the one
least lately used goes first. Not covered: sharing between models, or between runs.

Shapes:  L tokens of a context, K key-value heads, D head size.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["KEPT_BYTES", "Layers", "PrefixStore"]

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, (K, L, D)."""

KEPT_BYTES = {"cpu": 5 << 29}
"""Of keys and values, by kind of device; 1 GiB elsewhere. 2.5 GiB are 58,000 tokens of a model of
135M parameters in float32, and the 24 longest prompts of the suite have 49,000."""

_LEAST = 16
"""Tokens in common below which looking back isn't worth the copying."""


@dataclass(slots=True, eq=False)
class _Entry:
    tokens: tuple[int, ...]
    layers: Layers
    bytes: int


class PrefixStore:
    """Contexts with their keys and values, up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        """Make an empty one.

        Args:
            most_bytes: of keys and values; 0 keeps nothing.
        """
        self._most_bytes = most_bytes
        self._entries: list[_Entry] = []
        """The one used last stands last."""

    @property
    def bytes(self) -> int:
        """Bytes of all keys and values that are kept."""
        return sum(entry.bytes for entry in self._entries)

    def find(self, context: Sequence[int]) -> tuple[int, Layers]:
        """Look for the entry that shares most of a context's beginning.

        Returns:
            How many tokens are shared, and keys and values of exactly those; (0, []): too few.
        """
        tokens = tuple(context)
        best, most = None, _LEAST - 1
        for entry in self._entries:
            common = _common(entry.tokens, tokens, most)
            if common > most:
                best, most = entry, common
        if best is None:
            return 0, []
        self._entries.remove(best)
        self._entries.append(best)
        return most, [(keys[:, :most], values[:, :most]) for keys, values in best.layers]

    def keep(self, context: Sequence[int], layers: Layers) -> None:
        """Keep a copy of a context's keys and values.

        What is the beginning of an entry is not kept twice, and an entry that is the beginning of
        this context is no longer needed.
        """
        tokens = tuple(context)
        size = sum(each.numel() * each.element_size() for pair in layers for each in pair)
        if len(tokens) < _LEAST or size > self._most_bytes:
            return
        for entry in self._entries:
            if entry.tokens[: len(tokens)] == tokens:
                self._entries.remove(entry)
                self._entries.append(entry)
                return
        self._entries = [e for e in self._entries if tokens[: len(e.tokens)] != e.tokens]
        self._entries.append(_Entry(tokens, _apart(layers, size), size))
        total = self.bytes
        while total > self._most_bytes:
            total -= self._entries.pop(0).bytes


def _apart(layers: Layers, size: int) -> Layers:
    """Copy keys and values to memory of their own.

    On a CPU they would lie among the large tensors that steps make and free, and leave gaps into
    which the next ones don't fit: a process of 7 GB grew to 24. A device's allocator keeps sizes
    apart by itself.
    """
    tensors = [each for pair in layers for each in pair]
    if tensors[0].device.type != "cpu":
        copies = [each.clone() for each in tensors]
    else:
        room = torch.frombuffer(mmap.mmap(-1, size), dtype=tensors[0].dtype)
        parts = room.split([each.numel() for each in tensors])
        copies = [
            part.view(each.shape).copy_(each) for part, each in zip(parts, tensors, strict=True)
        ]
    return list(zip(copies[::2], copies[1::2], strict=True))


def _common(first: tuple[int, ...], second: tuple[int, ...], more_than: int) -> int:
    """Count the tokens that two sequences begin with alike; 0 where they are not `more_than`."""
    least = more_than + 1
    # A comparison of slices is fast, and most pairs end here.
    if first[:least] != second[:least] or len(first) < least or len(second) < least:
        return 0
    length = least
    for one, other in zip(first[least:], second[least:], strict=False):
        if one != other:
            break
        length += 1
    return length
