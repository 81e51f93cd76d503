"""What every run on the chart of `sftui compare` says at one place of the x axis.

The view counts its places in updates of one run (`Overlay.base`); here each run is read at its
own updates of that place.
"""

from __future__ import annotations

import math

from sftui.compare.numbers import LOSS, number_words
from sftui.compare.overlaid_runs import Contender, Overlay
from sftui.drawing.roles import Role
from sftui.state.means import Line
from sftui.state.records import Validation
from sftui.state.series import nearest_row
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.chart_panels import title_of, unit_of


class OverlayReading:
    """Reads the runs of an overlay as its view shows them."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.view = overlay.view

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
        ours = self.overlay.reference.state.validation_list()
        found = contender.state.validation_list()
        return [v for v in found if not ours or v.metric == ours[-1].metric]

    def marked(self, contender: Contender) -> list[tuple[float, float]]:
        """Updates and heights of what is marked point by point."""
        if self.overlay.number == LOSS:
            return [(float(v.step), v.loss) for v in self.comparable_validations(contender)]
        marked = contender.marked
        return (
            [] if marked is None else list(zip(marked.x.tolist(), marked.y.tolist(), strict=True))
        )

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
            if found is not None and not by_steps:
                name += f" @{fmt.count(round(found[0]))}"
            value, change = found[1] if found is not None else None, ""
            if value is not None and base is not None and contender is not reference:
                change = self._change(value, base[1])
            shown = self.form(value) if value is not None else "–"
            lines.append((name, shown, change, contender.role))
        for contender in ordered:
            own = self.own(contender, at)
            before = [mark for mark in self.marked(contender) if mark[0] <= own]
            if before:
                words = f"{contender.mark} @{fmt.count(round(before[-1][0]))}"
                lines.append((words, self.form(before[-1][1]), "", contender.role))
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
