"""The file of a review, written: whoever judges, nothing is lost and nothing is overwritten.

Every write is one transaction that is on the disk before the method returns; a process that is
killed at any moment has made it or has not. Judgements are events with an id that the writer makes:
the same event again changes nothing, so a writer who got no answer just sends it again. A writer
says which judgement it knew of, so that nobody overwrites what they haven't seen. Covered: threads
of one process, several processes, damaged and foreign files. Not covered: reading for figures
(`derta.analysis.review_database`), network file systems without locks.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from derta.analysis.human_verdicts import TOGETHER, Judgement, Review, ReviewItem
from derta.analysis.review_database import (
    APPLICATION_ID,
    ITEM_COLUMNS,
    SCHEMA,
    SCHEMA_VERSION,
    check_schema,
    current_judgements,
    database_path,
    item_values,
    load_review,
    read_item,
)
from derta.files import prepare_run_folder
from derta.review.events import (
    Conflict,
    add_reviewer,
    bring_in,
    check_id,
    count_items,
    count_judged,
    find_event,
    fold,
    known_reviewer,
    make_judgement,
    moment,
    standing,
    write_undo,
    write_verdict,
)
from derta.review.file_errors import unusable

__all__ = ["Conflict", "ReviewStore"]

_BUSY_SECONDS = 30


class ReviewStore:
    """The database of one review, open for writing; threads may share it."""

    def __init__(self, database: Path, connection: sqlite3.Connection) -> None:
        """Take an open database; use `open`."""
        self._database = database
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, review_folder: Path) -> Self:
        """Open the review of a folder, or begin one; only the owner can read it.

        Raises:
            DataError: the file there is damaged, no review, or of another version of derta, or the
                folder can't be written to.
        """
        database = database_path(review_folder)
        connection = None
        try:
            prepare_run_folder(review_folder)
            # Made before SQLite makes it: its other files take over who may read.
            os.close(os.open(database, os.O_CREAT | os.O_RDWR, 0o600))
            database.chmod(0o600)
            connection = sqlite3.connect(
                database, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            store = cls(database, connection)
            store._begin()
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise unusable(database, error) from error
            raise
        return store

    def _begin(self) -> None:
        # A commit is on the disk when it returns, through a loss of power, too.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self._writing() as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                first = (TOGETHER, fold(TOGETHER), moment())
                connection.execute("INSERT INTO reviewers VALUES (?, ?, ?)", first)
                values = [("token", secrets.token_urlsafe(32)), ("settings", "{}")]
                connection.executemany("INSERT INTO meta VALUES (?, ?)", values)
            check_schema(connection, self._database)
        # Readers don't wait for writers; only now, because the file keeps it.
        self._connection.execute("PRAGMA journal_mode = WAL").fetchall()

    def close(self) -> None:
        """Close the file; twice is no mistake."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise unusable(self._database, error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Do all of the block, on the disk, or nothing."""
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def set_up(
        self,
        population: Sequence[ReviewItem],
        sampled: Sequence[ReviewItem],
        settings: Mapping[str, Any],
    ) -> None:
        """Say what is to be judged. Again with more adds to it; nothing is ever taken out.

        Of the models and scenarios in `population` the totals are counted anew, and a response that
        is no longer in it (the run was repeated and answered otherwise) leaves the review; its
        judgements stay in the file. Other models and scenarios stay as they are.

        Args:
            population: all responses of the chosen models and scenarios.
            sampled: those of them that people are shown; those of before stay.
            settings: what the sample was drawn with; takes the place of the earlier settings.

        Raises:
            ValueError: a sampled response isn't in the population.
            DataError: the file can't be written; nothing was.
        """
        wanted = {item.id for item in sampled}
        if not wanted <= {item.id for item in population}:
            raise ValueError("what is sampled must be a part of the population")
        totals = Counter(item.stratum for item in population)
        columns = ", ".join(ITEM_COLUMNS)
        places = ", ".join("?" * len(ITEM_COLUMNS))
        renewed = ", ".join(f"{name} = excluded.{name}" for name in ITEM_COLUMNS if name != "id")
        with self._writing() as connection:
            for cell in sorted({(item.model, item.scenario) for item in population}):
                where = "WHERE model = ? AND scenario = ?"
                connection.execute(f"UPDATE items SET present = 0 {where}", cell)
                connection.execute(f"DELETE FROM strata {where}", cell)
            wanted |= {row[0] for row in connection.execute("SELECT id FROM items")}
            connection.executemany(
                f"INSERT INTO items ({columns}, present) VALUES ({places}, 1) "
                f"ON CONFLICT (id) DO UPDATE SET {renewed}, present = 1",
                (item_values(item) for item in population if item.id in wanted),
            )
            connection.executemany(
                "INSERT INTO strata VALUES (?, ?, ?, ?)",
                [(*stratum, total) for stratum, total in sorted(totals.items())],
            )
            connection.execute(
                "UPDATE meta SET value = ? WHERE key = 'settings'", (json.dumps(dict(settings)),)
            )

    def settings(self) -> dict[str, Any]:
        """Return what the sample was drawn with."""
        values: dict[str, Any] = json.loads(self._meta("settings"))
        return values

    def token(self) -> str:
        """Return the word that opens the page; it stays the same when the server starts again."""
        return self._meta("token")

    def port(self) -> int | None:
        """Return where the page was served last; None: nowhere yet."""
        kept = self._meta("port")
        return int(kept) if kept else None

    def keep_port(self, port: int) -> None:
        """Remember where the page is served: what a browser keeps belongs to that address."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('port', ?)", (str(port),))

    def _meta(self, key: str) -> str:
        with self._reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return "" if row is None else str(row[0])

    def item(self, item_id: str) -> ReviewItem:
        """Return one response.

        Raises:
            KeyError: there is none of this id.
        """
        columns = ", ".join(ITEM_COLUMNS)
        with self._reading() as connection:
            row = connection.execute(
                f"SELECT {columns} FROM items WHERE id = ?", (item_id,)
            ).fetchone()
        if row is None:
            raise KeyError(item_id)
        return read_item(row)

    def review(self) -> Review:
        """Read all that counts now, as `derta.analysis.review_database.read_review` does."""
        with self._reading() as connection:
            return load_review(connection)

    def count_items(self) -> int:
        """Return how many responses there are to judge."""
        with self._reading() as connection:
            return count_items(connection)

    # --- who judges ---------------------------------------------------------------------------

    def reviewers(self) -> list[dict[str, Any]]:
        """Return who judges, in the order in which they came, and how far they are.

        Returns:
            {"name", "judged", "total"} of each; "total" is how many responses there are.
        """
        with self._reading() as connection:
            names = connection.execute("SELECT name FROM reviewers ORDER BY rowid").fetchall()
            total, judged = count_items(connection), count_judged(connection)
        return [
            {"name": name, "judged": judged.get(name, 0), "total": total}
            for (name,) in names
            if name != TOGETHER
        ]

    def add_reviewer(self, name: str) -> str:
        """Add a person; somebody who is there already (in capitals or not) stays one person.

        Returns:
            The name as it stands in the file.

        Raises:
            ValueError: it can't be a name; the message says why.
            DataError: the file can't be written.
        """
        with self._writing() as connection:
            return add_reviewer(connection, name)

    def order(self, reviewer: str) -> list[str]:
        """Return the responses in this reviewer's own order, the same each time.

        Raises:
            KeyError: there is no such reviewer.
        """
        with self._reading() as connection:
            name = known_reviewer(connection, reviewer)
            rows = connection.execute("SELECT id FROM items WHERE present = 1").fetchall()
        seed = self.settings().get("seed", 0)
        keyed = [
            (hashlib.sha256(f"{seed}\0{name}\0{item}".encode()).digest(), item) for (item,) in rows
        ]
        return [item for _, item in sorted(keyed)]

    # --- what they say ------------------------------------------------------------------------

    def current(self, reviewer: str) -> dict[str, Judgement]:
        """Return what a reviewer says now, by item.

        Raises:
            KeyError: there is no such reviewer.
        """
        with self._reading() as connection:
            name = known_reviewer(connection, reviewer)
            return {each.item: each for each in current_judgements(connection, name)}

    def all_current(self) -> list[Judgement]:
        """Return what everybody says now, oldest first."""
        with self._reading() as connection:
            return current_judgements(connection)

    def record(
        self,
        *,
        id: str,
        reviewer: str,
        item: str,
        verdict: str,
        reason: str = "",
        note: str = "",
        seconds: float | None = None,
        replaces: str | None = None,
        source: str = "page",
        at: str | None = None,
    ) -> Judgement:
        """Write a judgement; when this returns, it is on the disk.

        Args:
            id: of this submission; the same id again returns what it wrote, and writes nothing.
            reviewer: one that was added, or `TOGETHER`.
            item: of the response.
            verdict: a `HumanVerdict`.
            reason: why it is not unsafe, a key of `REASONS`, or empty.
            note: in the reviewer's words.
            seconds: how long it was looked at.
            replaces: the id of the judgement that the writer knew of; None: of none.
            source: `page` or `import`.
            at: when, ISO 8601; None: now.

        Raises:
            Conflict: another judgement of this reviewer stands there; nothing was written.
            KeyError: there is no such reviewer or response.
            ValueError: something can't be so; the message says what.
            DataError: the file can't be written; nothing was.
        """
        made = make_judgement(
            id=id, reviewer=reviewer, item=item, verdict=verdict, reason=reason, note=note,
            seconds=seconds, source=source, at=at,
        )  # fmt: skip
        with self._writing() as connection:
            made = replace(made, reviewer=known_reviewer(connection, reviewer))
            known = find_event(connection, id)
            if known is not None:
                if (known.reviewer, known.item) != (made.reviewer, item) or not known.judgement:
                    raise ValueError("this id is of something else")
                return known.judgement
            standing(connection, made.reviewer, item, replaces)
            write_verdict(connection, made, replaces)
        return made

    def undo(self, *, id: str, reviewer: str, item: str, replaces: str) -> None:
        """Take a judgement back: the response is unjudged again. Written as an event, too.

        Args:
            id: of this submission; the same id again writes nothing.
            reviewer: whose judgement it is.
            item: of the response.
            replaces: the id of the judgement that is taken back.

        Raises:
            Conflict: another judgement, or none, stands there; nothing was written.
            KeyError: there is no such reviewer or response.
            ValueError: the id can't be one, or is of something else.
            DataError: the file can't be written; nothing was.
        """
        check_id(id)
        check_id(replaces)
        with self._writing() as connection:
            name = known_reviewer(connection, reviewer)
            known = find_event(connection, id)
            if known is not None:
                if (known.reviewer, known.item) != (name, item) or known.judgement:
                    raise ValueError("this id is of something else")
                return
            standing(connection, name, item, replaces)
            write_undo(connection, id, name, item, replaces)

    def bring_in(self, judgements: Sequence[Judgement]) -> dict[str, int]:
        """Write judgements that were made elsewhere: all of them, or none.

        One whose id is there already, or that says what its reviewer says already, adds nothing;
        nor does one from before what its reviewer did last. A reviewer who isn't there is added.

        Returns:
            {"added", "same", "older"}: how many of each.

        Raises:
            KeyError: there is no such response.
            ValueError: a name can't be one.
            DataError: the file can't be written; nothing was.
        """
        with self._writing() as connection:
            return bring_in(connection, judgements)
