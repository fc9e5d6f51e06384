"""A file as decompressed UTF-8 bytes, cut into lines, or why that can't be had.

Covered: plain and compressed files; UTF-8 and, with a byte order mark, UTF-16; lines of any length
without holding a long one whole; files that are something else altogether (zip, a web page, a Git
LFS pointer). Not covered: what the lines mean.
"""

from __future__ import annotations

import codecs
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from derta.data.streams.compression import decompress, find_compression
from derta.data.streams.parts import LONGEST_BYTES, Unreadable

__all__ = [
    "HEAD_BYTES",
    "Block",
    "ByteProgress",
    "Meter",
    "line_blocks",
    "line_end",
    "open_bytes",
    "peek",
    "read_as_utf8",
    "require_file",
    "require_known_content",
]

HEAD_BYTES = 1 << 16
"""So much of a file is looked at to see what it is."""
_CHUNK_BYTES = 1 << 18
_DEEPEST_COMPRESSION = 2

Block = tuple[int, list[bytes | None]]
"""The number of a line and the lines from there on; None stands for one that is too long."""

ByteProgress = Callable[[int, int], None]
"""Called with (bytes read, bytes in all) of the files as they lie on the disk."""

_UTF8_MARK = codecs.BOM_UTF8
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_SAVE_AS_UTF8 = "Save the file as UTF-8"
_UNPACK = "Unpack it and name the file in it"
_SAVE_SHEET = "Save the sheet as CSV, in UTF-8"
_SHEET = re.compile(rb"xl/(?:workbook|worksheets)|opendocument\.spreadsheet")
"""In a zip archive."""
_OTHER_FILES = (
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "lz4 data", "Unpack it, or compress it with gzip, bzip2, xz or zstd"),
    (b"\x1f\x9d", "data of `compress`", "Unpack it, or compress it with gzip, bzip2, xz or zstd"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file", _SAVE_SHEET),
    (b"SQLite format 3\x00", "an SQLite database", "Write its table as JSONL"),
    (b"FEA1", "a Feather file of the first version", "Write the rows as Parquet"),
    (b"%PDF-", "a PDF", "Write its rows as JSONL"),
    (b"\x89HDF", "an HDF5 file", "Write its rows as JSONL"),
    (b"\x93NUMPY", "a NumPy file", "Write its rows as JSONL"),
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, not the data",
        "Fetch the data with `git lfs pull`",
    ),
)
_PAGE = re.compile(rb"\s*<(?:!doctype\s|html|head|body|\?xml)", re.IGNORECASE)
_OBJECT_LINE = re.compile(rb"^[ \t]*[\[{][^\x00]", re.MULTILINE)
_PLAIN_LINE = re.compile(rb"[^\x00-\x08\x0b\x0c\x0e-\x1f]*")


class Meter:
    """Counts the bytes that are read from one file or several."""

    def __init__(self, total: int, report: ByteProgress | None) -> None:
        """Count towards `total`."""
        self.total, self.report, self.done = total, report, 0

    def add(self, count: int) -> None:
        """Note that some more bytes were read."""
        self.done += count
        if self.report is not None:
            self.report(min(self.done, self.total), self.total)


# --- bytes -----------------------------------------------------------------------------------


def require_file(path: Path) -> int:
    """Return a file's size in bytes.

    Raises:
        Unreadable: it is missing, or a folder, a pipe or a device.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable("this is a folder", "Name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("this is a pipe or a device, not a file", "Write its content to a file")
    return status.st_size


def open_bytes(path: Path, meter: Meter) -> tuple[bytes, Iterator[bytes]]:
    """Open a file and undo its compression.

    Returns:
        The first 64 KB or more of what is in it, and an iterator over everything.

    Raises:
        Unreadable: nothing of it can be read. The iterator raises it where the file breaks off.
    """
    require_file(path)
    head, chunks = peek(_read(path, meter))
    for _ in range(_DEEPEST_COMPRESSION):
        compression = find_compression(head)
        if compression is None:
            return head, chunks
        head, chunks = peek(decompress(compression, chunks))
    if find_compression(head) is not None:
        raise Unreadable("it is compressed three times over", "Unpack it")
    return head, chunks


def _read(path: Path, meter: Meter) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise _refused(error) from None
    with file:
        while True:
            try:
                chunk = file.read(_CHUNK_BYTES)
            except OSError as error:
                raise _refused(error) from None
            if not chunk:
                return
            meter.add(len(chunk))
            yield chunk


def _refused(error: OSError | ValueError) -> Unreadable:
    if isinstance(error, FileNotFoundError):
        return Unreadable("there is no such file", "Check the path")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Unreadable(f"the file can't be read: {reason}", "Check the path and its permissions")


def peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Look at the beginning of a stream.

    Returns:
        Its first 64 KB or more (all of it if it is shorter), and an iterator over everything.

    Raises:
        Unreadable: there is no first byte.
    """
    held: list[bytes] = []
    size = 0
    broken = None
    try:
        for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size >= HEAD_BYTES:
                break
    except Unreadable as error:
        if not size:
            raise
        broken = error
    head = b"".join(held)
    return head, _resume(head, chunks, broken)


def _resume(head: bytes, chunks: Iterator[bytes], broken: Unreadable | None) -> Iterator[bytes]:
    if head:
        yield head
    if broken is not None:
        raise broken
    yield from chunks


# --- text ------------------------------------------------------------------------------------


def require_known_content(head: bytes) -> None:
    """Recognise what is no data file at all.

    Raises:
        Unreadable: saying what it is instead.
    """
    if head.startswith(b"PK\x03\x04") and _SHEET.search(head) is not None:
        raise Unreadable("this is a spreadsheet (Excel or LibreOffice)", _SAVE_SHEET)
    for magic, name, remedy in _OTHER_FILES:
        if head.startswith(magic):
            raise Unreadable(f"this is {name}", remedy)
    if head[257:262] == b"ustar":
        raise Unreadable("this is a tar archive", _UNPACK)
    if _PAGE.match(head.removeprefix(_UTF8_MARK)):
        raise Unreadable(
            "this is a web page (HTML or XML), not data",
            "Download the file itself; on a hub its address has /resolve/ where the page's has "
            "/blob/",
        )


def read_as_utf8(head: bytes, chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Take a byte order mark away, and recode what is UTF-16 as UTF-8.

    Raises:
        Unreadable: it is not text, or in another encoding that can be told from the beginning.
    """
    if head.startswith(_UTF32_MARKS):
        raise Unreadable("this is UTF-32 text", _SAVE_AS_UTF8)
    if head.startswith(_UTF16_MARKS):
        return peek(_recode(chunks))
    if head.startswith(_UTF8_MARK):
        return head[len(_UTF8_MARK) :], _skip(chunks, len(_UTF8_MARK))
    if not _looks_like_text(head[:4096]):
        raise Unreadable(
            "this is not UTF-8 text; it may be UTF-16 without its mark, or a binary file",
            _SAVE_AS_UTF8,
        )
    return head, chunks


def _looks_like_text(beginning: bytes) -> bool:
    """Say whether zero bytes, if there are any, are just flaws of single lines."""
    if b"\x00" not in beginning or _OBJECT_LINE.search(beginning) is not None:
        return True
    lines = [line for line in beginning.split(b"\n") if line.strip()]
    return 2 * sum(_PLAIN_LINE.fullmatch(line) is not None for line in lines) >= len(lines)


def _skip(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    yield next(chunks)[count:]  # `peek` gives the head in one piece
    yield from chunks


def _recode(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Recode UTF-16; half a surrogate pair becomes bytes that are not UTF-8, a flaw of its line."""
    decoder = codecs.getincrementaldecoder("utf-16")("surrogatepass")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    try:
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Unreadable(
            "the UTF-16 text ends in the middle of a character", "Get the file again"
        ) from None


# --- lines -----------------------------------------------------------------------------------


def line_end(head: bytes) -> bytes:
    r"""Say what ends the lines of a text that begins so: "\n", or "\r" as on old Macs."""
    return b"\r" if b"\r" in head and b"\n" not in head else b"\n"


def line_blocks(
    chunks: Iterator[bytes], end: bytes, *, longest: int = LONGEST_BYTES
) -> Iterator[Block]:
    r"""Cut a text into lines, many at a time; a "\r" before a "\n" stays on its line.

    Raises:
        Unreadable: with the line where the text breaks off, and in `tail` what there is of it.
    """
    number, size = 1, 0
    tail: list[bytes] = []  # of a line that is longer than a chunk; empty once it is too long
    try:
        for chunk in chunks:
            lines: list[bytes | None] = [*chunk.split(end)]
            size += len(lines[0] or b"")
            if len(lines) > 1:
                last = lines.pop() or b""
                if size > longest:
                    lines[0] = None
                elif tail:
                    lines[0] = b"".join([*tail, lines[0] or b""])
                if len(chunk) > longest:
                    lines[1:] = [None if len(each or b"") > longest else each for each in lines[1:]]
                tail, size = [last], len(last)
                yield number, lines
                number += len(lines)
            elif size > longest:
                tail.clear()
            else:
                tail.append(chunk)
    except Unreadable as error:
        error.line, error.tail = number, b"".join(tail)
        raise
    if size:
        yield number, [None if size > longest else b"".join(tail)]
