"""The part of the x axis that the charts show, and the crosshair.

In updates, shared by all charts, so that they stay side by side. Nothing here draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sftui.drawing.x_axis import XScale

ZOOM_FACTOR = 0.5
FEWEST = 8.0
"""Updates that are always in sight: closer there is nothing more to see."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What the loss chart drew last: what keys and mouse move within."""

    full: tuple[float, float] = (0.0, 1.0)
    """Limits of all that there is."""
    columns: int = 100
    """Cells of the chart: what one press of an arrow moves."""
    x_scale: XScale | None = None
    """What the x axis measures: halves and columns are of that; None for updates."""


@dataclass(slots=True)
class Viewport:
    """Mutable; `ViewControl` alone moves it."""

    part: tuple[float, float] | None = None
    """Limits of the part that is shown; None for all."""
    cursor: float | None = None
    """Place of the crosshair."""
    y_part: tuple[float, float] | None = None
    """Limits of the loss that a box was drawn around; None for those that suit the data."""
    extent: Extent = Extent()

    def limits(self, full: tuple[float, float]) -> tuple[float, float]:
        """What to show of `full`, which may have grown since."""
        return full if self.part is None else self.part

    @property
    def shown(self) -> tuple[float, float]:
        return self.limits(self.extent.full)

    def zoom(self, closer: bool, about: float | None = None) -> None:
        """Half or twice as much, about a place: the crosshair, else the newest end."""
        steps, all_steps = self.shown, self.extent.full
        low, high = self._to(steps[0]), self._to(steps[1])
        full = self._to(all_steps[1]) - self._to(all_steps[0])
        span = high - low
        # Eight updates, in what the axis measures.
        fewest = FEWEST * span / (steps[1] - steps[0])
        wanted = max(fewest, span * ZOOM_FACTOR) if closer else span / ZOOM_FACTOR
        if wanted >= full:
            self.part = self.y_part = None
            return
        if about is None:
            about = self.cursor if self.cursor is not None else steps[1]
        here = min(max(self._to(about), low), high)
        share = (here - low) / span if span else 1.0
        start = here - share * wanted
        start = max(self._to(all_steps[0]), min(start, self._to(all_steps[1]) - wanted))
        low, high = self._back(start), self._back(start + wanted)
        self._show(low, max(FEWEST, high - low))

    def box(self, x: tuple[float, float], y: tuple[float, float] | None) -> None:
        """Show what a box holds: updates from x[0] to x[1], and losses likewise."""
        low, high = min(x), max(x)
        span = max(min(FEWEST, self.extent.full[1] - self.extent.full[0]), high - low)
        self._show(low, span)
        if y is not None and min(y) < max(y):
            self.y_part = (min(y), max(y))

    def pan(self, by: float) -> None:
        """Updates to the right; nothing while all is shown."""
        if self.part is not None:
            low, high = self.part
            self._show(low + by, high - low)

    def point(self, at: float | None) -> None:
        """The crosshair to a place, while the picture stays; None takes it away."""
        self.cursor = at

    def move(self, cells: int, last: float) -> None:
        """The crosshair by so many cells; it takes the picture along at its edges.

        `last` is the newest update, where the crosshair first appears.
        """
        low, high = self.shown
        first = self.extent.full[0]
        cell = (self._to(high) - self._to(low)) / max(1, self.extent.columns)
        if self.cursor is None:
            here = min(last, high)
        else:
            here = self._back(self._to(self.cursor) + cells * cell)
        self.cursor = min(max(here, first), max(last, first))
        if self.part is not None and not low <= self.cursor <= high:
            self.pan(self.cursor - (low if self.cursor < low else high))

    def go(self, step: float) -> None:
        """The crosshair to a place, and the picture with it."""
        self.cursor = step
        low, high = self.shown
        if self.part is not None and not low <= step <= high:
            self._show(step - (high - low) / 2, high - low)

    def reset(self) -> None:
        """All of the run, without a crosshair."""
        self.part = self.cursor = self.y_part = None

    def drop_height(self) -> None:
        """Another number is shown: the height a box was drawn around says nothing of it."""
        self.y_part = None

    def carry(self, to: Callable[[float], float]) -> None:
        """The places are of another run's updates now: `to` gives each one's."""
        if self.part is not None:
            self.part = (to(self.part[0]), to(self.part[1]))
        if self.cursor is not None:
            self.cursor = to(self.cursor)

    def _to(self, x: float) -> float:
        scale = self.extent.x_scale
        return x if scale is None else scale.to(x)

    def _back(self, value: float) -> float:
        scale = self.extent.x_scale
        return value if scale is None else scale.back(value)

    def _show(self, low: float, span: float) -> None:
        first, last = self.extent.full
        low = max(first, min(low, last - span))
        self.part = (low, low + span)
