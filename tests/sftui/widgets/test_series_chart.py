"""Many small charts in one panel, from states to a grid; no app is running."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine import events as ev
from sftui.drawing.canvas import BRAILLE, Grid
from sftui.drawing.roles import Back, Role, parts
from sftui.drawing.short_names import short_names
from sftui.state.run_state import RunState
from sftui.state.series import Floats, Rows, Series, Table
from sftui.view.chart_page import ChartPage, Look
from sftui.view.chart_panels import ChartRun
from sftui.view.view import View
from sftui.view.viewport import Viewport
from sftui.widgets.series_chart import SeriesCharts
from tests.benchmarks.chart_page import LENGTH_RATIO, costs, long_state
from tests.sftui.fake_run import fake_run


def state_of(until: int = 120) -> RunState:
    state = RunState()
    for event in fake_run(until=until):
        state.apply(event)
    return state


def drawn(
    state: RunState,
    *,
    width: int = 160,
    height: int = 46,
    runs: list[ChartRun] | None = None,
    **page,
) -> tuple[Grid, SeriesCharts]:
    """The grid of a page, and its panel."""
    cursor = page.pop("cursor", None)
    view = View(now=lambda: 0.0, chart_page=ChartPage(**page), viewport=Viewport(cursor=cursor))
    several = None if runs is None else lambda: runs
    charts = SeriesCharts(state, view, id="charts", runs=several)
    grid = Grid(height, width)
    charts.paint(grid)
    return grid, charts


def text(grid: Grid) -> str:
    return "\n".join(grid.lines())


def of_metric(values: np.ndarray, name: str = "m", x: np.ndarray | None = None) -> RunState:
    """A state with one free metric."""
    state = RunState()
    table = state.metrics[name] = Table([name])
    places = np.arange(len(values), dtype=np.float64) if x is None else x
    table.extend(places, {name: values.astype(np.float32)})
    return state


def roles_of(grid: Grid) -> set[Role]:
    """Roles of the braille cells."""
    at = grid.codes > BRAILLE
    at &= grid.codes < BRAILLE + 256
    return {parts(int(number))[0] for number in grid.styles[at]}


def test_every_number_of_a_run_is_a_chart():
    """Ours by update, group and rank, validation, accuracy, and what a log adds."""
    state = state_of()
    state.apply(ev.MetricLogged(step=3, values={"rewards/chosen": 0.4}, stamp=ev.Stamp(seq=9_999)))
    _, charts = drawn(state)
    names = {curve.name for panel in charts.panels for curve in panel.curves}
    assert {"loss", "val/loss", "grad_norm", "tokens_per_second", "rewards/chosen"} <= names
    assert {f"accuracy/{task}" for task in state.evals} <= names
    assert {"rank 0/memory_bytes", "rank 1/load"} <= names


def test_train_and_validation_are_told_apart_and_named():
    """Two roles, a legend, both newest values in the corner."""
    grid, charts = drawn(state_of(), rows=1, columns=1)
    words = text(grid)
    assert "━ train" in words
    assert "● val" in words
    assert {Role.TRAIN, Role.VAL_LINE} <= roles_of(grid)
    last = charts.panels[0].curves[1].series.last
    assert last is not None
    assert f"{last:.4f}" in grid.line(1)


def test_one_crosshair_goes_through_all_charts_by_the_same_axis():
    """Ranks, whose numbers come by the clock, included; each says its value there."""
    state = state_of()
    grid, charts = drawn(state, cursor=60.0)
    plots = [plot for _, plot in charts.cells if plot is not None]
    assert len(plots) >= 10
    tinted = {
        x
        for x in range(grid.width)
        if any(parts(int(n))[2] is Back.CURSOR for n in grid.styles[:, x])
    }
    expected = {cell.x + plot.x_cell(60.0) for cell, plot in charts.cells if plot is not None}
    assert tinted == expected
    loss = charts.panels[0].curves[0].series
    assert f"{float(loss.y[60]):.4f}" in grid.line(1)


def test_an_outlier_does_not_set_the_range_and_is_marked():
    """A spike of a million among a thousand small values; `all` shows it."""
    values = np.sin(np.arange(100) / 9)
    values[50] = 1e6
    grid, charts = drawn(of_metric(values), rows=1, columns=1)
    ((cell, plot),) = charts.cells
    assert plot is not None
    assert plot.y_high < 10
    assert "1 above ▴" in text(grid)
    assert "▴" in grid.line(cell.y + 1)
    below, _ = drawn(of_metric(-values), rows=1, columns=1)
    assert "1 below ▾" in text(below)
    _, charts = drawn(of_metric(values), looks={"m": Look(range="all")})
    plot = charts.cells[0][1]
    assert plot is not None
    assert plot.y_high >= 1e6


def test_what_is_measured_on_other_data_decides_when_asked_to():
    """A validation that moves by a hundredth fills the height of its chart."""
    state = RunState()
    rng = np.random.default_rng(0)
    for step in range(400):
        loss = 1.0 + float(rng.normal(0, 0.3))
        state.apply(ev.StepFinished(step=step, loss=loss, stamp=ev.Stamp(seq=2 * step + 1)))
        if step % 40 == 0:
            val = ev.ValidationFinished(
                step=step, loss=1.08 - step / 40_000, stamp=ev.Stamp(seq=2 * step + 2)
            )
            state.apply(val)
    _, charts = drawn(state, rows=1, columns=1, looks={"loss": Look(range="val")})
    plot = charts.cells[0][1]
    assert plot is not None
    assert plot.y_high - plot.y_low < 0.03


def test_few_points_are_joined_and_many_are_averaged():
    """A curve of 31 points goes through them; of 30,000 the mean lies on the raw extremes."""
    grid, _ = drawn(of_metric(np.linspace(3, 1, 31)), rows=1, columns=1)
    assert roles_of(grid) == {Role.TRAIN}
    assert "every point" in grid.line(0)
    noisy = np.random.default_rng(0).normal(0, 1, 30_000)
    grid, _ = drawn(of_metric(noisy), rows=1, columns=1)
    assert roles_of(grid) == {Role.TRAIN, Role.RAW}
    assert "mean of 2.5% of x" in grid.line(0)


@pytest.mark.parametrize("total", [64, 1000, 100_000])
def test_a_task_that_stands_still_does_not_fill_the_height(total):
    """The range holds every value with its error: answers drawn anew each time wander within."""
    rng, state = np.random.default_rng(total), RunState()
    for step in range(0, 200, 20):
        right = int(rng.binomial(total, 0.25))
        done = ev.EvalFinished(step=step, task="T", correct=right, total=total,
                               accuracy=right / total, stamp=ev.Stamp(seq=step + 1))  # fmt: skip
        state.apply(done)
    _, charts = drawn(state)
    plot = charts.cells[0][1]
    assert plot is not None
    error = 100 * math.sqrt(0.25 * 0.75 / total)
    values = [100 * done.accuracy for done in state.evals["T"].ordered]
    assert plot.y_low <= min(values) - 0.8 * error
    assert plot.y_high >= max(values) + 0.8 * error


def test_accuracy_has_its_standard_error_as_a_tint():
    """Only where counts are known."""
    grid, charts = drawn(state_of(), query="accuracy/*")
    assert charts.panels
    assert any(parts(int(n))[2] is Back.ROW for n in np.unique(grid.styles))
    state = RunState()
    for step in (0, 50):
        state.apply(
            ev.EvalFinished(step=step, task="T", accuracy=0.5, stamp=ev.Stamp(seq=step + 1))
        )
    grid, _ = drawn(state)
    assert not any(parts(int(n))[2] is Back.ROW for n in np.unique(grid.styles))


def test_more_ranks_than_colours_are_drawn_as_lowest_and_highest():
    """64 ranks: one band on one chart."""
    state = RunState()
    for beat in range(20):
        for rank in range(64):
            state.apply(
                ev.RankHeartbeat(
                    rank=rank,
                    memory_bytes=10**9 + rank * 10**7,
                    memory_kind="resident",
                    stamp=ev.Stamp(src=f"r{rank}", seq=beat + 1, t=1000.0 + beat),
                )
            )
    grid, charts = drawn(state, query="memory_bytes")
    assert len(charts.panels) == 1
    assert len(charts.panels[0].curves) == 64
    assert roles_of(grid)


def test_several_runs_have_their_colours_and_letters():
    """As on the screen of `sftui compare`."""
    runs = [
        ChartRun(state=state_of(), letter="A", role=Role.TRAIN),
        ChartRun(state=state_of(60), letter="B", role=Role.SAVED),
    ]
    grid, _ = drawn(runs[0].state, runs=runs, rows=1, columns=1, query="loss !val !rows !micro")
    assert {Role.TRAIN, Role.SAVED} <= roles_of(grid)
    assert "━ A " in text(grid)
    assert "━ B " in text(grid)
    assert "train" not in text(grid)


@pytest.mark.parametrize("width", [26, 40, 80, 160])
def test_curves_that_share_a_chart_are_all_named_or_counted(width):
    """In the title, else on the lower border: a colour without a name says nothing."""
    shared = 0
    for query in ("load by rank", "memory by rank", "learning rate by group"):
        grid, charts = drawn(state_of(), width=width, height=12, query=query)
        for cell, _ in charts.cells:
            panel = charts.panels[cell.place]
            rows = grid.lines()[cell.y : cell.y + cell.height]
            border = [row[cell.x : cell.x + cell.width] for row in (rows[0], rows[-1])]
            short = short_names([c.label for c in panel.curves], 6)
            named = [c for c in panel.curves
                     if any(f" {word}" in row for word in (c.label, short[c.label])
                            for row in border)]  # fmt: skip
            left = len(panel.curves) - len(named)
            shared += len(panel.curves) > 1
            assert not left or any(f" +{left}" in row for row in border), border
            assert rows[0][cell.x] + rows[-1][cell.x] == "╭╰"
            assert rows[-1][cell.x + cell.width - 1] == "╯"
    assert shared


def test_an_empty_page_says_the_next_key():
    """No number yet, a filter that nothing matches, nothing pinned."""
    grid, _ = drawn(RunState())
    assert "no number has come yet" in text(grid)
    grid, _ = drawn(state_of(), query="nothing at all")
    assert "no chart matches: esc shows all of them" in text(grid)
    view = View(now=lambda: 0.0)
    pinned = SeriesCharts(state_of(), view, id="pinned", pinned=True)
    grid = Grid(10, 80)
    pinned.paint(grid)
    assert "m opens all of them, p pins one" in text(grid)


def test_what_is_pinned_is_drawn_in_its_order():
    """A pin of another run's number is passed over."""
    view = View(now=lambda: 0.0, chart_page=ChartPage(pins=["grad_norm", "not here", "loss"]))
    pinned = SeriesCharts(state_of(), view, id="pinned", pinned=True)
    pinned.paint(Grid(12, 80))
    assert [panel.key for panel in pinned.panels] == ["grad_norm", "loss"]


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=60),
    st.integers(1, 90),
    st.integers(1, 30),
    st.booleans(),
    st.sampled_from(["eye", "all", "zero", "val"]),
    st.booleans(),
    st.none() | st.floats(-5, 70),
)
def test_any_numbers_are_drawn_at_any_size(values, width, height, log_y, y_range, full, cursor):
    """NaN, infinities, one point, all alike, negative on a logarithmic axis."""
    state = of_metric(np.array(values))
    look = Look(log_y=log_y, range=y_range)
    grid, _ = drawn(state, width=width, height=height, looks={"m": look}, full=full, cursor=cursor)
    assert len(grid.lines()) == height


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, -5.0])
def test_a_number_that_never_changes_is_a_line(value):
    """In the middle of its axis, also where floats end."""
    grid, charts = drawn(of_metric(np.full(50, value)), rows=1, columns=1)
    plot = charts.cells[0][1]
    assert plot is not None
    assert plot.y_low < plot.y_high
    assert math.isfinite(plot.y_low)
    assert roles_of(grid) == {Role.TRAIN}


def test_charts_of_one_page_are_told_apart_by_their_titles():
    """60 rewards of a trainer whose names begin and end alike, on 80 columns."""
    names = [f"rewards/function_{i}_of_them/mean_of_group" for i in range(60)]
    state = RunState()
    for step in range(9):
        state.apply(ev.MetricLogged(step=step, values=dict.fromkeys(names, 1.0)))
    grid, charts = drawn(state, width=80, height=22, rows=2, columns=2)
    assert len(charts.panels) == 60
    titles = re.findall(r"╭─ (\S+) ─", text(grid))
    assert len(titles) == 4
    assert len(set(titles)) == 4, titles


def test_a_page_costs_the_same_at_any_length():
    """Sixteen charts of 2,000 and of 100,000 points each; medians of CPU, in turns."""
    for _ in range(3):
        found = costs((2_000, 100_000), 9)
        if found[100_000][0] <= LENGTH_RATIO * found[2_000][0]:
            return
    pytest.fail(f"{found}: longer logs cost more")


_CHANGES = st.lists(
    st.sampled_from(
        ["row", "rewritten", "cut", "crosshair", "zoom", "axis", "focus", "range", "smoothing"]
    ),
    max_size=12,
)


@hypothesis_settings(max_examples=15, deadline=None)
@given(_CHANGES, st.integers(0, 2**32 - 1))
def test_what_is_kept_of_the_last_picture_never_shows_an_older_one(changes, seed):
    """Whatever happens between two pictures, the second is that of a panel that kept nothing."""
    rng = np.random.default_rng(seed)
    state = state_of(until=60)
    for name in ("a", "b", "reward/margin"):
        table = state.metrics[name] = Table([name])
        table.extend(np.arange(3000.0), {name: rng.normal(0, 1, 3000)})
    _, charts = drawn(state)
    view, page = charts.view, charts.page
    for change in changes:
        table = state.metrics[str(rng.choice(["a", "b"]))]
        step = int(rng.integers(0, 3000))
        match change:
            case "row":
                table.put(len(table) + 10_000, {next(iter(table.names)): 9.0})
            case "rewritten":
                table.put(step, {next(iter(table.names)): 100.0})
            case "cut":
                table.truncate(step + 100)
            case "crosshair":
                view.viewport.point(float(step))
            case "zoom":
                view.viewport.part = (float(step), step + 500.0)
            case "axis":
                view.x_axis = str(rng.choice(["step", "tokens", "time"]))
            case "focus":
                page.move(charts.panels, int(rng.integers(-9, 9)))
            case "range":
                page.next_range(charts.panels[page.focused(charts.panels)])
            case "smoothing":
                view.smoothing = int(rng.integers(0, 3))
        grid, anew = Grid(46, 160), Grid(46, 160)
        charts.paint(grid)
        charts._sheets, charts._readings = {}, {}
        charts.paint(anew)
        assert grid.lines() == anew.lines()
        assert (grid.styles == anew.styles).all()


def test_a_crosshair_moves_over_a_page_without_reading_a_number_again(monkeypatch):
    """The mouse moves a hundred times a second, and nothing of the curves has changed."""
    _, charts = drawn(long_state(50_000), cursor=10.0, rows=4, columns=4)
    read: list[Series] = []
    extremes = Series.extremes

    def counted(series: Series, edges: Rows) -> tuple[Floats, Floats]:
        read.append(series)
        return extremes(series, edges)

    monkeypatch.setattr(Series, "extremes", counted)
    charts.view.viewport.point(20_000.0)
    grid = Grid(46, 160)
    charts.paint(grid)
    assert not read
    table = charts.state.metrics["metric_00"]
    table.put(50_001, {"metric_00": 1.0})
    charts.paint(grid)
    assert read == [table.series("metric_00")]
