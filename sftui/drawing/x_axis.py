"""Other measures of how far a run is: tokens, epochs, time; from updates and back.

A chart keeps its places in updates. An `XScale` says where an update stands on another
axis, so the axis can change under a zoom or a crosshair and both stay on their update.
The value at x is that of weights with x updates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from sftui.drawing.canvas import ratchet
from sftui.state.series import Column, Doubles, Table
from sftui.text import format as fmt

AXES = ("step", "tokens", "epoch", "time")
"""The measures of the x axis, in the order of the key."""

WORDS = {
    "step": "steps",
    "tokens": "tokens",
    "epoch": "epochs",
    "time": "time",
    "share": "share of the run",
}
FORMS: dict[str, Callable[[float], str]] = {
    "step": fmt.count,
    "tokens": fmt.si,
    "epoch": fmt.epoch,
    "time": fmt.clock,
    "share": lambda value: f"{value:.1f}%",
}
"""How a place on each axis is written."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Columns whose product is the measure of a row."""

    columns: tuple[str, ...]
    adds: bool
    """Whether rows give what each adds, or where it stands after each."""
    words: str = ""


_SOURCES: dict[str, tuple[_Source, ...]] = {
    "tokens": (
        _Source(("tokens",), True),
        _Source(("supervised_tokens",), True, "supervised tokens"),
        _Source(("tokens_per_second", "seconds"), True),
    ),
    "epoch": (_Source(("epoch",), False),),
    "time": (
        _Source(("since_start",), False),
        _Source(("seconds",), True, "time in updates"),
    ),
}


def measures(name: str) -> tuple[str, ...]:
    """What an axis may count, in words, best first; an empty text is what its name says."""
    return tuple(dict.fromkeys(source.words for source in _SOURCES[name]))


class XScale:
    """One measure over the updates of a table; follows them as they come."""

    def __init__(
        self,
        name: str,
        steps: Table,
        *,
        steps_an_epoch: float | None = None,
        measure: str | None = None,
    ) -> None:
        """`steps_an_epoch`: for epochs, where the log itself names none. `measure`: the one of
        `measures` that must be counted; None for the best that the log has."""
        self.name = name
        self._measure = measure
        self._steps = steps
        self._epoch = steps_an_epoch
        self._source: _Source | None = None
        self._rewrites = -1
        self._restart()

    @property
    def words(self) -> str:
        """What is measured, for a user."""
        return (self._source.words if self._source else "") or WORDS[self.name]

    @property
    def known(self) -> bool:
        """Whether the log says enough to draw by it."""
        self._follow()
        if self._epoch is not None and self._source is None:
            return True
        return self._length > 1 and bool(self._v[-1] > self._v[0])

    @overload
    def to(self, x: float) -> float: ...
    @overload
    def to(self, x: Doubles) -> Doubles: ...
    def to(self, x: Any) -> Any:
        """The measure at a place in updates; beyond what is known, at the mean pace."""
        return self._map(x, self._x, self._v)

    @overload
    def back(self, value: float) -> float: ...
    @overload
    def back(self, value: Doubles) -> Doubles: ...
    def back(self, value: Any) -> Any:
        """The place in updates at which the measure has a value."""
        return self._map(value, self._v, self._x)

    # ---- inside ----------------------------------------------------------------------------

    @property
    def _x(self) -> Doubles:
        if self._length:
            return self._knots[0].data[: self._length]
        return np.array([0.0, self._epoch or 1.0])

    @property
    def _v(self) -> Doubles:
        if self._length:
            return self._knots[1].data[: self._length]
        return np.array([0.0, 1.0])

    def _map(self, value: Any, inputs: Doubles, outputs: Doubles) -> Any:
        first, last = float(inputs[0]), float(inputs[-1])
        start, end = float(outputs[0]), float(outputs[-1])
        pace = (end - start) / max(last - first, 1e-300)
        if isinstance(value, np.ndarray):
            found = np.interp(value, inputs, outputs)
            found = np.where(value > last, end + (value - last) * pace, found)
            return np.where(value < first, start + (value - first) * pace, found)
        if value > last:
            return end + (value - last) * pace
        if value < first:
            return start + (value - first) * pace
        return float(np.interp(value, inputs, outputs))

    def _restart(self) -> None:
        self._rewrites = self._steps.rewrites
        self._read = self._length = 0
        self._knots = (Column(np.float64), Column(np.float64))

    def _follow(self) -> None:
        steps = self._steps
        if self._source is None:
            wanted = self._measure
            sources = [s for s in _SOURCES[self.name] if wanted in (None, s.words)]
            known = (s for s in sources if all(map(self._has, s.columns)))
            self._source = next(known, None)
            if self._source is None:
                return
            self._restart()
        if steps.rewrites != self._rewrites:
            self._restart()
        if len(steps) == self._read:
            return
        x = steps.x[self._read :] + 1.0
        values = np.ones(len(x))
        for name in self._source.columns:
            values *= steps.column(name)[self._read :]
        self._read = len(steps)
        finite = np.isfinite(values)
        last = float(self._v[-1]) if self._length else -math.inf
        if self._source.adds:
            values = np.cumsum(np.where(finite, np.maximum(values, 0.0), 0.0))
            if self._length:
                values += last
            else:
                x, values = np.insert(x, 0, x[0] - 1.0), np.insert(values, 0, 0.0)
        else:
            x, values = x[finite], np.maximum.accumulate(np.maximum(values[finite], last))
            if not self._length and len(x):
                start = max(0.0, float(values[0]) - self._first_took(float(x[0]) - 1.0))
                x, values = np.insert(x, 0, x[0] - 1.0), np.insert(values, 0, start)
        end = self._length + len(x)
        for column, new in zip(self._knots, (x, values), strict=True):
            column.reserve(end)
            column.data[self._length : end] = new
        self._length = end

    def _has(self, column: str) -> bool:
        return self._steps.written(column) and self._steps.last(column) is not None

    def _first_took(self, step: float) -> float:
        """What the first update added, where rows only say where they stand."""
        if self.name == "time":
            return (self._steps.at(step) or {}).get("seconds", 0.0)
        return math.inf if step == 0 else 0.0


class ClockScale(XScale):
    """The wall clock counted from a moment, for numbers that belong to no update."""

    def __init__(self, start: float) -> None:
        """`start`: seconds since the epoch."""
        self.name = "time"
        self._start = start

    @property
    def words(self) -> str:
        return WORDS["time"]

    @property
    def known(self) -> bool:
        return True

    def to(self, x: Any) -> Any:
        return x - self._start

    def back(self, value: Any) -> Any:
        return value + self._start


class ShareScale(XScale):
    """The share of a run in percent: every run begins at 0 and ends at 100."""

    def __init__(self, updates: float, words: str) -> None:
        """`updates`: those of the whole run, above 0. `words`: what they are the whole of."""
        self.name = "share"
        self._updates, self._words = updates, words

    @property
    def words(self) -> str:
        return self._words

    @property
    def known(self) -> bool:
        return True

    def to(self, x: Any) -> Any:
        return x * (100.0 / self._updates)

    def back(self, value: Any) -> Any:
        return value * (self._updates / 100.0)


class XScales:
    """The scales of one run, made when they are asked for."""

    def __init__(self) -> None:
        self._steps: Table | None = None
        self._made: dict[str, XScale] = {}

    def get(self, name: str, steps: Table, steps_an_epoch: float | None) -> XScale | None:
        """The scale of that name; None for steps, and for what the log does not have."""
        if name not in _SOURCES:
            return None
        if steps is not self._steps:
            self._steps, self._made = steps, {}
        found = self._made.get(name)
        if found is None or (found._epoch is None and steps_an_epoch is not None):
            epoch = steps_an_epoch if name == "epoch" else None
            found = self._made[name] = XScale(name, steps, steps_an_epoch=epoch)
        return found if found.known else None


def missing_words(names: Sequence[str]) -> str:
    """`This log names no tokens and no epochs.`"""
    words = [f"no {WORDS[name]}" for name in names]
    if not words:
        return ""
    listed = words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" and {words[-1]}"
    return f"This log names {listed}."


def x_range(
    x_scale: XScale | None, low: float, last: float, planned: float | None, *, whole: bool
) -> tuple[float, float]:
    """From `low` to what a chart shows, in updates; its end grows in jumps on its own axis."""
    known = bool(planned) and last <= (planned or 0)  # beyond its plan no end is known
    if whole and planned:
        low = 0.0
    end = max(float(planned or 0), 1.0) if whole and known else last + 1
    if x_scale is None:
        if whole and known:
            return low, end
        most = max(float(planned or 0), end) if known else math.inf
        return low, min(low + ratchet(end - low), most)
    base = x_scale.to(low)
    unit = 1000.0 if x_scale.name == "epoch" else 1.0
    # Also the end of a plan is an estimate here, which every update would move a little.
    high = x_scale.back(base + ratchet((x_scale.to(end) - base) * unit) / unit)
    return low, max(high, end)
