"""What every log reader is, and the line buffer most of them start with.

A reader does no I/O: bytes go in, events come out, and cutting the same bytes
elsewhere gives the same events. It never raises for what it reads; a line it
does not know is counted. A file may hold several *stages* (nanochat's pipeline in
one log): a `RunStarted` whose `stamp.run` is new begins a stage, and one with the
same `stamp.run` says more about the stage that is going on.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from engine.events import Event

MAX_LINE_BYTES = 1024 * 1024
"""Longer lines are cut here, so that a gigabyte without a line break costs a megabyte."""

CUT_MARK = "[cut]"

_ANSI = re.compile(
    rb"\x1b\][^\x07\x1b\r\n]*(?:\x07|\x1b\\)?"  # window titles, links, clipboard
    rb"|\x1b\[[0-?]*[ -/]*[@-~]?"  # colours, cursor, clear
    rb"|\x1b[ -/]*[0-~]?"
)


def without_colours(data: bytes) -> bytes:
    """Text without escape sequences."""
    return _ANSI.sub(b"", data)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """How sure a reader is that a file is its own, and by what."""

    confidence: float
    """0 = not mine, 1 = nobody else's."""
    why: str = ""
    """What was recognised, in words for a person."""


@dataclass(slots=True)
class LineCounts:
    """Every line is counted once: total = read + unrecognised."""

    total: int = 0
    unrecognised: int = 0
    with_numbers: int = 0
    """Of the unrecognised: held a number, and gave none."""
    shapes: Counter[str] = field(default_factory=Counter)
    """What those look like, `#` for a number."""

    @property
    def read(self) -> int:
        return self.total - self.unrecognised


class Reader(Protocol):
    """Bytes of one log format in, events out."""

    name: ClassVar[str]
    """As `--format` takes it."""
    lines: LineCounts

    @classmethod
    def sniff(cls, head: bytes) -> Sniffed:
        """Judge the first bytes of a file."""
        ...

    @property
    def format(self) -> str:
        """The format in words, as precise as what was read allows."""
        ...

    @property
    def stage(self) -> str | None:
        """Name of the stage that is going on."""
        ...

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes; a `StepBatch` stands for many updates."""
        ...

    def close(self) -> list[Event]:
        """The events of what is left at the end of the file."""
        ...


class LineBuffer:
    r"""Bytes in, whole lines of text out; carries the unfinished line over.

    Lines end with \n, \r or \r\n, so each redraw of a progress bar is a line of its own.
    Escape sequences are removed; bytes that are no UTF-8 become U+FFFD; a line longer than
    `MAX_LINE_BYTES` is cut and ends with `CUT_MARK`.
    """

    def __init__(self) -> None:
        self._tail = bytearray()
        self._overlong = False  # `_tail` is full: what follows in its line is thrown away
        self._after_return = False  # a \n that comes next ends no second line
        self._first = True  # a byte order mark may stand before the first line

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes, without their ends."""
        if not data:
            return []
        start = 1 if self._after_return and data[:1] == b"\n" else 0
        self._after_return = data.endswith(b"\r")
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end <= start:
            self._keep(data[start:])
            return []
        if self._overlong:
            breaks = (data.find(b"\n", start), data.find(b"\r", start))
            start = min(at for at in breaks if at >= 0)
        block = self._take_tail() + data[start:end]
        self._keep(data[end:])
        return self._unmarked(_split(block))

    def close(self) -> str | None:
        """The last line, if the file did not end it."""
        if not self._tail:
            return None
        return self._unmarked(_split(self._take_tail() + b"\n"))[0]

    def _unmarked(self, lines: list[str]) -> list[str]:
        if self._first:
            self._first = False
            lines[0] = lines[0].removeprefix("\ufeff")
        return lines

    def _keep(self, data: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._tail)
        self._tail += data[:room]
        self._overlong = self._overlong or len(data) > room

    def _take_tail(self) -> bytearray:
        tail, self._tail = self._tail, bytearray()
        if self._overlong:
            tail += CUT_MARK.encode()
            self._overlong = False
        return tail


_OVERLONG = re.compile(rb"([^\r\n]{%d})[^\r\n]+" % MAX_LINE_BYTES)


def _split(block: bytearray) -> list[str]:
    """The lines of a block that ends with a line end."""
    if _has_overlong(block):
        block = bytearray(_OVERLONG.sub(rb"\g<1>" + CUT_MARK.encode(), block))
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\x1b" in block:
        block = bytearray(_ANSI.sub(b"", block))
    # Decoded line by line: one emoji would widen every character of a block to four bytes.
    lines = bytes(block[:-1]).split(b"\n")
    # Without asking for the text of nothing: a broken writer makes millions of empty lines.
    return [line.decode("utf-8", "replace") if line else "" for line in lines]


def _has_overlong(block: bytearray) -> bool:
    # Hops from line end to line end as far as a line may be long: a handful of hops a block.
    at = 0
    while len(block) - at > MAX_LINE_BYTES:
        stop = at + MAX_LINE_BYTES + 1
        end = max(block.rfind(b"\n", at, stop), block.rfind(b"\r", at, stop))
        if end < 0:
            return True
        at = end + 1
    return False
