"""How a run is shown: axes, smoothing, log, alarms put away, requests not yet answered.

Nothing here is the run's. Every widget gets the state and this, and paints.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.control import Request
from sftui.drawing.x_axis import XScale, XScales
from sftui.keys.key_table import DEFAULT_KEYS, KeyTable
from sftui.logbook.log_book import LogBook
from sftui.state.means import Line, Means, line
from sftui.state.records import Alarm
from sftui.state.run_state import RunState
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import LossBoard
from sftui.text import format as fmt
from sftui.view.chart_page import ChartPage
from sftui.view.failure import failure
from sftui.view.past_run import PastRun
from sftui.view.replay_status import ReplayStatus
from sftui.view.viewport import Viewport

SMOOTHING = (0.025, 0.05, 0.1, 0.0)
"""Windows that `s` goes through, as shares of the data in sight; 0 shows the raw curve alone."""

PANELS = ("loss", "accuracy", "memory", "checkpoints", "log", "samples", "pinned")
"""Panels by number key, from 1."""

TABLES = ("benchmarks", "validation")
"""The tables that share a place beside the charts."""


@dataclass(slots=True, kw_only=True)
class View:
    """Mutable. Widgets and screens only read it: `ViewControl` writes how charts are shown, the
    cockpit (over `sftui compare`, the overlay) the rest."""

    now: Callable[[], float]
    """Wall clock, seconds since the epoch."""
    title: str = ""
    keys: KeyTable = DEFAULT_KEYS
    """The table with the user's own keys, for all that names a key."""
    log_y: bool = False
    whole: bool = False
    smoothing: int = 0
    x_axis: str = "step"
    """One of `x_axis.AXES`; where the log does not say it, charts go by steps."""
    looking: bool = False
    """Over a replay, whether the arrows move the crosshair and not the clock."""
    jumping: tuple[str, ...] = ()
    """Panels that a letter would go to, while one is waited for."""
    log: LogBook = field(default_factory=LogBook)
    """The log as it is read: filter, search, what is in sight."""
    transport: str = ""
    """Where events come from and how fast, in words."""
    pending: dict[str, Request] = field(default_factory=dict)
    """Requests without an answer yet, by id."""
    trouble: str = ""
    """Why the run cannot be alive although it never said that it ended."""
    replay: ReplayStatus | None = None
    """Where the clock of a replay is; None over a run."""
    board: Scoreboard = field(default_factory=Scoreboard)
    """Comparisons of all evaluations, made once for all panels."""
    losses: LossBoard = field(default_factory=LossBoard)
    """Comparisons of all validations."""
    viewport: Viewport = field(default_factory=Viewport)
    """The part of the run that the charts show, and the crosshair."""
    chart_page: ChartPage = field(default_factory=ChartPage)
    """The page of charts, and what is pinned of it."""
    run_id: str = ""
    """The run's name in commands; nothing for the log of another program."""
    folder: Path | None = None
    """The run directory, which paths of the run lie in; None for the log of another program."""
    past: PastRun | None = None
    """An earlier run whose curve lies behind that of this one."""
    earlier: bool | None = None
    """Whether there is an earlier run of the same model and data; None while that is not known."""
    hidden_alarms: dict[str, int] = field(default_factory=dict)
    """Key of `_raised` -> how often it had come when it was put away."""
    screen: str = ""
    """A screen of its own (see `keys.SCREENS`), whose keys mean something instead."""
    _x_scales: XScales = field(default_factory=XScales)
    _loss_means: Means | None = None

    @property
    def mode(self) -> str:
        """`live`, `replay` or the screen's own: which keys mean something."""
        if self.screen:
            return self.screen
        return "live" if self.replay is None else "replay"

    @property
    def smoothing_share(self) -> float:
        """Width of the window of the drawn line, as a share of the data in sight."""
        return SMOOTHING[self.smoothing]

    def x_scale(self, state: RunState, name: str = "") -> XScale | None:
        """The scale of the x axis, or of the axis of that name; None for steps."""
        return self._x_scales.get(name or self.x_axis, state.steps, state.steps_an_epoch)

    def loss_line(
        self, state: RunState, x_low: float = -math.inf, x_high: float = math.inf
    ) -> Line:
        """The line of the training loss for what is in sight; by default of the whole run."""
        series = state.step_series(state.loss_name)
        if self._loss_means is None or self._loss_means.source is not series:
            self._loss_means = Means(series)
        return line(self._loss_means, self.smoothing_share, x_low, x_high)

    def alarms(self, state: RunState) -> list[Alarm]:
        """The active alarms that are not hidden: errors first, then the newest."""
        active = [
            alarm
            for kind, alarm in self._raised(state).items()
            if alarm.active and alarm.count > self.hidden_alarms.get(kind, 0)
        ]
        newest_first = sorted(active, key=lambda alarm: alarm.event.stamp.t or 0.0, reverse=True)
        return sorted(newest_first, key=lambda alarm: alarm.event.severity != "error")

    def hide_alarms(self, state: RunState) -> None:
        """Hide the active alarms until they are raised again."""
        self.hidden_alarms = {kind: alarm.count for kind, alarm in self._raised(state).items()}

    def _raised(self, state: RunState) -> dict[str, Alarm]:
        """The alarms of the run, and its failure as one more, with a key of its own per attempt."""
        end = failure(state, self.run_id)
        if end is None:
            return state.alarms
        return state.alarms | {f"{end.event.kind} {state.attempt}": end}

    def pending_words(self) -> str:
        """`pause requested…`, or nothing."""
        newest = next(reversed(self.pending.values()), None)
        return f"{newest.command.value} requested…" if newest else ""

    def elapsed(self, state: RunState) -> float | None:
        """Seconds since the run began, to its end or to now; None where nothing tells it."""
        if self.replay is not None:
            # The clock of the bar counts, of which a log may have a time of day here and there.
            here = self.replay.seconds if self.replay.clock != "steps" else None
            return here if not state.ended or state.seconds is None else state.seconds
        if state.ended or self.trouble:
            return state.seconds
        if state.first_t is None:
            return None
        return max(0.0, self.now() - state.clock_moved - state.first_t)

    def age(self, state: RunState, t: float | None) -> str:
        """How long ago something of the run was, `t` being what the state says of it; empty where
        nothing tells it. The one clock of all ages: now, or over a replay the moment it shows."""
        if t is None:
            return ""
        return fmt.age(max(0.0, self.now() - state.clock_moved - t))

    def eta(self, state: RunState) -> float | None:
        """Seconds until the end, counted on from the newest event; None when unknown."""
        left = state.eta_seconds()
        if left is None or self.trouble or (self.replay is not None and self.replay.over):
            return None
        if state.badge == "running" and state.last_t is not None:
            left -= min(max(0.0, self.now() - state.clock_moved - state.last_t), 60.0)
        return max(0.0, left)
