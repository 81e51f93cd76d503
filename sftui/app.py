"""The Textual app: first frame, keys, screens, signals, and how it ended.

Light on purpose: what it imports at the top is paid before the first frame. The
work between two frames is `cockpit`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textual.screen import Screen

from engine.control import Command
from engine.errors import SftuiError
from sftui import diagnostics
from sftui.actions.cockpit_app import CockpitApp
from sftui.actions.verb_actions import VerbActions
from sftui.keys import key_table
from sftui.keys import keymap as keymap_module
from sftui.keys import preferences as preferences_module
from sftui.keys.bindings import rebind
from sftui.keys.keymap import Keymap
from sftui.keys.preferences import Preferences
from sftui.screens.first_frame import FirstFrame
from sftui.terminal.terminal_app import BOXES

if TYPE_CHECKING:
    from sftui.cockpit.cockpit import Cockpit
    from sftui.cockpit.notices import Notices
    from sftui.cockpit.screen_request import Onward, ScreenRequest
    from sftui.sources import Source
    from sftui.state.run_state import RunState


GC_THRESHOLDS = (50_000, 20, 20)
"""Of `gc`, while a screen is open: a collection of reference cycles costs some milliseconds."""


SCREENS = (
    "sftui.screens.confirm",
    "sftui.screens.browser",
    "sftui.screens.help",
    "sftui.screens.charts",
)
"""Modules of the screens that keys open, the most urgent first."""
PREPARE_SECONDS = 0.2
"""Between the imports of two of them."""


class Outcome(enum.Enum):
    """How the screen ended."""

    LEFT_RUNNING = "left running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"
    """The run's processes are gone and no event says why."""
    START_FAILED = "start failed"


class ScreenExit(NamedTuple):
    """What a command prints after the screen is gone."""

    outcome: Outcome
    state: RunState
    reason: str = ""
    error: BaseException | None = None
    """What went wrong at the start, or in the screen itself."""
    told_to_end: bool = False
    """Whether the screen closed because the process got a SIGTERM."""
    ended_by: int | None = None
    """The signal it left because of."""
    onward: Onward | None = None
    """What was asked to be shown next."""


class SftuiApp(VerbActions, CockpitApp):
    """The screen over one run, or over the replay of one."""

    def __init__(
        self,
        request: ScreenRequest,
        *,
        now: Callable[[], float] = time.time,
        preferences: Preferences | None = None,
        keymap: Keymap | None = None,
    ) -> None:
        """`now`: wall clock, seconds since the epoch.

        `preferences`: how the screen was shown last; None remembers nothing. `keymap`: other keys
        than those of the table.
        """
        super().__init__(preferences, keymap)
        rebind(self, self.keys.of_app())
        self.request = request
        self.error: BaseException | None = None
        """What `request.launch` raised."""
        self._now = now
        self._preferences = preferences
        self.typed_lines = list(map(str, preferences.typed)) if preferences is not None else []
        self._opened = False
        """Whether the page of charts was opened for a log that has no loss."""

    @property
    def source(self) -> Source:
        return self.request.source

    # ---- life ------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """Over a run, an outline while the panels are imported; over a log, the dashboard with what
        was read so far."""
        if self.request.replay_of is None:
            return FirstFrame(self.request.title, self.keys)
        self.cockpit = self._make_cockpit()
        self.cockpit.tick()
        return self.cockpit.dashboard

    def on_mount(self) -> None:
        self.call_after_refresh(self.first_frame)

    async def first_frame(self) -> None:
        """Called after the first frame: start the run, then import and show the panels."""
        if self.cockpit is None:
            cockpit = self._make_cockpit()
            launch = self.request.launch
            if launch is not None:
                cockpit.launching = True
                threading.Thread(
                    target=self._start_run, args=(cockpit, launch), name="launch", daemon=True
                ).start()
            await self.push_screen(cockpit.dashboard)
            self.cockpit = cockpit
        self._tick()
        # What was made for the start stays: it is never searched for reference cycles again.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._prepare(list(SCREENS))

    def _prepare(self, modules: list[str]) -> None:
        """Import what the keys will open, one module after the other while nothing happens: the
        first `c` took twice as long as the next."""

        def import_next() -> None:
            if not self._exit and self.is_running:
                if not self.stylesheet.has_source(str(BOXES), ""):
                    self.stylesheet.read(BOXES)
                    self.stylesheet.parse()
                importlib.import_module(modules.pop(0))
                self._prepare(modules)

        if modules:
            asyncio.get_running_loop().call_later(PREPARE_SECONDS, import_next)

    def _make_cockpit(self) -> Cockpit:
        # numpy, events and panels: as long again as Textual itself, not before the first frame.
        from sftui.cockpit.cockpit import Cockpit  # noqa: PLC0415

        cockpit = Cockpit(self.request, now=self._now, notices=self._notices(), keys=self.keys)
        if self._preferences is not None:
            cockpit.prefer(self._preferences)
        return cockpit

    def _notices(self) -> Notices | None:
        """Bell and command over a run; None over a replay, whose events are old."""
        if self.request.replay_of is not None:
            return None
        from sftui.cockpit.notices import Notices, terminal_notice  # noqa: PLC0415  as above

        def call(text: str) -> None:
            if self._driver is not None:
                self._driver.write(terminal_notice(text))

        return Notices(self._now(), call=call, command=self.request.on_event)

    def preferences(self) -> Preferences | None:
        """What to remember of how the screen is shown; None when nothing is remembered."""
        if self._preferences is None or self.cockpit is None:
            return None
        return replace(self.cockpit.preferences(self.theme), typed=self.typed_lines)

    def _start_run(self, cockpit: Cockpit, launch: Callable[[], object]) -> None:
        try:
            launch()
        except BaseException as error:  # carried to the command, which prints it
            self.error = error
            self.call_from_thread(self.exit)
        finally:
            cockpit.launching = False

    def forget_colours(self) -> None:
        if self.cockpit is not None:
            for panel in {*self.cockpit.dashboard.panels, *self.cockpit.front.panels}:
                panel.forget_colours()

    # ---- keys ------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key acts now: only over the panels, in the mode it is for."""
        if action in _ALWAYS or action not in _MODES:
            return True
        if self.cockpit is None or self.screen is not self.cockpit.dashboard:
            return False
        if _MODES[action] == "search":
            return self.cockpit.view.log.searching
        if _MODES[action] == "look":
            return self.cockpit.view.looking
        return _MODES[action] in ("", self.cockpit.view.mode)

    def action_toggle_pause(self) -> None:
        self._say(self._cockpit.ask_pause_or_resume())

    def action_ask_evaluate(self) -> None:
        self._say(self._cockpit.ask(Command.EVALUATE))

    def action_ask_cancel(self) -> None:
        self._say(self._cockpit.ask(Command.CANCEL))

    def action_ask_checkpoint(self) -> None:
        self._say(self._cockpit.ask(Command.CHECKPOINT))

    def action_ask_stop(self) -> None:
        if not self._cockpit.takes_requests:
            self._say(self._cockpit.ask(Command.STOP))  # says that there is nothing to stop
            return
        # Modal screens are imported when they are opened: the first frame does not need them.
        from sftui.screens.confirm import Answer, Confirm  # noqa: PLC0415

        detail = self._cockpit.what_a_stop_does
        answers = (Answer("y", "stop", "stop the run"),)
        self.push_screen(
            Confirm("Stop this run?", detail, answers, lambda: self._cockpit.over), self._answered
        )

    def action_interrupt(self) -> None:
        if self.cockpit is None or not self.cockpit.takes_requests:
            self.exit()
            return
        if self.screen is not self.cockpit.dashboard:
            return
        from sftui.screens.confirm import Answer, Confirm  # noqa: PLC0415  as above

        detail = "Training does not need this screen."
        answers = (
            Answer("q", "leave", "leave it running; `sftui attach` comes back"),
            Answer("x", "stop", f"stop the run{self._cockpit.how_a_stop_saves}"),
        )
        self.push_screen(
            Confirm("Leave or stop?", detail, answers, lambda: self._cockpit.over), self._answered
        )

    def _answered(self, value: str | None) -> None:
        if value == "stop":
            self._say(self._cockpit.ask(Command.STOP))
        elif value == "leave":
            self.exit()

    def action_leave(self) -> None:
        self.exit()

    # ---- screens ---------------------------------------------------------------------------

    def action_browse(self) -> None:
        from sftui.screens.browser import Browser  # noqa: PLC0415  as above

        self.push_screen(Browser(self._cockpit))

    def action_browse_chosen(self) -> None:
        """The browser with its cursor on the row that was clicked."""
        from sftui.screens.browser import Browser  # noqa: PLC0415  as above

        self.push_screen(Browser(self._cockpit, self._cockpit.dashboard.chosen_checkpoint))

    def action_show_questions(self) -> None:
        from sftui.screens.questions import QuestionsScreen  # noqa: PLC0415  as above

        self.push_screen(QuestionsScreen(self._cockpit))

    def action_show_rows(self) -> None:
        from sftui.screens.rows import RowsScreen  # noqa: PLC0415  as above

        self.push_screen(RowsScreen(self._cockpit))

    def action_show_charts(self) -> None:
        from sftui.screens.charts import ChartsScreen  # noqa: PLC0415  as above

        cockpit = self._cockpit
        replay = cockpit.view.replay is not None
        page = ChartsScreen(
            cockpit.state,
            cockpit.view,
            cockpit.charts,
            pause=self.action_toggle_clock if replay else self.action_toggle_pause,
            on_close=lambda: cockpit.bring_front(None),
        )
        cockpit.bring_front(page)
        self.push_screen(page)

    def _tick(self) -> None:
        super()._tick()
        if not self._opened and self._cockpit.only_charts:
            self._opened = True
            if self.screen is self._cockpit.dashboard:
                self.action_show_charts()

    def action_show_facts(self) -> None:
        from sftui.screens.run_panel import RunPanel  # noqa: PLC0415  as above
        from sftui.view.run_facts import sections, stage_sections  # noqa: PLC0415  as above

        cockpit = self._cockpit
        facts = [*stage_sections(cockpit.view.replay), *sections(cockpit.state)]
        self.push_screen(RunPanel(facts))

    @property
    def chart_folder(self) -> Path:
        """In the run's folder; over another program's log, here."""
        folder = self.request.folder
        if self.request.charts is not None:
            return self.request.charts
        return super().chart_folder if folder is None else folder / "charts"

    def action_copy_here(self) -> None:
        from sftui.screens.copying import copy_from  # noqa: PLC0415  as above

        copy_from(self.screen)

    def action_export_chart(self) -> None:
        from sftui.screens.copying import export_from  # noqa: PLC0415  as above

        export_from(self.screen)

    def action_help(self) -> None:
        from sftui.screens.help import Help  # noqa: PLC0415  as above

        mode = "live" if self._cockpit.view.replay is None else "replay"
        self.push_screen(Help(self.keys, mode=mode))


_MODES = {
    key.action.split("(")[0]: key.mode
    for key in key_table.TABLE
    if key.action != "command_palette" and key.mode not in key_table.SCREENS
}
"""Name of an action of ours -> the mode in which its key acts; empty for both."""
_ALWAYS = frozenset({"leave", "interrupt"})
"""Actions that work from the first frame on, before the panels are there."""


def _ignore_exported_size() -> None:
    """Drop COLUMNS and LINES where the terminal tells its size: Textual prefers them, and some
    shells export them once and never again."""
    with contextlib.suppress(OSError, ValueError):
        if sys.__stdout__ is not None and all(os.get_terminal_size(sys.__stdout__.fileno())):
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)


def run_screen(request: ScreenRequest) -> ScreenExit:
    """Show `request.source` until the user leaves.

    Raises:
        SftuiError: `request.launch` refused; the terminal is restored and nothing was started.
    """
    _ignore_exported_size()
    keymap = keymap_module.load()
    if keymap.said:
        diagnostics.note(keymap.said)
    app = SftuiApp(request, preferences=preferences_module.load(), keymap=keymap)
    from sftui.terminal import ascii_glyphs  # noqa: PLC0415  numpy; the first frame waits for neither

    app.ascii = ascii_glyphs.needed()
    try:
        app.run_in_terminal()
    finally:
        if app.cockpit is not None:
            app.cockpit.checkpoints.close()
            app.cockpit.view.log.close()
    if (kept := app.preferences()) is not None:
        preferences_module.save(kept)
    from sftui.state.run_state import RunState  # noqa: PLC0415  numpy, needed by now anyway

    state = app.cockpit.state if app.cockpit else RunState()
    onward = app.onward
    trouble = app.cockpit.view.trouble if app.cockpit else ""
    if isinstance(app.error, SftuiError):
        raise app.error
    if app.error is not None:
        return ScreenExit(
            outcome=Outcome.START_FAILED, state=state, reason=str(app.error), error=app.error
        )
    # Set when one of our handlers raised; Textual has restored the terminal and printed where.
    broken = app._exception
    if broken is None and app.ended_by is None and app._exit_renderables:
        # A thread of Textual's failed: it ends the screen and knows no exception of ours.
        broken = RuntimeError("the terminal's driver failed; what it said stands above")
    if state.end is not None:
        known = {"finished": Outcome.FINISHED, "stopped": Outcome.STOPPED}
        outcome = known.get(state.end.status, Outcome.FAILED)
        return ScreenExit(
            outcome=outcome,
            state=state,
            reason=state.end.reason,
            error=broken,
            ended_by=app.ended_by,
            onward=onward,
        )
    if trouble:
        return ScreenExit(
            outcome=Outcome.LOST,
            state=state,
            reason=trouble,
            error=broken,
            ended_by=app.ended_by,
            onward=onward,
        )
    return ScreenExit(
        outcome=Outcome.LEFT_RUNNING,
        state=state,
        error=broken,
        told_to_end=app.told_to_end,
        ended_by=app.ended_by,
        onward=onward,
    )
