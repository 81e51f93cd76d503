"""Rows of numbers gathered into columns: what text readers put their training lines in.

A run of rows with the same names becomes one `StepBatch`; a few of them become
single events, so that a live run's lines look like anybody's `StepFinished`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from engine.events import Event, Stamp, StepBatch

WORTH_A_BATCH = 8
"""Shorter runs are cheaper as single events."""
WIDE = 256
"""So many numbers are not, in however few rows."""


class Rows:
    """Rows of one stage on their way to events; `drain` before any other event."""

    __slots__ = ("_columns", "_names", "_steps", "_times")

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._steps = array("q")
        self._times = array("d")
        self._columns: list[array[float]] = []

    def __bool__(self) -> bool:
        return bool(self._steps)

    def fits(self, names: tuple[str, ...]) -> bool:
        """Whether rows with these names can join the rows that are here."""
        return names is self._names or names == self._names or not self._steps

    def extend(
        self,
        steps: Iterable[int],
        names: tuple[str, ...],
        columns: Sequence[Iterable[float]],
        times: Iterable[float] = (),
    ) -> None:
        """More rows; `fits(names)` must hold. `names` are those of `StepBatch.columns`.

        All rows between two drains have a time, or none has.
        """
        if names is not self._names and names != self._names:
            self._names = names
            self._columns = [array("d") for _ in names]
        self._steps.extend(steps)
        self._times.extend(times)
        for column, values in zip(self._columns, columns, strict=True):
            # A list is converted at once; `extend` would ask it for one number after the other.
            column.extend(array("d", values) if isinstance(values, list) else values)

    def append(
        self, step: int, names: tuple[str, ...], values: Iterable[float], t: float | None
    ) -> None:
        """One more row, as `extend`."""
        if names is not self._names and names != self._names:
            self._names = names
            self._columns = [array("d") for _ in names]
        self._steps.append(step)
        if t is not None:
            self._times.append(t)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)

    def drain(self, stamp: Stamp, *, least: int = WORTH_A_BATCH) -> list[Event]:
        """The rows as events, and none left; fewer than `least` as single ones, unless wide."""
        if not self._steps:
            return []
        batch = StepBatch(
            step=self._steps[-1],
            stamp=stamp,
            steps=self._steps,
            columns=dict(zip(self._names, self._columns, strict=True)),
            times=self._times,
        )
        self._steps, self._times = array("q"), array("d")
        self._columns = [array("d") for _ in self._names]
        rows = len(batch.steps)
        worth = rows >= least or rows * len(self._names) >= WIDE
        return [batch] if worth else list(batch.rows())
