"""A run as one JSON object for scripts: `show --json`, and each side of `compare --json`.

It is a contract (`schema` 1): fields may be added, never changed. Numbers that are
unknown, or are no numbers, are null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine import events as ev
from sftui.sources.snapshot import Snapshot
from sftui.state.run_state import RunState
from sftui.state.weight_change import weight_changes
from sftui.statistics import accuracy, chatcore_looks
from sftui.statistics.families import BASELINE, PREVIOUS, START
from sftui.statistics.other_stages import from_other_stages
from sftui.statistics.paired_tests import Judged
from sftui.statistics.scores import Scoreboard, Scores, Yardstick

SCHEMA = 1

_MOST_SPREAD = 100
"""Items of a list that are written over several lines each."""

MOST_STAGES = 1000
"""Of a log; a script that restarts every few lines makes tens of thousands, of fifty lines each."""


def as_json(shot: Snapshot, baseline: Yardstick | None = None) -> str:
    """The machine-readable form, indented."""
    return strict(to_dict(shot, baseline))


def strict(value: object) -> str:
    """Indented JSON that any program can read: a number that is none is null.

    The one door for JSON that a command prints: settings and numbers come from any log.
    """
    return _indented(value, "\n")


def _indented(value: Any, margin: str) -> str:
    """As `json.dumps` with an indent of two, but an item of a long list is one line.

    With an indent `json` writes in Python, ten times as slowly, and nobody reads a list of
    10,000 results by eye.
    """
    inner = margin + "  "
    if isinstance(value, Mapping) and value:
        lines = [f"{_line(str(name))}: {_indented(item, inner)}" for name, item in value.items()]
        return "{" + inner + f",{inner}".join(lines) + margin + "}"
    if isinstance(value, list | tuple) and value:
        write = _one_line if len(value) > _MOST_SPREAD else lambda item: _indented(item, inner)
        return "[" + inner + f",{inner}".join(map(write, value)) + margin + "]"
    return _one_line(value)


def _one_line(value: object) -> str:
    try:
        return _line(value)
    except (ValueError, TypeError):  # a number that is none, or a mapping that is no dict
        return _line(_finite(value))


_line = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def to_dict(shot: Snapshot, baseline: Yardstick | None = None) -> dict[str, Any]:
    """The object `show --json` prints."""
    folder = shot.run.path if shot.run is not None else None
    told = shot.told(MOST_STAGES)
    left_out = len(shot.stages) - len(told)
    return {
        "schema": SCHEMA,
        "source": {"path": str(shot.path), "format": shot.format},
        "status": shot.status,
        "stages": [
            {"number": number + 1}
            | stage(
                shot.stages[number].state, shot.stages[number].name, Scoreboard(folder, baseline)
            )
            | _from_other_stages(shot, number)
            for number in told
        ],
        "stages_left_out": left_out,
        "lines": {
            "total": shot.lines_total,
            "read": shot.lines_total - shot.lines_unrecognised,
            "unrecognised": shot.lines_unrecognised,
        }
        | (_leftovers(shot) if shot.run is None else {}),
    }


def _from_other_stages(shot: Snapshot, number: int) -> dict[str, Any]:
    """The last results of a stage against its start, where other stages of the log hold that."""
    found = from_other_stages(shot.stages, number, Scoreboard())
    told = [
        {"task": each.task, "start_stage": each.stages[0], "end_stage": each.stages[1]}
        | {"step": each.last, **(_against(each.judged) if each.judged is not None else {})}
        for each in found.values()
    ]
    return {"from_start": told} if told else {}


def _leftovers(shot: Snapshot) -> dict[str, Any]:
    """The lines of a log that held numbers and gave none."""
    shapes = shot.leftovers.shapes.most_common(3)
    return {
        "with_numbers": shot.leftovers.with_numbers,
        "shapes": [{"shape": shape, "count": count} for shape, count in shapes],
    }


def stage(state: RunState, name: str, board: Scoreboard | None = None) -> dict[str, Any]:
    """One stage of a run or log; steps are those the log prints."""
    board = board or Scoreboard()
    scores = board.scores(state)
    steps = state.steps.x
    settings: Mapping[str, Any] = state.run.settings if state.run else {}
    planned = state.run.num_iterations if state.run else None
    return {
        "name": name,
        "steps": {
            "first": int(steps[0]) if len(steps) else None,
            "last": int(steps[-1]) if len(steps) else None,
            "logged": len(steps),
            "planned": planned,
        },
        "train_loss": _spread(state),
        "val": [
            {"step": v.step, "metric": v.metric, "value": _number(v.loss)}
            | ({"set": v.set_name} if v.set_name else {})
            for results in state.validations_by_set().values()
            for v in results
        ],
        "evals": [
            _evaluation(step, result, scores)
            for task, by_step in state.evals.items()
            for step, result in sorted(by_step.items())
        ],
        "chatcore": chatcore_looks.look_dicts(board, state),
        "checkpoints": [
            {"step": row.step, "path": row.path, "kind": row.kind}
            for row in sorted(state.checkpoints.values(), key=lambda row: row.step)
            if not row.removed
        ],
        "controls": [
            {
                "step": control.step,
                "command": control.command,
                "outcome": control.outcome,
                "reason": control.reason or None,
                "author": control.author or None,
                "argument": control.argument,
                "time": control.stamp.t,
            }
            for control in state.controls
        ],
        "alarms": [
            {
                "step": alarm.event.step,
                "kind": alarm.event.kind,
                "severity": alarm.event.severity,
                "text": alarm.event.text or None,
                "count": alarm.count,
                "active": alarm.active,
            }
            for alarm in state.alarms.values()
        ],
        "weights": [
            {
                "group": each.group,
                "step": each.step,
                "update_ratio": {
                    "first": _number(each.first_ratio),
                    "last": _number(each.last_ratio),
                },
                "distance": _number(each.distance),
            }
            for each in weight_changes(state)
        ],
        "settings": dict(settings),
    }


def _spread(state: RunState) -> dict[str, Any]:
    values = np.asarray(state.step_series(state.loss_name).y, dtype=np.float64)
    finite = values[np.isfinite(values)]
    known = len(finite) > 0
    return {
        "count": len(values),
        "first": _number(values[0]) if len(values) else None,
        "last": _number(values[-1]) if len(values) else None,
        "min": _number(finite.min()) if known else None,
        "max": _number(finite.max()) if known else None,
        "mean": _number(finite.mean()) if known else None,
        "nonfinite": int(len(values) - len(finite)),
        "kind": state.loss_name,
    }


def _evaluation(step: int, result: ev.EvalFinished, scores: Scores) -> dict[str, Any]:
    interval = None
    if result.correct is not None and result.total:
        interval = [round(bound, 6) for bound in accuracy.wilson(result.correct, result.total)]
    return {
        "step": step,
        "task": result.task,
        "accuracy": _number(result.accuracy),
        "correct": result.correct,
        "total": result.total,
        "chance": _number(result.chance),
        "interval": interval,
        "against": {
            name: _against(judged)
            for name in (START, PREVIOUS, BASELINE)
            if (judged := scores.of(result.task, step, name)) is not None
        },
        "probability": probability_dict(scores.gold.get((result.task, step))),
    }


def probability_dict(judged: Judged | None) -> dict[str, Any] | None:
    """The change of the probability of the right letter; None where it is not known."""
    if judged is None:
        return None
    return _judged(judged)


def _against(judged: Judged) -> dict[str, Any]:
    found = judged.comparison
    return _judged(judged) | {
        "gains": found.gains,
        "losses": found.losses,
        "kind": found.kind,
        "held_by": judged.held_by or None,
        "was_clear": judged.was_clear,
    }


def _judged(judged: Judged) -> dict[str, Any]:
    """What every difference has: points, interval, both p, verdict."""
    found = judged.comparison
    return {
        "points": _number(found.points),
        "interval": [_number(100 * found.low), _number(100 * found.high)],
        "p": _number(found.p),
        "p_adjusted": _number(judged.p_adjusted),
        "verdict": judged.verdict,
    }


def _number(value: Any) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(value)
