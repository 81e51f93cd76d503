"""A chart as it is seen, written as SVG, PNG and CSV.

Drawn by matplotlib with the report's settings, so the same chart gives the same bytes. The CSV
holds the points in sight as they were measured, under the names that `sftui replay` and
`show --series` know. A file is whole or not there, and none is written over.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from engine.files import written
from sftui.drawing.chart_data import ChartCurve, ChartData
from sftui.report.pictures import COLOURS, SETTINGS, label, quiet_matplotlib
from sftui.report.series_table import Column, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["svg", "png", "csv"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_POINTS = 1600
"""Points of a curve joined one by one; of more, lowest and highest of as many parts."""
MOST_MARKS = 200
_SIZE = (10.0, 5.0)
"""Inches; at 150 dots each a PNG has 1500 x 750."""


def write(chart: ChartData, folder: Path, kinds: Sequence[Kind] = KINDS) -> list[Path]:
    """Write the chart; returns the files.

    Raises:
        OSError: the folder cannot be written, or is a link; no file of this chart is left in it.
    """
    written.refuse_linked(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stem = _free_stem(chart, folder)
    files: list[Path] = []
    figure = _figure(chart) if {"svg", "png"} & set(kinds) else None
    try:
        for kind in kinds:
            path = folder / f"{stem}.{kind}"
            files.append(path)
            if figure is None or kind == "csv":
                _whole(path, lambda part: part.write_text(as_csv(chart), encoding="utf-8"))
            else:
                _whole(path, partial(_save, figure, kind))
    except OSError:
        for path in files:
            path.unlink(missing_ok=True)
        raise
    return files


def as_csv(chart: ChartData) -> str:
    """A row an update with a column a curve; the x axis, where it counts no updates, is the
    second column. Of several runs each has an x axis of its own: at one update they stand apart."""
    curves = [curve for curve in chart.curves if len(curve.steps)]
    columns: list[Column] = []
    for run in dict.fromkeys(curve.run for curve in curves) if chart.x_name else ():
        own = [curve for curve in curves if curve.run == run]
        steps, first = np.unique(np.concatenate([c.steps for c in own]), return_index=True)
        places = np.concatenate([c.x for c in own])[first]
        columns.append((f"{run} {chart.x_name}".strip(), steps, places.astype(np.float32)))
    for curve in curves:
        columns.append((curve.name, curve.steps, curve.y))
        if curve.error is not None:
            columns.append((f"{curve.name} s.e.", curve.steps, curve.error))
    return table("step", columns) if columns else "step\n"


def _free_stem(chart: ChartData, folder: Path) -> str:
    """`run-loss-step-239`, with a number where a chart of that name is there already."""
    words = f"{_file_word(chart.source)}-{_file_word(chart.series)}-step-{chart.last_step}"
    names = itertools.chain([words], (f"{words}-{n}" for n in itertools.count(2)))
    return next(n for n in names if not any((folder / f"{n}.{kind}").exists() for kind in KINDS))


def _file_word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:60] or "chart"


def _whole(path: Path, make: Callable[[Path], object]) -> None:
    with written.replacing(path) as part:
        make(part)


def _save(figure: Figure, kind: str, path: Path) -> None:
    metadata: Any = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    settings: Any = SETTINGS
    with quiet_matplotlib().rc_context(settings):
        figure.savefig(path, format=kind, metadata=metadata, dpi=150)


def _figure(chart: ChartData) -> Figure:
    matplotlib = quiet_matplotlib()
    # Not pyplot, which looks for a display.
    from matplotlib.figure import Figure  # noqa: PLC0415

    settings: Any = SETTINGS
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for curve in chart.curves:
            _curve(axes, curve, alone=len(chart.curves) == 1)
        for x, words in list(chart.events)[:MOST_MARKS]:
            axes.axvline(x, color="#75507b", linewidth=0.8, linestyle=":")
            axes.annotate(
                label(words),
                (x, 1),
                xycoords=("data", "axes fraction"),
                xytext=(2, -8),
                textcoords="offset points",
                fontsize=7,
                color="#75507b",
            )
        if chart.log_y:
            axes.set_yscale("log")
        axes.set_xlim(*chart.x_limits)
        axes.set_ylim(*chart.y_limits)
        for curve in chart.curves:
            _whole_marks(axes, curve, chart)
        axes.set_xlabel(label(chart.x_words))
        axes.set_ylabel(label(chart.y_words or chart.title))
        axes.set_title(label(f"{chart.source}: {chart.title}", 90), loc="right", fontsize=9)
        if any(curve.label for curve in chart.curves):
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=6, fontsize=8, frameon=False)
    return figure


def _is_marked(curve: ChartCurve, points: int) -> bool:
    return curve.marks and points <= MOST_MARKS


def _whole_marks(axes: Axes, curve: ChartCurve, chart: ChartData) -> None:
    """Marks on the very edge of what is in sight, whole: the start stands on the axis."""
    x, y = curve.x, curve.y
    if not _is_marked(curve, int(np.isfinite(y).sum())):
        return
    (left, right), (low, high) = chart.x_limits, chart.y_limits
    inside = (x >= left) & (x <= right) & (y >= low) & (y <= high)
    colour = COLOURS[curve.place % len(COLOURS)]
    axes.plot(x[inside], y[inside], "o", color=colour, markersize=4, clip_on=False, zorder=3)


def _curve(axes: Axes, curve: ChartCurve, *, alone: bool) -> None:
    """The points pale under a drawn line; without one the points joined, or marked."""
    known = np.isfinite(curve.y)
    x, y = curve.x[known], curve.y[known]
    if not len(x):
        return
    colour = COLOURS[curve.place % len(COLOURS)]
    words: Any = label(curve.label) if curve.label else None
    pale = curve.mean is not None
    if curve.error is not None and len(x) <= MOST_POINTS:
        half = np.nan_to_num(curve.error[known])
        axes.fill_between(x, y - half, y + half, color=colour, alpha=0.15, linewidth=0)
    if len(x) > MOST_POINTS:
        edges = np.linspace(0, len(x), MOST_POINTS + 1).astype(int)[:-1]
        low, high = np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)
        alpha = 0.25 if pale else 0.8
        band = None if pale else words
        axes.fill_between(x[edges], low, high, color=colour, alpha=alpha, linewidth=0.5, label=band)
    else:
        axes.plot(
            x,
            y,
            color=colour,
            alpha=0.3 if pale else 1.0,
            linewidth=0.7 if pale else 1.2,
            marker="o" if _is_marked(curve, len(x)) else None,
            markersize=4,
            label=None if pale else words,
        )
    if curve.mean is not None:
        axes.plot(*curve.mean, color=colour, linewidth=1.8 if alone else 1.5, label=words)
