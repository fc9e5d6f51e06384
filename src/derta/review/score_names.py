"""What people's scores are called in inspect-ai's logs, and whose a score is.

A score keeps the name that it was once given: who reads the logs knows a reviewer by it. So every
edit says in its provenance whose score it is, and what stands in the logs is read before a name is
given. A name that another tool's score has, or another reviewer's, is never taken. Covered: all
logs of a review together, so that a reviewer is called alike in all of them. Not covered: what the
scores say, and writing them (`derta.review.log_scores`).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from derta.analysis.human_verdicts import TOGETHER
from derta.files import digest
from derta.review.events import fold
from derta.review.items import HUMAN_SCORE

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.scorer import Score

__all__ = [
    "OWNER",
    "REASON",
    "WITHDRAWN",
    "StandingNames",
    "choose_names",
    "find_owner",
    "may_be_people_s",
    "name_in_sample",
    "tell_names",
]

REASON = "derta review"
"""The reason in the provenance of our edits."""
OWNER = "reviewer"
"""The key of the provenance's metadata that says whose score it is: a person's, or `TOGETHER`."""
WITHDRAWN = "WITHDRAWN"
"""The value of a score whose verdict was taken back, or on which people no longer agree."""

_MARK_CHARACTERS = 6


def may_be_people_s(name: str) -> bool:
    """Say whether a score's name is one of those that are given here."""
    return name == HUMAN_SCORE or name.startswith(f"{HUMAN_SCORE}_")


def find_owner(name: str, score: Score) -> str | None:
    """Find whose score this is, as `derta.review.events.fold` writes names.

    Returns:
        None: not ours; another tool made it, even if a review has edited it since.
    """
    first = score.history[0].provenance if score.history else None
    if first is None or first.reason != REASON:
        return None
    owner = first.metadata.get(OWNER)
    if not isinstance(owner, str):
        # Written before the owner was said: then names were given by this rule alone.
        owner = TOGETHER if name == HUMAN_SCORE else first.author
    return fold(owner)


class StandingNames:
    """The names that stand in a review's logs, and whose they are."""

    def __init__(self) -> None:
        """Know of no log yet."""
        self._found: dict[str, Counter[str | None]] = {}

    def add(self, log: EvalLog) -> None:
        """Read the scores of a log."""
        for sample in log.samples or []:
            for name, score in (sample.scores or {}).items():
                if may_be_people_s(name):
                    counts = self._found.setdefault(name, Counter())
                    counts[find_owner(name, score)] += score.value != WITHDRAWN

    def given(self, owner: str) -> str | None:
        """Return the name that was given to somebody, and that nobody else's score has.

        Args:
            owner: as `fold` writes it.
        """
        own = [
            (-counts[owner], len(name), name)
            for name, counts in self._found.items()
            if set(counts) == {owner}
        ]
        return min(own)[2] if own else None

    def others(self, name: str, owner: str) -> set[str | None]:
        """Return who else has a score of this name; None among them: another tool."""
        return set(self._found.get(name, ())) - {owner}

    def __contains__(self, name: object) -> bool:
        return name in self._found


def choose_names(people: Sequence[str], standing: StandingNames) -> dict[str, str]:
    """Give everybody's score a name; who has one keeps it.

    Of newcomers whose names read alike each gets a mark, and so does one whose plain name is taken.

    Args:
        people: reviewers, as they stand in the review, and `TOGETHER`.
        standing: in all logs that are to be written.

    Returns:
        Reviewer -> name of the score.
    """
    chosen = {name: given for name in people if (given := standing.given(fold(name))) is not None}
    newcomers = [name for name in people if name not in chosen]
    wishes = Counter(_plain(name) for name in newcomers)
    for person in newcomers:
        taken = set(chosen.values())
        chosen[person] = next(
            name
            for name in _candidates(person)
            if name not in standing
            and name not in taken
            and (name != _plain(person) or wishes[name] == 1)
        )
    return chosen


def name_in_sample(sample: EvalSample, person: str, name: str) -> str:
    """Find what somebody's score is called in one sample.

    Args:
        sample: of a log.
        person: a reviewer, or `TOGETHER`.
        name: what it is called where there is none yet.
    """
    there = sample.scores or {}
    own = [each for each in there if find_owner(each, there[each]) == fold(person)]
    if name in own or (not own and name not in there):
        return name
    if own:
        return min(own, key=lambda each: (there[each].value == WITHDRAWN, len(each), each))
    return next(each for each in _candidates(person) if each not in there)


def tell_names(names: Mapping[str, str], standing: StandingNames) -> Iterator[str]:
    """Say in sentences who is called otherwise than one would think, and why."""
    for person, name in names.items():
        plain = _plain(person)
        if name == plain:
            continue
        who = "people say together" if person == TOGETHER else f"{person} says"
        others = standing.others(plain, fold(person))
        if None in others:
            why = f"The logs hold a score {plain} of another tool, which stays as it is"
        elif others:
            why = f"{plain} is the score of another reviewer"
        elif [_plain(each) for each in names].count(plain) > 1:
            why = f"More than one reviewer's name reads as {plain}"
        else:
            continue
        yield f"{why}: what {who} is called {name}."


def _candidates(person: str) -> Iterator[str]:
    """List names for a score, the plain one first."""
    short = re.sub(r"\W+", "_", person).strip("_").casefold()
    mark = digest(person)
    if person == TOGETHER:
        yield HUMAN_SCORE
    parts = [HUMAN_SCORE, *([short] if short else [])]
    if short:
        yield "_".join(parts)
    for length in range(_MARK_CHARACTERS, len(mark)):
        yield "_".join([*parts, mark[:length]])
    for number in itertools.count(2):
        yield "_".join([*parts, mark, str(number)])


def _plain(person: str) -> str:
    return next(_candidates(person))
