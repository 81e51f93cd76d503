"""The Textual app: first frame, keys, screens, signals, and how it ended.

Light on purpose: what it imports at the top is paid before the first frame. The
work between two frames is `cockpit`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import SystemCommand
from textual.binding import BindingType
from textual.screen import Screen

from engine.control import Command
from engine.errors import SftuiError
from sftui import diagnostics
from sftui.actions.chart_actions import LookActions
from sftui.actions.log_actions import LogActions
from sftui.actions.replay_actions import ClockActions
from sftui.keys import key_table
from sftui.keys import keymap as keymap_module
from sftui.keys import preferences as preferences_module
from sftui.keys.bindings import bindings, rebind
from sftui.keys.keymap import Keymap
from sftui.keys.preferences import Preferences
from sftui.screens.first_frame import Opening
from sftui.terminal.terminal_app import TerminalApp

if TYPE_CHECKING:
    from sftui.cockpit.cockpit import Cockpit
    from sftui.cockpit.notices import Notices
    from sftui.sources import Source
    from sftui.sources.replay import ReplaySource
    from sftui.state.run_state import RunState
    from sftui.statistics.scores import Yardstick


GARBAGE = (50_000, 20, 20)
"""New objects between two looks for dead rings, while a screen is up: some milliseconds each."""


class Outcome(enum.Enum):
    """How the screen ended."""

    LEFT_RUNNING = "left running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"
    """Its processes are gone and no event told why."""
    START_FAILED = "start failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenExit:
    """What a command prints after the screen is gone."""

    outcome: Outcome
    state: RunState
    reason: str = ""
    error: BaseException | None = None
    """What went wrong at the start, or in the screen itself."""
    told_to_end: bool = False
    """It left because of a SIGTERM."""
    ended_by: int | None = None
    """The signal it left because of."""


class SftuiApp(ClockActions, LogActions, LookActions, TerminalApp):
    """One run, one screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(key for key in key_table.TABLE if key.mode not in key_table.SCREENS)
    ]

    def __init__(
        self,
        source: Source,
        *,
        title: str,
        launch: Callable[[], object] | None = None,
        now: Callable[[], float] = time.time,
        replay_of: str | None = None,
        follow: bool = False,
        folder: Path | None = None,
        baseline: Yardstick | None = None,
        on_event: str | None = None,
        preferences: Preferences | None = None,
        keymap: Keymap | None = None,
    ) -> None:
        """`replay_of`: `source` is a replay, of a file recognised by this; `follow`: it grows.

        `folder`: the run directory, when there is one. `on_event`: a shell command for what is
        worth a call. `preferences`: how the person looked last; None remembers nothing.
        `keymap`: other keys than those of the table.
        """
        super().__init__(preferences, keymap)
        rebind(self, (key for key in key_table.in_use() if key.mode not in key_table.SCREENS))
        self.source = source
        self.cockpit: Cockpit | None = None
        """None until the first frame is out."""
        self.error: BaseException | None = None
        """What `launch` raised."""
        self._run_title = title
        self._launch = launch
        self._now = now
        self._replay_of = replay_of
        self._follow = follow
        self._folder = folder
        self._baseline = baseline
        self._on_event = on_event
        self._preferences = preferences
        self._ticking = False

    # ---- life ------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        """Of a run, an outline while the panels are imported; of a log, what was read by now."""
        if self._replay_of is None:
            return Opening(self._run_title)
        self.cockpit = self._make_cockpit()
        self.cockpit.tick()
        return self.cockpit.dashboard

    def on_mount(self) -> None:
        self.call_after_refresh(self.first_frame)

    async def first_frame(self) -> None:
        """The first picture is out: start the run, then bring the panels in."""
        if self.cockpit is None:
            cockpit = self._make_cockpit()
            cockpit.launching = self._launch is not None
            if self._launch is not None:
                threading.Thread(
                    target=self._start_run, args=(cockpit,), name="launch", daemon=True
                ).start()
            await self.push_screen(cockpit.dashboard)
            self.cockpit = cockpit
        self._tick()
        # What was made for the start stays: nobody needs to look for dead rings in it again.
        gc.freeze()
        gc.set_threshold(*GARBAGE)

    def _make_cockpit(self) -> Cockpit:
        # numpy, events and panels: as long again as Textual itself, not before the first frame.
        from sftui.cockpit.cockpit import Cockpit  # noqa: PLC0415

        playback = None
        if self._replay_of is not None:
            from sftui.cockpit.playback import Playback  # noqa: PLC0415  as above

            replay = cast("ReplaySource", self.source)
            playback = Playback(replay, why=self._replay_of, follow=self._follow)
        cockpit = Cockpit(
            self.source,
            title=self._run_title,
            now=self._now,
            playback=playback,
            folder=self._folder,
            baseline=self._baseline,
            notices=self._notices(),
        )
        if self._preferences is not None:
            cockpit.prefer(self._preferences)
        return cockpit

    def _notices(self) -> Notices | None:
        """Bells and commands are for runs: what a replay tells was news once."""
        if self._replay_of is not None:
            return None
        from sftui.cockpit.notices import Notices, terminal_notice  # noqa: PLC0415  as above

        def call(text: str) -> None:
            if self._driver is not None:
                self._driver.write(terminal_notice(text))

        return Notices(self._now(), call=call, command=self._on_event)

    def liked(self) -> Preferences | None:
        """How the person looks now, if that is to be remembered."""
        if self._preferences is None or self.cockpit is None:
            return None
        return self.cockpit.preferences(self.theme)

    def _tick(self) -> None:
        cockpit = self._cockpit
        cockpit.tick()
        self._ticking = bool(cockpit.pace)
        if self._ticking:
            # Not Textual's timer: the task it makes costs more than a tick that finds nothing.
            asyncio.get_running_loop().call_later(cockpit.pace, self._next_tick)

    def _next_tick(self) -> None:
        if self._exit or not self.is_running:
            return
        try:
            self._tick()
        except Exception as error:  # as Textual's timer does: the screen closes and says why
            self._handle_exception(error)

    def _wake(self) -> None:
        """Something may move again where nothing did."""
        if not self._ticking:
            self._tick()

    def _start_run(self, cockpit: Cockpit) -> None:
        assert self._launch is not None
        try:
            self._launch()
        except BaseException as error:  # carried to the command, which prints it
            self.error = error
            self.call_from_thread(self.exit)
        finally:
            cockpit.launching = False

    def forget_colours(self) -> None:
        if self.cockpit is not None:
            for panel in self.cockpit.dashboard.panels:
                panel.forget_colours()

    # ---- keys ------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Our keys wait for the panels, and for a modal screen to close."""
        if action in _ALWAYS or action not in _MODES:
            return True
        if self.cockpit is None or self.screen is not self.cockpit.dashboard:
            return False
        if _MODES[action] == "search":
            return self.cockpit.view.log.searching
        return _MODES[action] in ("", self.cockpit.view.mode)

    @property
    def _cockpit(self) -> Cockpit:
        assert self.cockpit is not None, "check_action lets no key through before"
        return self.cockpit

    def _say(self, problem: str) -> None:
        if problem:
            self.tell(problem, title="Not sent")

    def action_toggle_pause(self) -> None:
        self._say(self._cockpit.ask_pause_or_resume())

    def action_ask_evaluate(self) -> None:
        self._say(self._cockpit.ask(Command.EVALUATE))

    def action_ask_checkpoint(self) -> None:
        self._say(self._cockpit.ask(Command.CHECKPOINT))

    def action_ask_stop(self) -> None:
        if self._cockpit.over or self._cockpit.playback is not None:
            self._say(self._cockpit.ask(Command.STOP))  # says that there is nothing to stop
            return
        # A modal screen is imported when it is asked for: the first frame does not need it.
        from sftui.screens.confirm import Answer, Confirm  # noqa: PLC0415

        detail = "It finishes its step and saves a checkpoint first."
        answers = (Answer("y", "stop", "stop the run"),)
        self.push_screen(Confirm("Stop this run?", detail, answers), self._answered)

    def action_interrupt(self) -> None:
        if self.cockpit is None or self.cockpit.over or self.cockpit.playback is not None:
            self.exit()
            return
        if self.screen is not self.cockpit.dashboard:
            return
        from sftui.screens.confirm import Answer, Confirm  # noqa: PLC0415  as above

        detail = "Training does not need this screen."
        answers = (
            Answer("q", "leave", "leave it running; `sftui attach` comes back"),
            Answer("x", "stop", "stop the run, with a checkpoint"),
        )
        self.push_screen(Confirm("Leave or stop?", detail, answers), self._answered)

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

    def action_show_questions(self) -> None:
        from sftui.screens.questions import QuestionsScreen  # noqa: PLC0415  as above

        self.push_screen(QuestionsScreen(self._cockpit))

    def action_show_facts(self) -> None:
        from sftui.screens.run_panel import Facts  # noqa: PLC0415  as above
        from sftui.view.run_facts import sections  # noqa: PLC0415  as above

        self.push_screen(Facts(sections(self._cockpit.state)))

    def action_help(self) -> None:
        from sftui.screens.help import Help  # noqa: PLC0415  as above

        self.push_screen(Help())

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every key of the table, and Textual's themes."""
        mode = "live" if self.cockpit is None else self.cockpit.view.mode
        for key in key_table.of_mode(mode):
            if key.id != "palette":
                words = f"{key.help} ({key.shown})"
                yield SystemCommand(key.words, words, self._runner(key.action))
        yield SystemCommand("Theme", "Change the colours.", self.action_change_theme)

    def _runner(self, action: str) -> Callable[[], None]:
        def run() -> None:
            # The palette is still on the stack here: act when it is gone.
            self.call_later(self.run_action, action)

        return run


_WITHOUT_KEY = {"scrub_to": "replay", "zoom_at": "", "pan_by": "", "point_at": ""}
"""Actions of the mouse."""
_MODES = _WITHOUT_KEY | {
    key.action.split("(")[0]: key.mode
    for key in key_table.TABLE
    if key.id != "palette" and key.mode not in key_table.SCREENS
}
"""Our actions, and where they mean something."""
_ALWAYS = frozenset({"leave", "interrupt"})
"""A way out is open from the first frame on."""


def _believe_the_terminal() -> None:
    """Forget a size that some shells export once: Textual would hold it above every resize."""
    with contextlib.suppress(OSError, ValueError):
        if sys.__stdout__ is not None and all(os.get_terminal_size(sys.__stdout__.fileno())):
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)


def run_screen(
    source: Source,
    *,
    title: str,
    launch: Callable[[], object] | None = None,
    replay_of: str | None = None,
    follow: bool = False,
    folder: Path | None = None,
    baseline: Yardstick | None = None,
    on_event: str | None = None,
) -> ScreenExit:
    """Show `source` until the person leaves; `launch` runs in a thread after the first frame.

    `replay_of` makes it the screen of a replay: how its file was recognised. `folder` is the
    run directory, when there is one.

    Raises:
        SftuiError: `launch` refused; the terminal is restored and nothing was started.
    """
    _believe_the_terminal()
    keymap = keymap_module.load()
    if keymap.said:
        diagnostics.note(keymap.said)
    app = SftuiApp(
        source,
        title=title,
        launch=launch,
        replay_of=replay_of,
        follow=follow,
        folder=folder,
        baseline=baseline,
        on_event=on_event,
        preferences=preferences_module.load(),
        keymap=keymap,
    )
    from sftui.terminal import ascii_glyphs  # noqa: PLC0415  numpy; the first frame waits for neither

    app.ascii = ascii_glyphs.needed()
    try:
        app.run_in_terminal()
    finally:
        if app.cockpit is not None:
            app.cockpit.shelf.close()
            app.cockpit.view.log.close()
    if (liked := app.liked()) is not None:
        preferences_module.save(liked)
    from sftui.state.run_state import RunState  # noqa: PLC0415  numpy, needed by now anyway

    state = app.cockpit.state if app.cockpit else RunState()
    trouble = app.cockpit.view.trouble if app.cockpit else ""
    if isinstance(app.error, SftuiError):
        raise app.error
    if app.error is not None:
        return ScreenExit(
            outcome=Outcome.START_FAILED, state=state, reason=str(app.error), error=app.error
        )
    if state.end is not None:
        known = {"finished": Outcome.FINISHED, "stopped": Outcome.STOPPED}
        outcome = known.get(state.end.status, Outcome.FAILED)
        return ScreenExit(outcome=outcome, state=state, reason=state.end.reason)
    # Set when one of our handlers raised; Textual has restored the terminal and printed where.
    broken = app._exception
    if broken is None and app.ended_by is None and app._exit_renderables:
        # A thread of Textual's failed: it ends the screen and knows no exception of ours.
        broken = RuntimeError("the terminal's driver failed; what it said stands above")
    if trouble:
        return ScreenExit(outcome=Outcome.LOST, state=state, reason=trouble, error=broken)
    return ScreenExit(
        outcome=Outcome.LEFT_RUNNING,
        state=state,
        error=broken,
        told_to_end=app.told_to_end,
        ended_by=app.ended_by,
    )
