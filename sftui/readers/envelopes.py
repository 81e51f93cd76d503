"""What a log may be wrapped in: compression, another encoding, a container's JSON lines.

`envelope_of` tells the wrapping by the first bytes; an `Envelope` takes the file's bytes and
gives those of the log. Nothing is taken out whole: a gigabyte costs megabytes.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Protocol

from engine.files import checked

MOST_OUT = 1024 * 1024
"""Given at once; a packed megabyte may hold a thousand."""
_MOST_LINE = 16 * 1024 * 1024
_SLICE = 4096
"""Unpacked at once: what comes out of as much before a damaged byte is lost with it."""
_MOST_DOUBTED = 4 * MOST_OUT
"""Of a block that may still turn out to be damaged: letters in disorder, slow to read."""


class Envelope(Protocol):
    """Bytes of a file in, bytes of the log in it out."""

    name: str

    @property
    def fault(self) -> str:
        """Why not all of the file could be unpacked, behind its name; empty while it could."""
        ...

    def open(self, data: bytes) -> Iterator[bytes]:
        """What `data` completes, in pieces."""
        ...

    def close(self) -> Iterator[bytes]:
        """What is left at the end of the file."""
        ...


class _Unpacker(Protocol):
    """What the decompressors of `bz2` and `lzma` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """`zlib`'s decompressor in the shape of the other two."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._unpack.eof

    @property
    def needs_input(self) -> bool:
        return not self._unpack.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._unpack.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._unpack.decompress(self._unpack.unconsumed_tail + data, max(0, max_length))


class _Packed:
    """gzip, bzip2 or xz; several of them one after another, and one that is cut off or damaged."""

    def __init__(
        self, name: str, make: Callable[[], _Unpacker], *, checks_late: bool = False
    ) -> None:
        """`checks_late`: a damaged block is given before it is known to be one."""
        self.name = name
        self.fault = ""
        self._make = make
        self._unpack = make()
        self._doubted = _MOST_DOUBTED if checks_late else 0
        self._taken = 0

    def open(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _SLICE):
            if self.fault:
                return
            yield from self._slice(data[at : at + _SLICE])
            self._taken += len(data[at : at + _SLICE])

    def _slice(self, data: bytes) -> Iterator[bytes]:
        held = b""
        while True:
            if self._unpack.eof:
                data = (self._unpack.unused_data or data).lstrip(b"\0")
                if not data:
                    break
                self._unpack = self._make()
            try:
                piece = self._unpack.decompress(data, MOST_OUT)
            except Exception:  # damage: zlib, bz2 and lzma have an error each
                self.fault = f"cannot be unpacked behind byte {self._taken:,}: it is damaged there"
                return
            data = b""
            held += piece
            if len(held) > self._doubted:
                yield held
                held = b""
            if not self._unpack.eof and (self._unpack.needs_input or not piece):
                break
        if held:
            yield held

    def close(self) -> Iterator[bytes]:
        if not self._unpack.eof and not self.fault:
            self.fault = f"is cut off behind byte {self._taken:,}"
        yield from ()  # when it is asked for, which may stand behind `open` in a chain


class _Encoded:
    """UTF-16 or UTF-32, as PowerShell and Excel write them, to UTF-8."""

    fault = ""

    def __init__(self, name: str, codec: str) -> None:
        self.name = name
        self._decoder = codecs.getincrementaldecoder(codec)(errors="replace")

    def open(self, data: bytes) -> Iterator[bytes]:
        if text := self._decoder.decode(data):
            yield text.encode("utf-8", "replace")

    def close(self) -> Iterator[bytes]:
        if text := self._decoder.decode(b"", final=True):
            yield text.encode("utf-8", "replace")


class _Container:
    """Docker's log driver: one JSON object a line, with the printed text under `log`."""

    name = "Docker JSON lines"
    fault = ""

    def __init__(self) -> None:
        self._tail = b""

    def open(self, data: bytes) -> Iterator[bytes]:
        data = self._tail + data
        end = data.rfind(b"\n") + 1
        self._tail = data[end:][:_MOST_LINE]
        if end:
            yield b"".join(_printed(line) for line in data[:end].split(b"\n") if line)

    def close(self) -> Iterator[bytes]:
        tail, self._tail = self._tail, b""
        if tail:
            yield _printed(tail)


def _printed(line: bytes) -> bytes:
    try:
        raw = checked.parse_json(line)
        text = raw["log"]
    except (ValueError, KeyError, TypeError):
        return line + b"\n"
    return text.encode("utf-8", "replace") if isinstance(text, str) else line + b"\n"


class _Nested:
    """One wrapping in another: a packed container's log."""

    def __init__(self, outer: Envelope, inner: Envelope) -> None:
        self.name = f"{inner.name} in {outer.name}"
        self._outer, self._inner = outer, inner

    @property
    def fault(self) -> str:
        return self._outer.fault or self._inner.fault

    def open(self, data: bytes) -> Iterator[bytes]:
        for piece in self._outer.open(data):
            yield from self._inner.open(piece)

    def close(self) -> Iterator[bytes]:
        for piece in self._outer.close():
            yield from self._inner.open(piece)
        yield from self._inner.close()


def envelope_of(head: bytes) -> Envelope | None:
    """The wrapping of a file that begins like this; None for a log as it is."""
    outer = _outermost(head)
    if outer is None or not isinstance(outer, _Packed):
        return outer
    begin = next(chain(outer.open(head), outer.close()), b"")
    inner, outer = envelope_of(begin), _outermost(head)
    return _Nested(outer, inner) if inner is not None and outer is not None else outer


def _outermost(head: bytes) -> Envelope | None:
    if head[:2] == b"\x1f\x8b":
        return _Packed("gzip", _Gzip)
    if head[:3] == b"BZh":
        import bz2  # noqa: PLC0415  a library of its own

        return _Packed("bzip2", bz2.BZ2Decompressor, checks_late=True)
    if len(head) > 3 and head[:6] == b"\xfd7zXZ\0"[: len(head)]:
        import lzma  # noqa: PLC0415  a library of its own

        return _Packed("xz", lzma.LZMADecompressor)
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return _Encoded("UTF-32", "utf-32")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _Encoded("UTF-16", "utf-16")
    if (order := _order_of_zeros(head[:4096])) is not None:
        return _Encoded("UTF-16", order)
    if head[:1] == b"{" and _is_container(head):
        return _Container()
    return None


def unwrapped(head: bytes, most: int) -> bytes:
    """The log's first bytes, of those of its file; at most about `most` of them."""
    return unwrapped_and_fault(head, most)[0]


def unwrapped_and_fault(head: bytes, most: int) -> tuple[bytes, str]:
    """The same, and why there are no more of them; as if the file ended with `head`."""
    envelope = envelope_of(head)
    if envelope is None:
        return head, ""
    out = bytearray()
    for piece in chain(envelope.open(head), envelope.close()):
        out += piece
        if len(out) >= most:
            break
    return bytes(out[:most]), envelope.fault


def _order_of_zeros(head: bytes) -> str | None:
    """The byte order of UTF-16 without a mark: every other byte of plain text is 0."""
    if len(head) < 16:
        return None
    even, odd = head[::2], head[1::2]
    for zeros, letters, codec in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros.count(0) >= 0.9 * len(zeros) and letters.count(0) == 0:
            return codec
    return None


def _is_container(head: bytes) -> bool:
    first = head.split(b"\n", 1)[0]
    try:
        raw = checked.parse_json(first)
    except ValueError:
        return False
    return isinstance(raw, dict) and isinstance(raw.get("log"), str) and "stream" in raw
