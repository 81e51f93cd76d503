"""The traceback with which a program dies, among the lines of its log.

Launchers print the tracebacks of all ranks and then one of their own; the first is the cause.
"""

from __future__ import annotations

import re

from sftui.readers.prefixes import take_rank

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
_MOST_LINES = 20_000
"""Of one traceback: a deep recursion prints a thousand calls, of up to three lines each."""


class Tracebacks:
    """Feed it the lines that are nothing else, in order."""

    def __init__(self) -> None:
        self.error: str | None = None
        """What was raised first since `forget`: `ValueError: no tokenizer`."""
        self._lines_left = 0
        self._ignored = False
        self._chained = False

    @property
    def is_open(self) -> bool:
        """Whether the lines of a traceback are being read."""
        return self._lines_left > 0

    def take(self, line: str) -> bool:
        """Whether a line is part of a traceback."""
        if _START in line[:400]:
            self._lines_left = _MOST_LINES
            return True
        if not self._lines_left:
            if line.lstrip().startswith(_CHAINED):
                self._chained = True
                return True
            self._ignored = line.startswith(_IGNORED)
            return self._ignored
        self._lines_left -= 1
        text, rank, _ = take_rank(line)
        text = text.lstrip() if rank is not None else text
        if rank is None and text[:1].isspace():
            return True
        if ERROR.match(text):
            self._lines_left = 0
            if not self._ignored and (self.error is None or self._chained):
                self.error = text.strip()
            self._ignored = self._chained = False
            return True
        if rank is None:
            self._lines_left = 0  # cut off, or another thread speaks
        return rank is not None

    def forget(self) -> None:
        """Training went on after it: it was caught."""
        self.error = None
