"""Accuracy over steps: a mark for every evaluation, its standard error as a tint, and chance."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from sftui.drawing.bands import error_band
from sftui.drawing.canvas import BLANK, Grid, Span, fit, settle, text_width
from sftui.drawing.chart_data import ChartData, curve_of, x_name, x_words
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Back, Role, style, task_mark, task_role
from sftui.drawing.short_names import short_names
from sftui.drawing.x_axis import x_range
from sftui.state.catalog import ACCURACY
from sftui.state.records import Topic
from sftui.state.series import Doubles, Floats, Rows
from sftui.statistics.scored import accuracy_of
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.empty_words import nothing_yet
from sftui.widgets.panel import Panel

_DASH = "╌"
_MANY = 4
"""So many points a column of dots, and those that no line is read at are left out."""
_BANDS, _BAND_ROWS = 2, 10
"""Tasks up to which each has its error as a tint (of more, tints would lie on tints), and rows from
which on it has a shape: in fewer it is a row of boxes."""
_SHORT = 6
"""Cells of a task's name where the whole names have no room."""


@dataclass(frozen=True, slots=True)
class _Points:
    """The evaluations of one task: steps, percent, standard errors in points."""

    steps: Doubles
    values: Doubles
    errors: Doubles
    mark: str
    role: Role


class AccuracyChart(Panel):
    """A curve a task, in percent. The y range always holds the chance line."""

    TOPICS = Topic.EVALS | Topic.RUN | Topic.VIEW
    can_focus = True

    _limits: tuple[float, float] | None = None
    _plot: Plot | None = None
    """As it was painted last."""
    _error_drawn = False
    """Whether an error had a shape in it."""

    @property
    def clock(self) -> Hashable:
        """Its axis ends with the updates, as the loss chart's does."""
        return self._x_limits() if self.state.evals else None

    def paint(self, grid: Grid) -> None:
        self._error_drawn = False
        drawn = bool(self.state.evals) and self._chart(grid)
        notes: list[Span] = []
        if self._error_drawn:
            notes.append(("±1 standard error", style(Role.FAINT)))
        grid.frame(self._legend(grid.width), notes, border=self.border)
        if not drawn:
            words = "" if self.state.evals else nothing_yet("evaluation", self.state, self.view)
            grid.text(1, 2, fit(words, grid.width - 4), style(Role.FAINT))

    def copied(self) -> str:
        """Every task's result at the crosshair, or its newest, a line each."""
        at = self.view.viewport.cursor
        lines = []
        for task, by_step in self.state.evals.items():
            done = by_step.ordered[-1] if at is None else by_step.until(round(at))
            if done is not None:
                of = f" ({done.correct}/{done.total})" if done.correct is not None else ""
                words = fmt.percent(accuracy_of(done))
                lines.append(f"{clean(task, 60)} {words}{of} at step {done.step}")
        return "\n".join(lines) or super().copied()

    def chart_data(self) -> ChartData | None:
        plot, limits = self._plot, self._limits
        if plot is None or limits is None:
            return None
        sight, scale = (plot.x_low, plot.x_high), plot.x_scale
        curves = [
            curve_of(
                found.value,
                sight,
                scale,
                name=ACCURACY + task,
                label=clean(task, 40),
                place=i,
                marks=True,
                error=found.error,
            )
            for i, (task, found) in enumerate(self.state.evals.items())
        ]
        return ChartData(
            source=self.view.run_id or self.view.title or "log",
            title="right answers",
            series="accuracy",
            curves=curves,
            x_words=x_words(scale),
            y_words="right answers, parts of 1",
            x_limits=plot.axis_limits,
            y_limits=(limits[0] / 100, limits[1] / 100),
            x_name=x_name(scale),
        )

    def _legend(self, width: int) -> list[Span]:
        """The tasks with their marks: whole names, short ones where those have no room, and how
        many more there are where even these have none."""
        title: list[Span] = [("accuracy", style(Role.TITLE, bold=True))]
        tasks = [clean(task, 24) for task in self.state.evals]
        room, names = width - 6 - text_width("accuracy"), dict(zip(tasks, tasks, strict=True))
        if sum(4 + text_width(name) for name in tasks) > room:
            names = short_names(tasks, _SHORT)
        for i, task in enumerate(tasks):
            left = f"  +{len(tasks) - i}"
            cells = 4 + text_width(names[task])
            if room < cells + (0 if i + 1 == len(tasks) else len(left)):
                title.append((left, style(Role.FAINT)))
                break
            room -= cells
            title += [(f"  {task_mark(i)} ", style(task_role(i))), (names[task], style(Role.DIM))]
        return title

    def _chart(self, grid: Grid) -> bool:
        height, width = grid.height - 4, grid.width - 8 - 2
        if height < 2 or width < 8:
            return False
        # The loss chart decides; alone on the screen, this one does.
        own = self._x_limits()
        x_low, x_high = own if self.view.viewport.part is None else self.view.viewport.part
        chance = self._chance()
        limits = self._y_limits(chance)
        if limits is None:
            return False
        plot = Plot(
            grid=grid,
            row=1,
            col=8,
            height=height,
            width=width,
            x_low=x_low,
            x_high=x_high,
            y_low=limits[0],
            y_high=limits[1],
            x_scale=self.view.x_scale(self.state),
        )
        self._plot = plot
        points = self._points(plot)
        plot.draw_y_axis(1)
        plot.draw_x_axis(plot.row + plot.height)
        if chance is not None:
            self._chance_line(plot, 100 * chance)
        for task in points:
            plot.polyline(task.steps, task.values, style(task.role))
        marked = self._marks(plot, points)
        self._errors(plot, points, marked)
        if chance is not None:
            self._chance_words(plot, 100 * chance)
        if self.view.viewport.cursor is not None:
            self._crosshair(plot, self.view.viewport.cursor)
        return True

    def _y_limits(self, chance: float | None) -> tuple[float, float] | None:
        """Around every value with its error, and chance; None without any."""
        known = [found.reach for found in self.state.evals.values() if found.reach is not None]
        if not known:
            return None
        low, high = 100 * min(low for low, _ in known), 100 * max(high for _, high in known)
        if chance is not None:
            low, high = min(low, 100 * chance), max(high, 100 * chance)
        pad = max(1.0, 0.06 * (high - low))
        self._limits = settle(self._limits, max(0.0, low - pad), min(100.0, high + pad))
        return self._limits

    def _marks(self, plot: Plot, points: list[_Points]) -> set[tuple[int, int]]:
        """A mark for every evaluation; one that would lie on another goes beside it, while that is
        free. Returns their cells."""
        taken: set[tuple[int, int]] = set()
        for task in points:
            if len(task.steps) > plot.width:
                continue  # more than a mark a cell would be a wall
            for step, value in zip(task.steps.tolist(), task.values.tolist(), strict=True):
                row, col = plot.y_cell(value), plot.x_cell(step)
                if row is None or not plot.holds_column(col):
                    continue
                sides = (0, 1, -1, 2, -2, 3, -3)
                free = (col + by for by in sides if (row, col + by) not in taken)
                at = next((c for c in free if plot.holds_column(c)), col)
                taken.add((row, at))
                plot.grid.put(row, at, task.mark, style(task.role))
        return taken

    def _errors(self, plot: Plot, points: list[_Points], marked: set[tuple[int, int]]) -> None:
        """The error: where it has a shape, a tint along the curve; else a bar at one evaluation,
        that at the crosshair or the newest."""
        banded = len(points) <= _BANDS and plot.height >= _BAND_ROWS
        at = self.view.viewport.cursor
        for task in points:
            if not len(task.steps):
                continue
            low, high = task.values - task.errors, task.values + task.errors
            if banded and len(task.steps) > 1:
                error_band(plot, task.steps, low, high)
                self._error_drawn = True
            if not banded or at is not None or len(task.steps) == 1:
                place = len(task.steps) if at is None else np.searchsorted(task.steps, at, "right")
                i = max(0, int(place) - 1)
                if len(task.steps) <= plot.width:
                    self._error_bar(plot, task, i, marked)

    def _crosshair(self, plot: Plot, at: float) -> None:
        """The column of the loss chart's crosshair, and the newest results by then."""
        col = plot.x_cell(at)
        if not plot.holds_column(col):
            return
        plot.tint(col, Back.CURSOR)
        spans: list[Span] = []
        for i, by_step in enumerate(self.state.evals.values()):
            done = by_step.until(round(at))
            if done is not None:
                words = f" {fmt.percent(accuracy_of(done))}"
                spans.append((words, style(task_role(i), bold=True)))
        cells = sum(text_width(text) for text, _ in spans)
        right = col + 1 + cells <= plot.col + plot.width
        plot.grid.spans(plot.row, col + 1 if right else max(plot.col, col - cells), spans)

    def _x_limits(self) -> tuple[float, float]:
        state = self.state
        last = max([state.updates, *(found.last_step for found in state.evals.values() if found)])
        x_scale = self.view.x_scale(state)
        return x_range(x_scale, 0.0, float(last), state.planned, whole=self.view.whole)

    def _points(self, plot: Plot) -> list[_Points]:
        """Task by task, in order of appearance; of many points those that the lines go through."""
        out = []
        for i, by_step in enumerate(self.state.evals.values()):
            x, y, e = by_step.table.x, by_step.value.y, by_step.error.y
            rows = self._rows_drawn(plot, x, y)
            if rows is not None:
                x, y, e = x[rows], y[rows], e[rows]
            value = 100 * y.astype(np.float64)
            error = 100 * np.nan_to_num(e.astype(np.float64))
            out.append(_Points(x, value, error, task_mark(i), task_role(i)))
        return out

    def _rows_drawn(self, plot: Plot, x: Doubles, y: Floats) -> Rows | None:
        """The rows that a line through all of them is drawn by; None where it is by all.

        A line is read at each column of dots, and a tint at each cell, between the points beside
        it: the others change no dot, and a hundred thousand cost what a thousand do.
        """
        if len(x) < _MANY * plot.num_dots or plot.x_scale is not None:
            return None
        low, high = plot.axis_limits
        places = [
            low + (np.arange(parts) + 0.5) * (high - low) / parts
            for parts in (plot.num_dots, plot.width)
        ]
        after = np.searchsorted(x, np.concatenate(places))
        last = len(x) - 1
        rows = np.unique(np.clip(np.concatenate([after - 1, after, [0, last]]), 0, last))
        return rows if np.isfinite(y[rows]).all() else None

    def _chance(self) -> float | None:
        """The chance level of the first task that names one."""
        for by_step in self.state.evals.values():
            chance = by_step.ordered[-1].chance if by_step else None
            if chance is not None:
                return chance
        return None

    def _chance_line(self, plot: Plot, percent: float) -> None:
        row = plot.y_cell(percent)
        if row is None:
            return
        plot.grid.rule(row, plot.col, plot.col + plot.width, _DASH, style(Role.CHANCE))

    def _chance_words(self, plot: Plot, percent: float) -> None:
        """Name the chance line, as far right as nothing lies on the words, else not at all."""
        row, words = plot.y_cell(percent), f" chance {percent:.0f}"
        if row is None:
            return
        codes = plot.grid.codes[row]
        for end in range(plot.col + plot.width, plot.col + len(words), -1):
            if np.isin(codes[end - len(words) : end], (BLANK, ord(_DASH))).all():
                plot.grid.right(row, end, [(words, style(Role.CHANCE))], plot.col)
                return

    def _error_bar(self, plot: Plot, task: _Points, i: int, marked: set[tuple[int, int]]) -> None:
        """A stem through the mark of one evaluation, from end to end of its error; under the marks
        of all tasks.

        As long on either side: an error under half a cell has no shape, and an end in the
        cell of the mark while the other leaves it would be a cap on one side.
        """
        value, half, number = float(task.values[i]), float(task.errors[i]), style(task.role)
        row, col = plot.y_cell(value), plot.x_cell(float(task.steps[i]))
        cells = round(half / (plot.y_high - plot.y_low) * plot.height)
        if row is None or not plot.holds_column(col) or not cells:
            return
        self._error_drawn = True
        for at in range(row - cells, row + cells + 1):
            if (at, col) not in marked and plot.row <= at < plot.row + plot.height:
                plot.grid.put(at, col, "│", number)
