"""The loss chart: raw faint, average bright, validation, best, rate, checkpoints, events.

Layers are painted bottom to top and the upper one owns its cell: grid, replaced
attempts, raw, event lines, validation line, average, validation marks, best, newest.
The learning rate, whose course is known beforehand, has a strip of its own below. What
decides sets the y range: the average and the validations; what is beyond is marked.
Before the first update the panel tells the start-up story instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.events import ControlApplied
from sftui.compare.differences import changed_words
from sftui.drawing.canvas import BLANK, Grid, Span, bridge, fit, text_width
from sftui.drawing.chart_data import ChartData, curve_of, x_name, x_words
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.short_names import short_id
from sftui.drawing.x_axis import AXES, FORMS, WORDS, x_range
from sftui.drawing.y_range import around, extremes, eye_range
from sftui.logbook.event_lines import command_words, val_name
from sftui.state.catalog import RATE, VALIDATION
from sftui.state.means import Line, Means, line
from sftui.state.records import Topic
from sftui.state.series import Doubles, Floats, Series, nearest_row
from sftui.text import format as fmt
from sftui.view.chart_page import RANGE_WORDS
from sftui.view.viewport import Extent
from sftui.widgets.startup import paint_startup
from sftui.widgets.zoom_chart import ZoomChart, line_words

_STRIP = ((18, 2), (12, 1))
"""From how many rows inside the border on the learning rate has a strip of how many rows."""
_STRIP_WIDTH = 40
_MARKS_A_CELL = 0.25
"""Validations a cell of the chart's width above which they are a line and no marks."""
_FEW_MARKS = 4
"""Validations from which on the first does not decide the range."""
_MANY_SPIKES, _LONE = 8, 0.05
"""Spikes beyond the range, also as a part of the columns, up to which they are marked."""


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
    _drawn: tuple[tuple[str, Role, str], ...] = ()
    """Mark, colour and name of all that was painted last: the legend."""
    axis_row = 0
    """Row of the x axis, as it was painted last: under the strip of the learning rate."""
    _val_means: Means | None = None
    _past_words: tuple[tuple[object, int, bool], str] | None = None
    """What the past run was set to otherwise, and what that was made from."""

    opens = "app.toggle_look"
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
        beyond = self._chart(grid, 1 if framed else 0)
        self.paint_box(grid)
        if framed:
            notes = self._notes(beyond, grid.width)
            grid.frame(self._legend(grid.width), notes, border=self.border)

    # ---- frame -----------------------------------------------------------------------------

    def _legend(self, width: int) -> list[Span]:
        """What was drawn, and nothing else."""
        spans: list[Span] = [("loss ", style(Role.TITLE, bold=True))]
        used = text_width("loss ")
        for mark, role, word in self._drawn:
            piece = f"{mark} {word} "
            if used + text_width(piece) > width - 8:
                break
            used += text_width(piece)
            spans += [(mark + " ", style(role)), (word + " ", style(Role.DIM))]
        spans[-1] = (spans[-1][0].rstrip(), spans[-1][1])
        return spans

    def _notes(self, beyond: tuple[int, int] | None, width: int) -> list[Span]:
        """How it is drawn; of what is beyond the range, how often, or that it often is."""
        faint = style(Role.FAINT)
        if self.view.past is not None and width >= 40:
            return [(fit(self._changed(), width - 6), style(Role.DIM))]
        words = [f"y: {self._range_words()}", line_words(self._line), self._x_words()]
        spans: list[Span] = []
        if beyond is None:
            spans.append((" · raw clipped", faint))
        else:
            for count, word, mark in zip(beyond, ("above", "below"), "▴▾", strict=True):
                if count:
                    spans += [(f" · {fmt.count(count)} {word} ", faint), (mark, style(Role.WARN))]
        if self.state.nonfinite:
            spans.append((f" · {self.state.nonfinite} not finite", style(Role.BAD, bold=True)))
        # What the axes are gives way from the last on; the first piece has no dot before it.
        room = width - 6 - sum(text_width(text) for text, _ in spans)
        while words and len(" · ".join(words)) > room:
            words.pop()
        if words:
            return [(" · ".join(words), faint), *spans]
        return [(spans[0][0].removeprefix(" · "), spans[0][1]), *spans[1:]] if spans else []

    def _changed(self) -> str:
        """What differs from the past run, in one line."""
        past, state = self.view.past, self.state
        assert past is not None
        made_from = (past, len(state.controls), state.run is None)
        if self._past_words is None or self._past_words[0] != made_from:
            words = f"against {short_id(past.name)} · {changed_words(past.state, state)}"
            self._past_words = (made_from, words)
        return self._past_words[1]

    def _range_words(self) -> str:
        """What sets the y range: nothing needs saying of the usual one but linear or log."""
        view = self.view
        chosen = view.chart_page.look("loss").range
        words = "log" if view.log_y else "linear"
        if view.viewport.y_part is not None:
            return f"{words}, box"
        return words if chosen == "eye" else f"{words}, {RANGE_WORDS[chosen].removeprefix('y: ')}"

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
            form = FORMS[x_scale.name]
            part = (x_scale.to(part[0]), x_scale.to(part[1]))
        return f"{words} {form(part[0])} to {form(part[1])}"

    # ---- taken away ------------------------------------------------------------------------

    def copied(self) -> str:
        """What is known at the crosshair, or of the newest update, on one line."""
        raw = self.state.step_series(self.state.loss_name)
        if not len(raw):
            return super().copied()
        at = self.view.viewport.cursor
        place = self.state.newest_place if at is None else at
        values = self._values(place, raw, self._line)
        return ", ".join(f"{name.rstrip(' ×')} {value}" for name, value, _ in values)

    def chart_data(self) -> ChartData | None:
        state, view, plot = self.state, self.view, self.plot
        raw = state.step_series(state.loss_name)
        if plot is None or not len(raw):
            return None
        sight, scale = (plot.x_low, plot.x_high), plot.x_scale
        curves = [
            curve_of(
                raw,
                sight,
                scale,
                name=state.loss_name,
                label=f"training, {line_words(self._line)}",
                place=0,
                line=self._line,
            )
        ]
        if state.validations:
            word = val_name(state.validation_list())
            name, series = VALIDATION + state.validations.metric, state.validations.loss
            curves.append(
                curve_of(series, sight, scale, name=name, label=word, place=1, marks=True)
            )
        words = {e.step: self._event_words(e.command, e.stamp.t) or command_words(e)
                 for e in state.controls if _is_line(e)}  # fmt: skip
        events = [
            (scale.to(float(step)) if scale else float(step), text)
            for step, text in words.items()
            if step is not None and sight[0] <= step <= sight[1]
        ]
        return ChartData(
            source=view.run_id or view.title or "log",
            title="loss",
            series="loss",
            curves=curves,
            x_words=x_words(scale),
            y_words="loss",
            x_limits=plot.axis_limits,
            y_limits=plot.y_limits,
            log_y=plot.log,
            events=events,
            x_name=x_name(scale),
        )

    # ---- chart -----------------------------------------------------------------------------

    def _chart(self, grid: Grid, edge: int) -> tuple[int, int] | None:
        """Paint inside the border; returns how many updates are above and below the range, None
        where so much of the raw loss is that marks would say nothing."""
        state, view = self.state, self.view
        raw = state.step_series(state.loss_name)
        top, height = edge, grid.height - 2 * edge
        words_row, labels = height >= 9, height >= 6
        strip = self._strip_rows(height, grid.width)
        plot_height = height - (1 if words_row else 0) - (2 if labels else 1) - strip
        left = edge + 7
        width = grid.width - edge - left - 2
        self._drawn = ()
        if plot_height < 1 or width < 4:
            return (0, 0)
        x_scale, full = view.x_scale(state), self._x_limits(raw)
        self.extent = Extent(full, width, x_scale)
        x_low, x_high = view.viewport.limits(full)
        smooth = self._line = view.loss_line(state, x_low, x_high)
        plot = Plot(
            grid=grid,
            row=top + (1 if words_row else 0),
            col=left,
            height=plot_height,
            width=width,
            x_low=x_low,
            x_high=x_high,
            y_low=0.0,
            y_high=1.0,
            log=view.log_y,
            x_scale=x_scale,
        )
        low, high = plot.columns(raw)
        average = plot.columns(smooth) if smooth.window else (low, high)
        steps, losses = self._validations(x_low, x_high)
        val = self._val_line(x_low, x_high)
        plot.show(*self._y_limits(plot, (low, high), average, (steps, losses), val))
        plot.draw_y_axis(edge)
        axis_row = self.axis_row = plot.row + plot.height + strip
        plot.draw_x_axis(axis_row, labels=labels)
        if strip:
            self._rate(plot, strip, edge)
        epochs = self._epochs(plot)
        for done, again in state.replaced:
            plot.polyline(done, again, style(Role.AXIS))
        past = self._past(plot)
        many = len(steps) > plot.width * _MARKS_A_CELL
        if val.window and len(steps) > plot.num_dots:
            plot.band(*plot.columns(state.validations.loss), style(Role.VAL_LINE))
        if smooth.window:
            plot.band(low, high, style(Role.RAW))
        events = self._events(plot, words_row)
        if len(steps) > 1 and not many:
            plot.polyline(steps, losses, style(Role.VAL_LINE))
        if smooth.window:
            plot.band(*bridge(*average), style(Role.TRAIN), thick=2)
        else:
            # Over the thin line that only joins the validations: it would cut holes into data.
            plot.band(*bridge(low, high), style(Role.TRAIN))
        if many:
            # Marks in every cell would be a thick band of dots.
            self._dense(plot, val, steps, losses)
        else:
            for step, loss in zip(steps.tolist(), losses.tolist(), strict=True):
                plot.mark(step, loss, "●", style(Role.VAL))
        newest = smooth.last
        if newest is not None:
            plot.mark(float(raw.x[-1]), newest, "◉", style(Role.TEXT, bold=True))
        at = view.viewport.cursor
        box = None if at is None else self._box(plot, at, raw, smooth)
        best = self._best(plot, box)
        beyond = self._beyond(plot, raw, (low, high), losses, steps)
        saved = self._saved(plot, axis_row)
        if words_row:
            self._epoch_words(plot, epochs)
        self.plot = plot
        if at is not None:
            self._crosshair(plot, at, box)
        train = {"loss_micro_last": "train, last micro-batch"}.get(state.loss_name, "train")
        shown = (
            (True, ("━", Role.TRAIN, train)),
            (bool(smooth.window), ("⣿", Role.RAW, "raw")),
            (bool(len(steps)), ("━" if many else "●", Role.VAL, val_name(state.validation_list()))),
            (best, ("★", Role.GOOD, "best")),
            (bool(past), ("━", Role.FAINT, past)),
            (saved, ("◆", Role.SAVED, "ckpt")),
            (bool(state.replaced), ("━", Role.AXIS, "before a restart")),
            (bool(epochs) and not words_row, ("╎", Role.AXIS, "epoch")),
            (events and not words_row, ("┊", Role.WARN, "by hand")),
        )
        self._drawn = tuple(entry for there, entry in shown if there)
        return beyond

    def _past(self, plot: Plot) -> str:
        """The line of the past run under all else; its name for the legend, empty without one.

        By updates alone: another run has other tokens and times at an update.
        """
        past = self.view.past
        if past is None:
            return ""
        name = short_id(past.name)
        if plot.x_scale is not None:
            return f"{name}: by steps alone"
        smooth = past.line(self.view.smoothing_share, plot.x_low, plot.x_high)
        low, high = plot.columns(smooth)
        with np.errstate(invalid="ignore"):
            inside = (plot.scale(high) >= plot.y_low) & (plot.scale(low) <= plot.y_high)
        if not inside.any():
            return f"{name}: out of sight"
        plot.band(*bridge(low, high), style(Role.FAINT))
        return name

    def _strip_rows(self, height: int, width: int) -> int:
        """Rows of the strip of the learning rate; 0 where it has no room or there is none."""
        if width < _STRIP_WIDTH or not self._rate_name():
            return 0
        return next((rows for least, rows in _STRIP if height >= least), 0)

    def _val_line(self, x_low: float, x_high: float) -> Line:
        """The mean of the validations in sight; where they are few, they themselves."""
        series = self.state.validations.loss
        if self._val_means is None or self._val_means.source is not series:
            self._val_means = Means(series)
        return line(self._val_means, self.view.smoothing_share, x_low, x_high)

    def _dense(self, plot: Plot, val: Line, steps: Doubles, losses: Doubles) -> None:
        """Many validations as a line: their mean, or every one of them where a dot holds few."""
        if val.window and len(steps) > plot.num_dots:
            plot.band(*bridge(*plot.columns(val)), style(Role.VAL))
        else:
            plot.polyline(steps, losses, style(Role.VAL))

    def _saved(self, plot: Plot, axis_row: int) -> bool:
        """Checkpoints along the x axis; whether any is in sight."""
        rows = self.state.checkpoint_rows()
        if not len(rows.steps):
            return False
        cols = plot.x_cells(rows.steps)
        # Of those in one cell the earliest is drawn.
        firsts = np.flatnonzero(np.diff(cols, prepend=cols[0] - 1))
        shown = [i for i in firsts.tolist() if plot.holds_column(int(cols[i]))]
        for i in shown:
            removed = bool(rows.removed[i])
            role = Role.FAINT if removed else Role.SAVED
            plot.grid.put(axis_row, int(cols[i]), "◇" if removed else "◆", style(role))
        return bool(shown)

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
        past = self.view.past
        if past is not None and len(past.raw) and step <= past.raw.x[-1]:
            width = self.extent.full[1] - self.extent.full[0]
            then_value = past.line(self.view.smoothing_share, step - width, step + width).at(step)
            if then_value is not None:
                lines.append(("past run", fmt.loss(then_value), Role.FAINT))
        before = state.validations.until(place)
        if before is not None:
            words = "val" if before.step == place else f"val @{before.step}"
            lines.append((words, fmt.loss(before.loss), Role.VAL))
        for axis in AXES[1:]:
            x_scale = self.view.x_scale(state, axis)
            if x_scale is not None:
                lines.append((axis, FORMS[axis](x_scale.to(step)), Role.DIM))
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
        self,
        plot: Plot,
        raw: tuple[Floats, Floats],
        average: tuple[Floats, Floats],
        marks: tuple[Doubles, Doubles],
        val: Line,
    ) -> tuple[float, float]:
        """In axis units. What decides is in sight: the average, the validations, and of these the
        best and the newest; the first steep part of a run and lone spikes are not."""
        look, log = self.view.chart_page.look("loss"), self.view.log_y
        steps, losses = marks
        if look.range == "typed" and look.limits is not None and not (log and look.limits[0] <= 0):
            return self.held_limits("typed", *(plot.scale(np.array(look.limits)).tolist()))
        dense = bool(val.window) and len(steps) > plot.num_dots
        # Of several the first is that of the weights as they came: the fall from it says little.
        since = 1 if len(steps) >= _FEW_MARKS else 0
        across = plot.columns(val)[0] if dense else plot.over_columns(steps[since:], losses[since:])
        everything = extremes(plot.scale(v) for v in (*raw, losses))
        middle = (average[0].astype(np.float64) + average[1]) / 2
        decides = across if look.range == "val" and len(steps) else np.append(middle, across)
        if look.range == "all":
            limits = everything
        else:
            noise = None
            if look.range != "val":
                sample = self.state.step_series(self.state.loss_name).sample
                noise = plot.scale(sample(plot.x_low, plot.x_high))
            limits = eye_range(plot.scale(decides), everything, noise=noise)
            kept = [self._line.last if look.range != "val" else None]
            if len(steps) and not dense:
                kept += [losses[-1], np.nanmin(losses) if np.isfinite(losses).any() else None]
            limits = around(limits, plot.scale(np.array([k for k in kept if k is not None])))
        if limits is None:
            return (0.0, 1.0)
        low, high = limits
        if look.range == "zero" and not log:
            low, high = min(0.0, low), max(0.0, high)
        return self.held_limits(look.range, low, high)

    def _validations(self, x_low: float, x_high: float) -> tuple[Doubles, Doubles]:
        """Steps and losses of the validations in sight."""
        table = self.state.validations.table
        low, high = np.searchsorted(table.x, (x_low, np.nextafter(x_high, np.inf)))
        return table.x[low:high], table.column("loss")[low:high].astype(np.float64)

    def _epochs(self, plot: Plot) -> list[tuple[int, int]]:
        """A line where each epoch after the first begins; their columns and numbers."""
        epoch, found = self.state.steps_an_epoch, list[tuple[int, int]]()
        if epoch is None or epoch * plot.width / (plot.x_high - plot.x_low) < 8:
            return found  # closer than eight cells they would be a fence, not a mark
        number = max(1, int(plot.x_low // epoch))
        while (step := number * epoch) < plot.x_high:
            number += 1
            if (
                step > plot.x_low
                and (col := plot.vertical(step, "╎", style(Role.AXIS))) is not None
            ):
                found.append((col, number))
        return found

    def _epoch_words(self, plot: Plot, epochs: list[tuple[int, int]]) -> None:
        """`epoch 2` over its line, where nothing else stands."""
        row = plot.row - 1
        for col, number in epochs:
            words = f"epoch {number}"
            end = min(col + 1 + len(words), plot.grid.width)
            free = plot.grid.codes[row, max(0, col - 1) : end + 1] == BLANK
            if free.all() and end <= plot.col + plot.width:
                plot.grid.text(row, col, words, style(Role.FAINT))

    def _rate(self, plot: Plot, rows: int, label_col: int) -> None:
        """The learning rate from 0 to its greatest value, in rows under the plot."""
        name = self._rate_name()
        low, high = bridge(*plot.columns(self.state.step_series(name)))
        known = high[np.isfinite(high)]
        greatest = float(known.max()) if len(known) else 0.0
        number, grid, row = style(Role.RATE), plot.grid, plot.row + plot.height
        grid.upright(row, row + rows, plot.col - 1, "│", style(Role.AXIS))
        value = f"×{greatest:.2g}" if name == "lr_mult" else fmt.rate(greatest)
        value, cells = value.replace(".0e", "e"), plot.col - 2 - label_col
        words = [value if len(value) <= cells else "", "lr"]
        if rows == 1:
            words = [f"lr {value}" if len(value) + 3 <= cells else "lr"]
        for at, text in enumerate(words, row):
            grid.right(at, plot.col - 2, [(text, number)], label_col)
        if greatest > 0:
            own = replace(plot, row=row, height=rows, y_low=0.0, y_high=greatest, log=False)
            own.band(low, high, number)

    def _rate_name(self) -> str:
        """The column of the learning rate: its schedule, else the first of its groups; empty where
        there is none."""
        steps = self.state.steps
        names = ["lr_mult", *(name for name in steps.names if name.startswith(RATE))]
        return next((name for name in names if steps.last(name) is not None), "")

    def _events(self, plot: Plot, words_row: bool) -> bool:
        """Applied requests as dashed lines, with a word on top where there is room.

        The words of requests in one column of cells stand beside each other. Returns whether
        there are any in sight.
        """
        number = style(Role.WARN)
        words_at: dict[int, list[str]] = {}
        for event in self.state.controls:
            if not _is_line(event) or event.step is None:
                continue
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
        return bool(words_at)

    def _event_words(self, command: str, t: float | None) -> str:
        """`paused 2m 05s` once the run was resumed."""
        if command != "pause" or t is None:
            return ""
        for event in self.state.controls:
            later = event.stamp.t
            if event.command == "resume" and event.outcome == "applied" and later and later > t:
                return f"paused {fmt.duration(later - t)}"
        return ""

    def _best(self, plot: Plot, box: _Box | None) -> bool:
        """A star at the best validation, and its number where it covers the fewest cells; whether
        it is in sight."""
        best = self.state.best_validation
        if best is None:
            return False
        row, col = plot.y_cell(best.loss), plot.x_cell(best.step)
        if row is None or not plot.holds_column(col):
            return False
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
        return True

    def _beyond(
        self,
        plot: Plot,
        raw: Series,
        columns: tuple[Floats, Floats],
        losses: Doubles,
        steps: Doubles,
    ) -> tuple[int, int] | None:
        """Mark the columns that leave the range, and count the updates that do, above and below.

        None where many spikes do: the raw loss is drawn as far as the range goes, and that is
        said.
        """
        _, above = _outside(plot, columns[1])
        below, _ = _outside(plot, columns[0])
        # Columns beside each other are one spike.
        spikes = sum(
            int((outside & ~np.concatenate(([False], outside[:-1]))).sum())
            for outside in (above, below)
        )
        lone = spikes <= max(_MANY_SPIKES, _LONE * len(above))
        for outside, row, char in (
            (above, plot.row, "▴"),
            (below, plot.row + plot.height - 1, "▾"),
        ):
            if lone:
                for cell in np.flatnonzero(outside.reshape(-1, 2).any(axis=1)).tolist():
                    plot.grid.put(row, plot.col + cell, char, style(Role.WARN))
        if len(steps) <= plot.width * _MARKS_A_CELL:
            with np.errstate(invalid="ignore"):
                hidden = plot.scale(losses) > plot.y_high
            for step in steps[hidden].tolist():
                if plot.holds_column(col := plot.x_cell(step)):
                    plot.grid.put(plot.row, col, "▴", style(Role.VAL))
        if not lone:
            return None
        first, end = np.searchsorted(raw.x, (plot.x_low, np.nextafter(plot.x_high, np.inf)))
        under, over = (int(rows.sum()) for rows in _outside(plot, raw.y[first:end]))
        return (over, under)


def _outside(plot: Plot, values: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which values lie below and above the range; an infinite one lies above."""
    with np.errstate(invalid="ignore"):
        scaled = plot.scale(values)
        return scaled < plot.y_low, (scaled > plot.y_high) | np.isinf(values)


def _is_line(event: ControlApplied) -> bool:
    """Whether a request has a line on the chart: a resume has none, the pause says how long."""
    applied = event.outcome == "applied" and event.step is not None
    return applied and event.command not in ("checkpoint", "resume")
