"""Where a person looks along the x axis: the part that is shown, and the crosshair.

In updates, shared by all charts, so that they stay side by side. Nothing here draws.
"""

from __future__ import annotations

from dataclasses import dataclass

from sftui.drawing.x_axis import Ruler

ZOOM_FACTOR = 0.5
FEWEST = 8.0
"""Updates that are always in sight: closer there is nothing more to see."""


@dataclass(slots=True)
class Sight:
    """Mutable; `full` is what a chart would show by itself, told at every paint."""

    part: tuple[float, float] | None = None
    """Limits of the part that is shown; None for all."""
    cursor: float | None = None
    """Place of the crosshair."""
    full: tuple[float, float] = (0.0, 1.0)
    columns: int = 100
    """Cells of the widest chart: what one press of an arrow moves."""
    ruler: Ruler | None = None
    """What the x axis of the charts measures: halves and columns are of that."""

    def limits(self, full: tuple[float, float]) -> tuple[float, float]:
        """What to show of `full`, which may have grown since."""
        self.full = full
        return full if self.part is None else self.part

    @property
    def shown(self) -> tuple[float, float]:
        return self.full if self.part is None else self.part

    def zoom(self, closer: bool, about: float | None = None) -> None:
        """Half or twice as much, about a place: the crosshair, else the newest end."""
        steps = self.shown
        low, high = self._to(steps[0]), self._to(steps[1])
        full = self._to(self.full[1]) - self._to(self.full[0])
        span = high - low
        # Eight updates, in what the axis measures.
        fewest = FEWEST * span / (steps[1] - steps[0])
        wanted = max(fewest, span * ZOOM_FACTOR) if closer else span / ZOOM_FACTOR
        if wanted >= full:
            self.part = None
            return
        if about is None:
            about = self.cursor if self.cursor is not None else steps[1]
        here = min(max(self._to(about), low), high)
        share = (here - low) / span if span else 1.0
        start = here - share * wanted
        start = max(self._to(self.full[0]), min(start, self._to(self.full[1]) - wanted))
        low, high = self._back(start), self._back(start + wanted)
        self._show(low, max(FEWEST, high - low))

    def pan(self, by: float) -> None:
        """Updates to the right; nothing while all is shown."""
        if self.part is not None:
            low, high = self.part
            self._show(low + by, high - low)

    def move(self, cells: int, last: float) -> None:
        """The crosshair by so many cells; it takes the picture along at its edges.

        `last` is the newest update, where the crosshair first appears.
        """
        low, high = self.shown
        cell = (self._to(high) - self._to(low)) / max(1, self.columns)
        if self.cursor is None:
            here = min(last, high)
        else:
            here = self._back(self._to(self.cursor) + cells * cell)
        self.cursor = min(max(here, self.full[0]), max(last, self.full[0]))
        if self.part is not None and not low <= self.cursor <= high:
            self.pan(self.cursor - (low if self.cursor < low else high))

    def go(self, step: float) -> None:
        """The crosshair to a place, and the picture with it."""
        self.cursor = step
        low, high = self.shown
        if self.part is not None and not low <= step <= high:
            self._show(step - (high - low) / 2, high - low)

    def reset(self) -> None:
        self.part = self.cursor = None

    def _to(self, x: float) -> float:
        return x if self.ruler is None else self.ruler.to(x)

    def _back(self, value: float) -> float:
        return value if self.ruler is None else self.ruler.back(value)

    def _show(self, low: float, span: float) -> None:
        low = max(self.full[0], min(low, self.full[1] - span))
        self.part = (low, low + span)
