"""Rows that belong together and don't stand together: grouped by prompt in a temporary file.

The file is an SQLite database: memory stays bounded by its cache, whatever the number of rows.
Covered: groups and parts in the order of their first appearance. Not covered: who asks for it and
where the file lies.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from derta.data.formats.base import Part
from derta.data.streams import RawRow
from derta.errors import DataError

__all__ = ["Grouping", "StoredGroup"]

_CACHE_KIBIBYTES = 32_768
_TABLES = """
CREATE TABLE groups (number INTEGER PRIMARY KEY, key_hash BLOB NOT NULL UNIQUE);
CREATE TABLE parts (
    number INTEGER PRIMARY KEY,
    group_number INTEGER NOT NULL,
    label TEXT NOT NULL,
    text_hash BLOB NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (group_number, label, text_hash)
);
"""


class StoredGroup:
    """The parts of one key, read from the file when they are asked for."""

    def __init__(self, connection: sqlite3.Connection, number: int) -> None:
        """Stand for group `number` of an open file."""
        self._connection = connection
        self._number = number

    def parts(
        self, label: str, *, also_in: str | None = None, not_in: str | None = None
    ) -> Iterator[Part]:
        """Give the parts with a label in the order of their rows (see `formats.base.Group`)."""
        query = "SELECT body FROM parts WHERE group_number = ? AND label = ?"
        values: list[object] = [self._number, label]
        for other, condition in ((also_in, "IN"), (not_in, "NOT IN")):
            if other is not None:
                query += (
                    f" AND text_hash {condition}"
                    " (SELECT text_hash FROM parts WHERE group_number = ? AND label = ?)"
                )
                values += [self._number, other]
        for (body,) in self._connection.execute(query + " ORDER BY number", values):
            yield _read(body, label)


class Grouping:
    """Parts, grouped by key in a file of its own."""

    def __init__(self, folder: Path) -> None:
        """Make the file.

        Args:
            folder: for the file, which nobody else uses and somebody else deletes.
        """
        self._path = folder / "groups.sqlite"
        self._connection = sqlite3.connect(self._path)
        # The file dies with the process: nothing in it has to survive.
        for setting in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "locking_mode = EXCLUSIVE",
            f"cache_size = -{_CACHE_KIBIBYTES}",
        ):
            self._connection.execute(f"PRAGMA {setting}").close()
        self._connection.executescript(_TABLES)

    def __enter__(self) -> Grouping:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def add(self, part: Part) -> bool:
        """Store a part.

        Returns:
            False if its group already has this text under this label; it is not stored then.

        Raises:
            DataError: the disk is full.
        """
        key_hash = _hash(part.key)
        body = json.dumps(
            [part.key, part.text, part.record, part.place.path, part.place.line, part.place.number]
        )
        try:
            self._connection.execute(
                "INSERT OR IGNORE INTO groups (key_hash) VALUES (?)", [key_hash]
            )
            stored = self._connection.execute(
                "INSERT OR IGNORE INTO parts (group_number, label, text_hash, body)"
                " SELECT number, ?, ?, ? FROM groups WHERE key_hash = ?",
                [part.label, _hash(part.text), body, key_hash],
            )
        except sqlite3.Error as error:
            problem = f"the temporary file for grouping rows can't be written: {error}"
            remedy = "Free some space, or choose an output folder on another disk"
            raise DataError.of(self._path.parent, problem, remedy) from error
        return stored.rowcount == 1

    def groups(self) -> Iterator[StoredGroup]:
        """Give all groups in the order of their first rows."""
        for (number,) in self._connection.execute("SELECT number FROM groups ORDER BY number"):
            yield StoredGroup(self._connection, number)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _read(body: str, label: str) -> Part:
    key, text, record, path, line, number = json.loads(body)
    fields: dict[str, Any] = record
    return Part(key, label, text, fields, RawRow({}, path, line, number))
