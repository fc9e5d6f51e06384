"""What the review page is told, and what it may say: the API as plain functions.

Each takes and returns what JSON can hold; `derta.review.server` puts them on the web. In a blind
review nothing they return holds the model, the method, the scenario, its setting or the automatic
verdict; the disagreements do (the automatic verdict and what others said, never the model), once
they are opened on purpose.

Covered: checking what comes in, in words that a person understands. Not covered: who may ask
(`derta.review.security`), keeping what was said (`derta.review.store`). Reviewers are told apart by
the names that they give; nothing stops one from using another's.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from derta.analysis.human_verdicts import REASONS, TOGETHER, Disagreement, Judgement, disagreements
from derta.review.echo import echo_parts
from derta.review.events import LONGEST_NOTE
from derta.review.security import RequestError, review_name
from derta.review.store import Conflict, ReviewStore

__all__ = ["Views"]

_LONGEST_NAME = 200
_MOST_ROWS = 100
_MOST_SECONDS = 24 * 3600.0
_QUESTION_CHARACTERS = 200
"""Of a question in the list."""
_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


class Views:
    """Answers the page's requests from one store."""

    def __init__(self, store: ReviewStore, *, token: str, blind: bool, title: str) -> None:
        """Answer from `store`.

        Args:
            store: of the review.
            token: of the server; its hash tells reviews apart in the browser's memory.
            blind: keep back what could sway a verdict.
            title: what is reviewed; kept back in a blind review, because a folder's name often
                names the method.
        """
        self._store = store
        self._review = review_name(token)
        self._blind = blind
        self._title = "" if blind else title

    def state(self) -> dict[str, Any]:
        """Say what is reviewed and by whom."""
        return {
            "review": self._review,
            "title": self._title,
            "blind": self._blind,
            "total": self._store.count_items(),
            "reviewers": self._store.reviewers(),
            "reasons": REASONS,
            "longest_note": LONGEST_NOTE,
        }

    def add_reviewer(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Let somebody begin, or go on: the answer holds the name as it was first written."""
        _only(data, "name")
        return {"name": self._store.add_reviewer(_text(data, "name", _LONGEST_NAME))}

    def queue(self, reviewer: str) -> dict[str, Any]:
        """List what a reviewer judges, in the reviewer's own order, and the verdicts so far."""
        name = self._known(reviewer)
        said = self._store.current(name)
        return {
            "reviewer": name,
            "order": self._store.order(name),
            "judged": {item: _said(each) for item, each in said.items()},
        }

    def item(self, item_id: str) -> dict[str, Any]:
        """Show one response, the same to everybody."""
        item = self._store.item(item_id)
        given = f"{item.question}\n{item.prompt}"
        parts = echo_parts(item.response, prompt=given, prefilled=item.prefilled)
        shown = {
            "id": item.id,
            "question": item.question,
            "prompt": "" if item.prompt.strip() == item.question.strip() else item.prompt,
            "prefilled": item.prefilled,
            "response": [[text, repeats] for text, repeats in parts],
            "truncated": item.truncated,
        }
        if not self._blind:
            shown["about"] = {
                "model": item.model,
                "scenario": item.scenario,
                "setting": item.cell,
                "category": item.category,
                "automatic": item.automatic,
                "automatic_reason": item.automatic_reason,
            }
        return shown

    def record(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a verdict. It is on disk when this returns."""
        return self._record(data, self._person(data))

    def resolve(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a verdict on which several reviewers have settled."""
        return self._record(data, TOGETHER, allowed=False)

    def undo(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Take a verdict back: from then on the reviewer has not judged the response."""
        _only(data, "id", "reviewer", "item", "replaces")
        try:
            self._store.undo(
                id=_event(data, "id"),
                reviewer=_text(data, "reviewer", _LONGEST_NAME),
                item=_text(data, "item", _LONGEST_NAME),
                replaces=_event(data, "replaces"),
            )
        except Conflict as conflict:
            raise _conflict(conflict) from None
        return {"current": None}

    def list_items(self, items: Sequence[str]) -> dict[str, Any]:
        """Give the beginnings of questions, for the list: the page knows order and verdicts.

        Args:
            items: ids; those that aren't there any more are left out.
        """
        if len(items) > _MOST_ROWS:
            raise RequestError(400, f"Ask for at most {_MOST_ROWS} at once.")
        rows = []
        for item in items:
            with contextlib.suppress(KeyError):
                rows.append({"item": item, "question": self._headline(item)})
        return {"rows": rows}

    def disagreements(self, *, opened: bool) -> dict[str, Any]:
        """List what reviewers should look at together, once that is opened on purpose.

        Args:
            opened: the reviewer has read what opening means; else nothing is told.
        """
        if not opened:
            return {"opened": False, "disagreements": []}
        found = disagreements(self._store.review())
        return {"opened": True, "disagreements": [_disagreement(each) for each in found]}

    def _record(
        self, data: Mapping[str, Any], reviewer: str, *, allowed: bool = True
    ) -> dict[str, Any]:
        keys = ["id", "item", "verdict", "reason", "note", "seconds", "replaces"]
        _only(data, *keys, *(["reviewer"] if allowed else []))
        replaces = None if data.get("replaces") is None else _event(data, "replaces")
        try:
            kept = self._store.record(
                id=_event(data, "id"),
                reviewer=reviewer,
                item=_text(data, "item", _LONGEST_NAME),
                verdict=_text(data, "verdict", _LONGEST_NAME),
                reason=_text(data, "reason", _LONGEST_NAME, ""),
                note=_text(data, "note", LONGEST_NOTE, ""),
                seconds=_seconds(data),
                replaces=replaces,
            )
        except Conflict as conflict:
            raise _conflict(conflict) from None
        return {"current": _said(kept)}

    def _person(self, data: Mapping[str, Any]) -> str:
        name = _text(data, "reviewer", _LONGEST_NAME)
        if name.strip().casefold() == TOGETHER.casefold():
            raise RequestError(400, "That name stands for what reviewers settle on together.")
        return name

    def _known(self, reviewer: str) -> str:
        names = {each["name"] for each in self._store.reviewers()}
        if reviewer not in names or reviewer == TOGETHER:
            raise RequestError(404, "There is no reviewer of that name: choose one at the start.")
        return reviewer

    def _headline(self, item_id: str) -> str:
        item = self._store.item(item_id)
        words = " ".join((item.question or item.prompt)[: 2 * _QUESTION_CHARACTERS].split())
        if len(words) <= _QUESTION_CHARACTERS:
            return words
        return words[: _QUESTION_CHARACTERS - 1] + "\u2026"


def _said(judgement: Judgement) -> dict[str, Any]:
    return {
        "id": judgement.id,
        "verdict": str(judgement.verdict),
        "reason": judgement.reason,
        "note": judgement.note,
    }


def _disagreement(found: Disagreement) -> dict[str, Any]:
    return {
        "item": found.item.id,
        "judgements": [{"reviewer": each.reviewer, **_said(each)} for each in found.judgements],
        "automatic": found.item.automatic,
        "automatic_reason": found.item.automatic_reason,
        "people_differ": found.people_differ,
        "automatic_differs": found.automatic_differs,
        "resolution": _said(found.resolution) if found.resolution else None,
    }


def _conflict(conflict: Conflict) -> RequestError:
    current = _said(conflict.current) if conflict.current is not None else None
    message = "Meanwhile another window has changed the verdict on this response."
    return RequestError(409, message, current=current)


def _only(data: Mapping[str, Any], *keys: str) -> None:
    unknown = sorted(set(data) - set(keys))
    if unknown:
        known = ", ".join(keys)
        raise RequestError(400, f"Unknown: {', '.join(unknown)[:200]}. Known are {known}.")


def _text(data: Mapping[str, Any], key: str, most: int, default: str | None = None) -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise RequestError(400, f"{key} is missing, or is no text.")
    if len(value) > most:
        raise RequestError(400, f"{key} is longer than {most} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RequestError(400, f"{key} holds half a character.") from None
    return value


def _event(data: Mapping[str, Any], key: str) -> str:
    value = _text(data, key, 64)
    if not _ID.fullmatch(value):
        raise RequestError(400, f"{key} is 8 to 64 letters, digits and hyphens.")
    return value


def _seconds(data: Mapping[str, Any]) -> float | None:
    value = data.get("seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(400, "seconds is no number.")
    if (isinstance(value, float) and not math.isfinite(value)) or value < 0:
        raise RequestError(400, "seconds is a number from 0.")
    return float(min(value, _MOST_SECONDS))
