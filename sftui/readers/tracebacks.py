"""The traceback with which a program dies, among the lines of its log, or another's word of it.

Launchers print the tracebacks of all ranks and then one of their own; the first is the cause.
"""

from __future__ import annotations

import re

from engine.events import EndStatus
from sftui.readers.last_words import last_words
from sftui.readers.prefixes import find_rank

ERROR = re.compile(
    r"^(\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning|Timeout|Iteration|Empty|Full)\b(?!\.)"
)
"""The line of a traceback that names what was raised."""

_START = "Traceback (most recent call last)"
_CHAINED = (
    "During handling of the above exception, another exception occurred",
    "The above exception was the direct cause of the following exception",
)
_IGNORED = "Exception ignored in"
"""Python prints it, and a traceback, of what went wrong while it was already ending."""
_MOST_RANKS = 4096
_MOST_LINES = 20_000
"""Of one traceback: a deep recursion prints a thousand calls, of up to three lines each."""


class Tracebacks:
    """Feed it the lines that are nothing else, in order."""

    def __init__(self) -> None:
        self.error: str | None = None
        """What ended it first since `forget`: `ValueError: no tokenizer`."""
        self.status: EndStatus = "failed"
        """What that makes of the run."""
        self._lines_left: dict[int | None, int] = {}
        """Rank -> lines that its open traceback may still have; several ranks die at once."""
        self._ignored = False
        self._chained = False

    @property
    def is_open(self) -> bool:
        """Whether the lines of a traceback are being read."""
        return bool(self._lines_left)

    def take(self, line: str) -> bool:
        """Whether a line is part of a traceback."""
        text, rank = _without_rank(line)
        if _START in line[:400]:
            if len(self._lines_left) < _MOST_RANKS:
                self._lines_left[rank] = _MOST_LINES
            return True
        left = self._lines_left.pop(rank, 0)
        if not left:
            if text.lstrip().startswith(_CHAINED):
                self._chained = True
                return True
            if not self._lines_left:
                self._ignored = text.startswith(_IGNORED)
            return text.startswith(_IGNORED) or self._is_last_word(text)
        if text[:1].isspace():
            if left > 1:
                self._lines_left[rank] = left - 1
            return True
        if not ERROR.match(text):
            return self._is_last_word(text)  # cut off, or another thread speaks
        if not self._ignored and (self.error is None or self._chained):
            self.error, self.status = text.strip(), "failed"
        self._ignored = self._chained = False
        return True

    def _is_last_word(self, text: str) -> bool:
        found = last_words(text)
        if found is None:
            return False
        if self.error is None:
            self.status, self.error = found
        return True

    def forget(self) -> None:
        """Training went on after it: it was caught."""
        self.error = None


def _without_rank(line: str) -> tuple[str, int | None]:
    """The line behind the rank that a launcher puts before it, with its own indentation."""
    match, _ = find_rank(line)
    if match is None:
        return line, None
    end = match.start() + len(match[0].rstrip(" "))
    return line[end:].removeprefix(" "), int(match[1])
