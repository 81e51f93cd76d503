"""How a person looks at the run: axis, smoothing, panel, what was asked and not yet answered.

Nothing here is the run's. Every widget gets the state and this, and paints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engine.control import Request
from sftui.scores import Scoreboard
from sftui.series import Smoothed
from sftui.state import RunState
from sftui.tape import Tape
from sftui.validation_scores import LossBoard

SMOOTHING = (0.9, 0.97, 0.99, 0.0)
"""Strengths that `s` goes through; 0 shows the raw curve alone."""

PANELS = ("loss", "accuracy", "memory", "checkpoints", "log")
"""Panels by number key, from 1."""


@dataclass(slots=True, kw_only=True)
class View:
    """Mutable; the app alone writes it."""

    now: Callable[[], float]
    """Wall clock, seconds since the epoch."""
    title: str = ""
    log_y: bool = False
    whole: bool = False
    smoothing: int = 0
    panel: str = "loss"
    maximised: bool = False
    log_back: int = 0
    """Log lines scrolled back from the newest; 0 follows."""
    transport: str = ""
    """Where events come from and how fast, in words."""
    pending: dict[str, Request] = field(default_factory=dict)
    """Requests without an answer yet, by id."""
    trouble: str = ""
    """Why the run cannot be alive although it never said that it ended."""
    tiny: bool = False
    tape: Tape | None = None
    """Where the clock of a replay is; None over a run."""
    table: str = "benchmarks"
    """The table beside the charts: benchmarks or validation."""
    board: Scoreboard = field(default_factory=Scoreboard)
    """Judges the evaluations, over all that is shown."""
    losses: LossBoard = field(default_factory=LossBoard)
    """Judges the validations."""
    _smoothed: dict[str, Smoothed] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """`live` or `replay`: which keys mean something."""
        return "live" if self.tape is None else "replay"

    @property
    def strength(self) -> float:
        return SMOOTHING[self.smoothing]

    def smoothed(self, state: RunState) -> Smoothed:
        """The moving average of the training loss, at the strength asked for."""
        name = state.loss_name
        series = state.step_series(name)
        found = self._smoothed.get(name)
        if found is None or found.source is not series:
            found = self._smoothed[name] = Smoothed(series, self.strength)
        found.set_strength(self.strength)
        return found

    def pending_words(self) -> str:
        """`pause requested…`, or nothing."""
        newest = next(reversed(self.pending.values()), None)
        return f"{newest.command.value} requested…" if newest else ""

    def elapsed(self, state: RunState) -> float | None:
        """Seconds since the run began, to its end or to now."""
        if state.first_t is None:
            return None
        if state.ended or self.trouble:
            return (state.last_t or state.first_t) - state.first_t
        return max(0.0, self.now() - state.clock_moved - state.first_t)

    def eta(self, state: RunState) -> float | None:
        """Seconds until the end, counted on from the newest event; None when unknown."""
        left = state.eta_seconds()
        if left is None or self.trouble:
            return None
        if state.badge == "running" and state.last_t is not None:
            left -= min(max(0.0, self.now() - state.clock_moved - state.last_t), 60.0)
        return max(0.0, left)
