"""A chart as it is seen, as data: what is written to a picture or a table of it.

Curves keep all their points in sight; whoever draws them thins them out. Nothing here
draws, reads or writes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.drawing.x_axis import WORDS, XScale
from sftui.state.means import Line
from sftui.state.series import Doubles, Floats, Series

Mean = tuple[Doubles, Doubles]
"""Places on the x axis and heights of a drawn line."""
MOST_PLACES = 800
"""Places at which a drawn line is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartCurve:
    """One number over the updates in sight."""

    name: str
    """As `show --series` names it; of several runs with the run's letter before it."""
    label: str
    """In the legend."""
    place: int
    """Which of the colours it has, from 0."""
    steps: Doubles
    x: Doubles
    """The same places in what the x axis measures."""
    y: NDArray[Any]
    """In the type of the series, so that what is written gives it back; NaN where unknown."""
    mean: Mean | None = None
    """The line that is drawn through it."""
    marks: bool = False
    """Whether its points are marked one by one."""
    error: NDArray[Any] | None = None
    """Standard error of every point."""
    run: str = ""
    """Of several runs the letter of its own, whose updates stand elsewhere on the x axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartData:
    """A chart with its limits."""

    source: str
    """Name of the run or log."""
    title: str
    series: str
    """What it shows, in a word or two for a file's name."""
    curves: Sequence[ChartCurve]
    x_words: str
    y_words: str = ""
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    log_y: bool = False
    events: Sequence[tuple[float, str]] = ()
    """Places on the x axis with words: what a person did."""
    x_name: str = ""
    """The measure of the x axis for a table's head; empty where it counts updates."""

    @property
    def last_step(self) -> int:
        """The newest update in sight."""
        ends = [float(curve.steps[-1]) for curve in self.curves if len(curve.steps)]
        return round(max(ends, default=0.0))


def curve_of(
    series: Series,
    sight: tuple[float, float],
    x_scale: XScale | None,
    *,
    name: str,
    label: str,
    place: int,
    line: Line | None = None,
    marks: bool = False,
    error: Series | None = None,
    run: str = "",
) -> ChartCurve:
    """The points of a series between two updates, copied: its owner writes on.

    Args:
        sight: first and last update in sight.
        run: its letter, of several.
        line: the line that the chart draws through them, if it draws one.
    """
    first, last = np.searchsorted(series.x, (sight[0], np.nextafter(sight[1], math.inf)))
    steps = series.x[first:last].copy()
    return ChartCurve(
        name=name,
        label=label,
        place=place,
        steps=steps,
        x=on_axis(steps, x_scale),
        y=series.y[first:last].copy(),
        mean=_mean(line, steps, x_scale) if line is not None else None,
        marks=marks,
        error=None if error is None else error.y[first:last].copy(),
        run=run,
    )


def on_axis(steps: Doubles, x_scale: XScale | None) -> Doubles:
    """Updates in what the x axis measures."""
    return steps if x_scale is None else np.asarray(x_scale.to(steps), dtype=np.float64)


def x_words(x_scale: XScale | None) -> str:
    """The label of the x axis."""
    return "step" if x_scale is None else x_scale.words


def x_name(x_scale: XScale | None) -> str:
    """The head of its column in a table."""
    if x_scale is None:
        return ""
    return {"epoch": "epoch", "share": "share %"}.get(x_scale.name, WORDS[x_scale.name])


def _mean(line: Line, steps: Doubles, x_scale: XScale | None) -> Mean | None:
    if not line.window or len(steps) < 2:
        return None
    edges = np.linspace(steps[0], steps[-1], MOST_PLACES + 1)
    heights: Floats = line.columns(float(edges[0]), float(edges[-1]), MOST_PLACES)[0]
    known = np.isfinite(heights)
    middle = ((edges[:-1] + edges[1:]) / 2)[known]
    return on_axis(middle, x_scale), heights[known].astype(np.float64)
