"""A JSONL file, opened at its first row, or what is wrong with it as a whole."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from derta.errors import DataError

__all__ = ["open_rows"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@contextlib.contextmanager
def open_rows(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file whose beginning looks like JSONL, at its first row.

    Raises:
        DataError: it is missing, a folder, empty, not text or one indented JSON document.
    """
    with _opened(path) as file:
        with _as_data_error(path):
            file.seek(_start_of_rows(path, file))
        yield file


def _start_of_rows(path: str | Path, file: BinaryIO) -> int:
    """Look at the first lines; return where the first begins, behind a byte order mark."""
    one_object = "Write one JSON object a line"
    beginning = file.read(4096)
    if b"\x00" in beginning:
        raise DataError.of(
            path,
            "this is not UTF-8 text; it may be UTF-16, Parquet or compressed",
            "Save it as UTF-8 JSONL: one JSON object a line",
        )
    start = len(_BYTE_ORDER_MARK) if beginning.startswith(_BYTE_ORDER_MARK) else 0
    file.seek(start)
    rows = (line.strip() for line in file if line.strip())
    first, second = next(rows, b""), next(rows, b"")
    if not first:
        raise DataError.of(path, "the file has no rows", one_object)
    if first in (b"[", b"{") and not (second.startswith(b"{") and second.endswith(b"}")):
        # Said once, not for every line.
        raise DataError.of(
            path,
            "this is one JSON document over several lines, not JSONL",
            f"{one_object}, without a list around them and commas between them",
        )
    return start


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    with _as_data_error(path):
        file: BinaryIO = Path(path).open("rb")  # noqa: SIM115  (closed below)
    with file:
        if file.seekable():
            yield file
        else:  # a pipe
            with _as_data_error(path):
                content = file.read()
            yield io.BytesIO(content)


@contextlib.contextmanager
def _as_data_error(path: str | Path) -> Iterator[None]:
    """Turn what the system says about a file into problem and remedy."""
    try:
        yield
    except FileNotFoundError:
        problem, remedy = "there is no such file", "Check the path, or use 'sample'"
        raise DataError.of(path, problem, remedy) from None
    except IsADirectoryError:
        problem, remedy = "this is a folder", "Name one of the .jsonl files in it"
        raise DataError.of(path, problem, remedy) from None
    except OSError as error:
        problem = f"the file can't be read: {error.strerror}"
        raise DataError.of(path, problem, "Check its permissions") from error
    except ValueError as error:  # a NUL in the path
        problem = f"the file can't be read: {error}"
        raise DataError.of(path, problem, "Check its permissions") from error
