"""Accuracy over steps: a point with its standard error for every evaluation, and chance."""

from __future__ import annotations

import numpy as np

from sftui.drawing.canvas import BLANK, Grid, Span, fit, settle, text_width
from sftui.drawing.plot import Plot
from sftui.drawing.roles import SERIES_MARKS, SERIES_ROLES, Back, Role, style
from sftui.drawing.x_axis import x_range
from sftui.state.records import Topic
from sftui.statistics.paired_tests import accuracy_of
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.widgets.panel import Panel

_DASH = "╌"


class AccuracyChart(Panel):
    """A curve a task, in percent. The y range always holds the chance line."""

    TOPICS = Topic.EVALS | Topic.RUN | Topic.VIEW
    can_focus = True

    _limits: tuple[float, float] | None = None

    def paint(self, grid: Grid) -> None:
        tasks = list(self.state.evals)
        title: list[Span] = [("accuracy", style(Role.TITLE, bold=True))]
        used = 12
        for i, task in enumerate(tasks):
            name = clean(task, 24)
            if used + text_width(name) + 4 > grid.width - 6:
                break
            used += text_width(name) + 4
            role = SERIES_ROLES[i % len(SERIES_ROLES)]
            mark = SERIES_MARKS[i % len(SERIES_MARKS)]
            title += [(f"  {mark} ", style(role)), (name, style(Role.DIM))]
        notes: list[Span] = [("±1 standard error", style(Role.FAINT))] if tasks else []
        drawn = bool(tasks) and self._chart(grid)
        grid.frame(title, notes if drawn else (), border=self.border)
        if not drawn:
            words = "" if tasks else "no evaluation yet"
            grid.text(1, 2, fit(words, grid.width - 4), style(Role.FAINT))

    def _chart(self, grid: Grid) -> bool:
        height, width = grid.height - 4, grid.width - 8 - 2
        if height < 2 or width < 8:
            return False
        # The loss chart decides; alone on the screen, this one does.
        own = self._x_limits()
        x_low, x_high = own if self.view.viewport.part is None else self.view.viewport.part
        points = self._points()
        values = [v for task in points for v in (task[1] - task[2], task[1] + task[2])]
        chance = self._chance()
        known = np.concatenate(values) if values else np.empty(0)
        known = known[np.isfinite(known)]
        if not len(known):
            return False
        low, high = float(known.min()), float(known.max())
        if chance is not None:
            low, high = min(low, 100 * chance), max(high, 100 * chance)
        pad = max(1.0, 0.06 * (high - low))
        low, high = settle(self._limits, max(0.0, low - pad), min(100.0, high + pad))
        self._limits = (low, high)
        plot = Plot(
            grid=grid,
            row=1,
            col=8,
            height=height,
            width=width,
            x_low=x_low,
            x_high=x_high,
            y_low=low,
            y_high=high,
            x_scale=self.view.x_scale(self.state),
        )
        plot.draw_y_axis(1)
        plot.draw_x_axis(plot.row + plot.height)
        if chance is not None:
            self._chance_line(plot, 100 * chance)
        for i, (steps, accuracy, _) in enumerate(points):
            role = SERIES_ROLES[i % len(SERIES_ROLES)]
            plot.polyline(steps, accuracy, style(role))
        for i, (steps, accuracy, error) in enumerate(points):
            role = SERIES_ROLES[i % len(SERIES_ROLES)]
            for step, value, half in zip(steps, accuracy, error, strict=True):
                self._error_bar(plot, step, value, half, style(role))
        for i, (steps, accuracy, _) in enumerate(points):
            mark, role = SERIES_MARKS[i % len(SERIES_MARKS)], SERIES_ROLES[i % len(SERIES_ROLES)]
            for step, value in zip(steps, accuracy, strict=True):
                plot.mark(step, value, mark, style(role))
        if chance is not None:
            self._chance_words(plot, 100 * chance)
        if self.view.viewport.cursor is not None:
            self._crosshair(plot, self.view.viewport.cursor)
        return True

    def _crosshair(self, plot: Plot, at: float) -> None:
        """The column of the loss chart's crosshair, and the newest results by then."""
        col = plot.x_cell(at)
        if not plot.holds_column(col):
            return
        plot.tint(col, Back.CURSOR)
        spans: list[Span] = []
        for i, by_step in enumerate(self.state.evals.values()):
            done = [step for step in by_step if step <= round(at)]
            if done:
                words = f" {fmt.percent(accuracy_of(by_step[max(done)]))}"
                spans.append((words, style(SERIES_ROLES[i % len(SERIES_ROLES)], bold=True)))
        cells = sum(text_width(text) for text, _ in spans)
        right = col + 1 + cells <= plot.col + plot.width
        plot.grid.spans(plot.row, col + 1 if right else max(plot.col, col - cells), spans)

    def _x_limits(self) -> tuple[float, float]:
        state = self.state
        last = max(max(by_step) for by_step in state.evals.values())
        last = max(last, state.updates)
        x_scale = self.view.x_scale(state)
        return x_range(x_scale, 0.0, float(last), state.planned, whole=self.view.whole)

    def _points(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Steps, percent and standard error in points, task by task."""
        out = []
        for by_step in self.state.evals.values():
            steps = sorted(by_step)
            accuracy, error = [], []
            for step in steps:
                result = by_step[step]
                p = accuracy_of(result)
                accuracy.append(np.nan if p is None else 100 * p)
                total = result.total or 0
                spread = np.sqrt(p * (1 - p) / total) if p is not None and total else 0.0
                error.append(100 * spread)
            out.append((np.array(steps, dtype=np.float64), np.array(accuracy), np.array(error)))
        return out

    def _chance(self) -> float | None:
        """The chance level of the first task that names one."""
        for by_step in self.state.evals.values():
            chance = by_step[max(by_step)].chance
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

    def _error_bar(self, plot: Plot, step: float, value: float, half: float, number: int) -> None:
        row, col = plot.y_cell(value), plot.x_cell(step)
        if row is None or not plot.holds_column(col):
            return
        top, bottom = plot.y_cell(value + half), plot.y_cell(value - half)
        for end, char in ((top, "┬"), (bottom, "┴")):
            if end is None or end == row:
                continue
            for between in range(min(end, row), max(end, row)):
                plot.grid.put(between, col, "│", number)
            plot.grid.put(end, col, char, number)
