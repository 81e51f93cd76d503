"""Training and validation losses of several runs on one pair of axes.

The pinned run is drawn last, thick, over its raw losses; of the others the average alone.
Every curve ends in its run's letter, and every run's validations have a mark of their own,
so that no colour must be told from another.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sftui.drawing.canvas import BRAILLE, Grid, Span, bridge, ratchet, text_width
from sftui.drawing.chart_data import ChartData, curve_of, x_name, x_words
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.y_range import Limits, around, extremes, eye_range
from sftui.logbook.event_lines import command_words
from sftui.state.catalog import VALIDATION
from sftui.state.means import Line
from sftui.state.series import Doubles, Floats
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.viewport import Extent
from sftui.widgets.zoom_chart import ZoomChart, line_words, nearest_row

if TYPE_CHECKING:
    from sftui.compare.overlaid_runs import Contender, Overlay
    from sftui.state.records import Validation
    from sftui.state.run_state import RunState

_FEW_MARKS = 4
"""Validations from which on the first does not decide the range."""
_TOP = 92.0
"""Percentile of averages and validations that is in sight; what a run begins with may not be."""


class OverlayChart(ZoomChart):
    """The chart of `sftui compare`, over the runs of an `Overlay`."""

    def __init__(self, state: RunState, overlay: Overlay, *, id: str) -> None:
        super().__init__(state, overlay.view, id=id)
        self.overlay = overlay

    def paint(self, grid: Grid) -> None:
        framed = grid.height >= 5 and grid.width >= 20
        drawn = [c for c in self.overlay.shown if len(c.raw)]
        # The pinned one lies on top of the others.
        drawn.sort(key=lambda c: c is self.overlay.reference)
        if drawn:
            self._chart(grid, drawn, 1 if framed else 0)
        else:
            self.plot = None
            words = "reading…" if self.overlay.loading else "no training loss in what is shown"
            row = grid.height // 2
            grid.text(row, max(1, (grid.width - text_width(words)) // 2), words, style(Role.DIM))
        if framed:
            grid.frame(self._legend(), self._notes(grid.width), border=self.border)

    # ---- frame -----------------------------------------------------------------------------

    def _legend(self) -> list[Span]:
        overlay, dim = self.overlay, style(Role.DIM)
        spans: list[Span] = [("loss", style(Role.TITLE, bold=True))]
        for contender in overlay.shown:
            role = style(contender.role, bold=contender is overlay.reference)
            spans += [(f"  {contender.letter} ", role), (f"━ {contender.mark}", role)]
        if self._line().window:
            spans.append((f"  ⣿ raw of {overlay.reference.letter}", style(Role.FAINT)))
        spans.append(("  ● ■ … val", dim))
        return spans

    def _notes(self, width: int) -> list[Span]:
        view, faint = self.view, style(Role.FAINT)
        words = ["log" if view.log_y else "linear"]
        words.append(line_words(self._line()))
        if view.viewport.part is not None:
            low, high = view.viewport.part
            words.append(f"x: {low:,.0f} to {high:,.0f}")
        hidden = len(self.overlay.contenders) - len(self.overlay.shown)
        if hidden:
            words.append(f"{hidden} hidden")
        while len(words) > 1 and len(" · ".join(words)) > width - 6:
            del words[0]
        return [(" · ".join(words), faint)]

    def _line(self, contender: Contender | None = None) -> Line:
        """Of one run, by default the pinned one, for the part in sight."""
        low, high = self.view.viewport.part or (-math.inf, math.inf)
        return (contender or self.overlay.reference).line(self.view.smoothing_share, low, high)

    # ---- taken away ------------------------------------------------------------------------

    def copied(self) -> str:
        """Every shown run at the crosshair, or at its newest update, a line each."""
        drawn = [c for c in self.overlay.shown if len(c.raw)]
        at = self.view.viewport.cursor
        lines = []
        for contender in drawn:
            step = float(contender.raw.x[-1]) if at is None else at
            value = _value_at(self._line(contender), step)
            name = f"{contender.letter} {clean(contender.title, 80)}"
            lines.append(f"{name}: loss {fmt.loss(value)} at step {fmt.count(round(step))}")
        return "\n".join(lines) or super().copied()

    def chart_data(self) -> ChartData | None:
        plot = self.plot
        drawn = [c for c in self.overlay.shown if len(c.raw)]
        if plot is None or not drawn:
            return None
        sight, curves = (plot.x_low, plot.x_high), []
        for contender in drawn:
            letter, state = contender.letter, contender.state
            curves.append(
                curve_of(
                    contender.raw,
                    sight,
                    plot.x_scale,
                    name=f"{letter} {state.loss_name}",
                    label=f"{letter} {clean(contender.title, 30)}",
                    place=contender.place,
                    line=self._line(contender),
                )
            )
            if self.comparable_validations(contender):
                metric, series = state.validations.metric, state.validations.loss
                curves.append(
                    curve_of(
                        series,
                        sight,
                        plot.x_scale,
                        name=f"{letter} {VALIDATION}{metric}",
                        label="",
                        place=contender.place,
                        marks=True,
                    )
                )
        return ChartData(
            source="-".join(clean(c.title, 20) for c in drawn[:3]),
            title="loss",
            series="compare-loss",
            curves=curves,
            x_words=x_words(plot.x_scale),
            y_words="loss",
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
        full = self._x_limits(drawn)
        self.extent = Extent(full, width)
        x_low, x_high = view.viewport.limits(full)
        y_low, y_high = self._y_limits(drawn, x_low, x_high)
        plot = Plot(
            grid=grid,
            row=edge,
            col=left,
            height=plot_height,
            width=width,
            x_low=x_low,
            x_high=x_high,
            y_low=y_low,
            y_high=y_high,
            log=view.log_y,
        )
        plot.draw_y_axis(edge)
        plot.draw_x_axis(edge + plot_height, labels=labels)
        reference = self.overlay.reference
        if reference in drawn and self._line().window:
            low, high = bridge(*reference.raw.columns(x_low, x_high, plot.num_dots))
            plot.band(low, high, style(Role.FAINT))
        self._curves(plot, drawn)
        self._hands(plot, drawn)
        self._marks(plot, drawn)
        self._letters(plot, drawn)
        self.plot = plot
        self.paint_box(grid)
        if view.viewport.cursor is not None:
            self._crosshair(plot, view.viewport.cursor, drawn)

    def _curves(self, plot: Plot, drawn: list[Contender]) -> None:
        """Curves that share a cell take turns in it, so that none hides another."""
        codes, numbers = [], []
        for contender in drawn:
            pinned = contender is self.overlay.reference
            smooth = self._line(contender)
            low, high = bridge(*smooth.columns(plot.x_low, plot.x_high, plot.num_dots))
            codes.append(plot.dots(low, high, thick=2 if pinned else 1))
            numbers.append(style(contender.role, bold=pinned))
        there = np.stack(codes) != BRAILLE
        turn = np.arange(plot.width) % np.maximum(1, there.sum(axis=0))
        own = there & (np.cumsum(there, axis=0) - 1 == turn)
        for mine, cells, number in zip(own, codes, numbers, strict=True):
            plot.grid.overlay(plot.row, plot.col, np.where(mine, cells, BRAILLE), number)

    def _marks(self, plot: Plot, drawn: list[Contender]) -> None:
        """Validations; one whose cell is taken stands beside it, one above the range at the top."""
        taken: set[tuple[int, int]] = set()
        for contender in reversed(drawn):
            number = style(contender.role, bold=contender is self.overlay.reference)
            for validation in self.comparable_validations(contender):
                col, row = plot.x_cell(validation.step), plot.y_cell(validation.loss)
                char = contender.mark
                if row is None and plot.is_above(validation.loss):
                    row, char = plot.row, "▴"
                if row is None or not plot.holds_column(col):
                    continue
                beside = [c for c in (col, col + 1, col - 1) if plot.holds_column(c)]
                col = next((c for c in beside if (row, c) not in taken), col)
                taken.add((row, col))
                plot.grid.put(row, col, char, number)

    def _hands(self, plot: Plot, drawn: list[Contender]) -> None:
        """`▾` on each curve where a person changed its learning rate, with the factor above."""
        for contender in drawn:
            smooth, number = self._line(contender), style(Role.WARN, bold=True)
            for event in contender.state.controls:
                if event.outcome != "applied" or event.command != "lr" or event.step is None:
                    continue
                value = _value_at(smooth, event.step)
                row, col = (
                    plot.y_cell(math.nan if value is None else value),
                    plot.x_cell(event.step),
                )
                if row is None or not plot.holds_column(col):
                    continue
                plot.grid.put(row, col, "▾", number)
                words = f"{contender.letter} {command_words(event)}"
                start = min(col + 1, plot.col + plot.width - text_width(words))
                plot.grid.text(max(plot.row, row - 1), max(plot.col, start), words, number)

    def comparable_validations(self, contender: Contender) -> list[Validation]:
        """Those in the unit of the pinned run's: bits a byte cannot share an axis with nats."""
        ours = self.overlay.reference.state.validation_list()
        found = contender.state.validation_list()
        return [v for v in found if not ours or v.metric == ours[-1].metric]

    def _letters(self, plot: Plot, drawn: list[Contender]) -> None:
        """At the right of each curve's last point in sight, moved apart where they meet."""
        taken: set[tuple[int, int]] = set()
        for contender in reversed(drawn):
            place = self._end(contender, plot)
            if place is None:
                continue
            step, value = place
            col = plot.x_cell(step) + 1
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
            height = self._line(contender).at(at)
            return None if height is None else (at, height)
        for validation in reversed(self.comparable_validations(contender)):
            if plot.x_low <= validation.step <= plot.x_high and math.isfinite(validation.loss):
                return float(validation.step), validation.loss
        return None

    def _crosshair(self, plot: Plot, at: float, drawn: list[Contender]) -> None:
        """A tinted column, and a box with every run's value there."""
        col = plot.x_cell(at)
        if not plot.holds_column(col):
            return
        grid = plot.grid
        plot.tint(col, Back.CURSOR)
        lines = self._values(at, drawn)
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

    def _values(self, at: float, drawn: list[Contender]) -> list[tuple[str, str, str, Role]]:
        """Name, value, distance from the pinned run's value, colour; in the usual order."""
        step = round(at)
        lines = [("step", fmt.count(step), "", Role.TEXT)]
        reference = self.overlay.reference
        base = _value_at(self._line(reference), at)
        for contender in sorted(drawn, key=lambda c: c.letter):
            value = _value_at(self._line(contender), at)
            change = ""
            if value is not None and base is not None and contender is not reference:
                change = fmt.change(value - base)
            shown = fmt.loss(value) if value is not None else "–"
            lines.append((contender.letter, shown, change, contender.role))
        for contender in sorted(drawn, key=lambda c: c.letter):
            before = [v for v in self.comparable_validations(contender) if v.step <= at]
            if before:
                words = f"{contender.mark} @{fmt.count(before[-1].step)}"
                lines.append((words, fmt.loss(before[-1].loss), "", contender.role))
        return lines

    # ---- limits ----------------------------------------------------------------------------

    def _x_limits(self, drawn: list[Contender]) -> tuple[float, float]:
        first = min(float(c.raw.x[0]) for c in drawn)
        last = max(float(c.raw.x[-1]) for c in drawn)
        low = first if first > last / 2 and first > 16 else 0.0
        if self.overlay.moving:
            return low, low + ratchet(last - low + 1)
        return low, last + 1

    def _y_limits(self, drawn: list[Contender], x_low: float, x_high: float) -> tuple[float, float]:
        """In axis units, around what decides of every run: its average and its validations."""
        limits: Limits | None = None
        for contender in drawn:
            average = self._scaled(self._line(contender).sample(x_low, x_high))
            marks = self._scaled(np.array([
                v.loss
                for v in self.comparable_validations(contender)
                if x_low <= v.step <= x_high
            ]))  # fmt: skip
            raw = [self._scaled(contender.raw.sample(x_low, x_high))]
            reference = contender is self.overlay.reference
            everything = extremes([average, marks, *(raw if reference else [])])
            # As many of either: few validations decide as much as many updates.
            # Of several the first is that of the weights as they came.
            judged = marks[1:] if len(marks) >= _FEW_MARKS else marks
            each = np.resize(judged, len(average)) if len(judged) else judged
            own = eye_range(np.append(average, each), everything, top=_TOP)
            kept = around(own, np.append(marks[-1:], np.nanmin(marks) if len(marks) else []))
            if kept is not None:
                limits = kept if limits is None else around(limits, np.array(kept))
        return self.held_limits("", *(limits or (0.0, 1.0)))

    def _scaled(self, values: Floats | Doubles) -> Doubles:
        """Finite values in what the y axis counts."""
        found = values[np.isfinite(values)].astype(np.float64)
        return np.log10(found[found > 0]) if self.view.log_y else found


def _value_at(line: Line, at: float) -> float | None:
    """The height of a line at the point nearest to a place; None outside the run."""
    x = line.source.x
    if not len(x) or at < x[0] - 0.5 or at > x[-1] + 0.5:
        return None
    return line.at(float(x[nearest_row(x, at)]))
