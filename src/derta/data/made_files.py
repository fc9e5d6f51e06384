"""Output folders of `derta data mix` and `derta data import`: only what derta made is replaced.

A report (mix.json, import.json) holds the SHA-256 of each file that was written with it. A file in
the folder that has another one was made or changed by somebody else, and stays. Covered: that
check, folders that are read and written at once, new private folders. Not covered: what is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from derta.data.streams import find_source, is_folder
from derta.errors import DataError, InputProblem
from derta.files import write_atomically

__all__ = [
    "check_apart",
    "check_made",
    "hash_file",
    "is_there",
    "output_folder",
    "read_report",
]

_IGNORE = ".gitignore"
_REMEDY = "Name another folder with --output, or move the file away first"


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_there(path: Path) -> bool:
    """Say whether a name is taken, be it by a link that leads nowhere."""
    return path.exists() or path.is_symlink()


def read_report(path: Path) -> dict[str, Any]:
    """Read a report of an earlier run; empty if there is none that derta wrote."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) and "derta" in report else {}


def check_made(folder: Path, report_name: str, names: Iterable[str]) -> None:
    """See that files that are to be replaced or deleted are as an earlier run wrote them.

    Args:
        folder: the output folder; it may be missing.
        report_name: the report in it, which is to be replaced, too.
        names: the files.

    Raises:
        DataError: it is no folder, or somebody else made or changed one of them.
    """
    if is_there(folder) and not folder.is_dir():
        problem = "this is not a folder"
        raise DataError.of(folder, problem, "Name a folder with --output")
    report = read_report(folder / report_name)
    files = report.get("files")
    hashes = files if isinstance(files, dict) else {}
    problems = []
    for name in names:
        path = folder / name
        if is_there(path) and not _is_as_made(path, hashes.get(name)):
            problem = f"derta didn't make this file, or it was changed since ({report_name})"
            problems.append(InputProblem(str(path), problem, _REMEDY))
    if is_there(folder / report_name) and not report:
        problem = "derta didn't make this file"
        problems.append(InputProblem(str(folder / report_name), problem, _REMEDY))
    if problems:
        raise DataError(problems)


def _is_as_made(path: Path, wanted: object) -> bool:
    try:
        return path.is_file() and not path.is_symlink() and hash_file(path) == wanted
    except OSError:  # what can't be read can't be known
        return False


def check_apart(folder: Path, sources: Iterable[str]) -> None:
    """See that no source folder is, contains or lies in the output folder.

    The next run would read what this one wrote.

    Raises:
        DataError: one does.
    """
    place = folder.resolve()
    for name in sources:
        try:
            found = find_source(name)
        except DataError:  # said when it is read
            continue
        if not isinstance(found, Path) or not is_folder(found):
            continue
        source = found.resolve()
        if source == place:
            relation = "is"
        elif source in place.parents:
            relation = "lies in"
        elif place in source.parents:
            relation = "contains"
        else:
            continue
        problem = f"the output folder {relation} the source folder {name}"
        remedy = "Name a folder apart from it with --output"
        raise DataError.of(folder, problem, remedy)


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make an output folder, private and ignored by git if it is new; a failed run takes it back.

    A folder that was there stays as it is.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if is_new:
            folder.chmod(0o700)
            write_atomically(folder / _IGNORE, "*\n")  # harmful text doesn't belong in a repository
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):
                (folder / _IGNORE).unlink(missing_ok=True)
                folder.rmdir()
        raise
