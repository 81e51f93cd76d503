"""Two numbers for one thing never differ: header, bar, lists, log line and `show` are compared."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.run.run_dir import RunDir
from sftui.checkpoints.checkpoint_list import CheckpointList
from sftui.commands.show import summary_lines
from sftui.drawing.canvas import Grid
from sftui.logbook.event_lines import entry
from sftui.sources import snapshot
from sftui.sources.open_log import open_replay
from sftui.sources.replay import replay_events
from sftui.sources.snapshot import Snapshot, Stage
from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.view.outlook import answers
from sftui.view.view import View
from sftui.widgets.checkpoint_panel import CheckpointPanel
from sftui.widgets.checkpoint_table import CheckpointTable
from sftui.widgets.panel import Panel
from sftui.widgets.run_header import RunHeader
from sftui.widgets.scrubber import Scrubber
from tests.conftest import SHARED, examples, needs_shared
from tests.sftui.fake_run import START

NUMBER = r"(\d[\d,]*\d|\d)"


def line_of(kind: type[Panel], state: RunState, view: View) -> str:
    """The last row of a panel of one row over a wide screen."""
    grid = Grid(1, 200)
    kind(state, view, id="panel").paint(grid)
    return grid.line(0)


def figure(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def seconds_of(clock: str) -> int:
    """Of `1:02:03`."""
    hours, minutes, seconds = map(int, clock.split(":"))
    return 3600 * hours + 60 * minutes + seconds


@st.composite
def logs(draw: st.DrawFn) -> list[ev.Event]:
    """A log of ours or another program's: counted from 0 or 1, sparse, planned right or wrong, with
    a measurement after the last update, with times or none, and an end that says what it took."""
    src = draw(st.sampled_from(("r0", "nanochat", "hf-trainer", "wandb", "csv")))
    first, every = draw(st.integers(0, 1)), 1
    if src not in ("r0", "nanochat"):
        every = draw(st.sampled_from((1, 10, 50)))
    steps = [first + i * every for i in range(draw(st.integers(2, 40)))]
    timed, lasts = draw(st.booleans()), draw(st.booleans())
    pause = draw(st.floats(0, 900))
    last = steps[-1]
    planned = draw(st.sampled_from((None, last + 1, last + 2, last, max(1, last - 3), 3 * last)))
    if src == "r0" and planned is not None:
        planned = max(planned, last + 2)

    def stamp(after: float) -> ev.Stamp:
        return ev.Stamp(src=src, run="run", t=START + after if timed else None)

    out: list[ev.Event] = [ev.RunStarted(name="train", num_iterations=planned, stamp=stamp(0.0))]
    for i, step in enumerate(steps):
        seconds = 0.7 if lasts else None
        out.append(ev.StepFinished(step=step, loss=1.0, seconds=seconds, stamp=stamp(pause + i)))
    after = last + draw(st.integers(1, 6))
    if draw(st.booleans()) and src != "r0":
        out.append(ev.ValidationFinished(step=after, loss=0.9, stamp=stamp(pause + len(steps))))
        last = after
    if draw(st.booleans()):
        took = pause + len(steps) + draw(st.floats(-1.5, 4000))
        told = draw(st.none() | st.just(took))
        done = last + 1 if src == "r0" else last
        out.append(
            ev.RunFinished(
                status="finished", updates=done, seconds=told, stamp=stamp(pause + len(steps))
            )
        )
    return out


def at_end(events: list[ev.Event]) -> tuple[RunState, View]:
    source = replay_events(events)
    state = RunState()
    while found := source.poll(5000, 1.0):
        for event in found:
            state.apply(event)
    return state, View(now=lambda: state.last_t or 0.0, replay=source.status())


def shot_of(state: RunState) -> Snapshot:
    return Snapshot(
        path=Path("log"), title="log", format="", stages=(Stage(name="train", state=state),),
        shown=0, alive=None, evidence="", lines_total=1, lines_unrecognised=0,
    )  # fmt: skip


@given(logs())
@examples(120)
def test_how_far_a_run_came_is_one_figure(events: list[ev.Event]) -> None:
    state, view = at_end(events)
    header, bar = line_of(RunHeader, state, view), line_of(Scrubber, state, view)
    here = figure(rf"step {NUMBER}", header)
    assert figure(rf"step {NUMBER}", bar) == here
    total, logged = figure(rf"step [\d,]+ of {NUMBER}", bar), "logged" in bar
    assert logged or total in (here, figure(rf"step [\d,]+/{NUMBER}", header))
    shown = "\n".join(summary_lines(shot_of(state)))
    assert figure(rf"step {NUMBER}", shown) == here
    assert figure(rf"of {NUMBER}", shown) == figure(rf"step [\d,]+/{NUMBER}", header)
    for event in events:
        if isinstance(event, ev.RunFinished) and (told := entry(event)) is not None:
            after = figure(rf"after {NUMBER} updates?", told.text)
            assert after == here or events[1].stamp.src == "nanochat"
    if state.ended:
        ended = answers(state, view, "")[0]
        assert figure(rf"{NUMBER} updates?", ended.words) == here
    if state.planned is not None:
        # Nothing beyond what was planned, and all of it only of all of it.
        assert state.done <= state.planned
        assert ("100.0%" in header) == (state.done == state.planned)


@given(logs())
@examples(120)
def test_how_long_a_run_took_is_one_figure(events: list[ev.Event]) -> None:
    state, view = at_end(events)
    header, bar = line_of(RunHeader, state, view), line_of(Scrubber, state, view)
    took, total = figure(r"took ([\d:]+)", header), figure(r"[\d:]+ of ([\d:]+)", bar)
    if took is not None and total is not None and view.replay.clock != "steps":
        told = state.end.seconds
        if told is not None and view.replay.clock == "time":
            # A word that says much less than its own clock is of something else.
            span = state.last_t - state.first_t
            assert took == total or told < span - 2
        else:
            assert took == total or told is None
    if state.ended:
        words = entry(state.end).text
        if (said := figure(r" in ([\dhms ]+?)(?::|$)", words)) is not None:
            assert said == fmt.duration(state.seconds)
            assert took == fmt.clock(round(state.seconds))
            assert f"{said} elapsed" in "\n".join(summary_lines(shot_of(state)))
    elif (elapsed := figure(r"elapsed ([\d:]+)", header)) is not None:
        assert elapsed == total


@given(st.lists(st.floats(0, 9e5), min_size=1, max_size=6), st.floats(0, 9e5), st.floats(-5e3, 5e3))
@examples(60)
def test_an_age_is_counted_on_one_clock(
    tmp_path_factory: pytest.TempPathFactory, waits: list[float], since: float, jump: float
) -> None:
    """On the dashboard and in the browser, of a run that ended long ago, whose clock was set."""
    state, t, moments = RunState(), START, []
    run = RunDir(tmp_path_factory.mktemp("runs") / "run")
    for i, wait in enumerate(waits):
        t += wait
        moved = jump if i else 0.0  # the clock was set after the first
        stamp = ev.Stamp(src="r0", seq=i + 1, t=t + moved, m=t - START + 1, boot="boot")
        state.apply(ev.CheckpointSaved(step=10 * i, path=f"ckpt/step-{i}", stamp=stamp))
        moments.append(t)
    moved = jump if len(waits) > 1 else 0.0
    stamp = ev.Stamp(src="r0", seq=99, t=t + moved, m=t - START + 1, boot="boot")
    state.apply(ev.RunFinished(status="finished", stamp=stamp))
    now = t + since
    view = View(now=lambda: now + moved)
    table = CheckpointTable(state, view, CheckpointList(run), id="table")
    table.reload()
    for panel in (CheckpointPanel(state, view, id="panel"), table):
        grid = Grid(30, 120)
        panel.paint(grid)
        for i, moment in enumerate(moments):
            row = next(line for line in grid.lines() if re.search(rf"step {10 * i} ", line))
            assert re.search(rf" {fmt.age(now - moment)}(?= |│)", row), (fmt.age(now - moment), row)


def test_a_run_that_ended_half_an_hour_ago_has_no_new_checkpoint() -> None:
    state = RunState()
    state.apply(ev.CheckpointSaved(step=9, path="c", stamp=ev.Stamp(seq=1, t=START)))
    state.apply(ev.RunFinished(status="finished", stamp=ev.Stamp(seq=2, t=START + 1)))
    grid = Grid(8, 60)
    CheckpointPanel(state, View(now=lambda: START + 1800), id="panel").paint(grid)
    assert "30m" in "\n".join(grid.lines())


@needs_shared
@pytest.mark.parametrize(
    "log",
    [
        "hf_trainer/code_simplifier_sft.trainer_state.json",
        "hf_trainer/hotpotqa_grpo.stdout.log",
        "modded_nanogpt_llmc/muon_2024-10-10.txt",
        "nanochat/mid_train_wandb_output.log",
        "wandb_offline/run-md4wekyz.wandb",
    ],
)
def test_real_logs_say_one_figure_for_one_thing(log: str) -> None:
    opened = open_replay(str(SHARED / "logs" / log))
    source, state, end = opened.source, RunState(), ""
    while source.loading:
        source.poll(50_000, 1.0)
    source.select_stage(source.stage or 0)
    source.seek_end()
    while found := source.poll(50_000, 1.0):
        for event in found:
            state.apply(event)
            if isinstance(event, ev.RunFinished) and (told := entry(event)) is not None:
                end = told.text
    view = View(now=lambda: state.last_t or 0.0, replay=source.status())
    source.close()
    header, bar = line_of(RunHeader, state, view), line_of(Scrubber, state, view)
    shown = "\n".join(summary_lines(snapshot.read(str(SHARED / "logs" / log))))
    step = figure(rf"step {NUMBER}", header)
    assert figure(rf"step {NUMBER}", bar) == step
    assert figure(rf"after {NUMBER} updates?", end) == step
    assert f"step {step}" in shown
    took = seconds_of(figure(r"took ([\d:]+)", header) or "0:0:0")
    assert f" in {fmt.duration(took)}" in end
    assert f"{fmt.duration(took)} elapsed" in shown
    if total := figure(r"[\d:]+ of (\d+:\d+:\d+)", bar):
        assert seconds_of(total) == took


def test_every_stage_tells_how_it_ended() -> None:
    """A log of three programs, the last of which failed: on the bar, whichever is shown, and in
    the panel of facts."""
    from sftui.view.run_facts import stage_sections

    events: list[ev.Event] = []
    ends: list[tuple[str, ev.EndStatus | None]]
    ends = [("base", "finished"), ("eval", None), ("chat_sft", "failed")]
    for i, (name, end) in enumerate(ends):
        stamp = ev.Stamp(src="nanochat", run=name)
        events.append(ev.RunStarted(name=name, stamp=stamp))
        events.append(ev.StepFinished(step=i, loss=1.0, stamp=stamp))
        if end:
            reason = "FileNotFoundError: no base" if end == "failed" else ""
            events.append(ev.RunFinished(status=end, reason=reason, stamp=stamp))
    source = replay_events(events)
    status = source.status()
    assert status.ends == ("finished", "", "failed: FileNotFoundError: no base")
    assert status.stage == 2, "it opens on the one that failed"
    [(_, facts)] = stage_sections(status)
    assert [fact.value.split("  ")[0] for fact in facts] == [
        "finished",
        "no word of its end",
        "failed: FileNotFoundError: no base",
    ]
    for stage, words in enumerate(("✗ chat_sft failed", "✗ chat_sft failed", "chat_sft ✗")):
        view = View(now=lambda: 0.0, replay=dataclasses.replace(status, stage=stage))
        assert words in line_of(Scrubber, RunState(), view)


def test_a_percentage_is_whole_only_when_all_is_done() -> None:
    state = RunState()
    state.apply(ev.RunStarted(name="run", num_iterations=20_001))
    state.apply(ev.StepFinished(step=19_998, loss=1.0))
    assert math.isclose(state.done, 19_999)
    header = line_of(RunHeader, state, View(now=lambda: 0.0))
    assert "19,999/20,000" in header
    assert "99.9%" in header


def test_a_run_that_has_not_spoken_is_called_by_its_name() -> None:
    """One row has no room for the day and the time before it."""
    view = View(now=lambda: START, title="20260102-030405-rates")
    header = line_of(RunHeader, RunState(), view)
    assert header.split()[1:4] == ["sftui", "rates", "STARTING"]
