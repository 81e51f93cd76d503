"""One look at a run: a summary and a chart for people, one JSON object for scripts.

The JSON is a contract (`schema` 1): fields may be added, never changed. Numbers
that are unknown, or are no numbers, are null.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine import events as ev
from sftui import accuracy, words
from sftui import format as fmt
from sftui.clean import clean
from sftui.readers import leftovers
from sftui.records import Validation
from sftui.scores import BASELINE, PREVIOUS, START, Scoreboard, Scores, Yardstick, score_lines
from sftui.snapshot import Snapshot
from sftui.state import RunState
from sftui.stats import Judged
from sftui.weights import sentence, travels

SCHEMA = 1


def as_json(shot: Snapshot, baseline: Yardstick | None = None) -> str:
    """The machine-readable form, indented."""
    return json.dumps(to_dict(shot, baseline), indent=2, allow_nan=False)


def to_dict(shot: Snapshot, baseline: Yardstick | None = None) -> dict[str, Any]:
    """The object `show --json` prints."""
    folder = shot.run.path if shot.run is not None else None
    return {
        "schema": SCHEMA,
        "source": {"path": str(shot.path), "format": shot.format},
        "status": shot.status,
        "stages": [
            stage(found.state, found.name, Scoreboard(folder, baseline)) for found in shot.stages
        ],
        "lines": {
            "total": shot.lines_total,
            "read": shot.lines_total - shot.lines_unrecognised,
            "unrecognised": shot.lines_unrecognised,
        }
        | (_leftovers(shot) if shot.run is None else {}),
    }


def _leftovers(shot: Snapshot) -> dict[str, Any]:
    """The lines of a log that held numbers and gave none."""
    shapes = shot.leftovers.shapes.most_common(3)
    return {
        "with_numbers": shot.leftovers.with_numbers,
        "shapes": [{"shape": shape, "count": count} for shape, count in shapes],
    }


def stage(state: RunState, name: str, board: Scoreboard | None = None) -> dict[str, Any]:
    """One stage of a run or log; steps are those the log prints."""
    scores = (board or Scoreboard()).scores(state)
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
            for each in travels(state)
        ],
        "settings": dict(settings),
    }


def as_text(
    shot: Snapshot,
    columns: int,
    lines: int,
    *,
    baseline: Yardstick | None = None,
    colour: bool = False,
) -> str:
    """A summary and a chart that fit a terminal of that size."""
    summary = summary_lines(shot, baseline)
    rows = max(8, min(22, lines - len(summary) - 2))
    chart = loss_chart(shot.state, columns, rows, colour=colour)
    return "\n".join([*summary, *(["", chart] if chart else [])])


def summary_lines(shot: Snapshot, baseline: Yardstick | None = None) -> list[str]:
    """The run in a few lines, every outside text cleaned."""
    state = shot.state
    lines = [f"{clean(shot.title, 120)}  {shot.status}: {clean(shot.evidence, 200)}"]
    if state.reason:
        lines[0] += f"  {clean(state.reason, 120)}"
    if shot.run is None:
        names = ", ".join(clean(found.name, 40) for found in shot.stages)
        this = clean(shot.stages[shot.shown].name, 40)
        lines.append(f"  {shot.format}; stages: {names}; this is {this}")
    if shot.leftovers.with_numbers:
        found = leftovers.sentence(shot.leftovers.with_numbers, shot.leftovers.shapes)
        lines.append(f"  {clean(found, 400)}")
    if state.run is not None:
        parts = []
        if state.run.source:
            parts.append(f"from {clean(state.run.source, 80)}")
        if state.run.num_parameters is not None:
            parts.append(f"{fmt.si(state.run.num_parameters)} parameters")
        if machine := words.ranks(state.run):
            parts.append(machine)
        if parts:
            lines.append("  " + ", ".join(parts))
    planned = state.planned
    of = f" of {fmt.count(planned)}" if planned is not None else ""
    parts = [f"step {fmt.count(state.done)}{of}"]
    if state.first_t is not None and state.last_t is not None:
        parts.append(f"{fmt.duration(state.last_t - state.first_t)} elapsed")
    if shot.alive and not state.ended and (eta := state.eta_seconds()) is not None:
        parts.append(f"about {fmt.duration(eta)} to go")
    lines.append("  " + ", ".join(parts))
    if shot.run is None and state.metrics and not len(state.steps):
        lines.append(f"  {words.other_numbers(state)}")
    for name, results in state.validations_by_set().items():
        lines.append(_validation_line(name, results))
    for task, by_step in state.evals.items():
        ordered = [by_step[step] for step in sorted(by_step)]
        lines.append(f"  {clean(task, 40)} {words.score(ordered[-1])} at step {ordered[-1].step}")
    board = Scoreboard(shot.run.path if shot.run is not None else None, baseline)
    lines += [f"  {line}" for line in score_lines(board, state)]
    if moved := sentence(travels(state)):
        lines.append(f"  {clean(moved, 400)}")
    kept = [row for row in state.checkpoints.values() if not row.removed]
    if kept:
        lines.append("  checkpoints " + ", ".join(clean(row.path or "", 120) for row in kept))
    return lines


def _validation_line(name: str, results: list[Validation]) -> str:
    """The first, last and best loss of one set of rows."""
    first, last = results[0], results[-1]
    of_set = f" {clean(name, 40)}" if name else ""
    line = f"  validation{of_set} {fmt.loss(first.loss)} (step {first.step})"
    if last is not first:
        line += f" -> {fmt.loss(last.loss)} (step {last.step})"
    finite = [each for each in results if math.isfinite(each.loss)]
    best = min(finite, key=lambda each: (each.loss, each.step), default=None)
    return line + (f", best {fmt.loss(best.loss)} at step {best.step}" if best else "")


def loss_chart(state: RunState, columns: int, rows: int, *, colour: bool = False) -> str:
    """Training and validation loss as plotext draws them; empty without two points.

    At most two points a column: plotext takes each through Python.
    """
    series = state.step_series(state.loss_name)
    if len(series) < 2:
        return ""
    # plotext: 0.25 s of imports that only a printed chart is worth.
    import plotext  # noqa: PLC0415

    width = max(40, min(columns, 160))
    figure = plotext.figure
    figure.clear()
    # Without this it takes the size of the terminal it believes to be in.
    figure.plot_size(width, rows)
    figure.theme("simple" if colour else "colorless")
    train = figure.signal(*_thinned(series.x, series.y, 2 * width), marker="braille")
    figure.draw(train.lines().label("train"))
    validations = [v for v in state.validation_list() if math.isfinite(v.loss)]
    if validations:
        steps, losses = [v.step for v in validations], [v.loss for v in validations]
        figure.draw(figure.signal(steps, losses, marker="o").label("validation"))
    figure.title("loss by step")
    text: str = figure.build().string(colorless=not colour)
    figure.clear()
    return text.rstrip("\n")


def _thinned(x: Any, y: Any, most: int) -> tuple[list[float], list[float]]:
    """Finite points, at most `most`: lowest and highest of each block, in order."""
    finite = np.isfinite(y)
    xs, ys = np.asarray(x)[finite], np.asarray(y)[finite]
    if len(xs) <= most:
        return xs.tolist(), ys.tolist()
    edges = np.linspace(0, len(xs), most // 2 + 1).astype(int)
    chosen: list[int] = []
    for start, end in itertools.pairwise(edges.tolist()):
        block = ys[start:end]
        chosen += sorted({start + int(block.argmin()), start + int(block.argmax())})
    return xs[chosen].tolist(), ys[chosen].tolist()


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
    }


def _against(judged: Judged) -> dict[str, Any]:
    found = judged.comparison
    return {
        "points": _number(found.points),
        "interval": [_number(100 * found.low), _number(100 * found.high)],
        "p": _number(found.p),
        "p_adjusted": _number(judged.p_adjusted),
        "gains": found.gains,
        "losses": found.losses,
        "kind": found.kind,
        "verdict": judged.verdict,
    }


def _number(value: Any) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(value)
