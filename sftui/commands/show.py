"""`sftui show`: a summary of a run and a printed chart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sftui.drawing.canvas import ticks
from sftui.logbook import event_lines
from sftui.readers import leftovers
from sftui.sources.snapshot import Snapshot, Stage
from sftui.state.means import Means
from sftui.state.means import line as smoothed
from sftui.state.records import Validation
from sftui.state.run_state import RunState
from sftui.state.series import Series
from sftui.state.weight_change import sentence, weight_changes
from sftui.statistics import chatcore_looks
from sftui.statistics.other_stages import from_other_stages, from_start_words
from sftui.statistics.scores import Scoreboard, Yardstick, score_lines
from sftui.statistics.validation_scores import LossBoard
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.printed_chart import built
from sftui.view.view import SMOOTHING

MOST_STAGES = 40
"""Programs of a log that have a line each: a script that restarts makes thousands."""


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
    """The run in a few lines; text from outside is cleaned of control characters."""
    state = shot.state
    lines = [_status_line(shot)]
    if shot.run is None:
        lines.append(f"  {shot.format}: {clean(shot.evidence, 200)}")
        if len(shot.stages) > 1:
            lines += _stage_lines(shot)
    if shot.leftovers.with_numbers:
        found = leftovers.sentence(shot.leftovers.with_numbers, shot.leftovers.shapes)
        lines.append(f"  {clean(found, 400)}")
    if state.run is not None:
        parts = []
        if state.run.source:
            parts.append(f"from {clean(state.run.source, 80)}")
        if size := event_lines.parameters(state.run):
            parts.append(size)
        if machine := event_lines.ranks(state.run):
            parts.append(machine)
        if parts:
            lines.append("  " + ", ".join(parts))
    planned = state.planned
    of = f" of {fmt.count(planned)}" if planned is not None else ""
    parts = [f"step {fmt.count(state.done)}{of}"]
    if state.seconds is not None:
        parts.append(f"{fmt.duration(state.seconds)} elapsed")
    if shot.alive and not state.ended and (eta := state.eta_seconds()) is not None:
        parts.append(f"about {fmt.duration(eta)} to go")
    lines.append("  " + ", ".join(parts))
    if shot.run is None and state.metrics and not len(state.steps):
        lines.append(f"  {event_lines.other_numbers(state)}")
    lines += _broken_line(state)
    losses = LossBoard(shot.run.path if shot.run is not None else None)
    for name, results in state.validations_by_set().items():
        lines.append(_validation_line(name, results, losses))
    for task, by_step in state.evals.items():
        ordered = [by_step[step] for step in sorted(by_step)]
        lines.append(
            f"  {clean(task, 40)} {event_lines.score(ordered[-1])} at step {ordered[-1].step}"
        )
    board = Scoreboard(shot.run.path if shot.run is not None else None, baseline)
    elsewhere = from_other_stages(shot.stages, shot.shown, board)
    from_start = {task: from_start_words(found) for task, found in elsewhere.items()}
    lines += [f"  {line}" for line in score_lines(board, state, from_start)]
    lines += [f"  {line}" for line in chatcore_looks.lines(board, state)]
    if moved := sentence(weight_changes(state)):
        lines.append(f"  {clean(moved, 400)}")
    kept = [row for row in state.checkpoints.values() if not row.removed]
    if kept:
        lines.append("  checkpoints " + ", ".join(clean(row.path or "", 120) for row in kept))
    return lines


def _status_line(shot: Snapshot) -> str:
    """How the run stands and why: its own reason once it ended, else what its life rests on."""
    state = shot.state
    why = clean(state.reason, 200)
    if shot.run is not None and not state.ended:
        # Of a run without an end, whether its processes are there is the reason.
        why = "; ".join(part for part in (clean(shot.evidence, 200), why) if part)
    return f"{clean(shot.title, 120)}  {shot.status}" + (f": {why}" if why else "")


def _broken_line(state: RunState) -> list[str]:
    """How many updates were measured as no number; nothing where none was."""
    if not state.nonfinite:
        return []
    what = "update" if state.nonfinite == 1 else "updates"
    broken = f"{what} with a loss or gradient norm that is nan or infinite"
    return [f"  {fmt.count(state.nonfinite)} {broken}"]


def _stage_lines(shot: Snapshot) -> list[str]:
    """The programs of a log, and which of them this is; of very many how many are not told of."""
    told = shot.told(MOST_STAGES)
    lines: list[str] = []
    before = -1
    for number in told:
        if hidden := number - before - 1:
            lines.append(f"  ... {fmt.counted(hidden, 'stage')} more")
        lines.append(_stage_line(shot.stages[number]))
        before = number
    count = len(shot.stages)
    which = (
        f", stage {fmt.count(shot.shown + 1)} of {fmt.count(count)}" if len(told) < count else ""
    )
    return [*lines, f"  this is {clean(shot.stage, 40)}{which}"]


def _stage_line(stage: Stage) -> str:
    """One program of a log: how it ended and how far it came."""
    state = stage.state
    name = clean(stage.name, 40)
    end = "no word of its end"
    if state.ended:
        end = state.badge + (f": {clean(state.reason, 120)}" if state.reason else "")
    reached = f", step {fmt.count(state.done)}" if len(state.steps) else ""
    return f"  stage {name}: {end}{reached}"


def _validation_line(name: str, results: Sequence[Validation], losses: LossBoard) -> str:
    """The first, last and best loss of one set of rows; of those that asked the rows of the last
    alone, where the run asked others before, since losses on other rows do not compare."""
    results = list(results)
    other = losses.of_other_rows(results)
    alike = [each for each in results if each.step not in other]
    first, last = alike[0], alike[-1]
    of_set = f" {clean(name, 40)}" if name else ""
    line = f"  validation{of_set} {fmt.loss(first.loss)} (step {first.step})"
    if last is not first:
        line += f" -> {fmt.loss(last.loss)} (step {last.step})"
    finite = [each for each in alike if math.isfinite(each.loss)]
    best = min(finite, key=lambda each: (each.loss, each.step), default=None)
    line += f", best {fmt.loss(best.loss)} at step {best.step}" if best else ""
    if other:
        line += f"; {fmt.counted(len(other), 'validation')} before asked other rows: no comparison"
    return line


def loss_chart(state: RunState, columns: int, rows: int, *, colour: bool = False) -> str:
    """Training and validation loss as plotext draws them; empty without two points, or any finite.

    The line is the one of the screen: a mean over a share of the run, the points themselves where
    they are few. At most two points a column: plotext takes each through Python.
    """
    series = state.step_series(state.loss_name)
    if len(series) < 2:
        return ""
    validations = [v for v in state.validation_list() if math.isfinite(v.loss)]
    if not (validations or np.isfinite(series.y).any()):
        return ""
    # plotext: 0.25 s of imports that only a printed chart is worth.
    import plotext  # noqa: PLC0415

    width = max(40, min(columns, 160))
    figure = plotext.figure
    figure.clear()
    # Without this it takes the size of the terminal it believes to be in.
    figure.plot_size(width, rows)
    figure.theme("simple" if colour else "colorless")
    drawn, words = _train_line(series, width)
    figure.draw(figure.signal(*drawn, marker="braille").lines())
    steps, losses = [float(v.step) for v in validations], [v.loss for v in validations]
    if validations:
        figure.draw(figure.signal(steps, losses, marker="o"))
        words += ", o validation"
    _round_ticks(figure, "x", [*drawn[0], *steps], max(2, width // 12))
    _round_ticks(figure, "y", [*drawn[1], *losses], max(2, rows // 4))
    # Above the curves: a box of its own would lie on them.
    figure.title(f"loss by step: {words}")
    return built(figure, colour=colour)


Points = tuple[list[float], list[float]]
"""Places and values of a line, of the same length."""


def _train_line(series: Series, width: int) -> tuple[Points, str]:
    """What is drawn of the training loss in `width` columns, and what it is called."""
    mean = smoothed(Means(series), SMOOTHING[0])
    if not mean.window:
        return _thinned(series.x, series.y, 2 * width), "train"
    low, high = float(series.x[0]), float(series.x[-1])
    values, _ = mean.columns(low, high, width)
    # Each is the mean around the middle of its column.
    middles = low + (high - low) * (np.arange(width) + 0.5) / width
    known = np.isfinite(values)
    words = f"mean of {fmt.count(max(1, round(mean.window)))} steps of train"
    return (middles[known].tolist(), values[known].tolist()), words


def _round_ticks(figure: Any, axis: str, values: list[float], most: int) -> None:
    """Ticks at round numbers, written as the screen writes them, over a range that holds all."""
    low, high = min(values), max(values)
    if not high > low:
        return
    found, step = ticks(low, high, most, whole=axis == "x")
    ruler = figure.ruler(axis)
    ruler.lim(low, high)
    ruler.ticks(found, [fmt.tick(value, step) for value in found])


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
