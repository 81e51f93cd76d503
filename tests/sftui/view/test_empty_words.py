"""An empty panel says why it is empty and what to press or type."""

from dataclasses import replace

import pytest

from engine import events as ev
from sftui.drawing.canvas import Grid
from sftui.state.run_state import RunState
from sftui.view.empty_words import What, awaited, nothing_yet
from sftui.view.view import View
from sftui.widgets.loss_chart import LossChart
from tests.sftui.test_app import make, panel_of, ready

EVERY: dict[str, bool | int | float | str | None] = {
    "eval_every": 20,
    "eval_metrics_every": 40,
    "checkpoint_every": 0,
}


def state(updates: int, *, end: bool = False) -> RunState:
    found = RunState()
    found.apply(ev.RunStarted(name="x", num_iterations=101, settings=EVERY))
    for step in range(updates):
        found.apply(ev.StepFinished(step=step, loss=1.0))
    if end:
        found.apply(ev.RunFinished(status="finished", updates=updates))
    return found


@pytest.mark.parametrize(
    ("what", "updates", "end", "words"),
    [
        ("evaluation", 0, False, "no evaluation yet; first at step 0 (e: now)"),
        ("validation", 0, False, "no validation yet; first at step 0 (e: now)"),
        ("evaluation", 7, False, "no evaluation yet; first at step 40 (e: now)"),
        ("evaluation", 41, False, "no evaluation yet; first at step 80 (e: now)"),
        ("validation", 3, False, "no validation yet; first at step 20 (e: now)"),
        ("checkpoint", 3, False, "no checkpoint yet; none is planned (k: now)"),
        ("sample", 3, False, "no sample yet"),
        ("evaluation", 9, True, "this run had no evaluation; --eval-metrics-every sets how often"),
    ],
)
def test_it_says_when_the_first_comes_and_which_key_asks(
    what: What, updates: int, end: bool, words: str
) -> None:
    """By the run's own settings."""
    assert nothing_yet(what, state(updates, end=end), View(now=float)) == words


def test_an_evaluation_that_is_under_way_is_not_told_for_later() -> None:
    """The one before the first update takes minutes, with programs to run."""
    found = state(0)
    found.apply(ev.EvalStarted(step=0, task="GSM8K", total=24))
    told = nothing_yet("evaluation", found, View(now=float))
    assert told == "no evaluation yet; the first is under way"


def test_another_programs_run_is_told_by_its_setting_alone() -> None:
    """Whether it measures where it starts is not known."""
    found = RunState()
    start = ev.RunStarted(name="x", settings=EVERY, effective={"trainer": "HF Trainer"})
    found.apply(start)
    assert "first at step 20" in nothing_yet("validation", found, View(now=float))


@pytest.mark.parametrize("end", [False, True])
def test_another_trainers_run_is_told_of_no_flag_that_it_does_not_have(end: bool) -> None:
    """Nor that a key asks questions where the script gave none: `e` is its validation there."""
    found = RunState()
    found.apply(ev.RunStarted(name="x", effective={"trainer": "trl.SFTTrainer"}))
    if end:
        found.apply(ev.RunFinished(status="stopped", updates=0))
    words: tuple[What, ...] = ("evaluation", "validation", "checkpoint", "sample")
    told = {what: nothing_yet(what, found, View(now=float)) for what in words}
    assert not [each for each in told.values() if "--" in each]
    assert told["evaluation"] == "no questions; attach(questions=...) asks some"
    assert ("its script sets how often" in told["validation"]) == end
    asks = {"trainer": "trl.SFTTrainer", "questions": "12 of Sums"}
    found.apply(ev.RunStarted(name="x", effective=asks))
    assert "questions=" not in nothing_yet("evaluation", found, View(now=float))


def drawn(found: RunState, height: int, width: int, *, trouble: str = "") -> str:
    """The loss chart."""
    view = View(now=float)
    view.trouble = trouble
    grid = Grid(height, width)
    LossChart(found, view, id="loss").paint(grid)
    return "\n".join(grid.lines())


def test_an_empty_chart_says_what_it_waits_for_until_a_point_is_drawn() -> None:
    """One line over the first keys; it gives way to the phases, and goes with the first update."""
    young = state(0)
    for phase in ("import", "group", "model", "data"):
        young.apply(ev.PhaseStarted(phase=phase))
    words = "awaited: the first update, whose loss is drawn here"
    assert f"{words} · validation every 20 steps · questions every 40 steps" in drawn(
        young, 20, 120
    )
    narrow = drawn(young, 20, 60)
    assert words in narrow
    assert "validation every" not in narrow
    assert "? all keys" in narrow
    low = drawn(young, 10, 120)
    assert words not in low
    assert "? all keys" in low
    assert words not in drawn(state(1), 20, 120)
    # Nothing comes any more.
    assert words not in drawn(state(0, end=True), 20, 120)
    assert words not in drawn(young, 20, 120, trouble="its processes are gone")


async def test_the_panels_of_a_young_run_say_it() -> None:
    """Benchmarks, accuracy, checkpoints, and the questions."""
    app = make([replace(ev.RunStarted(name="x", num_iterations=101, settings=EVERY))])
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        assert "first at step 0" in panel_of(dashboard, "benchmarks").text()
        assert "(k: now)" in panel_of(dashboard, "checkpoints").text()
        await pilot.press("w")
        await pilot.pause()
        text = app.screen.query_one("#flips").text()  # type: ignore[attr-defined]
        assert "first at step 0" in text


def test_a_run_without_questions_promises_no_evaluation_of_them() -> None:
    """The key that evaluates now would measure validation alone."""
    found = RunState()
    found.apply(ev.RunStarted(name="x", num_iterations=101, settings=EVERY | {"eval_tasks": ""}))
    told = nothing_yet("evaluation", found, View(now=float))
    assert told == "no questions asked; --eval-tasks names some"
    assert "first at step 0" in nothing_yet("validation", found, View(now=float))
    assert awaited(found, View(now=float))[1:] == ["validation every 20 steps"]
