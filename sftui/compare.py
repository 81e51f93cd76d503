"""`sftui compare A B`: what was set differently, the curves on each other, and B minus A.

Two percentages are no comparison: results are paired question by question where both
sides stored them, and where that cannot be, the reason stands in place of a verdict that
nobody could defend. Any format that is read can be compared with any other.
"""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from engine import run_dir
from engine.errors import DataError, SftuiError
from engine.validation_rows import load_rows
from sftui import format as fmt
from sftui import show, snapshot
from sftui.canvas import ticks
from sftui.clean import clean
from sftui.loss_stats import LossDifference, compare_losses
from sftui.records import Validation
from sftui.scores import Scoreboard, sentence
from sftui.snapshot import Snapshot
from sftui.state import RunState
from sftui.stats import Evaluation, Judged, compare_evaluations, judge, why_not_paired

SCHEMA = 1

_NOT_COMPARED = frozenset({"run"})
"""Settings that only name a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFlags:
    """Two runs or logs of any format: settings, curves, and paired statistics of B minus A.

    Examples:
      sftui compare 20260102-030405-starter 20260103-040506-starter
      sftui compare run.log trainer_state.json --json
    """

    a: tyro.conf.Positional[str]
    """The one compared with: a run id, the beginning of one, a folder, or a log."""
    b: tyro.conf.Positional[str]
    """The one looked at."""
    json: bool = False
    """Print the machine-readable form."""
    runs_dir: Annotated[str | None, tyro.conf.arg(name="runs-dir")] = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPair:
    """The last evaluation of one task on both sides."""

    task: str
    step_a: int
    step_b: int
    a: Evaluation
    b: Evaluation
    judged: Judged | None
    """B minus A; None where an accuracy is unknown."""
    reason: str
    """Why it is not paired; empty when it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPair:
    """The last validation of both sides."""

    a: Validation
    b: Validation
    difference: LossDifference | None
    reason: str
    """Why the losses are not paired row by row, or not compared at all; empty when they are."""
    comparable: bool
    """Both are finite and in the same unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two snapshots side by side."""

    a: Snapshot
    b: Snapshot
    settings: list[tuple[str, Any, Any]]
    """(name, A's, B's) of those that differ; None where one side does not tell it."""
    validation: ValidationPair | None
    tasks: list[TaskPair]
    only_a: list[str]
    """Tasks that only A was asked."""
    only_b: list[str]


def compare(a: str, b: str, runs_dir: str | None = None) -> Comparison:
    """Read both and compare them.

    Raises:
        UsageError: one of them is no run and no log.
    """
    return of(snapshot.look(a, runs_dir), snapshot.look(b, runs_dir))


def of(a: Snapshot, b: Snapshot) -> Comparison:
    """The same of two that were read."""
    return Comparison(
        a=a,
        b=b,
        settings=_settings(a.state, b.state),
        validation=_validation(a, b),
        tasks=_tasks(a, b),
        only_a=[task for task in a.state.evals if task not in b.state.evals],
        only_b=[task for task in b.state.evals if task not in a.state.evals],
    )


def _settings(a: RunState, b: RunState) -> list[tuple[str, Any, Any]]:
    ours, theirs = _told(a), _told(b)
    names = [*ours, *(name for name in theirs if name not in ours)]
    return [
        (name, ours.get(name), theirs.get(name))
        for name in names
        if name not in _NOT_COMPARED and ours.get(name) != theirs.get(name)
    ]


def _told(state: RunState) -> dict[str, Any]:
    """Settings, and what decides a run besides them: its start, its ranks, its rows."""
    run = state.run
    if run is None:
        return {}
    plan = {
        "starts from": run.source,
        "ranks": run.world_size,
        "device": run.device,
        "parameters": run.num_parameters,
        "iterations": run.num_iterations,
        "rows": run.rows,
    }
    shape = ("n_layer", "n_embd", "n_head", "n_kv_head", "vocab_size", "sequence_len")
    return {
        **run.settings,
        **{name: value for name, value in plan.items() if value is not None},
        **{name: run.effective[name] for name in shape if name in run.effective},
    }


def _validation(a: Snapshot, b: Snapshot) -> ValidationPair | None:
    ours, theirs = a.state.validation_list(), b.state.validation_list()
    if not ours or not theirs:
        return None
    before, now = ours[-1], theirs[-1]
    reason, difference, comparable = "", None, True
    if now.metric != before.metric:
        comparable, reason = False, f"one is {before.metric}, the other {now.metric}"
    elif words := _other_tokens(a.state, b.state):
        comparable, reason = False, words
    elif not (math.isfinite(now.loss) and math.isfinite(before.loss)):
        comparable, reason = False, "one of them is not a finite number"
    else:
        rows_a, rows_b = _rows(a, before), _rows(b, now)
        if rows_a is None or rows_b is None:
            which = "A" if rows_a is None else "B"
            if rows_a is None and rows_b is None:
                which = "either"
            reason = f"the losses of {which} are not stored row by row"
        elif other := _other_rows(a, b):
            reason, comparable = other, False
        else:
            found = compare_losses(rows_b[0], rows_a[0], ids_now=rows_b[1], ids_before=rows_a[1])
            if isinstance(found, LossDifference):
                difference = found
            else:
                reason = found
    return ValidationPair(
        a=before, b=now, difference=difference, reason=reason, comparable=comparable
    )


def _other_tokens(a: RunState, b: RunState) -> str:
    """Losses a token say nothing of each other where the vocabularies differ."""
    sizes = [
        state.run.effective.get("vocab_size") if state.run is not None else None for state in (a, b)
    ]
    if None in sizes or sizes[0] == sizes[1]:
        return ""
    return f"vocabularies of {sizes[0]} and {sizes[1]} tokens: a token of one is none of the other"


def _rows(shot: Snapshot, validation: Validation) -> tuple[Any, list[str]] | None:
    if shot.run is None or validation.rows_file is None:
        return None
    path = run_dir.named_file(shot.run.path, validation.rows_file)
    if path is None:
        return None
    try:
        found = load_rows(path)
    except DataError:
        return None
    return found.losses, [str(row) for row in found.rows.tolist()]


def _other_rows(a: Snapshot, b: Snapshot) -> str:
    """Why row 5 of one run is not row 5 of the other; empty when it is.

    Rows are stored by number, so the data must be the same for the numbers to mean the same.
    """
    ours, theirs = _manifest(a), _manifest(b)
    digests = ours.get("tokenizer_sha256"), theirs.get("tokenizer_sha256")
    if digests[0] is None or digests[0] != digests[1]:
        return "the tokenizers differ or are not known, so a token of one is none of the other"
    first, second = (_data(shot, manifest) for shot, manifest in ((a, ours), (b, theirs)))
    differ = [name for name in first if first[name] != second[name]]
    if differ:
        return f"other validation rows may have been measured: {', '.join(differ)} differ"
    return ""


def _data(shot: Snapshot, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What decides which rows validation asks, and how long they are."""
    settings = shot.state.run.settings if shot.state.run is not None else {}
    folder = settings.get("data_dir")
    if isinstance(folder, str) and isinstance(manifest.get("cwd"), str):
        # A relative folder is another one elsewhere.
        folder = os.path.normpath(Path(manifest["cwd"]) / folder)
    return {
        "data_dir": folder,
        "max_tokens": settings.get("max_tokens"),
        "the starter's own data": settings.get("source") == "starter",
    }


def _manifest(shot: Snapshot) -> Mapping[str, Any]:
    try:
        return shot.run.read_manifest() if shot.run is not None else {}
    except SftuiError:
        return {}


def _tasks(a: Snapshot, b: Snapshot) -> list[TaskPair]:
    boards = [Scoreboard(s.run.path if s.run is not None else None) for s in (a, b)]
    found: list[tuple[str, int, int, Evaluation, Evaluation]] = []
    for task, ours in a.state.evals.items():
        theirs = b.state.evals.get(task)
        if theirs:
            step_a, step_b = max(ours), max(theirs)
            before = boards[0].evaluation(ours[step_a])
            now = boards[1].evaluation(theirs[step_b])
            found.append((task, step_a, step_b, before, now))
    comparisons = [compare_evaluations(now, before) for *_, before, now in found]
    # All that are shown together are judged together.
    judged = iter(judge([c for c in comparisons if c is not None]))
    return [
        TaskPair(
            task=task,
            step_a=step_a,
            step_b=step_b,
            a=before,
            b=now,
            judged=next(judged) if comparison is not None else None,
            reason=why_not_paired(now, before),
        )
        for (task, step_a, step_b, before, now), comparison in zip(found, comparisons, strict=True)
    ]


# ---- for people ------------------------------------------------------------------------------


def as_text(found: Comparison, columns: int, lines: int, *, colour: bool = False) -> str:
    """Settings, results and the curves, fit for a terminal of that size."""
    out = [
        *(_title(letter, shot) for letter, shot in (("A", found.a), ("B", found.b))),
        "",
        *_setting_lines(found, columns),
        "",
        *_result_lines(found),
    ]
    rows = max(8, min(22, lines - len(out) - 2))
    chart = overlay(found, columns, rows, colour=colour)
    return "\n".join([*out, *(["", chart] if chart else [])])


def _title(letter: str, shot: Snapshot) -> str:
    stage = shot.stages[shot.shown].name
    return (
        f"{letter}  {clean(shot.title, 120)}  {shot.status}, {clean(shot.format, 40)}, "
        f"{clean(stage, 40)}, {fmt.count(shot.state.updates)} updates"
    )


def _setting_lines(found: Comparison, columns: int) -> list[str]:
    if not found.settings:
        if not _told(found.a.state) and not _told(found.b.state):
            return ["settings: neither side tells any"]
        return ["settings: no difference"]
    width = min(28, max(len(clean(name, 28)) for name, _, _ in found.settings))
    each = max(12, (max(columns, 60) - width - 6) // 2)
    out = ["settings that differ:"]
    both = [
        s for s in found.settings if s[0] in _told(found.a.state) and s[0] in _told(found.b.state)
    ]
    if not both:
        out = ["settings: none that both sides tell differs"]
    for name, ours, theirs in both:
        out.append(
            f"  {clean(name, 28):<{width}}  {clean(_word(ours), each):<{each}}  "
            f"{clean(_word(theirs), each)}".rstrip()
        )
    for letter, state in (("A", found.a.state), ("B", found.b.state)):
        names = [s[0] for s in found.settings if s not in both and s[0] in _told(state)]
        if names:
            listed = clean(", ".join(names), 400)
            out += textwrap.wrap(
                f"only {letter} tells: {listed}",
                max(40, columns - 2),
                initial_indent="  ",
                subsequent_indent="    ",
            )
    return out


def _word(value: Any) -> str:
    if value is None or value == "":
        return fmt.UNKNOWN
    return f"{value:g}" if isinstance(value, float) else str(value)


def _result_lines(found: Comparison) -> list[str]:
    out = []
    pair = found.validation
    if pair is None:
        out.append("validation: not measured on both sides")
    else:
        line = (
            f"validation: A {fmt.loss(pair.a.loss)} at step {pair.a.step}, "
            f"B {fmt.loss(pair.b.loss)} at step {pair.b.step}"
        )
        if pair.difference is not None:
            d = pair.difference
            line += (
                f"; B - A {d.mean:+.4f} nats ({100 * d.relative:+.2f}%), 95% "
                f"[{d.low:+.4f}, {d.high:+.4f}], paired over {d.rows} rows"
            )
        elif pair.comparable:
            line += (
                f"; B - A {pair.b.loss - pair.a.loss:+.4f}; not paired: {clean(pair.reason, 200)}"
            )
        else:
            line += f"; not compared: {clean(pair.reason, 200)}"
        out.append(line)
    for task in found.tasks:
        name = clean(task.task, 40)
        values = (
            f"A {_score(task.a)} at step {task.step_a}, B {_score(task.b)} at step {task.step_b}"
        )
        line = f"{name}: {values}"
        if task.judged is not None:
            line += f"; B - A {sentence(task.judged)}"
        if task.reason:
            line += f"; not paired: {clean(task.reason, 200)}"
        out.append(line)
    for letter, names in (("A", found.only_a), ("B", found.only_b)):
        if names:
            listed = ", ".join(clean(name, 40) for name in names)
            out.append(f"only {letter} was asked: {listed}")
    if not found.tasks and not found.only_a and not found.only_b:
        out.append("tasks: none were evaluated")
    return out


def _score(result: Evaluation) -> str:
    text = fmt.percent(result.value)
    if result.correct is not None and result.total:
        return f"{result.correct}/{result.total} {text}"
    return text


def overlay(found: Comparison, columns: int, rows: int, *, colour: bool = False) -> str:
    """Both training losses, smoothed, and both validations on one pair of axes.

    Smoothed because two noisy curves on each other show neither; empty without points.
    """
    width = max(40, min(columns, 160))
    curves, legend, last = [], [], 0.0
    for letter, shot, marker in (("A", found.a, "braille"), ("B", found.b, "·")):
        series = shot.state.step_series(shot.state.loss_name)
        smooth_x, smooth_y = _smoothed(series.x, series.y)
        # A smooth curve needs no more points than there are dots; the last one stays.
        stride = max(1, len(smooth_x) // (2 * width))
        x, y = smooth_x[::-stride][::-1].tolist(), smooth_y[::-stride][::-1].tolist()
        if len(x) >= 2:
            curves.append((x, y, marker, True))
            legend.append(f"{'dots' if marker == 'braille' else marker} train {letter}, smoothed")
            last = max(last, x[-1])
        known = [v for v in shot.state.validation_list() if math.isfinite(v.loss)]
        if known:
            steps = [float(v.step) for v in known]
            curves.append((steps, [v.loss for v in known], letter.lower(), False))
            legend.append(f"{letter.lower()} validation {letter}")
            last = max(last, steps[-1])
    if not curves:
        return ""
    # plotext: 0.25 s of imports that only a printed chart is worth.
    import plotext  # noqa: PLC0415

    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, max(12, rows - 1))
    figure.theme("simple" if colour else "colorless")
    for x, y, marker, joined in curves:
        signal = figure.signal(x, y, marker=marker)
        figure.draw(signal.lines() if joined else signal)
    figure.title("loss by step")
    # Its own labels would read 3.3e2.
    places, _ = ticks(0.0, max(1.0, last), max(3, width // 16))
    step = places[1] - places[0] if len(places) > 1 else 1.0
    figure.ruler("x").ticks(places, [fmt.tick(place, step) for place in places])
    text: str = figure.build().string(colorless=not colour)
    figure.clear()
    return text.rstrip("\n") + "\n" + ", ".join(legend)


def _smoothed(steps: Any, values: Any) -> tuple[Any, Any]:
    """Running mean of the finite values over a fiftieth of them, at least 5."""
    finite = np.isfinite(values)
    x, y = np.asarray(steps)[finite], np.asarray(values, dtype=np.float64)[finite]
    window = min(len(y), max(5, len(y) // 50))
    if window < 2:
        return x, y
    sums = np.cumsum(np.concatenate(([0.0], y)))
    mean = (sums[window:] - sums[:-window]) / window
    if len(mean) < 2:
        return x, y
    return x[window // 2 : window // 2 + len(mean)], mean


# ---- for scripts -----------------------------------------------------------------------------


def as_json(found: Comparison) -> str:
    """The machine-readable form, indented."""
    return json.dumps(to_dict(found), indent=2, allow_nan=False)


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
        "only_a": found.only_a,
        "only_b": found.only_b,
    }


def _side(shot: Snapshot) -> dict[str, Any]:
    chosen = shot.stages[shot.shown]
    return {
        "source": {"path": str(shot.path), "format": shot.format},
        "status": shot.status,
        "stage": show.stage(chosen.state, chosen.name),
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
        "reason": task.reason or None,
    }
    return out


def _value(value: Any) -> Any:
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
