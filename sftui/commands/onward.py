"""From one screen to the next: what a person asked for on one is shown when that has closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import SftuiError
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui import diagnostics
from sftui.cockpit.screen_request import Onward
from sftui.commands import watch
from sftui.commands.screen_flags import ReplayFlags

if TYPE_CHECKING:
    from sftui.diagnostics import ExitCode
    from sftui.statistics.scores import Yardstick


PICK = "pick"
"""The command of the list of runs and logs."""
SIGNALLED = 128
"""Exit codes from here on are of signals."""


def watch_screen(
    run: RunDir,
    launcher: Callable[[], object] | None,
    baseline: Yardstick | None = None,
    on_event: str | None = None,
) -> ExitCode:
    """The screen of a run, and whatever is asked for from there."""
    return follow(*watch.show_run(run, launcher, baseline, on_event), run.path.parent)


def watch_replay(
    flags: ReplayFlags,
    *,
    plain: bool,
    baseline: Yardstick | None = None,
    charts: Path | None = None,
) -> ExitCode:
    """Replay a run or log, and show whatever is asked for from there. `charts`: where they are
    written."""
    shown = watch.show_replay(flags, plain=plain, baseline=baseline, charts=charts)
    return follow(*shown, flags.runs_dir)


def watch_picker(runs_dir: Path | None = None) -> ExitCode:
    """The list of runs and logs, whatever is picked there, and the list again."""
    from sftui.diagnostics import ExitCode  # noqa: PLC0415  for type checking alone elsewhere

    return follow(ExitCode.DONE, Onward(words=(PICK,)), runs_dir)


def follow(code: ExitCode, onward: Onward | None, runs_dir: Path | None = None) -> ExitCode:
    """Show what was asked for, then what was asked for there, until nothing was.

    Returns the exit code of the last screen. A target that cannot be shown ends it, but for
    one with a screen to come back to. A signal that ended a screen ends all.
    """
    while onward is not None and code < SIGNALLED:
        back = onward.back
        try:
            code, asked = show(onward.words, runs_dir)
        except SftuiError as error:
            if not back:
                raise
            diagnostics.note(str(error))
            asked = Onward(words=(*back, str(error))) if back[0] == PICK else None
        onward = asked or (Onward(words=back) if back else None)
    return code


def show(words: tuple[str, ...], runs_dir: Path | None = None) -> tuple[ExitCode, Onward | None]:
    """One screen: `pick`, `attach RUN`, `replay LOG` or `compare A B ...`.

    Raises:
        SftuiError: what it names cannot be shown.
    """
    command, *targets = words
    match command:
        case "pick":
            from sftui import picker_app  # noqa: PLC0415  Textual

            return picker_app.run_screen(runs_dir, *targets)
        case "attach":
            run = run_dir.find(targets[0], run_dir.runs_root(runs_dir))
            return watch.show_run(run, None)
        case "replay":
            return watch.show_replay(ReplayFlags(log=targets[0], runs_dir=runs_dir))
        case _:
            from sftui import compare_app  # noqa: PLC0415  Textual

            return compare_app.run_screen(targets, runs_dir), None
