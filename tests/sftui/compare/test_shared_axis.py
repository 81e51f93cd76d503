"""What x measures over several runs: places by definition, what is read there, what is refused."""

import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import events as ev
from engine.errors import UsageError
from sftui import cli
from sftui.compare import numbers
from sftui.compare.overlaid_runs import Contender, Overlay
from sftui.compare.overlay_feed import open_overlay
from sftui.compare.overlay_reading import OverlayReading, one_a_column
from sftui.compare.shared_axis import AXES, AxisName, SharedAxes
from sftui.compare_app import CompareApp
from sftui.drawing.canvas import Grid
from sftui.report import chart_files
from sftui.state.run_state import RunState
from sftui.widgets.overlay_chart import OverlayChart
from tests.sftui.screens.test_overlay import read, three, write_log

START = 1_700_000_000.0


def state_of(
    tokens: list[int], seconds: list[float], planned: int | None = None, mark: int | None = None
) -> RunState:
    """A run with these tokens and seconds an update, and a validation at update `mark`."""
    state, now = RunState(), START
    events: list[tuple[float, ev.Event]] = [
        (now, ev.RunStarted(name="run", num_iterations=planned, settings={}))
    ]
    for step, (count, took) in enumerate(zip(tokens, seconds, strict=True)):
        now += took
        loss = 2.0 / (1 + step / 10)
        done = ev.StepFinished(
            step=step, loss=loss, tokens=count, seconds=took, grad_norm=1.0 + step
        )
        events.append((now, done))
    if mark is not None:
        events.append((now, ev.ValidationFinished(step=mark, loss=1.0)))
    for t, event in events:
        state.apply(dataclasses.replace(event, stamp=ev.Stamp(t=t)))
    return state


def overlay_of(*states: RunState) -> Overlay:
    return Overlay([
        Contender(place=i, title=f"run{i}", path=Path(f"run{i}"), state=state, loading=False)
        for i, state in enumerate(states)
    ])  # fmt: skip


def painted(overlay: Overlay, rows: int = 30, columns: int = 90) -> tuple[OverlayChart, Grid]:
    chart, grid = OverlayChart(RunState(), overlay, id="chart"), Grid(rows, columns)
    chart.paint(grid)
    return chart, grid


def defined_place(name: str, run: tuple[list[int], list[float], int | None], step: int) -> float:
    """Where weights with `step` updates stand, said anew: from what the run was given."""
    tokens, seconds, planned = run
    match name:
        case "step":
            return float(step)
        case "tokens":
            return float(sum(tokens[:step]))
        case "time":
            return float(sum(seconds[:step]))
        case _:
            return 100.0 * step / (planned or len(tokens))


RUN = st.integers(3, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 5000), min_size=n, max_size=n),
        st.lists(st.sampled_from([0.25, 0.5, 1.0, 3.0, 8.0]), min_size=n, max_size=n),
        st.one_of(st.none(), st.integers(n + 1, 2 * n)),
    )
)


@settings(max_examples=40, deadline=None)
@given(runs=st.lists(RUN, min_size=2, max_size=3), data=st.data())
def test_on_every_axis_a_point_is_drawn_where_it_stands_by_definition(runs, data):
    """The column of each run's validation, found in the painted cells, from sums made here."""
    marks = [data.draw(st.integers(1, len(tokens))) for tokens, _, _ in runs]
    states = [
        state_of(tokens, seconds, planned, mark)
        for (tokens, seconds, planned), mark in zip(runs, marks, strict=True)
    ]
    # Above the curves and beside each other, so that no letter and no other mark lies on one.
    for i, state in enumerate(states):
        [found] = state.validation_list()
        state.validations.put(dataclasses.replace(found, loss=4.0 + i))
    for name in AXES:
        overlay = overlay_of(*states)
        overlay.axis_name = name
        chart, grid = painted(overlay)
        plot = chart.plot
        assert plot is not None
        assert overlay.axis()[0].name == name
        # Our runs only evaluate in their last iteration: it is no update.
        used = [
            (tokens, seconds, planned - 1 if planned is not None else None)
            for tokens, seconds, planned in runs
        ]
        ends = [defined_place(name, run, len(run[0])) for run in used]
        low, high = plot.axis_limits
        assert low == 0.0
        assert high == pytest.approx(max(ends), rel=1e-5)
        for contender, run, mark in zip(overlay.contenders, used, marks, strict=True):
            part = defined_place(name, run, mark) / high * plot.width
            cells = [
                row.index(contender.mark, plot.col) - plot.col
                for row in grid.lines()[plot.row : plot.row + plot.height]
                if contender.mark in row[plot.col : plot.col + plot.width]
            ]
            # A clock is kept in 32 bits: a place at a cell's edge may fall on its other side.
            [cell] = cells
            assert math.floor(part - 1e-3) <= cell <= math.floor(part + 1e-3), (name, mark)


def test_runs_of_other_length_and_batch_meet_at_equal_tokens():
    """A takes 40 updates of 1,000 tokens, B 160 of 250: by tokens they end in one column, and the
    crosshair reads update 20 of A beside update 80 of B."""
    overlay = overlay_of(state_of([1000] * 40, [1.0] * 40), state_of([250] * 160, [1.0] * 160))
    reading = OverlayReading(overlay)
    a, b = overlay.contenders
    overlay.view.viewport.cursor = 20.0
    overlay.view.smoothing = 3
    overlay.axis_name = "tokens"
    chart, grid = painted(overlay)
    plot = chart.plot
    assert plot is not None
    assert plot.axis_limits == (0.0, 40_000.0)
    ends = [plot.on(overlay.axis()[0].scales[c.letter]).x_cell(n) for c, n in ((a, 40), (b, 160))]
    assert ends == [plot.col + plot.width - 1] * 2
    text = "\n".join(grid.lines())
    assert "A @20" in text
    assert "B @80" in text
    assert "20k" in text
    assert f"{2.0 / (1 + 20 / 10):.4f}" in text
    assert f"{2.0 / (1 + 80 / 10):.4f}" in text
    assert "step 20" in reading.copied()[0]
    assert "step 80" in reading.copied()[1]
    overlay.axis_name = "step"
    painted(overlay)
    assert reading.own(b, 20.0) == 20.0


@given(runs=st.tuples(RUN, RUN), part=st.floats(0.05, 0.9), name=st.sampled_from(AXES))
@settings(max_examples=20, deadline=None)
def test_pinning_another_run_leaves_what_is_in_sight_where_it_is(runs, part, name):
    """The view counts in updates of the pinned run; the place on the axis stays the same."""
    overlay = overlay_of(*(state_of(*run) for run in runs))
    overlay.axis_name = name
    place = part * max(overlay.axis()[0].to("A", len(runs[0][0])), 1e-3)
    overlay.view.viewport.cursor = overlay.axis()[0].back("A", place)
    overlay.pin()
    cursor = overlay.view.viewport.cursor
    assert cursor is not None
    assert overlay.axis()[0].to("B", cursor) == pytest.approx(place, rel=1e-9)


def test_an_axis_that_a_run_does_not_have_is_left_out_with_the_reason(tmp_path):
    """A CSV of steps and losses has no tokens and no clock: h goes on to the share."""
    overlay = three(tmp_path).overlay
    said = overlay.next_axis()
    assert overlay.axis_name == "share"
    assert "A, B and C name no tokens." in said
    assert "A, B and C name no time." in said
    # Another run in sight that has it does not help those that have not; hiding them does.
    rich = overlay_of(state_of([9] * 5, [1.0] * 5), overlay.contenders[1].state)
    assert "B names no tokens." in rich.next_axis()
    rich.contenders[1].hidden = True
    rich.axis_name = "step"
    rich.next_axis()
    assert rich.axis_name == "tokens"
    rich.contenders[1].hidden = False
    axis, reason = rich.axis()
    assert (axis.name, reason) == ("step", "B names no tokens.")
    assert "steps (B names no tokens)" in painted(rich)[1].lines()[-1]


def test_tokens_of_another_kind_do_not_meet():
    """All tokens of one run and the supervised ones of another are no common measure."""
    ours, theirs = state_of([9] * 5, [1.0] * 5), RunState()
    for step in range(5):
        theirs.apply(ev.StepFinished(step=step, loss=1.0, supervised_tokens=9))
    axis, reason = SharedAxes().get("tokens", [("A", ours), ("B", theirs)])
    assert axis.name == "step"
    assert reason == "No tokens that all count alike: A tokens, B supervised tokens."


def test_the_command_refuses_the_axis_and_says_what_is_shared(tmp_path, capsys):
    """Exit code 2, the runs that lack it, and what to type; so for a number that none has."""
    logs = [str(write_log(tmp_path, name, start=2.0)) for name in "ab"]
    assert cli.main(["compare", *logs, "--plain", "--by", "tokens"]) == 2
    said = capsys.readouterr().err
    assert "A and B name no tokens." in said
    assert "--by share, step" in said
    assert cli.main(["compare", *logs, "--plain", "--metric", "grad_nrom"]) == 2
    assert "grad_norm" in capsys.readouterr().err
    assert cli.main(["compare", f"{logs[0]},{logs[1]}", *logs[:1], "--by", "share"]) == 2
    assert "recipes" in capsys.readouterr().err


def test_what_is_printed_tells_the_losses_where_all_have_come(tmp_path, capsys):
    """Half the length: by share A's last update stands beside B's last, by steps beside its middle;
    the verdicts are those of any axis."""
    logs = [
        str(write_log(tmp_path, name, start=2.0, steps=steps))
        for name, steps in (("a", 100), ("b", 200))
    ]
    found = {}
    for by in ("step", "share"):
        assert cli.main(["compare", *logs, "--json", "--by", by]) == 0
        found[by] = json.loads(capsys.readouterr().out)
    assert [run["step"] for run in found["step"]["same_place"]["runs"]] == [99, 99]
    steps = [run["step"] for run in found["share"]["same_place"]["runs"]]
    assert steps[0] == 99
    assert abs(steps[1] - 198) <= 1
    plain = [{k: v for k, v in each.items() if k != "same_place"} for each in found.values()]
    assert plain[0] == plain[1]
    assert cli.main(["compare", *logs, "--plain", "--by", "share", "--metric", "grad_norm"]) == 0
    out = capsys.readouterr().out
    assert "gradient norm at share of the run" in out
    assert "gradient norm by share of the run, %" in out


def test_another_number_has_its_validation_beside_it():
    """Rewards with those of the validation set; an accuracy by its points, in percent."""
    state = state_of([9] * 40, [1.0] * 40)
    for step in range(40):
        state.apply(ev.MetricLogged(step=step, values={"rewards/chosen": step / 40}))
    state.apply(ev.MetricLogged(step=20, values={"eval_rewards/chosen": 0.25}))
    state.apply(ev.EvalFinished(step=10, task="MMLU", correct=30, total=100))
    state.apply(ev.EvalFinished(step=40, task="MMLU", correct=40, total=100))
    names = numbers.names_of([state])
    assert names[0] == "loss"
    assert {"accuracy/MMLU", "grad_norm", "rewards/chosen"} <= set(names)
    assert not {"eval_rewards/chosen", "tokens", "since_start"} & set(names)
    assert numbers.find("mmlu", [state]) == "accuracy/MMLU"
    assert numbers.find("gradient norm", [state]) == "grad_norm"
    with pytest.raises(UsageError, match="grad_norm"):
        numbers.find("grad_nrm", [state])
    overlay = overlay_of(state, state_of([9] * 40, [1.0] * 40))
    overlay.show_number("rewards/chosen")
    steps, heights = OverlayReading(overlay).marked(overlay.contenders[0])
    assert (steps.tolist(), heights.tolist()) == ([20.0], [0.25])
    overlay.show_number("accuracy/MMLU")
    text = "\n".join(painted(overlay)[1].lines())
    assert "MMLU, %" in text
    assert "B: none of it" in text
    assert "40 ┤" in text
    assert overlay.drawn == overlay.contenders[:1]
    # The evaluation nearest to the crosshair is read once, and its own step is told.
    overlay.view.viewport.cursor = 14.0
    text = "\n".join(painted(overlay)[1].lines())
    assert text.count("@10") == 1
    assert "A @10  30.0%" in text


def test_an_exported_table_has_the_places_of_every_run():
    """By tokens, update 10 of A stands at 10,000 and of B at 2,500: a column each."""
    overlay = overlay_of(state_of([1000] * 40, [1.0] * 40), state_of([250] * 160, [1.0] * 160))
    overlay.axis_name = "tokens"
    data = painted(overlay)[0].chart_data()
    assert data is not None
    rows = list(csv.DictReader(io.StringIO(chart_files.as_csv(data))))
    assert (rows[10]["A tokens"], rows[10]["B tokens"]) == ("10000.0", "2500.0")
    assert (rows[100]["A tokens"], rows[100]["B tokens"]) == ("", "25000.0")
    assert float(rows[100]["B loss"]) == pytest.approx(2.0 / 11, rel=1e-6)


def test_many_validations_leave_the_curves_in_sight():
    """Of 3,000 on 80 columns one a column, the newest; read once, not for every frame."""
    states = [state_of([9] * 3000, [1.0] * 3000) for _ in range(2)]
    for state in states:
        for step in range(3000):
            state.apply(ev.ValidationFinished(step=step, loss=1.0 + step / 3000))
    chart, grid = painted(overlay_of(*states))
    first = chart.reading.marked(chart.overlay.contenders[0])
    chart.paint(grid)
    assert chart.reading.marked(chart.overlay.contenders[0]) is first
    plot = chart.plot
    assert plot is not None
    found = one_a_column(plot, first)
    assert [column for column, _ in found] == list(range(plot.col, plot.col + plot.width))
    assert found[-1][1] == pytest.approx(1.0 + 2999 / 3000)


async def test_flags_of_the_screen_hold_once_the_runs_are_read(tmp_path):
    """`--by` and `--metric` show at once; what the runs do not have is said, and the loss by steps
    stays."""
    logs = [str(write_log(tmp_path, name, start=2.0)) for name in "ab"]
    cases: list[tuple[AxisName, str, str, str]] = [
        ("share", "grad_norm", "share", "grad_norm"),
        ("tokens", "nothing", "step", "loss"),
    ]
    for by, metric, axis, number in cases:
        feed = open_overlay(logs)
        read(feed)
        app = CompareApp(feed, by=by, metric=metric)
        async with app.run_test(size=(120, 36), notifications=True) as pilot:
            await pilot.pause()
            assert feed.overlay.axis()[0].name == axis
            assert feed.overlay.number == number
            said = " ".join(note.message for note in app._notifications)
            assert ("A and B name no tokens" in said) == (axis == "step")
            assert ("none of these runs" in said) == (axis == "step")
        feed.close()
