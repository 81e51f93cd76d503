"""The rules of `sftui.statistics.families`, read from their definition: everything is compared and
judged from the beginning, with lists. What the product works out piece by piece must be equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from sftui.statistics.accuracy import ALPHA
from sftui.statistics.families import BASELINE, BEST, PREVIOUS, START
from sftui.statistics.paired_tests import (
    BESIDE,
    CLEAR,
    Comparison,
    Evaluation,
    Judged,
    compare_evaluations,
    judge,
    not_judged,
)
from sftui.statistics.run_scatter import accuracy_curve

Place = tuple[str, int, str]
Known = Mapping[str, Mapping[int, Evaluation]]


@dataclass(frozen=True)
class Told:
    """What a cell says."""

    comparison: Comparison
    verdict: str
    held_by: str
    p_adjusted: float
    was_clear: bool


def told(judged: Judged) -> Told:
    return Told(
        judged.comparison, judged.verdict, judged.held_by, judged.p_adjusted, judged.was_clear
    )


def cells(known: Known, baseline: Mapping[str, Evaluation] | None = None) -> dict[Place, Told]:
    """All cells of a run's evaluations, by task and step."""
    now = _judged(known, baseline or {})
    past: set[Place] = set()
    for step in sorted({step for _, step, name in now if name in (START, PREVIOUS)})[:-1]:
        then = {t: {s: e for s, e in found.items() if s <= step} for t, found in known.items()}
        past |= {
            place
            for place, judged in _judged(then, {}).items()
            if judged.verdict == CLEAR and place[2] in (START, PREVIOUS)
        }
    out = {}
    for (task, step, name), judged in now.items():
        seconds = sorted(known[task])[1:2]
        names = {START, PREVIOUS} if [step] == seconds else {name}
        was = name in (START, PREVIOUS) and any((task, step, n) in past for n in names)
        was = was and judged.verdict != CLEAR
        out[task, step, name] = Told(
            judged.comparison, judged.verdict, judged.held_by, judged.p_adjusted, was
        )
    return out


def _judged(known: Known, baseline: Mapping[str, Evaluation]) -> dict[Place, Judged]:
    places: dict[Place, tuple[str, int, int | None]] = {}
    made: dict[tuple[str, int, int | None], Comparison] = {}
    newest: dict[str, list[tuple[str, int, int | None]]] = {START: [], BASELINE: []}
    for task, found in known.items():
        steps = sorted(found)
        own = accuracy_curve([found[step] for step in steps]).scatter() if steps else None
        for i, step in enumerate(steps):
            for name, other in _others(found, steps, i, with_base=task in baseline).items():
                pair = task, step, other
                before = baseline[task] if other is None else found[other]
                asked = i == len(steps) - 1 and name in (START, BASELINE)
                beaten = own.for_headline() if own is not None and asked else own
                if pair not in made:
                    comparison = compare_evaluations(found[step], before, own=beaten)
                    if comparison is None:
                        continue
                    made[pair] = comparison
                places[task, step, name] = pair
                if asked:
                    newest[name].append(pair)
    verdicts: dict[tuple[str, int, int | None], Judged] = {}
    for pairs in newest.values():
        found_ = judge([made[p] for p in pairs], headline=True, error=ALPHA)
        verdicts |= dict(zip(pairs, found_, strict=True))
    for names in ((START, PREVIOUS), (BASELINE,)):
        family = {p: None for (_, _, name), p in places.items() if name in names}
        rest = [p for p in family if p not in newest[START] and p not in newest[BASELINE]]
        found_ = judge([made[p] for p in rest], error=BESIDE)
        verdicts |= dict(zip(rest, found_, strict=True))
    return {
        place: not_judged(made[pair], "best") if place[2] == BEST else verdicts[pair]
        for place, pair in places.items()
    }


def _others(
    found: Mapping[int, Evaluation], steps: list[int], i: int, *, with_base: bool
) -> dict[str, int | None]:
    """What the evaluation at place `i` is compared with: name -> step."""
    others: dict[str, int | None] = {}
    if i:
        best = steps[0]
        for step in steps[:i]:
            if (found[step].value or 0.0) > (found[best].value or 0.0):
                best = step
        others = {START: steps[0], PREVIOUS: steps[i - 1], BEST: best}
    return others | ({BASELINE: None} if with_base else {})


def losses(
    values: Mapping[int, float], made: Mapping[tuple[int, int], Comparison]
) -> dict[tuple[int, str], Judged]:
    """Verdicts of validation losses from their comparisons (by step and other step)."""
    steps = list(values)
    pairs = {(s, START): (s, steps[0]) for s in steps[1:]}
    pairs |= {(s, PREVIOUS): (s, before) for before, s in itertools.pairwise(steps)}
    last = (steps[-1], steps[0])
    rest = [pair for pair in dict.fromkeys(pairs.values()) if pair != last]
    verdicts = dict(zip(rest, judge([made[p] for p in rest], error=BESIDE), strict=True))
    [verdicts[last]] = judge([made[last]], headline=True, error=ALPHA)
    return {place: verdicts[pair] for place, pair in pairs.items()}
