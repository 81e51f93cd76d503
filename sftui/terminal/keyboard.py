"""Keys from a terminal that sends anything: bytes that are no text, numbers without an end.

Textual 8.2.8 decodes strictly and trusts every number in a sequence, so one letter of a Latin-1
terminal, a cut paste or a mouse report of the old kind ends the program. Here what cannot be
understood is no key, and everything else arrives.

Light on purpose: it is imported before the first frame.
"""

from __future__ import annotations

import codecs
import re
import selectors
import time
from collections.abc import Iterable, Iterator
from os import read
from typing import Any

from textual import constants, events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.driver import Driver
from textual.keys import Keys
from textual.message import Message

MOST_CELLS = 2000
"""Width and height of a terminal that is believed: a row of 65,535 cells takes seconds to draw."""

MOST_PASTED = 1024 * 1024
"""Characters of one paste; what comes after them is dropped."""

PASTE_PATIENCE_SECONDS = 2.0
"""A paste without its end is over when nothing came for so long: keys would be part of it."""

MOST_STRING = 8192
"""Characters of one control string (an answer of the terminal: DCS, OSC, APC, PM, SOS)."""

STRING_PATIENCE_SECONDS = 0.5
"""A control string is over when it began so long ago: later keys would be part of it."""

_POLL_SECONDS = 0.1
_UNREADABLE = "\ufffd"

_STRING_BEGINS = re.compile(r"\x1b[P\]_^X]")
_STRING_ENDS = re.compile(r"\x1b\\|\x07|\x18|\x1a")

_WHOLE_CSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-Z\\-~]")
"""Up to its final character; `[` is none here, because keys of the Linux console go on after it."""

_HAS_MORE = re.compile(
    r"\x1b\[(?:M.{0,3}|<?-?\d[-\d;]*[mM]|\?\d+;\d+\$y|\d+;\d+R|\d+~|48;.*t)", re.DOTALL
)
"""Sequences that the parser understands besides keys: mouse, modes, cursor, pastes, size."""


class Keyboard(XTermParser):
    """Textual's parser, which no input ends."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._paste_open = False
        self._recent = ""
        self._pasted = 0
        self._string: _ControlString | None = None

    @property
    def in_paste(self) -> bool:
        """Whether the end of a paste has not come yet."""
        return self._paste_open

    def feed(self, data: str) -> Iterable[Message]:
        """Messages of a piece of input; what is no message of a terminal is left out."""
        data = self._limited(self._without_strings(data))
        return [message for message in super().feed(data) if _is_sane(message)] if data else []

    def tick(self) -> Iterable[Message]:
        """Messages of what is over because nothing came after it."""
        found: list[Message] = []
        if self._string is not None and self._string.over():
            # `Alt+P` sends what a control string begins with, and nothing else.
            keys, self._string = self._string.typed(), None
            found += self.feed_keys(keys)
        return [*found, *super().tick()]

    def feed_keys(self, data: str) -> Iterable[Message]:
        """`feed` of what is known to be no control string."""
        return list(super().feed(data)) if data else []

    def end_input(self) -> None:
        """Let the parser end with its input."""
        for _ in super().feed(""):
            pass

    def end_paste(self) -> Iterable[Message]:
        """Take a paste whose end did not come for finished."""
        return self.feed(BRACKETED_PASTE_END)

    def parse_mouse_code(self, code: str) -> Message | None:
        try:
            return super().parse_mouse_code(code)
        except (ValueError, OverflowError, ZeroDivisionError):
            return None

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterator[events.Key]:
        try:
            found = list(super()._sequence_to_key_events(sequence, alt))
        except (ValueError, OverflowError, TypeError):
            # A key of number 10^20, an event type that Textual does not know.
            found = [events.Key("ignore", sequence)]
        if not found and _WHOLE_CSI.fullmatch(sequence) and not _HAS_MORE.fullmatch(sequence):
            # An answer that nobody waits for. Its characters would be taken for keys.
            found = [events.Key(Keys.Ignore, sequence)]
        return iter(found)

    def _without_strings(self, data: str) -> str:
        """Leave control strings out: answers of the terminal, of no use to anybody here."""
        kept = ""
        while data:
            if self._string is not None:
                if self._string.over():
                    kept += self._string.typed()
                    self._string = None
                    continue
                data = self._string.take(data)
                if self._string.ended:
                    self._string = None
                continue
            begins = None if self._paste_open else _STRING_BEGINS.search(data)
            if begins is None:
                return kept + data
            kept += data[: begins.start()]
            self._string = _ControlString(begins.group())
            data = data[begins.end() :]
        return kept

    def _limited(self, data: str) -> str:
        """Note where a paste begins and ends, and cut one that is too long."""
        seen = self._recent + data
        opened, closed = seen.rfind(BRACKETED_PASTE_START), seen.rfind(BRACKETED_PASTE_END)
        if opened > closed:
            self._paste_open = True
        elif closed >= 0:
            self._paste_open, self._pasted = False, 0
        self._recent = seen[-(len(BRACKETED_PASTE_END) - 1) :]
        if not self._paste_open:
            return data
        self._pasted += len(data)
        return data if self._pasted <= MOST_PASTED else ""


class _ControlString:
    """A control string whose end has not come yet."""

    def __init__(self, introducer: str) -> None:
        self.ended = False
        self._introducer = introducer
        self._began = self._heard = time.monotonic()
        self._length = 0
        self._last = ""

    def take(self, data: str) -> str:
        """Swallow what belongs to it; the rest of `data`."""
        self._heard = time.monotonic()
        seen = self._last + data
        end = _STRING_ENDS.search(seen)
        if end is not None:
            self.ended = True
            return seen[end.end() :]
        self._length += len(data)
        self._last = seen[-1:] if seen.endswith("\x1b") else ""
        self.ended = self._length > MOST_STRING
        return ""

    def over(self) -> bool:
        """Whether nothing came for as long as the parser waits, or it began too long ago."""
        now = time.monotonic()
        silent = now - self._heard > constants.ESCAPE_DELAY
        return silent or now - self._began > STRING_PATIENCE_SECONDS

    def typed(self) -> str:
        """What was typed, where it is a key and no control string."""
        return "" if self._length else self._introducer


def _is_sane(message: Message) -> bool:
    if isinstance(message, events.Resize):
        return 0 < message.size.width <= MOST_CELLS and 0 < message.size.height <= MOST_CELLS
    if isinstance(message, events.Key):
        return message.character is None or _UNREADABLE not in message.character
    if isinstance(message, events.MouseEvent):
        return abs(message.x) <= MOST_CELLS and abs(message.y) <= MOST_CELLS
    return True


def hardy(driver: type[Driver]) -> type[Driver]:
    """The driver of a terminal, reading its input with `Keyboard`; others as they are."""
    if not hasattr(driver, "run_input_thread"):
        return driver

    class Hardy(driver):  # type: ignore[misc, valid-type]
        def run_input_thread(self) -> None:
            """Wait for input and hand on what it says, until the driver is told to end."""
            decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
            keyboard = Keyboard(self._debug)
            heard = time.monotonic()
            with selectors.SelectSelector() as selector:
                selector.register(self.fileno, selectors.EVENT_READ)
                while not self.exit_event.is_set():
                    messages: list[Message] = []
                    if selector.select(_POLL_SECONDS):
                        data = read(self.fileno, 4096)
                        if not data:
                            # The terminal is gone; SIGHUP says so. Asking again would be a loop.
                            self.exit_event.wait(_POLL_SECONDS)
                        heard = time.monotonic()
                        messages += keyboard.feed(decode(data))
                    elif keyboard.in_paste and time.monotonic() - heard > PASTE_PATIENCE_SECONDS:
                        messages += keyboard.end_paste()
                    messages += keyboard.tick()
                    for message in messages:
                        self.process_message(message)

        def _get_terminal_size(self) -> tuple[int, int]:
            size: Any = super()._get_terminal_size()
            return min(size[0], MOST_CELLS), min(size[1], MOST_CELLS)

    return Hardy
