"""Paired comparisons in words: what the second model does less or more of than the first.

"Less" and "more" are said only where the corrected test and the interval agree
(`derta.analysis.shares.compare_models`). Which of the two is the better one depends on the measure:
fewer harmful answers and fewer wrong refusals are better, more refusals of harmful questions are.
Covered: the words of the terminal and of the page. Not covered: the figures themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from derta.analysis.shares import HARMFUL
from derta.evaluate.titles import TITLES

__all__ = ["Direction", "compared_what", "differences_in_words", "direction"]

Direction = Literal["less", "more"]

_HELP, _REFUSALS, _WRONG_REFUSALS = "help", "refusals", "wrong refusals"

_SAID: tuple[tuple[str, str, Direction | None], ...] = (
    ("Less harmful help", _HELP, "less"),
    ("More harmful help", _HELP, "more"),
    ("More refusals of harmful questions", _REFUSALS, "more"),
    ("Fewer refusals of harmful questions", _REFUSALS, "less"),
    ("Fewer wrong refusals", _WRONG_REFUSALS, "less"),
    ("More wrong refusals", _WRONG_REFUSALS, "more"),
    ("No difference shown in harmful help", _HELP, None),
    ("No difference shown in refusals of harmful questions", _REFUSALS, None),
    ("No difference shown in wrong refusals", _WRONG_REFUSALS, None),
)


def direction(entry: Mapping[str, Any]) -> Direction | None:
    """Say whether the second model does less or more of what is counted; None: not shown.

    Args:
        entry: one comparison, as `derta.analysis.shares.compare_models` gives it.
    """
    if entry["better"] is None:
        return None
    return "less" if entry["difference"] > 0 else "more"


def compared_what(entry: Mapping[str, Any]) -> str:
    """Name what one comparison counts, as in "refusals, prefilled"."""
    kind = _kind(entry)
    if kind == _WRONG_REFUSALS:
        return f"refusals of {entry['category']} questions"
    return f"{'harmful help' if kind == _HELP else 'refusals'}, {_where(entry)}"


def differences_in_words(entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """List what is shown of two models, and where nothing is.

    Args:
        entries: the comparisons of one pair of models.

    Yields:
        (words, where), as in ("Less harmful help", "asked plainly, CodeAttack"); what there is
        nothing of is left out.
    """
    for words, kind, way in _SAID:
        named = [_where(e) for e in entries if _kind(e) == kind and direction(e) == way]
        if named:
            # A title with a comma in it ("prefilled, long") would look like two.
            yield words, ("; " if any("," in each for each in named) else ", ").join(named)


def _kind(entry: Mapping[str, Any]) -> str:
    if entry["measure"] != "refused":
        return _HELP
    return _REFUSALS if entry["category"] == HARMFUL else _WRONG_REFUSALS


def _where(entry: Mapping[str, Any]) -> str:
    if _kind(entry) == _WRONG_REFUSALS:
        return f"{entry['category']} questions"
    return TITLES.get(str(entry["scenario"]), str(entry["scenario"]))
