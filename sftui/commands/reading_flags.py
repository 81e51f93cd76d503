"""What can be typed after the commands that read, ask or remove runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from engine.control import Command
from sftui.commands.options import Typed
from sftui.commands.shared_flags import (
    FORMAT,
    LOG,
    MAP,
    OUTPUT,
    RUN,
    BaselineFlags,
    LogFlags,
    RunsDirFlags,
)

REQUEST = Typed(metavar="REQUEST", positional=True, choices=tuple(c.value for c in Command))


@dataclass(frozen=True, slots=True, kw_only=True)
class CtlFlags(RunsDirFlags):
    """Ask a running run for something, wait for its answer and print it.

    Examples:
      sftui ctl 20260102-030405-starter pause
      sftui ctl 2026 lr 0.5
    """

    run: Annotated[str, RUN]
    """Run id, its beginning or name, or its folder."""
    command: Annotated[str, REQUEST]
    """pause, resume, eval, cancel (the evaluation that runs), checkpoint, stop or lr."""
    argument: Annotated[str | None, Typed(metavar="VALUE", positional=True)] = None
    """Of lr: the factor on the schedule. Of resume: pause again after so many steps."""
    timeout: float = 120.0
    """Seconds to wait for the answer; the request expires then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowFlags(BaselineFlags, LogFlags):
    """Show a run or log as it stands, without a screen: a summary and a chart, or JSON.

    `--series` prints the points of one number instead, or of several (`'val/*'`), as CSV or JSON.

    Examples:
      sftui show
      sftui show run.log --json
      sftui show run.log --series loss --csv
    """

    target: Annotated[str | None, LOG] = None
    """Run id, its beginning or name, its folder, or a log (default: the newest run)."""
    json: bool = False
    """Print the machine-readable form."""
    series: Annotated[str | None, Typed(metavar="NAME")] = None
    """Print the points of this number: loss, val/loss, accuracy/MMLU, lr/..., or a pattern."""
    csv: bool = False
    """Of --series: as CSV, which it is without --json too; `sftui replay` reads it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorFlags:
    """Say what this machine is, for a bug report, and what is wrong with it.

    Box, torch build, driver, NCCL, cards, allocator, /dev/shm, versions, file system of the
    runs; then each fault in a sentence with its remedy. Nothing is started or changed.

    Examples:
      sftui doctor
      sftui doctor --json
    """

    json: bool = False
    """The same as JSON, for programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsFlags(RunsDirFlags):
    """List the runs of this directory, newest first; `sftui runs rm RUN` removes one.

    Examples:
      sftui runs
      sftui runs rm 20260102-030405-starter
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFlags(RunsDirFlags):
    """Show what of a run would be deleted, ask, and delete it. A running run is refused.

    Examples:
      sftui runs rm 20260102-030405-starter
      sftui runs rm 20260102-030405-starter --yes
    """

    run: Annotated[str, RUN]
    """Run id, its beginning or name, or its folder."""
    yes: bool = False
    """Delete without asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFlags(RunsDirFlags):
    """Two or more runs or logs of any format: curves on each other, settings, paired statistics.

    On a terminal this opens a screen; the first is what the others are compared with, until
    another is pinned. Runs that are alive are followed. Runs with commas between them are the
    seeds of one recipe: then recipes are compared, and printed. Verdicts are of the last results
    of both, whatever x measures.

    Examples:
      sftui compare 20260102-030405-starter 20260103-040506-starter
      sftui compare small.log large.log --by tokens --metric grad_norm
      sftui compare A1,A2,A3 B1,B2,B3
      sftui compare run.log trainer_state.json --json
    """

    a: Annotated[str, LOG]
    """The one compared with: a run id, its beginning or name, a folder, or a log."""
    b: Annotated[str, LOG]
    """The one compared with it."""
    more: Annotated[tuple[str, ...], LOG] = ()
    """More of them, each compared with the first."""
    plain: bool = False
    """Print, also on a terminal."""
    by: Literal["step", "tokens", "time", "share"] = "step"
    """What x measures: updates, tokens, wall time, or the share of the planned run in percent."""
    metric: Annotated[str | None, Typed(metavar="NAME")] = None
    """What the chart shows: grad_norm, accuracy/MMLU, tokens/s ... (default: the training loss)."""
    format: Annotated[str | None, FORMAT] = None
    """Of logs: read all as this format, or each as its own of a list with commas (default: found
    out); kept beside them."""
    map: Annotated[str | None, MAP] = None
    """Of logs: what their names mean, as step=global_step,train.loss=closs; kept beside them."""
    stage: Annotated[str | None, Typed(metavar="N")] = None
    """Of logs of several programs: the one meant, counted from 1, or a list with commas, one each
    (default: the SFT stage)."""
    json: bool = False
    """Print the machine-readable form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFlags(BaselineFlags, LogFlags):
    """Write the report of a run or log: Markdown, with pictures as SVG and PNG beside it.

    Examples:
      sftui report
      sftui report run.log --baseline base.toml --lang zh -o report.zh.md
    """

    target: Annotated[str | None, LOG] = None
    """Run id, its beginning or name, its folder, or a log (default: the newest run)."""
    lang: Annotated[str, Typed(metavar="{en,zh}", choices=("en", "zh"))] = "en"
    """English or Chinese."""
    output: Annotated[Path | None, OUTPUT] = None
    """File to write (default: report.md in the run's folder; of a log, LOG.report.md here)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionFlags(RunsDirFlags):
    """Which questions a run gained and lost between two evaluations, with both answers.

    Examples:
      sftui questions
      sftui questions 20260102-030405-starter --task MMLU --from 100 --to 1952 --json
    """

    run: Annotated[str | None, RUN] = None
    """Run id, its beginning or name, or its folder (default: the newest run)."""
    task: Annotated[str | None, Typed(metavar="NAME")] = None
    """One task (default: all that were evaluated twice)."""
    from_: Annotated[int | None, Typed(metavar="STEP")] = None
    """Step of the evaluation before (default: the first)."""
    to: Annotated[int | None, Typed(metavar="STEP")] = None
    """Step of the evaluation now (default: the last)."""
    kind: Literal["flipped", "gained", "lost", "all"] = "flipped"
    """Which questions are printed."""
    limit: int = 20
    """Most questions printed per task; 0 prints all. JSON always holds all."""
    json: bool = False
    """Print the machine-readable form."""
