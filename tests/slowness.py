"""Seconds as they would be on an idle machine, for tests of what is promised in seconds.

Machines that run tests are shared: the same work takes them ten times longer at one time than at
another. A fixed piece of work right before and right after says how slow the machine is just then.
Covered: work that computes. Not covered: work that waits for disks and networks.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["idle_seconds", "slowness"]

_LOOP_SECONDS = 0.15
"""Of the loop below, on a core of an idle machine; a faster one counts as one like that."""


def slowness() -> float:
    """Say how many times slower than an idle machine this one is just now, at least 1."""
    start = time.perf_counter()
    total = 0
    for number in range(2_500_000):
        total += number
    return max(1.0, (time.perf_counter() - start) / _LOOP_SECONDS)


def idle_seconds(step: Callable[[], float], *, tries: int = 3) -> float:
    """Do a step several times, and give the least that it took.

    Args:
        step: returns the seconds that it took here.
        tries: how often; a busy moment must not decide.

    Returns:
        Seconds, as an idle machine takes them.
    """
    found = []
    before = slowness()
    for _ in range(tries):
        took = step()
        after = slowness()
        found.append(took / ((before + after) / 2))
        before = after
    return min(found)
