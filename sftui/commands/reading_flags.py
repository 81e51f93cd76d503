"""What can be typed after the commands that look at runs: attach, replay, ctl, show and runs.

The docstrings are the `--help`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    import tyro  # in annotations alone; `command_line.parse` has them evaluated


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachFlags:
    """Show a run that is running, or one that has ended.

    Examples:
      sftui attach
      sftui attach 20260102-030405-starter
    """

    run: tyro.conf.Positional[str | None] = None
    """Run id, its beginning or name, or its folder (default: the newest)."""
    on_event: str | None = None
    """Shell command for the end, an alarm or a lost rank; it gets the event as JSON on stdin."""
    baseline: str | None = None
    """Compare with this: a run (or RUN:STEP), a results file of `sftui eval`, a log, or a TOML or
    JSON of task = percentage."""
    runs_dir: Path | None = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""
    headless: bool = False
    """Plain lines instead of the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFlags:
    """Show a log or a run that was, with a clock: play, scrub, step, jump from event to event.

    A log is told by its content: ours, nanochat's, and those of other trainers, by what their
    names and counters mean. A file of several stages opens on its SFT stage.

    Examples:
      sftui replay logs/run.log
      sftui replay speedrun.log --speed 60
    """

    log: tyro.conf.Positional[str]
    """A log of any known format, a run directory, a run id, its beginning or name."""
    speed: float = math.inf
    """Times the log's clock, 1 to 1000; inf shows all there is, and space plays it."""
    follow: bool = False
    """Keep reading: the file grows, or is replaced by a newer one."""
    format: str | None = None
    """Read it as this format (default: found out); kept beside the log for the next time."""
    map: str | None = None
    """What its names mean, as step=global_step,train.loss=closs; kept beside the log too."""
    stage: int | None = None
    """Stage to open, counted from 1 (default: the SFT stage)."""
    baseline: str | None = None
    """Compare with this: a run (or RUN:STEP), a results file of `sftui eval`, a log, or a TOML or
    JSON of task = percentage."""
    runs_dir: Path | None = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""
    headless: bool = False
    """Plain lines instead of the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CtlFlags:
    """Ask a running run for something, wait for its answer and print it.

    Examples:
      sftui ctl 20260102-030405-starter pause
      sftui ctl 2026 lr 0.5
    """

    run: tyro.conf.Positional[str]
    """Run id, its beginning or name, or its folder."""
    command: tyro.conf.Positional[str]
    """pause, resume, eval, checkpoint, stop or lr."""
    argument: tyro.conf.Positional[str | None] = None
    """Of lr: the factor on the schedule. Of resume: pause again after so many steps."""
    runs_dir: Path | None = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""
    timeout: float = 120.0
    """Seconds to wait for the answer; the request expires then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFlags:
    """One look at a run or log without a screen: a summary and a chart, or JSON.

    Examples:
      sftui show
      sftui show run.log --json
    """

    target: tyro.conf.Positional[str | None] = None
    """Run id, its beginning or name, its folder, or a log (default: the newest run)."""
    json: bool = False
    """Print the machine-readable form."""
    format: str | None = None
    """Of a log: read it as this format (default: found out); kept beside it for the next time."""
    map: str | None = None
    """Of a log: what its names mean, as step=global_step,train.loss=closs; kept beside it too."""
    baseline: str | None = None
    """Compare with this: a run (or RUN:STEP), a results file of `sftui eval`, a log, or a TOML or
    JSON of task = percentage."""
    runs_dir: Path | None = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsFlags:
    """List the runs of this directory, newest first; `sftui runs rm RUN` removes one.

    Examples:
      sftui runs
      sftui runs rm 20260102-030405-starter
    """

    runs_dir: Annotated[Path | None, tyro.conf.arg(name="runs-dir")] = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFlags:
    """Show what of a run would be deleted, ask, and delete it. A running run is refused.

    Examples:
      sftui runs rm 20260102-030405-starter
      sftui runs rm 20260102-030405-starter --yes
    """

    run: tyro.conf.Positional[str]
    """Run id, its beginning or name, or its folder."""
    runs_dir: Path | None = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""
    yes: bool = False
    """Do not ask."""
