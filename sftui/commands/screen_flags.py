"""What can be typed after the commands that open the screen of a run or log: attach and replay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from sftui.commands.shared_flags import LOG, RUN, SHELL_COMMAND, BaselineFlags, LogFlags


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachFlags(BaselineFlags):
    """Show a run that is running, or one that has ended.

    Examples:
      sftui attach
      sftui attach 20260102-030405-starter
    """

    run: Annotated[str | None, RUN] = None
    """Run id, its beginning or name, or its folder (default: the newest)."""
    on_event: Annotated[str | None, SHELL_COMMAND] = None
    """Shell command for the end, an alarm or a lost rank; it gets the event as JSON on stdin."""
    headless: bool = False
    """Plain lines instead of the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFlags(BaselineFlags, LogFlags):
    """Show a log or a run that was, with a clock: play, scrub, step, jump from event to event.

    A log is told by its content: ours, nanochat's, and those of other trainers, by what their
    names and counters mean. A file of several stages opens on its SFT stage.

    Examples:
      sftui replay logs/run.log
      sftui replay speedrun.log --speed 60
    """

    log: Annotated[str, LOG]
    """A log of any known format, a run directory, a run id, its beginning or name."""
    speed: float = math.inf
    """Times the log's clock, 1 to 1000; inf shows all there is, and space plays it."""
    follow: bool = False
    """Keep reading: the file grows, or is replaced by a newer one."""
    headless: bool = False
    """Plain lines instead of the screen."""
