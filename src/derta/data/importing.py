"""`derta data import`: data of any known shape become our two files.

Rows are streamed from the sources to `triples.jsonl` and `helpful.jsonl` in the output folder, in
constant memory; `import.json` says what was made of what, and what was left out and why. All is
written beside its place first and moved there at the end, so an interrupted import leaves what was
there before. Every example that is written is one that our own reader takes.

Covered: provenance (`id`, `source`) of every example. Not covered: duplicates, which get the same
id, and whether responses are what their labels say: `derta data check` finds both.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, TextIO

from derta.data.files import parse_helpful, parse_triple
from derta.data.formats import Kind, Made, Skip, convert_rows, open_format
from derta.data.formats.base import plain_value
from derta.data.held_out import source_identity
from derta.data.import_report import ImportReport, SourceReport
from derta.data.made_files import (
    check_apart,
    check_made,
    hash_file,
    is_there,
    output_folder,
    read_report,
)
from derta.data.streams import stream_rows
from derta.data.streams.hub import HubLoader
from derta.errors import DataError, InputProblem
from derta.files import digest, write_atomically

__all__ = ["import_data"]

FILE_NAMES: dict[Kind, str] = {"triple": "triples.jsonl", "helpful": "helpful.jsonl"}
REPORT_NAME = "import.json"
_SHOWN_REASONS = 5
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

_KINDS: dict[str, Kind] = {"triples": "triple", "helpful": "helpful"}
_FORMATS_WITH_OUR_IDS = ("preference", "prompt-completion")
"""The published shapes that our own two formats follow."""


def import_data(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    keep: Literal["triples", "helpful"] | None = None,
    load_hub: HubLoader | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Convert sources to our two files.

    Args:
        sources: files, folders, hub data sets; see `derta.data.streams`.
        output: a folder. It may hold an earlier import of the same sources, which is replaced.
        format: of all sources; None: each is recognised.
        columns: field -> column, perhaps a dotted path ("example.question").
        split: of hub data sets.
        limit: at most so many examples are made, of all sources together.
        keep: what to make of preference pairs, and what to keep of formats that make both kinds;
            None: triples of pairs, and both.
        load_hub: loads hub data sets; None: the `datasets` library.
        progress: called with (bytes read, bytes in all) of files.

    Raises:
        DataError: a source can't be read or recognised, the output folder can't be used, or
            nothing at all could be made.
    """
    folder = Path(output)
    names = [str(source) for source in sources]
    _check_output(folder, names)
    if not names:
        raise DataError.of("SOURCE", "there is no source", "Name a file, a folder or a data set")
    _require_different(names)
    if limit is not None and limit < 1:
        raise DataError.of(f"--limit {limit}", "the limit is below 1", "Leave it out for all rows")
    kind = None if keep is None else _KINDS[keep]
    report = ImportReport(folder, names)
    try:
        with (
            output_folder(folder),
            tempfile.TemporaryDirectory(prefix=".import-", dir=folder) as name_of_staging,
        ):
            staging = Path(name_of_staging)
            with _Writer(staging) as writer:
                for name in names:
                    rows = stream_rows(name, split=split, load_hub=load_hub, on_bytes=progress)
                    left = None if limit is None else limit - report.made
                    with ExitStack() as stack:
                        stack.callback(_close, rows)
                        chosen, every = open_format(rows, format, columns)
                        source = SourceReport(name, chosen.name)
                        report.sources.append(source)
                        pieces = convert_rows(every, chosen, kind=kind, folder=staging)
                        stack.callback(_close, pieces)
                        _write_source(pieces, source, writer, left)
                    if report.made == limit:
                        break
            if not report.made:
                raise _nothing_made(report)
            _put_in_place(staging, folder, report)
    except OSError as error:
        problem = f"the import can't be written: {error.strerror or error}"
        remedy = "Check the folder's permissions and the free space"
        raise DataError.of(folder, problem, remedy) from error
    return report


def _write_source(
    pieces: Iterator[Made | Skip | InputProblem],
    source: SourceReport,
    writer: _Writer,
    left: int | None,
) -> None:
    """Write the examples of one source and count what is left out."""
    made = 0
    for piece in pieces:
        if isinstance(piece, InputProblem):
            source.problem(piece)
        elif isinstance(piece, Skip):
            source.skip(piece)
        else:
            found: list[Any] = []
            parse = parse_triple if piece.kind == "triple" else parse_helpful
            parse(piece.record, found)
            if found:
                source.refuse(piece, found[0].key, found[0].problem)
                continue
            writer.write(piece.kind, _with_provenance(piece, source))
            source.count(piece.kind)
            made += 1
            if made == left:
                source.limited = True
                return


# --- provenance ------------------------------------------------------------------------------


def _with_provenance(made: Made, source: SourceReport) -> dict[str, Any]:
    """Add `id` and `source`: where an example comes from, and a name that its content gives it."""
    record = dict(made.record)
    given_id, given_source = record.pop("id", None), record.pop("source", None)
    own_id = isinstance(given_id, str) and source.format in _FORMATS_WITH_OUR_IDS
    if isinstance(given_source, dict) and isinstance(given_source.get("name"), str):
        origin = given_source  # it was imported, made or mixed by derta before
    else:
        place = made.place
        row = place.number if place.line is None else place.line
        origin = {"name": plain_value(place.path), "format": source.format, "row": row}
        if made.pair_row is not None:
            origin["rejected_row"] = made.pair_row
        if given_source is not None:
            origin["given"] = given_source
        if given_id is not None and not own_id:
            origin["id"] = given_id
    identity = given_id if own_id else _content_id(made)
    return {"id": identity, **record, "source": origin}


def _content_id(made: Made) -> str:
    columns = ("prompt", "chosen", "completion", "rejected")
    return digest(made.kind, json.dumps([made.record.get(name) for name in columns]))


# --- files -----------------------------------------------------------------------------------


class _Writer:
    """The files of an import, opened when their first example comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Kind, TextIO] = {}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()

    def write(self, kind: Kind, record: Mapping[str, Any]) -> None:
        line = _ENCODER.encode(record)
        if kind not in self._files:
            path = self._folder / FILE_NAMES[kind]
            path.touch(mode=0o600)
            self._files[kind] = path.open("w", encoding="utf-8", newline="\n")
        self._files[kind].write(line + "\n")


def _check_output(folder: Path, names: Sequence[str]) -> None:
    """Check that nothing is lost that isn't an earlier import of the same sources."""
    check_apart(folder, names)
    there = [name for name in FILE_NAMES.values() if is_there(folder / name)]
    if there and read_report(folder / REPORT_NAME).get("asked") != list(names):
        raise DataError.of(
            str(folder),
            f"the folder already holds {' and '.join(there)}, not imported from these sources",
            "Choose another folder with -o, or move the files away first",
        )
    check_made(folder, REPORT_NAME, FILE_NAMES.values())


def _require_different(names: Sequence[str]) -> None:
    """See that no source is named twice, by a link say: its rows would count double.

    Raises:
        DataError: one is.
    """
    found: dict[Hashable, str] = {}
    for name in names:
        identity = source_identity(name)
        if identity in found:
            same = "" if found[identity] == name else f", as {found[identity]}, too"
            raise DataError.of(name, f"this source is named twice{same}", "Name it once")
        found[identity] = name


def _put_in_place(staging: Path, folder: Path, report: ImportReport) -> None:
    """Move the finished files to their places; an earlier import's other file goes away."""
    check_made(folder, REPORT_NAME, FILE_NAMES.values())  # one may have changed meanwhile
    for name in FILE_NAMES.values():
        if (staging / name).exists():
            with (staging / name).open("rb") as file:
                os.fsync(file.fileno())
            report.files[name] = hash_file(staging / name)
            (staging / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    text = json.dumps(report.to_json(), ensure_ascii=True, indent=2)
    write_atomically(folder / REPORT_NAME, text + "\n")


def _close(iterator: object) -> None:
    """Close a generator that was not read to its end, so that its files are closed now."""
    if isinstance(iterator, Generator):
        iterator.close()


# --- errors ----------------------------------------------------------------------------------


def _nothing_made(report: ImportReport) -> DataError:
    """Say of each source why nothing could be made of it."""
    problems = []
    for source in report.sources:
        lines = [
            f"\n  {reason.rows:>8,}  {reason.text} (first: {reason.first[0].place})"
            for reason in source.reasons[:_SHOWN_REASONS]
        ]
        remedy = "Is it this format? Choose with --format NAME, or map columns with --column"
        counted = f". Rows left out:{''.join(lines)}" if lines else ""
        problem = f"no example could be made as {source.format}"
        problems.append(InputProblem(source.name, problem, remedy + counted))
    return DataError(problems)
