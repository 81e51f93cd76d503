"""What the two sheets of a log have in common: lines, a window over them, and matches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from sftui.drawing.roles import Ink
from sftui.state.run_state import RunState


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it is drawn; `place` tells it from all others of its sheet."""

    place: int
    text: str
    mark: str = ""
    ink: Ink = Ink.DIM
    t: float | None = None
    """Wall clock, where the sheet has times."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is in sight."""

    lines: list[Line]
    """Oldest first."""
    newer: int | None = 0
    """Lines below; None when they were not counted yet, 0 at the end."""
    older: int | None = 0
    """Lines above, likewise."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: text as it is, in upper or lower case."""

    text: str

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.text), re.IGNORECASE)

    @property
    def needle(self) -> bytes:
        """For a first look at raw bytes; empty when those may be written in another way."""
        return self.text.lower().encode() if self.text.isascii() else b""


@dataclass(frozen=True, slots=True)
class Matches:
    """How a search stands."""

    count: int
    at: int | None
    """Number of the match one stands on, from 1."""
    share: float = 1.0
    """Looked through so far, 0 to 1."""
    full: bool = False
    """There are more than are kept."""


class Sheet(Protocol):
    """One way to read the log. `rows`: lines that the pane has room for."""

    timed: bool
    """Whether its lines have times of their own, to be drawn in a column."""
    current: int | None
    """Place of the match one stands on."""

    def window(self, state: RunState, rows: int) -> Window:
        """What to draw."""
        ...

    def scroll(self, state: RunState, by: int, rows: int) -> None:
        """Lines towards the newest; negative is back."""
        ...

    def follow(self) -> None:
        """To the newest line, and with it."""
        ...

    def to_start(self, state: RunState, rows: int) -> None:
        """To the oldest line there is."""
        ...

    def look_for(self, state: RunState, query: Query | None) -> None:
        """Search; None gives up. The window goes to the newest match at or above its end."""
        ...

    def matches(self, state: RunState) -> Matches:
        """How the search stands."""
        ...

    def step(self, state: RunState, by: int, rows: int) -> bool:
        """To the next match (1) or the one before (-1); False when there is none."""
        ...

    def work(self, state: RunState, rows: int) -> bool:
        """Go on with what threads have found; whether there is something new to draw."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a thread works for it."""
        ...

    def restart(self) -> None:
        """The state begins again: what was numbered by it is void."""
        ...

    def close(self) -> None:
        """Stop the threads."""
        ...
