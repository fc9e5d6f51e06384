"""Files of a run: written whole or not at all, readable by their owner only.

Also what makes texts of any origin safe to be written: as UTF-8, and as cells of a table.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "FORMULA",
    "RUN_NOTICE",
    "csv_cell",
    "csv_text",
    "digest",
    "plain_cell",
    "prepare_run_folder",
    "utf8_text",
    "whole_file",
    "write_atomically",
]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for a formula's beginning, unless an apostrophe stands before it."""

RUN_NOTICE = """\
This folder holds output of language models that were asked harmful questions on purpose, to
measure whether they refuse. It may be harmful or wrong. It is readable by its owner only and
ignored by git; don't publish it without looking.
"""

_Value = TypeVar("_Value")


def digest(*parts: str) -> str:
    """Hash texts to 16 hexadecimal digits: the fingerprint of what made a file."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def utf8_text(text: str) -> str:
    """Make a text one that UTF-8 can hold: each half of a surrogate pair becomes a "?"."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def csv_cell(value: _Value) -> _Value | str:
    """Make a value one that no spreadsheet runs: a formula gets an apostrophe before it.

    Model output is hostile: any text that begins like a formula counts as one. Numbers stay as
    they are, with their sign. `plain_cell` undoes it.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def csv_text(records: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Write records as CSV with a line of column names; its cells are guarded (`csv_cell`)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns)
    writer.writerow({name: csv_cell(name) for name in columns})  # names may be a user's, too
    writer.writerows({key: csv_cell(value) for key, value in record.items()} for record in records)
    return text.getvalue()


def plain_cell(text: str) -> str:
    """Undo `csv_cell`: give the text as it was before it was kept from being run."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a file beside `path` that takes its place when all went well, else goes away.

    A killed process leaves the old file or the new one, never half. It is readable by its owner
    only: harmful responses may be in it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a killed process leaves the old one or the new one, never half."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def prepare_run_folder(folder: Path) -> None:
    """Make a run folder: private, ignored by git, with a notice about what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, text in (("NOTICE.txt", RUN_NOTICE), (".gitignore", "*\n")):
        if not (folder / name).exists():
            write_atomically(folder / name, text)
