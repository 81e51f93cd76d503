"""The x axis by tokens, epochs and time: scales against sums, charts cell by cell, keys."""

import dataclasses
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.drawing.canvas import Grid, time_ticks
from sftui.drawing.x_axis import AXES, XScale, x_range
from sftui.keys import preferences
from sftui.keys.preferences import Preferences
from sftui.state.run_state import RunState
from sftui.state.series import Table
from sftui.text import format as fmt
from sftui.view.view import View
from sftui.view.viewport import Viewport
from sftui.widgets.accuracy_chart import AccuracyChart
from sftui.widgets.loss_chart import LossChart
from tests.sftui.fake_run import fake_run
from tests.sftui.test_app import make, panel_of, ready

RUN = fake_run(until=288)


def state_of(events) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def chart(kind, state, *, width=100, height=24, viewport=None, **look) -> tuple[Grid, View]:
    """The grid of a chart, and the view it was drawn for."""
    view = View(now=lambda: state.last_t or 0.0, viewport=viewport or Viewport(), **look)
    grid = Grid(height, width)
    kind(state, view, id="panel").paint(grid)
    return grid, view


# ---- scales --------------------------------------------------------------------------------------

ROWS = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.one_of(st.none(), st.integers(0, 9000)),
        st.one_of(st.none(), st.floats(0, 60)),
    ),
    min_size=1,
    max_size=60,
)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_a_scale_is_the_sum_of_what_came_before(rows, cuts):
    """Tokens at x are those of the updates before x, however the rows came; time is where it
    stood, never going back."""
    table = Table()
    tokens, clock = XScale("tokens", table), XScale("time", table)
    at, now, total, reached = 0, 0.0, 0, -math.inf
    told: list[tuple[float, int]] = []
    times: list[tuple[float, float]] = []
    for i, (gap, count, spent) in enumerate(rows):
        at += gap
        now += spent or 0.0
        t = np.float32(now + (5.0 if i % 7 == 0 else 0.0))
        table.put(at, {"tokens": count, "since_start": None if spent is None else float(t)})
        total += count or 0
        told.append((at + 1.0, total))
        if spent is not None:
            reached = max(reached, float(t))
            times.append((at + 1.0, reached))
        if i in cuts:
            assert isinstance(tokens.known, bool)  # brings it up to date
            assert isinstance(clock.known, bool)
    if tokens.known:
        assert [tokens.to(x) for x, _ in told] == pytest.approx([v for _, v in told])
        assert tokens.to(table.x[0]) == 0
    if clock.known:
        assert [clock.to(x) for x, _ in times] == pytest.approx([v for _, v in times])


@given(st.lists(st.floats(0.01, 1000), min_size=2, max_size=50), st.floats(-20, 90))
def test_there_and_back_is_the_same_place(spent, x):
    """Also before the first and behind the last update."""
    table = Table()
    for i, seconds in enumerate(spent):
        table.put(i, {"seconds": seconds})
    x_scale = XScale("time", table)
    assert x_scale.known
    assert x_scale.back(x_scale.to(x)) == pytest.approx(x, abs=1e-5 * max(1.0, abs(x)))
    several = np.linspace(-3.0, len(spent) + 3.0, 17)
    assert x_scale.to(several) == pytest.approx([x_scale.to(float(v)) for v in several])


def test_a_scale_starts_again_when_rows_are_taken_back():
    """A resumed attempt does the updates again; their tokens count once."""
    table = Table()
    x_scale = XScale("tokens", table)
    for step in range(100):
        table.put(step, {"tokens": 10})
    assert x_scale.known
    assert x_scale.to(100) == 1000
    table.truncate(60)
    for step in range(60, 80):
        table.put(step, {"tokens": 20})
    assert x_scale.known
    assert x_scale.to(60) == 600
    assert x_scale.to(80) == 1000


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"tokens": 5.0}, "tokens"),
        ({"supervised_tokens": 5.0}, "supervised tokens"),
        ({"tokens_per_second": 2.5, "seconds": 2.0}, "tokens"),
    ],
)
def test_tokens_come_from_what_the_log_has(columns, words):
    """Counts first, then the supervised ones by their name, then speed times duration."""
    table = Table()
    for step in range(10):
        table.put(step, columns)
    x_scale = XScale("tokens", table)
    assert x_scale.known
    assert x_scale.words == words
    assert x_scale.to(10) == pytest.approx(50)


def test_epochs_without_the_logs_word_for_them():
    """From the rows of the run; the log's own number goes first."""
    state = state_of(RUN)
    view = View(now=lambda: 0.0)
    assert view.x_scale(state, "epoch").to(200) == pytest.approx(199 * 32 / 6400, abs=1e-6)
    bare = [
        dataclasses.replace(e, epoch=None) if isinstance(e, ev.StepFinished) else e for e in RUN
    ]
    x_scale = View(now=lambda: 0.0).x_scale(state_of(bare), "epoch")
    assert x_scale.to(200) == pytest.approx(1.0)
    assert x_scale.back(1.5) == pytest.approx(300)


def test_the_end_of_an_axis_stands_while_updates_come():
    """In what the axis measures, as it does in updates; most frames change few cells."""
    rng = random.Random(2)
    table = Table()
    x_scale = XScale("time", table)
    ends, now = [], 0.0
    for step in range(600):
        now += rng.uniform(0.3, 0.5)
        table.put(step, {"since_start": now})
        if step > 1 and x_scale.known:
            low, high = x_range(x_scale, 0.0, float(step), 2000.0, whole=False)
            assert low == 0
            assert high >= step + 1
            ends.append(round(x_scale.to(high), 6))
    assert len(set(ends)) < 30
    assert ends == sorted(ends)


@pytest.mark.parametrize("planned", [None, 400.0])
def test_the_axis_of_a_run_beyond_its_plan_grows_in_jumps_as_that_of_one_without(
    planned: float | None,
) -> None:
    """An end that moves with every row repaints the whole chart for each; the plan is its end
    until then."""
    ends = [x_range(None, 0.0, float(step), planned, whole=False)[1] for step in range(401, 2401)]
    assert all(end > step for step, end in enumerate(ends, 401))
    assert len(set(ends)) < 40
    if planned is not None:
        assert x_range(None, 0.0, 399.0, planned, whole=False) == (0.0, planned)


# ---- charts --------------------------------------------------------------------------------------


def steady(updates=300) -> list[ev.Event]:
    """A run in which every update takes the same tokens and the same time."""
    out = []
    for i, event in enumerate(fake_run(until=updates)):
        t = 1000.0 + 2.0 * (event.step or 0)
        stamp = ev.Stamp(seq=i + 1, t=t)
        if isinstance(event, ev.StepFinished):
            event = dataclasses.replace(event, tokens=4096, epoch=(event.step + 1) / 200)
        out.append(dataclasses.replace(event, stamp=stamp))
    return [e for e in out if not isinstance(e, ev.ControlApplied | ev.RankHeartbeat)]


@pytest.mark.parametrize("axis", AXES[1:])
@pytest.mark.parametrize("kind", [LossChart, AccuracyChart])
def test_a_steady_run_looks_the_same_on_every_axis(kind, axis):
    """Cell for cell, ticks and their labels apart: it is the same picture of the same part."""
    state = state_of(steady())
    plain, _ = chart(kind, state, viewport=Viewport(part=(50.0, 250.0), cursor=120.0))
    other, _ = chart(kind, state, viewport=Viewport(part=(50.0, 250.0), cursor=120.0), x_axis=axis)
    rows = slice(1, -4)
    same = (plain.codes[rows] == other.codes[rows]) & (plain.styles[rows] == other.styles[rows])
    assert same.mean() > 0.995


@pytest.mark.parametrize("axis", AXES)
def test_marks_stand_where_the_axis_says(axis):
    """The newest point, every validation and every checkpoint, by their own sums."""
    rng = random.Random(1)
    events = [
        dataclasses.replace(e, tokens=rng.randint(100, 9000))
        if isinstance(e, ev.StepFinished)
        else e
        for e in RUN
    ]
    state = state_of(events)
    viewport = Viewport(part=(20.0, 280.0))
    grid, view = chart(LossChart, state, width=160, height=40, viewport=viewport, x_axis=axis)
    steps = [e for e in events if isinstance(e, ev.StepFinished)]
    reached = {0: 0.0}
    for e in steps:
        after = e.step + 1
        reached[after] = {
            "step": float(after),
            "tokens": reached[e.step] + e.tokens,
            "epoch": e.epoch,
            "time": e.stamp.m - events[0].stamp.m,
        }[axis]
    low, high = reached[20], reached[280]
    panel = LossChart(state, view, id="p")
    panel.paint(Grid(40, 160))
    plot = panel.plot
    for step in [*state.validations, 100, 200, 287]:
        if 20 <= step < 280:
            wanted = plot.col + math.floor((reached[step] - low) / (high - low) * plot.width)
            assert plot.x_cell(step) == wanted
            if step in state.validations:
                row = plot.y_cell(state.validations[step].loss)
                # The first may be above the range: it is marked at its edge.
                assert chr(grid.codes[plot.row if row is None else row, wanted]) in "●★▴"
    for step in (100, 200):
        assert chr(grid.codes[panel.axis_row, plot.x_cell(step)]) in "◆◇"


def test_time_shows_a_pause_as_a_gap():
    """Two minutes of nothing between two updates; by steps there is none."""
    state = state_of(RUN)
    gaps = {}
    for axis in ("step", "time"):
        _, view = chart(LossChart, state, width=160, height=40, x_axis=axis, smoothing=3)
        panel = LossChart(state, view, id="p")
        panel.paint(Grid(40, 160))
        low, _ = panel.plot.columns(state.step_series("loss"))
        known = np.flatnonzero(np.isfinite(low))
        gaps[axis] = int(np.diff(known).max())
    assert gaps["step"] <= 2
    assert gaps["time"] > 40


@pytest.mark.parametrize(
    ("axis", "named", "frame"),
    [("tokens", "tokens", "x: tokens, so far"), ("epoch", "epoch", "x: epochs, so far"),
     ("time", "time", "x: time, so far"), ("step", "step", "x: so far")],
)  # fmt: skip
def test_the_axis_is_named(axis, named, frame):
    """In front of its labels, and in the frame with the part that is shown."""
    grid, _ = chart(LossChart, state_of(RUN), width=120, height=30, x_axis=axis)
    assert grid.line(28)[1:8].strip() == named
    assert frame in grid.line(29)


def test_a_zoom_is_told_in_the_axis_own_words():
    """Tokens with a unit, time as a clock."""
    state = state_of(RUN)
    grid, _ = chart(
        LossChart, state, width=120, viewport=Viewport(part=(100.0, 200.0)), x_axis="time"
    )
    assert "x: time, 0:0" in grid.line(23)
    grid, _ = chart(
        LossChart, state, width=120, viewport=Viewport(part=(100.0, 200.0)), x_axis="tokens"
    )
    assert "x: tokens, 50" in grid.line(23)
    assert "k to 1" in grid.line(23)


def test_a_log_without_tokens_is_drawn_by_steps_and_says_so():
    """A remembered axis that this log does not name."""
    events = [ev.StepFinished(step=i, loss=2.0 - i / 100) for i in range(50)]
    grid, _ = chart(LossChart, state_of(events), width=120, x_axis="tokens")
    assert "x: steps (no tokens in this log), so far" in grid.line(23)
    assert " step " in grid.line(22)


@given(low=st.floats(0, 1e6), span=st.floats(1, 1e7), most=st.integers(2, 12))
def test_time_ticks_are_round_and_inside(low, span, most):
    """Evenly spaced, not too many, each with a label of its own."""
    values, step = time_ticks(low, low + span, most)
    assert len(values) <= most + 2
    assert all(low - 1e-3 <= v <= low + span + 1e-3 for v in values)
    assert all(v % step < 1e-6 * step or step - v % step < 1e-6 * step for v in values)
    labels = [fmt.time_tick(v) for v in values]
    assert len(set(labels)) == len(labels)


def test_labels_of_times():
    """Short, and never two readings."""
    wanted = {0: "0", 30: "30s", 60: "1m", 90: "1m30", 3600: "1h", 4500: "1h15", 7200: "2h",
              4530: "1:15:30", 86400: "1d", 108000: "1d6h", 86401: "1d0:00:01"}  # fmt: skip
    assert {seconds: fmt.time_tick(seconds) for seconds in wanted} == wanted


# ---- keys ----------------------------------------------------------------------------------------


async def test_the_axis_changes_under_a_zoom_and_a_crosshair():
    """Both stay on their updates; the box says every measure; both charts follow."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("plus", "left", "left", "left_square_bracket")
        viewport = app.cockpit.view.viewport
        part, cursor = viewport.part, viewport.cursor
        assert part is not None
        assert cursor == 100
        seen = set()
        for axis in ("tokens", "epoch", "time", "step"):
            await pilot.press("h")
            await pilot.pause()
            assert app.cockpit.view.x_axis == axis
            assert (viewport.part, viewport.cursor) == (part, cursor)
            loss = panel_of(dashboard, "loss").text()
            for words in ("step", "tokens", "epoch", "time"):
                assert words in loss
            assert "100 " in loss
            seen.add(
                panel_of(dashboard, "accuracy").grid.line(
                    panel_of(dashboard, "accuracy").size.height - 2
                )
            )
        assert len(seen) == 4, "the accuracy chart has the same axis"


async def test_zoom_pan_and_crosshair_work_on_another_axis():
    """A press of an arrow is one column, zoom keeps the crosshair's column, the mouse points."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        loss = panel_of(dashboard, "loss")
        await pilot.press("h", "h", "h", "N")
        viewport = app.cockpit.view.viewport
        before = loss.plot.x_cell(viewport.cursor)
        at = viewport.cursor
        await pilot.press("plus")
        await pilot.pause()
        assert abs(loss.plot.x_cell(at) - before) <= 1
        await pilot.press("left")
        await pilot.pause()
        assert loss.plot.x_cell(viewport.cursor) in (before - 1, before - 2)
        await pilot.press("minus", "minus", "minus")
        assert viewport.part is None
        col = loss.plot.col + 10
        await pilot.hover("#loss", offset=(col, 4))
        await pilot.pause()
        assert loss.plot.x_cell(viewport.cursor) == col


async def test_an_axis_that_the_log_lacks_is_passed_over_with_a_word():
    """`h` goes to the next one there is."""
    app = make([ev.StepFinished(step=i, loss=2.0, seconds=1.5) for i in range(50)])
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await pilot.press("h")
        await pilot.pause()
        assert app.cockpit.view.x_axis == "time"
        assert "x: time in updates" in panel_of(dashboard, "loss").grid.line(
            panel_of(dashboard, "loss").size.height - 1
        )
        said = [n.message for n in app._notifications]
        assert said == ["This log names no tokens and no epochs."]
        await pilot.press("h")
        assert app.cockpit.view.x_axis == "step"


async def test_the_axis_is_remembered(monkeypatch, tmp_path):
    """Between two screens; an unknown name in the file is the default."""
    monkeypatch.setenv("SFTUI_CONFIG", str(tmp_path / "p.json"))
    app = make()
    app._preferences = Preferences()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("h")
        preferences.save(app.preferences())
    assert preferences.load().x_axis == "tokens"
    (tmp_path / "p.json").write_text('{"x_axis": "parsecs"}')
    app = make()
    app._preferences = preferences.load()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        assert app.cockpit.view.x_axis == "step"
