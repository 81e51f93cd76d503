"""What the screen does between two frames: take events, mark what is stale, post requests.

A key never changes the run's state on screen: it posts a request, the badge says
`requested...`, and the screen changes when the answer comes back as an event.
Nothing flowed, nothing is painted; the clocks alone move, once a second.
"""

from __future__ import annotations

import getpass
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.control import Command, Request
from engine.errors import SftuiError
from engine.run.run_dir import RunDir
from sftui.checkpoints.checkpoint_list import Shelf
from sftui.cockpit.playback import Playback
from sftui.cockpit.screen_alarms import Lookout
from sftui.drawing.x_axis import AXES, missing_words
from sftui.keys.key_table import JUMP_LETTERS
from sftui.keys.preferences import Preferences
from sftui.logbook.book import LogBook
from sftui.screens.dashboard import Dashboard
from sftui.sources import Source
from sftui.state import deleted_checkpoints
from sftui.state.records import Topic
from sftui.state.run_state import RunState
from sftui.statistics.scores import Scoreboard, Yardstick
from sftui.statistics.validation_scores import LossBoard
from sftui.view.view import PANELS, SMOOTHING, View
from sftui.view.viewport import Sight

if TYPE_CHECKING:
    from sftui.checkpoints.checkpoint_row import CheckpointRow
    from sftui.cockpit.notices import Notices
    from sftui.statistics.flips import Questions

TICK_SECONDS, SLOW_TICK_SECONDS, QUIET_SECONDS = 0.1, 0.5, 3.0
"""Ticks while events flow, ticks when none came for so long."""
IDLE_SECONDS = 10.0
"""After so long without an event the clock alone is waited for."""
SILENT_SECONDS = 30.0
"""Ranks beat every two seconds: after so long without any, nobody is there to hurry for."""
FOLLOW_TICK_SECONDS = 0.3
"""Ticks over a log that is followed at its end."""
MAX_EVENTS, MAX_SECONDS = 2000, 0.05
"""Events taken in a tick: whichever comes first, so that a key never waits longer."""
JUDGE_SECONDS = 0.02
"""Time for alarms in a tick."""
UNMOVED_SECONDS, DOTS = 1.0, 400
"""Between two frames while the new steps are less than a dot column of a wide chart."""
MANY_STEPS = 8
"""So many new steps since the last frame are numbers that nobody reads one by one."""
ALIVE_EVERY = 2.0
"""Seconds between looks whether the run's processes exist."""
_OFTEN = Topic.STEPS | Topic.RANKS


class Cockpit:
    """One run on one dashboard: owns state and view, and alone writes them."""

    def __init__(
        self,
        source: Source,
        *,
        title: str,
        now: Callable[[], float],
        playback: Playback | None = None,
        folder: Path | None = None,
        baseline: Yardstick | None = None,
        notices: Notices | None = None,
    ) -> None:
        """`playback`: the keys of a replay, when `source` is one.

        `folder`: the run directory that item files are named from; None for a log.
        """
        self.source = source
        self.playback = playback
        self.now = now
        self.notices = notices
        """Whom to tell of what happens; None over a replay."""
        self.state = RunState()
        # In a replay nothing is older than the newest event: ages are as they were then.
        self.view = View(
            now=now if playback is None else self._moment,
            title=title,
            board=Scoreboard(folder, baseline),
            losses=LossBoard(folder),
            log=_log_book(folder, playback),
            run_id=folder.name if folder is not None else "",
        )
        if playback is not None:
            self.view.tape = playback.tape()
        self.dashboard = Dashboard(self.state, self.view)
        self._foreign = playback is not None and folder is None
        self._lookout = self._new_lookout()
        self.questions: Questions | None = None
        """The words of the evaluation's questions, once somebody asked for them."""
        self.shelf = Shelf(RunDir(folder) if folder is not None else None)
        self.launching = False
        """True while the run is being started: nothing can be dead yet."""
        self.quiet = now() - QUIET_SECONDS
        """Wall clock since which nothing has come."""
        self._stale = Topic.NOTHING
        self._ticks = self._painted = self._rows = 0
        self._second = -1
        self._next_alive = 0.0

    @property
    def over(self) -> bool:
        """True when the run takes no requests any more."""
        return self.state.ended or bool(self.view.trouble)

    @property
    def pace(self) -> float:
        """Seconds until the next tick is due: less often while nothing flows, 0 = never."""
        if self.view.log.busy:
            return TICK_SECONDS
        if self.playback is not None:
            if self._lookout.busy:
                return TICK_SECONDS
            if self.playback.idle:
                return 0.0
            if self.view.tape is not None and self.view.tape.moving:
                return TICK_SECONDS
            if self.playback.follow and self.playback.at_end:
                # Its file is looked at twice a second: a tick in between finds nothing.
                return FOLLOW_TICK_SECONDS
        elif self.state.ended and self.source.closed:
            return 0.0
        now = self.now()
        if now - self.quiet < QUIET_SECONDS:
            return TICK_SECONDS
        if now - self.quiet < IDLE_SECONDS or self.view.pending:
            return SLOW_TICK_SECONDS
        # With the clock, just after its second began; of long silence every other second.
        period = 1.0 if now - self.quiet < SILENT_SECONDS else 2.0
        return period + 0.01 - now % period

    def _new_lookout(self) -> Lookout:
        again = self.playback.source.again if self.playback is not None else None
        return Lookout(foreign=self._foreign, again=again)

    def _moment(self) -> float:
        return self.now() if self.state.last_t is None else self.state.last_t

    # ---- events in -------------------------------------------------------------------------

    def tick(self) -> None:
        """Take what the source has, then paint what it made stale."""
        view = self.view
        touched = Topic.NOTHING
        events = self.source.poll(max_events=MAX_EVENTS, max_seconds=MAX_SECONDS)
        if self.playback is not None and self.playback.restarted():
            # These events are the first of a stage again.
            self.state = RunState()
            self.dashboard.set_state(self.state)
            self._lookout = self._new_lookout()
            view.log.restart()
            touched = Topic.ALL
        state = self.state
        for event in events:
            touched |= state.apply(event)
            if self.notices is not None:
                self.notices.observe(event)
        if events:
            self.quiet = self.now()
            if self.playback is None:
                self._lookout.take(events)
            else:
                self._lookout.reach(self.playback.source.delivered)
        if self._ticks or self.playback is None or not self.playback.source.loading:
            # Of a long log, the first picture comes first.
            for alarm in self._lookout.work(JUDGE_SECONDS):
                touched |= state.apply(alarm)
        if self.playback is not None:
            tape = self.playback.tape()
            if tape != view.tape:
                # A clock that only went on is seen with the steps that moved it.
                alike = view.tape is not None and view.tape.setting == tape.setting
                touched |= Topic.STEPS if alike else Topic.LOOK
                view.tape = tape
        if touched & (Topic.CHECKPOINTS | Topic.LOOK):
            touched |= self._miss()
        if touched & Topic.CONTROLS and view.pending:
            for answer in state.controls:
                view.pending.pop(answer.id, None)
        if self.playback is not None and view.log.reads_file:
            view.log.set_limit(self.playback.source.text_end())
        if view.log.work(state):
            touched |= Topic.LOG
        second = int(self.now())
        if second != self._second:
            self._second = second
            touched |= self._once_a_second()
            self.dashboard.tick(touched)
        self._stale |= touched
        self._ticks += 1
        if self._stale and (self._stale & ~_OFTEN or self._ticks - self._painted >= self._wait()):
            self._show_stale()

    def _show_stale(self) -> None:
        self.dashboard.show(self._stale)
        self._stale, self._painted, self._rows = Topic.NOTHING, self._ticks, len(self.state.steps)

    def _wait(self) -> int:
        """Ticks from one frame of steps alone to the next.

        Ten frames a second say no more than five, and cost twice as much; of a long run whose
        new steps do not move the curve by a dot, one says as much.
        """
        rows = len(self.state.steps)
        new = rows - self._rows
        if new * DOTS >= rows:
            return 2
        seconds = UNMOVED_SECONDS if new < MANY_STEPS else 2 * UNMOVED_SECONDS
        return max(2, round(seconds / (self.pace or TICK_SECONDS)))

    def _once_a_second(self) -> Topic:
        view, state, now = self.view, self.state, self.now()
        touched = Topic.NOTHING
        transport = self.source.describe() if self.playback is None else self.playback.words()
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
            if alive and self.playback is None:
                for alarm in self._lookout.tick(now):
                    touched |= state.apply(alarm)
                    if self.notices is not None:
                        self.notices.observe(alarm)
        if trouble != view.trouble:
            view.trouble = trouble
            touched = Topic.ALL
        return touched

    # ---- requests out ----------------------------------------------------------------------

    def ask(self, command: Command) -> str:
        """Post a request; what a person must know if it was not sent, else an empty string."""
        view, state = self.view, self.state
        if self.over and self.playback is None:
            return "The run has ended: it takes no requests any more."
        if any(request.command is command for request in view.pending.values()):
            return ""  # the same wish twice is one wish
        from engine.journal.wire import new_id  # noqa: PLC0415  the first frame asks for nothing

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

    # ---- checkpoints -----------------------------------------------------------------------

    def delete_checkpoint(self, row: CheckpointRow) -> str:
        """Remove it from disk, and show it as gone: no event of the run will tell it."""
        words = self.shelf.delete(row, alive=not self.over)
        self.dashboard.show(self._miss())
        return words

    def _miss(self) -> Topic:
        """Look at the disk for what was deleted by hand, here or on another screen.

        In the middle of a replay the disk says nothing: what was there then may be gone since.
        """
        touched = Topic.NOTHING
        now = self.playback is None or self.playback.at_end
        if self.shelf.run is not None and now:
            for event in deleted_checkpoints.missing(self.shelf.run, self.state):
                touched |= self.state.apply(event)
        return touched

    # ---- the clock of a replay -------------------------------------------------------------

    def move(self, act: Callable[[Playback], str | None]) -> str:
        """Do something to the clock and show at once where it leads; words for the person."""
        assert self.playback is not None, "keys of a replay are dead over a run"
        said = act(self.playback) or ""
        self._second = -1  # the words of the header change with the stage
        self.tick()
        if self._stale:
            self._show_stale()
        return said

    # ---- looks -----------------------------------------------------------------------------

    def toggle_log_y(self) -> None:
        self.view.log_y = not self.view.log_y
        self.dashboard.show(Topic.LOOK)

    def toggle_whole(self) -> None:
        self.view.whole = not self.view.whole
        self.dashboard.show(Topic.LOOK)

    def next_x_axis(self) -> str:
        """By the next measure that the log names; what a person must know of the others."""
        view, at = self.view, AXES.index(self.view.x_axis)
        missing = []
        for name in (*AXES[at + 1 :], *AXES[: at + 1]):
            if name == "step" or view.ruler(self.state, name) is not None:
                view.x_axis = name
                break
            missing.append(name)
        self.dashboard.show(Topic.LOOK)
        return missing_words(missing)

    def cycle_smoothing(self) -> None:
        self.view.smoothing = (self.view.smoothing + 1) % len(SMOOTHING)
        self.dashboard.show(Topic.LOOK)

    def prefer(self, preferences: Preferences) -> None:
        """Look as the person did last."""
        view = self.view
        view.smoothing = preferences.smoothing % len(SMOOTHING)
        view.log_y, view.whole = preferences.log_y, preferences.whole
        if preferences.x_axis in AXES:
            view.x_axis = preferences.x_axis
        if preferences.table in ("benchmarks", "validation"):
            view.table = preferences.table
        self.shelf.sampler.prompt = preferences.prompt

    def preferences(self, theme: str) -> Preferences:
        """How the person looks now."""
        view = self.view
        return Preferences(
            theme=theme,
            smoothing=view.smoothing,
            log_y=view.log_y,
            whole=view.whole,
            table=view.table,
            prompt=self.shelf.sampler.prompt,
            x_axis=view.x_axis,
        )

    def look(self, act: Callable[[Sight], None]) -> None:
        """Move the crosshair or the part of the run that the charts show."""
        sight = self.view.sight
        before = (sight.part, sight.cursor)
        act(sight)
        if (sight.part, sight.cursor) != before:
            self.dashboard.show(Topic.LOOK)

    def jump(self, by: int, kinds: str) -> bool:
        """The crosshair to the next or previous place; False when there is none.

        `kinds`: `checkpoint`, or `event` for evaluations, requests and alarms as well.
        """
        state, sight = self.state, self.view.sight
        places = {float(row.step) for row in state.checkpoint_rows() if row.kind == "sftui"}
        if kinds != "checkpoint":
            places |= {float(step) for step in state.validations}
            places |= {float(step) for found in state.evals.values() for step in found}
            places |= {float(c.step) for c in state.controls if c.step is not None}
            alarms = (alarm.event.step for alarm in state.alarms.values())
            places |= {float(step) for step in alarms if step is not None}
        here = sight.cursor
        if here is None:
            here = math.inf if by < 0 else -math.inf
        onwards = sorted(p for p in places if (p > here if by > 0 else p < here))
        if not onwards:
            return False
        self.look(lambda sight: sight.go(onwards[0] if by > 0 else onwards[-1]))
        return True

    def hide_alarms(self) -> None:
        """Put the alarms away until they come again."""
        self.view.hide_alarms(self.state)
        self.dashboard.show(Topic.ALARMS | Topic.LOOK)

    def toggle_table(self) -> None:
        """Benchmarks or validation losses, in the same place."""
        view = self.view
        seen = {"benchmarks", "validation"} & set(self.dashboard.boxes(self.dashboard.size))
        view.table = "validation" if view.table == "benchmarks" else "benchmarks"
        if view.panel == "validation":
            view.panel = "benchmarks"
        visible = self.dashboard.boxes(self.dashboard.size)
        if self.dashboard.wide and "benchmarks" in self.dashboard.absent:
            # The log has nothing for it: gone again, or there while it is asked for.
            gone = view.table == "benchmarks" and seen
            self.dashboard.focus_panel("loss" if gone else view.table)
        elif view.table in visible:
            self.dashboard.rearrange()
        else:
            # On a small screen another panel has the place: bring the table there.
            self.dashboard.focus_panel("accuracy")
        self.dashboard.show(Topic.LOOK)

    def toggle_maximised(self) -> None:
        self.view.maximised = not self.view.maximised
        self.dashboard.focus_panel(self.view.panel)

    def begin_jump(self) -> tuple[str, ...]:
        """Letters on the panels; those that can be gone to, whether they are in sight or not."""
        visible = self.dashboard.boxes(self.dashboard.size)
        self.view.jumping = tuple(n for n in JUMP_LETTERS if n in visible or n in PANELS)
        self.dashboard.show(Topic.ALL)
        return self.view.jumping

    def end_jump(self, choice: tuple[str, bool] | None) -> None:
        """No letters any more; to the chosen panel, alone if that was asked."""
        view = self.view
        view.jumping = ()
        if choice is not None:
            name, alone = choice
            view.maximised = view.maximised or alone
            self.dashboard.focus_panel(name)
        self.dashboard.show(Topic.ALL)

    def show_panel(self, number: int) -> None:
        """By its number key, from 1."""
        self.dashboard.focus_panel(PANELS[number - 1])

    def read_log(self, act: Callable[[LogBook, RunState], object]) -> None:
        """Scroll, filter or search the log."""
        log = self.view.log
        act(log, self.state)
        if self.playback is not None and log.reads_file:
            log.set_limit(self.playback.source.text_end())
        self.dashboard.show(Topic.LOG)

    def search_log(self) -> bool:
        """Bring the log where it can be seen and let keys go into a query; False where it has
        no room."""
        if "log" not in self.dashboard.boxes(self.dashboard.size):
            self.dashboard.focus_panel("log")
        if "log" not in self.dashboard.boxes(self.dashboard.size):
            return False
        self.dashboard.query_one("#log").focus()
        self.read_log(lambda log, state: log.begin_search(state))
        return True


def _log_book(folder: Path | None, playback: Playback | None) -> LogBook:
    """Over the journal of a run, or the file of another program."""
    if folder is not None:
        return LogBook(RunDir(folder).events)
    if playback is None:
        return LogBook()
    source = playback.source
    return LogBook(source.journal_path, source.text_path)


def _author() -> str:
    try:
        return f"screen ({getpass.getuser()})"
    except (OSError, KeyError):
        return "screen"
