"""The dashboard's charts serve the eye: ranges, strip, legend, dense validations, many tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from engine import events as ev
from sftui.drawing.canvas import Grid
from sftui.drawing.roles import TASK_ROLES, Role, parts
from sftui.state.run_state import RunState
from sftui.view.view import View
from sftui.view.viewport import Viewport
from sftui.widgets.accuracy_chart import AccuracyChart
from sftui.widgets.benchmarks import Benchmarks
from sftui.widgets.checkpoint_panel import CheckpointPanel
from sftui.widgets.loss_chart import LossChart
from sftui.widgets.panel import Panel

TASKS = ("ARC-Easy", "ARC-Challenge", "MMLU", "GSM8K", "HumanEval", "SpellingBee", "IFEval", "BBH")


def noisy(steps: int = 650, every: int = 100, *, lr: bool = True) -> list[ev.Event]:
    """As a fine-tuning logs it: losses of micro-batches, validations that fall by a hundredth, a
    first step ten times as high, a rate that falls to nothing."""
    rng = np.random.default_rng(3)
    out: list[ev.Event] = []
    for step in range(steps):
        if step % every == 0:
            out.append(ev.ValidationFinished(step=step, loss=1.0793 - 0.012 * step / steps))
        loss = 10.0 if step == 0 else float(np.clip(rng.normal(1.0, 0.3), 0.1, 2.4))
        rate = 1 - step / steps if lr else None
        out.append(ev.StepFinished(step=step, loss=loss, lr_mult=rate))
    return out


def painted(
    kind: type[Panel],
    events: Sequence[ev.Event],
    width: int,
    height: int,
    view: View | None = None,
) -> tuple[Grid, Any]:
    state = RunState()
    for event in events:
        state.apply(event)
    panel = kind(state, view or View(now=lambda: 0.0), id="panel")
    grid = Grid(height, width)
    panel.paint(grid)
    return grid, panel


def role_at(grid: Grid, row: int, col: int) -> Role:
    return parts(int(grid.styles[row, col]))[0]


def rows_of(grid: Grid, role: Role, left: int = 8) -> set[int]:
    """Rows inside the frame in which something of that colour is drawn."""
    shown = (grid.styles & 0x3F == role) & (grid.codes != ord(" "))
    return set(np.flatnonzero(shown[1:-1, left:-1].any(axis=1)) + 1)


def test_noise_and_a_first_spike_do_not_set_the_range() -> None:
    _, panel = painted(LossChart, noisy(), 120, 30)
    plot = panel.plot
    assert plot.y_high - plot.y_low < 1.2, "raw goes from 0.1 to 2.4, the first step is 10"
    assert plot.y_low < 1.0673 < 1.0793 < plot.y_high


def test_validation_alone_fills_the_chart_when_asked_for() -> None:
    view = View(now=lambda: 0.0)
    view.chart_page.next_range_of("loss", judged=True)
    grid, panel = painted(LossChart, noisy(), 120, 30, view)
    plot = panel.plot
    rows = [plot.y_cell(1.0793 - 0.012 * step / 650) for step in range(0, 601, 100)]
    assert None not in rows
    assert max(rows) - min(rows) > plot.height / 2, "it was one row of thirty"
    assert "validation" in grid.line(29)


@pytest.mark.parametrize("width", range(24, 120, 7))
def test_the_line_on_how_it_is_drawn_begins_with_a_word(width: int) -> None:
    """What has no room is left out from its end, and no dot is left in front."""
    view = View(now=lambda: 0.0)
    view.chart_page.next_range_of("loss", judged=True)
    last = painted(LossChart, noisy(), width, 30, view)[0].line(29)
    notes = last.strip("╰╯─ ")
    assert not notes.startswith("·")
    assert not notes.endswith("·")
    assert width < 60 or notes.startswith("y: linear, validation")


@pytest.mark.parametrize("chosen", ["eye", "val", "all", "zero"])
@pytest.mark.parametrize("log_y", [False, True])
def test_what_decides_is_in_sight_in_every_range(chosen: str, log_y: bool) -> None:
    view = View(now=lambda: 0.0, log_y=log_y)
    for _ in range(["eye", "val", "all", "zero"].index(chosen)):
        view.chart_page.next_range_of("loss", judged=True)
    _, panel = painted(LossChart, noisy(), 120, 30, view)
    plot = panel.plot
    for step in range(0, 601, 100):
        assert plot.y_cell(1.0793 - 0.012 * step / 650) is not None
    assert (plot.y_cell(10.0) is not None) == (chosen == "all")
    if chosen == "zero" and not log_y:
        assert plot.y_low == 0.0


def test_typed_limits_and_a_box_are_taken_as_they_are() -> None:
    view = View(now=lambda: 0.0)
    view.chart_page.begin("range", "1.0:1.1")
    assert view.chart_page.keep("loss") == ""
    plot = painted(LossChart, noisy(), 120, 30, view)[1].plot
    assert (plot.y_low, plot.y_high) == (1.0, 1.1)
    view.viewport.box((100.0, 200.0), (0.9, 1.2))
    plot = painted(LossChart, noisy(), 120, 30, view)[1].plot
    assert (plot.y_low, plot.y_high) == (0.9, 1.2)
    assert (plot.x_low, plot.x_high) == view.viewport.part
    view.viewport.reset()
    plot = painted(LossChart, noisy(), 120, 30, view)[1].plot
    assert (plot.y_low, plot.y_high) == (1.0, 1.1)


@pytest.mark.parametrize("size", [(160, 34), (120, 20), (80, 16)])
def test_the_rate_has_a_strip_of_its_own(size: tuple[int, int]) -> None:
    grid, panel = painted(LossChart, noisy(), *size)
    plot = panel.plot
    strip = set(range(plot.row + plot.height, panel.axis_row))
    assert 1 <= len(strip) <= 2
    assert rows_of(grid, Role.RATE) == strip
    words = "\n".join(grid.lines()[row] for row in sorted(strip))
    assert "×1" in words
    assert "lr" in words


def test_a_rate_without_a_schedule_is_drawn_as_it_is() -> None:
    """As Hugging Face's trainer logs it: the rate itself, and no multiplier."""
    events = [ev.StepFinished(step=i, loss=1.0, lrs={"lr": 2e-5 * (1 - i / 99)}) for i in range(99)]
    grid, panel = painted(LossChart, events, 120, 30)
    strip = range(panel.plot.row + panel.plot.height, panel.axis_row)
    assert rows_of(grid, Role.RATE) == set(strip)
    assert "2e-5" in "\n".join(grid.lines()[row] for row in strip)


def test_without_a_rate_or_without_room_there_is_no_strip() -> None:
    for events, height in ((noisy(lr=False), 30), (noisy(), 11)):
        grid, panel = painted(LossChart, events, 120, height)
        assert panel.axis_row == panel.plot.row + panel.plot.height
        assert not rows_of(grid, Role.RATE)


def test_the_legend_names_what_is_drawn_and_nothing_else() -> None:
    """A log of losses alone has no val, best, rate or checkpoint to name."""
    plain = [ev.StepFinished(step=step, loss=2.0 - step / 1000) for step in range(400)]
    title = painted(LossChart, plain, 120, 24)[0].line(0)
    for word in ("val", "best", "lr", "ckpt"):
        assert f" {word} " not in title
    assert "train" in title
    saved = [*plain, ev.CheckpointSaved(step=300, path="c")]
    assert "ckpt" in painted(LossChart, saved, 120, 24)[0].line(0)
    judged = [*plain, ev.ValidationFinished(step=200, loss=1.7)]
    title = painted(LossChart, judged, 120, 24)[0].line(0)
    assert "● val" in title
    assert "★ best" in title
    # Out of sight, it is not in the legend either.
    view = View(now=lambda: 0.0, viewport=Viewport(part=(300.0, 380.0)))
    assert "best" not in painted(LossChart, judged, 120, 24, view)[0].line(0)


def test_an_epoch_is_named_at_its_line() -> None:
    start = ev.RunStarted(name="run", rows=100, settings={"target_examples_per_step": 1})
    events = [start, *(ev.StepFinished(step=step, loss=1.0) for step in range(250))]
    words = painted(LossChart, events, 120, 24)[0].line(1)
    assert words.index("epoch 2") < words.index("epoch 3")
    assert "epoch 1" not in words


@pytest.mark.parametrize("count", [70, 300, 5000, 100_000])
def test_dense_validations_are_a_line_and_no_band_of_dots(count: int) -> None:
    rng = np.random.default_rng(1)
    events: list[ev.Event] = []
    steps, losses = list(range(count)), 1.0 + rng.normal(0, 0.02, count)
    events.append(ev.StepBatch(step=count - 1, steps=steps, columns={"loss": losses.tolist()}))
    # The trend of the validations is far from the training loss.
    val = (2.0 - np.arange(count) / count + rng.normal(0, 0.02, count)).tolist()
    events += [ev.ValidationFinished(step=i, loss=loss) for i, loss in enumerate(val)]
    grid, panel = painted(LossChart, events, 120, 30)
    plot = panel.plot
    inside = grid.codes[plot.row : plot.row + plot.height, plot.col : plot.col + plot.width]
    styles = grid.styles[plot.row : plot.row + plot.height, plot.col : plot.col + plot.width]
    assert not (inside == ord("●")).any()
    bright = (styles & 0x3F == Role.VAL) & (inside != ord(" "))
    columns = bright.any(axis=0).mean()
    assert columns > 0.8, "the line goes all the way, and the axis a little further"
    assert bright.sum(axis=0).max() <= 5, "and is a line"
    assert "━ val" in grid.line(0)


def test_sparse_validations_keep_their_marks() -> None:
    grid, _ = painted(LossChart, noisy(), 120, 30)
    assert sum(line.count("●") for line in grid.lines()[1:]) >= 6


def evaluated(tasks: tuple[str, ...], steps: tuple[int, ...] = (0, 100, 200)) -> list[ev.Event]:
    """All with one accuracy, so that every mark would lie on the others."""
    return [
        ev.EvalFinished(step=step, task=task, correct=64, total=256)
        for step in steps
        for task in tasks
    ]


@pytest.mark.parametrize("width", [58, 70, 120])
def test_eight_tasks_are_told_apart(width: int) -> None:
    grid, _ = painted(AccuracyChart, evaluated(TASKS), width, 16)
    lines = grid.lines()
    marks = {
        (char, role_at(grid, row, col))
        for row, line in enumerate(lines[1:-2], 1)
        for col, char in enumerate(line)
        if role_at(grid, row, col) in TASK_ROLES and char in "●■▲○□△▼×"
    }
    assert len(marks) >= 7, "none lies under another, as far as three cells to a side go"
    title = lines[0]
    if width >= 120:
        assert all(task in title for task in TASKS)
    else:
        assert "ARC-E" in title
        assert "ARC-C" in title or "+" in title


@pytest.mark.parametrize("kind", [Benchmarks, CheckpointPanel])
def test_no_two_heads_of_a_table_are_alike(kind: type[Panel]) -> None:
    """Five tasks of a real speedrun at 120 columns: `ARC…` stood there twice."""
    events = [*evaluated(TASKS[:5]), ev.CheckpointSaved(step=200, path="c")]
    words = painted(kind, events, 48, 12)[0].line(1).split()
    heads = [word for word in words if word not in ("│", "checkpoint", "val", "size", "age")]
    assert len(heads) == len(set(heads))
    assert {"ARC-E", "ARC-C"} <= set(heads) or "ARC-Easy" in heads or kind is CheckpointPanel


def test_tasks_are_neither_blue_nor_orange() -> None:
    grid, _ = painted(AccuracyChart, evaluated(TASKS[:4]), 100, 16)
    for role in (Role.TRAIN, Role.VAL, Role.RATE, Role.SECOND, Role.SAVED):
        assert not rows_of(grid, role)


def test_the_crosshair_shows_the_error_of_its_evaluation() -> None:
    view = View(now=lambda: 0.0)
    view.viewport.cursor = 120.0
    grid, panel = painted(AccuracyChart, evaluated(TASKS[:1]), 100, 20, view)
    stems = {
        col
        for row in range(2, 16)
        for col in range(9, 98)
        if chr(int(grid.codes[row, col])) == "│" and role_at(grid, row, col) in TASK_ROLES
    }
    assert len(stems) == 1, panel


def marks_of(grid: Grid) -> list[tuple[int, int]]:
    return [
        (row, col)
        for row, line in enumerate(grid.lines()[1:-3], 1)
        for col, char in enumerate(line)
        if role_at(grid, row, col) in TASK_ROLES and char in "●■▲○□△▼×"
    ]


@pytest.mark.parametrize("part", [(57.0, 79.0), (121.0, 160.0), (1.0, 239.0)])
def test_what_lies_outside_a_zoomed_axis_has_no_mark_on_it(part: tuple[float, float]) -> None:
    """Those beyond an edge stood beside it, as if they had been measured there."""
    view = View(now=lambda: 0.0)
    view.viewport = Viewport(part=part)
    steps = (0, 60, 120, 240)
    grid, _ = painted(AccuracyChart, evaluated(TASKS[:2], steps), 100, 16, view)
    inside = [step for step in steps if part[0] <= step <= part[1]]
    assert len(marks_of(grid)) == len(inside) * 2


def test_the_accuracy_axis_ends_with_the_updates() -> None:
    """Evaluations are rare: between two of them the clock says that the axis grew."""
    state = RunState()
    events = evaluated(TASKS[:1], (0,))
    for event in [*events, *(ev.StepFinished(step=step, loss=1.0) for step in range(20))]:
        state.apply(event)
    panel = AccuracyChart(state, View(now=lambda: 0.0), id="accuracy")
    before = panel.clock
    assert panel.clock == before
    for step in range(20, 60):
        state.apply(ev.StepFinished(step=step, loss=1.0))
    assert panel.clock != before
