"""Which files of a folder hold rows, and which of them are those of a split.

Covered: files by their endings, in the folder and below it; splits by the words in their names;
files that only describe data, which are passed over. Not covered: copies of data sets with a card
or state (`hub`), reading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from derta.data.streams.endings import find_ending
from derta.data.streams.parts import Unreadable

__all__ = ["data_files", "files_of_split"]

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The words that mean a split in the name of a file or folder, as `datasets` takes them."""
_ABOUT_DATA = frozenset(
    ("config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")
)
"""What `datasets` writes beside data."""
_OUR_REPORTS = frozenset(("import.json", "make.json", "mix.json"))
_OUR_DATA = ("triples.jsonl", "helpful.jsonl")
_CACHED_STEP = re.compile(r"cache-[0-9a-f]{8,}.*\.arrow")
"""Rows once more, as a step of `datasets` left them in the cache."""


def data_files(folder: Path) -> list[Path]:
    """Find the data files in a folder and those below it, hidden ones left out, by name.

    Raises:
        OSError: the folder can't be read.
    """
    found = [
        path
        for path in folder.rglob("*")
        if find_ending(path.name) not in (None, ".txt")  # a folder's notes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not _only_describes(path)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def files_of_split(folder: Path, paths: Sequence[Path], split: str | None) -> list[Path]:
    """Choose the files of a split, so that several are never read as one.

    Args:
        folder: in which they lie.
        paths: of all its data files.
        split: a word in their names; None: all files or, if they are of several splits, those to
            train on.

    Raises:
        Unreadable: no file is of this split, or there are several and none was named.
    """
    names = {path: path.relative_to(folder).as_posix().lower() for path in paths}
    there = [
        name
        for name, words in _SPLITS.items()
        if any(_has_word(each, word) for each in names.values() for word in words)
    ]
    if split is None:
        if len(there) < 2:
            return list(paths)
        if "train" not in there:
            problem = f"the folder has files of several splits: {', '.join(there)}"
            raise Unreadable(problem, "Name one with --split")
        split = "train"
    wanted = split.lower()
    meant = next((words for words in _SPLITS.values() if wanted in words), (wanted,))
    found = [path for path, name in names.items() if any(_has_word(name, word) for word in meant)]
    if not found:
        remedy = f"Splits in its files' names: {', '.join(there)}" if there else "Leave --split out"
        problem = f"the folder has no file of a split {split!r}"
        raise Unreadable(problem, f"{remedy}, or name the files themselves")
    return found


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", name) is not None


def _only_describes(path: Path) -> bool:
    if path.name in _OUR_REPORTS:
        return any((path.parent / name).exists() for name in _OUR_DATA)
    return path.name in _ABOUT_DATA or _CACHED_STEP.fullmatch(path.name) is not None
