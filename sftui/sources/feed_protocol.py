"""What a replay asks of whatever fills its recording."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sftui.readers import LineCounts


class Feed(Protocol):
    """Fills a recording: `FileFeed` from files; `Finished` where all events are there already."""

    @property
    def lines(self) -> LineCounts:
        """Lines so far."""
        ...

    @property
    def format(self) -> str:
        """What was recognised, in words."""
        ...

    @property
    def done(self) -> bool:
        """Whether nothing more will be added."""
        ...

    @property
    def share(self) -> float:
        """Read so far, 0 to 1."""
        ...

    @property
    def restarts(self) -> int:
        """Times the file was replaced or emptied while it was followed."""
        ...

    @property
    def reread(self) -> str:
        """Why what had been shown was read again in another way; empty if it was not."""
        ...

    @property
    def damage(self) -> str:
        """Why not all of a packed file could be unpacked; empty if it could."""
        ...

    @property
    def text_path(self) -> Path | None:
        """A text file whose lines can be shown; None for a binary one."""
        ...

    @property
    def journal_path(self) -> Path | None:
        """The file, if it is an event log of ours."""
        ...

    def evidence(self) -> tuple[bool, str]:
        """Whether more may come, and the evidence in words."""
        ...

    def read_on(self) -> None:
        """Read the rest: the first part is on the screen."""
        ...

    def close(self) -> None:
        """Stop reading."""
        ...


class Finished:
    """The feed of events that are all there already."""

    lines = LineCounts()
    format = "events"
    done = True
    share = 1.0
    restarts = 0
    reread = ""
    damage = ""
    text_path = None
    journal_path = None

    def evidence(self) -> tuple[bool, str]:
        return True, "a replay"

    def read_on(self) -> None:
        return

    def close(self) -> None:
        return
