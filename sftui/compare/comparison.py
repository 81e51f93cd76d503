"""`sftui compare A B`: what was set differently, the curves on each other, and B minus A.

Any format that is read can be compared with any other: `differences` has the settings,
`pairing` the results, `compare_text` the words, and `screens.overlay` the screen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from sftui import run_json
from sftui.compare.numbers import LOSS, find
from sftui.compare.pairing import (
    LETTERS,
    Comparison,
    Side,
    TaskPair,
    ValidationPair,
    check_number,
    of_all,
)
from sftui.compare.same_place import Look, SamePlace, runs_of, same_place
from sftui.compare.shared_axis import AxisName, SharedAxes
from sftui.sources import snapshot
from sftui.sources.reading import FOUND_OUT, Reading
from sftui.statistics import chatcore_looks
from sftui.statistics.paired_tests import Evaluation

SCHEMA = 1


def compare(a: str, b: str, runs_dir: str | Path | None = None) -> Comparison:
    """Read both and compare them.

    Raises:
        UsageError: one of them is no run and no log.
    """
    return compare_all([a, b], runs_dir)[0]


def compare_all(
    targets: Sequence[str],
    runs_dir: str | Path | None = None,
    readings: Sequence[Reading] = (),
) -> list[Comparison]:
    """Read all and compare each with the first. `readings`: how each is read, if that was said.

    Raises:
        UsageError: one of them is no run and no log, or there are more than letters.
    """
    check_number(len(targets))
    said = list(zip(targets, readings or [FOUND_OUT] * len(targets), strict=True))
    # What is named twice is read once.
    shots = {
        (target, reading): snapshot.read(target, runs_dir, reading=reading)
        for target, reading in dict.fromkeys(said)
    }
    return of_all(list(zip(LETTERS, [shots[each] for each in said], strict=False)))


def look_of(found: Sequence[Comparison], by: AxisName, metric: str | None) -> Look:
    """How the curves of these runs are looked at, as it was typed.

    Raises:
        UsageError: they do not all have that axis, or none has that number.
    """
    runs = runs_of(found)
    states = [(letter, side.state) for letter, side in runs]
    axes = SharedAxes()
    axis, reason = axes.get(by, states)
    if reason:
        there = [name for name, missing in axes.others(by, states) if not missing]
        raise UsageError(f"--by {by}: {reason} What they share: --by {', '.join(sorted(there))}.")
    return Look(axis, LOSS if metric is None else find(metric, [state for _, state in states]))


def as_json(found: Sequence[Comparison], look: Look | None = None) -> str:
    """The machine-readable form, indented; of the third run on, under `more`."""
    first, *more = map(to_dict, found)
    out = first | ({"more": more} if more else {})
    if look is not None:
        out["same_place"] = _place_dict(same_place(look, runs_of(found)), look)
    return run_json.strict(out)


def _place_dict(place: SamePlace | None, look: Look) -> dict[str, Any] | None:
    """What all runs had at the furthest place that all reached; no verdict rests on it."""
    if place is None:
        return None
    return {
        "by": look.axis.name,
        "measure": look.axis.words,
        "at": _finite(place.at),
        "metric": look.number,
        "runs": [
            {"run": letter.lower(), "step": step, "value": _finite(value)}
            for letter, step, value in place.values
        ],
    }


def to_dict(found: Comparison) -> dict[str, Any]:
    """What `compare --json` prints: fields may be added, never changed. Unknown is null."""
    return {
        "schema": SCHEMA,
        "a": _side(found.a),
        "b": _side(found.b),
        "settings": [
            {"name": name, "a": _value(ours), "b": _value(theirs)}
            for name, ours, theirs in found.settings
        ],
        "validation": _validation_dict(found.validation),
        "tasks": [_task_dict(task) for task in found.tasks],
        "chatcore": chatcore_looks.change_dicts(
            {task.task: task.b for task in found.tasks},
            {task.task: task.a for task in found.tasks},
        ),
        "only_a": found.only_a,
        "only_b": found.only_b,
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "source": {"path": str(side.path), "format": side.format},
        "status": side.status,
        "stage": run_json.stage(side.state, side.stage),
    }


def _validation_dict(pair: ValidationPair | None) -> dict[str, Any] | None:
    if pair is None:
        return None
    d = pair.difference
    change = pair.b.loss - pair.a.loss if pair.comparable else None
    return {
        "metric": pair.b.metric,
        "a": {"step": pair.a.step, "value": _finite(pair.a.loss)},
        "b": {"step": pair.b.step, "value": _finite(pair.b.loss)},
        "difference": _finite(d.mean if d is not None else change),
        "interval": [_finite(d.low), _finite(d.high)] if d is not None else None,
        "rows": d.rows if d is not None else None,
        "kind": "paired" if d is not None else "unpaired" if pair.comparable else "refused",
        "verdict": pair.judged.verdict if pair.judged is not None else None,
        "means": None if pair.means is None else [_finite(mean) for mean in pair.means],
        "reason": pair.reason or None,
    }


def _task_dict(task: TaskPair) -> dict[str, Any]:
    sides: Mapping[str, tuple[int, Evaluation]] = {
        "a": (task.step_a, task.a),
        "b": (task.step_b, task.b),
    }
    out: dict[str, Any] = {"task": task.task}
    for letter, (step, result) in sides.items():
        out[letter] = {
            "step": step,
            "correct": result.correct,
            "total": result.total,
            "accuracy": _finite(result.value),
        }
    judged = task.judged
    known = judged.comparison if judged is not None else None
    out |= {
        "points": _finite(known.points) if known is not None else None,
        "interval": None
        if known is None or known.kind == "bare"
        else [_finite(100 * known.low), _finite(100 * known.high)],
        "p": _finite(known.p) if known is not None else None,
        "p_adjusted": _finite(judged.p_adjusted) if judged is not None else None,
        "gains": known.gains if known is not None else None,
        "losses": known.losses if known is not None else None,
        "kind": known.kind if known is not None else None,
        "verdict": judged.verdict if judged is not None else None,
        "probability": run_json.probability_dict(task.gold),
        "reason": task.reason or None,
    }
    return out


def _value(value: Any) -> Any:
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
