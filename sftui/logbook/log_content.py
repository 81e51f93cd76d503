"""What the event log and the file log have in common: lines, a window over them, matches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from sftui.drawing.roles import Role
from sftui.state.run_state import RunState


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it is drawn; `place` identifies it within its log."""

    place: int
    text: str
    mark: str = ""
    role: Role = Role.DIM
    t: float | None = None
    """Wall clock, where the log has times."""


@dataclass(frozen=True, slots=True)
class Window:
    """The lines that are shown."""

    lines: list[Line]
    """Oldest first."""
    newer: int | None = 0
    """Lines below; None when they were not counted yet, 0 at the end."""
    older: int | None = 0
    """Lines above, likewise."""


@dataclass(frozen=True, slots=True)
class Query:
    """Text to search for, as it stands, in upper or lower case."""

    text: str

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.text), re.IGNORECASE)

    @property
    def needle(self) -> bytes:
        """For a first pass over raw bytes; empty when those may be written in another way."""
        return self.text.lower().encode() if self.text.isascii() else b""


@dataclass(frozen=True, slots=True)
class Matches:
    """Progress and results of a search."""

    count: int
    at: int | None
    """Number of the selected match, from 1; None when none is selected."""
    share: float = 1.0
    """Searched so far, 0 to 1."""
    full: bool = False
    """Whether the search ended early, with `MOST_FOUND` matches."""


class LogContent(Protocol):
    """A log to be shown and searched. `rows`: lines that the pane has room for."""

    timed: bool
    """Whether its lines have times of their own, to be drawn in a column."""
    current: int | None
    """Place of the selected match."""

    def window(self, state: RunState, rows: int) -> Window:
        """The lines to draw."""
        ...

    def scroll(self, state: RunState, by: int, rows: int) -> None:
        """Scroll by so many lines towards the newest; negative is back."""
        ...

    def follow(self) -> None:
        """Show the newest line, also when more come."""
        ...

    def to_start(self, state: RunState, rows: int) -> None:
        """Scroll to the oldest line."""
        ...

    def whole(self, state: RunState, place: int) -> str:
        """The line at a place to its end, in several lines where it has breaks; empty where it is
        not there any more."""
        ...

    def search_for(self, state: RunState, query: Query | None) -> None:
        """Search for the query; None ends the search.

        The window goes to the newest match at or above its end.
        """
        ...

    def matches(self, state: RunState) -> Matches:
        """Progress and results of the search."""
        ...

    def step(self, state: RunState, by: int, rows: int) -> bool:
        """Select the next match (1) or the one before (-1); False when there is none."""
        ...

    def work(self, state: RunState, rows: int) -> bool:
        """Take over what threads have found; True when there is something new to draw."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a thread is indexing or searching."""
        ...

    def restart(self) -> None:
        """The state begins again: drop what was numbered by it."""
        ...

    def close(self) -> None:
        """Stop the threads."""
        ...
