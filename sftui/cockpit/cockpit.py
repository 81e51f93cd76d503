"""What the screen does between two frames: take events, mark what is stale, post requests.

A key never changes the run's state on screen: it posts a request, the badge says
`requested...`, and the screen changes when the answer comes back as an event.
Nothing flowed, nothing is painted; the clocks alone move, once a second.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from engine.control import Command, Request
from engine.errors import SftuiError
from engine.events import Event
from engine.run import run_dir
from engine.run.run_dir import RunDir
from sftui.checkpoints.checkpoint_list import CheckpointList
from sftui.cockpit import past_runs
from sftui.cockpit.modes import TICK_SECONDS, Live, Mode
from sftui.cockpit.playback import Playback
from sftui.keys.key_table import DEFAULT_KEYS, JUMP_LETTERS, KeyTable
from sftui.keys.preferences import Preferences
from sftui.logbook.log_book import LogBook
from sftui.screens.dashboard import Dashboard
from sftui.sources.replay import ReplaySource
from sftui.state import deleted_checkpoints
from sftui.state.records import Topic
from sftui.state.run_state import RunState
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import LossBoard
from sftui.view.view import PANELS, TABLES, View
from sftui.view.view_control import ViewControl

if TYPE_CHECKING:
    from sftui.checkpoints.checkpoint_row import CheckpointRow
    from sftui.cockpit.notices import Notices
    from sftui.cockpit.screen_request import ScreenRequest
    from sftui.screens.charts import ChartsScreen
    from sftui.statistics.flips import Questions
    from sftui.statistics.scores import Yardstick
    from sftui.view.past_run import PastRun

SLOW_TICK_SECONDS, QUIET_SECONDS = 0.5, 3.0
"""Between two ticks when no event came for so long."""
IDLE_SECONDS = 10.0
"""After so long without an event, ticks come with the seconds of the clock alone."""
SILENT_SECONDS = 30.0
"""After so long without an event, not even a heartbeat, every other second is enough."""
MAX_EVENTS, MAX_SECONDS = 2000, 0.02
"""Events taken in a tick: whichever comes first, so that a key never waits longer."""
JUDGE_SECONDS = 0.02
"""Time a tick spends on judging events for alarms."""
LOOK_EVERY = 20.0
"""Checkpoints that are gone from disk are looked for again after so many times as long as the last
look took: of a hundred thousand, or over a slow network, each save would ask for all."""
MANY_EVENTS, BEHIND_SECONDS = 64, 0.03
"""A poll that gave so many and ran out of its time has left some: the next one comes so soon."""
UNMOVED_SECONDS, DOTS = 1.0, 400
"""Seconds between two frames while the new steps are fewer than one in so many of all steps: they
move the curve of a wide chart by less than a dot."""
MANY_STEPS = 8
"""With so many new steps since the last frame, the next frame may wait twice as long."""
LOG_TICKS = 5
"""Ticks from one frame of the log alone to the next: nobody reads lines that run by faster."""
ALIVE_EVERY = 2.0
"""Seconds between two checks whether the run's processes exist."""
ROWS_WITHOUT_LOSS = 1000
"""So many rows of another number before the first loss, and a log is taken to have none."""
_OFTEN = Topic.STEPS | Topic.RANKS
_RESULTS = Topic.VALIDATION | Topic.EVALS | Topic.CHECKPOINTS
"""What is news where it comes now and then; where there are many, one more waits as a step does."""


class Cockpit:
    """One run on one dashboard: owns state and view. Of the view, `charts` writes how the curves
    are shown, the cockpit everything else."""

    def __init__(
        self,
        request: ScreenRequest,
        *,
        now: Callable[[], float],
        notices: Notices | None = None,
        keys: KeyTable = DEFAULT_KEYS,
    ) -> None:
        """`notices`: whom to tell of what happens; None over a replay."""
        folder = request.folder
        self.request = request
        self.folder = folder
        """The run directory; None for the log of another program."""
        self.source = request.source
        self.mode = _mode_of(request, now)
        self.now = now
        self.notices = notices
        self.state = RunState()
        self.view = View(
            now=lambda: self.mode.ages_to(self.state.last_t),
            title=request.title,
            keys=keys,
            board=Scoreboard(folder, request.baseline),
            losses=LossBoard(folder),
            log=self.mode.log_book(),
            run_id=folder.name if folder is not None else "",
            replay=self.mode.status(),
            folder=folder,
        )
        self.dashboard = Dashboard(self.state, self.view)
        self.front: Dashboard | ChartsScreen = self.dashboard
        """What is painted while events flow: the dashboard, or a screen that hides it whole."""
        self.charts = ViewControl(
            self.view, extent=lambda: self.front.extent, show=lambda topic: self.front.show(topic)
        )
        self.alarms = self.mode.new_alarms()
        self.questions: Questions | None = None
        """The texts of the evaluation's questions, read when the questions screen first opens."""
        self.checkpoints = CheckpointList(RunDir(folder) if folder is not None else None)
        self.launching = False
        """True while the run is being started: its processes are not missed yet."""
        self.quiet = now() - QUIET_SECONDS
        """Wall clock of the newest events."""
        self._stale = Topic.NOTHING
        self._behind = False
        """Whether a run has more events to read than the last poll took."""
        self._ticks = self._painted = self._logged = 0.0
        self._rows = 0
        self._second = -1
        self._next_alive = 0.0
        self._look_due = False
        self._next_look = 0.0
        """When checkpoints that are gone from disk may be looked for again."""
        self._past: past_runs.LookBack | None = None
        """Looks for an earlier run to compare with; None before the first update."""

    @property
    def over(self) -> bool:
        """True when the run told its end, or cannot be alive any more."""
        return self.state.ended or bool(self.view.trouble)

    @property
    def takes_requests(self) -> bool:
        """Whether there is a run that would answer a request."""
        return self.mode.takes_requests and not self.over

    @property
    def what_a_stop_does(self) -> str:
        """A sentence for who is about to stop the run: another's trainer may not save."""
        run = self.state.run
        if run is not None and run.is_followed:
            return "Its command gets SIGTERM; whether it saves first is its own affair."
        if run is not None and Command.CHECKPOINT.value in run.unavailable:
            return "It finishes its step. This trainer saves no checkpoint."
        return "It finishes its step and saves a checkpoint first."

    @property
    def how_a_stop_saves(self) -> str:
        """The same in three words, behind `stop the run`; empty where nothing is saved."""
        run = self.state.run
        saves = run is None or Command.CHECKPOINT.value not in run.unavailable
        return ", with a checkpoint" if saves else ""

    @property
    def shows_ages(self) -> bool:
        """Whether something on the screen says how long ago it was, after the run has ended."""
        state = self.state
        return state.ended and self.view.replay is None and bool(state.checkpoints)

    @property
    def pace(self) -> float:
        """Seconds until the next tick is due: less often while nothing flows, 0 = never."""
        if self._behind:
            return BEHIND_SECONDS
        if self.view.log.busy:
            return TICK_SECONDS
        pace = self.mode.pace(ended=self.state.ended, judging=self.alarms.busy)
        if pace is not None:
            return pace
        now = self.now()
        if now - self.quiet < QUIET_SECONDS:
            return TICK_SECONDS
        if now - self.quiet < IDLE_SECONDS or self.view.pending:
            return SLOW_TICK_SECONDS
        # With the clock, just after its second began; of long silence every other second.
        period = 1.0 if now - self.quiet < SILENT_SECONDS else 2.0
        return period + 0.01 - now % period

    # ---- events in -------------------------------------------------------------------------

    def tick(self) -> None:
        """Take what the source has, then paint what it made stale."""
        view = self.view
        touched = Topic.NOTHING
        events = self._poll()
        if self.mode.restarted():
            # These events are the first of a stage again.
            self.state = RunState()
            self.dashboard.set_state(self.state)
            if self.front is not self.dashboard:
                self.front.set_state(self.state)
            self.alarms = self.mode.new_alarms()
            view.log.restart()
            touched = Topic.ALL
        state = self.state
        before = Topic.NOTHING
        for event in events:
            changed = state.apply(event)
            # A union of flags takes as long as an update, and ten thousand of them change alike.
            if changed is not before:
                touched |= changed
                before = changed
            if self.notices is not None:
                self.notices.observe(event)
        if events:
            self.quiet = self.now()
            # Whoever speaks is not lost, and what is being read may tell the end.
            touched |= self._set_trouble("")
            self.mode.judge(self.alarms, events)
        if self._ticks or not self.mode.opening:
            for alarm in self.alarms.work(JUDGE_SECONDS):
                touched |= state.apply(alarm)
        replay = self.mode.status()
        if replay is not None and replay != view.replay:
            # A clock that only went on is seen with the steps that moved it.
            alike = view.replay is not None and view.replay.setting == replay.setting
            touched |= Topic.STEPS if alike else Topic.VIEW
            view.replay = replay
        self._look_due |= bool(touched & (Topic.CHECKPOINTS | Topic.VIEW))
        if self._look_due and time.monotonic() >= self._next_look:
            touched |= self._note_deleted()
        touched |= self._look_back()
        if touched & Topic.CONTROLS and view.pending:
            for answer in state.controls:
                view.pending.pop(answer.id, None)
        if view.log.reads_file:
            view.log.set_limit(self.mode.text_end())
        if view.log.work(state):
            touched |= Topic.LOG
        second = int(self.now())
        if second != self._second:
            self._second = second
            touched |= self._once_a_second()
            self.front.tick(touched)
        self._stale |= touched
        # Frames are as far apart as ever, however soon the next tick comes.
        self._ticks += BEHIND_SECONDS / TICK_SECONDS if self._behind else 1
        if self._stale:
            self._show_due()

    def _look_back(self) -> Topic:
        """Begin to look for an earlier run at the first update; what has changed when it ends."""
        if self._past is None:
            if self.folder is not None and len(self.state.steps):
                # By now the manifest says what is trained on.
                self._past = past_runs.LookBack(RunDir(self.folder), self.runs_root)
            return Topic.NOTHING
        if not self._past.done or self.view.earlier is self._past.found:
            return Topic.NOTHING
        self.view.earlier = self._past.found
        return Topic.VIEW

    def _poll(self) -> list[Event]:
        """The next events, as many as there is time for."""
        begun = time.monotonic()
        events = self.source.poll(max_events=MAX_EVENTS, max_seconds=MAX_SECONDS)
        full = len(events) >= MANY_EVENTS and time.monotonic() - begun >= MAX_SECONDS
        self._behind = (full or len(events) >= MAX_EVENTS) and self.view.replay is None
        return events

    def _show_due(self) -> None:
        """Paint what is news, and what comes often when its next frame is due."""
        often = _OFTEN | _RESULTS if self._num_results() >= DOTS else _OFTEN
        if self._behind:
            often = Topic.ALL  # nothing is news of what was written long ago
        news = self._stale & ~often
        due = bool(self._stale & often) and self._ticks - self._painted >= self._wait()
        if due or news & ~Topic.LOG:
            self._show_stale()
        elif news and self._ticks - self._logged >= LOG_TICKS:
            # A line of the log alone: the other panels are not painted with it.
            self._stale &= ~Topic.LOG
            self._logged = self._ticks
            self.front.show(Topic.LOG)

    def _show_stale(self) -> None:
        self._logged = self._ticks
        self.front.show(self._stale)
        self._stale, self._painted, self._rows = Topic.NOTHING, self._ticks, self._num_rows()

    def _num_results(self) -> int:
        """Of the kind of which there are most."""
        state = self.state
        return max(
            len(state.validations), len(state.checkpoints), *map(len, state.evals.values()), 0
        )

    def _num_rows(self) -> int:
        """Points of the longest curve."""
        state = self.state
        return max(len(state.steps), self._num_results(), *map(len, state.metrics.values()), 0)

    def _wait(self) -> int:
        """Ticks from one frame of what comes often to the next.

        Ten frames a second say no more than five, and cost twice as much; of a long run whose
        new steps do not move the curve by a dot, one says as much.
        """
        rows = self._num_rows()
        new = rows - self._rows
        if new * DOTS >= rows:
            return 2
        seconds = UNMOVED_SECONDS if new < MANY_STEPS else 2 * UNMOVED_SECONDS
        if self._num_results() >= DOTS and self._stale & _RESULTS:
            seconds = 3 * UNMOVED_SECONDS  # most panels show results, and cost as much again
        pace = TICK_SECONDS if self._behind else self.pace or TICK_SECONDS
        return max(2, round(seconds / pace))

    def _once_a_second(self) -> Topic:
        view, state, now = self.view, self.state, self.now()
        touched = Topic.NOTHING
        transport = self.mode.transport()
        if transport != view.transport:
            view.transport = transport
            touched |= Topic.RUN
        trouble = view.trouble
        if not self.launching and not state.ended and self._due(now):
            alive, words = self.source.alive()
            trouble = "" if alive else words or "the run is not there any more"
            if alive:
                for alarm in self.mode.silence(self.alarms, now):
                    touched |= state.apply(alarm)
                    if self.notices is not None:
                        self.notices.observe(alarm)
        return touched | self._set_trouble(trouble)

    def _due(self, now: float) -> bool:
        """Whether the processes of the run are looked at now: never while events wait to be
        read, one of which may be the run's end."""
        if now < self._next_alive or not self.source.settled:
            return False
        self._next_alive = now + ALIVE_EVERY
        return True

    def _set_trouble(self, trouble: str) -> Topic:
        if trouble == self.view.trouble:
            return Topic.NOTHING
        self.view.trouble = trouble
        return Topic.ALL

    # ---- requests out ----------------------------------------------------------------------

    def ask(self, command: Command, argument: float | None = None) -> str:
        """Post a request to the run; `argument`: the factor of `lr`, the steps of `resume`.

        Returns why it was not sent, an empty string when it was.
        """
        view, state = self.view, self.state
        if problem := self.why_not(command):
            return problem
        asked = ((request.command, request.argument) for request in view.pending.values())
        if (command, argument) in asked:
            return ""  # asked twice before the answer came, it is one request
        from engine.journal.wire import new_id  # noqa: PLC0415  the first frame asks for nothing

        request = Request(
            id=new_id(),
            command=command,
            argument=argument,
            author=_author(),
            t=view.now(),
            attempt=state.attempt if state.attempt_starts else None,
        )
        try:
            self.source.send(request)
        except SftuiError as error:
            return str(error)
        view.pending[request.id] = request
        self.front.show(Topic.CONTROLS)
        return ""

    def why_not(self, command: Command) -> str:
        """Why this cannot be asked of the run that is shown; an empty string where it can."""
        if self.over and self.mode.takes_requests:
            return "The run has ended: it takes no requests any more."
        run = self.state.run
        if run is not None and (why := run.unavailable.get(command.value)):
            # A trainer of somebody else's: what it cannot do is not asked for.
            from sftui.text.clean import clean  # noqa: PLC0415  the first frame asks for nothing

            return str(clean(why, 200))
        return ""

    def ask_pause_or_resume(self) -> str:
        return self.ask(Command.RESUME if self.state.badge == "paused" else Command.PAUSE)

    # ---- the page of charts ----------------------------------------------------------------

    def bring_front(self, front: ChartsScreen | None) -> None:
        """Paint this screen instead of the dashboard; None: the dashboard again, anew."""
        self.front = self.dashboard if front is None else front
        if front is None:
            self._place_pins()
            self.dashboard.rearrange()
            self.dashboard.show(Topic.ALL)

    @property
    def chart_screen(self) -> ChartsScreen | None:
        """The page of charts, while it is open."""
        return None if isinstance(self.front, Dashboard) else self.front

    def _place_pins(self) -> None:
        """Under the loss stands what is pinned; nothing is, so accuracy does again."""
        dashboard = self.dashboard
        if self.view.chart_page.pins:
            dashboard.lower = "pinned"
        elif dashboard.lower == "pinned":
            dashboard.lower = "accuracy"

    @property
    def only_charts(self) -> bool:
        """Whether a log that was read has numbers but no training loss: the dashboard would stay
        empty over it."""
        replay, state = self.view.replay, self.state
        if replay is None or len(state.steps) or not replay.at_end:
            return False
        if replay.loading:
            # So many rows without a loss: it will not come.
            return any(len(table) >= ROWS_WITHOUT_LOSS for table in state.metrics.values())
        return bool(state.metrics or state.validations or state.evals)

    # ---- checkpoints -----------------------------------------------------------------------

    def delete_checkpoint(self, row: CheckpointRow) -> str:
        """Remove it from disk and show it as removed; returns what was done, or why not.

        No event of the run will say so.
        """
        words = self.checkpoints.delete(row, alive=not self.over)
        self.dashboard.show(self._note_deleted())
        return words

    def _note_deleted(self) -> Topic:
        """Mark checkpoints that are gone from disk, deleted here or on another screen."""
        if self.checkpoints.run is None or not self.mode.at_present:
            return Topic.NOTHING
        begun, self._look_due = time.monotonic(), False
        touched = self.state.lose(deleted_checkpoints.missing(self.checkpoints.run, self.state))
        ended = time.monotonic()
        self._next_look = ended + (ended - begun) * LOOK_EVERY
        return touched

    # ---- the clock of a replay -------------------------------------------------------------

    def move(self, act: Callable[[Playback], str | None]) -> str:
        """Move the clock of a replay and paint the result at once.

        Returns what `act` has to say to the user, if anything.
        """
        assert isinstance(self.mode, Playback), "keys of a replay are dead over a run"
        said = act(self.mode) or ""
        self._second = -1  # the words of the header change with the stage
        self.tick()
        if self._stale:
            self._show_stale()
        return said

    # ---- other runs ------------------------------------------------------------------------

    @property
    def runs_root(self) -> Path:
        """Where the runs lie that this one is one of."""
        if self.request.runs_dir is not None:
            return self.request.runs_dir
        return self.folder.parent if self.folder is not None else run_dir.runs_root(None)

    def run_before(self) -> RunDir | None:
        """The newest run that began before this one; of a log, the newest run there is."""
        for run in run_dir.list_runs(self.runs_root):
            if self.folder is None or run.id < self.folder.name:
                return run
        return None

    def use_past(self, past: PastRun | None) -> None:
        """Draw an earlier run behind the curve, or none any more."""
        self.view.past = past
        self.front.show(Topic.VIEW)

    def use_baseline(self, baseline: Yardstick) -> None:
        """Compare accuracies with these as well, from now on."""
        self.request = self.request._replace(baseline=baseline)
        self.view.board = Scoreboard(self.folder, baseline)
        self.front.show(Topic.EVALS | Topic.VIEW)

    # ---- how it is shown ---------------------------------------------------------------------

    def prefer(self, preferences: Preferences) -> None:
        """Show everything as it was shown last."""
        self.charts.prefer(preferences)
        self._place_pins()
        if preferences.table in TABLES:
            self.dashboard.table = preferences.table
        self.checkpoints.sampler.prompt = preferences.prompt

    def preferences(self, theme: str) -> Preferences:
        """How everything is shown now."""
        view = self.view
        return Preferences(
            theme=theme,
            smoothing=view.smoothing,
            log_y=view.log_y,
            whole=view.whole,
            table=self.dashboard.table,
            prompt=self.checkpoints.sampler.prompt,
            x_axis=view.x_axis,
            charts=view.chart_page.kept(),
        )

    def begin_jump(self) -> tuple[str, ...]:
        """Show a letter on every panel; returns all that can be jumped to, visible or not."""
        visible = self.dashboard.boxes(self.dashboard.size)
        self.view.jumping = tuple(n for n in JUMP_LETTERS if n in visible or n in PANELS)
        self.dashboard.show(Topic.ALL)
        return self.view.jumping

    def end_jump(self, choice: tuple[str, bool] | None) -> None:
        """Take the letters away and focus the chosen panel.

        `choice`: its name, and whether it shall be maximised.
        """
        self.view.jumping = ()
        if choice is not None:
            name, alone = choice
            self.dashboard.focus_panel(name, alone=alone)
        self.dashboard.show(Topic.ALL)

    def read_log(self, act: Callable[[LogBook, RunState], object]) -> None:
        """Scroll, filter or search the log."""
        log = self.view.log
        typed = log.typing
        act(log, self.state)
        if log.reads_file:
            log.set_limit(self.mode.text_end())
        # With a line that is typed the footer has other keys.
        self.dashboard.show(Topic.LOG if log.typing == typed else Topic.LOG | Topic.VIEW)

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


def _mode_of(request: ScreenRequest, now: Callable[[], float]) -> Mode:
    if request.replay_of is None:
        return Live(request.source, folder=request.folder, now=now)
    source = cast("ReplaySource", request.source)
    return Playback(source, why=request.replay_of, folder=request.folder, now=now)


def _author() -> str:
    try:
        return f"screen ({getpass.getuser()})"
    except (OSError, KeyError):
        return "screen"
