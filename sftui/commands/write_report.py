"""`sftui report`: load what the flags name, and write the report and its pictures."""

from __future__ import annotations

import shlex
from pathlib import Path

from sftui import report
from sftui.commands.reading_flags import ReportFlags
from sftui.compare import baseline
from sftui.report import language
from sftui.text.paths import typed_path


def run(flags: ReportFlags) -> list[str]:
    """Write the report; returns a line for each thing written.

    Raises:
        UsageError: no such run or log, no such language, or the place is not writable.
    """
    lang = language.lang(flags.lang)
    found = baseline.load(flags.baseline, flags.runs_dir) if flags.baseline is not None else None
    facts = report.open_facts(
        flags.target,
        flags.runs_dir,
        baseline=found,
        baseline_target=flags.baseline,
        command=command_line(flags, lang),
        reading=flags.reading,
    )
    path = report.target_path(facts, flags.output, lang)
    written = report.write(facts, path, lang)
    lines = [f"report in {typed_path(written.report)}"]
    if written.pictures:
        names = ", ".join(picture.name for picture in written.pictures)
        lines.append(f"pictures beside it: {names}")
    return lines


def command_line(flags: ReportFlags, lang: language.Lang) -> str:
    """The command that writes the same report again; files without their folders."""
    words = ["sftui", "report"]
    if flags.target is not None:
        words.append(Path(flags.target).name or flags.target)
    if flags.baseline is not None:
        words += ["--baseline", Path(flags.baseline).name or flags.baseline]
    said = (("--format", flags.format), ("--map", flags.map), ("--stage", flags.stage))
    for flag, value in said:
        words += [flag, str(value)] if value is not None else []
    if lang != "en":
        words += ["--lang", lang]
    return shlex.join(words)
