"""How far the weights moved, by parameter group, from what the run measured.

It says whether the learning rates were too low, which the rates alone do not: weights
within a thousandth of where they began were hardly trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sftui.state.run_state import RunState

RATIO, DISTANCE = "train/update_ratio/", "train/distance/"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightChange:
    """One parameter group; fractions of a norm, None where not measured."""

    group: str
    step: int
    """Update of the newest measurement."""
    first_ratio: float | None
    """||update|| / ||weights|| of the first update that was measured."""
    last_ratio: float | None
    distance: float | None
    """||weights - start|| / ||start|| at `step`."""


def weight_changes(state: RunState) -> list[WeightChange]:
    """One entry a group, the one that moved most first; empty where nothing was measured."""
    found = []
    for name, table in state.metrics.items():
        if not name.startswith(RATIO) or not len(table):
            continue
        group = name.removeprefix(RATIO)
        known = [value for value in table.column(name).tolist() if math.isfinite(value)]
        far = state.metrics.get(DISTANCE + group)
        found.append(
            WeightChange(
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


def sentence(found: Sequence[WeightChange]) -> str:
    """All groups in one line; empty without any."""
    if not found:
        return ""
    parts = [
        f"{each.group} {share(each.distance)} from the start"
        f" (first update {share(each.first_ratio)}, newest {share(each.last_ratio)})"
        for each in found
    ]
    return f"weights moved: {'; '.join(parts)}"
