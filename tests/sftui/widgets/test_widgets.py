"""Panels, each from a state to a grid; no app is running."""

import itertools
import math
import re

import numpy as np
import pytest

from engine import events as ev
from sftui.drawing.canvas import Grid
from sftui.drawing.plot import Plot
from sftui.drawing.roles import Back, Role, parts
from sftui.state.results import Evaluations, Validations
from sftui.state.run_state import RunState
from sftui.view.view import View
from sftui.view.viewport import Viewport
from sftui.widgets.accuracy_chart import AccuracyChart
from sftui.widgets.alarm_bar import AlarmBar, rows_wanted
from sftui.widgets.benchmarks import Benchmarks
from sftui.widgets.checkpoint_panel import CheckpointPanel
from sftui.widgets.footer import KeyFooter
from sftui.widgets.log_pane import LogPane
from sftui.widgets.loss_chart import LossChart
from sftui.widgets.now import Now
from sftui.widgets.rank_table import RankTable
from sftui.widgets.run_header import RunHeader
from sftui.widgets.small_summary import SmallSummary
from sftui.widgets.validation_table import ValidationTable
from tests.sftui.fake_run import GIB, START, fake_run

ALL = (
    RunHeader,
    LossChart,
    AccuracyChart,
    Now,
    RankTable,
    Benchmarks,
    CheckpointPanel,
    LogPane,
    SmallSummary,
    KeyFooter,
    ValidationTable,
)


def drawn(kind, events, *, width=100, height=24, now=None, **look) -> Grid:
    """The grid of one panel after these events."""
    state = RunState()
    for event in events:
        state.apply(event)
    view = View(now=lambda: now if now is not None else (state.last_t or START), **look)
    grid = Grid(height, width)
    kind(state, view, id="panel").paint(grid)
    return grid


def text(grid: Grid) -> str:
    return "\n".join(grid.lines())


def roles(grid: Grid, words: str) -> set[Role]:
    """Colours of the first place where these words stand."""
    for row, line in enumerate(grid.lines()):
        col = line.find(words)
        if col >= 0:
            return {parts(int(n))[0] for n in grid.styles[row, col : col + len(words)]}
    raise AssertionError(f"{words!r} is not on the panel:\n{text(grid)}")


STATES = {
    "empty": [],
    "started": fake_run(until=0)[:5],
    "first step": fake_run(until=1),
    "running": fake_run(until=288),
    "finished": fake_run(),
    "cuda": fake_run(until=30, device="cuda"),
    "odd": [
        ev.StepFinished(step=3, loss=math.nan),
        ev.StepFinished(step=4, loss=math.inf, grad_norm=math.nan, lr_mult=0.0),
        ev.ValidationFinished(step=4, loss=math.nan),
        ev.EvalFinished(step=4, task="T", accuracy=0.3),
        ev.EvalFinished(step=9, task="U", correct=0, total=0),
        ev.CheckpointSaved(step=4, path="x"),
        ev.RankHeartbeat(rank=7),
        ev.RunFinished(status="failed"),
    ],
}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", STATES)
def test_every_panel_draws_every_state_at_every_size(kind, name):
    """No panel raises, in no state, in no size, with any look."""
    for width, height in ((1, 1), (2, 2), (7, 3), (20, 5), (36, 8), (80, 15), (200, 60)):
        for look in ({}, {"log_y": True, "whole": True, "smoothing": 3, "x_axis": "time"}):
            drawn(kind, STATES[name], width=width, height=height, **look)


# ---- loss chart ------------------------------------------------------------------------------


def test_chart_has_its_marks():
    """Validation, best with its value, newest point, checkpoints, events with words, rate."""
    grid = drawn(LossChart, STATES["running"], width=140, height=34)
    words = text(grid)
    for mark in ("●", "★", "◉", "◆", "▾", "┊", "best 1.03", "paused 2m 05s", "lr ×0.5", "×1"):
        assert mark in words
    assert "linear · mean of" in words


def test_last_point_of_the_run_is_on_the_chart():
    """The final validation and checkpoint lie exactly at the end of the axis, not beyond it."""
    grid = drawn(LossChart, STATES["finished"], width=120, height=30)
    axis = next(line for line in grid.lines() if "└" in line and "◆" in line)
    plot = axis.rindex("◆")
    assert axis[plot + 1] == " "
    column = [line[plot] for line in grid.lines()]
    assert "●" in column or "★" in column or "◉" in column


def test_spikes_are_clipped_marked_and_counted():
    """A lone spike neither flattens the curve nor disappears."""
    events = [ev.StepFinished(step=s, loss=1 + 0.01 * (s % 7)) for s in range(400)]
    events[200] = ev.StepFinished(step=200, loss=50.0)
    events[300] = ev.StepFinished(step=300, loss=math.inf)
    grid = drawn(LossChart, events, width=120, height=30)
    assert "2 above" in text(grid)
    assert "1 not finite" in text(grid)
    assert "▴" in text(grid)
    assert "50" not in [line[1:8].strip() for line in grid.lines()]


def test_updates_above_the_range_are_counted_and_not_their_columns():
    """Six updates beside each other are six, however many columns or spikes they make."""
    events = [ev.StepFinished(step=s, loss=1 + 0.01 * (s % 7)) for s in range(400)]
    for step in (*range(200, 206), 300):
        events[step] = ev.StepFinished(step=step, loss=50.0)
    for width in (60, 120, 240):
        assert "7 above" in text(drawn(LossChart, events, width=width, height=30))


def test_the_line_that_joins_validations_cuts_no_hole_into_the_losses():
    """Where both pass and every loss is drawn, the cell shows the losses."""
    losses = [ev.StepFinished(step=s, loss=1.0 + 0.2 * (s % 2)) for s in range(60)]
    flat = [ev.ValidationFinished(step=s, loss=1.1) for s in range(0, 60, 10)]

    def cells(events: list[ev.Event]) -> int:
        grid = drawn(LossChart, events, width=120, height=20)
        return sum(parts(int(number))[0] == Role.TRAIN for number in grid.styles.flat)

    # Its marks lie over them, and the word of the best.
    assert cells([*losses, *flat]) >= cells(losses) - 4 * len(flat)


def test_average_is_above_raw():
    """Where both pass, the cell is the average's."""
    grid = drawn(LossChart, STATES["running"], width=140, height=34)
    found = {parts(int(n))[0] for n in np.unique(grid.styles)}
    assert {Role.RAW, Role.TRAIN, Role.VAL_LINE, Role.RATE} <= found


def test_micro_batch_loss_is_named():
    """A log that holds one micro-batch's loss says so in the legend."""
    events = [ev.StepFinished(step=s, loss_micro_last=1.0) for s in range(9)]
    assert "last micro-batch" in text(drawn(LossChart, events))


def test_replaced_attempt_is_drawn_dim():
    """What a restart did again stays on the chart, faint."""
    stamp = ev.Stamp(att=2, seq=900)
    events = [
        ev.StepFinished(step=s, loss=3.0 - s / 50, stamp=ev.Stamp(seq=s + 1)) for s in range(100)
    ]
    events += [ev.AttemptStarted(start_step=50, stamp=stamp)]
    events += [
        ev.StepFinished(step=s, loss=1.0, stamp=ev.Stamp(att=2, seq=901 + s)) for s in range(50, 70)
    ]
    grid = drawn(LossChart, events, width=120, height=30)
    braille = (grid.codes >= 0x2801) & (grid.codes <= 0x28FF)
    assert (braille & ((grid.styles & 0x3F) == Role.AXIS)).any()


def test_before_the_first_step_phases_are_told():
    """Each phase with its time; the lasting one counts on."""
    first = STATES["started"]
    t = first[-1].stamp.t
    grid = drawn(LossChart, first, now=t + 7.4)
    assert "import torch" in text(grid)
    assert "join the other ranks" in text(grid)
    assert "7s" in text(grid)


def test_failure_before_the_first_step_says_why():
    """The reason, the last error line, and where the rest is."""
    events = [
        ev.LogLine(text="ValueError: bad shape", level="error"),
        ev.RunFinished(status="failed", reason="rank 0 left with exit code 1"),
    ]
    words = text(drawn(LossChart, events))
    assert "rank 0 left with exit code 1" in words
    assert "ValueError: bad shape" in words
    assert "logs/" in words


def test_what_is_waited_for_stands_there_whole():
    """A command for the other machine is of no use with its end cut off."""
    command = f"torchrun --rdzv-endpoint a:1 -m engine.worker /{'long' * 40}/run"
    grid = drawn(LossChart, [ev.LogLine(text=f"On each: {command}", level="warn")])
    words = "".join(line.strip("│ ") for line in grid.lines())
    assert command.replace(" ", "") in words.replace(" ", "")


@pytest.mark.parametrize("log", [False, True])
def test_marks_sit_on_their_curve(log):
    """A mark and a curve of the same value are in the same cell."""
    grid = Grid(20, 40)
    low, high = (0.0, 2.0) if log else (1.0, 100.0)
    plot = Plot(
        grid=grid,
        row=0,
        col=0,
        height=20,
        width=40,
        x_low=0,
        x_high=40,
        y_low=low,
        y_high=high,
        log=log,
    )
    for value in (1.0, 3.0, 20.0, 77.0, 100.0):
        line = np.full(80, value)
        plot.band(line, line, 9)
        rows = set(np.flatnonzero((grid.codes >= 0x2801).any(axis=1)).tolist())
        assert rows == {plot.y_cell(value)}
        grid.codes[:] = ord(" ")


# ---- benchmarks ------------------------------------------------------------------------------


def evaluated(step, correct, total=1024, task="MMLU"):
    return ev.EvalFinished(step=step, task=task, correct=correct, total=total)


def test_differences_are_points_and_grey_unless_clear():
    """+2.1 points on 1024 questions is noise and looks like it; +15 is not."""
    grid = drawn(Benchmarks, [evaluated(0, 249), evaluated(100, 271)], width=60, height=10)
    assert roles(grid, "+2.1") == {Role.DIM}
    assert "%" in text(grid)
    grid = drawn(Benchmarks, [evaluated(0, 249), evaluated(100, 403)], width=60, height=10)
    assert roles(grid, "▲+15.0") == {Role.GOOD}
    grid = drawn(Benchmarks, [evaluated(0, 403), evaluated(100, 249)], width=60, height=10)
    assert roles(grid, "▼-15.0") == {Role.BAD}


def test_start_stays_in_sight():
    """However many evaluations there were, the start is the last row."""
    events = [evaluated(s, 250 + s // 100) for s in range(0, 5000, 100)]
    lines = drawn(Benchmarks, events, width=60, height=9).lines()
    assert "4,900" in lines[3]
    assert "start" in lines[-2]


def test_detail_goes_before_tasks_do():
    """A narrow panel shows fewer columns of every task, not fewer tasks."""
    events = [
        e
        for task in ("A", "B", "C")
        for e in (evaluated(0, 250, task=task), evaluated(9, 260, task=task))
    ]
    wide, narrow = (text(drawn(Benchmarks, events, width=w, height=9)) for w in (90, 44))
    assert "Δprev" in wide
    assert " k " in wide
    assert "Δprev" not in narrow
    assert all(task in narrow for task in "ABC")


def test_first_evaluation_is_called_the_start_only_if_it_is():
    """A log whose first evaluation is at step 200 has no start to compare with."""
    late = [evaluated(200, 250), evaluated(400, 260)]
    assert "Δfirst" in text(drawn(Benchmarks, late, width=60, height=9))
    assert "Δstart" in text(drawn(Benchmarks, [evaluated(0, 250), *late], width=60, height=9))
    words = text(drawn(Benchmarks, late, width=90, height=12))
    assert "MMLU vs step 200: no evidence" in words
    assert "vs start" not in words
    falling = [evaluated(200, 270), evaluated(400, 250), evaluated(600, 255)]
    words = text(drawn(Benchmarks, falling, width=90, height=14))
    assert "MMLU best: step 200, unbeaten in 2 evaluations" in words
    assert "vs step 200" in text(drawn(SmallSummary, falling, width=78, height=6))


def test_bits_per_byte_are_not_called_a_loss_beside_one():
    """nanochat's pretraining validates in bits a byte: on the axis of the loss, with its name."""
    events = [
        *(ev.StepFinished(step=i, loss=3.0) for i in range(9)),
        ev.ValidationFinished(step=8, loss=0.9, metric="bpb"),
    ]
    assert "val bpb" in text(drawn(LossChart, events, width=80, height=20))
    assert "val bpb · step 8" in text(drawn(Now, events, width=60, height=8))
    assert "bpb    0.9000" in text(drawn(SmallSummary, events, width=78, height=6))
    events[-1] = ev.ValidationFinished(step=8, loss=2.9)
    assert "bpb" not in text(drawn(LossChart, events, width=80, height=20))


def test_the_star_of_a_task_may_be_the_starts():
    """Of the evaluations on the screen, start included, the highest has the star."""
    better = [evaluated(0, 249), evaluated(50, 271), evaluated(100, 260)]
    assert "★26.5" in text(drawn(Benchmarks, better, width=60, height=12))
    worse = [evaluated(0, 274), evaluated(50, 267), evaluated(100, 265)]
    words = text(drawn(Benchmarks, worse, width=60, height=14))
    assert "★26.8" in words
    assert "★26.1" not in words
    assert "MMLU best: start, unbeaten in 2 evaluations" in words


def test_of_equal_results_none_is_starred():
    """0 of 24 twice has no best; a third that is better has."""
    same = [evaluated(step, 0, total=24, task="GSM8K") for step in (0, 40)]
    assert "★" not in text(drawn(Benchmarks, same, width=60, height=12))
    better = [*same, evaluated(80, 3, total=24, task="GSM8K")]
    assert "★12.5" in text(drawn(Benchmarks, better, width=60, height=12))


def test_the_star_is_never_scrolled_away():
    """Of many evaluations the newest, the best of each task, and the start have the rows."""
    many = [evaluated(s, 300 if s == 200 else 250 + s // 100) for s in range(0, 2100, 100)]
    many += [evaluated(s, 400 if s == 500 else 250, task="B") for s in range(0, 2100, 100)]
    for height in (7, 9, 12):
        lines = drawn(Benchmarks, many, width=90, height=height).lines()[3:-1]
        lines = list(itertools.takewhile(lambda line: line.strip("│ "), lines))
        words = [line.split()[1] for line in lines]
        assert words[0] == "2,000"
        assert words[-1] == "start"
        if height > 7:
            assert {"200", "500"} < set(words)
            assert sum("★" in line for line in lines) == 2


def test_old_rows_make_room_for_the_verdict_of_every_task():
    """Which evaluations came between is the curve's to say; what to make of them is not."""
    many = [evaluated(s, 250 + s // 100) for s in range(0, 900, 100)]
    many += [evaluated(s, 400 - s // 10, task="B") for s in range(0, 900, 100)]
    lines = drawn(Benchmarks, many, width=90, height=12).lines()
    assert [line.split()[1] for line in lines[3:8]] == ["800", "700", "600", "500", "start"]
    assert "MMLU vs start: no evidence" in lines[9]
    assert "B vs start: clear" in lines[10]
    # Where they would leave a table of three rows, the table is all.
    lines = drawn(Benchmarks, many, width=90, height=10).lines()
    assert [line.split()[1] for line in lines[3:9]][-1] == "start"
    assert "vs start" not in "".join(lines)


def test_sentences_are_whole_where_there_is_room():
    """Broken into rows if all rows fit, else one row each with what fits of it."""
    events = [evaluated(0, 249), evaluated(9, 271)]
    roomy = drawn(Benchmarks, events, width=44, height=12).lines()
    assert "MMLU vs start: no evidence, +2.1 points," in roomy[6]
    assert "95% [-1.6, +5.9], unpaired" in roomy[7]
    tight = drawn(Benchmarks, events, width=48, height=8).lines()
    # The points stand in the table: verdict and interval are whole, not the points and half of it.
    assert "MMLU vs start: no evidence, 95% [-1.6, +5.9]" in tight[6]


def test_room_under_the_rows_is_for_sentences():
    """The comparison in words: points, interval, unpaired, verdict."""
    words = text(drawn(Benchmarks, [evaluated(0, 249), evaluated(9, 271)], width=90, height=12))
    assert "MMLU vs start: no evidence, +2.1 points, 95% [-1.6, +5.9], unpaired" in words


def test_validation_table_keeps_best_and_start():
    """However many there were, the best has its star and the start is the last row."""
    events = [
        ev.ValidationFinished(step=s, loss=1 + (s - 300) ** 2 / 1e6) for s in range(0, 5000, 100)
    ]
    lines = drawn(ValidationTable, events, width=60, height=10).lines()
    assert any("★" in line and " 300 " in line for line in lines)
    assert "start" in lines[-2]
    assert "4,900" in lines[2]
    assert "coloured when beyond their scatter" in lines[-1]


def test_heads_of_tasks_drop_what_all_share():
    """`Starter-Facts` and `Starter-Lists` would both read `Start…`."""
    events = [evaluated(0, 9, task=f"Starter-{name}") for name in ("Facts", "Lists")]
    head = drawn(CheckpointPanel, events, width=60, height=8).lines()[1]
    assert "Facts" in head
    assert "Lists" in head
    assert "Starter" not in head


# ---- the others ------------------------------------------------------------------------------


def test_memory_is_labelled():
    """Resident memory is never passed off as device memory."""
    resident = text(drawn(RankTable, STATES["running"], width=60, height=7))
    assert "resident" in resident
    assert "cpu 9" in resident
    device = text(drawn(RankTable, STATES["cuda"], width=60, height=7))
    assert "allocated by torch" in device
    assert "/80G" in device
    assert "H100" not in device or "NVIDIA" in device


def test_memory_with_room_tells_everything():
    """Allocated, reserved, peak, total, load, power, heat and both histories; N/A where unsaid."""
    grid = drawn(RankTable, STATES["cuda"], width=90, height=14)
    words = text(grid)
    facts = ("allocated", "reserved 7", "peak 71.2G", "of 80G", "other programs N/A", "power 6")
    for part in (*facts, "/700 W", "heat 54°C", "disk free N/A", "memory", "load", "█"):
        assert part in words
    bare = [ev.RankHeartbeat(rank=0, memory_kind="cuda", stamp=ev.Stamp(seq=1, t=START))]
    words = text(drawn(RankTable, bare, width=90, height=14))
    assert words.count("N/A") >= 10
    resident = text(drawn(RankTable, STATES["running"], width=90, height=14))
    assert "resident 7" in resident
    assert "heat" not in resident


def test_memory_is_amber_only_when_tight():
    """Above 90 % of the device, reserved memory counted."""

    def bar(reserved):
        beat = ev.RankHeartbeat(
            rank=0,
            memory_kind="cuda",
            memory_bytes=GIB,
            memory_reserved_bytes=reserved,
            memory_total_bytes=10 * GIB,
        )
        return roles(drawn(RankTable, [beat], width=60, height=5), "━━━")

    assert bar(8 * GIB) == {Role.TRAIN}
    assert bar(int(9.5 * GIB)) == {Role.WARN}


def test_silent_and_lost_ranks_are_named():
    """A rank without a heartbeat for ten seconds, and one that is gone."""
    beats = [ev.RankHeartbeat(rank=r, memory_bytes=GIB, stamp=ev.Stamp(t=START)) for r in (0, 1)]
    words = text(drawn(RankTable, [*beats, ev.RankLost(rank=1, reason="killed")], now=START + 34))
    assert "silent for 34s" in words
    assert "lost: killed" in words


def test_more_ranks_than_rows_are_counted():
    """Sixteen ranks in four rows: the rest is a number, not a silence."""
    beats = [ev.RankHeartbeat(rank=r, memory_bytes=GIB) for r in range(16)]
    assert "12 more ranks" in text(drawn(RankTable, beats, width=60, height=6))


def test_of_64_ranks_the_lost_one_and_the_fullest_are_seen():
    """On a large screen, and in one row of a small one, which showed two of them and no more."""
    beats: list[ev.Event] = [
        ev.RankHeartbeat(rank=r, memory_bytes=(1 + (r == 41)) * GIB, memory_total_bytes=4 * GIB)
        for r in range(64)
    ]
    events = [*beats, ev.RankLost(rank=50, reason="killed")]
    words = text(drawn(RankTable, events, width=60, height=6))
    assert "lost: killed" in words
    assert "60 more ranks, fullest 2/4G" in words
    small = text(drawn(SmallSummary, events, width=80, height=6))
    assert "64 ranks up to 2/4G" in small
    assert "1 lost" in small


def test_checkpoints_and_best():
    """Newest first, the best with a star, removed ones named, the start last."""
    lines = drawn(CheckpointPanel, STATES["finished"], width=60, height=12).lines()
    rows = [line for line in lines if "step" in line or "start" in line or "nanochat" in line]
    assert "step 400" in rows[0]
    assert "start" in rows[-1]
    assert any("gone" in row and "◇" in row for row in rows)
    start = [ev.ValidationFinished(step=0, loss=1.0), ev.ValidationFinished(step=9, loss=2.0)]
    start += [ev.CheckpointSaved(step=9, path="ckpt/step-9")]
    assert "★ start" in text(drawn(CheckpointPanel, start))


def test_header_gives_way_from_the_least_important():
    """Badge and step are the last to go; a number is shown whole or not at all."""
    for width in range(8, 200):
        words = text(drawn(RunHeader, STATES["running"], width=width, height=1))
        assert "RUNNING"[: max(0, width - 2)] in words
        if "288" in words:
            assert "288/400" in words
    whole = text(drawn(RunHeader, STATES["running"], width=160, height=2))
    for part in ("starter", "2 ranks on cpu (gloo)", "72.0%", "tok/s", "elapsed", "eta"):
        assert part in whole


def test_the_header_names_no_device_that_nobody_told():
    """Logs of others rarely say on what they ran; `1 rank on cpu` was once made up for them."""
    foreign = [ev.RunStarted(name="sft"), ev.StepFinished(step=0, loss=1.0)]
    words = text(drawn(RunHeader, foreign, width=160, height=2))
    assert "sft" in words
    assert "rank" not in words
    assert "cpu" not in words
    half = [ev.RunStarted(name="sft", world_size=8)]
    assert "8 ranks" in text(drawn(RunHeader, half, width=160, height=2))


def test_before_the_first_loss_the_panel_says_what_there_is():
    """Silence, phases, and a log whose numbers are no losses are three things."""
    phase = ev.PhaseStarted(phase="import")
    numbers = [ev.RunStarted(name="tb")]
    numbers += [ev.MetricLogged(step=s, values={"odd/a": 1.0, "odd/[b]": 2.0}) for s in range(3)]
    assert "waiting for the run to speak" in text(drawn(LossChart, []))
    ready = text(drawn(LossChart, [phase]))
    assert "getting ready" in ready
    assert "waiting" not in ready
    other = drawn(LossChart, numbers)
    assert other.line(0).startswith("╭─ loss ")
    assert "No training loss so far" in text(other)
    assert "odd/a (3), odd/[b] (3)" in text(other)


def test_a_run_that_has_ended_is_not_called_live():
    """Of one that goes on the header says how it is read."""
    live = "live, read from its file"
    running = drawn(RunHeader, STATES["running"], width=160, height=2, transport=live)
    assert live in text(running)
    over = drawn(RunHeader, STATES["finished"], width=160, height=2, transport=live)
    assert "live" not in text(over)


def test_header_shows_requests_and_trouble():
    """What was asked is pending until answered; a dead run is LOST."""
    state, view = RunState(), View(now=lambda: START, trouble="supervisor gone")
    grid = Grid(1, 100)
    RunHeader(state, view, id="h").paint(grid)
    assert "LOST" in text(grid)
    assert "supervisor gone" in text(grid)


def test_log_is_one_story():
    """Every kind of news has its line, cleaned, with its time."""
    words = text(drawn(LogPane, STATES["running"], width=120, height=40))
    for part in ("no CUDA", "val loss", "MMLU", "checkpoint saved", "paused by screen", "resumed"):
        assert part in words


def test_how_a_run_ended_goes_before_what_the_numbers_say():
    """Bar and percentage give way to the reason, which stands there whole."""
    ended = [*fake_run(), ev.RunFinished(status="finished", reason="all iterations done")]
    for width in (80, 100, 120, 160):
        words = text(drawn(RunHeader, ended, width=width, height=1))
        assert "all iterations done" in words, words
        assert re.search(r"step \d+/\d+", words), words
    # Where both have room, nothing gives way.
    assert "100.0%" in text(drawn(RunHeader, ended, width=160, height=1))


def test_the_rate_is_named_once_under_the_losses():
    """With its greatest value, where that has room."""
    for rate in (2e-5, 1.234e-5, 0.5, 1e-12):
        steps = [ev.StepFinished(step=s, loss=2.0 - s / 90, lrs={"all": rate}) for s in range(90)]
        for width, height in itertools.product((60, 100, 150), (16, 30, 46)):
            grid = drawn(LossChart, [ev.RunStarted(name="x"), *steps], width=width, height=height)
            labels = [line[:8] for line in grid.lines()]
            assert sum("lr" in label for label in labels) == 1, labels


def test_footer_keeps_help_and_the_way_out():
    """However narrow, help and leaving stay; an ended run offers no requests."""
    for width in (24, 40, 80, 160):
        words = text(drawn(KeyFooter, STATES["running"], width=width, height=1))
        assert "? Help" in words
        assert "q Leave" in words
    assert "Pause" not in text(drawn(KeyFooter, STATES["finished"], width=160, height=1))


def test_rows_that_a_log_leaves_empty_answer_the_three_questions():
    """On a small screen a log without ranks and tasks shows half a panel; one with them has none
    of the three."""
    events: list[ev.Event] = [ev.StepFinished(step=i, loss=3.0) for i in range(9)]
    words = text(drawn(SmallSummary, events, width=80, height=6))
    for part in ("val  none yet", "beside  `:past LOG` draws one behind it", "ends  "):
        assert part in words
    words = text(drawn(SmallSummary, STATES["running"], width=80, height=6))
    assert ":past" not in words


def test_glance_answers_is_it_well():
    """Losses, speed, memory, tasks and best in four rows."""
    words = text(drawn(SmallSummary, STATES["running"], width=80, height=6))
    for part in (
        "train",
        "val",
        "tok/s",
        "best",
        "rank 0",
        "resident",
        "MMLU",
        "ARC-Easy",
        "vs start",
    ):
        assert part in words


def test_an_axis_has_two_values_where_it_has_room():
    """One alone says nothing of the scale."""
    for low, high in itertools.product((0.0, 10.0, 13.0, 55.0), (60.0, 90.0, 97.0, 4000.0)):
        for height in range(5, 40):
            plot = Plot(grid=Grid(height, 80), row=0, col=8, height=height, width=60,
                        x_low=0.0, x_high=1.0, y_low=low, y_high=high)  # fmt: skip
            plot.draw_y_axis(0)
            labels = [line[:7].strip() for line in plot.grid.lines() if line[:7].strip()]
            assert len(labels) >= 2, (low, high, height)
            # None was left out between two: they are as far apart as they say.
            values = [float(label.replace("k", "e3")) for label in reversed(labels)]
            gaps = np.diff(values)
            assert np.allclose(gaps, gaps[0], atol=1e-9), (low, high, height, values)


def test_an_error_is_drawn_on_both_sides_and_named_where_it_is():
    """A stem is as long on either side; where none has a shape the border promises none."""
    for height, total in itertools.product(range(8, 17), (20, 100, 1000, 100_000)):
        events = [
            ev.EvalFinished(step=step, task="T", correct=total * 3 // 5, total=total, accuracy=0.6)
            for step in (0, 30, 60)
        ] + [ev.EvalFinished(step=60, task="U", correct=0, total=total, accuracy=0.0)]
        lines = drawn(AccuracyChart, events, width=100, height=height).lines()
        named = any("±1 standard error" in line for line in lines)
        mark = next(i for i, line in enumerate(lines) if i and "●" in line)
        at = lines[mark].rindex("●")
        above, below = (lines[i][at] == "│" for i in (mark - 1, mark + 1))
        assert above == below, (height, total)
        assert above <= named, (height, total)


@pytest.mark.parametrize("height", [8, 12, 20])
def test_an_error_bar_covers_no_mark(height: int):
    """Of one evaluation, whose tasks share a column, and at the crosshair."""
    events = [
        ev.RunStarted(name="x"),
        *(evaluated(0, correct, 64, task) for task, correct in (("MMLU", 16), ("ARC", 19))),
        evaluated(0, 24, 64, "GSM8K"),
    ]
    grid = drawn(AccuracyChart, events, width=90, height=height)
    marks = [line.replace("● MMLU", "").replace("■ ARC", "").replace("▲ GSM8K", "")
             for line in grid.lines()]  # fmt: skip
    for mark in "●■▲":
        assert sum(line.count(mark) for line in marks) == 1, text(grid)


def test_accuracy_has_its_error_and_chance():
    """Where there is room a tint along the curve and no caps, which look like litter; else a whole
    bar at the newest point. The chance level is always in range."""
    grid = drawn(AccuracyChart, STATES["running"], width=100, height=16)
    for part in ("●", "chance 25", "±1 standard error"):
        assert part in text(grid)
    assert not set("┬┴│") & set("".join(line[9:-2] for line in grid.lines()[1:-3]))
    tinted = [parts(int(n))[2] is Back.ROW for n in grid.styles.flat]
    assert 40 < sum(tinted) < 600
    small = drawn(AccuracyChart, STATES["running"], width=100, height=12).lines()[1:-4]
    stems = {line.index("│", 9) for line in small if "│" in line[9:-1]}
    assert len(stems) == 1, "of one point, the newest"
    high = [
        ev.EvalFinished(step=s, task="T", correct=900, total=1000, chance=0.25) for s in (0, 50)
    ]
    assert "chance 25" in text(drawn(AccuracyChart, high, width=100, height=16))


def test_the_name_of_chance_is_whole_or_not_there():
    """Points at chance leave it no room; nothing cuts a letter out of it."""

    def near_chance(steps, correct):
        one = {"task": "T", "correct": correct, "total": 48, "chance": 0.25}
        events = [ev.EvalFinished(step=step, **one) for step in steps]
        return text(drawn(AccuracyChart, events, width=60, height=16))

    assert "chance 25" in near_chance((0, 20, 85, 95, 99, 103), 13)
    assert "ch" not in near_chance(range(0, 104, 3), 12)


def test_tasks_have_marks_of_their_own():
    """Without colours the marks alone tell which task a point is of."""
    grid = drawn(AccuracyChart, fake_run(until=288), height=40)
    assert "● MMLU  ■ ARC-Easy" in grid.line(0)
    body = text(grid).split("\n", 1)[1]
    assert body.count("●") == body.count("■") == 3


@pytest.mark.parametrize("width", [90, 110, 160])
def test_the_box_of_the_crosshair_cuts_no_number(width):
    """The best loss stands whole beside the box, wherever the crosshair is, or not at all."""
    events, whole = fake_run(until=288), 0
    for at in range(0, 288, 12):
        viewport = Viewport()
        viewport.cursor = float(at)
        lines = drawn(LossChart, events, width=width, viewport=viewport).lines()
        body = "\n".join(lines[1:])
        found = re.findall(r"best 1\.0395", body)
        whole += len(found)
        assert len(found) == body.count("best") <= 1
        assert body.count("395") == len(re.findall(r"(?:best|val(?: @250)?) +1\.0395", body))
    assert whole > 20


def test_an_alarm_too_long_for_a_line_takes_two_where_there_is_room():
    """The worst first; what to do about it is read whole."""
    words = (
        "loss 1.749 is 185.2% above its best stretch. " + "Halve the rate, or stop. " * 3 + "END"
    )
    alarms = [
        ev.AlarmRaised(kind=kind, step=120, text=told, severity=severity)
        for kind, severity, told in (("spike", "warn", "Short."), ("diverging", "error", words))
    ]
    state, view = RunState(), View(now=lambda: START)
    for alarm in alarms:
        state.apply(alarm)
    assert rows_wanted(view.alarms(state), 120) == 3
    assert rows_wanted(view.alarms(state), 200) == 2
    lines = drawn(AlarmBar, alarms, width=120, height=3).lines()
    assert lines[0].startswith(" ▲ diverging")
    assert "END" in lines[1]
    assert lines[2].startswith(" ▲ spike  Short.")
    tight = drawn(AlarmBar, alarms, width=120, height=2).lines()
    assert "…" in tight[0]
    assert "Short." in tight[1]
    assert "1 more" in drawn(AlarmBar, alarms, width=120, height=1).line(0)
    # Of three that are long the worst is read whole, and the others are counted.
    for kind in ("straggler", "letter_collapse"):
        alarms.append(ev.AlarmRaised(kind=kind, step=9, text=words, severity="warn"))
    many = drawn(AlarmBar, alarms, width=120, height=3).lines()
    assert many[0].startswith(" ▲ diverging")
    assert "END" in many[1]
    assert "2 more" in many[2]


def test_now_names_what_is_best():
    """Validation above the best says how much; the best says so."""
    events = [ev.ValidationFinished(step=0, loss=1.0), ev.ValidationFinished(step=9, loss=1.0118)]
    assert "1.0118  0.0118 above best" in text(drawn(Now, events, width=60, height=8))
    assert "1.0118  0.0118 over ★" in text(drawn(Now, events, width=50, height=6))
    assert "0.0118 above best" in text(drawn(SmallSummary, events, width=78, height=6))
    assert "★ best" in text(drawn(Now, events[:1], width=60, height=8))


def by_source(step: int, code: float, chat: float) -> ev.ValidationFinished:
    """A validation of two sources of rows."""
    return ev.ValidationFinished(
        step=step, loss=(code + chat) / 2, loss_by_source={"code": code, "chat": chat}
    )


def test_the_validation_table_tells_over_fitting_from_a_shift_of_the_mixture():
    """The newest losses by source against those of the best validation."""
    best = [by_source(0, 1.0, 2.0), by_source(50, 0.9, 1.9)]
    lines = drawn(ValidationTable, [*best, by_source(100, 1.2, 1.8)], width=60, height=16).lines()
    text = "\n".join(lines)
    assert "by source, from step 50: a shift of the mixture" in text
    assert "code 1.2000 ▲ 0.3000" in text
    assert "chat 1.8000 ▼ 0.1000" in text
    text = "\n".join(
        drawn(ValidationTable, [*best, by_source(100, 1.2, 2.2)], width=60, height=16).lines()
    )
    assert "all rose, over-fitting" in text
    plain = [ev.ValidationFinished(step=50 * i, loss=1.0) for i in range(3)]
    assert "by source" not in "\n".join(drawn(ValidationTable, plain, width=60, height=16).lines())
    small = drawn(ValidationTable, [*best, by_source(100, 1.2, 2.2)], width=60, height=7).lines()
    assert "by source" not in "\n".join(small)


def test_requests_at_one_step_keep_all_their_words():
    """A rate changed during a pause takes effect at the step of the pause: both are said."""
    run = [
        ev.StepFinished(step=step, loss=2.0, stamp=ev.Stamp(t=START + step)) for step in range(40)
    ]
    done = (("pause", None, 0.0), ("lr", 0.5, 10.0), ("resume", None, 36.0))
    run += [
        ev.ControlApplied(
            id=command,
            command=command,
            argument=value,
            step=20,
            stamp=ev.Stamp(t=START + 20 + after),
        )
        for command, value, after in done
    ]
    assert "paused 36s, lr ×0.5" in text(drawn(LossChart, run, width=120))


@pytest.mark.parametrize("kind", [LossChart, AccuracyChart, Now, ValidationTable])
def test_panels_read_no_more_of_many_results_than_they_draw(kind, monkeypatch):
    """A hundred thousand validations and evaluations: records are made for what is shown."""
    n = 100_000
    values = np.linspace(0.2, 0.8, n).tolist()
    names = ("loss", "validation:loss", "accuracy:MMLU")
    batch = ev.StepBatch(step=n - 1, steps=range(n), columns=dict.fromkeys(names, values))
    made = []
    for results in (Validations, Evaluations):
        plain = results.at
        monkeypatch.setattr(
            results, "at", lambda self, i, plain=plain: (made.append(i), plain(self, i))[1]
        )
    drawn(kind, [batch])
    assert len(made) < 3000
