"""Which models' means of harmful help are over the same attacks.

A provider's model can't be asked everything, so its mean may be over fewer attacks than another's,
and means over different attacks can't be compared. Covered: entries of the analysis that have an
"unsafe" with its "scenarios". Not covered: the rows of the table of attacks (sections_answers.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from derta.evaluate.titles import TITLES

__all__ = ["attack_sets", "largest_set", "over_attacks"]

Attacks = tuple[str, ...]


def attack_sets(entries: Sequence[Mapping[str, Any]]) -> dict[Attacks, list[int]]:
    """Sort entries by the attacks that their mean is over.

    Args:
        entries: each with "unsafe", a mean attack success; those without a share are left out.

    Returns:
        Attacks -> indices into the entries.
    """
    found: dict[Attacks, list[int]] = {}
    for index, entry in enumerate(entries):
        unsafe = entry.get("unsafe") or {}
        if unsafe.get("share") is not None:
            found.setdefault(tuple(unsafe.get("scenarios") or ()), []).append(index)
    return found


def largest_set(sets: Mapping[Attacks, Sequence[int]]) -> Attacks:
    """Choose the attacks that most entries are over; of several the most attacks."""
    return max(sets, key=lambda attacks: (len(sets[attacks]), len(attacks)), default=())


def over_attacks(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Say what harmful help is the mean over, for each model where that differs.

    Args:
        entries: as for `attack_sets`.
        names: of each entry, as it is shown.
    """
    sets = attack_sets(entries)
    if len(sets) < 2:
        words = ", ".join(TITLES.get(each, each) for each in next(iter(sets), ()))
        return f"Harmful help is the mean over {words or 'no attack'}."
    told = "; ".join(
        f"{', '.join(names[index] for index in found)}: mean over "
        f"{', '.join(TITLES.get(each, each) for each in attacks)}"
        for attacks, found in sets.items()
    )
    return f"Harmful help is over different attacks and can’t be compared between these: {told}."
