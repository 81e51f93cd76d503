"""Training and validation losses of several runs on one pair of axes.

The pinned run is drawn last, thick, over its raw losses; of the others the average alone.
Every curve ends in its run's letter, and every run's validations have a mark of their own,
so that no colour must be told from another.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sftui.compare.numbers import LOSS
from sftui.compare.overlay_reading import OverlayReading, end_of, one_a_column, read
from sftui.drawing.canvas import BRAILLE, Grid, Span, bridge, ratchet, text_width
from sftui.drawing.chart_data import ChartData, curve_of, x_name
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.y_range import Limits, around, extremes, eye_range
from sftui.logbook.event_lines import command_words
from sftui.state.catalog import VALIDATION
from sftui.state.series import Doubles, Floats
from sftui.text.clean import clean
from sftui.view.chart_panels import place_of, title_of, unit_of
from sftui.view.viewport import Extent
from sftui.widgets.zoom_chart import ZoomChart, line_words

if TYPE_CHECKING:
    from sftui.compare.overlaid_runs import Contender, Overlay
    from sftui.state.run_state import RunState

_LOSSES = place_of("nll", "nll")[0]
"""Groups of numbers up to which what a run begins with says least."""
_FEW_MARKS = 4
"""Validations from which on the first does not decide the range."""
_TOP = 92.0
"""Percentile of averages and validations that is in sight; what a run begins with may not be."""


class OverlayChart(ZoomChart):
    """The chart of `sftui compare`, over the runs of an `Overlay`."""

    def __init__(self, state: RunState, overlay: Overlay, *, id: str) -> None:
        super().__init__(state, overlay.view, id=id)
        self.overlay = overlay
        self.reading = OverlayReading(overlay)

    def paint(self, grid: Grid) -> None:
        framed = grid.height >= 5 and grid.width >= 20
        drawn = self.overlay.drawn
        # The pinned one lies on top of the others.
        drawn.sort(key=lambda c: c is self.overlay.reference)
        if drawn:
            self._chart(grid, drawn, 1 if framed else 0)
        else:
            self.plot = None
            number = "training loss" if self.overlay.number == LOSS else self._title()
            words = "reading…" if self.overlay.loading else f"no {number} in what is shown"
            row = grid.height // 2
            grid.text(row, max(1, (grid.width - text_width(words)) // 2), words, style(Role.DIM))
        if framed:
            grid.frame(self._legend(), self._notes(grid.width), border=self.border)

    # ---- frame -----------------------------------------------------------------------------

    def _legend(self) -> list[Span]:
        overlay, dim = self.overlay, style(Role.DIM)
        spans: list[Span] = [(self._title(), style(Role.TITLE, bold=True))]
        for contender in overlay.shown:
            role = style(contender.role, bold=contender is overlay.reference)
            spans += [(f"  {contender.letter} ", role), (f"━ {contender.mark}", role)]
        if len(overlay.reference.raw) and self.reading.line().window:
            spans.append((f"  ⣿ raw of {overlay.reference.letter}", style(Role.FAINT)))
        if overlay.number == LOSS or any(c.marked is not c.raw and c.marked for c in overlay.shown):
            marks = " ".join(dict.fromkeys(contender.mark for contender in overlay.shown))
            spans.append((f"  {marks} val", dim))
        return spans

    def _title(self) -> str:
        number = self.overlay.number
        words = unit_of(number).words
        return title_of(number) + (f", {words}" if words else "")

    def _notes(self, width: int) -> list[Span]:
        view, faint = self.view, style(Role.FAINT)
        words = ["log" if view.log_y else "linear"]
        words.append(line_words(self.reading.line()))
        axis, reason = self.overlay.axis()
        if view.viewport.part is not None:
            base = self.overlay.base.letter
            low, high = (axis.form(axis.to(base, at)) for at in view.viewport.part)
            words.append(f"x: {axis.words} {low} to {high}")
        elif axis.name != "step":
            words.append(f"x: {axis.words}")
        if reason and not self.overlay.loading:
            words.append(f"x: steps ({reason.rstrip('.')})")
        without = [c.letter for c in self.overlay.shown if not len(c.raw) and not c.loading]
        if without and len(without) < len(self.overlay.shown):
            words.append(f"{', '.join(without)}: none of it")
        hidden = len(self.overlay.contenders) - len(self.overlay.shown)
        if hidden:
            words.append(f"{hidden} hidden")
        while len(words) > 1 and len(" · ".join(words)) > width - 6:
            del words[0]
        return [(" · ".join(words), faint)]

    # ---- taken away ------------------------------------------------------------------------

    def copied(self) -> str:
        """Every shown run at the crosshair, or at its newest update, a line each."""
        return "\n".join(self.reading.copied()) or super().copied()

    def chart_data(self) -> ChartData | None:
        plot = self.plot
        drawn, number = self.overlay.drawn, self.overlay.number
        if plot is None or not drawn:
            return None
        curves = []
        for contender in drawn:
            letter, state, own = contender.letter, contender.state, self._plot_of(contender, plot)
            sight, scale = (own.x_low, own.x_high), own.x_scale
            curves.append(
                curve_of(
                    contender.raw,
                    sight,
                    scale,
                    name=f"{letter} {state.loss_name if number == LOSS else number}",
                    label=f"{letter} {clean(contender.title, 30)}",
                    place=contender.place,
                    run=letter,
                    line=self.reading.line(contender),
                )
            )
            marked, name = contender.marked, f"{letter} val {number}"
            if number == LOSS and len(self.reading.marked(contender)[0]):
                validations = state.validations
                marked, name = validations.loss, f"{letter} {VALIDATION}{validations.metric}"
            if marked is not None and marked is not contender.raw:
                curves.append(
                    curve_of(
                        marked,
                        sight,
                        scale,
                        name=name,
                        label="",
                        place=contender.place,
                        run=letter,
                        marks=True,
                    )
                )
        return ChartData(
            source="-".join(clean(c.title, 20) for c in drawn[:3]),
            title=title_of(number),
            series=f"compare-{number}",
            curves=curves,
            x_words=self.overlay.axis()[0].label,
            y_words=title_of(number),
            x_limits=plot.axis_limits,
            y_limits=plot.y_limits,
            log_y=plot.log,
            x_name=x_name(plot.x_scale),
        )

    # ---- chart -----------------------------------------------------------------------------

    def _chart(self, grid: Grid, drawn: list[Contender], edge: int) -> None:
        view = self.view
        height = grid.height - 2 * edge
        labels = height >= 6
        left = edge + 7
        # Two columns on the right for the letters at the ends.
        plot_height, width = height - (2 if labels else 1), grid.width - edge - left - 2
        if plot_height < 1 or width < 4:
            self.plot = None
            return
        scale = self.overlay.axis()[0].scales[self.overlay.base.letter]
        axis_limits, full = self._x_limits(drawn)
        self.extent = Extent(full, width, scale)
        x_low, x_high = view.viewport.limits(full)
        plot = Plot(
            grid=grid,
            row=edge,
            col=left,
            height=plot_height,
            width=width,
            x_low=x_low,
            x_high=x_high,
            y_low=0.0,
            y_high=1.0,
            log=view.log_y,
            x_scale=scale,
        )
        if view.viewport.part is None:
            plot.axis_limits = axis_limits
        plot.show(*self._y_limits(drawn, plot))
        self._y_axis(plot, edge)
        plot.draw_x_axis(edge + plot_height, labels=labels)
        reference = self.overlay.reference
        if reference in drawn and self.reading.line().window:
            low, high = bridge(*self._plot_of(reference, plot).columns(reference.raw))
            plot.band(low, high, style(Role.FAINT))
        self._curves(plot, drawn)
        self._hands(plot, drawn, self._marks(plot, drawn))
        self._letters(plot, drawn)
        self.plot = plot
        self.paint_box(grid)
        if view.viewport.cursor is not None:
            self._crosshair(plot, view.viewport.cursor, drawn)

    def _plot_of(self, contender: Contender, plot: Plot) -> Plot:
        """The plot for the updates of that run, which stand elsewhere on a shared axis."""
        scale = self.overlay.axis()[0].scales[contender.letter]
        return plot.on(scale, end_of(contender))

    def _y_axis(self, plot: Plot, edge: int) -> None:
        """Labels in the unit in which the number is written: percent for a share."""
        factor = unit_of(self.overlay.number).factor
        labels = replace(plot)
        if plot.log:
            by = math.log10(factor)
            labels.show(plot.y_low + by, plot.y_high + by)
        else:
            labels.show(plot.y_low * factor, plot.y_high * factor)
        labels.draw_y_axis(edge)

    def _curves(self, plot: Plot, drawn: list[Contender]) -> None:
        """Curves that share a cell take turns in it, so that none hides another."""
        codes, numbers = [], []
        for contender in drawn:
            pinned = contender is self.overlay.reference
            smooth = self.reading.line(contender)
            low, high = bridge(*self._plot_of(contender, plot).columns(smooth))
            codes.append(plot.dots(low, high, thick=2 if pinned else 1))
            numbers.append(style(contender.role, bold=pinned))
        there = np.stack(codes) != BRAILLE
        turn = np.arange(plot.width) % np.maximum(1, there.sum(axis=0))
        own = there & (np.cumsum(there, axis=0) - 1 == turn)
        for mine, cells, number in zip(own, codes, numbers, strict=True):
            plot.grid.overlay(plot.row, plot.col, np.where(mine, cells, BRAILLE), number)

    def _marks(self, plot: Plot, drawn: list[Contender]) -> set[tuple[int, int]]:
        """Validations; one whose cell is taken stands beside it, one above the range at the top.
        Returns their cells."""
        taken: set[tuple[int, int]] = set()
        for contender in reversed(drawn):
            number = style(contender.role, bold=contender is self.overlay.reference)
            own = self._plot_of(contender, plot)
            for col, value in one_a_column(own, self.reading.marked(contender)):
                row = plot.y_cell(value)
                char = contender.mark
                if row is None and plot.is_above(value):
                    row, char = plot.row, "▴"
                if row is None or not plot.holds_column(col):
                    continue
                beside = [c for c in (col, col + 1, col - 1) if plot.holds_column(c)]
                col = next((c for c in beside if (row, c) not in taken), col)
                taken.add((row, col))
                plot.grid.put(row, col, char, number)
        return taken

    def _hands(self, plot: Plot, drawn: list[Contender], taken: set[tuple[int, int]]) -> None:
        """`▾` on each curve where a person changed its learning rate, with the factor above: over
        no validation, and without words where there is no room for them."""
        for contender in drawn:
            smooth, number = self.reading.line(contender), style(Role.WARN, bold=True)
            own = self._plot_of(contender, plot)
            for event in contender.state.controls:
                if event.outcome != "applied" or event.command != "lr" or event.step is None:
                    continue
                found = read(smooth, event.step)
                value = found[1] if found is not None else None
                row, col = (
                    plot.y_cell(math.nan if value is None else value),
                    own.x_cell(event.step),
                )
                if row is None or not plot.holds_column(col):
                    continue
                at = _free_row(plot, row, col, 1, taken)
                if at is None:
                    continue
                taken.add((at, col))
                plot.grid.put(at, col, "▾", number)
                words = f"{contender.letter} {command_words(event)}"
                wide = text_width(words)
                start = max(plot.col, min(col + 1, plot.col + plot.width - wide))
                beside = _free_row(plot, max(plot.row, at - 1), start, wide, taken)
                if beside is not None:
                    taken |= {(beside, cell) for cell in range(start, start + wide)}
                    plot.grid.text(beside, start, words, number)

    def _letters(self, plot: Plot, drawn: list[Contender]) -> None:
        """At the right of each curve's last point in sight, moved apart where they meet."""
        taken: set[tuple[int, int]] = set()
        for contender in reversed(drawn):
            own = self._plot_of(contender, plot)
            place = self._end(contender, own)
            if place is None:
                continue
            step, value = place
            col = own.x_cell(step) + 1
            bounds = (
                (10.0**plot.y_low, 10.0**plot.y_high) if plot.log else (plot.y_low, plot.y_high)
            )
            row = plot.y_cell(min(max(value, bounds[0]), bounds[1]))
            if row is None:
                row = plot.row if value > bounds[0] else plot.row + plot.height - 1
            for by in (0, 1, -1, 2, -2, 3, -3, 4, -4):
                at = (row + by, col)
                if plot.row <= at[0] < plot.row + plot.height and at not in taken:
                    taken.add(at)
                    pinned = contender is self.overlay.reference
                    back = Back.ROW if pinned else Back.PANEL
                    number = style(contender.role, bold=True, back=back)
                    plot.grid.put(at[0], at[1], contender.letter, number)
                    break

    def _end(self, contender: Contender, plot: Plot) -> tuple[float, float] | None:
        """Step and loss where its curve ends in sight; its validations, where it has no curve."""
        raw = contender.raw
        first, last = np.searchsorted(raw.x, (plot.x_low, np.nextafter(plot.x_high, np.inf)))
        known = np.flatnonzero(np.isfinite(raw.y[first:last]))
        if len(known):
            at = float(raw.x[first + known[-1]])
            height = self.reading.line(contender).at(at)
            return None if height is None else (at, height)
        steps, heights = self.reading.marked(contender)
        seen = (steps >= plot.x_low) & (steps <= plot.x_high) & np.isfinite(heights)
        if seen.any():
            return float(steps[seen][-1]), float(heights[seen][-1])
        return None

    def _crosshair(self, plot: Plot, at: float, drawn: list[Contender]) -> None:
        """A tinted column, and a box with every run's value there."""
        col = plot.x_cell(at)
        if not plot.holds_column(col):
            return
        grid = plot.grid
        plot.tint(col, Back.CURSOR)
        lines = self.reading.values(at, drawn)
        names = max(text_width(line[0]) for line in lines)
        values = max(text_width(line[1]) for line in lines)
        changes = max(text_width(line[2]) for line in lines)
        cells = names + values + (changes + 2 if changes else 0) + 4
        start = col + 2 if col + 2 + cells <= plot.col + plot.width else col - 1 - cells
        if start < plot.col:
            return
        for i, (name, value, change, role) in enumerate(lines[: plot.height]):
            row = plot.row + i
            grid.text(row, start, " " * cells, style(Role.TEXT))
            grid.text(row, start + 1, name, style(role))
            end = start + 3 + names + values
            grid.right(row, end, [(value, style(role, bold=True))], start)
            grid.right(row, start + cells - 1, [(change, style(Role.DIM))], start)
            grid.back(row, start, start + cells, Back.ROW)

    # ---- limits ----------------------------------------------------------------------------

    def _x_limits(self, drawn: list[Contender]) -> tuple[tuple[float, float], tuple[float, float]]:
        """Of all there is, on the axis and in updates of `base`."""
        axis, base = self.overlay.axis()[0], self.overlay.base.letter
        lows, highs = [], []
        for contender in drawn:
            first, end = float(contender.raw.x[0]), end_of(contender)
            late = first > (end - 1) / 2 and first > 16
            lows.append(axis.to(contender.letter, first if late else 0.0))
            highs.append(axis.to(contender.letter, end))
        low, high = min(lows), max(highs)
        if self.overlay.moving:
            high = low + ratchet(high - low)
        return (low, high), (axis.back(base, low), axis.back(base, high))

    def _y_limits(self, drawn: list[Contender], plot: Plot) -> tuple[float, float]:
        """In axis units, around what decides of every run: its average and its validations."""
        limits: Limits | None = None
        falls = place_of(self.overlay.number, self.overlay.number)[0] <= _LOSSES
        for contender in drawn:
            own = self._plot_of(contender, plot)
            x_low, x_high = own.x_low, own.x_high
            average = self._scaled(self.reading.line(contender).sample(x_low, x_high))
            steps, heights = self.reading.marked(contender)
            marks = self._scaled(heights[(steps >= x_low) & (steps <= x_high)])
            raw = [self._scaled(contender.raw.sample(x_low, x_high))]
            reference = contender is self.overlay.reference
            everything = extremes([average, marks, *(raw if reference else [])])
            # As many of either: few validations decide as much as many updates.
            # Of several the first is that of the weights as they came.
            judged = marks[1:] if len(marks) >= _FEW_MARKS else marks
            each = np.resize(judged, len(average)) if len(judged) else judged
            decides = np.append(average, each)
            own_range = eye_range(decides, everything, top=_TOP) if falls else everything
            kept = around(own_range, np.append(marks[-1:], np.nanmin(marks) if len(marks) else []))
            if kept is not None:
                limits = kept if limits is None else around(limits, np.array(kept))
        return self.held_limits(self.overlay.number, *(limits or (0.0, 1.0)))

    def _scaled(self, values: Floats | Doubles) -> Doubles:
        """Finite values in what the y axis counts."""
        found = values[np.isfinite(values)].astype(np.float64)
        return np.log10(found[found > 0]) if self.view.log_y else found


def _free_row(
    plot: Plot, row: int, col: int, width: int, taken: set[tuple[int, int]]
) -> int | None:
    """The row in which so many cells from `col` on are free: this one, else the next above, else
    the next below; None where there is none."""
    rows = (*range(row, plot.row - 1, -1), *range(row + 1, plot.row + plot.height))
    cells = range(col, col + width)
    return next((each for each in rows if not any((each, c) in taken for c in cells)), None)
