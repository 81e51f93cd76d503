"""How far the weights went, from what the run measured: the answer to "is this rate too low?".

A learning rate alone says nothing. An update's size against the weights and the distance
from the start do: weights within a thousandth of where they began were hardly trained,
whatever the rate was called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sftui.state.run_state import RunState

RATIO, DISTANCE = "train/update_ratio/", "train/distance/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Travel:
    """One parameter group; fractions of a norm, None where not measured."""

    group: str
    step: int
    """Update of the newest measurement."""
    first_ratio: float | None
    """||update|| / ||weights|| of the first update that was measured."""
    last_ratio: float | None
    distance: float | None
    """||weights - start|| / ||start|| at `step`."""


def travels(state: RunState) -> list[Travel]:
    """By group, those that moved most first; empty for a log that does not tell."""
    found = []
    for name, table in state.metrics.items():
        if not name.startswith(RATIO) or not len(table):
            continue
        group = name.removeprefix(RATIO)
        known = [value for value in table.column(name).tolist() if math.isfinite(value)]
        far = state.metrics.get(DISTANCE + group)
        found.append(
            Travel(
                group=group,
                step=int(table.x[-1]),
                first_ratio=known[0] if known else None,
                last_ratio=known[-1] if known else None,
                distance=None if far is None else far.last(DISTANCE + group),
            )
        )
    return sorted(found, key=lambda travel: -(travel.distance or 0.0))


def share(value: float | None) -> str:
    """A fraction as a percentage of two significant digits: `0.0031 %` is as readable as `31 %`."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0 %"
    digits = max(0, 1 - math.floor(math.log10(100 * value)))
    return f"{100 * value:,.{digits}f} %"


def sentence(found: Sequence[Travel]) -> str:
    """All groups in one line; empty without any."""
    if not found:
        return ""
    parts = [
        f"{each.group} {share(each.distance)} from the start"
        f" (first update {share(each.first_ratio)}, newest {share(each.last_ratio)})"
        for each in found
    ]
    return f"weights moved: {'; '.join(parts)}"
