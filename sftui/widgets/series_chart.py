"""Many numbers as small charts in one panel: the page of charts, and what is pinned of it.

One widget paints all of them, so a page costs one pass over a grid however many charts it has.
Of a curve with more points than dots, what is drawn is its lowest and highest in each column,
pale, under the mean of a centred window; one with few points is joined from point to point.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from textual.events import Click, MouseDown, MouseMove, MouseScrollDown, MouseScrollUp
from textual.message import Message

from sftui.drawing.bands import error_band
from sftui.drawing.canvas import (
    Band,
    Codes,
    Grid,
    Span,
    Styles,
    bridge,
    curves,
    fit,
    settle,
    text_width,
)
from sftui.drawing.chart_data import ChartData
from sftui.drawing.plot import Plot, percentiles, tick_words
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.short_names import fit_path, short_names
from sftui.drawing.x_axis import WORDS, ClockScale, XScale, x_range
from sftui.state.catalog import Catalog
from sftui.state.means import FEW_POINTS, Means, line
from sftui.state.records import Topic
from sftui.state.run_state import RunState
from sftui.state.series import Doubles, Series, nearest_row
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.chart_filter import parse
from sftui.view.chart_page import RANGE_WORDS, Cell, ChartPage, Look
from sftui.view.chart_panels import MOST_CURVES, ChartPanel, ChartRun, Curve, chart_panels
from sftui.view.panel_data import panel_data
from sftui.view.view import View
from sftui.view.viewport import Extent
from sftui.widgets.zoom_chart import ChartMoved, ZoomChart

_EXACT_ROWS = 4096
"""Rows in sight up to which points are looked at one by one."""
_LABEL_CELLS = 7
"""Of the y axis with its labels, at least."""
_FEW = 2.0
"""Points a dot column, up to which a curve is joined and not averaged."""
_BOTTOM, _TOP, _TOP_OF_LOSS, _HEADROOM = 1.0, 97.0, 92.0, 0.3
"""Percentiles that must be in sight, and the part of their distance added towards the extremes."""
_ROLES = (Role.TRAIN, Role.SECOND, Role.THIRD, Role.FOURTH, Role.SAVED, Role.WARN, Role.RATE)
_ROLES_OF_SPLIT = {"train": Role.TRAIN, "val": Role.VAL, "test": Role.SECOND}
_PALE = {Role.TRAIN: Role.RAW, Role.VAL: Role.VAL_LINE}
_MARKS = "●■▲◆▼○□△"
_SIDES = {"▴": "above", "▾": "below"}
"""The mark of what is outside the range, and the word for the side."""
Bools = NDArray[np.bool_]
_DASH = "╌"
_SHORT = 6
"""Cells of the name of a curve where whole names have no room."""


@dataclass
class ChartChosen(Message):
    """The mouse asks for something of a chart or the page."""

    kind: str
    """`focus`, `open`, or `next` and `previous` page."""
    key: str = ""


class _Drawn(NamedTuple):
    """One curve as it is about to be painted."""

    curve: Curve
    role: Role
    mark: str
    x: Doubles | None
    """Places of single points in what the plot counts in x; None where they are too many."""
    y: Doubles
    low: Doubles
    high: Doubles
    """Of every dot column, where there are many."""
    mean: Doubles | None
    """Of every dot column; None where nothing is averaged."""


class _Layer(NamedTuple):
    """A curve in its place and colour."""

    band: Band
    number: int
    """Of its style."""


@dataclass(slots=True)
class _Chart:
    """One chart of the page while it is painted."""

    panel: ChartPanel
    look: Look
    grid: Grid
    edge: int = 0
    """Cells of its frame."""
    labels: bool = False
    """Whether the x axis has words."""
    plot: Plot | None = None
    """None where there is no room for one."""
    drawn: list[_Drawn] = field(default_factory=list)
    layers: list[_Layer] = field(default_factory=list)


class SeriesCharts(ZoomChart):
    """The charts of a page, or those that are pinned."""

    TOPICS = (
        Topic.STEPS
        | Topic.VALIDATION
        | Topic.EVALS
        | Topic.RANKS
        | Topic.CONTROLS
        | Topic.RUN
        | Topic.VIEW
    )

    one_plot = False

    def __init__(
        self,
        state: RunState,
        view: View,
        *,
        id: str,
        runs: Callable[[], Sequence[ChartRun]] | None = None,
        pinned: bool = False,
    ) -> None:
        """`runs`: several to draw beside each other; without, that of `state` alone.

        `pinned`: show those that are pinned, for a place on another screen.
        """
        super().__init__(state, view, id=id)
        self._runs = runs
        self.pinned = pinned
        self._means: dict[int, Means] = {}
        self._means_of: RunState | None = None
        self._smoothed = False
        """Whether any curve was painted as an average."""
        self._sheets: dict[Hashable, tuple[Codes, Styles]] = {}
        self._new_sheets: dict[Hashable, tuple[Codes, Styles]] = {}
        """Borders and axes of the page as it was painted last, and as it is being painted."""
        self._readings: dict[Hashable, _Drawn] = {}
        self._new_readings: dict[Hashable, _Drawn] = {}
        """What was read of series, to be read again when they or the limits have changed."""
        self._shape: Hashable = None
        self._listed: dict[str, list[ChartPanel]] = {}
        """Panels by filter, for runs of that shape."""
        self._label_cells: dict[str, int] = {}
        """What the labels of y needed last, by chart."""
        self._held: dict[tuple[str, bool, str], tuple[float, float]] = {}
        self.cells: list[tuple[Cell, Plot | None]] = []
        """The charts in sight as they were painted last, in cells of this panel."""
        self.newest = 0.0
        """The last update that any of them tells of."""
        self.panels: list[ChartPanel] = []
        """All that the filter lets through, as they were painted last."""

    @property
    def page(self) -> ChartPage:
        return self.view.chart_page

    def runs(self) -> Sequence[ChartRun]:
        return (ChartRun(state=self.state),) if self._runs is None else self._runs()

    def room(self) -> tuple[int, int]:
        """Width and height of the charts, without the line over them."""
        width, height = self.size
        return width, height - (0 if self.pinned or height < 3 else 1)

    # ---- the page ----------------------------------------------------------------------------

    def paint(self, grid: Grid) -> None:
        page, runs = self.page, self.runs()
        if self._means_of is not self.state or len(self._means) > 4096:
            self._means, self._means_of, self._held = {}, self.state, {}
            self._label_cells = {}
        everything = self._panels(runs)
        panels = everything
        if self.pinned:
            by_key = {panel.key: panel for panel in everything}
            panels = [by_key[key] for key in page.pins if key in by_key]
        elif page.query.strip():
            panels = self._panels(runs, page.query)
        self.panels, self.cells, self.plot = panels, [], None
        self._new_sheets, self._new_readings = {}, {}
        top = 0
        if not self.pinned and grid.height >= 3:
            top = 1
        self.extent = self._extent(everything, runs, grid.width)
        if not panels:
            self._empty(grid, bool(everything))
        else:
            self._charts(grid, panels, runs, top)
        self._sheets, self._readings = self._new_sheets, self._new_readings
        if top:
            self._head(grid, panels, len(everything))

    def _panels(self, runs: Sequence[ChartRun], query: str = "") -> list[ChartPanel]:
        """All panels, or those that a filter lets through; listed again when there are others."""
        shape = tuple((run.letter, run.role, Catalog(run.state).shape) for run in runs)
        if shape != self._shape:
            self._shape, self._listed = shape, {}
        found = self._listed.get(query)
        if found is None:
            found = chart_panels(runs, parse(query) if query else None)
            self._listed = {key: self._listed[key] for key in ("",) if key in self._listed}
            self._listed[query] = found
        return found

    def _charts(
        self, grid: Grid, panels: list[ChartPanel], runs: Sequence[ChartRun], top: int
    ) -> None:
        page, room = self.page, grid.height - top
        if self.pinned:
            count = max(1, min(len(panels), 4, grid.width // 24))
            edges = [grid.width * i // count for i in range(count + 1)]
            cells = [Cell(i, edges[i], 0, edges[i + 1] - edges[i], room) for i in range(count)]
        else:
            cells = page.cells(page.focused(panels), grid.width, room, len(panels))
        focus = -1 if self.pinned else page.focused(panels)
        charts = [self._prepared(cell, panels[cell.place], runs) for cell in cells]
        self._smoothed = any(each.mean is not None for chart in charts for each in chart.drawn)
        # All curves of the page are made in one go: numpy's calls cost more than their work.
        bands = iter(curves([layer.band for chart in charts for layer in chart.layers]))
        for cell, chart in zip(cells, charts, strict=True):
            own, plot = chart.grid, chart.plot
            codes = [next(bands) for _ in chart.layers]
            self._chart(chart, codes, runs, cell.place == focus and not page.full)
            own.settle()
            y = cell.y + top
            grid.codes[y : y + cell.height, cell.x : cell.x + cell.width] = own.codes
            grid.styles[y : y + cell.height, cell.x : cell.x + cell.width] = own.styles
            self.cells.append((cell._replace(y=y), plot))
            if cell.place == max(focus, 0) or self.plot is None:
                self.plot = plot
                if plot is not None:
                    self.extent = Extent(self.extent.full, plot.width, self.extent.x_scale)

    def _head(self, grid: Grid, panels: list[ChartPanel], total: int) -> None:
        """What is shown of how many, the filter, and how it is drawn."""
        page, dim, faint = self.page, style(Role.DIM), style(Role.FAINT)
        col = grid.text(0, 1, "charts ", style(Role.TITLE, bold=True))
        if page.typing:
            what = {"filter": "/", "range": "y from:to "}[page.typing]
            col = grid.text(0, col, f"{what}{page.typed}", style(Role.TEXT, bold=True))
            col = grid.text(0, col, "▏", style(Role.WARN)) + 1
        elif page.query.strip():
            col = grid.text(0, col, f"/{page.query.strip()} ", style(Role.WARN))
        if self.cells:
            first, last = self.cells[0][0].place + 1, self.cells[-1][0].place + 1
            span = fmt.count(first) if first == last else f"{fmt.count(first)}–{fmt.count(last)}"
            of = f"{span} of {fmt.count(len(panels))}"
            if len(panels) != total:
                of += f", {fmt.count(total)} in all"
            col = grid.text(0, col, of, dim)
        right: list[Span] = []
        if page.typing:
            hint = "space and · | or · ! not · * any · enter keeps · esc drops"
            right = [(hint if page.typing == "filter" else "nothing = auto · enter · esc", faint)]
        else:
            right = [(" · ".join(self._words()), faint)]
        grid.right(0, grid.width - 1, right, col + 1)

    def _words(self) -> list[str]:
        view = self.view
        words = []
        at = view.viewport.cursor
        x_scale = self.extent.x_scale
        if at is not None:
            words.append(f"at {fmt.count(round(at))}")
        name = WORDS[x_scale.name] if x_scale is not None else "steps"
        part = view.viewport.part
        shown = "" if part is None else f" {fmt.count(part[0])} to {fmt.count(part[1])}"
        words.append(f"x: {name}{shown}")
        window = view.smoothing_share
        words.append(f"mean of {100 * window:g}% of x" if self._smoothed else "every point")
        return words

    def _empty(self, grid: Grid, some: bool) -> None:
        """What to press next."""
        keys = self.view.keys
        if self.pinned:
            opens, pins = keys.by_id("charts").shown, keys.by_id("charts_pin").shown
            words = f"no chart is pinned: {opens} opens all of them, {pins} pins one"
        elif some:
            words = f"no chart matches: {keys.by_id('charts_back').shown} shows all of them"
        else:
            words = "no number has come yet: charts appear with the first one"
        row = grid.height // 2
        grid.text(
            row,
            max(1, (grid.width - text_width(words)) // 2),
            fit(words, grid.width - 2),
            style(Role.DIM),
        )
        if self.pinned:
            grid.frame([("pinned", style(Role.TITLE, bold=True))], border=self.border)

    # ---- x -----------------------------------------------------------------------------------

    def _extent(self, panels: list[ChartPanel], runs: Sequence[ChartRun], width: int) -> Extent:
        """Limits of all that is drawn by updates."""
        series = [c.series for panel in panels for c in panel.curves if not c.over_time]
        series = [each for each in series if len(each)]
        state = runs[0].state
        x_scale = self.view.x_scale(state) if len(runs) == 1 else None
        if not series:
            return Extent((0.0, max(1.0, float(state.updates))), width, x_scale)
        first = min(float(each.x[0]) for each in series)
        last = max(float(each.x[-1]) for each in series)
        self.newest = last
        low = first if first > last / 2 and first > 16 else min(first, 0.0)
        replay = self.view.replay
        still = state.ended or (replay is not None and replay.over)
        if still and not self.view.whole:
            return Extent((low, max(last, low + 1.0)), width, x_scale)
        planned = state.planned if len(runs) == 1 else None
        full = x_range(x_scale, low, last, planned, whole=self.view.whole)
        return Extent((full[0], max(full[1], full[0] + 1.0)), width, x_scale)

    # ---- one chart ---------------------------------------------------------------------------

    def _prepared(self, cell: Cell, panel: ChartPanel, runs: Sequence[ChartRun]) -> _Chart:
        """What a chart draws, read and placed, and nothing painted yet."""
        chart = _Chart(panel, self.page.look(panel.key), Grid(cell.height, cell.width))
        chart.edge = 1 if cell.height >= 5 and cell.width >= 16 else 0
        self._plot(chart, runs)
        if chart.plot is not None:
            chart.layers = _layers(chart.plot, chart.drawn)
        return chart

    def _chart(
        self, chart: _Chart, codes: Sequence[Codes], runs: Sequence[ChartRun], chosen: bool
    ) -> None:
        grid, panel, drawn = chart.grid, chart.panel, chart.drawn
        border = style(Role.FOCUS if chosen else Role.BORDER)
        self._sheet(chart, border)
        notes = self._paint_plot(chart, codes, runs)
        if chart.edge:
            wide = text_width("".join(self._words_of(panel)))
            corner = self._corner(panel, drawn, grid.width - min(wide, 24) - 9)
            used = sum(text_width(text) for text, _ in corner) + 4 if corner else 0
            title, named = self._title(chart, grid.width - used - 5)
            below = [(notes, style(Role.FAINT))] if notes else ()
            grid.on_border(title, below, border=border, corner=corner)
            if not named:
                self._names_below(chart, text_width(notes) + 3 if notes else 0, border)

    def _words_of(self, panel: ChartPanel) -> tuple[str, str, str]:
        """The mark of a pin, the title, and the unit."""
        pin = "⌖ " if panel.key in self.page.pins and not self.pinned else ""
        return pin, panel.title, f" {panel.unit.words}" if panel.unit.words else ""

    def _title(self, chart: _Chart, room: int) -> tuple[list[Span], bool]:
        """What tells it from all others of the page; then who is who, and whether all of them had
        room."""
        pin, title, unit = self._words_of(chart.panel)
        titles = tuple(panel.title for panel in self.panels)
        cells = max(4, room - text_width(pin + unit))
        words = f"{pin}{fit_path(title, cells, titles)}{unit}"
        spans: list[Span] = [(words, style(Role.TITLE, bold=True))]
        plot, drawn = chart.plot, chart.drawn
        names = [span for each in drawn for span in _name(plot, each)] if len(drawn) > 1 else []
        named = sum(text_width(text) for text, _ in [*spans, *names]) <= room
        return [*spans, *names] if named else spans, named

    def _names_below(self, chart: _Chart, taken: int, border: int) -> None:
        """Who is who on the lower border: short names where the whole ones have no room, as many as
        there is room for, and how many more."""
        grid, plot, drawn = chart.grid, chart.plot, chart.drawn
        room, spans = grid.width - 6 - taken, list[Span]()
        names = [_name(plot, each) for each in drawn]
        if sum(_cells(name) for name in names) > room:
            labels = [each.curve.label for each in drawn]
            short = short_names(labels, _SHORT)
            names = [(mark, (short[label], text[1]))
                     for (mark, text), label in zip(names, labels, strict=True)]  # fmt: skip
        for i, name in enumerate(names):
            more = f" +{len(drawn) - i}"
            if _cells(name) + (0 if i + 1 == len(drawn) else len(more) + 1) > room:
                spans.append((more, style(Role.FAINT)))
                break
            room -= _cells(name)
            spans += name
        if spans and room >= 0:
            grid.spans(grid.height - 1, 2, [*spans, (" ", border)], grid.width - 2 - taken)

    def _corner(self, panel: ChartPanel, drawn: Sequence[_Drawn], room: int) -> list[Span]:
        """The newest value of every curve, or that at the crosshair, while there is room."""
        spans: list[Span] = []
        for each in drawn[:3]:
            value = self._value(each.curve)
            text = panel.unit.write(value)
            spans.append((f" {text}" if spans else text, style(each.role, bold=True)))
        while spans and sum(text_width(text) for text, _ in spans) > room:
            spans.pop()
        return spans

    def _value(self, curve: Curve) -> float | None:
        series, at = curve.series, self.view.viewport.cursor
        if at is None or not len(series):
            return series.last
        place = at
        if curve.over_time:
            clock = self._time_of(curve)
            if clock is None:
                return series.last
            place = clock(np.array([at]))[0]
        value = float(series.y[nearest_row(series.x, place)])
        return value if math.isfinite(value) else None

    def _time_of(self, curve: Curve) -> Callable[[Doubles], Doubles] | None:
        """From updates to the wall clock in its run; None where the log does not say."""
        state = self.runs()[curve.run].state
        scale = self.view.x_scale(self.state, "time") if self._runs is None else None
        start = state.first_t
        if scale is None or start is None:
            return None
        return lambda x: start + scale.to(x)

    def _plot(self, chart: _Chart, runs: Sequence[ChartRun]) -> None:
        """Read the curves and set the limits; no plot where there is no room for one."""
        grid, panel, look, edge = chart.grid, chart.panel, chart.look, chart.edge
        height = grid.height - 2 * edge
        chart.labels = height >= 5
        rows = height - (2 if chart.labels else 1)
        if rows < 1 or grid.width - 2 * edge < 10:
            return
        x_scale, limits = self._axis(panel)
        # Labels are as wide as they were a moment ago, most of the time.
        left = edge + self._label_cells.get(panel.key, _LABEL_CELLS)
        for again in (False, True, True):
            plot = Plot(
                grid=grid,
                row=edge,
                col=left,
                height=rows,
                width=grid.width - edge - left - 1,
                x_low=limits[0],
                x_high=limits[1],
                y_low=0.0,
                y_high=1.0,
                x_scale=x_scale,
            )
            if plot.width < 4:
                return
            drawn = self._read(plot, panel, runs)
            plot.log = look.log_y and any(bool((each.high > 0).any()) for each in drawn)
            plot.show(*self._y_limits(plot, panel, drawn, look))
            values, step = plot.y_ticks()
            wanted = max((len(tick_words(value, step)) for value in values), default=5)
            cells = min(max(_LABEL_CELLS, wanted + 2), 12)
            if edge + cells == left or (again and edge + cells < left):
                break
            left = edge + cells
            self._label_cells[panel.key] = cells
        chart.plot, chart.drawn = plot, drawn

    def _paint_plot(self, chart: _Chart, codes: Sequence[Codes], runs: Sequence[ChartRun]) -> str:
        """Paint inside the frame; words on what is not seen."""
        plot, panel, look, drawn = chart.plot, chart.panel, chart.look, chart.drawn
        if plot is None:
            return ""
        self._chance(plot, panel, runs)
        for layer, cells in zip(chart.layers, codes, strict=True):
            plot.grid.overlay(plot.row, plot.col, cells, layer.number)
        clipped = self._points(plot, drawn)
        self._bands(plot, drawn)
        if look.log_y and not plot.log:
            clipped = "log: nothing above 0"
        if self.view.viewport.cursor is not None:
            self._crosshair(plot, panel, drawn)
        words = [word for word in (clipped, "log" if plot.log else "") if word]
        if look.range != "eye":
            words.append(RANGE_WORDS[look.range])
        return " · ".join(words)

    def _sheet(self, chart: _Chart, border: int) -> None:
        """Border and axes: the same in most frames, and then only copied."""
        grid, plot, small = chart.grid, chart.plot, not self.page.full
        key: Hashable = (grid.height, grid.width, chart.edge, border)
        if plot is not None:
            axis = "" if plot.x_scale is None else plot.x_scale.name, plot.axis_limits
            lines = plot.col, plot.width, plot.y_low, plot.y_high, plot.log
            key = (key, axis, lines, chart.labels, small)
        known = self._sheets.get(key)
        if known is None:
            if chart.edge:
                grid.border(border)
            if plot is not None:
                plot.draw_y_axis(chart.edge)
                plot.draw_x_axis(plot.row + plot.height, labels=chart.labels, small=small)
            known = grid.codes.copy(), grid.styles.copy()
        else:
            grid.codes[:], grid.styles[:] = known
        self._new_sheets[key] = known

    def _axis(self, panel: ChartPanel) -> tuple[XScale | None, tuple[float, float]]:
        """What x measures and its limits; numbers of ranks go by the clock where updates have
        none."""
        if panel.over_time and self._time_of(panel.curves[0]) is None:
            series = [c.series for c in panel.curves if len(c.series)]
            first = min(float(s.x[0]) for s in series)
            last = max(float(s.x[-1]) for s in series)
            return ClockScale(first), (first, max(last, first + 1.0))
        return self.extent.x_scale, self.view.viewport.limits(self.extent.full)

    # ---- curves ------------------------------------------------------------------------------

    def _read(self, plot: Plot, panel: ChartPanel, runs: Sequence[ChartRun]) -> list[_Drawn]:
        edges = np.linspace(*plot.axis_limits, plot.num_dots + 1)
        if plot.x_scale is not None:
            edges = plot.x_scale.back(edges)
        factor, single = panel.unit.factor, len(runs) == 1
        curves = [curve for curve in panel.curves if len(curve.series)]
        if single and len(curves) > MOST_CURVES:
            return [self._envelope(plot, panel, curves, edges)]
        drawn, taken = [], set[Role]()
        for place, curve in enumerate(curves):
            if single:
                role = _ROLES_OF_SPLIT.get(curve.split) or _ROLES[place % len(_ROLES)]
                if role in taken:
                    # Of several sets of rows the first is the usual validation.
                    role = next((r for r in _ROLES if r not in taken), role)
                taken.add(role)
            else:
                role = runs[curve.run].role
            mark = _MARKS[(place if single else curve.run) % len(_MARKS)]
            if single and role is Role.VAL:
                mark = _MARKS[0]
            drawn.append(self._drawn(plot, curve, role, mark, edges, factor))
        return [each for each in drawn if each is not None]

    def _places(self, plot: Plot, curve: Curve, edges: Doubles) -> Doubles:
        """The limits of the dot columns in what x of the series is."""
        if curve.over_time and not isinstance(plot.x_scale, ClockScale):
            clock = self._time_of(curve)
            if clock is not None:
                return clock(edges)
        return edges

    def _drawn(
        self, plot: Plot, curve: Curve, role: Role, mark: str, edges: Doubles, factor: float
    ) -> _Drawn:
        """The curve as it is in sight; what was read before serves while nothing has changed."""
        own = self._places(plot, curve, edges)
        half = self._half_window(own)
        place = curve.run, curve.name, edges.tobytes(), own.tobytes() if own is not edges else b""
        key = (*place, plot.x_scale is None, curve.series.version, half, factor)
        known = self._readings.get(key)
        if known is None or known.curve.series is not curve.series:
            known = self._measured(plot, curve, edges, own, half, factor)
        self._new_readings[key] = known
        return known._replace(curve=curve, role=role, mark=mark)

    def _measured(
        self, plot: Plot, curve: Curve, edges: Doubles, own: Doubles, half: int, factor: float
    ) -> _Drawn:
        """Read a curve between the limits of the dot columns, `own` in what x of it is."""
        series = curve.series
        # What lies just outside belongs to the windows at both ends.
        even = own is edges and plot.x_scale is None
        beyond = max(0, half) if even else 0
        places = own
        if beyond:
            width = (own[-1] - own[0]) / plot.num_dots
            more = width * np.arange(1, beyond + 1)
            places = np.concatenate((own[0] - more[::-1], own, own[-1] + more))
        last = beyond + plot.num_dots
        rows = series.x.searchsorted(places)
        inside = rows[beyond : last + 1].copy()
        inside[-1] = series.x.searchsorted(own[-1], side="right")
        begin, end = int(inside[0]), int(inside[-1])
        if end - begin <= _EXACT_ROWS:
            values = series.y[begin:end].astype(np.float64) * factor
            known = np.isfinite(values)
            if int(known.sum()) <= max(FEW_POINTS, plot.num_dots * _FEW):
                x = series.x[begin:end][known]
                if own is not edges:
                    x = np.interp(x, own, edges)
                values = values[known]
                return _Drawn(curve, Role.TRAIN, _MARKS[0], x, values, values, values, None)
        low, high = (each.astype(np.float64) * factor for each in series.extremes(inside))
        mean = None
        if half >= 0:
            found = self._mean(series).around(rows, half)
            mean = found[beyond:last].astype(np.float64) * factor
        return _Drawn(curve, Role.TRAIN, _MARKS[0], None, low, low, high, mean)

    def _half_window(self, places: Doubles) -> int:
        """Dot columns on either side that a mean takes in; below 0 for no mean."""
        share = self.view.smoothing_share
        return round(share * (len(places) - 1) / 2) if share else -1

    def _envelope(
        self, plot: Plot, panel: ChartPanel, curves: Sequence[Curve], edges: Doubles
    ) -> _Drawn:
        """The lowest and the highest of many curves as one."""
        low = high = np.full(plot.num_dots, np.nan)
        for curve in curves:
            own = self._places(plot, curve, edges)
            found = curve.series.columns(float(own[0]), float(own[-1]), plot.num_dots, own)
            each_low, each_high = bridge(*found)
            low, high = np.fmin(low, each_low), np.fmax(high, each_high)
        factor = panel.unit.factor
        return _Drawn(
            curves[0],
            Role.TRAIN,
            "━",
            None,
            low * factor,
            low * factor,
            high * factor,
            (low + high) / 2 * factor,
        )

    def _mean(self, series: Series) -> Means:
        found = self._means.get(id(series))
        if found is None or found.source is not series:
            found = self._means[id(series)] = Means(series)
        return found

    def _points(self, plot: Plot, drawn: Sequence[_Drawn]) -> str:
        """Single points over the curves; words on what is cut off."""
        hidden, cut = Counter[str](), set[str]()
        for each in drawn:
            if each.x is not None and _marked(plot, each):
                for x, y in zip(each.x.tolist(), each.y.tolist(), strict=True):
                    plot.mark(x, y, each.mark, style(each.role))
        for each in drawn:
            if each.x is not None:
                hidden += self._cut_points(plot, each.x, each.y)
            elif each.mean is not None:
                cut |= self._cut_columns(plot, each.mean)
        words = []
        for char, side in _SIDES.items():
            if hidden[char]:
                words.append(f"{fmt.count(hidden[char])} {side} {char}")
            elif char in cut:
                words.append(f"more {side} {char}")
        return " · ".join(words)

    def _cut_points(self, plot: Plot, x: Doubles, y: Doubles) -> Counter[str]:
        """Mark single points outside the range at its edge; their number by mark."""
        values = plot.scale(y)
        count = Counter[str]()
        for outside, row, char in self._sides(plot, values):
            for at in x[outside].tolist():
                col = plot.x_cell(at)
                if plot.holds_column(col):
                    plot.grid.put(row, col, char, style(Role.WARN))
            count[char] += int(outside.sum())
        return count

    def _cut_columns(self, plot: Plot, mean: Doubles) -> set[str]:
        """Mark where an average first leaves the range; the marks of the sides where it does."""
        found = set[str]()
        for outside, row, char in self._sides(plot, plot.scale(mean)):
            cells = np.flatnonzero(outside.reshape(-1, 2).any(axis=1))
            if len(cells):
                plot.grid.put(row, plot.col + int(cells[0]), char, style(Role.WARN))
                found.add(char)
        return found

    @staticmethod
    def _sides(plot: Plot, values: Doubles) -> tuple[tuple[Bools, int, str], ...]:
        with np.errstate(invalid="ignore"):
            above, below = values > plot.y_high, values < plot.y_low
        return (above, plot.row, "▴"), (below, plot.row + plot.height - 1, "▾")

    def _bands(self, plot: Plot, drawn: Sequence[_Drawn]) -> None:
        """One standard error on either side of single points, as a tint of the cells."""
        for each in drawn:
            halves = _errors(plot, each)
            if halves is None or each.x is None or len(each.x) < 2:
                continue
            error_band(plot, each.x, each.y - halves, each.y + halves)

    def _chance(self, plot: Plot, panel: ChartPanel, runs: Sequence[ChartRun]) -> None:
        """The accuracy of guessing, where it is in sight."""
        task = panel.key.removeprefix("accuracy/")
        if task == panel.key:
            return
        found = runs[panel.curves[0].run].state.evals.get(task)
        chance = found.ordered[-1].chance if found else None
        row = plot.y_cell(100 * chance) if chance is not None else None
        if row is not None:
            plot.grid.rule(row, plot.col, plot.col + plot.width, _DASH, style(Role.CHANCE))

    # ---- y -----------------------------------------------------------------------------------

    def _y_limits(
        self, plot: Plot, panel: ChartPanel, drawn: Sequence[_Drawn], look: Look
    ) -> tuple[float, float]:
        """In axis units. An error is in sight with its value: alone, the values of a task that
        stands still fill the height, and look as if it moved."""
        log = plot.log
        if look.range == "typed" and look.limits is not None:
            low, high = look.limits
            return (math.log10(low), math.log10(high)) if log else (low, high)
        ranges = []
        top = _TOP_OF_LOSS if panel.falls else _TOP
        for each in drawn:
            if look.range == "val" and each.curve.split not in ("val", "test"):
                continue
            if (
                found := _range(each, everything=look.range == "all", log=log, top=top)
            ) is not None:
                ranges.append(found)
            halves = _errors(plot, each)
            if halves is not None and not log and np.isfinite(halves).any():
                ends = np.nanmin(each.y - halves), np.nanmax(each.y + halves)
                ranges.append((float(ends[0]), float(ends[1])))
        if not ranges:
            return (0.0, 1.0)
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
        if look.range == "zero" and not log:
            low, high = min(0.0, low), max(0.0, high)
        key = (panel.key, log, look.range)
        held = self._held[key] = settle(self._held.get(key), low, high)
        return held

    # ---- crosshair ---------------------------------------------------------------------------

    def _crosshair(self, plot: Plot, panel: ChartPanel, drawn: Sequence[_Drawn]) -> None:
        at = self.view.viewport.cursor
        if at is None or isinstance(plot.x_scale, ClockScale):
            return
        col = plot.x_cell(at)
        if not plot.holds_column(col):
            return
        plot.tint(col, Back.CURSOR)
        if not self.page.full or self.pinned:
            return
        lines: list[tuple[str, str, Role]] = [("step", fmt.count(round(at)), Role.TEXT)]
        for each in drawn[: max(1, plot.height - 1)]:
            label = each.curve.label or "value"
            lines.append((fit(label, 24), panel.unit.write(self._value(each.curve)), each.role))
        cells = max(text_width(name) + text_width(value) + 3 for name, value, _ in lines)
        start = col + 2 if col + 2 + cells <= plot.col + plot.width else col - 1 - cells
        if start < plot.col:
            return
        for i, (name, value, role) in enumerate(lines[: plot.height]):
            row, grid = plot.row + i, plot.grid
            grid.text(row, start, " " * cells, style(Role.TEXT))
            grid.text(row, start + 1, name, style(Role.DIM))
            grid.right(row, start + cells - 1, [(value, style(role, bold=True))], start)
            grid.back(row, start, start + cells, Back.ROW)

    # ---- taken away --------------------------------------------------------------------------

    def _focused(self) -> tuple[ChartPanel, Plot] | None:
        """The chart that keys act on, and its plot as it was painted last."""
        if self.plot is None or not self.panels:
            return None
        at = 0 if self.pinned else self.page.focused(self.panels)
        return self.panels[at], self.plot

    def copied(self) -> str:
        """Every curve of the focused chart at the crosshair, or its newest value."""
        found = self._focused()
        if found is None:
            return super().copied()
        panel, at = found[0], self.view.viewport.cursor
        where = f" at step {round(at)}" if at is not None else ""
        unit = panel.unit.write
        lines = [f"{clean(c.name)} {unit(self._value(c))}{where}" for c in panel.curves]
        return "\n".join(dict.fromkeys(lines))

    def chart_data(self) -> ChartData | None:
        found = self._focused()
        if found is None:
            return None
        share = self.view.smoothing_share
        return panel_data(
            *found,
            self.runs(),
            source=self.view.run_id or self.view.title,
            line_of=lambda series, low, high: line(self._mean(series), share, low, high),
        )

    # ---- mouse -------------------------------------------------------------------------------

    def _chart_at(self, x: int, y: int) -> tuple[str, Plot | None] | None:
        """Key and plot of the chart under the mouse."""
        for cell, plot in self.cells:
            if cell.x <= x < cell.x + cell.width and cell.y <= y < cell.y + cell.height:
                return self.panels[cell.place].key, plot
        return None

    def _x_under(self, x: int, y: int) -> float | None:
        """The place in updates under the mouse."""
        for cell, plot in self.cells:
            inside = cell.x <= x < cell.x + cell.width and cell.y <= y < cell.y + cell.height
            if inside and plot is not None and not isinstance(plot.x_scale, ClockScale):
                column = x - cell.x
                return plot.x_of(column) if plot.holds_column(column) else None
        return None

    def on_mouse_move(self, event: MouseMove) -> None:
        at = self._x_under(event.x, event.y)
        if at is not None:
            self.post_message(ChartMoved("point", at))

    def on_mouse_down(self, event: MouseDown) -> None:
        """A chart is not dragged here: the wheel turns pages."""

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self._wheel(event.x, event.y, "zoom in", "previous")

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self._wheel(event.x, event.y, "zoom out", "next")

    def _wheel(self, x: int, y: int, zoom: Literal["zoom in", "zoom out"], turn: str) -> None:
        """Over a page it turns pages; over one chart alone it zooms about the pointer."""
        if self.page.full or self.pinned:
            self.post_message(ChartMoved(zoom, self._x_under(x, y)))
        else:
            self.post_message(ChartChosen(turn))

    def on_click(self, event: Click) -> None:
        found = self._chart_at(event.x, event.y)
        if found is not None:
            self.post_message(ChartChosen("open" if event.chain > 1 else "focus", found[0]))


def _name(plot: Plot | None, each: _Drawn) -> tuple[Span, Span]:
    """The mark and the name of a curve, as a legend has them."""
    char = each.mark if plot is not None and _marked(plot, each) else "━"
    return (f" {char} ", style(each.role)), (clean(each.curve.label, 40), style(Role.DIM))


def _cells(name: Sequence[Span]) -> int:
    return sum(text_width(text) for text, _ in name)


def _marked(plot: Plot, each: _Drawn) -> bool:
    """Whether its points are so few that each has a mark."""
    return each.x is not None and len(each.x) <= plot.width // 3


def _layers(plot: Plot, drawn: Sequence[_Drawn]) -> list[_Layer]:
    """Bottom to top: what single values span, then the curves."""
    several, layers = len(drawn) > 2, []
    for each in drawn:
        if each.mean is not None and not several:
            number = style(_PALE.get(each.role, Role.AXIS))
            layers.append(_Layer(plot.area(*bridge(each.low, each.high)), number))
    for each in sorted(drawn, key=lambda each: not _marked(plot, each)):
        # A line that joins marks lies under the others: the marks tell it as well.
        pale = _marked(plot, each) and len(drawn) > 1
        number = style(_PALE.get(each.role, each.role) if pale else each.role)
        if each.x is not None:
            if len(each.x) > 1:
                layers.append(_Layer(plot.joined(each.x, each.y), number))
        elif each.mean is None:
            layers.append(_Layer(plot.area(*bridge(each.low, each.high)), number))
        else:
            middle, _ = bridge(each.mean, each.mean)
            layers.append(_Layer(plot.area(middle, middle, thick=1 if several else 2), number))
    return layers


def _range(each: _Drawn, *, everything: bool, log: bool, top: float) -> tuple[float, float] | None:
    """What of a curve decides the range: its average, or its points without lone outliers."""
    low, high = each.low[np.isfinite(each.low)], each.high[np.isfinite(each.high)]
    if log:
        low, high = low[low > 0], high[high > 0]
    if not len(low) or not len(high):
        return None
    least, most = float(low.min()), float(high.max())
    if everything:
        return (math.log10(least), math.log10(most)) if log else (least, most)
    decides = each.y if each.mean is None else each.mean
    if each.mean is None and each.x is None:
        decides = np.concatenate((low, high))
    decides = decides[np.isfinite(decides)]
    if log:
        decides = np.log10(decides[decides > 0])
        least, most = math.log10(least), math.log10(most)
    if not len(decides):
        return least, most
    bottom, height = percentiles(decides, (_BOTTOM, top))
    room = _HEADROOM * (height - bottom)
    return max(bottom - room, least), min(height + room, most)


def _errors(plot: Plot, each: _Drawn) -> Doubles | None:
    """The standard error of every single point in sight, in the unit of the axis; None without."""
    error, series = each.curve.error, each.curve.series
    if error is None or each.x is None:
        return None
    first, last = np.searchsorted(series.x, (plot.x_low, np.nextafter(plot.x_high, np.inf)))
    halves = error.y[first:last].astype(np.float64) * _percent(each)
    halves = halves[np.isfinite(series.y[first:last])]
    return halves if len(halves) == len(each.x) else None


def _percent(each: _Drawn) -> float:
    """From the unit of a standard error to that of the axis."""
    return 100.0 if each.curve.name.startswith("accuracy/") else 1.0
