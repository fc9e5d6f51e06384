"""Data sets of the hub, or a local copy of one in a folder, through the `datasets` library.

Covered: whole loading and streaming, configurations, splits, copies made by a download or by
`save_to_disk`. The hub can't be reached from this project's tests: a local folder stands in for it
there, and what a real download says when it fails was not seen. Not covered: data sets with a
loading script of their own, which the library no longer runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from derta.data.streams.parts import Piece, Unreadable, first_line
from derta.data.streams.plain_values import plain_record
from derta.errors import DertaError

__all__ = ["HubLoader", "HubSource", "find_hub", "hub_rows", "is_copy", "load_hub_rows"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_HUB_PREFIX = "hub:"
_SAVED = ("dataset_dict.json", "state.json")
_MARKS_OF_A_COPY = (*_SAVED, "dataset_infos.json", ".gitattributes", ".huggingface")
_LONGEST_LIST = 300
"""Characters of the names of configurations that an error lists."""
_LOCAL_REMEDY = "Check the split, and that the folder's files are whole and of one kind"
_REMEDY = (
    "Check name, configuration (owner/name:config) and split; log in where the data set asks for "
    "it; without a network, download it elsewhere and pass the file or folder"
)


@dataclass(frozen=True, slots=True)
class HubSource:
    """A data set of the hub."""

    hub_id: str
    """owner/name, or a local folder that holds a copy."""
    config: str | None = None
    split: str | None = None
    """None: the only split, or the one the reader prefers."""
    data_file: str | None = None
    """One JSON file of the data set, where it can't be loaded as a whole."""

    def __str__(self) -> str:
        """Return the name as errors show it."""
        parts = (self.hub_id, self.config, self.data_file)
        return ":".join(part for part in parts if part)


HubLoader = Callable[[HubSource], Iterable[dict[str, Any]]]
"""Loads the rows of a data set; tests and offline machines bring their own."""


def find_hub(name: str, split: str | None, *, prefixed: bool = False) -> HubSource | None:
    """Read a data set's name, "owner/name" or "hub:owner/name", perhaps with ":config".

    Args:
        name: what the user wrote.
        split: the wanted one.
        prefixed: whether only names with "hub:" count.

    Returns:
        The data set; None if the name is no such name.
    """
    if not name.startswith(_HUB_PREFIX) and (prefixed or not _HUB_ID.fullmatch(name)):
        return None
    hub_id, _, config = name.removeprefix(_HUB_PREFIX).partition(":")
    return HubSource(hub_id, config or None, split)


def is_copy(folder: Path) -> bool:
    """Say whether a folder is a data set's copy rather than just data files in a folder."""
    if any((folder / name).exists() for name in _MARKS_OF_A_COPY):
        return True
    card = folder / "README.md"
    try:
        with card.open("rb") as file:
            return file.read(3) == b"---"  # a data card's settings
    except OSError:
        return False


def load_hub_rows(
    hub: HubSource, *, streaming: bool, preferred_split: str
) -> Iterable[dict[str, Any]]:
    """Load a data set with the `datasets` library.

    Args:
        hub: which one.
        streaming: read it piece by piece, without a copy on the disk.
        preferred_split: where there are several and none is named.

    Raises:
        Unreadable: no network, no such data set, configuration or split, or no access to it.
    """
    import datasets  # type: ignore[import-untyped]  # ships no types

    settings = {"streaming": True} if streaming else {}
    try:
        if hub.data_file is not None:
            file = f"hf://datasets/{hub.hub_id}/{hub.data_file}"
            loaded = datasets.load_dataset("json", data_files=file, **settings)
        elif any((Path(hub.hub_id) / name).exists() for name in _SAVED):
            loaded = datasets.load_from_disk(hub.hub_id)
        else:
            loaded = datasets.load_dataset(hub.hub_id, hub.config, split=hub.split, **settings)
    except Exception as error:
        # The library raises a dozen unrelated types; all mean that the data set can't be had.
        remedy = _LOCAL_REMEDY if Path(hub.hub_id).is_dir() else _REMEDY
        raise Unreadable(f"the data set can't be loaded: {_said(error)}", remedy) from error
    if isinstance(loaded, dict):
        loaded = loaded[_choose_split(list(loaded), hub.split, preferred_split)]
    if streaming and getattr(loaded, "features", None) and hasattr(loaded, "decode"):
        loaded = loaded.decode(False)  # pictures and sounds stay as they are stored
    return (dict(row) for row in loaded)


def _said(error: Exception) -> str:
    """Return what the library says: its first line, and the one that lists what there is."""
    lines = str(error).strip().splitlines()
    there = [line.strip().rstrip(".") for line in lines[1:] if "available" in line.lower()]
    return ". ".join([first_line(error), *(line[:_LONGEST_LIST] for line in there[:1])])


def hub_rows(hub: HubSource, load: HubLoader) -> Iterator[Piece]:
    """Yield the rows of a data set; each has its number, from 1.

    Raises:
        Unreadable: it can't be loaded, or breaks off.
    """
    number = 0
    rows = iter(load(hub))
    while True:
        try:
            row = next(rows, None)
        except (DertaError, Unreadable):
            raise
        except Exception as error:
            # Any type at all, as above.
            problem = f"the data set breaks off after row {number}: {first_line(error)}"
            raise Unreadable(problem, _REMEDY) from error
        if row is None:
            return
        number += 1
        yield plain_record(row), None, number


def _choose_split(splits: list[str], wanted: str | None, preferred: str) -> str:
    chosen = wanted or (splits[0] if len(splits) == 1 else preferred)
    if chosen in splits:
        return chosen
    found = ", ".join(splits)
    if wanted is not None:
        raise Unreadable(f"the data set has no split {wanted!r}", f"Name one of: {found}")
    raise Unreadable(f"the data set has several splits: {found}", "Name one of them")
