"""The files of rows that `derta data make` writes, and what of an earlier call they may replace.

make.json holds the SHA-256 of the rows that were written with it. Covered: files that somebody else
made or changed stay; so does one for which a call has no rows; a process that is killed meanwhile.
Not covered: what is in a row (`derta.make_triples.making`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from derta.data.made_files import hash_file, is_there
from derta.errors import DataError, InputProblem
from derta.files import write_atomically

__all__ = ["check_rows", "has_rows", "require_none", "write_rows"]

_REPORT = "make.json"
_NAMES = ("triples.jsonl", "helpful.jsonl")


def has_rows(output: Path) -> bool:
    """Say whether a folder holds a file of rows, whoever wrote it."""
    return any(is_there(output / name) for name in _NAMES)


def check_rows(output: Path, maker: str) -> None:
    """Refuse a folder whose rows somebody else has made, or changed since they were.

    Args:
        output: the folder; it may be missing.
        maker: the command's name, for the message.

    Raises:
        DataError: it is no folder, or rows would be lost.
    """
    if output.exists() and not output.is_dir():
        raise DataError.of(output, "this is a file", "Name a folder for what is made")
    said = output / _REPORT
    written = _read_hashes(said)
    problems = []
    for path in (output / name for name in _NAMES):
        if not is_there(path):
            continue
        if not said.exists():
            remedy = "Name another folder with -o; this one's file would be lost"
            problems.append(InputProblem(str(path), f"{maker} didn't make this", remedy))
        elif written is not None and not _is_written(path, written.get(path.name)):
            problem = f"it was changed since {maker} wrote it"
            remedy = "Move the file away first, or name another folder with -o: it would be lost"
            problems.append(InputProblem(str(path), problem, remedy))
    if problems:
        raise DataError(problems)


def require_none(output: Path, names: Sequence[str], reason: str) -> None:
    """Refuse to delete an earlier call's file for which this one has no rows.

    Args:
        output: the folder; it may be missing.
        names: the files without rows.
        reason: why there are none.

    Raises:
        DataError: one of these files is there.
    """
    problems = [
        InputProblem(
            str(output / name),
            f"it is there already, and no rows would take its place: {reason}",
            "Name another folder with -o, or move the file away first; what was generated is kept "
            "and not asked again",
        )
        for name in names
        if is_there(output / name)
    ]
    if problems:
        raise DataError(problems)


def write_rows(
    output: Path,
    maker: str,
    content: dict[str, Any],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Write the report and the rows; a file without rows would be an error to its readers.

    The report comes first, with the hashes of the rows before and after: wherever a process is
    killed, the next run knows the files as its own.

    Args:
        output: the folder.
        maker: the command's name, for messages.
        content: of make.json; "files" is added.
        rows: by file.

    Raises:
        DataError: rows of somebody else or of an earlier call would be lost; nothing is written.
    """
    check_rows(output, maker)  # hours may have passed
    for name, each in rows.items():
        if not each:
            require_none(output, [name], _why_none(name, content["left_out"]))
    texts = {
        name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in each)
        for name, each in rows.items()
    }
    content["files"] = {name: _hashes(output / name, text) for name, text in texts.items()}
    write_atomically(output / _REPORT, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    for name, text in texts.items():
        if text:
            write_atomically(output / name, text)


def _why_none(name: str, left_out: Sequence[Mapping[str, Any]]) -> str:
    of_helpful = name == "helpful.jsonl"
    found = [each for each in left_out if (each["stage"] == "helpful") is of_helpful]
    if not found:
        return "this call made none"
    return f"this call left out {len(found)} questions, the first because: {found[0]['reason']}"


def _read_hashes(path: Path) -> dict[str, Any] | None:
    """Read which hashes the files may have; None: derta didn't write them down then."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return files if isinstance(files, dict) else None


def _is_written(path: Path, hashes: Any) -> bool:
    return isinstance(hashes, list) and path.is_file() and hash_file(path) in hashes


def _hashes(path: Path, text: str) -> list[str]:
    """List the SHA-256 that a file will have, and the one that it has now."""
    new = [hashlib.sha256(text.encode()).hexdigest()] if text else []
    return [*new, hash_file(path)] if is_there(path) else new
