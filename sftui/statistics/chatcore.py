"""ChatCORE: nanochat's one number over five tasks, with an interval and a paired difference.

Each task's accuracy is centred, (a - c) / (1 - c), with c = 1/4 for the three tasks answered by
letter and 0 for the two written out; ChatCORE is the mean of the five, ChatCORE_cat of the three.
0 is what guessing gives, 1 is all right; below 0 is worse than guessing.

It is a weighted sum of five independent proportions. Its interval takes the distances to the
Jeffreys limits of each and adds the squares (Zou and Donner 2008, "MOVER"). With 24 problems of
a task and few of them right it holds the truth in 94 to 97 of 100 simulated evaluations; the
delta method, whose error of a task without a right answer is 0, in 82 to 95.
"""

# n items of a task, w its weight in the sum: 1 / (tasks (1 - c)).

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sftui.statistics.accuracy import ALPHA, Z95, special_functions
from sftui.statistics.paired_tests import Comparison

NAME, NAME_CAT = "ChatCORE", "ChatCORE_cat"

CHANCE = {"ARC-Easy": 0.25, "ARC-Challenge": 0.25, "MMLU": 0.25, "GSM8K": 0.0, "HumanEval": 0.0}
"""What is subtracted from each task's accuracy; nanochat's numbers, whatever the rows offer."""
LETTERS = ("ARC-Easy", "ARC-Challenge", "MMLU")

_DRAWS = 20_000
"""Of the sign-flip test: p is known to 0.0015 at 0.05."""

Counts = Mapping[str, tuple[int, int]]
"""Right answers and questions of each task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCore:
    """One of the two numbers."""

    name: str
    value: float
    low: float
    """95 % interval, of the questions as a sample of such questions."""
    high: float
    tasks: tuple[str, ...]


def jeffreys(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion: quantiles of Beta(k + 1/2, n - k + 1/2); 0 of none right."""
    inverse = special_functions().betaincinv
    a, b = right + 0.5, total - right + 0.5
    low = 0.0 if right == 0 else float(inverse(a, b, ALPHA / 2))
    high = 1.0 if right == total else float(inverse(a, b, 1 - ALPHA / 2))
    return low, high


def names_of(counts: Counts) -> dict[str, tuple[str, ...]]:
    """Which of the two numbers these tasks give, with the tasks of each."""
    wanted = {NAME: tuple(CHANCE), NAME_CAT: LETTERS}
    return {
        name: tasks
        for name, tasks in wanted.items()
        if all(task in counts and counts[task][1] > 0 for task in tasks)
    }


def chatcore(counts: Counts) -> list[ChatCore]:
    """ChatCORE and ChatCORE_cat, as far as their tasks were all evaluated."""
    found = []
    for name, tasks in names_of(counts).items():
        value = below = above = 0.0
        for task in tasks:
            right, total = counts[task]
            weight, rate = _weight(task, tasks), right / total
            low, high = jeffreys(right, total)
            value += weight * (rate - CHANCE[task])
            below += (weight * (rate - low)) ** 2
            above += (weight * (high - rate)) ** 2
        found.append(
            ChatCore(
                name=name,
                value=value,
                low=value - math.sqrt(below),
                high=value + math.sqrt(above),
                tasks=tasks,
            )
        )
    return found


def chatcore_change(
    flips: Mapping[str, tuple[int, int, int]], *, one_letter: tuple[str, float] | None = None
) -> dict[str, Comparison]:
    """The change of both numbers from (gained, lost, questions) of each task.

    Under "nothing changed" every question that flipped could as well have flipped the other way,
    so the signs of all flips are drawn anew; a gain weighs as its task does. `one_letter` is the
    collapse of one of the tasks, as in `Evaluation`.
    """
    found = {}
    counts = {task: (0, total) for task, (_, _, total) in flips.items()}
    for name, tasks in names_of(counts).items():
        gained, lost, totals = (np.array([flips[task][i] for task in tasks]) for i in range(3))
        weights = np.array([_weight(task, tasks) for task in tasks]) / totals
        difference = float(weights @ (gained - lost))
        # Variance of a mean of -1, 0, 1 over n questions, of each task.
        moved = gained + lost - (gained - lost) ** 2 / totals
        error = math.sqrt(float((weights**2) @ moved))
        found[name] = Comparison(
            kind="chatcore",
            difference=difference,
            error=error,
            low=difference - Z95 * error,
            high=difference + Z95 * error,
            p=_p_sign_flips(weights, gained + lost, difference),
            gains=int(gained.sum()),
            losses=int(lost.sum()),
            one_letter=one_letter,
        )
    return found


def _p_sign_flips(
    weights: NDArray[np.float64], flipped: NDArray[np.int64], difference: float
) -> float:
    """Share of draws of the signs that are as far from 0; ties count half (mid-p)."""
    if not flipped.sum():
        return 1.0
    # The same seed for every call: a verdict does not change by looking again.
    draws = np.random.default_rng(42).binomial(flipped, 0.5, (_DRAWS, len(flipped)))
    sums = np.abs((2 * draws - flipped) @ weights)
    seen, slack = abs(difference), 1e-12
    beyond = np.count_nonzero(sums > seen + slack)
    ties = np.count_nonzero(np.abs(sums - seen) <= slack)
    return float((beyond + 0.5 * ties + 0.5) / (_DRAWS + 1))


def _weight(task: str, tasks: tuple[str, ...]) -> float:
    return 1 / (len(tasks) * (1 - CHANCE[task]))
