"""What the screen does between two frames: take events, mark what is stale, post requests.

A key never changes the run's state on screen: it posts a request, the badge says
`requested...`, and the screen changes when the answer comes back as an event.
Nothing flowed, nothing is painted; the clocks alone move, once a second.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable

from engine.control import Command, Request
from engine.errors import SftuiError
from engine.wire import new_id
from sftui.records import Topic
from sftui.screens.dashboard import Dashboard
from sftui.sources import Source
from sftui.state import RunState
from sftui.view import PANELS, SMOOTHING, View

TICK_SECONDS, SLOW_TICK_SECONDS, QUIET_SECONDS = 0.1, 0.5, 3.0
"""Ticks while events flow, ticks when none came for so long."""
MAX_EVENTS, MAX_SECONDS = 2000, 0.05
"""Events taken in a tick: whichever comes first, so that a key never waits longer."""
ALIVE_EVERY = 2.0
"""Seconds between looks whether the run's processes exist."""
_OFTEN = Topic.STEPS | Topic.RANKS


class Cockpit:
    """One run on one dashboard: owns state and view, and alone writes them."""

    def __init__(self, source: Source, *, title: str, now: Callable[[], float]) -> None:
        self.source = source
        self.state = RunState()
        self.view = View(now=now, title=title)
        self.dashboard = Dashboard(self.state, self.view)
        self.launching = False
        """True while the run is being started: nothing can be dead yet."""
        self.quiet = 0.0
        """Clock time since which nothing has come."""
        self._stale = Topic.NOTHING
        self._ticks = self._painted = 0
        self._second = -1
        self._next_alive = 0.0

    @property
    def over(self) -> bool:
        """True when the run takes no requests any more."""
        return self.state.ended or bool(self.view.trouble)

    @property
    def pace(self) -> float:
        """Seconds until the next tick is due: less often while nothing flows, 0 = never."""
        if self.state.ended and self.source.closed:
            return 0.0
        return TICK_SECONDS if self.view.now() - self.quiet < QUIET_SECONDS else SLOW_TICK_SECONDS

    # ---- events in -------------------------------------------------------------------------

    def tick(self) -> None:
        """Take what the source has, then paint what it made stale."""
        state, view = self.state, self.view
        touched = Topic.NOTHING
        logged = state.log_total
        events = self.source.poll(max_events=MAX_EVENTS, max_seconds=MAX_SECONDS)
        for event in events:
            touched |= state.apply(event)
        if events:
            self.quiet = view.now()
        if touched & Topic.CONTROLS and view.pending:
            for answer in state.controls:
                view.pending.pop(answer.id, None)
        if view.log_back:
            # Scrolled back: the lines in sight stay where they are.
            view.log_back += state.log_total - logged
        second = int(view.now())
        if second != self._second:
            self._second = second
            touched |= self._once_a_second()
            self.dashboard.tick(touched)
        self._stale |= touched
        self._ticks += 1
        # Ten frames a second of steps alone say no more than five, and cost twice as much.
        if self._stale and (self._stale & ~_OFTEN or self._ticks - self._painted >= 2):
            self.dashboard.show(self._stale)
            self._stale, self._painted = Topic.NOTHING, self._ticks

    def _once_a_second(self) -> Topic:
        view, state, now = self.view, self.state, self.view.now()
        touched = Topic.NOTHING
        transport = self.source.describe()
        if transport != view.transport:
            view.transport = transport
            touched |= Topic.RUN
        trouble = view.trouble
        if state.ended:
            trouble = ""
        elif not self.launching and now >= self._next_alive:
            self._next_alive = now + ALIVE_EVERY
            alive, words = self.source.alive()
            trouble = "" if alive else words or "the run is not there any more"
        if trouble != view.trouble:
            view.trouble = trouble
            touched = Topic.ALL
        return touched

    # ---- requests out ----------------------------------------------------------------------

    def ask(self, command: Command) -> str:
        """Post a request; what a person must know if it was not sent, else an empty string."""
        view, state = self.view, self.state
        if self.over:
            return "The run has ended: it takes no requests any more."
        if any(request.command is command for request in view.pending.values()):
            return ""  # the same wish twice is one wish
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
            return str(error)
        view.pending[request.id] = request
        self.dashboard.show(Topic.CONTROLS)
        return ""

    def ask_pause_or_resume(self) -> str:
        return self.ask(Command.RESUME if self.state.badge == "paused" else Command.PAUSE)

    # ---- looks -----------------------------------------------------------------------------

    def toggle_log_y(self) -> None:
        self.view.log_y = not self.view.log_y
        self.dashboard.show(Topic.LOOK)

    def toggle_whole(self) -> None:
        self.view.whole = not self.view.whole
        self.dashboard.show(Topic.LOOK)

    def cycle_smoothing(self) -> None:
        self.view.smoothing = (self.view.smoothing + 1) % len(SMOOTHING)
        self.dashboard.show(Topic.LOOK)

    def toggle_maximised(self) -> None:
        self.view.maximised = not self.view.maximised
        self.dashboard.focus_panel(self.view.panel)

    def show_panel(self, number: int) -> None:
        """By its number key, from 1."""
        self.dashboard.focus_panel(PANELS[number - 1])

    def scroll_log(self, by: int) -> None:
        """Lines towards the newest; negative is back."""
        most = max(0, len(self.state.log) - 1)
        self.view.log_back = min(most, max(0, self.view.log_back - by))
        self.dashboard.show(Topic.LOG)

    def follow_log(self) -> None:
        self.view.log_back = 0
        self.dashboard.show(Topic.LOG)


def _author() -> str:
    try:
        return f"screen ({getpass.getuser()})"
    except (OSError, KeyError):
        return "screen"
