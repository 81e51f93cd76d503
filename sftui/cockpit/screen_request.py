"""What a screen is opened for, handed down whole from a command to the cockpit.

Light on purpose: it is imported before the first frame.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sftui.sources import Source
    from sftui.statistics.scores import Yardstick


class Onward(NamedTuple):
    """What is shown after a screen has closed, because a person asked for it there."""

    words: tuple[str, ...]
    """A command and its targets: `attach RUN`, `replay LOG`, `compare A B`."""
    back: tuple[str, ...] = ()
    """Such words again, for what is shown after that; empty for nothing."""


class ScreenRequest(NamedTuple):
    """One screen over one source of events."""

    source: Source
    title: str
    """Name of the run or the log, until the events tell one."""
    launch: Callable[[], object] | None = None
    """Starts the run, in a thread, after the first frame."""
    replay_of: str | None = None
    """How the file was recognised, when `source` is a replay; None over a run."""
    folder: Path | None = None
    """The run directory, when there is one."""
    baseline: Yardstick | None = None
    """Measured accuracies that evaluations are compared with as well."""
    charts: Path | None = None
    """Where charts are written that a person asks for; None for the usual place."""
    on_event: str | None = None
    """A shell command for what is worth a call."""
    log: str = ""
    """Of a replay, the file as it was named."""
    runs_dir: Path | None = None
    """Where runs lie; None: beside `folder`, else where `sftui run` puts them."""

    @property
    def target(self) -> str:
        """The run or log, as every command takes it."""
        return self.log or (str(self.folder) if self.folder is not None else "")

    @property
    def again(self) -> tuple[str, ...]:
        """The words that show it again."""
        return ("attach" if self.replay_of is None else "replay", self.target)
