"""Which responses people are shown when there are too many to judge them all.

The sample is stratified: of every model, scenario and automatic verdict as many as of any other, as
far as there are so many. So the rare verdict is drawn more often than its share; whoever extends
the sample to all responses weights each stratum by its size (`derta.analysis.judge_error`).
Covered: the same sample from the same seed, whatever the order of the responses; a larger sample
holds the smaller one. Not covered: in which order a reviewer sees them (`derta.review.store`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from derta.analysis.human_verdicts import ReviewItem

__all__ = ["stratified_sample"]


def stratified_sample(
    items: Sequence[ReviewItem], size: int | None, *, seed: int
) -> list[ReviewItem]:
    """Draw a sample, as equally as possible from all strata.

    Args:
        items: the population.
        size: how many; None, or more than there are: all of them.
        seed: of the draw; the same seed with a larger size holds the smaller sample.

    Returns:
        The sample, in the order of `items`.

    Raises:
        ValueError: `size` is negative.
    """
    if size is not None and size < 0:
        raise ValueError("a sample has 0 items or more")
    if size is None or size >= len(items):
        return list(items)
    strata: dict[tuple[str, str, str], list[str]] = {}
    for item in items:
        strata.setdefault(item.stratum, []).append(item.id)
    # One from every stratum, then a second one from every stratum that has two, and so on: a cut
    # anywhere leaves the strata equal, and a later cut only adds.
    turns = [
        (turn, _draw(seed, *stratum), name)
        for stratum, names in strata.items()
        for turn, name in enumerate(sorted(names, key=lambda each: _draw(seed, each)))
    ]
    chosen = {name for _, _, name in sorted(turns)[:size]}
    return [item for item in items if item.id in chosen]


def _draw(seed: int, *parts: str) -> bytes:
    return hashlib.sha256("\0".join((str(seed), *parts)).encode()).digest()
