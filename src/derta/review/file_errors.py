"""What it means when a review's database can't be used, and what to do about it.

Covered: errors of SQLite and of the folder, while a review is open for writing. Not covered: files
of another version of derta, and other programs' databases (`derta.analysis.review_database`).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from derta.errors import DataError

__all__ = ["unusable"]

_REMEDIES = {
    "malformed": "It is damaged: put back a copy of the whole folder",
    "not a database": "Another file lies in its place: move it away",
    "locked": "Another program holds it: close that (another derta, a database browser, a copy "
    "under way), and try again",
}
"""What SQLite's message holds -> what to do."""
_REMEDY = "See that the folder can be written to and that the disk has room, and try again"


def unusable(database: Path, error: Exception) -> DataError:
    """Make an error of one of SQLite's or the system's, with the remedy that fits it."""
    words = str(error) if isinstance(error, sqlite3.Error) else ""
    remedy = next((remedy for part, remedy in _REMEDIES.items() if part in words), _REMEDY)
    if isinstance(error, FileExistsError):
        remedy = "A file lies where the review's folder belongs: move it away"
    return DataError.of(database, f"can't be used ({error})", remedy)
