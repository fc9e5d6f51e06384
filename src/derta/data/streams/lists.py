"""The values of a JSON list, or of objects over several lines, one after the other as they come.

The text is cut where a value's brackets close, and each piece is parsed on its own: a broken value
doesn't take the ones after it along, which an event parser such as ijson would do, and the memory
is that of one value. Covered: a list, a list in an object, objects that follow each other (as jq
prints them). Where brackets or quotation marks don't match, reading goes on at the next object that
begins with the same key as one before. Not covered: telling which of these a file is
(`derta.data.streams.layout`).
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from derta.data.streams.json import NotJson, parse_json
from derta.data.streams.parts import LONGEST_BYTES, Flaw, Piece, Unreadable, shorten

__all__ = ["find_list", "find_list_under", "list_values", "unread_list", "values_one_by_one"]

_TEXT = rb'[^"\\\n\r]*+(?:\\[^\n\r][^"\\\n\r]*+)*+'
_IN_TEXT = re.compile(_TEXT)
# A text in double quotation marks or, where it has no end so far, the mark that opens it.
_TOKEN = re.compile(rb'"' + _TEXT + rb'"|[{}\[\]"]')


def _brackets(depth: int) -> bytes:
    """Write the pattern of a value in brackets that holds others, so many levels deep."""
    plain = rb'[^{}\[\]":]++|"' + _TEXT + rb'"|:[ \t\r\n]*+'
    inner = b"" if depth == 0 else b"(?:" + _brackets(depth - 1) + b")"
    in_list = plain + (b"|" + inner if inner else b"")
    in_object = plain + (inner + b"?+" if inner else b"")
    return rb"\{(?:" + in_object + rb")*+\}|\[(?:" + in_list + rb")*+\]"


# Nearly all values match this as a whole; it finds their ends many times as fast as token by token.
_COMMON = re.compile(_brackets(3))
_LOOSE = re.compile(rb'[^,\[\]{}"\n]+')  # a number, null, or what doesn't belong there
_BLANK_OR_COMMA = re.compile(rb"[ \t\r\n,]*+")
_PLAIN_END = re.compile(rb"(?!)")  # nothing may follow
_END_IN_OBJECT = re.compile(rb'\][ \t\r\n]*+(?:\}|,[ \t\r\n]*+")')
_CUT = re.compile(rb"\][ \t\r\n]*+(?:,[ \t\r\n]*+)?")  # what doesn't tell yet whether it ends
_ANY_KEY = rb'"(?!(?:role|from|content|type|name|value|function)")[^"\\]++"'
_MOST_FIRST_KEYS = 16
_CLOSING = {0x5D: 0x5B, 0x7D: 0x7B}  # ] }
_OPEN_BRACE, _OPEN_LIST, _CLOSE_LIST = 0x7B, 0x5B, 0x5D
_QUOTE = 0x22
_OVERLAP_BYTES = 4096
_LONGEST_LOOSE_BYTES = 1 << 16
_MEND = "Mend the JSON, or write one object a line in a .jsonl file"


def list_values(
    chunks: Iterator[bytes],
    key: bytes | None = None,
    *,
    only_rows: bool = False,
    named: bool = False,
) -> Iterator[Piece]:
    """Yield the values of a list; each has the number of its place in it, from 1.

    Args:
        chunks: the text. Without a key it begins with the list, behind blanks at most.
        key: of an object, under which the list stands, as it is written between quotation marks.
        only_rows: whether objects are wanted: they are taken out of a list within the list.
        named: whether the user named this list; then nobody misses another one.

    Raises:
        Unreadable: where the text breaks off.
    """
    opening = rb"(^)[ \t\r\n]*+\[" if key is None else _list_under(re.escape(key))
    start = find_list(chunks, re.compile(opening))
    if start is None:
        name = shorten((key or b"").decode("utf-8", "replace"))
        raise Unreadable(f"the file has no list {name}", "Name another split, or none")
    cutter = _Cutter(start[1], _PLAIN_END if key is None else _END_IN_OBJECT, only_rows)
    yield from cutter.pieces()
    if cutter.broken or key is None or named:
        return
    another = re.compile(_list_under(rb'[^"\\]*+') + rb"(?=[ \t\r\n]*+\{)")
    second = find_list(cutter.unread(), another)
    if second is not None:
        yield unread_list(second[0])


def unread_list(key: bytes) -> Flaw:
    """Say that a file holds a list beside the one that is read."""
    name = shorten(key.decode("utf-8", "replace"))
    return Flaw(
        f"the file has a second list, {name}, which is not read",
        "Name it as the split, or put it into a file of its own",
        key=name[1:-1],
    )


def values_one_by_one(chunks: Iterator[bytes]) -> Iterator[Piece]:
    """Yield the values of a text that holds one after the other, each perhaps over several lines.

    Raises:
        Unreadable: where the text breaks off.
    """
    return _Cutter(chunks, None, only_rows=False).pieces()


def find_list(
    chunks: Iterator[bytes], opening: re.Pattern[bytes]
) -> tuple[bytes, Iterator[bytes]] | None:
    """Find where a list begins.

    Args:
        chunks: the text.
        opening: what stands before a list's first value, within some 4 KB.

    Returns:
        The first group of the first match and the text behind it; None: there is no match.
    """
    held = b""
    for chunk in chunks:
        held += chunk
        match = opening.search(held)
        if match is not None:
            return match[1], itertools.chain((held[match.end() :],), chunks)
        held = held[-_OVERLAP_BYTES:]
    return None


def find_list_under(chunks: Iterator[bytes], key: bytes) -> tuple[bytes, Iterator[bytes]] | None:
    """Find the list of rows under a key, as `find_list` does."""
    return find_list(chunks, re.compile(_list_under(re.escape(key)) + rb"(?=[ \t\r\n]*+\{)"))


def _list_under(key: bytes) -> bytes:
    return rb'"(' + key + rb')"[ \t\r\n]*+:[ \t\r\n]*+\['


class _Cutter:
    """Cuts values out of a text and parses them."""

    def __init__(
        self, chunks: Iterator[bytes], end: re.Pattern[bytes] | None, only_rows: bool
    ) -> None:
        self.chunks = chunks
        self.end = end
        """What the end of the list looks like; None: there is no list."""
        self.only_rows = only_rows
        self.buffer = bytearray()
        self.place = 0
        """Up to here the buffer was looked at."""
        self.number = 0
        self.broken = False
        """Whether there is nothing left to be read because of a flaw."""
        self.first_keys: set[str] = set()
        """With which the objects so far began: by these the next is found after a break."""
        self.error: Unreadable | None = None

    def unread(self) -> Iterator[bytes]:
        """Yield the text behind the list."""
        yield bytes(self.buffer[self.place :])
        yield from self.chunks

    def more(self) -> bool:
        """Read on; False at the end of the text."""
        try:
            chunk = next(self.chunks, None)
        except Unreadable as error:
            self.error = error
            chunk = None
        if chunk is None:
            return False
        del self.buffer[: self.place]
        self.place = 0
        self.buffer += chunk
        return True

    def pieces(self) -> Iterator[Piece]:
        """Yield all values and flaws."""
        while self._next_value():
            self.number += 1
            first = self.buffer[self.place]
            if first == _CLOSE_LIST and self.end is not None:
                problem = "something stands behind the end of the list"
                yield Flaw(problem, _MEND, number=self.number)
                if not self._go_to_next():
                    break
                continue
            if first in (_OPEN_BRACE, _OPEN_LIST, _QUOTE):
                end = self._end_of_value()
                if end is None:
                    yield from self._after_break()
                    if self.broken:
                        break
                    continue
            else:
                end = self._end_of_loose()
            if self._holds_start(end):
                yield from self._after_break()
                continue
            content = self.buffer[self.place : end]
            self.place = end
            yield from self._parse(content)
        if self.error is not None:
            raise self.error

    # --- where values begin and end --------------------------------------------------------

    def _next_value(self) -> bool:
        """Go to the next value; False at the end of the list or of the text."""
        while True:
            match = _BLANK_OR_COMMA.match(self.buffer, self.place)
            self.place = self.place if match is None else match.end()
            if self.place < len(self.buffer):
                if not self._at_end_of_list():
                    return True
                self.place += 1
                return False
            if not self.more():
                if self.end is not None and self.error is None:
                    self.broken = True
                    self.error = Unreadable(
                        "the list has no end: a bracket is open, or the file is cut", _MEND
                    )
                return False

    def _at_end_of_list(self) -> bool:
        """Say whether the list ends here, and nothing stands behind it that should not."""
        if self.end is None or self.buffer[self.place] != _CLOSE_LIST:
            return False
        while _CUT.fullmatch(self.buffer, self.place) is not None:
            if not self.more():
                return True
        return self.end.match(self.buffer, self.place) is not None

    def _end_of_loose(self) -> int:
        """Find the end of a value without brackets."""
        while True:
            match = _LOOSE.match(self.buffer, self.place)
            end = self.place + 1 if match is None else match.end()
            size = end - self.place
            if end < len(self.buffer) or size > _LONGEST_LOOSE_BYTES or not self.more():
                return self.place + size

    def _end_of_value(self) -> int | None:
        """Find the end of a value in brackets or quotation marks; None: it has none."""
        common = _COMMON.match(self.buffer, self.place)
        if common is not None:
            return common.end()
        open_brackets = bytearray()
        at = 0  # from self.place, which moves when more is read
        in_text = False
        while True:
            if in_text:
                match = _IN_TEXT.match(self.buffer, self.place + at)
                at = (self.place + at if match is None else match.end()) - self.place
                ahead = self.buffer[self.place + at : self.place + at + 2]
                if ahead[:1] == b'"':
                    in_text = False
                    at += 1
                    if not open_brackets:
                        return self.place + at
                elif ahead and ahead != b"\\":
                    return None  # a line break in a text
                elif not self._more_of_value():
                    return None
                continue
            match = _TOKEN.search(self.buffer, self.place + at)
            if match is None:
                at = len(self.buffer) - self.place
                if not self._more_of_value():
                    return None
                continue
            at = match.end() - self.place
            byte = self.buffer[match.start()]
            if byte == _QUOTE:
                in_text = match.end() - match.start() == 1
                if not in_text and not open_brackets:
                    return self.place + at
            elif byte in (_OPEN_BRACE, _OPEN_LIST):
                if open_brackets.endswith(b"{") and not self._follows_colon(match.start()):
                    return None
                open_brackets.append(byte)
            elif open_brackets.pop() != _CLOSING[byte]:
                return None
            elif not open_brackets:
                return self.place + at

    def _more_of_value(self) -> bool:
        return len(self.buffer) - self.place <= LONGEST_BYTES and self.more()

    def _follows_colon(self, place: int) -> bool:
        while place > 0 and self.buffer[place - 1] in b" \t\r\n":
            place -= 1
        return self.buffer[place - 1 : place] == b":"

    # --- values ----------------------------------------------------------------------------

    def _parse(self, content: bytearray) -> Iterator[Piece]:
        text = ""
        try:
            text = content.decode().rstrip()
            value, end = parse_json(text)
        except UnicodeDecodeError as error:
            byte = content[error.start]
            problem = f"byte {error.start + 1} of the row (0x{byte:02x}) is not UTF-8"
            yield Flaw(problem, "Save the file as UTF-8", number=self.number)
            return
        except NotJson as error:
            yield Flaw(f"the row is {error.problem}", error.remedy, None, self.number, error.key)
            return
        if end < len(text):
            yield Flaw("the row is not JSON", _MEND, number=self.number)
        elif isinstance(value, dict):
            if len(self.first_keys) < _MOST_FIRST_KEYS:
                self.first_keys.update(itertools.islice(value, 1))
            yield value, None, self.number
        elif self.only_rows and isinstance(value, list) and self._are_rows(value):
            yield Flaw("rows stand in a list of their own", _MEND, number=self.number)
            yield from ((each, None, self.number) for each in value)
        else:
            yield value, None, self.number

    def _are_rows(self, values: list[Any]) -> bool:
        keys = [next(iter(each), None) for each in values if isinstance(each, dict)]
        return 0 < len(keys) == len(values) and self.first_keys.issuperset(keys)

    def _after_break(self) -> Iterator[Piece]:
        """Name the broken value and go to the next one that begins as others did."""
        too_long = len(self.buffer) - self.place > LONGEST_BYTES
        if not self._go_to_next():
            self.broken = True
            if self.error is not None:
                return  # which says why it breaks off
        if too_long:
            problem = f"the row is over {LONGEST_BYTES >> 20} MB long, or its brackets don't close"
        elif self.broken:
            problem = "the row breaks off, or its brackets or quotation marks don't match"
        else:
            problem = "the row's brackets or quotation marks don't match"
        if self.broken:
            problem += "; no row was found behind it"
        yield Flaw(f"{problem}: it is not JSON", _MEND, number=self.number)

    def _go_to_next(self) -> bool:
        """Go to the next object that begins as others did; False if there is none."""
        restart = _restart(frozenset(self.first_keys))
        while (match := restart.search(self.buffer, self.place)) is None:
            self.place = max(self.place, len(self.buffer) - _OVERLAP_BYTES)
            if not self.more():
                return False
        self.place = match.end()
        return True

    def _holds_start(self, end: int) -> bool:
        """Say whether a row begins within a text, which then is none: quotation marks are lost."""
        if not self.first_keys or self.buffer[self.place] != _QUOTE:
            return False
        match = _restart(frozenset(self.first_keys)).search(self.buffer, self.place)
        return match is not None and match.end() < end


@functools.lru_cache(maxsize=8)
def _restart(first_keys: frozenset[str]) -> re.Pattern[bytes]:
    """Write the pattern of what stands before an object that begins with one of these keys.

    Without any, objects that chats and tool calls are made of don't count: they stand in rows.
    """
    before, keys = rb"[\n,}]", _ANY_KEY
    if first_keys:
        written = {
            json.dumps(key, ensure_ascii=each) for key in first_keys for each in (True, False)
        }
        before, keys = rb"[\n,}\[\]]", b"|".join(re.escape(key.encode()) for key in sorted(written))
    white = rb"[ \t\r\n]*+"
    return re.compile(before + white + rb"(?=\{" + white + b"(?:" + keys + b")" + white + b":)")
