"""What is judged with what, over all evaluations of a run; and what was clear and no longer is.

The newest evaluation against the start is the question a person asks, so it is judged by
itself (`judge`, headline), corrected for the tasks alone; so is the newest against a baseline.
All other differences to the start and to the one before are one family, which may be wrong in
1 % (`BESIDE`): so a run without any change shows a colour in 5 %. One to the best is shown and
not judged. Families grow with every evaluation, so a difference that was clear when it was
measured may not be clear among more of them: that is said, never just taken back.

Differences are columns: what one more evaluation changes is how many of them are corrected for,
and that is counted anew in a few passes over the columns, whatever their length. A verdict is made
when it is looked at.
"""

# N differences of one family, K results of one task.

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sftui.state.series import Column
from sftui.statistics.accuracy import ALPHA, special_functions
from sftui.statistics.paired_tests import (
    BESIDE,
    CLEAR,
    NO_EVIDENCE,
    SUGGESTIVE,
    Comparison,
    HeldBy,
    Judged,
    claimed,
    holm,
    not_judged,
)
from sftui.statistics.run_scatter import Curve
from sftui.statistics.scatter import Scatter, p_all_beyond, p_beyond

START, PREVIOUS, BEST, BASELINE = "start", "prev", "best", "base"

Floats = NDArray[np.float64]

WORK = 500_000
"""Comparisons looked at again to find what was clear before; the newest evaluations' first. A
log with thousands of evaluations is not looked at from its beginning."""

EXACTLY = 2000
"""So many p values are worked out one by one; of more, those near the limit alone."""

_PASSES = 12
"""Passes over the columns after which sorting them is no dearer."""

_MOST_STEPS = 1000
"""More earlier steps are never within `WORK`: n of them have n^2 comparisons."""

_NEAR = 1e-6
"""Relative width within which a quantile of Student's t is not trusted."""


class Differences:
    """[K] each result of a task against another one, as columns that grow; NaN where there is none.

    The p values are those that count: NaN as well where nothing is claimed of a difference.
    """

    __slots__ = ("_columns", "length")

    def __init__(self) -> None:
        self.length = 0
        self._columns = [Column(np.float64) for _ in range(4)]

    def extend(self, difference: Floats, error: Floats, p: Floats, p_mid: Floats) -> None:
        """Add rows. `p_mid`: with ties counted half, or the same as `p`."""
        end = self.length + len(p)
        for column, values in zip(self._columns, (difference, error, p, p_mid), strict=True):
            column.reserve(end)
            column.data[self.length : end] = values
        self.length = end

    def add(self, comparison: Comparison | None) -> None:
        """Add one."""
        difference, error, p, p_mid = (np.array([number]) for number in row_of(comparison))
        self.extend(difference, error, p, p_mid)

    @property
    def difference(self) -> Floats:
        return self._columns[0].data[: self.length]

    @property
    def error(self) -> Floats:
        """Standard errors of `difference`; NaN where `p` is that of the scatter already."""
        return self._columns[1].data[: self.length]

    @property
    def p(self) -> Floats:
        return self._columns[2].data[: self.length]

    @property
    def p_mid(self) -> Floats:
        return self._columns[3].data[: self.length]


def row_of(comparison: Comparison | None) -> tuple[float, float, float, float]:
    """What `Differences` keep of one."""
    if comparison is None:
        return math.nan, math.nan, math.nan, math.nan
    p, p_mid = (claimed(comparison, headline=mid) for mid in (False, True))
    return comparison.difference, comparison.error, p, p_mid


class Part:
    """Differences of one task in a family, and the scatter that they have to beat."""

    def __init__(self, rows: Differences, count: int, own: Scatter | None) -> None:
        """The first `count` of `rows`."""
        self.p = rows.p[: max(0, count)]
        self.known = int(np.count_nonzero(~np.isnan(self.p)))
        self._difference = rows.difference[: max(0, count)]
        self._error = rows.error[: max(0, count)]
        self._own = own if own is not None and own.beyond > 0.0 else None
        self._t: tuple[Floats, Floats] | None = None

    def larger(self) -> Floats:
        """[N] of p and that of the scatter, the larger."""
        if self._own is None:
            return self.p
        ps = p_all_beyond(self._difference, self._error, self._own)
        return np.where(np.isnan(self.p), np.nan, np.fmax(self.p, ps))

    def below(self, factor: int, error: float, *, scattered: bool) -> int:
        """How many lie under `error` times `factor`, with or without the scatter's p."""
        under = self.p * factor < error
        if not scattered or self._own is None or factor == 0:
            return int(np.count_nonzero(under))
        rows = np.flatnonzero(under)
        if len(rows) <= EXACTLY:
            return self._exactly(rows, factor, error)
        # The p of a t is monotone in t and in its degrees of freedom: only what lies between
        # the quantiles of the fewest and of the most is worked out.
        t, freedom = self._student()
        t, freedom = t[rows], freedom[rows]
        tail = special_functions().stdtrit
        sure = -tail(np.nanmin(freedom), error / factor / 2) * (1 + _NEAR)
        never = -tail(np.nanmax(freedom), error / factor / 2) * (1 - _NEAR)
        clear = ~(t <= sure)
        unsure = rows[~clear & (t > never)]
        return int(np.count_nonzero(clear)) + self._exactly(unsure, factor, error)

    def _exactly(self, rows: NDArray[np.intp], factor: int, error: float) -> int:
        ps = p_all_beyond(self._difference[rows], self._error[rows], self._own)
        return int(np.count_nonzero(~(ps * factor >= error)))

    def _student(self) -> tuple[Floats, Floats]:
        """t and its degrees of freedom, as `p_all_beyond` takes them."""
        if self._t is None:
            assert self._own is not None
            variance = self._error**2 + 2 * self._own.beyond
            freedom = self._own.freedom * variance**2 / (4 * self._own.total**2)
            self._t = np.abs(self._difference) / np.sqrt(variance), freedom
        return self._t


class Family:
    """Differences that are corrected for together (Holm's), without being sorted.

    The procedure takes the smallest p times their number, the next times one less, and so on until
    one reaches `error`: what is clear are those with p times `factor` under it.
    """

    def __init__(self, parts: Sequence[Part], error: float = BESIDE) -> None:
        self._parts, self._error = parts, error
        self._factors: dict[bool, int] = {}
        self._sorted: tuple[Floats, Floats] | None = None

    def clear(self, p: float, *, scattered: bool) -> bool:
        """Whether a p of the family is; `scattered`: the larger of the test's and the scatter's."""
        return p * self.factor(scattered=scattered) < self._error

    def factor(self, *, scattered: bool) -> int:
        """How many are left when the first of them is not clear."""
        if scattered not in self._factors:
            self._factors[scattered] = self._factor(scattered)
        return self._factors[scattered]

    def _factor(self, scattered: bool) -> int:
        total, clear = sum(part.known for part in self._parts), 0
        for _ in range(_PASSES):
            left = total - clear
            found = sum(part.below(left, self._error, scattered=scattered) for part in self._parts)
            if found == clear:
                return left
            clear = found
        ps = [part.larger() if scattered else part.p for part in self._parts]
        order = np.sort(np.concatenate(ps))[:total]
        over = np.flatnonzero(order * np.arange(total, 0, -1) >= self._error)
        return total - int(over[0]) if len(over) else 0

    def adjusted(self, p: float) -> float:
        """Holm's p of one of the family."""
        if math.isnan(p):
            return p
        if self._sorted is None:
            order = np.sort(np.concatenate([part.larger() for part in self._parts]))
            order = order[~np.isnan(order)]
            steps = np.minimum(1.0, order * np.arange(len(order), 0, -1))
            self._sorted = order, np.maximum.accumulate(steps)
        order, adjusted = self._sorted
        return float(adjusted[min(int(np.searchsorted(order, p)), len(order) - 1)])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The first `count` results of a task against the first and the one before."""

    steps: NDArray[np.int64]
    start: Differences
    previous: Differences
    """NaN where the one before is the first, which is one comparison and not two."""
    curve: Curve
    count: int
    own: Scatter | None
    """Of these results."""
    base: Differences | None = None
    """Against the baseline."""
    lenient: bool = True
    """Whether the newest against the first beats a scatter that is not plain."""

    def count_until(self, step: int) -> int:
        """How many there are up to a step."""
        return int(np.searchsorted(self.steps[: self.count], step, side="right"))

    def until(self, step: int) -> Rows:
        """Those up to a step."""
        count = self.count_until(step)
        if count == self.count:
            return self
        own = self.curve.scatter(count) if count else None
        return replace(self, count=count, own=own, base=None)

    @property
    def own_of_newest(self) -> Scatter | None:
        """What the newest against the first, or the baseline, has to beat."""
        return self.own.for_headline() if self.own is not None and self.lenient else self.own


class Shown:
    """The results of a run at one moment, judged as they are looked at."""

    def __init__(self, tasks: Mapping[str, Rows]) -> None:
        """`tasks`: those of which anything can be judged."""
        self.tasks = tasks
        every = tasks.values()
        parts = [Part(rows.start, rows.count - 1, rows.own) for rows in every]
        self.beside = Family(
            [*parts, *(Part(rows.previous, rows.count, rows.own) for rows in every)]
        )
        self.beside_baseline = Family(
            [Part(r.base, r.count - 1, r.own) for r in every if r.base is not None]
        )
        self._newest: dict[str, bool] | None = None

    def judged(
        self, comparison: Comparison, family: Family, was_clear: Callable[[], bool] | None = None
    ) -> Judged:
        """The verdict of a difference that is not the newest against the start or a baseline."""
        if comparison.one_letter is not None:
            return not_judged(comparison, "letter")
        p, q = comparison.p, max(comparison.p, comparison.p_scatter)
        held: HeldBy = ""
        word = NO_EVIDENCE
        if p < ALPHA:
            word, held = SUGGESTIVE, "number"
            if family.clear(p, scattered=False):
                held = "scatter"
                if family.clear(q, scattered=True):
                    word, held = CLEAR, ""
        return Judged(
            comparison=comparison,
            adjusted=functools.partial(family.adjusted, q),
            verdict=word,
            held_by=held,
            past=was_clear if word != CLEAR and was_clear is not None else False,
        )

    def until(self, step: int) -> Shown:
        """What was shown after the evaluations of an earlier step."""
        return Shown({t: r for t, rows in self.tasks.items() if (r := rows.until(step)).count})

    def was_clear(self, task: str, row: int, against: str) -> bool:
        """Whether a difference to the start or the one before was clear at this moment."""
        rows = self.tasks[task]
        if against == START and row == rows.count - 1:
            return self._newest_clear()[task]
        found = rows.start if against == START else rows.previous
        p = float(found.p[row])
        if not self.beside.clear(p, scattered=False):
            return False
        own = p_beyond(float(found.difference[row]), float(found.error[row]), rows.own)
        return self.beside.clear(max(p, own), scattered=True)

    def _newest_clear(self) -> dict[str, bool]:
        """Task -> whether its newest against the start was clear."""
        if self._newest is None:
            ps = []
            for rows in self.tasks.values():
                row, found = rows.count - 1, rows.start
                own = rows.own_of_newest
                beaten = p_beyond(float(found.difference[row]), float(found.error[row]), own)
                p = float(found.p_mid[row])
                ps.append(p if math.isnan(p) else max(p, beaten))
            clear = [adjusted < ALPHA for adjusted in holm(ps)]
            self._newest = dict(zip(self.tasks, clear, strict=True))
        return self._newest


class History:
    """What was shown after each earlier step; made when it is asked for, kept while it counts."""

    def __init__(self) -> None:
        self._moments: dict[int, Shown] = {}
        self._seen: dict[tuple[str, int, str], tuple[int, int]] = {}
        """Difference -> newest step looked at, and the newest one after which it was clear."""
        self._window: tuple[Shown, list[int]] | None = None

    def forget(self) -> None:
        """Results before the newest have changed."""
        self._moments.clear()
        self._seen.clear()

    def keep(self, shown: Shown) -> None:
        """Remember the newest moment: it is history once another step is there."""
        steps = [int(rows.steps[rows.count - 1]) for rows in shown.tasks.values()]
        if steps:
            self._moments[max(steps)] = shown

    def was_clear(self, shown: Shown, task: str, row: int, against: str) -> bool:
        """Whether a difference was clear after any earlier step that is still looked at."""
        rows = shown.tasks[task]
        found = rows.start if against == START else rows.previous
        if not min(float(found.p[row]), float(found.p_mid[row])) < ALPHA:
            return False
        window = self._looked_at(shown)
        looked, newest = self._seen.get((task, row, against), (-1, -1))
        first = max(int(rows.steps[row]), looked + 1)
        for step in reversed(window):
            if step < first:
                break
            if self._moments[step].was_clear(task, row, against):
                newest = step
                break
        if window:
            self._seen[task, row, against] = (window[-1], newest)
        return bool(window) and newest >= window[0]

    def _looked_at(self, shown: Shown) -> list[int]:
        """Earlier steps within `WORK`, rising; what was shown after them is in `_moments`."""
        if self._window is None or self._window[0] is not shown:
            steps = _window(shown.tasks.values())
            moments = {}
            for step in steps:
                known = self._moments.get(step)
                # Of a step whose evaluations came one by one, the last moment counts.
                whole = known is not None and all(
                    rows.count_until(step)
                    == (known.tasks[task].count if task in known.tasks else 0)
                    for task, rows in shown.tasks.items()
                )
                moments[step] = known if known is not None and whole else shown.until(step)
            self._moments = moments | {s: m for s, m in self._moments.items() if m is shown}
            self._window = shown, steps
        return self._window[1]


def _window(tasks: Collection[Rows]) -> list[int]:
    """Steps of differences before the newest, from the newest back until `WORK` is done."""
    for most in (8, _MOST_STEPS):
        tails = [rows.steps[max(1, rows.count - most) : rows.count].tolist() for rows in tasks]
        steps = sorted(set().union(*tails))[-most:]
        done, begin = 0, len(steps) - 1
        while begin > 0:
            # Of each task's results all but the first have one to the start, all but the first
            # two one to the one before.
            counts = (rows.count_until(steps[begin - 1]) for rows in tasks)
            done += sum(max(0, 2 * count - 3) for count in counts)
            if done > WORK:
                return steps[begin:-1]
            begin -= 1
        if all(rows.count <= most for rows in tasks):
            break
    return steps[:-1]
