"""Plain text with a question on each line, as people write lists: rows of one column.

Blank lines are passed over. Covered: what such a file can hold. Not covered: encodings
(`derta.data.streams.bytes`), questions of several lines (use JSON lines).
"""

from __future__ import annotations

from collections.abc import Iterator

from derta.data.streams.bytes import line_blocks
from derta.data.streams.parts import LONGEST_BYTES, Flaw, Piece, Unreadable

__all__ = ["question_lines"]


def question_lines(chunks: Iterator[bytes], line_end: bytes) -> Iterator[Piece]:
    """Yield {"question": line} for each line.

    Raises:
        Unreadable: where the text breaks off.
    """
    try:
        for first, lines in line_blocks(chunks, line_end):
            for number, line in enumerate(lines, start=first):
                yield from _question(line, number)
    except Unreadable as error:
        # Half a question would be another one.
        error.tail = b""
        raise


def _question(line: bytes | None, number: int) -> Iterator[Piece]:
    if line is None:
        problem = f"the line is over {LONGEST_BYTES >> 20} MB long"
        yield Flaw(problem, "Write one question a line", number)
        return
    try:
        text = line.decode("utf-8").strip(" \t\r\n\ufeff")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} of the line is not UTF-8"
        yield Flaw(problem, "Save the file as UTF-8", number)
        return
    if "\x00" in text:
        yield Flaw("there are zero bytes on the line", "Take them out", number)
    elif text:
        yield {"question": text}, number, None
