"""What the two loss charts share: the mouse, the crosshair's column, limits that hold still."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from textual.events import (
    Leave,
    MouseDown,
    MouseMove,
    MouseScrollDown,
    MouseScrollUp,
    MouseUp,
)
from textual.message import Message

from sftui.drawing.canvas import settle
from sftui.drawing.plot import Plot
from sftui.state.means import Line
from sftui.state.series import Doubles
from sftui.text import format as fmt
from sftui.view.viewport import Extent, Viewport
from sftui.widgets.panel import Panel


@dataclass
class ChartMoved(Message):
    """The mouse asks for another part of the run, or for the crosshair at another place."""

    kind: Literal["zoom in", "zoom out", "pan", "point"]
    at: float | None = None
    """Place in updates, None for no place; of `pan`, how many updates to the right."""

    def apply(self, viewport: Viewport) -> None:
        """Move the viewport as asked."""
        match self.kind:
            case "pan":
                viewport.pan(self.at or 0.0)
            case "point":
                viewport.point(self.at)
            case _:
                viewport.zoom(self.kind == "zoom in", self.at)


class ZoomChart(Panel):
    """Keeps its plot as it was painted last, and posts `ChartMoved` for the mouse."""

    can_focus = True

    plot: Plot | None = None
    """As it was last painted; None while there is nothing to draw."""
    extent = Extent()
    """What was last painted, for the keys that move the viewport."""
    _limits: tuple[float, float] | None = None
    _limits_log = False
    _dragged: int | None = None
    """Column from which the mouse drags."""

    def y_limits(self, low: float, high: float) -> tuple[float, float]:
        """Limits around these values, in axis units; the ones before where they still do."""
        log = self.view.log_y
        if log:
            low, high = math.log10(low), math.log10(high)
        before = self._limits if self._limits_log == log else None
        self._limits, self._limits_log = settle(before, low, high), log
        return self._limits

    # ---- mouse -----------------------------------------------------------------------------

    def _x_at(self, column: int) -> float | None:
        """The place under a column of this panel."""
        plot = self.plot
        if plot is None or not plot.holds_column(column):
            return None
        return plot.x_of(column)

    def on_mouse_move(self, event: MouseMove) -> None:
        plot = self.plot
        if plot is not None and self._dragged is not None and event.button:
            moved = plot.x_of(self._dragged) - plot.x_of(event.x)
            self._dragged = event.x
            self.post_message(ChartMoved("pan", moved))
            return
        at = self._x_at(event.x)
        if at is not None:
            self.post_message(ChartMoved("point", at))

    def on_leave(self, event: Leave) -> None:
        self.post_message(ChartMoved("point"))

    def on_mouse_down(self, event: MouseDown) -> None:
        self._dragged = event.x
        self.capture_mouse()

    def on_mouse_up(self, event: MouseUp) -> None:
        self._dragged = None
        self.release_mouse()

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self.post_message(ChartMoved("zoom in", self._x_at(event.x)))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self.post_message(ChartMoved("zoom out", self._x_at(event.x)))


def line_words(line: Line) -> str:
    """What the drawn line is: a mean of so many steps, or every point joined."""
    return (
        f"mean of {fmt.count(max(1, round(line.window)))} steps" if line.window else "every point"
    )


def nearest_row(x: Doubles, at: float) -> int:
    """Index of the value of sorted, non-empty `x` that is nearest to a place; of two, the first."""
    i = int(np.searchsorted(x, at))
    if i > 0 and (i == len(x) or at - x[i - 1] <= x[i] - at):
        i -= 1
    return i
