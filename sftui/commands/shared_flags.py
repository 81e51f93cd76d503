"""Flags that several commands have, and how their words are typed: each is explained here once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from sftui.commands.options import Typed

RUN = Typed(metavar="RUN", positional=True)
LOG = Typed(metavar="RUN_OR_LOG", positional=True)
OUTPUT = Typed(short="-o")
SHELL_COMMAND = Typed(metavar="COMMAND")
FORMAT = Typed(metavar="FORMAT")
MAP = Typed(metavar="MEANING=NAME,...")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsDirFlags:
    """For commands that find a run by its id."""

    runs_dir: Annotated[Path | None, Typed(metavar="DIR")] = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFlags(RunsDirFlags):
    """For commands that compare what they show with something else."""

    baseline: Annotated[str | None, Typed(metavar="RUN_OR_FILE")] = None
    """Compare with this: a run (or RUN:STEP), a results file of `sftui eval`, a log, or a TOML or
    JSON of task = percentage."""
