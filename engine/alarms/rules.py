"""The arithmetic of the alarms, all but the training loss's, which has `loss_rule`.

Every rule counts *observations*, not step numbers, so a log that writes each tenth
step is judged as well. Medians, not means: one odd batch must not move the measure
it is judged by.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from engine.alarms.source_moves import SourceMoves, source_moves
from engine.alarms.windows import Reading, RecentMedian, scatter_around_trend

OVERFITTING_SHARE = 0.01
OVERFITTING_ERRORS = 3.0
FIRST_JUDGED_VALIDATION = 4
THIRD_FROM = 8
"""Validations from which on their scatter comes from third differences: a curve that falls and
then levels out bends, and second ones take the bend for scatter. Of a fall from 5 to 1 that rises
to 1.08 over 12 validations they find 2 %, third ones 97 %. Fewer validations hold too few third
differences: with 6 false alarms would double."""

SLOW_SHARE = 0.5
"""At 0.7 a quarter of clean runs alarm when step times scatter by 40 %."""
WARM_UP = 10
NORMAL_SPEEDS = 100
"""Observations after the warm-up whose median is the usual speed."""

STRAGGLER_FACTOR = 1.25
STRAGGLER_STEPS = 50
STRAGGLER_WINDOWS = 3
STRAGGLER_SAMPLES = 5

STALL_SECONDS = 30.0
STALL_FACTOR = 10.0
STEP_TIMES = 50
MIN_STEP_TIMES = 3
RANK_CHECK_SECONDS = 1.0

MEMORY_SHARE = 0.92


class ValidationRule:
    """Validation that rises above its best, beyond its error and its own wobble."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._sources: list[Mapping[str, float]] = []
        self._thirds: list[float] = []  # sizes of the third differences, rising
        self._above = 0
        self.overfitting: Reading | None = None
        self.best_step: int | None = None
        self.best: float | None = None
        self._best_sources: Mapping[str, float] = {}

    def rewind(self, step: int) -> None:
        """Forget what an earlier attempt measured after `step`."""
        keep = bisect_right(self._steps, step)
        del self._steps[keep:], self._losses[keep:], self._sources[keep:]
        self._above, self.overfitting = 0, None
        self._thirds = sorted(map(self._third, range(3, keep)))
        self.best = self.best_step = None
        self._best_sources = {}
        for i in range(keep):
            self._compare(i)

    def add(
        self,
        step: int,
        loss: float,
        paired_error: float | None,
        by_source: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Judge a finite validation loss.

        `paired_error` is the standard error of its difference from the best one, where
        losses row by row were at hand; `by_source` the loss of each source of rows.
        """
        if self._steps and step == self._steps[-1]:
            # Asked for by hand, or done again after a restart: the same model.
            last = len(self._losses) - 1
            if last >= 3:
                del self._thirds[bisect_left(self._thirds, self._third(last))]
            self._losses[-1], self._sources[-1] = loss, by_source
            if last >= 3:
                insort(self._thirds, self._third(last))
            return
        if self._steps and step < self._steps[-1]:
            self.rewind(step - 1)
        if self._losses:
            self._compare(len(self._losses) - 1)
        self._steps.append(step)
        self._losses.append(loss)
        self._sources.append(by_source)
        if len(self._losses) > 3:
            insort(self._thirds, self._third(len(self._losses) - 1))
        best = self.best
        if best is None or len(self._losses) < FIRST_JUDGED_VALIDATION:
            return
        # The best of k that scatter lies about sqrt(2 ln k) deviations low: it was picked.
        picked = math.sqrt(2 * math.log(len(self._losses) - 1))
        beyond = math.hypot(
            OVERFITTING_ERRORS * (paired_error or 0.0), (OVERFITTING_ERRORS + picked) * self.wobble
        )
        limit = best + max(OVERFITTING_SHARE * abs(best), beyond)
        self._above = self._above + 1 if loss > limit else 0
        self.overfitting = Reading(value=loss, limit=limit) if self._above >= 2 else None

    def _compare(self, index: int) -> None:
        """The first of equals is the best."""
        if self.best is None or self._losses[index] < self.best:
            self.best, self.best_step = self._losses[index], self._steps[index]
            self._best_sources = self._sources[index]

    @property
    def moves(self) -> SourceMoves:
        """The sources of the newest validation against those of the best."""
        return source_moves(self._best_sources, self._sources[-1] if self._sources else {})

    def _third(self, index: int) -> float:
        """Size of the third difference that ends at a validation."""
        a, b, c, d = self._losses[index - 3 : index + 1]
        # Difference by difference: losses of 1e308 give infinity, never NaN.
        return abs(((d - c) - (c - b)) - ((c - b) - (b - a)))

    @property
    def wobble(self) -> float:
        """Scatter of the validations around their own trend. Needs three validations.

        The third differences are kept sorted as they come: a log may hold twenty thousand.
        """
        losses = self._losses
        if len(losses) < THIRD_FROM:
            ends = zip(losses, losses[1:], losses[2:], strict=False)
            return scatter_around_trend(
                statistics.median(abs((c - b) - (b - a)) for a, b, c in ends), 2
            )
        size = len(self._thirds)
        middle = self._thirds[(size - 1) // 2 : size // 2 + 1]
        return scatter_around_trend(statistics.median(middle), 3)


class SpeedRule:
    """Speed of now against the speed of the beginning, warm-up left out."""

    def __init__(self) -> None:
        self._count = 0
        self._first: list[float] = []
        self.normal: float | None = None
        # Negative, so that slow is high.
        self._recent = RecentMedian()
        self.slow: Reading | None = None

    def add(self, rate: float) -> None:
        """A finite rate above 0, larger is faster."""
        self._count += 1
        if self.normal is None:
            if self._count > WARM_UP:
                self._first.append(rate)
            if len(self._first) == NORMAL_SPEEDS:
                self.normal = statistics.median(self._first)
            return
        limit = SLOW_SHARE * self.normal
        # Back at 60 % it is over; between the two nothing changes.
        self._recent.set_limit(-1.2 * limit if self.slow is not None else -limit)
        self._recent.push(-rate)
        median = self._recent.above_limit()
        self.slow = None if median is None else Reading(value=-median, limit=limit)


class StragglerRule:
    """A rank that is slower than the others, window after window."""

    def __init__(self) -> None:
        self._start: int | None = None
        self._times: dict[int, dict[int, float]] = {}
        self._streak: dict[int, int] = {}
        self._factor: dict[int, float] = {}

    def add(self, rank: int, step: int, seconds: float) -> bool:
        """A rank's own time of a step; True when a window was judged."""
        if self._start is None or step < self._start:
            self._start, self._times = step, {}
        self._times.setdefault(rank, {})[step] = seconds
        if step - self._start < STRAGGLER_STEPS or len(self._times) < 2:
            return False
        if any(len(times) < STRAGGLER_SAMPLES for times in self._times.values()):
            return False
        medians = {r: statistics.median(times.values()) for r, times in self._times.items()}
        for r, median in medians.items():
            others = statistics.median(m for other, m in medians.items() if other != r)
            self._factor[r] = median / others if others > 0 else math.inf
            streak = self._streak.get(r, 0)
            # Half the way back: a rank that hovers at the limit is one alarm, not ten.
            known = streak >= STRAGGLER_WINDOWS
            limit = (1 + STRAGGLER_FACTOR) / 2 if known else STRAGGLER_FACTOR
            self._streak[r] = streak + 1 if self._factor[r] > limit else 0
        self._start, self._times = None, {}
        return True

    def slowest(self) -> tuple[int, Reading] | None:
        """The rank that was late in three windows in a row, and its factor."""
        late = [r for r, streak in self._streak.items() if streak >= STRAGGLER_WINDOWS]
        if not late:
            return None
        rank = max(late, key=self._factor.__getitem__)
        return rank, Reading(value=self._factor[rank], limit=STRAGGLER_FACTOR)


class SilenceRule:
    """Nothing happens although steps are due, or one rank says nothing while others do.

    Times are wall clock (t) and monotonic (m) seconds of the events. A gap counts as the
    smaller of the two: a clock that was set, or a laptop that slept, is not a stalled run.
    """

    def __init__(self, rank_seconds: float) -> None:
        self._rank_seconds = rank_seconds
        self._times: deque[float] = deque(maxlen=STEP_TIMES)
        self._life: tuple[float | None, float | None] = (None, None)
        self._ranks_checked: float | None = None
        self._step_due = False
        self._last_step_t: float | None = None
        self.saving = False
        self.paused = False
        self._told_late: int | None = None
        """The update before the pause: one that is told of later does not end it."""
        self.beats: dict[int, float] = {}
        """Wall clock of each rank's newest beat."""

    def life(self, t: float | None, m: float | None, *, step_due: bool | None = None) -> None:
        """Something happened; `step_due` says whether steps are to follow now."""
        self._life = (t, m)
        if step_due is not None:
            self._step_due = step_due
            self._last_step_t = None

    def is_past(self, t: float | None) -> bool:
        """Whether a time lies before the newest sign of life."""
        newest = self._life[0]
        return t is not None and newest is not None and t < newest

    def pause(self, step: int | None) -> None:
        """No update is made from that of `step` on, until `resume` or such an update."""
        self.paused = True
        self._told_late = None if step is None else step - 1

    def resume(self) -> None:
        """Updates are made again."""
        self.paused, self._told_late = False, None

    def step(self, t: float | None, seconds: float | None, number: int | None = None) -> None:
        """A step ended; without its `seconds` the spacing of the steps is taken.

        A trainer may tell of an update behind the pause that follows it: it waits for the
        numbers that are logged of it, or for those of the other ranks.
        """
        if seconds is None and t is not None and self._last_step_t is not None:
            seconds = t - self._last_step_t
        self._step_due, self.saving = True, False
        if self.paused and (number is None or number != self._told_late):
            self.resume()
        self._last_step_t = t
        if seconds is not None and 0 < seconds < math.inf:
            self._times.append(seconds)

    @property
    def judges_steps(self) -> bool:
        """False while measuring, saving or paused, and before the usual time is known."""
        waiting = self.paused or self.saving or not self._step_due
        return not waiting and len(self._times) >= MIN_STEP_TIMES

    @property
    def usual_seconds(self) -> float:
        """Median time of a step."""
        return statistics.median(self._times)

    def stall(self, t: float, m: float | None) -> Reading | None:
        """The gap until now, when it is too long for a step."""
        last_t, last_m = self._life
        if last_t is None:
            return None
        gap = t - last_t
        if m is not None and last_m is not None:
            gap = min(gap, m - last_m)
        if gap <= STALL_SECONDS or not self.judges_steps:
            return None
        limit = max(STALL_SECONDS, STALL_FACTOR * self.usual_seconds)
        return Reading(value=gap, limit=limit) if gap > limit else None

    def silent_ranks(self, t: float, *, watched: bool) -> tuple[list[int], Reading] | None:
        """Ranks without a beat for too long, and the longest silence.

        Without a watcher the newest beat is the only clock: after a gap in the log every
        rank has been silent. When all are silent at once it is a stall, not a rank, unless
        no step was due.
        """
        if not self.beats:
            return None
        newest, limit = max(self.beats.values()), self._rank_seconds
        now = newest
        if watched and (t - newest <= limit or not self.judges_steps):
            now = t
        silent = {rank: now - beat for rank, beat in self.beats.items() if now - beat > limit}
        if not silent:
            return None
        return sorted(silent), Reading(value=max(silent.values()), limit=limit)

    def rank_check_due(self, t: float) -> bool:
        """Whether it is time to check the ranks' beats again; once a second is enough."""
        if self._ranks_checked is not None and 0 <= t - self._ranks_checked < RANK_CHECK_SECONDS:
            return False
        self._ranks_checked = t
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """What one rank uses of the memory that is its own (device) or shared with its host."""

    host: str
    used: int
    total: int
    on_device: bool


class MemoryRule:
    """How full the fullest memory is."""

    def __init__(self) -> None:
        self._ranks: dict[int, MemoryUse] = {}

    def add(self, rank: int, use: MemoryUse) -> None:
        self._ranks[rank] = use

    def forget(self, rank: int) -> None:
        self._ranks.pop(rank, None)

    def fullest(self) -> tuple[int, MemoryUse] | None:
        """A rank of the fullest memory, and that memory with all its ranks' use added up."""
        found: tuple[int, MemoryUse] | None = None
        for rank, use in self._ranks.items():
            used = use.used
            if not use.on_device:
                # Ranks on the CPU share one memory.
                used = sum(
                    other.used
                    for other in self._ranks.values()
                    if other.host == use.host and not other.on_device
                )
            if found is None or used / use.total > found[1].used / found[1].total:
                whole = MemoryUse(
                    host=use.host, used=used, total=use.total, on_device=use.on_device
                )
                found = rank, whole
        return found
