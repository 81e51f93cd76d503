"""The screen of a run: owns source and state, ticks ten times a second, turns keys into requests.

A key never changes the run's state on screen: it posts a request, the badge says
`requested...`, and the screen changes when the answer comes back as an event.
Nothing flowed, nothing is painted; the clocks alone move, once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import getpass
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from engine.control import Command, Request
from engine.errors import SftuiError
from engine.events import ControlApplied
from engine.wire import new_id
from sftui import keys
from sftui.records import Topic
from sftui.screens.dashboard import Dashboard
from sftui.sources import Source
from sftui.state import RunState
from sftui.theme import NIGHT, Palette
from sftui.view import PANELS, SMOOTHING, View

TICK_SECONDS = 0.1
MAX_EVENTS, MAX_SECONDS = 2000, 0.05
"""Events taken in a tick: whichever comes first, so that a key never waits longer."""
ALIVE_EVERY = 2.0
"""Seconds between looks whether the run's processes exist."""


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
    """What went wrong at the start, or inside the screen itself."""


class SftuiApp(App[None]):
    """One run, one screen."""

    CSS_PATH = "app.tcss"
    TITLE = "sftui"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            key.keys,
            key.action,
            key.words,
            id=key.id,
            tooltip=key.help,
            show=False,
            # Focus order and the copy key of Textual would win over ours otherwise.
            priority=key.keys in ("tab", "shift+tab", "ctrl+c"),
        )
        for key in keys.TABLE
        if key.id != "palette"
    ]

    def __init__(
        self,
        source: Source,
        *,
        title: str,
        launch: Callable[[], object] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.source = source
        self.run_state = RunState()
        self.run_view = View(now=now, title=title)
        self.error: BaseException | None = None
        self.dashboard = Dashboard(self.run_state, self.run_view)
        self._launch = launch
        self._launching = launch is not None
        self._palette: Palette | None = None
        self._second = -1
        self._next_alive = 0.0
        self.register_theme(NIGHT)
        self.theme = NIGHT.name

    # ---- life ------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[None]:
        return self.dashboard

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            # Without this the terminal keeps the alternate screen and the mouse mode. Not every
            # host of an event loop has signals (a thread has none).
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self.exit)
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        self.call_after_refresh(self._first_frame)

    def _first_frame(self) -> None:
        """The first picture is out: start the run, then listen."""
        if self._launch is not None:
            threading.Thread(target=self._start_run, name="launch", daemon=True).start()
        self.set_interval(TICK_SECONDS, self.tick)
        self.tick()

    def _start_run(self) -> None:
        assert self._launch is not None
        try:
            self._launch()
        except BaseException as error:  # carried to the command, which prints it
            self.error = error
            self.call_from_thread(self.exit)
        finally:
            self._launching = False

    # ---- events in -------------------------------------------------------------------------

    def tick(self) -> None:
        """Take what the source has, then paint what it made stale."""
        touched = Topic.NOTHING
        logged = self.run_state.log_total
        for event in self.source.poll(max_events=MAX_EVENTS, max_seconds=MAX_SECONDS):
            touched |= self.run_state.apply(event)
            if isinstance(event, ControlApplied):
                self.run_view.pending.pop(event.id, None)
        if self.run_view.log_back:
            # Scrolled back: the lines in sight stay where they are.
            self.run_view.log_back += self.run_state.log_total - logged
        second = int(self.run_view.now())
        if second != self._second:
            self._second = second
            touched |= self._once_a_second()
            self.dashboard.tick()
        if touched:
            self.dashboard.show(touched)

    def _once_a_second(self) -> Topic:
        view, state, now = self.run_view, self.run_state, self.run_view.now()
        touched = Topic.NOTHING
        transport = self.source.describe()
        if transport != view.transport:
            view.transport = transport
            touched |= Topic.RUN
        if not state.ended and not self._launching and now >= self._next_alive:
            self._next_alive = now + ALIVE_EVERY
            alive, words = self.source.alive()
            trouble = "" if alive else words
            if trouble != view.trouble:
                view.trouble = trouble
                touched |= Topic.ALL
        elif state.ended and view.trouble:
            view.trouble = ""
            touched |= Topic.ALL
        return touched

    # ---- colours ---------------------------------------------------------------------------

    @property
    def palette(self) -> Palette:
        """Style numbers to terminal styles, under the present theme."""
        if self._palette is None:
            self._palette = Palette(self.theme_variables)
        return self._palette

    def _theme_changed(self, _: object) -> None:
        self._palette = None
        for panel in self.dashboard.panels:
            panel.forget_colours()

    # ---- requests out ----------------------------------------------------------------------

    def ask(self, command: Command) -> None:
        """Post a request; the badge shows it until the engine answers."""
        view, state = self.run_view, self.run_state
        if state.ended or view.trouble:
            self.notify("The run has ended: it takes no requests any more.", severity="warning")
            return
        if any(request.command is command for request in view.pending.values()):
            return  # the same wish twice is one wish
        request = Request(
            id=new_id(),
            command=command,
            author=_author(),
            t=view.now(),
            attempt=state.attempt if state.attempt_starts else None,
        )
        try:
            self.source.send(request)
        except SftuiError as error:
            self.notify(str(error), title="Not sent", severity="error", markup=False)
            return
        view.pending[request.id] = request
        self.dashboard.show(Topic.CONTROLS)

    def action_toggle_pause(self) -> None:
        paused = self.run_state.badge == "paused"
        self.ask(Command.RESUME if paused else Command.PAUSE)

    def action_ask_evaluate(self) -> None:
        self.ask(Command.EVALUATE)

    def action_ask_checkpoint(self) -> None:
        self.ask(Command.CHECKPOINT)

    def action_ask_stop(self) -> None:
        if self.run_state.ended or self.run_view.trouble:
            self.ask(Command.STOP)  # says that there is nothing to stop
            return
        # Modal screens are imported when asked for: the first frame does not need them.
        from sftui.screens.confirm import Answer, Confirm  # noqa: PLC0415

        detail = "It finishes its step and saves a checkpoint first."
        answers = (Answer("y", "stop", "stop the run"),)
        self.push_screen(Confirm("Stop this run?", detail, answers), self._answered)

    def action_interrupt(self) -> None:
        if self.run_state.ended or self.run_view.trouble:
            self.exit()
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
            self.ask(Command.STOP)
        elif value == "leave":
            self.exit()

    def action_leave(self) -> None:
        self.exit()

    # ---- looks -----------------------------------------------------------------------------

    def action_toggle_log_y(self) -> None:
        self.run_view.log_y = not self.run_view.log_y
        self._look()

    def action_toggle_whole(self) -> None:
        self.run_view.whole = not self.run_view.whole
        self._look()

    def action_cycle_smoothing(self) -> None:
        self.run_view.smoothing = (self.run_view.smoothing + 1) % len(SMOOTHING)
        self._look()

    def action_toggle_maximised(self) -> None:
        self.run_view.maximised = not self.run_view.maximised
        self.dashboard.focus_panel(self.run_view.panel)
        self._look()

    def action_step_panel(self, by: int) -> None:
        self.dashboard.next_panel(by)

    def action_show_panel(self, number: int) -> None:
        self.dashboard.focus_panel(PANELS[number - 1])

    def action_scroll_log(self, by: int) -> None:
        most = max(0, len(self.run_state.log) - 1)
        self.run_view.log_back = min(most, max(0, self.run_view.log_back - by))
        self.dashboard.show(Topic.LOG)

    def action_follow_log(self) -> None:
        self.run_view.log_back = 0
        self.dashboard.show(Topic.LOG)

    def action_help(self) -> None:
        from sftui.screens.help import Help  # noqa: PLC0415  as above

        self.push_screen(Help())

    def _look(self) -> None:
        self.dashboard.show(Topic.ALL)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: every key of the table, and Textual's themes."""
        for key in keys.TABLE:
            if key.id != "palette":
                yield SystemCommand(key.words, key.help, _runner(self, key.action))
        yield SystemCommand("Theme", "Change the colours.", self.action_change_theme)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a modal is up its own keys count, ours do not."""
        return not (len(self.screen_stack) > 1 and action in _OURS)


_OURS = frozenset(key.action.split("(")[0] for key in keys.TABLE if key.id != "palette")


def _runner(app: SftuiApp, action: str) -> Callable[[], None]:
    def run() -> None:
        # The palette is still on the stack here: act when it is gone.
        app.call_later(app.run_action, action)

    return run


def _author() -> str:
    try:
        return f"screen ({getpass.getuser()})"
    except (OSError, KeyError):
        return "screen"


def run_screen(
    source: Source, *, title: str, launch: Callable[[], object] | None = None
) -> ScreenExit:
    """Show `source` until the person leaves; `launch` runs in a thread after the first frame.

    Raises:
        SftuiError: `launch` refused; the terminal is restored and nothing was started.
    """
    app = SftuiApp(source, title=title, launch=launch)
    try:
        app.run()
    finally:
        # Whatever went wrong inside, the person gets the cursor and a clean line back.
        if sys.stdout.isatty():
            sys.stdout.flush()
    state, view = app.run_state, app.run_view
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
    if view.trouble:
        return ScreenExit(outcome=Outcome.LOST, state=state, reason=view.trouble)
    return ScreenExit(outcome=Outcome.LEFT_RUNNING, state=state)
