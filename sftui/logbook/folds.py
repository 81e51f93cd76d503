"""Which plain lines of the log repeat: shown once, where they came last, with their count.

A warning that came before is the same one again, wherever it stood (trainers warn with every
step); of other lines only one that follows its like. The time of day that a logger prints in
front, and the rank, make no difference.
"""

from __future__ import annotations

import re
from itertools import islice

from engine.events import LogLine
from sftui.state.run_state import RunState

MOST_TEXTS = 5000
"""Different warnings that are known again; a log of more is a log without repeats."""
_CLOCK = re.compile(
    r"^[\[(]?\d{2,4}[-/:]\d{2}[-/:]\d{2}[T ]?[\d:.,]*[\])]?(?:Z|[+-]\d\d:?\d\d)?\s*"
)


class Folds:
    """Follows the log of a state; entries by their number since the start."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.hidden: set[int] = set()
        """Entries that a later one stands for."""
        self.times: dict[int, int] = {}
        """How often an entry stands in the log, where more than once."""
        self._seen = 0
        self._newest: dict[str, int] = {}
        self._before: tuple[str, bool, int] = ("", False, -1)
        """The line before: text, whether it warns, number."""

    def follow(self, state: RunState) -> None:
        """Take in what has come since the last call."""
        if self._seen > state.log_total:
            self._begin()  # the state began again
        first = state.log_total - len(state.log)
        start = max(self._seen, first)
        for number, event in enumerate(islice(state.log, start - first, None), start):
            text = _CLOCK.sub("", event.text) if isinstance(event, LogLine) else ""
            if isinstance(event, LogLine) and text.strip():
                self._take(number, text, event.level != "info")
        self._seen = state.log_total
        if first and len(self.hidden) > 2 * len(state.log) + 100:
            self.hidden = {number for number in self.hidden if number >= first}

    def _take(self, number: int, text: str, warns: bool) -> None:
        same = None
        if warns:
            same = self._newest.get(text)
            if same is not None or len(self._newest) < MOST_TEXTS:
                self._newest[text] = number
        elif self._before == (text, warns, number - 1):
            same = number - 1
        if same is not None:
            self.hidden.add(same)
            self.times[number] = self.times.pop(same, 1) + 1
        self._before = (text, warns, number)
