"""How much two runs of one recipe differ that have other seeds: what a comparison of single runs
cannot know, unless several of the runs at hand differ in nothing else."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from sftui.compare.differences import told
from sftui.compare.pairing import Side
from sftui.statistics.scored import accuracy_of
from sftui.text.clean import clean

NOT_OF_A_RECIPE = frozenset({"run", "seed"})
"""Settings in which two runs of one recipe may differ."""


def recipe(side: Side) -> tuple[tuple[str, str], ...]:
    """What decides a run but its seed; empty where the run tells no setting."""
    return tuple(
        sorted(
            (name, repr(v)) for name, v in told(side.state).items() if name not in NOT_OF_A_RECIPE
        )
    )


def seed_spread(sides: Sequence[Side]) -> Mapping[str, tuple[float, int]]:
    """Task -> (standard deviation over seeds of its last accuracy, runs it comes from).

    Pooled over the recipes of which there are two runs or more with other seeds.
    """
    groups: dict[Any, list[Side]] = {}
    for side in sides:
        if key := recipe(side):
            groups.setdefault(key, []).append(side)
    sums: dict[str, tuple[float, int, int]] = {}
    for group in groups.values():
        if len({told(side.state).get("seed") for side in group}) < len(group):
            continue  # the same seed twice is one run twice
        for task in group[0].state.evals:
            ends = [end for side in group if (end := last_accuracy(side, task)) is not None]
            if len(ends) > 1:
                total, freedom, runs = sums.get(task, (0.0, 0, 0))
                spread = statistics.variance(ends) * (len(ends) - 1)
                sums[task] = (total + spread, freedom + len(ends) - 1, runs + len(ends))
    return {
        task: (math.sqrt(total / freedom), runs) for task, (total, freedom, runs) in sums.items()
    }


def last_accuracy(side: Side, task: str) -> float | None:
    """Of the last evaluation of a task; None without one."""
    results = side.state.evals.get(task)
    return accuracy_of(results[max(results)]) if results else None


def seed_lines(sides: Sequence[Side]) -> str:
    """One line: what the comparison of single runs leaves open."""
    found = seed_spread(sides)
    head = "A verdict is of these checkpoints, not of recipes: "
    if not found:
        return (
            head + "how much two seeds of one recipe differ is not known from these runs "
            "(sftui compare A1,A2,A3 B1,B2,B3 tests recipes)."
        )
    parts = ", ".join(
        f"{100 * math.sqrt(2) * deviation:.1f} points on {clean(task, 40)} ({runs} runs)"
        for task, (deviation, runs) in found.items()
    )
    return f"{head}two seeds of one recipe differ by about {parts}."
