"""The loss chart: raw faint, average bright, validation, best, rate, checkpoints, events.

Layers are painted bottom to top and the upper one owns its cell: grid, replaced
attempts, rate, raw, event lines, validation line, average, validation marks, best,
newest. Before the first update the panel tells the start-up story instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sftui.drawing.canvas import Grid, Span, bridge, text_width
from sftui.drawing.plot import Plot, percentiles
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.x_axis import AXES, WORDS, x_range
from sftui.logbook.event_lines import command_words, val_name
from sftui.state.means import Line
from sftui.state.records import Topic
from sftui.state.series import Floats, Series
from sftui.text import format as fmt
from sftui.view.viewport import Extent
from sftui.widgets.startup import paint_startup
from sftui.widgets.zoom_chart import ZoomChart, line_words, nearest_row

_TOP_RAW, _TOP_SMOOTH, _BOTTOM = 97.5, 96.0, 0.3
"""Percentiles of the y range: the top lets the common noise in and cuts lone spikes off."""
_HEADROOM = 0.3
"""Part of the range added on top; a maximum that it holds is not clipped at all."""
_RATE_COLUMNS = 7
_FORMS = {"tokens": fmt.si, "epoch": fmt.epoch, "time": fmt.clock}
"""How a measure of the x axis is written."""


@dataclass(frozen=True, slots=True)
class _Box:
    """The box of values beside the crosshair, in the first rows of the plot."""

    lines: list[tuple[str, str, Role]]
    start: int
    cells: int

    def covers(self, row: int, start: int, cells: int) -> bool:
        """Whether it lies over any of these cells. A label is then placed elsewhere: a truncated
        number reads as another number."""
        beside = start + cells <= self.start or start >= self.start + self.cells
        return row < len(self.lines) and not beside


class LossChart(ZoomChart):
    """Training and validation loss over steps."""

    _line: Line
    """Of the training loss, as it was last painted."""

    TOPICS = (
        Topic.STEPS | Topic.VALIDATION | Topic.CHECKPOINTS | Topic.CONTROLS | Topic.RUN | Topic.VIEW
    )

    @property
    def clock(self) -> int | None:
        """Before the first update, the second: the phases show how long they have lasted."""
        return None if len(self.state.steps) else int(self.view.now())

    def paint(self, grid: Grid) -> None:
        framed = grid.height >= 5 and grid.width >= 20
        if not len(self.state.steps):
            if framed:
                title = "loss" if self.state.metrics and not self.state.startup else "start-up"
                grid.frame([(title, style(Role.TITLE, bold=True))], border=self.border)
            paint_startup(grid, self.state, self.view, inset=2 if framed else 0)
            return
        self._line = self.view.loss_line(self.state)
        clipped = self._chart(grid, 1 if framed else 0)
        if framed:
            notes = self._notes(clipped, grid.width)
            grid.frame(self._legend(grid.width), notes, border=self.border)

    # ---- frame -----------------------------------------------------------------------------

    def _legend(self, width: int) -> list[Span]:
        spans: list[Span] = [("loss ", style(Role.TITLE, bold=True))]
        val = val_name(self.state.validation_list())
        name = {"loss_micro_last": "train, last micro-batch"}.get(self.state.loss_name, "train")
        entries = [("━", Role.TRAIN, name), ("⣿", Role.RAW, "raw"), ("●", Role.VAL, val)]
        entries += [("★", Role.GOOD, "best"), ("┄", Role.RATE, "lr"), ("◆", Role.SAVED, "ckpt")]
        if not self._line.window:
            entries[0:2] = [("━", Role.TRAIN, name)]
        used = text_width("loss ")
        for mark, role, word in entries:
            piece = f"{mark} {word} "
            if used + text_width(piece) > width - 8:
                break
            used += text_width(piece)
            spans += [(mark + " ", style(role)), (word + " ", style(Role.DIM))]
        spans[-1] = (spans[-1][0].rstrip(), spans[-1][1])
        return spans

    def _notes(self, clipped: int, width: int) -> list[Span]:
        faint = style(Role.FAINT)
        words = ["log" if self.view.log_y else "linear"]
        words.append(line_words(self._line))
        words.append(self._x_words())
        spans: list[Span] = [(" · ".join(words), faint)]
        if clipped:
            plural = "" if clipped == 1 else "s"
            spans += [(f" · {clipped} spike{plural} above ", faint), ("▴", style(Role.WARN))]
        if self.state.nonfinite:
            spans.append((f" · {self.state.nonfinite} not finite", style(Role.BAD, bold=True)))
        while len(spans) > 1 and sum(text_width(t) for t, _ in spans) > width - 6:
            del spans[0]
        return spans

    def _x_words(self) -> str:
        """What the x axis measures, and which part of it is shown."""
        view, x_scale = self.view, self.view.x_scale(self.state)
        part, words = view.viewport.part, "x:"
        if x_scale is not None:
            words += f" {x_scale.words},"
        elif view.x_axis != "step":
            words += f" steps (no {WORDS[view.x_axis]} in this log),"
        if part is None:
            return words + (" whole run" if view.whole else " so far")
        form: Callable[[float], str] = fmt.count
        if x_scale is not None:
            form = _FORMS[x_scale.name]
            part = (x_scale.to(part[0]), x_scale.to(part[1]))
        return f"{words} {form(part[0])} to {form(part[1])}"

    # ---- chart -----------------------------------------------------------------------------

    def _chart(self, grid: Grid, edge: int) -> int:
        """Paint inside the border; returns the number of spikes above the range."""
        state, view = self.state, self.view
        raw = state.step_series(state.loss_name)
        top, height = edge, grid.height - 2 * edge
        words_row = height >= 9
        labels = height >= 6
        plot_height = height - (1 if words_row else 0) - (2 if labels else 1)
        rates = grid.width >= 70 and state.steps.last("lr_mult") is not None
        left = edge + 7
        width = grid.width - edge - left - (_RATE_COLUMNS if rates else 2)
        if plot_height < 1 or width < 4:
            return 0
        x_scale, full = view.x_scale(state), self._x_limits(raw)
        self.extent = Extent(full, width, x_scale)
        x_low, x_high = view.viewport.limits(full)
        smooth = self._line = view.loss_line(state, x_low, x_high)
        y_low, y_high = self._y_limits(raw, smooth, x_low, x_high)
        plot = Plot(
            grid=grid,
            row=top + (1 if words_row else 0),
            col=left,
            height=plot_height,
            width=width,
            x_low=x_low,
            x_high=x_high,
            y_low=y_low,
            y_high=y_high,
            log=view.log_y,
            x_scale=x_scale,
        )
        plot.draw_y_axis(edge)
        axis_row = plot.row + plot.height
        plot.draw_x_axis(axis_row, labels=labels)
        self._epochs(plot)
        for steps, losses in state.replaced:
            plot.polyline(steps, losses, style(Role.AXIS))
        if rates:
            self._rate(plot)
        low, high = plot.columns(raw)
        plain = not smooth.window
        if plain:
            plot.band(*bridge(low, high), style(Role.TRAIN))
        else:
            plot.band(low, high, style(Role.RAW))
        self._events(plot, words_row)
        validations = [v for v in state.validation_list() if x_low <= v.step <= x_high]
        steps = np.array([v.step for v in validations], dtype=np.float64)
        losses = np.array([v.loss for v in validations], dtype=np.float64)
        if len(steps) > 1:
            plot.polyline(steps, losses, style(Role.VAL_LINE))
        if not plain:
            s_low, s_high = bridge(*plot.columns(smooth))
            plot.band(s_low, s_high, style(Role.TRAIN), thick=2)
        for validation in validations:
            plot.mark(validation.step, validation.loss, "●", style(Role.VAL))
        newest = smooth.last
        if newest is not None:
            plot.mark(float(raw.x[-1]), newest, "◉", style(Role.TEXT, bold=True))
        at = view.viewport.cursor
        box = None if at is None else self._box(plot, at, raw, smooth)
        self._best(plot, box)
        clipped = self._clipped(plot, high)
        for checkpoint in state.checkpoint_rows():
            col = plot.x_cell(checkpoint.step)
            if checkpoint.kind == "sftui" and plot.holds_column(col):
                role = Role.FAINT if checkpoint.removed else Role.SAVED
                grid.put(axis_row, col, "◇" if checkpoint.removed else "◆", style(role))
        self.plot = plot
        if at is not None:
            self._crosshair(plot, at, box)
        return clipped

    def _box(self, plot: Plot, at: float, raw: Series, smooth: Line) -> _Box | None:
        """Values at the crosshair, on the side with room; None when neither side has any."""
        col = plot.x_cell(at)
        lines = self._values(at, raw, smooth)[: max(3, plot.height)]
        cells = max(text_width(name) + text_width(value) + 3 for name, value, _ in lines)
        start = col + 2 if col + 2 + cells <= plot.col + plot.width else col - 1 - cells
        if not plot.holds_column(col) or start < plot.col or len(lines) > plot.height:
            return None
        return _Box(lines=lines, start=start, cells=cells)

    def _crosshair(self, plot: Plot, at: float, box: _Box | None) -> None:
        """A tinted column, and the box."""
        col = plot.x_cell(at)
        if not plot.holds_column(col):
            return
        grid = plot.grid
        plot.tint(col, Back.CURSOR)
        if box is None:
            return
        start, cells = box.start, box.cells
        for i, (name, value, role) in enumerate(box.lines):
            row = plot.row + i
            grid.text(row, start, " " * cells, style(Role.TEXT))
            grid.text(row, start + 1, name, style(Role.DIM))
            grid.right(row, start + cells - 1, [(value, style(role, bold=True))], start)
            grid.back(row, start, start + cells, Back.ROW)

    def _values(self, at: float, raw: Series, smooth: Line) -> list[tuple[str, str, Role]]:
        """What is known at the update nearest to a place: name, value, colour."""
        state = self.state
        i = nearest_row(raw.x, at)
        step = place = float(raw.x[i])
        if at > raw.x[-1]:
            # What is measured last belongs to the weights after the last update.
            place = max(step, min(float(round(at)), state.newest_place))
        then = "" if place == step else f" @{fmt.count(step)}"
        lines = [("step", fmt.count(place), Role.TEXT)]
        if smooth.window:
            lines.append((f"train{then}", fmt.loss(smooth.at(step)), Role.TRAIN))
        word = "raw" if smooth.window else "train"
        lines.append((f"{word}{then}", fmt.loss(float(raw.y[i])), Role.TEXT))
        before = [v for v in state.validation_list() if v.step <= place]
        if before:
            words = "val" if before[-1].step == place else f"val @{before[-1].step}"
            lines.append((words, fmt.loss(before[-1].loss), Role.VAL))
        for axis in AXES[1:]:
            x_scale = self.view.x_scale(state, axis)
            if x_scale is not None:
                lines.append((axis, _FORMS[axis](x_scale.to(step)), Role.DIM))
        row = state.steps.at(step) or {}
        for name, words, form in (
            ("lr_mult", "lr ×", lambda value: f"{value:.3g}"),
            ("grad_norm", "grad", lambda value: fmt.loss(value, 3)),
            ("tokens_per_second", "tok/s", fmt.si),
        ):
            if name in row:
                lines.append((words, form(row[name]), Role.DIM))
        return lines

    def _x_limits(self, raw: Series) -> tuple[float, float]:
        first, last = float(raw.x[0]), float(raw.x[-1])
        # A log that begins late, e.g. a resumed run alone, is not squeezed to the right.
        low = first if first > last / 2 and first > 16 else 0.0
        x_scale = self.view.x_scale(self.state)
        return x_range(x_scale, low, last, self.state.planned, whole=self.view.whole)

    def _y_limits(
        self, raw: Series, smooth: Line, x_low: float, x_high: float
    ) -> tuple[float, float]:
        values = raw.sample(x_low, x_high)
        seen = smooth.sample(x_low, x_high)
        marks = [
            v.loss
            for v in self.state.validations.values()
            if math.isfinite(v.loss) and x_low <= v.step <= x_high
        ]
        log = self.view.log_y
        if log:
            values, seen = values[values > 0], seen[seen > 0]
            marks = [loss for loss in marks if loss > 0]
        if not len(values) and not marks:
            return (0.0, 1.0)
        if len(values):
            low, high = percentiles(values, (_BOTTOM, _TOP_RAW))
            if len(seen):
                high = max(high, *percentiles(seen, (_TOP_SMOOTH,)))
            high = min(high + _HEADROOM * (high - low), float(values.max()))
            low, high = min([low, *marks]), max([high, *marks])
        else:
            low, high = min(marks), max(marks)
        return self.y_limits(low, high)

    def _epochs(self, plot: Plot) -> None:
        epoch = self.state.steps_an_epoch
        if epoch is None or epoch * plot.width / (plot.x_high - plot.x_low) < 8:
            return  # closer than eight cells they would be a fence, not a mark
        step = epoch
        while step < plot.x_high:
            if step > plot.x_low:
                plot.vertical(step, "╎", style(Role.AXIS))
            step += epoch

    def _rate(self, plot: Plot) -> None:
        """The learning-rate multiplier on its own axis from 0 to its greatest value."""
        series = self.state.step_series("lr_mult")
        low, high = bridge(*plot.columns(series))
        known = high[np.isfinite(high)]
        greatest = float(known.max()) if len(known) else 0.0
        if greatest <= 0:
            return
        own = Plot(
            grid=plot.grid,
            row=plot.row,
            col=plot.col,
            height=plot.height,
            width=plot.width,
            x_low=plot.x_low,
            x_high=plot.x_high,
            y_low=0.0,
            y_high=greatest,
            x_scale=plot.x_scale,
        )
        own.band(low, high, style(Role.RATE))
        col = plot.col + plot.width + 1
        number = style(Role.RATE)
        plot.grid.text(plot.row, col, f"×{greatest:.2g}", number)
        plot.grid.text(plot.row + plot.height - 1, col, "0", number)
        if plot.height >= 5:
            plot.grid.text(plot.row + plot.height // 2, col, "lr", number)

    def _events(self, plot: Plot, words_row: bool) -> None:
        """Applied requests as dashed lines, with a word on top where there is room.

        The words of requests in one column of cells stand beside each other.
        """
        number = style(Role.WARN)
        words_at: dict[int, list[str]] = {}
        for event in self.state.controls:
            if event.outcome != "applied" or event.step is None or event.command == "checkpoint":
                continue
            if event.command == "resume":
                continue  # the pause says how long it lasted
            col = plot.vertical(event.step, "┊", number)
            if col is not None:
                words = self._event_words(event.command, event.stamp.t) or command_words(event)
                words_at.setdefault(col, []).append(words)
        busy_until, row = -1, plot.row - 1
        for col, all_words in sorted(words_at.items()) if words_row else ():
            if col <= busy_until:
                continue
            plot.grid.put(row, col, "▾", number)
            words = ", ".join(dict.fromkeys(all_words))
            if col + 2 + text_width(words) < plot.col + plot.width:
                busy_until = plot.grid.text(row, col + 2, words, number)
            else:
                plot.grid.right(row, col - 1, [(words, number)], max(plot.col, busy_until + 3))
                busy_until = col

    def _event_words(self, command: str, t: float | None) -> str:
        """`paused 2m 05s` once the run was resumed."""
        if command != "pause" or t is None:
            return ""
        for event in self.state.controls:
            later = event.stamp.t
            if event.command == "resume" and event.outcome == "applied" and later and later > t:
                return f"paused {fmt.duration(later - t)}"
        return ""

    def _best(self, plot: Plot, box: _Box | None) -> None:
        """A star at the best validation, and its number where it covers the fewest cells."""
        best = self.state.best_validation
        if best is None:
            return
        row, col = plot.y_cell(best.loss), plot.x_cell(best.step)
        if row is None or not plot.holds_column(col):
            return
        grid, number = plot.grid, style(Role.GOOD, bold=True)
        grid.put(row, col, "★", number)
        text = f"best {fmt.loss(best.loss)}"
        first, last = plot.row, plot.row + plot.height - 1
        places = []
        for down in (0, 1, -1, 2, -2, 3, -3):
            for start in (col + 2, col - 1 - len(text)):
                at = row + down
                if not first <= at <= last or start < plot.col:
                    continue
                if start + len(text) > plot.col + plot.width:
                    continue
                if box is not None and box.covers(at - plot.row, start, len(text)):
                    continue
                under = grid.styles[at, start : start + len(text)] & 0x3F
                blank = grid.codes[at, start : start + len(text)] == ord(" ")
                covered = int((~blank & (under != Role.GRID)).sum())
                places.append((covered * 3 + abs(down), at, start))
        if places:
            _, at, start = min(places)
            grid.text(at, start, text, number)

    def _clipped(self, plot: Plot, high: Floats) -> int:
        """Mark the columns whose loss lies above the range; returns how many spikes they are."""
        with np.errstate(invalid="ignore"):
            above = plot.scale(high) > plot.y_high
            above |= np.isinf(high)
        if not above.any():
            return 0
        for cell in np.flatnonzero(above.reshape(-1, 2).any(axis=1)).tolist():
            plot.grid.put(plot.row, plot.col + cell, "▴", style(Role.WARN))
        starts = above & ~np.concatenate(([False], above[:-1]))
        return int(starts.sum())
