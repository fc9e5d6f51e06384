"""Compressed files as streams of bytes: gzip, bzip2, xz and zstd.

A format is known by its first bytes, whatever the file is called. Covered: several members one
after the other, bounded memory even for a bomb, all that can be had from a file that is cut short
or damaged. Not covered: archives of several files (zip, tar), zstd windows above 128 MB.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from derta.data.streams.parts import Unreadable

__all__ = ["COMPRESSED_ENDINGS", "decompress", "find_compression"]

COMPRESSED_ENDINGS = (".gz", ".bz2", ".xz", ".zst")

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    # With the first block's mark: a CSV header may begin with "BZh".
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL),
}
_PIECE_BYTES = 1 << 16
# bz2 and lzma throw away what a failing call has made: small steps lose little.
_STEP_BYTES = 512
# zstd has no limit of output, and four bytes can stand for 128 KB: 32 MB at the most.
_ZSTD_INPUT_BYTES = 1 << 10
_XZ_MEMORY_BYTES = 256 << 20
_ZSTD_WINDOW_BYTES = 128 << 20

_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


class _Member(Protocol):
    """One compressed stream of a file; there may be several."""

    @property
    def eof(self) -> bool:
        """Whether its end was seen."""

    @property
    def unused(self) -> bytes:
        """What was fed beyond its end."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what some more bytes of it hold."""


def find_compression(head: bytes) -> str | None:
    """Name the compression of a file that begins with these bytes; None: it has none."""
    return next((name for name, magic in _MAGIC.items() if magic.match(head)), None)


def decompress(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a compressed file holds, in pieces of some 64 KB.

    Raises:
        Unreadable: it is cut short or damaged; all that stands before was yielded.
    """
    return _gather(_members(name, chunks))


def _members(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    make, errors = _maker(name)
    member: _Member | None = None
    whole = 0
    for chunk in chunks:
        data = chunk
        while data:
            if member is None:
                # Zeros are padding, to a tape's block or to xz's multiple of four.
                data = data.lstrip(b"\x00")
                if not data:
                    break
                member = make()
            try:
                yield from member.feed(data)
            except errors as error:
                after = " (after a complete part)" if whole else ""
                raise Unreadable(
                    f"the {name} data is damaged here{after}: {_reason(error)}",
                    "Get the file again; the rows before this place were read",
                ) from None
            data = b""
            if member.eof:
                data, member, whole = member.unused, None, whole + 1
    if member is not None:
        raise Unreadable(
            f"the {name} data breaks off: the file is cut short",
            "Get the file again; the rows before this place were read",
        )


def _maker(name: str) -> tuple[Callable[[], _Member], tuple[type[Exception], ...]]:
    if name == "gzip":
        return _GzipMember, _DAMAGE
    if name == "bzip2":
        return lambda: _SteppedMember(bz2.BZ2Decompressor()), _DAMAGE
    if name == "xz":
        return (
            lambda: _SteppedMember(lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY_BYTES)),
            _DAMAGE,
        )
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    return lambda: _ZstdMember(decompressor.decompressobj()), (*_DAMAGE, zstandard.ZstdError)


class _GzipMember:
    def __init__(self) -> None:
        self.inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self.inner.eof

    @property
    def unused(self) -> bytes:
        return self.inner.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            # A failing call throws away what it has made: the copy makes it again, bit by bit.
            before = self.inner.copy()
            try:
                made = self.inner.decompress(data, _PIECE_BYTES)
            except zlib.error:
                yield _last_bytes(before, data)
                raise
            yield made
            data = self.inner.unconsumed_tail
            if self.inner.eof or (not data and len(made) < _PIECE_BYTES):
                return


def _last_bytes(inner: Any, data: bytes) -> bytes:
    """Decompress byte by byte up to the one that fails."""
    made = bytearray()
    try:
        while (piece := inner.decompress(data, 1)) or inner.unconsumed_tail:
            made += piece
            data = inner.unconsumed_tail
    except zlib.error:
        pass
    return bytes(made)


class _SteppedMember:
    """bzip2 or xz: the two share an interface."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def eof(self) -> bool:
        return bool(self.inner.eof)

    @property
    def unused(self) -> bytes:
        return bytes(self.inner.unused_data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            yield self.inner.decompress(data, _STEP_BYTES)
            data = b""
            if self.inner.eof or self.inner.needs_input:
                return


class _ZstdMember:
    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.rest = b""

    @property
    def eof(self) -> bool:
        return bool(self.inner.eof)

    @property
    def unused(self) -> bytes:
        return bytes(self.inner.unused_data) + self.rest

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_INPUT_BYTES):
            end = start + _ZSTD_INPUT_BYTES
            yield self.inner.decompress(data[start:end])
            if self.inner.eof:
                self.rest = data[end:]
                return


def _gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces; what came before an error is handed on before it."""
    held: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size >= _PIECE_BYTES:
                yield b"".join(held)
                held.clear()
                size = 0
    except Unreadable:
        if size:
            yield b"".join(held)
        raise
    if size:
        yield b"".join(held)


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
