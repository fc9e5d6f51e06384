"""Files of a run: written whole or not at all, readable by their owner only."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

__all__ = ["RUN_NOTICE", "digest", "prepare_run_folder", "write_atomically"]

RUN_NOTICE = """\
This folder holds output of language models that were asked harmful questions on purpose, to
measure whether they refuse. It may be harmful or wrong. It is readable by its owner only and
ignored by git; don't publish it without looking.
"""


def digest(*parts: str) -> str:
    """Hash texts to 16 hexadecimal digits: the fingerprint of what made a file."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a killed process leaves the old one or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def prepare_run_folder(folder: Path) -> None:
    """Make a run folder: private, ignored by git, with a notice about what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, text in (("NOTICE.txt", RUN_NOTICE), (".gitignore", "*\n")):
        if not (folder / name).exists():
            write_atomically(folder / name, text)
