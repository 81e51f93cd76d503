"""Faults of a run's numbers, injected into real training on two ranks: each raises its alarm."""

from datetime import datetime

import pytest

from engine.alarms.alarm_engine import AlarmEngine
from engine.alarms.board import CLOCK_KINDS
from engine.events import AlarmRaised, LogLine, RankHeartbeat
from engine.processes import launch
from sftui.commands.run_flags import parse_run
from tests.faults.place import Place, end_of, told
from tests.processes import children, events

FAULTS = [
    # In every step: rank 0 then waits for rank 1.
    {"rank": 1, "step": 0, "action": "sleep", "seconds": 0.25},
    # Late: while the loss still falls steeply, its own fall is the scatter to be beaten.
    *({"step": step, "action": "spike", "by": 5.0} for step in (150, 151, 152)),
    {"rank": 0, "step": 0, "action": "letter"},
    {"rank": 1, "step": 0, "action": "letter"},
    {"step": 170, "action": "nap", "seconds": 36.0},
    {"rank": 1, "step": 185, "action": "nan"},
]


@pytest.fixture
def place(tmp_path):
    with children() as started:
        yield Place(tmp_path, started)


def raised(run):
    """Alarms the run wrote into its own log, as kinds in the order of their times."""
    return [event.kind for event in told(run, AlarmRaised)]


def seen_by_a_watcher(run):
    """Alarms that follow from the log's times alone, as whoever attaches or replays has them."""
    engine = AlarmEngine(kinds=CLOCK_KINDS)
    found = [alarm for event in events(run.events) for alarm in engine.observe(event)]
    return [alarm for alarm in found if isinstance(alarm, AlarmRaised)]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_injected_fault_raises_its_alarm_and_no_other(place):
    """A slowed rank, a spike, one letter, a stall and a NaN in one run, each found and placed."""
    run = place.make(
        *("--gpus=2", "--num-iterations=190", "--eval-every=100", "--checkpoint-every=0"),
        *("--eval-metrics-every=100", "--eval-metrics-max-problems=24", "--on-nonfinite=skip"),
    )
    assert place.ended(place.supervise(run, FAULTS), 300) == 0
    assert end_of(run).status == "finished"
    alarms = {alarm.kind: alarm for alarm in told(run, AlarmRaised)}
    assert sorted(raised(run)) == ["letter_collapse", "nonfinite", "spike", "straggler"]
    assert alarms["spike"].step == 151, "one is a mark, two are an alarm"
    assert alarms["letter_collapse"].step == 189, "so was the start: told when it stays so"
    assert "A" in alarms["letter_collapse"].text
    assert alarms["straggler"].text.startswith("rank 1 ")
    assert alarms["straggler"].value > 2
    assert 185 <= alarms["nonfinite"].step <= 189
    named = [event.text for event in told(run, LogLine) if "not a number" in event.text]
    assert all("rows of the step: " in text for text in named)
    [stall] = seen_by_a_watcher(run)
    assert stall.kind == "stall"
    assert stall.value > 30
    own = {
        rank: [e.seconds_per_token for e in told(run, RankHeartbeat) if e.rank == rank]
        for rank in (0, 1)
    }
    assert all(len([s for s in times if s]) > 10 for times in own.values())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_without_faults_raises_none(place):
    """The starter on two ranks to its end; its start answers one letter, which is no alarm."""
    parsed, typed = parse_run(["--recipe=starter", "--gpus=2", "--device-type=cpu"])
    run = launch.create(
        launch.prepare(parsed.settings, frozenset(typed)),
        place.root,
        command=["sftui"],
        cwd=place.path,
        now=datetime.now(),
    )
    assert place.ended(place.supervise(run), 380) == 0
    assert end_of(run).status == "finished"
    # The speed of the machine is its other tenants': a slowdown beside other tests is true.
    assert set(raised(run)) <= {"slowdown"}
    assert seen_by_a_watcher(run) == []
