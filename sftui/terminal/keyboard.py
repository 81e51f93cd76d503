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

from sftui.text.clean import without_escapes

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
_STRING_ENDS = re.compile(r"\x1b\\|\x07|\x18|\x1a|(?=\x1b\[200~)")
"""Also where a paste begins, which is none of it."""

_TYPED = 2
"""Characters of the beginning of a paste that a key sends too: Escape, and Alt with `[`."""

_WHOLE_CSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-Z\\-~]")
"""Up to its final character; `[` is none here, because keys of the Linux console go on after it."""

_HAS_MORE = re.compile(
    r"\x1b\[(?:M.{0,3}|<?-?\d[-\d;]*[mM]|\?\d+;\d+\$y|\d+;\d+R|\d+~|48;.*t)", re.DOTALL
)
"""Sequences that the parser understands besides keys: mouse, modes, cursor, pastes, size."""


class Keyboard(XTermParser):
    """Textual's parser, which no input ends.

    Pastes do not reach it: a sequence in one that it does not know would become keys.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._paste: _Paste | None = None
        self._string: _ControlString | None = None
        self._recent = ""
        """What the input so far ends with, where a paste may begin with it."""
        self._owed = ""
        """The rest of the end of a paste that was taken for finished."""
        self._heard = 0.0

    @property
    def in_paste(self) -> bool:
        """Whether the end of a paste has not come yet."""
        return self._paste is not None

    def feed(self, data: str) -> Iterable[Message]:
        """Messages of a piece of input; what is no message of a terminal is left out."""
        found: list[Message] = []
        self._heard = time.monotonic()
        if data and self._owed:
            data, self._owed = data.removeprefix(self._owed), ""
        while data:
            if self._paste is not None:
                data = self._paste.take(data)
                if self._paste.ended:
                    found += self._pasted()
            elif self._string is None:
                data = self._take_keys(data, found)
            elif self._string.over():
                found += self._parsed(self._end_string())
            else:
                data = self._string.take(data)
                if self._string.ended:
                    self._end_string()
        return found

    def tick(self) -> Iterable[Message]:
        """Messages of what is over because nothing came after it."""
        found: list[Message] = []
        if self._string is not None and self._string.over():
            # `Alt+P` sends what a control string begins with, and nothing else.
            found += self.feed_keys(self._end_string())
        silent = time.monotonic() - self._heard
        if len(self._recent) > _TYPED and silent < STRING_PATIENCE_SECONDS:
            # Nobody types this much of what a paste begins with: the rest is on its way.
            return found
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
        if self._paste is None:
            return []
        if self._paste.held:
            self._owed = BRACKETED_PASTE_END.removeprefix(self._paste.held)
        return self._pasted()

    def _take_keys(self, data: str, found: list[Message]) -> str:
        """Add the messages up to the next paste or control string; returns what is behind its
        beginning."""
        before = len(self._recent)
        seen = self._recent + data
        pasted = seen.find(BRACKETED_PASTE_START)
        string = _STRING_BEGINS.search(data)
        if string is not None and (pasted < 0 or before + string.start() < pasted):
            self._recent = ""
            found += self._parsed(data[: string.start()])
            self._string = _ControlString(string.group())
            return data[string.end() :]
        if pasted < 0:
            self._recent = _begun(seen, BRACKETED_PASTE_START)
            found += self._parsed(data)
            return ""
        self._recent = ""
        if pasted < before:
            # The parser has a part of this beginning and waits for more.
            self._gen.close()
            self._gen = self.parse(self._tokens.append)
            self._awaiting, self._timeout_time = next(self._gen), None
        else:
            found += self._parsed(data[: pasted - before])
            if self._timeout_time is not None:
                # An Escape before it is a key, and does not belong to the one after it.
                self._timeout_time = 0.0
                found += super().tick()
        self._paste = _Paste()
        return seen[pasted + len(BRACKETED_PASTE_START) :]

    def _parsed(self, data: str) -> list[Message]:
        """The sane messages of what is neither pasted nor a control string."""
        return [message for message in super().feed(data) if _is_sane(message)] if data else []

    def _pasted(self) -> list[Message]:
        """Close the paste; its message, if anything is left of it."""
        text = "" if self._paste is None else without_escapes(self._paste.text)
        self._paste = None
        return [events.Paste(text)] if text else []

    def _end_string(self) -> str:
        """Close the control string; returns what of it was typed."""
        string, self._string = self._string, None
        if string is None:
            return ""
        self._recent = string.held
        return string.typed()

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


class _Paste:
    """A paste whose end has not come yet: whatever it holds is text."""

    def __init__(self) -> None:
        self.ended = False
        self.held = ""
        """What came last, where the end may begin with it."""
        self._kept: list[str] = []
        self._room = MOST_PASTED

    def take(self, data: str) -> str:
        """Keep what belongs to it; the rest of `data`."""
        seen = self.held + data
        end = seen.find(BRACKETED_PASTE_END)
        self.ended = end >= 0
        self.held = "" if self.ended else _begun(seen, BRACKETED_PASTE_END)
        kept = seen[: min(end if self.ended else len(seen) - len(self.held), self._room)]
        if kept:
            self._kept.append(kept)
            self._room -= len(kept)
        return seen[end + len(BRACKETED_PASTE_END) :] if self.ended else ""

    @property
    def text(self) -> str:
        """What was pasted so far, as it came."""
        return "".join(self._kept)


class _ControlString:
    """A control string whose end has not come yet."""

    def __init__(self, introducer: str) -> None:
        self.ended = False
        self._introducer = introducer
        self._began = self._heard = time.monotonic()
        self._length = 0
        self.held = ""
        """What came last, where its end or a paste may begin with it."""

    def take(self, data: str) -> str:
        """Swallow what belongs to it; the rest of `data`."""
        self._heard = time.monotonic()
        seen = self.held + data
        end = _STRING_ENDS.search(seen)
        if end is not None:
            self.ended, self.held = True, ""
            return seen[end.end() :]
        self._length += len(data)
        self.held = _begun(seen, BRACKETED_PASTE_START)
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


def _begun(text: str, sequence: str) -> str:
    """The end of `text` that `sequence` begins with and does not end with."""
    for length in range(len(sequence) - 1, 0, -1):
        if text.endswith(sequence[:length]):
            return sequence[:length]
    return ""


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
