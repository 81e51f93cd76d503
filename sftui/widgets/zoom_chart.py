"""What the two loss charts share: the mouse, the crosshair's column, limits that hold still."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from textual.events import (
    Click,
    Leave,
    MouseDown,
    MouseMove,
    MouseScrollDown,
    MouseScrollUp,
    MouseUp,
)
from textual.message import Message

from sftui.drawing.canvas import Grid, settle
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Back
from sftui.state.means import Line
from sftui.text import format as fmt
from sftui.view.viewport import Extent, Viewport
from sftui.widgets.panel import Panel

_LEAST_BOX = 3
"""Columns from which a box is meant as one."""


@dataclass
class ChartMoved(Message):
    """The mouse asks for another part of the run, or for the crosshair at another place."""

    kind: Literal["zoom in", "zoom out", "pan", "point", "box", "all"]
    at: float | None = None
    """Place in updates, None for no place; of `pan`, how many updates to the right."""
    to: float | None = None
    """Of `box`, its other end."""
    y: tuple[float, float] | None = None
    """Of `box`, its limits in y; None for those there are."""

    def apply(self, viewport: Viewport) -> None:
        """Move the viewport as asked."""
        match self.kind:
            case "pan":
                viewport.pan(self.at or 0.0)
            case "point":
                viewport.point(self.at)
            case "box":
                if self.at is not None and self.to is not None:
                    viewport.box((self.at, self.to), self.y)
            case "all":
                viewport.reset()
            case _:
                viewport.zoom(self.kind == "zoom in", self.at)


class ZoomChart(Panel):
    """Keeps its plot as it was painted last, and posts `ChartMoved` for the mouse."""

    can_focus = True
    double_click_opens = False  # it shows all updates again

    one_plot: ClassVar[bool] = True
    """Whether the mouse here is over the one plot; a panel of several has handlers of its own, and
    Textual calls those of the base as well."""
    plot: Plot | None = None
    """As it was last painted; None while there is nothing to draw."""
    extent = Extent()
    """What was last painted, for the keys that move the viewport."""
    _limits: tuple[float, float] | None = None
    _limits_of: tuple[bool, str] = (False, "")
    """Of which axis they are: whether it is logarithmic, and what sets its range."""
    _dragged: int | None = None
    """Column from which the mouse drags the picture."""
    _lasso: tuple[int, int, int, int] | None = None
    """The box that is being drawn: column and row where it began and where the mouse is."""

    def y_limits(self, low: float, high: float) -> tuple[float, float]:
        """Limits around these values, in axis units; the ones before where they still do."""
        if self.view.log_y:
            low, high = math.log10(low), math.log10(high)
        return self.held_limits("", low, high)

    def held_limits(self, why: str, low: float, high: float) -> tuple[float, float]:
        """Limits around `low` and `high`, all in axis units; the ones before where they still do.

        Those of a box that was drawn go first, then those that were typed, as they are. `why`:
        what sets the range.
        """
        log, part = self.view.log_y, self.view.viewport.y_part
        if part is not None and not (log and part[0] <= 0):
            return (math.log10(part[0]), math.log10(part[1])) if log else part
        if why == "typed":
            return low, high
        before = self._limits if self._limits_of == (log, why) else None
        self._limits, self._limits_of = settle(before, low, high), (log, why)
        return self._limits

    def paint_box(self, grid: Grid) -> None:
        """The box that is being drawn, as a tint."""
        plot = self.plot
        if self._lasso is None or plot is None:
            return
        x, y, to_x, to_y = self._lasso
        left, right = max(min(x, to_x), plot.col), min(max(x, to_x) + 1, plot.col + plot.width)
        top, bottom = max(min(y, to_y), plot.row), min(max(y, to_y) + 1, plot.row + plot.height)
        for row in range(top, bottom):
            grid.back(row, left, right, Back.CURSOR)

    # ---- mouse -----------------------------------------------------------------------------

    def _x_at(self, column: int) -> float | None:
        """The place under a column of this panel."""
        plot = self.plot
        if plot is None or not plot.holds_column(column):
            return None
        return plot.x_of(column)

    def on_mouse_move(self, event: MouseMove) -> None:
        if not self.one_plot:
            return
        plot = self.plot
        if self._lasso is not None and event.button:
            self._lasso = (*self._lasso[:2], event.x, event.y)
            self.rebuild()
            return
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
        """Drag the picture, where only a part is in sight; else, and with the right button or
        ctrl, draw a box around a part."""
        if not self.one_plot:
            return
        if event.button == 3 or event.ctrl or self.view.viewport.part is None:
            plot = self.plot
            if plot is not None and plot.holds_column(event.x):
                self._lasso = (event.x, event.y, event.x, event.y)
        else:
            self._dragged = event.x
        self.capture_mouse()

    def on_mouse_up(self, event: MouseUp) -> None:
        if not self.one_plot:
            return
        self._dragged, box = None, self._lasso
        self._lasso = None
        self.release_mouse()
        if box is not None:
            self._take_box(*box)

    def on_click(self, event: Click) -> None:
        if not self.one_plot:
            return
        plot = self.plot
        if event.chain == 2 and plot is not None and plot.holds_column(event.x):
            self.post_message(ChartMoved("all"))

    def _take_box(self, x: int, y: int, to_x: int, to_y: int) -> None:
        """Ask for what the box holds; one of a cell or two was a click."""
        plot = self.plot
        if plot is None or abs(to_x - x) < _LEAST_BOX:
            self.rebuild()
            return
        last = plot.col + plot.width - 1
        ends = [plot.x_of(min(max(column, plot.col), last)) for column in (x, to_x)]
        rows = (plot.y_of(max(y, to_y) + 1), plot.y_of(min(y, to_y)))
        tall = abs(to_y - y) >= _LEAST_BOX // 2
        self.post_message(ChartMoved("box", ends[0], ends[1], rows if tall else None))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        if not self.one_plot:
            return
        self.post_message(ChartMoved("zoom in", self._x_at(event.x)))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        if not self.one_plot:
            return
        self.post_message(ChartMoved("zoom out", self._x_at(event.x)))


def line_words(line: Line) -> str:
    """What the drawn line is: a mean of so many steps, or every point joined."""
    return (
        f"mean of {fmt.count(max(1, round(line.window)))} steps" if line.window else "every point"
    )
