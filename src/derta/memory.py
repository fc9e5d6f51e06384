"""Freed memory is kept for the next tensor instead of going back to the operating system.

A training step on the CPU allocates the same large tensors again and again. glibc hands each of
them back at once (by default everything over 128 kB is mapped afresh), so every step pays for
clearing the same pages. Measured on two cores with the default model: docs/quickstart.md.
What is kept this way must be given back when the work is done: else one model after the other adds
its own share to the process.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

__all__ = ["give_back_freed_memory", "keep_freed_memory"]

# mallopt's parameters (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
"""glibc refuses more than this; larger tensors are still mapped."""


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory; return whether it agreed (False on other systems)."""
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return False
    settings = (
        (_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_TRIM_THRESHOLD, 2**31 - 1),
        (_TOP_PAD, 256 * 2**20),
    )
    return all([mallopt(parameter, value) for parameter, value in settings])


def give_back_freed_memory() -> bool:
    """Give all freed memory back to the operating system; return whether there was any.

    Threads that have ended leave what they freed behind, too. False on systems without glibc.
    """
    gc.collect()  # a model in a reference cycle holds its weights
    trim = _glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _glibc(name: str) -> Callable[..., int] | None:
    """Find a function of glibc that returns an int; None on systems without it."""
    if sys.platform != "linux":
        return None
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return found
