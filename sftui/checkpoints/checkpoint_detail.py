"""Under the checkpoint browser's table: the chosen one against another, by what was measured, with
their places on the curve, what was done between them, and what the chosen one answered.

What there is no room for is left out, from the last on.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sftui.checkpoints.answers import Answer, Group, lines_of
from sftui.checkpoints.pair_words import (
    checkpoint_words,
    headline,
    measure_lines,
    sentence,
)
from sftui.drawing.canvas import Grid, Span, bridge, fit, text_width
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Back, Role, style, task_role
from sftui.drawing.y_range import around, extremes, eye_range
from sftui.state.series import Series
from sftui.text import format as fmt
from sftui.text.clean import clean

if TYPE_CHECKING:
    from sftui.checkpoints.checkpoint_row import CheckpointRow
    from sftui.state.run_state import RunState
    from sftui.statistics.checkpoint_pair import CheckpointPair

_LEAST_CURVE, _MOST_CURVE = 7, 24
"""Rows of the curve with its axis and its title."""
_BESIDE = 100
"""Columns from which the answers stand beside the curve."""
_LEAST_ANSWERS = 4
_FEW_MARKS = 4
"""Validations from which on the first does not decide the range."""
_ROLES = {"better": Role.GOOD, "worse": Role.WARN, "trade": Role.WARN}


class Shown(NamedTuple):
    """What is painted."""

    state: RunState
    chosen: CheckpointRow
    other: CheckpointRow | None
    pair: CheckpointPair | None
    between: Sequence[str]
    """What lies between the two, a few words each."""
    news: Sequence[Span]
    """Lines that come first."""
    curve: str
    """The name of the validation curve."""


def paint(grid: Grid, row: int, shown: Shown) -> None:
    """Fill the rows from `row` to the border."""
    last, width = grid.height - 1, grid.width - 4
    # Wrapped: a path that is cut cannot be typed.
    row = _lines(grid, row, last, shown.news)
    if shown.pair is None or last - row < 1:
        return
    pair, measured = shown.pair, _measures(shown)
    # The sentence with its numbers, or without them over a line a measure.
    long = textwrap.wrap(sentence(pair), max(8, width))
    listed = last - row >= 3 + len(measured) + _LEAST_CURVE + 1
    words = textwrap.wrap(headline(pair), max(8, width)) if listed else long
    row += 1 if last - row > len(words) + 1 else 0
    number = style(_ROLES.get(pair.verdict, Role.TEXT), bold=True)
    row = _lines(grid, row, last, [(line, number) for line in words])
    for (name, role), line in measured if listed else ():
        col = grid.text(row, 4, fit(name, 22), style(role))
        grid.text(row, col + 1, fit(line, grid.width - 3 - col), style(Role.DIM))
        row += 1
    if shown.between and last - row >= _LEAST_CURVE + 4:
        grid.text(row, 2, fit("between: " + " · ".join(shown.between), width), style(Role.FAINT))
        row += 1
    row += 1 if last - row > _LEAST_CURVE + 2 else 0
    _pictures(grid, row, last - row, shown)


def _lines(grid: Grid, row: int, last: int, lines: Sequence[Span]) -> int:
    """Texts one below the other, wrapped; the row after them."""
    end = grid.width - 2
    for text, number in lines:
        for piece in textwrap.wrap(text, max(8, end - 2), break_on_hyphens=False):
            if row >= last:
                return row
            grid.text(row, 2, fit(piece, end - 2), number)
            row += 1
    return row


def _measures(shown: Shown) -> list[tuple[tuple[str, Role], str]]:
    assert shown.pair is not None
    places = {task: i for i, task in enumerate(shown.state.evals)}
    found = []
    for measure, words in measure_lines(shown.pair):
        role = task_role(places[measure.name]) if measure.name in places else Role.VAL
        found.append(((clean(measure.name, 40), role), words))
    return found


# ---- the curve and the answers -------------------------------------------------------------------


def _pictures(grid: Grid, row: int, rows: int, shown: Shown) -> None:
    """The curve, and beside or below it what the chosen one answered, as there is room."""
    answers = _answers(shown)
    end = grid.width - 2
    beside = bool(answers) and grid.width >= _BESIDE
    curve = min(rows, _MOST_CURVE)
    if answers and not beside and rows >= _LEAST_CURVE + _LEAST_ANSWERS + 1:
        curve = min(curve, max(_LEAST_CURVE, rows // 2))
    middle = 2 + (end - 2) * 3 // 5 if beside else end
    drawn = curve >= _LEAST_CURVE and _curve(grid, row, curve, (2, middle), shown)
    if beside:
        start = middle + 3 if drawn else 2
        if drawn:
            grid.upright(row, row + rows, middle + 1, "│", style(Role.AXIS))
        _paint_answers(grid, row, rows, (start, end), answers, shown)
    elif answers:
        below = row + curve + 1 if drawn else row
        if row + rows - below >= _LEAST_ANSWERS:
            _paint_answers(grid, below, row + rows - below, (2, end), answers, shown)


def _answers(shown: Shown) -> list[Group]:
    """Prompts and answers of the chosen one's weights, as the run sampled them."""
    found = [s for s in shown.state.samples if s.step == shown.chosen.step]
    return [(s.prompt, [Answer(label="", text=s.text or "(nothing)")]) for s in found]


def _paint_answers(
    grid: Grid, row: int, rows: int, cells: tuple[int, int], answers: list[Group], shown: Shown
) -> None:
    start, end = cells
    words = f"samples of {checkpoint_words(shown.chosen.step)}"
    grid.text(row, start, fit(words, end - start), style(Role.FAINT))
    lines = lines_of(answers, end - start - 1, tight=True)
    for i, line in enumerate(lines[: max(0, rows - 1)]):
        for column, (text, number) in line:
            grid.text(row + 1 + i, start + column, text, number, end)
    if len(lines) > rows - 1 > 0:
        grid.right(row, end, [(f"{len(lines) - rows + 1} more rows", style(Role.FAINT))], start)


def _curve(grid: Grid, row: int, rows: int, cells: tuple[int, int], shown: Shown) -> bool:
    """The validation curve, else the training loss, with both places on it; False without any."""
    series, role, name = _series(shown)
    if len(series) < 2:
        return False
    start, end = cells
    plot = _plot(grid, row + 1, rows - 3, (start, end), series, shown)
    steps, losses = series.x, np.asarray(series.y, dtype=np.float64)
    plot.draw_y_axis(start)
    plot.draw_x_axis(plot.row + plot.height, small=True)
    if len(series) > plot.num_dots:
        plot.band(*bridge(*plot.columns(series)), style(role))
    else:
        plot.polyline(steps, losses, style(Role.VAL_LINE if role is Role.VAL else role))
        if len(steps) * 4 <= plot.width:
            for step, loss in zip(steps.tolist(), losses.tolist(), strict=True):
                _mark(plot, step, loss, "●", style(role))
    plot.tint(plot.x_cell(shown.chosen.step), Back.CURSOR)
    legend: list[Span] = [(name, style(role))]
    places = _places(shown, measured=role is Role.TRAIN or _measured(series, shown.chosen.step))
    for place in reversed(places):
        height = _height(series, place.step)
        if height is not None:
            _mark(plot, place.step, height, place.mark, place.number)
    for place in places:
        legend += [(f"  {place.mark} ", place.number), (place.words, style(Role.DIM))]
    while len(legend) > 2 and sum(text_width(text) for text, _ in legend) > end - start:
        legend = legend[:-2]
    grid.spans(row, start, legend, end)
    return True


class _Place(NamedTuple):
    """A step on the curve, and what the legend says of it."""

    step: int
    mark: str
    number: int
    words: str


def _places(shown: Shown, *, measured: bool) -> list[_Place]:
    """The chosen one, the one it is compared with, and the best, each once. `measured`: whether the
    chosen one has a point of its own."""
    step, best = shown.chosen.step, shown.state.best_validation
    bold, good = style(Role.TEXT, bold=True), style(Role.GOOD, bold=True)
    mark, said = ("◆", "chosen") if measured else ("◇", "chosen, not measured")
    found = [_Place(step, mark, bold, f"{_short(step)}, {said}")]
    if shown.other is not None:
        other = shown.other.step
        if best is not None and best.step == other:
            found.append(_Place(other, "★", good, f"against {_short(other)}, best"))
        else:
            warn = style(Role.WARN, bold=True)
            found.append(_Place(other, "○", warn, f"against {_short(other)}"))
    if best is not None and best.step not in [place.step for place in found]:
        found.append(_Place(best.step, "★", good, f"best, {_short(best.step)}"))
    return found


def _short(step: int) -> str:
    return "start" if step == 0 else f"step {fmt.count(step)}"


def _series(shown: Shown) -> tuple[Series, Role, str]:
    """What the places are shown on, its colour and its name."""
    state = shown.state
    if len(state.validations) >= 2:
        return state.validations.loss, Role.VAL, shown.curve
    return state.step_series(state.loss_name), Role.TRAIN, "train"


def _plot(
    grid: Grid, row: int, height: int, cells: tuple[int, int], series: Series, shown: Shown
) -> Plot:
    """The area, with limits in which the marks and what decides are in sight."""
    start, end = cells
    places = [shown.chosen.step, *([shown.other.step] if shown.other is not None else [])]
    x_high = max(float(series.x[-1]), *places, float(series.x[0]) + 1)
    plot = Plot(
        grid=grid,
        row=row,
        col=start + 7,
        height=max(1, height),
        width=max(4, end - start - 7),
        x_low=min(float(series.x[0]), *places),
        x_high=x_high,
        y_low=0.0,
        y_high=1.0,
    )
    low, high = plot.columns(series)
    steps, losses = series.x, np.asarray(series.y, dtype=np.float64)
    since = 1 if len(series) >= _FEW_MARKS else 0
    dense = len(series) > plot.num_dots
    across = low if dense else plot.over_columns(steps[since:], losses[since:])
    limits = eye_range(np.asarray(across, dtype=np.float64), extremes([low, high]), top=97.0)
    heights = [_height(series, step) for step in places if step or len(series) < _FEW_MARKS]
    limits = around(limits, np.array([h for h in heights if h is not None], dtype=np.float64))
    if limits is not None:
        room = 0.05 * (limits[1] - limits[0]) or 0.5 * abs(limits[0]) or 1.0
        plot.show(limits[0] - room, limits[1] + room)
    return plot


def _height(series: Series, step: int) -> float | None:
    """Of the point of that step; of the line beside it where nothing was measured there."""
    x, y = series.x, np.asarray(series.y, dtype=np.float64)
    at = int(np.clip(np.searchsorted(x, step), 1, len(x) - 1))
    found = float(np.interp(step, x[at - 1 : at + 1], y[at - 1 : at + 1]))
    return found if np.isfinite(found) else None


def _measured(series: Series, step: int) -> bool:
    at = int(np.searchsorted(series.x, step))
    return at < len(series) and float(series.x[at]) == step


def _mark(plot: Plot, step: float, height: float, mark: str, number: int) -> None:
    """One character at a point; what is above the range is marked at its edge."""
    if plot.is_above(height):
        col = plot.x_cell(step)
        if plot.holds_column(col):
            plot.grid.put(plot.row, col, "▴" if mark == "●" else mark, number)
        return
    plot.mark(step, height, mark, number)
