"""Spikes and divergence of the training loss, judged on the scale of its logarithm.

A share of the loss means the same at 10 and at 0.1, and the scatter of short answers
and memorised rows, which is skewed and as large as the loss itself, is even on that
scale. A loss that is not always above zero has no logarithm and is judged as it is.
Every step costs the same, however long the log.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass
from typing import Literal

from engine.alarms.windows import MAD_TO_SIGMA, RECENT, Reading, RecentMedian, SortedWindow

WINDOW = 100
"""Observations that say what is normal; fewer than MIN_WINDOW say nothing yet."""
MIN_WINDOW = 30

SPIKE_SIGMAS = 6.0
SPIKE_TAIL = 2.6
"""A mark is also so many times as far out as 95 % of the window: heavy tails are normal there."""
SPIKE_SHARE = 0.05
"""No smaller rise is a mark, however even the losses are."""
SPIKE_STEPS = 5
"""Marks that are this near to one another belong together; one alone happens in heavy tails."""
CHANCE_CLUSTERS = 0.0025
"""Clusters expected by chance in the run so far, at the rate of its own single marks."""
FEW_MARKS = 0.1
"""Added to the marks seen so far: none seen is not proof that there never will be one."""

DIVERGING_SHARE = 0.20
"""Rise over the best stretch. At 10 % two of five clean runs with autocorrelated noise alarm."""
START_SHARE = 0.50
"""Rise over the start: a new optimizer or new data lifts many a good run by a third at first."""
DIVERGING_SIGMAS = 6.0
FIRST = 3
"""Losses that are the start of a run: a single one may be an odd batch."""
BEST_EVERY = 10
"""Observations between searches for a new best stretch; a search costs two sorts of 100."""
FEW_LOSSES = 6
MAX_LAG_CORRELATION = 0.95
MEDIAN_SCATTER = math.pi / 2
"""A median varies by so much more than a mean of as many values."""

Against = Literal["best", "start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The loss rose and stayed up."""

    loss: float
    """Median of the newest 20 losses."""
    limit: float
    base: float
    """What it is compared with."""
    against: Against
    """Lowest median of up to 100 losses, or the first loss of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What the newest losses are compared with, on the scale they are judged on."""

    base: float
    limit: float
    against: Against


NO_THRESHOLD = Threshold(base=math.inf, limit=math.inf, against="best")


class LossRule:
    """Takes losses with `add`; what stands out is in `mark`, `spiking` and `diverging`."""

    def __init__(self) -> None:
        self._on_log_scale = True
        self._forget()

    def _forget(self) -> None:
        self._window = SortedWindow(WINDOW)
        self._recent = RecentMedian()
        self._count = self._marks = 0
        self._near: deque[int] = deque(maxlen=SPIKE_STEPS)
        """Observations of the newest marks."""
        self._last_mark = 0
        self._first: list[float] = []
        self._start: float | None = None
        self._best: float | None = None
        self._over_best = self._over_start = self._passed = NO_THRESHOLD
        self.mark: Reading | None = None
        """The newest loss in sigmas, when it stands out."""
        self.spiking = False
        self.diverging: Divergence | None = None

    def restart(self) -> None:
        """The ranks started again: what is normal has to be seen anew; the best stays."""
        self._window.clear()
        self._recent.clear()
        self._near.clear()
        self.mark, self.spiking, self.diverging = None, False, None

    @property
    def best(self) -> float | None:
        """Lowest median of up to 100 losses so far."""
        return None if self._best is None else self._loss_of(self._best)

    def add(self, loss: float) -> None:
        """Judge a finite loss against the 100 before it, then let it in."""
        if self._on_log_scale and loss <= 0:
            # Rewards and signed losses: what was seen of it on the other scale is of no use.
            self._on_log_scale = False
            self._forget()
        value = math.log(loss) if self._on_log_scale else loss
        self._count += 1
        if len(self._first) < FIRST:
            self._first.append(value)
            self._start = statistics.median(self._first)
        self._judge_spike(value)
        self._window.push(value)
        self._recent.push(value)
        if self._count % BEST_EVERY == 0 and len(self._window) >= MIN_WINDOW:
            self._update_best()
        if self._best is not None:
            self._judge_divergence()

    # ---- spikes ----------------------------------------------------------------------------

    def _judge_spike(self, value: float) -> None:
        near = self._near
        while near and self._count - near[0] >= SPIKE_STEPS:
            near.popleft()
            self._marks += 1
        self.mark = self._stands_out(value)
        if self.mark is not None:
            near.append(self._count)
            self._last_mark = self._count
            self.spiking = self.spiking or len(near) >= self._marks_needed()
        elif self.spiking:
            self.spiking = self._count - self._last_mark < RECENT

    def _marks_needed(self) -> float:
        """Marks in SPIKE_STEPS that chance would not bring together in a run as long as this."""
        rate = (self._marks + FEW_MARKS) / self._count
        for needed in range(2, SPIKE_STEPS + 1):
            others = math.comb(SPIKE_STEPS - 1, needed - 1)
            if self._count * others * rate**needed <= CHANCE_CLUSTERS:
                return needed
        return math.inf

    def _stands_out(self, value: float) -> Reading | None:
        window = self._window
        if len(window) < MIN_WINDOW:
            return None
        median = window.median()
        rise = value - median
        if rise <= (math.log1p(SPIKE_SHARE) if self._on_log_scale else 0.0):
            return None
        if window.fewer_than_half_within(median, rise / SPIKE_SIGMAS / MAD_TO_SIGMA):
            return None
        distances = sorted(abs(x - median) for x in window.ordered)
        # The 95th of 100, and in a shorter window the same share of them.
        tail = distances[(19 * len(distances) - 1) // 20]
        z = rise / window.sigma(median)
        if z <= SPIKE_SIGMAS or rise <= SPIKE_TAIL * tail:
            return None
        return Reading(value=z, limit=SPIKE_SIGMAS)

    # ---- divergence ------------------------------------------------------------------------

    def _update_best(self) -> None:
        """Look whether this stretch is the best, and how far chance moves its median."""
        assert self._start is not None
        window = self._window
        median = window.median()
        best = self._best
        if best is not None and best <= median and best <= self._start:
            return
        sigma, lag = window.around_trend(MAX_LAG_CORRELATION)
        # The scatter of few losses may be too small by chance.
        sigma *= 1 + FEW_LOSSES / len(window)
        # (1 + r) / (1 - r): so many neighbours count as one independent loss.
        recent = MEDIAN_SCATTER * (1 + lag) / (1 - lag) / RECENT
        noise = sigma * math.sqrt(1 + recent)
        limit = self._limit(self._start, START_SHARE, noise)
        self._over_start = Threshold(base=self._start, limit=limit, against="start")
        if best is None or median < best:
            self._best = median
            noise = sigma * math.sqrt(recent * (1 + RECENT / len(window)))
            limit = self._limit(median, DIVERGING_SHARE, noise)
            self._over_best = Threshold(base=median, limit=limit, against="best")

    def _judge_divergence(self) -> None:
        if self.diverging is None:
            lower = self._over_best.limit <= self._over_start.limit
            self._passed = self._over_best if lower else self._over_start
            limit = self._passed.limit
        else:
            # Half the way back: a loss that hovers at the limit is one alarm, not ten.
            limit = (self._passed.base + self._passed.limit) / 2
        self._recent.set_limit(limit)
        median = self._recent.above_limit()
        if median is None:
            self.diverging = None
            return
        self.diverging = Divergence(
            loss=self._loss_of(median),
            limit=self._loss_of(self._passed.limit),
            base=self._loss_of(self._passed.base),
            against=self._passed.against,
        )

    def _limit(self, base: float, share: float, noise: float) -> float:
        rise = math.log1p(share) if self._on_log_scale else share * abs(base)
        return base + max(rise, DIVERGING_SIGMAS * noise)

    def _loss_of(self, value: float) -> float:
        return math.exp(value) if self._on_log_scale else value
