"""`sftui report`: from what was typed to the files."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sftui import report
from sftui.compare import baseline
from sftui.report import language


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFlags:
    """Write the report of a run or log: Markdown, with pictures as SVG and PNG beside it.

    Examples:
      sftui report
      sftui report run.log --baseline base.toml --lang zh -o report.zh.md
    """

    target: tyro.conf.Positional[str | None] = None
    """Run id, its beginning or name, its folder, or a log (default: the newest run)."""
    baseline: str | None = None
    """Compare with this: a run (or RUN:STEP), a results file of `sftui eval`, a log, or a TOML or
    JSON of task = percentage."""
    lang: str = "en"
    """en or zh."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File to write (default: report.md in the run's folder; of a log, LOG.report.md here)."""
    runs_dir: str | None = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""


def run(flags: ReportFlags) -> list[str]:
    """Write the report; what was written, a line each.

    Raises:
        UsageError: no such run or log, no such language, or the place is not writable.
    """
    lang = language.lang(flags.lang)
    found = baseline.load(flags.baseline, flags.runs_dir) if flags.baseline is not None else None
    case = report.open_case(
        flags.target,
        flags.runs_dir,
        baseline=found,
        baseline_target=flags.baseline,
        command=command_line(flags, lang),
    )
    path = report.target_path(case, flags.output, lang)
    written = report.write(case, path, lang)
    lines = [f"report in {written.report}"]
    if written.pictures:
        names = ", ".join(picture.name for picture in written.pictures)
        lines.append(f"pictures beside it: {names}")
    return lines


def command_line(flags: ReportFlags, lang: language.Lang) -> str:
    """What writes the same report again; file names without the folders of this machine."""
    words = ["sftui", "report"]
    if flags.target is not None:
        words.append(Path(flags.target).name or flags.target)
    if flags.baseline is not None:
        words += ["--baseline", Path(flags.baseline).name or flags.baseline]
    if lang != "en":
        words += ["--lang", lang]
    return shlex.join(words)
