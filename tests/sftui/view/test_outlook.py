"""The three lines under the numbers say what is known, and no more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from engine import events as ev
from sftui.compare.differences import changed_words
from sftui.state.run_state import RunState
from sftui.statistics.families import PREVIOUS
from sftui.view.outlook import answers, spread_seconds, widest
from sftui.view.view import View
from tests.sftui.cockpit.test_playback import a_status
from tests.sftui.fake_run import START, fake_run
from tests.sftui.test_app import make, panel_of, ready


def folded(events: list[ev.Event]) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def lines(state: RunState, changed: str = "", **more: Any) -> dict[str, str]:
    view = View(now=lambda: (state.last_t or START) + 1, **more)
    return {answer.question: answer.words for answer in answers(state, view, changed)}


def test_the_end_is_a_clock_with_a_range_and_the_evaluations_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The middle is the ETA of the header; the range is that of the recent pace."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    state = folded(fake_run(until=120))
    view = View(now=lambda: (state.last_t or START) + 1)
    words = lines(state)["ends"]
    left = view.eta(state)
    assert left is not None
    then = time.strftime("%H:%M", time.localtime(view.now() + left))
    assert then in words
    assert "±" in words
    assert "evaluations" in words
    assert 0 <= spread_seconds(state) <= left


@pytest.mark.parametrize(("first", "then", "half"), [(1.0, 1.0, 0.0), (1.0, 3.0, 90.0)])
def test_the_range_is_what_the_recent_pace_allows(first: float, then: float, half: float) -> None:
    """None where every update took as long; half of the difference where some took longer."""
    events: list[ev.Event] = [ev.RunStarted(name="x", num_iterations=141)]
    for step in range(50):
        seconds = first if step < 40 else then
        events.append(ev.StepFinished(step=step, loss=1.0, seconds=seconds))
    state = folded(events)
    assert state.planned is not None
    left = state.planned - state.updates
    assert spread_seconds(state) == pytest.approx(half / 90 * left)


def validated(losses: list[float]) -> RunState:
    events: list[ev.Event] = [ev.RunStarted(name="x", num_iterations=900)]
    for place, loss in enumerate(losses):
        events.append(ev.ValidationFinished(step=place * 20, loss=loss))
        events.append(ev.StepFinished(step=place * 20, loss=loss))
    return folded(events)


def test_validation_is_judged_by_the_judge_of_all_tables() -> None:
    """Few: not told. Noise: within noise. A fall beyond it: that it falls."""
    assert lines(folded([ev.RunStarted(name="x")]))["val"].startswith("none yet")
    empty, over = folded([ev.RunStarted(name="x")]), a_status(at_end=True)
    assert lines(empty, replay=over)["val"] == "none in this log"
    assert lines(empty, replay=over)["ended"] == "log ends, 0 updates"
    assert lines(empty, replay=a_status())["val"] == "none so far"
    assert "once" in lines(validated([2.0]))["val"]
    assert "not judged yet" in lines(validated([2.0, 1.9]))["val"]
    noise = [1.5, 1.52, 1.49, 1.51, 1.5, 1.49, 1.52, 1.5, 1.51]
    assert "within noise" in lines(validated(noise))["val"]
    for losses in (noise, [2.0, 1.9], [3 - 0.2 * i for i in range(9)]):
        state = validated(losses)
        view = View(now=lambda: START)
        told = lines(state)["val"]
        change = view.losses.changes(state.validation_list())[(len(losses) * 20 - 20, PREVIOUS)]
        assert ("still falls" in told) == (change.clear and change.change < 0)


def test_what_was_read_of_a_part_of_a_log_is_not_judged() -> None:
    """The verdict of its first block is that of no run; once all is read it stands there."""
    state = validated([1.5, 1.52, 1.49, 1.51, 1.5, 1.49, 1.52, 1.5, 1.51])
    part, whole = a_status(loading=True, unread=True), a_status(loading=True, following=True)
    assert "judged once the log is read" in lines(state, replay=part)["val"]
    assert "within noise" in lines(state, replay=whole)["val"]


def test_what_comes_next_is_the_last_run_or_three_commands() -> None:
    """While it runs, the key of the last run; after its end, what to type; a change before both."""
    running, run = folded(fake_run(until=60)), Path("runs/x")
    assert lines(running, earlier=True, folder=run)["last run"].startswith("d draws it")
    assert lines(running, earlier=False, folder=run)["last run"].startswith("none yet")
    assert lines(running, folder=run)["last run"].startswith("d looks for")
    # A log of another program has no run before it.
    assert lines(running)["beside"].startswith("`:past LOG`")
    ended = folded(fake_run())
    found = lines(ended, run_id="x")
    assert found["next"] == "sftui chat · sftui report · sftui eval"
    assert found["ended"].startswith("finished")
    assert lines(ended, "no setting differs")["last run"] == "no setting differs"
    view = View(now=lambda: START, folder=run)
    assert widest(answers(ended, view, "")) == len("last run")


@pytest.mark.parametrize(
    ("kind", "names"), [("hf", "chat report eval"), ("lightning", "report"), ("", "report")]
)
def test_after_the_end_nothing_is_to_be_typed_that_would_take_another_run(
    kind: Any, names: str
) -> None:
    """`sftui chat` typed alone takes the newest run with a checkpoint that it can load."""
    events: list[ev.Event] = [ev.RunStarted(name="x", effective={"trainer": "a trainer"})]
    if kind:
        events.append(ev.CheckpointSaved(step=4, path="/elsewhere/saved-4", kind=kind))
    state = folded([*events, ev.RunFinished(status="finished", updates=4)])
    assert lines(state, run_id="x")["next"] == " · ".join(f"sftui {n}" for n in names.split())


@pytest.mark.parametrize(("size", "there"), [((160, 48), 1), ((120, 36), 1), ((80, 24), 0)])
async def test_they_stand_under_now_where_there_is_room(size: tuple[int, int], there: int) -> None:
    """And give way where there is none."""
    app = make()
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        if "now" not in dashboard.boxes(dashboard.size):
            assert not there
            return
        text = panel_of(dashboard, "now").text()
        for word in ("ends ", "val ", "beside ", "gradient norm"):
            assert (word in text) == bool(there or word == "gradient norm"), word


@pytest.mark.parametrize(
    ("updates", "words"), [(0, "0 updates"), (1, "1 update"), (2, "2 updates")]
)
def test_a_run_that_is_over_says_when_and_after_how_much(updates: int, words: str) -> None:
    """How long it took stands in the header alone: two clocks would differ by a rounding."""
    steps = [ev.StepFinished(step=s, loss=1.0, seconds=1.0) for s in range(updates)]
    end = ev.RunFinished(status="finished", updates=updates)
    state = folded([ev.RunStarted(name="x", num_iterations=10), *steps, end])
    said = lines(state)["ended"]
    assert said.startswith("finished")
    assert said.endswith(words)
    assert "took" not in said


HALF = 40
"""Cells of the half of `now` at 80x24 in which question and answer stand."""


def test_where_a_line_is_narrow_fewer_words_stand_and_none_is_cut() -> None:
    """Whatever is answered but what was changed, of which there may be any number: it is whole in
    half of the smallest screen; where there is room, it is the long answer."""
    noise = [1.5, 1.52, 1.49, 1.51, 1.5, 1.49, 1.52, 1.5, 1.51]
    runs = [folded(fake_run(until=n)) for n in (0, 1, 60, 120)] + [folded(fake_run())]
    runs += [validated(v) for v in ([2.0], [2.0, 1.9], noise, [2.5, *noise], [2.0, *[1.9] * 70])]
    part = a_status(loading=True, unread=True)
    views: list[dict[str, Any]] = [{"earlier": earlier, "folder": Path("runs/x")} for earlier in (
        None, False, True
    )]  # fmt: skip
    for state in runs:
        for more in [*views, {}, {"run_id": "x"}, {"replay": part}, {"replay": a_status()}]:
            view = View(now=lambda: START + 90_000, **more)
            for answer in answers(state, view, ""):
                room = HALF - 2 - len(answer.question)
                assert "…" not in answer.fitting(room), answer
                assert len(answer.fitting(room)) <= room
                assert answer.fitting(120) == answer.words


def test_what_was_changed_says_it_in_the_first_cells() -> None:
    """Of a list that is cut, what is seen is what is in it, not what it is a list of."""
    changed = changed_words(*(folded([ev.RunStarted(name="x", settings={"lora": lora, "lr": lora})])
                              for lora in (4, 8)))  # fmt: skip
    view = View(now=lambda: START)
    line = answers(folded(fake_run(until=60)), view, changed)[-1]
    assert line.fitting(80) == "changed: lora 4 → 8, lr 4 → 8"
    assert line.fitting(26) == "lora 4 → 8, lr 4 → 8"
    assert line.fitting(14) == "lora 4 → 8, l…"


def test_one_step_is_one_step() -> None:
    state = folded([ev.RunStarted(name="x"), *(
        ev.ValidationFinished(step=step, loss=2.0 - step / 10) for step in (4, 5)
    )])  # fmt: skip
    assert "in 1 step" in lines(state)["val"]
    assert "in 1 steps" not in lines(state)["val"]
