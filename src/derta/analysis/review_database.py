"""The file in which people's verdicts lie: its tables, and reading it without changing anything.

It is an SQLite database of which every write is one transaction; judgements are events that are
only ever added. Needs nothing but the standard library. Not covered: writing
(`derta.review.store`), what the verdicts mean (`derta.analysis.human_verdicts`).
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from derta.analysis.human_verdicts import HumanVerdict, Judgement, Review, ReviewItem
from derta.errors import DataError

__all__ = [
    "APPLICATION_ID",
    "DATABASE_NAME",
    "ITEM_COLUMNS",
    "SCHEMA",
    "SCHEMA_VERSION",
    "check_schema",
    "current_judgements",
    "database_path",
    "has_review",
    "item_values",
    "load_review",
    "read_item",
    "read_judgement",
    "read_review",
]

DATABASE_NAME = "review.sqlite"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x64727476  # "drtv": tells a review's file from any other SQLite file

SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE items (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE, present INTEGER NOT NULL,
        model TEXT NOT NULL, scenario TEXT NOT NULL, cell TEXT NOT NULL,
        question_id TEXT NOT NULL, category TEXT NOT NULL, question TEXT NOT NULL,
        prompt TEXT NOT NULL, prefilled TEXT NOT NULL, response TEXT NOT NULL,
        truncated INTEGER NOT NULL, automatic TEXT NOT NULL, automatic_reason TEXT NOT NULL,
        log TEXT NOT NULL, sample_id TEXT NOT NULL, epoch INTEGER NOT NULL
    )""",
    "CREATE INDEX items_present ON items (present, id)",
    """CREATE TABLE strata (
        model TEXT NOT NULL, scenario TEXT NOT NULL, automatic TEXT NOT NULL,
        total INTEGER NOT NULL,
        PRIMARY KEY (model, scenario, automatic)
    ) WITHOUT ROWID""",
    """CREATE TABLE reviewers (
        name TEXT PRIMARY KEY, folded TEXT NOT NULL UNIQUE, added TEXT NOT NULL
    )""",
    """CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('verdict', 'undo')),
        item TEXT NOT NULL REFERENCES items (id),
        reviewer TEXT NOT NULL REFERENCES reviewers (name),
        verdict TEXT NOT NULL, reason TEXT NOT NULL, note TEXT NOT NULL,
        seconds REAL, at TEXT NOT NULL, source TEXT NOT NULL, replaces TEXT
    )""",
    "CREATE INDEX events_of_reviewer ON events (reviewer, item, number, kind)",
    """CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
        BEGIN SELECT RAISE(ABORT, 'judgements are only ever added'); END""",
    """CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, 'judgements are only ever added'); END""",
)
"""The tables. `items.present` is 0 once the run holds another response in its place; `strata` is
how many responses there are, judged or not; of `events` the last one of a reviewer and item
counts, and where it is an undo there is no judgement."""

ITEM_COLUMNS = tuple(field.name for field in fields(ReviewItem))
_TRUNCATED = ITEM_COLUMNS.index("truncated")


def database_path(review_folder: Path) -> Path:
    """Return where a review's folder keeps its database."""
    return review_folder / DATABASE_NAME


def has_review(database: Path) -> bool:
    """Say whether a review was begun; a process that was killed early leaves an empty file."""
    return database.is_file() and database.stat().st_size > 0


def read_review(database: Path) -> Review:
    """Read a review; a server may be writing to it meanwhile.

    Raises:
        DataError: it is missing, damaged, no review, or of a newer derta.
    """
    if not has_review(database):
        raise DataError.of(
            database,
            "there is no review",
            "Start one: `derta review` with the folder of the evaluation",
        )
    try:
        with closing(_connect(database)) as connection:
            check_schema(connection, database)
            return load_review(connection)
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise DataError.of(
            database,
            f"can't be read ({error})",
            "It may be damaged: put back a copy of the whole folder, with the files -wal and -shm "
            "where there are any",
        ) from error


def _connect(database: Path) -> sqlite3.Connection:
    """Open a database to be read; where its folder can't be written to, as it lies there."""
    address = database.resolve().as_uri()
    try:
        # Not mode=ro: after a crash the log beside the file is brought in by the first reader.
        return _opened(f"{address}?mode=rw")
    except sqlite3.OperationalError:
        log = database.with_name(database.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        return _opened(f"{address}?mode=ro&immutable=1")


def _opened(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, timeout=30, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def check_schema(connection: sqlite3.Connection, database: Path) -> None:
    """Make sure that a database is a review that this derta can read.

    Raises:
        DataError: it isn't.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise DataError.of(
            database,
            "this is no review of `derta review`",
            "Move the file away, or name the folder of another run",
        )
    if version != SCHEMA_VERSION:
        raise DataError.of(
            database,
            f"it was written by another version of derta (format {version}, this one reads "
            f"{SCHEMA_VERSION})",
            "Use the version of derta that made it, or a newer one",
        )


def load_review(connection: sqlite3.Connection) -> Review:
    """Read a review from an open database, all of it as it stood at one moment.

    Args:
        connection: in autocommit mode and in no transaction.
    """
    connection.execute("BEGIN")
    try:
        columns = ", ".join(ITEM_COLUMNS)
        items = connection.execute(f"SELECT {columns} FROM items WHERE present = 1 ORDER BY number")
        kept = tuple(read_item(row) for row in items)
        judgements = tuple(current_judgements(connection))
        strata = connection.execute("SELECT model, scenario, automatic, total FROM strata")
        totals = {(row[0], row[1], row[2]): int(row[3]) for row in strata}
        found = connection.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
    finally:
        connection.execute("ROLLBACK")
    return Review(kept, judgements, totals, json.loads(found[0]) if found else {})


def current_judgements(
    connection: sqlite3.Connection, reviewer: str | None = None
) -> list[Judgement]:
    """Read the judgements that count now, oldest first.

    Args:
        connection: of the database.
        reviewer: whose; None: everybody's.
    """
    whose = "" if reviewer is None else "WHERE reviewer = ?"
    rows = connection.execute(
        f"""SELECT e.id, e.item, e.reviewer, e.verdict, e.reason, e.note, e.seconds, e.at, e.source
        FROM (SELECT max(number) AS last, kind, item FROM events {whose} GROUP BY reviewer, item) l
        JOIN events e ON e.number = l.last
        WHERE l.kind = 'verdict' AND l.item NOT IN (SELECT id FROM items WHERE present = 0)
        ORDER BY e.number""",
        () if reviewer is None else (reviewer,),
    )
    return [read_judgement(row) for row in rows]


def item_values(item: ReviewItem) -> tuple[Any, ...]:
    """Return an item's values in the order of `ITEM_COLUMNS`."""
    return tuple(getattr(item, name) for name in ITEM_COLUMNS)


def read_item(row: tuple[Any, ...]) -> ReviewItem:
    """Make an item of a row with the columns `ITEM_COLUMNS`."""
    values = list(row)
    values[_TRUNCATED] = bool(values[_TRUNCATED])
    return ReviewItem(*values)


def read_judgement(row: tuple[Any, ...]) -> Judgement:
    """Make a judgement of a row with its fields, in their order."""
    id, item, reviewer, verdict, *others = row
    return Judgement(id, item, reviewer, HumanVerdict(verdict), *others)
