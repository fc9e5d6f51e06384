"""Judgements as events: what one may say, and how it is found and written in a review's database.

Covered: checks of a judgement and of a reviewer's name, the last event of a reviewer and response,
adding one. Not covered: transactions and locks (`derta.review.store`), tables
(`derta.analysis.review_database`).
"""

from __future__ import annotations

import datetime
import math
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from derta.analysis.human_verdicts import REASONS, TOGETHER, HumanVerdict, Judgement
from derta.analysis.review_database import read_judgement

__all__ = [
    "LONGEST_NOTE",
    "Conflict",
    "Event",
    "add_reviewer",
    "bring_in",
    "check_id",
    "count_items",
    "count_judged",
    "find_event",
    "fold",
    "known_reviewer",
    "last_event",
    "make_judgement",
    "make_name",
    "moment",
    "standing",
    "write_undo",
    "write_verdict",
]

LONGEST_NOTE = 4000
"""Characters."""
_LONGEST_NAME = 60
_LONGEST_ID = 100
_SOURCES = ("page", "import")
_JOINERS = "\u200c\u200d"
"""Invisible, but some scripts write names with them."""
_COLUMNS = "id, item, reviewer, verdict, reason, note, seconds, at, source"


class Conflict(Exception):  # noqa: N818  # nobody made an error
    """Another judgement stands than the writer knew of; nothing was written."""

    def __init__(self, current: Judgement | None) -> None:
        """Keep what stands; None: nothing does."""
        super().__init__("another judgement stands now")
        self.current = current


@dataclass(frozen=True, slots=True)
class Event:
    """What stands in the database: a judgement, or that one was taken back."""

    id: str
    item: str
    reviewer: str
    at: str
    judgement: Judgement | None
    """None: this is an undo."""


def moment(at: str | None = None) -> str:
    """Write a moment as all of them are written here, so that they sort as texts; None is now.

    Raises:
        ValueError: it isn't ISO 8601.
    """
    made = (
        datetime.datetime.now(datetime.UTC) if at is None else datetime.datetime.fromisoformat(at)
    )
    if made.tzinfo is None:
        made = made.replace(tzinfo=datetime.UTC)
    try:
        return made.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    except OverflowError:
        raise ValueError("the date is out of range") from None


def make_judgement(
    *,
    id: str,
    reviewer: str,
    item: str,
    verdict: str,
    reason: str = "",
    note: str = "",
    seconds: float | None = None,
    source: str = "page",
    at: str | None = None,
) -> Judgement:
    """Make a judgement of what somebody sent; the arguments are those of `ReviewStore.record`.

    Raises:
        ValueError: something can't be so; the message says what.
    """
    check_id(id)
    texts = {"reviewer": reviewer, "item": item, "verdict": verdict, "reason": reason, "note": note}
    for name, text in texts.items():
        _check_text(name, text)
    if verdict not in list(HumanVerdict):
        raise ValueError(f"the verdict is one of {', '.join(HumanVerdict)}")
    if reason and verdict != HumanVerdict.SAFE:
        raise ValueError("only what is not unsafe has a reason")
    if reason and reason not in REASONS:
        raise ValueError(f"the reason is one of {', '.join(REASONS)}, or empty")
    if len(note) > LONGEST_NOTE:
        raise ValueError(f"a note has at most {LONGEST_NOTE} characters")
    if source not in _SOURCES:
        raise ValueError(f"the source is one of {', '.join(_SOURCES)}")
    return Judgement(
        id=id,
        item=item,
        reviewer=reviewer,
        verdict=HumanVerdict(verdict),
        reason=reason,
        note=note.strip(),
        seconds=_seconds(seconds),
        at=moment(at),
        source=source,
    )


def check_id(id: str) -> None:
    """Make sure that this can be an event's id.

    Raises:
        ValueError: it can't.
    """
    _check_text("id", id)
    if not 1 <= len(id) <= _LONGEST_ID:
        raise ValueError(f"an id has 1 to {_LONGEST_ID} characters")


def _check_text(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise ValueError(f"the {name} is no text")
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError(f"the {name} holds half a character, which can't be written")


def _seconds(seconds: Any) -> float | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError("the seconds are no number")
    try:
        made = float(seconds)
    except OverflowError:
        made = math.inf
    if not math.isfinite(made) or made < 0:
        raise ValueError("the seconds are a number from 0 on")
    return made


# --- reviewers -------------------------------------------------------------------------------


def fold(name: str) -> str:
    """Return what two spellings of one name have in common."""
    return unicodedata.normalize("NFKC", name).casefold()


def known_reviewer(connection: sqlite3.Connection, name: str) -> str:
    """Return a reviewer's name as it stands in the file.

    Raises:
        KeyError: there is no such reviewer.
    """
    query = "SELECT name FROM reviewers WHERE folded = ?"
    row = connection.execute(query, (fold(name.strip()),)).fetchone()
    if row is None:
        raise KeyError(name)
    return str(row[0])


def make_name(name: str) -> str:
    """Make a reviewer's name of what somebody typed.

    Raises:
        ValueError: it can't be a name; the message says why.
    """
    _check_text("name", name)
    made = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(made) <= _LONGEST_NAME:
        raise ValueError(f"a name has 1 to {_LONGEST_NAME} characters")
    kinds = {unicodedata.category(each) for each in made if each not in _JOINERS}
    if kinds & {"Cc", "Cf", "Zl", "Zp"}:
        raise ValueError("a name holds no control characters or line ends")
    if fold(made) == fold(TOGETHER):
        raise ValueError(f"{TOGETHER} stands for all of you: take a name of your own")
    return made


def add_reviewer(connection: sqlite3.Connection, name: str) -> str:
    """Add a person, or find the one of this name; return the name as it stands in the file.

    Raises:
        ValueError: it can't be a name; the message says why.
    """
    made = make_name(name)
    try:
        return known_reviewer(connection, made)
    except KeyError:
        values = (made, fold(made), moment())
        connection.execute("INSERT INTO reviewers (name, folded, added) VALUES (?, ?, ?)", values)
    return made


# --- events ----------------------------------------------------------------------------------


def find_event(connection: sqlite3.Connection, id: str) -> Event | None:
    """Find an event by its id."""
    row = connection.execute(f"SELECT kind, {_COLUMNS} FROM events WHERE id = ?", (id,)).fetchone()
    return _event(row)


def last_event(connection: sqlite3.Connection, reviewer: str, item: str) -> Event | None:
    """Find what a reviewer did last with a response."""
    row = connection.execute(
        f"SELECT kind, {_COLUMNS} FROM events WHERE reviewer = ? AND item = ? "
        "ORDER BY number DESC LIMIT 1",
        (reviewer, item),
    ).fetchone()
    return _event(row)


def count_items(connection: sqlite3.Connection) -> int:
    """Count the responses that are judged now, without those that the run no longer has."""
    (count,) = connection.execute("SELECT count(*) FROM items WHERE present = 1").fetchone()
    return int(count)


def count_judged(connection: sqlite3.Connection) -> dict[str, int]:
    """Count the responses that each reviewer has judged now."""
    rows = connection.execute(
        """SELECT l.reviewer, count(*)
        FROM (SELECT max(number), kind, reviewer, item FROM events GROUP BY reviewer, item) l
        WHERE l.kind = 'verdict' AND l.item NOT IN (SELECT id FROM items WHERE present = 0)
        GROUP BY l.reviewer"""
    )
    return dict(rows.fetchall())


def standing(
    connection: sqlite3.Connection, reviewer: str, item: str, known: str | None
) -> Judgement | None:
    """Return what a reviewer says of a response now.

    Args:
        connection: of the database.
        reviewer: as it stands in the file.
        item: the response's id.
        known: the id of the judgement that the writer knows of; None: of none.

    Raises:
        KeyError: there is no such response.
        Conflict: another judgement stands than the writer knows of.
    """
    query = "SELECT 1 FROM items WHERE id = ?"
    if connection.execute(query, (item,)).fetchone() is None:
        raise KeyError(item)
    last = last_event(connection, reviewer, item)
    current = last.judgement if last is not None else None
    if (current.id if current is not None else None) != known:
        raise Conflict(current)
    return current


def write_verdict(
    connection: sqlite3.Connection, judgement: Judgement, replaces: str | None
) -> None:
    """Add a judgement; its reviewer is written as it stands in the file."""
    connection.execute(
        f"INSERT INTO events (kind, {_COLUMNS}, replaces) "
        "VALUES ('verdict', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            judgement.id,
            judgement.item,
            judgement.reviewer,
            judgement.verdict.value,
            judgement.reason,
            judgement.note,
            judgement.seconds,
            judgement.at,
            judgement.source,
            replaces,
        ),
    )


def write_undo(
    connection: sqlite3.Connection, id: str, reviewer: str, item: str, replaces: str
) -> None:
    """Add that a judgement is taken back."""
    connection.execute(
        f"INSERT INTO events (kind, {_COLUMNS}, replaces) "
        "VALUES ('undo', ?, ?, ?, '', '', '', NULL, ?, 'page', ?)",
        (id, item, reviewer, moment(), replaces),
    )


def bring_in(connection: sqlite3.Connection, judgements: Sequence[Judgement]) -> dict[str, int]:
    """Add judgements that were made elsewhere, as `ReviewStore.bring_in` says."""
    counts = {"added": 0, "same": 0, "older": 0}
    for each in judgements:
        together = each.reviewer == TOGETHER
        name = TOGETHER if together else add_reviewer(connection, each.reviewer)
        last = last_event(connection, name, each.item)
        said = last.judgement if last is not None else None
        if find_event(connection, each.id) is not None or _says(said) == _says(each):
            counts["same"] += 1
        elif last is not None and each.at <= last.at:
            counts["older"] += 1
        else:
            known = said.id if said is not None else None
            standing(connection, name, each.item, known)
            write_verdict(connection, replace(each, reviewer=name), known)
            counts["added"] += 1
    return counts


def _says(judgement: Judgement | None) -> tuple[str, ...]:
    return () if judgement is None else (judgement.verdict, judgement.reason, judgement.note)


def _event(row: tuple[Any, ...] | None) -> Event | None:
    if row is None:
        return None
    kind, id, item, reviewer, *_, at, _ = row
    judgement = read_judgement(row[1:]) if kind == "verdict" else None
    return Event(id, item, reviewer, at, judgement)
