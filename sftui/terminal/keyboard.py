"""Keys from a terminal that sends anything: bytes that are no text, numbers without an end.

Textual 8.2.8 decodes strictly and trusts every number in a sequence, so one letter of a Latin-1
terminal, a cut paste or a mouse report of the old kind ends the program. Here what cannot be
understood is no key, and everything else arrives.

Light on purpose: it is imported before the first frame.
"""

from __future__ import annotations

import codecs
import selectors
import time
from collections.abc import Iterable, Iterator
from os import read
from typing import Any

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.driver import Driver
from textual.message import Message

MOST_CELLS = 2000
"""Width and height of a terminal that is believed: a row of 65,535 cells takes seconds to draw."""

MOST_PASTED = 1024 * 1024
"""Characters of one paste; what comes after them is dropped."""

PASTE_PATIENCE_SECONDS = 2.0
"""A paste without its end is over when nothing came for so long: keys would be part of it."""

_POLL_SECONDS = 0.1
_UNREADABLE = "\ufffd"


class Keyboard(XTermParser):
    """Textual's parser, which no input ends."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._paste_open = False
        self._recent = ""
        self._pasted = 0

    @property
    def in_paste(self) -> bool:
        """Whether the end of a paste has not come yet."""
        return self._paste_open

    def feed(self, data: str) -> Iterable[Message]:
        """Messages of a piece of input; what is no message of a terminal is left out."""
        data = self._limited(data)
        return [message for message in super().feed(data) if _is_sane(message)] if data else []

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
        return iter(found)

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
