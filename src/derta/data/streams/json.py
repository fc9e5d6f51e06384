r"""JSON values from lines of text: strict, fast, and able to go on after a broken line.

Refused although Python's `json` would take them: a key that stands twice in an object (one value
would be lost), NaN and Infinity, numbers out of range, half a surrogate pair, nesting above a
hundred levels. Taken although JSON Lines has no such thing: several values on one line, commas
between them, a byte order mark at a line's beginning. Not covered: values over several lines
(`derta.data.streams.lists`).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from derta.data.streams.bytes import line_blocks
from derta.data.streams.parts import LONGEST_BYTES, Flaw, Piece, Unreadable, shorten

__all__ = ["NotJson", "json_lines", "parse_json"]

_ONE_OBJECT = "Write one JSON object a line"
_WHITE = " \t\r\n"
_WHITE_BYTES = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GAP = re.compile(r"[ \t\r\n,]*")  # between two values of one line
_DEEPEST = 100


class NotJson(ValueError):  # noqa: N818  (a judgement on a text)
    """A text is no JSON, or none that can be used; `problem` goes on after "the line is"."""

    def __init__(self, problem: str, remedy: str, key: str | None = None) -> None:
        """Keep what the user is told."""
        super().__init__(problem)
        self.problem, self.remedy, self.key = problem, remedy, key


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        key = next(name for name, count in counts.items() if count > 1)
        raise NotJson(
            f"not usable: the key {shorten(key)} stands twice in one object",
            "Leave one of the two out, or rename it",
            shorten(key)[1:-1],
        )
    return made


def _refuse_constant(name: str) -> Any:
    raise NotJson(f"not JSON: {name} is no JSON value", "Write null, or a number")


def _read_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotJson("not usable: a number is out of range", "Write a smaller one, or text")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_make_object, parse_float=_read_float, parse_constant=_refuse_constant
)


def parse_json(text: str, start: int = 0) -> tuple[Any, int]:
    """Parse the JSON value that begins at a place of a text.

    Returns:
        The value and the place after it.

    Raises:
        NotJson: there is none, or it can't be used.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _explain(text, error) from None
    except RecursionError:
        raise _too_deep() from None
    except NotJson:
        raise
    except ValueError:
        raise NotJson("not usable: a number has too many digits", "Write it as text") from None
    _require_usable(text[start:end], value)
    return value, end


def json_lines(chunks: Iterator[bytes], line_end: bytes) -> Iterator[Piece]:
    """Yield the values of a text with one on each line.

    Raises:
        Unreadable: where the text breaks off.
    """
    parse = _DECODER.raw_decode
    try:
        for first, lines in line_blocks(chunks, line_end):
            for number, line in enumerate(lines, start=first):
                # The way of a line as it should be; everything else is looked at twice.
                try:
                    text = str(line, "utf-8")  # type: ignore[arg-type]  # None raises, too
                    value, end = parse(text)
                    _require_usable(text, value)
                except (ValueError, TypeError, RecursionError):
                    yield from _look_again(line, number)
                    continue
                if end == len(text) or not text[end:].strip(_WHITE):
                    yield value, number, None
                else:
                    yield from _look_again(line, number)
    except Unreadable as error:
        # Perhaps only the line break was lost. If not, the error says enough.
        pieces = _look_again(error.tail, error.line or 1)
        yield from (piece for piece in pieces if not isinstance(piece, Flaw))
        raise


def _look_again(line: bytes | None, number: int) -> Iterator[Piece]:
    """Read a line that is not just one JSON value."""
    if line is None:
        problem = f"the line is over {LONGEST_BYTES >> 20} MB long"
        yield Flaw(problem, "Write one JSON object a line, each of its own", number)
        return
    content = line.strip(_WHITE_BYTES)
    text_alone = content.strip(b"\x00" + _WHITE_BYTES)
    if len(text_alone) < len(content):
        yield Flaw(
            f"there are zero bytes on the line ({len(content) - len(text_alone)})",
            "Take them out; they are left of a file that was not written to its end",
            number,
        )
    text_alone = text_alone.removeprefix(_BYTE_ORDER_MARK).strip(_WHITE_BYTES)
    try:
        text = str(text_alone, "utf-8")
    except UnicodeDecodeError as error:
        place = line.find(text_alone) + error.start
        yield Flaw(
            f"byte {place + 1} of the line (0x{line[place]:02x}) is not UTF-8",
            "Save the file as UTF-8",
            number,
        )
        return
    start = 0
    while start < len(text):
        try:
            value, start = parse_json(text, start)
        except NotJson as error:
            yield Flaw(f"the line is {error.problem}", error.remedy, number, key=error.key)
            return
        yield value, number, None
        gap = _GAP.match(text, start)
        start = start if gap is None else gap.end()


def _require_usable(text: str, value: Any) -> None:
    """Check what the decoder doesn't; cheap unless the text looks suspicious.

    Raises:
        NotJson: the value is nested too deeply, or holds half a surrogate pair.
    """
    half = _DEEPEST // 2
    if (text.count("{") > half or text.count("[") > half) and _depth(value) > _DEEPEST:
        raise _too_deep()
    if "\\" in text and ("\\ud" in text or "\\uD" in text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise NotJson(
                "not usable: a text holds half of a surrogate pair", "Repair the \\u escape"
            ) from None


def _depth(value: Any) -> int:
    """Count the levels of lists and objects, without recursion."""
    depth = 0
    level = [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        depth += 1
        level = [
            inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth


def _too_deep() -> NotJson:
    return NotJson("not usable: its lists or objects are nested too deeply", "Write a flat object")


def _explain(text: str, error: json.JSONDecodeError) -> NotJson:
    """Say what is wrong at a place; the common mistakes have a remedy of their own."""
    place = error.pos
    there = text[place : place + 2]
    column = f" at column {error.colno}"
    before = text[max(0, place - 100) : place].rstrip(_WHITE)
    if there.startswith("'"):
        problem, remedy = "single quotation marks", "Write it with json.dumps: JSON's are double"
    elif there.startswith("#") or there in ("//", "/*"):
        problem, remedy = "a comment", "Take it out: JSON has no comments"
    elif there.startswith(("}", "]")) and before.endswith(","):
        problem, remedy = "a comma before the closing bracket", "Take the comma out"
    elif error.msg.startswith("Unterminated"):
        problem, remedy = "a text without its closing quotation mark begins", _ONE_OBJECT
    elif not text[place:].strip(_WHITE):
        problem, remedy = "it breaks off", f"{_ONE_OBJECT}, to its end"
    else:
        problem, remedy = error.msg.removesuffix(" at"), _ONE_OBJECT
    return NotJson(f"not JSON: {problem}{column}", remedy)
