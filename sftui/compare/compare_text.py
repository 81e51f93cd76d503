"""A comparison in words and on a printed chart, for a terminal of any size and for pipes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from sftui.compare.differences import (
    changes_the_model,
    collapsed,
    told,
    told_by_both,
    value_words,
)
from sftui.compare.numbers import LOSS, number_of, number_words
from sftui.compare.pairing import Comparison, Side, TaskPair, ValidationPair
from sftui.compare.same_place import Look, runs_of, same_place
from sftui.compare.seed_spread import seed_lines
from sftui.compare.shared_axis import SharedAxis
from sftui.drawing.canvas import ticks, time_ticks
from sftui.drawing.plot import axis_tick
from sftui.state.run_state import RunState
from sftui.statistics import chatcore_looks
from sftui.statistics.paired_tests import Evaluation, Judged
from sftui.statistics.scores import GOLD, OTHER_QUESTIONS, one_letter_words, sentence
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.printed_chart import built
from sftui.view.chart_panels import title_of

MARKERS = ("braille", "·", "+", "x", "o", "=")
"""Of the printed curves, in the order of the runs."""


def as_text(
    found: Sequence[Comparison],
    columns: int,
    lines: int,
    *,
    look: Look | None = None,
    colour: bool = False,
) -> str:
    """Settings, results and the curves, fit for a terminal of that size.

    Args:
        found: the same first run with each of the others.
        look: what the curves show over what; None for the loss by steps.
    """
    runs = runs_of(found)
    look = look or Look(SharedAxis(scales={letter: None for letter, _ in runs}))
    out = [_title(letter, shot) for letter, shot in runs]
    for pair in found:
        if len(found) > 1:
            out += ["", f"{pair.letters[1]} against {pair.letters[0]}"]
        out += ["", *setting_lines(pair, columns), "", *result_lines(pair)]
    out += ["", *textwrap.wrap(seed_lines([shot for _, shot in runs]), max(40, columns))]
    out += textwrap.wrap(place_words(look, runs), max(40, columns), subsequent_indent="  ")
    rows = max(8, min(22, lines - len(out) - 2))
    chart = overlay(runs, columns, rows, look, colour=colour)
    return "\n".join([*out, *(["", chart] if chart else [])])


def _title(letter: str, shot: Side) -> str:
    return (
        f"{letter}  {clean(shot.title, 120)}  {shot.status}, {clean(shot.format, 40)}, "
        f"{clean(shot.stage, 40)}, {fmt.count(shot.state.done)} updates"
    )


def setting_lines(found: Comparison, columns: int) -> list[str]:
    if not found.settings:
        if not told(found.a.state) and not told(found.b.state):
            return ["settings: neither side tells any"]
        return ["settings: no difference"]
    width = min(28, max(len(clean(name, 28)) for name, _, _ in found.settings))
    each = max(12, (max(columns, 60) - width - 6) // 2)
    out = ["settings that differ:"]
    both = told_by_both(found.a.state, found.b.state, found.settings)
    if not both:
        out = ["settings: none that both sides tell differs"]
    for name, ours, theirs in filter(lambda s: changes_the_model(s[0]), both):
        out.append(
            f"  {clean(name, 28):<{width}}  {clean(value_words(ours), each):<{each}}  "
            f"{clean(value_words(theirs), each)}".rstrip()
        )
    if words := collapsed(both):
        out += _folded(f"no effect on the weights: {clean(words, 400)}", columns)
    for letter, state in zip(found.letters, (found.a.state, found.b.state), strict=True):
        names = [s[0] for s in found.settings if s not in both and s[0] in told(state)]
        if names:
            listed = clean(", ".join(names), 400)
            out += _folded(f"only {letter} tells: {listed}", columns)
    return out


def _folded(words: str, columns: int) -> list[str]:
    return textwrap.wrap(words, max(40, columns - 2), initial_indent="  ", subsequent_indent="    ")


def result_lines(found: Comparison) -> list[str]:
    """The last validation and the last evaluation of every task, B minus A."""
    out = []
    a, b = found.letters
    pair = found.validation
    if pair is None:
        out.append("validation: not measured on both sides")
    else:
        line = (
            f"validation: {a} {fmt.loss(pair.a.loss)} at step {pair.a.step}, "
            f"{b} {fmt.loss(pair.b.loss)} at step {pair.b.step}"
        )
        out.append(line + "; " + validation_words(pair, a, b))
    for task in found.tasks:
        name = clean(task.task, 40)
        values = (
            f"{a} {_score(task.a)} at step {task.step_a}, "
            f"{b} {_score(task.b)} at step {task.step_b}"
        )
        line = f"{name}: {values}"
        if task.judged is not None:
            line += f"; {difference_of(task, task.judged, a, b)}"
        if words := why_unpaired(task):
            line += f"; {words}"
        out.append(line)
        if task.gold is not None:
            out.append(f"{name}, {GOLD}: {b} - {a} {sentence(task.gold)}")
    out += _chatcore_lines(found)
    for letter, names in ((a, found.only_a), (b, found.only_b)):
        if names:
            listed = ", ".join(clean(name, 40) for name in names)
            out.append(f"only {letter} was asked: {listed}")
    if not found.tasks and not found.only_a and not found.only_b:
        out.append("tasks: none were evaluated")
    return out


def why_unpaired(task: TaskPair) -> str:
    """Why both are not compared question by question, as far as their difference does not say it;
    else an empty text."""
    judged = task.judged
    if judged is None or judged.held_by == "letter" or judged.comparison.kind != "unpaired":
        return f"not paired: {clean(task.reason, 200)}" if task.reason else ""
    return "" if OTHER_QUESTIONS in sentence(judged) else clean(task.reason, 200)


def difference_of(task: TaskPair, judged: Judged, a: str, b: str) -> str:
    """B minus A of a task, with the verdict or with what replaces it."""
    if judged.held_by != "letter":
        return f"{b} - {a} {sentence(judged)}"
    told = [
        f"run {name}: {one_letter_words(side.one_letter)}"
        for name, side in ((a, task.a), (b, task.b))
        if side.one_letter is not None
    ]
    points = fmt.points(judged.comparison.points)
    return "; ".join([f"{b} - {a} {judged.verdict}, {points} points", *told])


def _chatcore_lines(found: Comparison) -> list[str]:
    """ChatCORE of both sides and its change, where all its tasks were asked on both."""
    a, b = found.letters
    now, before = ({task.task: getattr(task, side) for task in found.tasks} for side in "ba")
    scores = {letter: chatcore_looks.scores_of(side) for letter, side in ((a, before), (b, now))}
    judged = chatcore_looks.change(now, before)
    out = []
    for ours, theirs in zip(scores[a], scores[b], strict=False):
        line = f"{a} {chatcore_looks.words(ours)}, {b} {chatcore_looks.words(theirs)}"
        if ours.name in judged:
            line += f"; {b} - {a} {chatcore_looks.change_words(judged[ours.name])}"
        out.append(line)
    return out


def validation_words(pair: ValidationPair, a: str, b: str) -> str:
    """B minus A with its verdict, or why there is none."""
    if not pair.comparable:
        return f"not compared: {clean(pair.reason, 200)}"
    d = pair.difference
    if d is None:
        change = f"{b} - {a} {fmt.points(pair.b.loss - pair.a.loss, 4)}"
        return f"{change}; not paired: {clean(pair.reason, 200)}"
    words = f"{pair.judged.verdict}, " if pair.judged is not None else ""
    words = (
        f"{b} - {a} {words}{d.mean:+.4f} nats ({100 * d.relative:+.2f}%), 95% "
        f"[{d.low:+.4f}, {d.high:+.4f}], paired over {d.rows} rows"
    )
    if pair.judged is not None and pair.judged.held_by == "scatter":
        words += ", within the scatter of the runs' own checkpoints"
    if pair.means is not None:
        ours, theirs = (fmt.loss(mean) for mean in pair.means)
        words += f" (their means: {a} {ours}, {b} {theirs})"
    return words + (f"; {clean(pair.reason, 200)}" if pair.reason else "")


def _score(result: Evaluation) -> str:
    text = fmt.percent(result.value)
    if result.correct is not None and result.total:
        return f"{result.correct}/{result.total} {text}"
    return text


def place_words(look: Look, runs: Sequence[tuple[str, Side]]) -> str:
    """What all had at the furthest place that all reached, each with its step; or an empty text."""
    found, axis = same_place(look, runs), look.axis
    if found is None:
        return ""
    by_steps = axis.name == "step"
    values = ", ".join(
        f"{letter} {number_words(look.number, value)}"
        + ("" if by_steps else f" (step {fmt.count(step)})")
        for letter, step, value in found.values
    )
    where = (
        f"step {fmt.count(round(found.at))}" if by_steps else f"{axis.words} {axis.form(found.at)}"
    )
    what = "train loss" if look.number == LOSS else title_of(look.number)
    return f"{what} at {where}, where all have come: {values}"


def overlay(
    runs: Sequence[tuple[str, Side]],
    columns: int,
    rows: int,
    look: Look,
    *,
    colour: bool = False,
) -> str:
    """The training losses, smoothed, and the validations of all on one pair of axes; or another
    number, and what was measured of it on other data.

    Smoothed because two noisy curves on each other show neither; empty without points.
    """
    width = max(40, min(columns, 160))
    curves, legend, last = [], [], 0.0
    for i, (letter, shot) in enumerate(runs):
        marker = MARKERS[i % len(MARKERS)]
        series, axis = look.series(shot.state), look.axis
        smooth_x, smooth_y = _smoothed(series.x, series.y)
        # A smooth curve needs no more points than there are dots; the last one stays.
        stride = max(1, len(smooth_x) // (2 * width))
        steps, y = smooth_x[::-stride][::-1].tolist(), smooth_y[::-stride][::-1].tolist()
        x = [axis.to(letter, step) for step in steps]
        if len(x) >= 2:
            curves.append((x, y, marker, True))
            legend.append(f"{'dots' if marker == 'braille' else marker} train {letter}, smoothed")
            last = max(last, x[-1])
        known = _marked(shot.state, look.number)
        if known:
            steps = [axis.to(letter, step) for step, _ in known]
            curves.append((steps, [value for _, value in known], letter.lower(), False))
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
    name = "loss" if look.number == LOSS else title_of(look.number)
    axis = look.axis
    figure.title(f"{name} by {axis.label}")
    # Its own labels would read 3.3e2.
    between = time_ticks if axis.name == "time" else ticks
    places, step = between(0.0, max(1.0, last), max(3, width // 16))
    figure.ruler("x").ticks(places, [axis_tick(axis.name, place, step) for place in places])
    return built(figure, colour=colour) + "\n" + ", ".join(legend)


def _marked(state: RunState, number: str) -> list[tuple[float, float]]:
    """Updates and finite values of what is marked."""
    if number == LOSS:
        found = [(float(v.step), v.loss) for v in state.validation_list()]
    else:
        marks = number_of(state, number).marks
        found = [] if marks is None else list(zip(marks.x.tolist(), marks.y.tolist(), strict=True))
    return [(step, value) for step, value in found if math.isfinite(value)]


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
