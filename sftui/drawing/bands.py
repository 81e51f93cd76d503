"""A tint behind a curve: what its error allows, or the box that a mouse draws."""

from __future__ import annotations

import numpy as np

from sftui.drawing.canvas import line_through
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Back, on
from sftui.state.series import Doubles


def error_band(plot: Plot, x: Doubles, low: Doubles, high: Doubles) -> None:
    """Tint the cells between two lines through points at `x` (in what the plot counts in x).

    `low` and `high` are in what the y axis shows; all three have one length, of at least two.
    """
    places = x if plot.x_scale is None else plot.x_scale.to(x)
    rows = []
    for edge in (high, low):
        at = line_through(places, plot.scale(edge), *plot.axis_limits, plot.width)
        rows.append((plot.y_high - at) / (plot.y_high - plot.y_low) * plot.height)
    index = np.arange(plot.height)[:, None] + 0.5
    with np.errstate(invalid="ignore"):
        inside = (index >= rows[0] - 0.5) & (index <= rows[1] + 0.5)
    cells = plot.grid.styles[plot.row : plot.row + plot.height, plot.col : plot.col + plot.width]
    cells[inside] = (cells[inside] & 0xFF) | on(Back.ROW, 0)
