"""What every run on the chart of `sftui compare` says at one place of the x axis.

The view counts its places in updates of one run (`Overlay.base`); here each run is read at its
own updates of that place.
"""

from __future__ import annotations

import math

import numpy as np

from sftui.compare.numbers import LOSS, number_words
from sftui.compare.overlaid_runs import Contender, Overlay
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Role
from sftui.state.means import Line
from sftui.state.records import Validation
from sftui.state.series import Doubles, nearest_row
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.chart_panels import title_of, unit_of

Marks = tuple[Doubles, Doubles]
_NONE: Marks = (np.empty(0), np.empty(0))


class OverlayReading:
    """Reads the runs of an overlay as its view shows them."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.view = overlay.view
        self._validations: dict[str, tuple[tuple[int, str], Marks]] = {}

    def line(self, contender: Contender | None = None) -> Line:
        """Of one run, by default the pinned one, for the part in sight."""
        contender, low, high = contender or self.overlay.reference, -math.inf, math.inf
        if self.view.viewport.part is not None:
            low, high = (self.own(contender, at) for at in self.view.viewport.part)
        return contender.line(self.view.smoothing_share, low, high)

    def own(self, contender: Contender, at: float) -> float:
        """The updates of a run where the view, which counts in those of `base`, has a place."""
        axis, base = self.overlay.axis()[0], self.overlay.base.letter
        # There and back again loses the last digits.
        if contender.letter == base or contender.letter not in axis.scales:
            return at
        return axis.back(contender.letter, axis.to(base, at))

    def comparable_validations(self, contender: Contender) -> list[Validation]:
        """Those in the unit of the pinned run's: bits a byte cannot share an axis with nats."""
        metric = self._unit()
        return [v for v in contender.state.validation_list() if not metric or v.metric == metric]

    def marked(self, contender: Contender) -> Marks:
        """Updates, rising, and heights of what is marked point by point."""
        if self.overlay.number != LOSS:
            marked = contender.marked
            return _NONE if marked is None else (marked.x, marked.y.astype(np.float64))
        # A record is made when it is read: of many thousands not for every frame.
        key = (contender.state.validations.version, self._unit())
        known = self._validations.get(contender.letter)
        if known is None or known[0] != key:
            found = [(float(v.step), v.loss) for v in self.comparable_validations(contender)]
            steps, losses = np.array(found, dtype=np.float64).reshape(-1, 2).T
            known = self._validations[contender.letter] = key, (steps, losses)
        return known[1]

    def _unit(self) -> str:
        """Of the pinned run's newest validation; empty without one."""
        validations = self.overlay.reference.state.validation_list()
        return validations[-1].metric if validations else ""

    def values(self, at: float, drawn: list[Contender]) -> list[tuple[str, str, str, Role]]:
        """Name, value, distance from the pinned run's value, colour; in the usual order.

        Every run is read at the same place of the axis; where that is another update of each, its
        own is told.
        """
        axis, reference = self.overlay.axis()[0], self.overlay.reference
        by_steps = axis.name == "step"
        place = axis.to(self.overlay.base.letter, at)
        where = fmt.count(round(at)) if by_steps else axis.form(place)
        lines = [(axis.name, where, "", Role.TEXT)]
        base = read(self.line(reference), self.own(reference, at)) if reference in drawn else None
        ordered = sorted(drawn, key=lambda c: c.letter)
        for contender in ordered:
            found = read(self.line(contender), self.own(contender, at))
            name = contender.letter
            if found is not None and not (by_steps and found[0] == round(at)):
                name += f" @{fmt.count(round(found[0]))}"
            value, change = found[1] if found is not None else None, ""
            if value is not None and base is not None and contender is not reference:
                change = self._change(value, base[1])
            shown = self.form(value) if value is not None else "–"
            lines.append((name, shown, change, contender.role))
        for contender in ordered:
            if contender.marked is contender.raw:
                # Its points are those of the curve, which was read above.
                continue
            steps, heights = self.marked(contender)
            last = int(np.searchsorted(steps, self.own(contender, at), side="right")) - 1
            if last >= 0:
                words = f"{contender.mark} @{fmt.count(round(steps[last]))}"
                lines.append((words, self.form(float(heights[last])), "", contender.role))
        return lines

    def form(self, value: float | None) -> str:
        """A height in words."""
        return number_words(self.overlay.number, value)

    def _change(self, value: float, base: float | None) -> str:
        number = self.overlay.number
        if base is None:
            return ""
        by = value - base
        if number == LOSS or not math.isfinite(by):
            return fmt.change(by)
        if unit_of(number).words == "%":
            return fmt.change(unit_of(number).factor * by, 1)
        return f"{'▲' if by > 0 else '▼' if by else '='} {self.form(abs(by))}"

    def copied(self) -> list[str]:
        """Every run at the crosshair, or at its newest update, a line each."""
        at, what = self.view.viewport.cursor, title_of(self.overlay.number)
        lines = []
        for contender in self.overlay.drawn:
            step = float(contender.raw.x[-1]) if at is None else self.own(contender, at)
            found = read(self.line(contender), step)
            step, value = found or (step, None)
            name = f"{contender.letter} {clean(contender.title, 80)}"
            lines.append(f"{name}: {what} {self.form(value)} at step {fmt.count(round(step))}")
        return lines


def end_of(contender: Contender) -> float:
    """The place in its updates where a run ends: on the weights of its newest update."""
    return float(contender.raw.x[-1]) + 1


def read(line: Line, at: float) -> tuple[float, float | None] | None:
    """The point nearest to a place, and the height of the line there; None outside the run."""
    x = line.source.x
    if not len(x) or at < x[0] - 0.5 or at > x[-1] + 0.5:
        return None
    step = float(x[nearest_row(x, at)])
    return step, line.at(step)


def one_a_column(plot: Plot, marks: Marks) -> list[tuple[int, float]]:
    """Columns and heights of marks; of more than there are columns the newest of each, since
    beside each other they would hide the curves."""
    columns, heights = plot.x_cells(marks[0]), marks[1]
    seen = (columns >= plot.col) & (columns < plot.col + plot.width) & np.isfinite(heights)
    columns, heights = columns[seen], heights[seen]
    if len(columns) > plot.width:
        last = np.append(columns[1:] != columns[:-1], True)
        columns, heights = columns[last], heights[last]
    return list(zip(columns.tolist(), heights.tolist(), strict=True))
