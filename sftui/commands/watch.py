"""Show a run until the user leaves or it ends, and print how to come back.

One place for the screen and for plain lines: which source, what is printed
afterwards, and the exit code.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import SftuiError
from engine.run.held_folder import HeldFolder
from engine.run.run_dir import RunDir
from sftui import diagnostics
from sftui.cockpit.screen_request import Onward, ScreenRequest
from sftui.diagnostics import ExitCode
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.paths import typed_path

if TYPE_CHECKING:
    from sftui.app import ScreenExit
    from sftui.commands.screen_flags import ReplayFlags
    from sftui.sources import Source
    from sftui.state.run_state import RunState
    from sftui.statistics.scores import Yardstick


def watch_plain(
    run: RunDir,
    launcher: Callable[[], object] | None,
    baseline: Yardstick | None = None,
    on_event: str | None = None,
) -> ExitCode:
    """Plain lines; Ctrl-C stops a run we started (twice: leaves it)."""
    from sftui.cockpit.notices import Notices  # noqa: PLC0415  numpy; a replay gives none
    from sftui.commands import plain  # noqa: PLC0415  the screen does not need it
    from sftui.sources.tail import TailSource  # noqa: PLC0415  psutil, of no use to a replay

    held = _held(run)
    source: Source = TailSource(run)
    lived = launcher is not None or source.alive()[0]
    if launcher is not None:
        launcher()
    try:
        notices = Notices(time.time(), call=lambda _: None, command=on_event)
        state, left = plain.watch(source, send_stop=launcher is not None, tell=notices.observe)
    finally:
        source.close()
    if left:
        _say_how_to_return(run)
        return ExitCode.INTERRUPTED
    _say_scores(run.path, baseline, state)
    return _closing(run, state, baseline, held=held, lived=lived)


def show_run(
    run: RunDir,
    launcher: Callable[[], object] | None,
    baseline: Yardstick | None = None,
    on_event: str | None = None,
) -> tuple[ExitCode, Onward | None]:
    """The screen. A run we start feeds it through the queue, any other through its files.

    Returns what is to be shown next as well.
    """
    # Textual: a quarter of a second that plain mode does not need.
    from sftui import app  # noqa: PLC0415
    from sftui.sources.live import LiveSource  # noqa: PLC0415  psutil, of no use to a replay
    from sftui.sources.tail import TailSource  # noqa: PLC0415  as above

    held = _held(run)
    # Made before the app runs: inside it, Textual's stand-in for stderr has no file number.
    source: Source = TailSource(run) if launcher is None else LiveSource(run)
    lived = launcher is not None or source.alive()[0]
    try:
        end = app.run_screen(
            ScreenRequest(
                source,
                title=run.id,
                launch=launcher,
                folder=run.path,
                baseline=baseline,
                on_event=on_event,
            )
        )
    finally:
        source.close()
    if end.onward is not None and end.error is None:
        return ExitCode.DONE, end.onward
    return _after(run, held, launcher, baseline, end, lived=lived), None


def _held(run: RunDir) -> HeldFolder | None:
    """The run's folder as it is now: while it is watched another may take its name."""
    with contextlib.suppress(OSError):
        return HeldFolder(run.path)
    return None


def _after(
    run: RunDir,
    held: HeldFolder | None,
    launcher: Callable[[], object] | None,
    baseline: Yardstick | None,
    end: ScreenExit,
    *,
    lived: bool,
) -> ExitCode:
    """Print how the run stands, and how to go on with it."""
    from sftui import app  # noqa: PLC0415  Textual, as above

    if end.error is not None:
        # The screen failed, not the run: say what and where, and how to look again.
        what = f"{type(end.error).__name__}: {end.error}"
        diagnostics.note(f"the screen failed: {clean(what, 300)}")
    if end.outcome in (app.Outcome.FINISHED, app.Outcome.STOPPED, app.Outcome.FAILED):
        code = _closing(run, end.state, baseline, held=held, lived=lived)
        return code if end.error is None or code else ExitCode.RUN_FAILED
    if end.outcome is app.Outcome.LOST:
        diagnostics.note(f"{run.id} was interrupted: {clean(end.reason, 300)}")
        _say_how_to_go_on(run, held)
        sys.stderr.write(f"sftui: what the ranks printed is in {run.logs}\n")
        return ExitCode.RUN_FAILED
    if launcher is not None and end.outcome is app.Outcome.LEFT_RUNNING and os.getpid() == 1:
        return _stay(run, held, baseline, told_to_end=end.told_to_end)
    _say_how_to_return(run)
    if end.ended_by is not None:
        return ExitCode(128 + end.ended_by)
    return ExitCode.DONE if end.error is None else ExitCode.RUN_FAILED


def _stay(
    run: RunDir, held: HeldFolder | None, baseline: Yardstick | None, *, told_to_end: bool
) -> ExitCode:
    """Wait for the run as process 1 of a container, whose exit would end the run."""
    from sftui.commands import plain  # noqa: PLC0415  the screen does not need it
    from sftui.sources.tail import TailSource  # noqa: PLC0415  as above

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # After the signal that ended the screen they had no effect; here they count again.
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    diagnostics.note("this is process 1 of its container: it stays here until the run ends.")
    diagnostics.note(f"  look again: sftui attach {run.id}, in the same container")
    source = TailSource(run)
    try:
        state, left = plain.watch(source, send_stop=True, history=False, told_to_end=told_to_end)
    finally:
        source.close()
    return ExitCode.INTERRUPTED if left else _closing(run, state, baseline, held=held)


def show_replay(
    flags: ReplayFlags,
    *,
    plain: bool = False,
    baseline: Yardstick | None = None,
    charts: Path | None = None,
) -> tuple[ExitCode, Onward | None]:
    """Replay a run or log on the screen, or as plain lines. `charts`: where they are written.

    Returns what is to be shown next as well.

    Raises:
        UsageError: no such file or run, no log that is known, or no such stage.
    """
    from sftui.sources import open_log  # noqa: PLC0415  thirteen readers

    opened = open_log.open_replay(
        flags.log,
        runs_dir=flags.runs_dir,
        format_name=flags.format,
        mapped=flags.map,
        follow=flags.follow,
        speed=flags.speed,
    )
    try:
        if flags.stage is not None:
            open_log.choose_stage(opened.source, flags.stage)
        if plain:
            from sftui.commands import plain as plain_lines  # noqa: PLC0415  the screen does not need it

            diagnostics.note(f"{opened.title}: {opened.source.format} ({opened.why})")
            state, left = plain_lines.watch(opened.source, send_stop=False)
            folder = opened.run.path if opened.run is not None else None
            _say_scores(folder, baseline, state)
            return ExitCode.INTERRUPTED if left else ExitCode.DONE, None
        from sftui import app  # noqa: PLC0415  Textual, as above

        end = app.run_screen(
            ScreenRequest(
                opened.source,
                title=opened.title,
                replay_of=opened.why,
                folder=opened.run.path if opened.run is not None else None,
                baseline=baseline,
                log=flags.log,
                runs_dir=flags.runs_dir,
                charts=charts,
            )
        )
        if opened.run is None:
            from sftui.sources import recent_logs  # noqa: PLC0415  after the screen

            recent_logs.remember(opened.path, end.state if opened.source.closed else None)
    finally:
        opened.source.close()
    if end.ended_by is not None:
        return ExitCode(128 + end.ended_by), None
    if end.error is not None:
        diagnostics.note(f"the screen failed: {clean(str(end.error), 300)}")
        return ExitCode.RUN_FAILED, None
    return ExitCode.DONE, end.onward


def _closing(
    run: RunDir,
    state: RunState,
    baseline: Yardstick | None,
    *,
    held: HeldFolder | None = None,
    lived: bool = True,
) -> ExitCode:
    """Print the outcome of a run that is over, and write its report.

    `lived`: it was alive while it was watched. Of any other, which may be a stranger's, nothing
    is written: it was only looked at. Nor is anything where its folder is not in its place: what
    has its name then is another run.
    """
    from engine.run import lock  # noqa: PLC0415  psutil

    best = state.best_validation
    ended = state.badge if state.ended else f"interrupted, {clean(lock.evidence(run)[1], 300)}"
    parts = [f"{run.id}: {ended}"]
    if state.reason:
        parts.append(clean(state.reason, 300))
    parts.append(f"{fmt.count(state.done)} updates")
    if best is not None:
        parts.append(f"best validation {fmt.loss(best.loss)} at step {best.step}")
    exported = [c.path for c in state.checkpoints.values() if c.exported and c.path]
    if exported:
        # Joined to the run's folder; an absolute one stays what it is.
        parts.append(f"exported to {typed_path(run.path / exported[-1])}")
    diagnostics.note("; ".join(parts))
    in_place = held is None or held.in_place()
    if not state.ended or state.badge == "stopped" or not in_place:
        _say_how_to_go_on(run, held)
    if lived and in_place:
        write_report(run, baseline)
    if state.ended and in_place and somebody_reads():
        _say_what_next(run, state)
    if state.badge in ("finished", "stopped"):
        return ExitCode.DONE
    sys.stderr.write(f"sftui: what the ranks printed is in {run.logs}\n")
    return ExitCode.RUN_FAILED


REPORT_SECONDS = 2.0
"""Longest wait for the report at the end of the command."""


def somebody_reads() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr.isatty()


def write_report(run: RunDir, baseline: Yardstick | None = None) -> None:
    """Write the report of a run that ended on a terminal; prints why where that fails.

    It compares with the baseline that the screen compared with.

    A process of its own: the first use of matplotlib on a machine searches all fonts,
    and the command should not wait for that.
    """
    if not somebody_reads():
        return
    import subprocess  # noqa: PLC0415  of no use to a replay

    command = [sys.executable, "-P", "-m", "sftui", "report", str(run.path)]
    command += baseline.flags if baseline is not None else ()
    try:
        writer = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        diagnostics.note(f"no report was written: {error.strerror}")
        return
    try:
        code = writer.wait(REPORT_SECONDS)
    except subprocess.TimeoutExpired:
        diagnostics.note(f"the report is being written to {typed_path(run.report)}")
        return
    if code == 0:
        diagnostics.note(f"report in {typed_path(run.report)}")
    else:
        diagnostics.note(f"no report was written; `sftui report {run.id}` says why")


def _say_scores(folder: Path | None, baseline: Yardstick | None, state: RunState) -> None:
    """The last evaluation of each task, against the start and the baseline."""
    if not state.evals:
        return
    # All of the statistics: an eighth of the start of a log that has no evaluation.
    from sftui.statistics import chatcore_looks  # noqa: PLC0415
    from sftui.statistics.scores import Scoreboard, score_lines  # noqa: PLC0415

    board = Scoreboard(folder, baseline)
    for line in [*score_lines(board, state), *chatcore_looks.lines(board, state)]:
        diagnostics.note(line)


def _say_how_to_go_on(run: RunDir, held: HeldFolder | None) -> None:
    place = run.path if held is None else held.where()
    if place is not None and place != run.path:
        diagnostics.note(f"  go on:      sftui run --resume {typed_path(place)}")
        return
    if place is None or not run.path.is_dir():
        diagnostics.note("  what it had saved went with the folder. If that was moved:")
        diagnostics.note(f"  go on:      sftui run --resume NEW-PLACE/{run.id}")
        return
    diagnostics.note(f"  go on:      sftui run --resume {run.id}")


def _say_what_next(run: RunDir, state: RunState) -> None:
    """What a person may type now that the run is over: to it, about it, beside another."""
    if state.loadable:
        diagnostics.note(f"  talk to it: sftui chat {run.id}")
    diagnostics.note(f"  look again: sftui attach {run.id}")
    if (before := _before(run)) is not None:
        diagnostics.note(f"  compare:    sftui compare {before.id} {run.id}")
    else:
        diagnostics.note(f"  write up:   sftui report {run.id}")


def _before(run: RunDir) -> RunDir | None:
    """The last run of the same model and data; of others the losses say nothing of this one's."""
    from sftui.cockpit import past_runs  # noqa: PLC0415  after the screen

    with contextlib.suppress(SftuiError):
        return next(past_runs.comparable(run, run.path.parent), None)
    return None


def _say_how_to_return(run: RunDir) -> None:
    diagnostics.note(f"{run.id} goes on without the screen.")
    diagnostics.note(f"  come back:  sftui attach {run.id}")
    diagnostics.note(f"  stop it:    sftui ctl {run.id} stop")
