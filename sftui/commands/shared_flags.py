"""Flags that several commands have, and how their words are typed: each is explained here once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from sftui.commands.options import Typed
from sftui.sources.reading import Reading

RUN = Typed(metavar="RUN", positional=True)
LOG = Typed(metavar="LOG", positional=True)
OUTPUT = Typed(short="-o")
SHELL_COMMAND = Typed(metavar="COMMAND")
FORMAT = Typed(metavar="FORMAT")
MAP = Typed(metavar="MEANING=NAME,...")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsDirFlags:
    """For commands that find a run by its id."""

    runs_dir: Annotated[Path | None, Typed(metavar="DIR")] = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""


@dataclass(frozen=True, kw_only=True)
class LogFlags:
    """For commands that read the log of another program.

    Without slots, so that a command may have these beside flags of another base.
    """

    format: Annotated[str | None, FORMAT] = None
    """Of a log: read it as this format (default: found out); kept beside it for the next time."""
    map: Annotated[str | None, MAP] = None
    """Of a log: what its names mean, as step=global_step,train.loss=closs; kept beside it too."""
    stage: int | None = None
    """Of a log of several programs: the one meant, counted from 1 (default: the SFT stage)."""

    @property
    def reading(self) -> Reading:
        """What was said of the log."""
        return Reading(format=self.format, mapped=self.map, stage=self.stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFlags(RunsDirFlags):
    """For commands that compare what they show with something else."""

    baseline: Annotated[str | None, Typed(metavar="LOG")] = None
    """Compare with this: a run (or RUN:STEP), a results file of `sftui eval`, a log, or a TOML or
    JSON of task = percentage."""
