"""What typed lines do: a verb alone acts as its key, one with arguments has a method here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from engine.control import Command
from engine.errors import SftuiError, UsageError
from sftui.actions.chart_actions import ChartActions
from sftui.actions.replay_actions import ReplayActions
from sftui.actions.verb_checks import VerbChecks
from sftui.cockpit.screen_request import Onward

if TYPE_CHECKING:
    from sftui.checkpoints.jobs import Job
    from sftui.compare.baseline import Baseline
    from sftui.report.chart_files import Kind
    from sftui.verbs.completion import Around
    from sftui.verbs.typed import Typed
    from sftui.view.past_run import PastRun

MOST_LINES = 50
"""Typed lines that are remembered."""
JOB_POLL_SECONDS = 0.25


class VerbActions(VerbChecks, ReplayActions, ChartActions):
    """The line of `:` and `ctrl+p`, and its verbs."""

    typed_lines: list[str]
    """Newest first."""
    onward: Onward | None = None
    """What is opened when this screen has closed."""
    _report_job: Job | None = None

    # ---- the line --------------------------------------------------------------------------

    def action_command_palette(self) -> None:
        self.open_line()

    def action_ask_rate(self) -> None:
        self.open_line("lr ")

    def action_ask_more_steps(self) -> None:
        self.open_line("pause in ")

    def open_line(self, line: str = "") -> None:
        """Show the line with this text in it."""
        if self.cockpit is None or self.screen.is_modal:
            return
        # As every modal screen: imported when it is opened.
        from sftui.screens.command_line import CommandLine  # noqa: PLC0415
        from sftui.verbs.preview import preview  # noqa: PLC0415

        cockpit = self.cockpit
        around = self._around()

        def preview_of(text: str) -> str:
            return preview(text, cockpit.state, around.mode)

        def problem_of(typed: Typed) -> str:
            try:
                self.check(typed)
            except SftuiError as error:
                return str(error)
            return ""

        asked = CommandLine(around, self.keys, preview_of, problem=problem_of, line=line)
        self.push_screen(asked, self._typed)

    def _around(self) -> Around:
        from engine.run import run_dir  # noqa: PLC0415
        from engine.step.run_plan import CHATCORE  # noqa: PLC0415
        from sftui.verbs.completion import Around  # noqa: PLC0415  as above

        cockpit = self._cockpit
        runs = run_dir.list_runs(cockpit.runs_root)
        return Around(
            mode="live" if cockpit.view.replay is None else "replay",
            tasks=tuple(cockpit.state.evals) or CHATCORE,
            runs=tuple(run.id for run in runs if run.path != cockpit.folder),
            themes=tuple(sorted(self.available_themes)),
            recent=tuple(self.typed_lines),
        )

    def _typed(self, line: str | None) -> None:
        if not line:
            return
        self.typed_lines = [line, *(old for old in self.typed_lines if old != line)][:MOST_LINES]
        self.do(line)

    def do(self, line: str) -> None:
        """Do what a line says, or say why not."""
        from sftui.verbs.typed import read  # noqa: PLC0415  as above

        mode = "live" if self._cockpit.view.replay is None else "replay"
        try:
            self._act(read(line, mode))
        except SftuiError as error:
            self.tell(str(error), title="Not done")

    def _act(self, typed: Typed) -> None:
        from sftui.verbs.verb_table import action_of  # noqa: PLC0415  as above

        if typed.alone and (action := action_of(typed.verb)):
            self._run_key(action, closes_charts=typed.verb.group == "views")
            return
        doer: Callable[[Typed], None] = getattr(self, f"verb_{typed.verb.name}")
        doer(typed)

    def _run_key(self, action: str, *, closes_charts: bool) -> None:
        """As if its key were pressed over the panels, or on the page of charts where that has
        one of the same name."""
        from textual.actions import parse  # noqa: PLC0415

        _, name, arguments = parse(action)
        page = self._cockpit.chart_screen
        if page is not None and (own := getattr(page, f"action_{name}", None)) is not None:
            own(*arguments)
            return
        if page is not None and closes_charts:
            page.action_close_charts()
        getattr(self, f"action_{name}")(*arguments)

    # ---- the run ---------------------------------------------------------------------------

    def _say(self, problem: str) -> None:
        if problem:
            self.tell(problem, title="Not sent")

    def action_ask_pause(self) -> None:
        self._say(self._cockpit.ask(Command.PAUSE))

    def action_ask_resume(self) -> None:
        self._say(self._cockpit.ask(Command.RESUME))

    def verb_pause(self, typed: Typed) -> None:
        # The engine's word for it: go on for so many steps, then pause.
        self._say(self._cockpit.ask(Command.RESUME, typed.number))

    verb_resume = verb_pause

    def verb_lr(self, typed: Typed) -> None:
        self._say(self._cockpit.ask(Command.LR_FACTOR, typed.number))

    def verb_eval(self, typed: Typed) -> None:
        row = self._asked_checkpoint()
        questions = None if typed.number is None else int(typed.number)
        if problem := self._cockpit.checkpoints.start_eval(row, typed.text, questions):
            raise UsageError(problem)
        self._run_key("browse", closes_charts=True)

    # ---- the replay ------------------------------------------------------------------------

    def verb_speed(self, typed: Typed) -> None:
        speed = typed.number
        assert speed is not None
        said = self._cockpit.move(lambda playback: playback.set_speed(speed))
        self._wake()
        self.tell(f"Speed {said}.")

    # ---- views -----------------------------------------------------------------------------

    def verb_panel(self, typed: Typed) -> None:
        if (page := self._cockpit.chart_screen) is not None:
            page.action_close_charts()
        self._cockpit.dashboard.focus_panel(typed.text)

    def verb_find(self, typed: Typed) -> None:
        if (page := self._cockpit.chart_screen) is not None:
            page.action_close_charts()
        self.action_search_log()
        if self._cockpit.view.log.typing:
            self.action_erase_search(True)
            self.action_type_search(typed.text)
            self.action_accept_search()

    def verb_open(self, typed: Typed) -> None:
        self.leave_for(self._words_of(typed.text))

    def action_pick_run(self) -> None:
        """The list of runs and logs; what is picked there takes the place of this screen."""
        from sftui.screens.picker import PickerScreen, Words  # noqa: PLC0415  as above
        from sftui.sources.run_briefs import memory_path  # noqa: PLC0415  as above
        from sftui.sources.run_entries import EntryFeed  # noqa: PLC0415  as above

        def picked(words: Words) -> None:
            self.pop_screen()
            if words:
                self.leave_for(words, back=words[0] == "compare")

        cockpit = self._cockpit
        feed = EntryFeed(cockpit.runs_root, Path.cwd(), memory_path())
        self.push_screen(PickerScreen(feed, self.keys, picked, now=time.time))

    def verb_compare(self, typed: Typed) -> None:
        words = ("compare", self._cockpit.request.target, self._other_run(typed.text))
        self.leave_for(words, back=True)

    def leave_for(self, words: tuple[str, ...], *, back: bool = False) -> None:
        """Close this screen and show another; `back`: this one again after it."""
        again = self._cockpit.request.again if back else ()
        self.onward = Onward(words=words, back=again)
        self.exit()

    def action_toggle_past(self) -> None:
        """The last comparable run behind the curve, or away with it."""
        if self._cockpit.view.past is not None:
            self._cockpit.use_past(None)
            self.tell("No past run any more.")
        else:
            self._read_past(None)

    def verb_past(self, typed: Typed) -> None:
        self._read_past(typed.text)

    def _read_past(self, target: str | None) -> None:
        self.tell("Reading the past run …")
        folder, root = self._cockpit.folder, self._cockpit.runs_root

        def read() -> None:
            from sftui.cockpit import past_runs  # noqa: PLC0415  all readers of logs

            try:
                found = past_runs.read(target, folder, root)
            except SftuiError as error:
                self.call_from_thread(self.tell, str(error), title="Not done")
            else:
                self.call_from_thread(self._take_past, found)

        threading.Thread(target=read, name="past-run", daemon=True).start()

    def _take_past(self, found: PastRun) -> None:
        self._cockpit.use_past(found)
        self.tell(f"The pale line is {found.name}.")

    def verb_baseline(self, typed: Typed) -> None:
        self.tell(f"Reading {typed.text} …")
        runs_root = self._cockpit.runs_root

        def read() -> None:
            from sftui.compare import baseline  # noqa: PLC0415  all readers of logs

            try:
                found = baseline.load(str(Path(typed.text).expanduser()), runs_root)
            except SftuiError as error:
                words = str(error).replace("--baseline", "baseline")  # a verb here, and no flag
                self.call_from_thread(self.tell, words, title="Not done")
            else:
                self.call_from_thread(self._take_baseline, found)

        threading.Thread(target=read, name="baseline", daemon=True).start()

    def _take_baseline(self, found: Baseline) -> None:
        self._cockpit.use_baseline(found)
        self.tell(f"Accuracies are compared with {found.name} as well.")

    def verb_export(self, typed: Typed) -> None:
        from sftui.screens.copying import export_from  # noqa: PLC0415  as above

        export_from(self.screen, (cast("Kind", typed.text),))

    def verb_report(self, typed: Typed) -> None:
        self._report(typed.text)

    def action_write_report(self) -> None:
        self._report("en")

    def _report(self, language: str) -> None:
        from sftui.checkpoints.jobs import Job  # noqa: PLC0415  as above

        if self._report_job is not None:
            self.tell("One at a time: a report is being written.")
            return
        cockpit = self._cockpit
        baseline = cockpit.request.baseline
        words = ["report", cockpit.request.target, "--lang", language]
        words += list(baseline.flags) if baseline is not None else []
        if language != "en" and cockpit.folder is not None:
            words += ["-o", str(cockpit.folder / f"report.{language}.md")]
        try:
            self._report_job = Job("writing the report", words, Path.cwd())
        except OSError as error:
            raise UsageError(f"the report could not be started: {error.strerror}.") from None
        self.tell("Writing the report …")
        self.set_timer(JOB_POLL_SECONDS, self._look_at_report)

    def _look_at_report(self) -> None:
        job = self._report_job
        if job is None:
            return
        if job.code is None:
            self.set_timer(JOB_POLL_SECONDS, self._look_at_report)
            return
        lines = [line.removeprefix("sftui: ") for line in job.lines()]
        job.close()
        self._report_job = None
        # Its pictures lie beside it, and would fill the notice.
        told = next((line for line in lines if line.startswith("report in ")), "")
        if job.code == 0 and told:
            self.tell(f"{told[0].upper()}{told[1:]}.")
        else:
            self.tell(" ".join(lines[-2:]), title="" if job.code == 0 else "Not done")

    # ---- looks -----------------------------------------------------------------------------

    def verb_theme(self, typed: Typed) -> None:
        self._check_theme(typed.text)
        self.theme = typed.text

    def verb_x(self, typed: Typed) -> None:
        if missing := self._cockpit.charts.set_x_axis(self._cockpit.state, typed.text):
            raise UsageError(missing)
