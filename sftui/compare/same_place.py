"""What several runs had at one place of a shared axis: the furthest that all of them reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sftui.compare.numbers import LOSS, number_of
from sftui.compare.pairing import Comparison, Side
from sftui.compare.shared_axis import SharedAxis
from sftui.state.means import Means, line
from sftui.state.run_state import RunState
from sftui.state.series import Series, nearest_row
from sftui.view.view import SMOOTHING

Runs = Sequence[tuple[str, Side]]
"""Letter and run."""


@dataclass(frozen=True, slots=True)
class Look:
    """How printed curves are looked at."""

    axis: SharedAxis
    number: str = LOSS
    """As `numbers` calls it."""

    def series(self, state: RunState) -> Series:
        """What is drawn of a run."""
        if self.number == LOSS:
            return state.step_series(state.loss_name)
        return number_of(state, self.number).series


@dataclass(frozen=True, slots=True)
class SamePlace:
    """A place of the axis, and what each run had there."""

    at: float
    values: list[tuple[str, int, float | None]]
    """Letter, the run's own step, and the height there of the line that the screen draws."""


def runs_of(found: Sequence[Comparison]) -> list[tuple[str, Side]]:
    """All runs of a comparison, the one compared with first."""
    return [(found[0].letters[0], found[0].a), *((pair.letters[1], pair.b) for pair in found)]


def same_place(look: Look, runs: Runs) -> SamePlace | None:
    """At the furthest place that all reached; None where a run has no point, or they never meet."""
    found = {letter: _known(look.series(side.state)) for letter, side in runs}
    if any(ends is None for ends in found.values()):
        return None
    spans = {letter: ends for letter, ends in found.items() if ends is not None}
    at = min(look.axis.to(letter, last) for letter, (_, last) in spans.items())
    values = []
    for letter, side in runs:
        series, step = look.series(side.state), look.axis.back(letter, at)
        if step < spans[letter][0] - 0.5:
            return None
        row = float(series.x[nearest_row(series.x, step)])
        values.append((letter, round(row), line(Means(series), SMOOTHING[0]).at(row)))
    return SamePlace(at, values)


def _known(series: Series) -> tuple[float, float] | None:
    """First and last place with a finite value."""
    known = [float(x) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(y)]
    return (known[0], known[-1]) if known else None
