"""Where events come from: a run started here, a run started elsewhere, a replay.

A source is polled by the screen's tick and never blocks, never raises for what it
reads, and cleans nothing: text from outside is cleaned where it is drawn.
"""

from __future__ import annotations

from typing import Protocol

from engine.control import Request
from engine.events import Event


class Source(Protocol):
    """What the screen needs of any source."""

    def poll(self, max_events: int = 2000, max_seconds: float = 0.05) -> list[Event]:
        """The next events, oldest first; an empty list when there is nothing new.

        Returns after `max_events` or about `max_seconds`, whichever comes first.
        """
        ...

    def send(self, request: Request) -> None:
        """Post a request to the run; its answer comes back as a `ControlApplied`.

        Raises:
            UsageError: this source has no run behind it, or the request cannot be written.
        """
        ...

    @property
    def closed(self) -> bool:
        """Whether everything has been read and nothing more will come."""
        ...

    def describe(self) -> str:
        """The transport in a few words, for the header."""
        ...

    @property
    def settled(self) -> bool:
        """Whether `alive` tells the state of the run: all that was written has been given out,
        and no process of the run is only starting."""
        ...

    def alive(self) -> tuple[bool, str]:
        """Whether the run behind it is alive, and the evidence in words."""
        ...

    def close(self) -> None:
        """Close files, sockets and threads; the run itself goes on."""
        ...
