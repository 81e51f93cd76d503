"""One chart of the page, or of those that are pinned, as data to be written to files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sftui.drawing.chart_data import ChartData, curve_of, x_name, x_words
from sftui.drawing.plot import Plot
from sftui.drawing.x_axis import ClockScale
from sftui.state.means import Line
from sftui.state.series import Series
from sftui.view.chart_panels import ChartPanel, ChartRun

_PLACE_OF_SPLIT = {"train": 0, "val": 1}
"""Colours of the loss; other curves have the ones after them."""


def panel_data(
    panel: ChartPanel,
    plot: Plot,
    runs: Sequence[ChartRun],
    *,
    source: str,
    line_of: Callable[[Series, float, float], Line],
) -> ChartData:
    """The curves of a panel between the limits of its plot.

    Args:
        source: name of the run or log; empty over several runs.
        line_of: the line that is drawn through a series between two places.
    """
    clock = isinstance(plot.x_scale, ClockScale)
    # By the wall clock goes what belongs to no update: another axis knows nothing of it.
    curves = [curve for curve in panel.curves if clock or not curve.over_time]
    low, high = plot.y_limits
    factor = panel.unit.factor
    sight = (plot.x_low, plot.x_high)
    free = iter(range(2, len(curves) + 2))
    drawn = []
    for i, curve in enumerate(curves):
        letter = runs[curve.run].letter
        place = _PLACE_OF_SPLIT.get(curve.split)
        if len(runs) > 1:
            place = curve.run
        elif place is None:
            place = next(free) if panel.has_validation else i
        drawn.append(
            curve_of(
                curve.series,
                sight,
                plot.x_scale,
                name=f"{letter} {curve.name}".strip(),
                label=curve.label or panel.title,
                place=place,
                line=line_of(curve.series, *sight),
                error=curve.error,
            )
        )
    return ChartData(
        source=source or "-".join(run.letter for run in runs) or "log",
        title=panel.title,
        series=panel.title,
        curves=drawn,
        x_words=x_words(plot.x_scale),
        x_limits=plot.axis_limits,
        y_limits=(low / factor, high / factor),
        log_y=plot.log,
        x_name="" if clock else x_name(plot.x_scale),
    )
