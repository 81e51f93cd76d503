"""The reducer: the same events give the same state, however they arrive."""

import dataclasses
import math
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.state.records import RunClock, SeenNumbers, Topic
from sftui.state.run_state import RunState
from sftui.state.series import Table
from tests.conftest import examples
from tests.sftui.fake_run import UPDATES, fake_run
from tests.strategies import events as any_events

RUN = fake_run()


def picture(value):
    """A state as plain comparable data, NaN included."""
    if isinstance(value, Table):
        return (
            "table",
            repr(value.x.tolist()),
            {n: repr(value.column(n).tolist()) for n in sorted(value.names)},
        )
    if isinstance(value, np.ndarray):
        return repr(value.tolist())
    if dataclasses.is_dataclass(value):
        return (
            type(value).__name__,
            {f.name: picture(getattr(value, f.name)) for f in dataclasses.fields(value)},
        )
    if isinstance(value, SeenNumbers | RunClock):
        return [picture(getattr(value, name)) for name in type(value).__slots__]
    if isinstance(value, dict):
        return [(k, picture(v)) for k, v in value.items()]
    if isinstance(value, list | tuple | deque):
        return [picture(v) for v in value]
    return repr(value)


def fold(events) -> RunState:
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def stamped(event, *, seq=0, att=1, t=None):
    return dataclasses.replace(event, stamp=ev.Stamp(seq=seq, att=att, t=t))


WHOLE = picture(fold(RUN))


@pytest.mark.parametrize(
    ("name", "src", "first", "planned"),
    [
        ("mine", "r0", 0, 29),
        ("chat_sft", "nanochat", 0, 29),
        ("base_train", "nanochat", 0, 30),
        ("train", "hf-trainer", 1, 30),
    ],
)
def test_done_of_planned_is_never_more_than_all(name, src, first, planned):
    """Which iteration only evaluates, and whether steps count from one, differs by program."""
    state = RunState()
    state.apply(ev.RunStarted(name=name, num_iterations=30, stamp=ev.Stamp(src=src, seq=1)))
    for i in range(planned):
        step = ev.StepFinished(step=i + first, loss=1.0, stamp=ev.Stamp(src=src, seq=i + 2))
        state.apply(step)
    assert (state.done, state.planned) == (planned, planned)


@given(st.data())
@examples(15)
def test_same_state_with_duplicates_from_queue_and_file(data):
    """Events that come a second time, from the file after the queue, change nothing."""
    events = list(RUN)
    state = RunState()
    at = 0
    while at < len(events):
        size = data.draw(st.integers(1, 200))
        again = data.draw(st.integers(0, 60))
        for event in events[at : at + size]:
            state.apply(event)
        for event in events[max(0, at - again) : at + size]:
            assert state.apply(event) is Topic.NOTHING
        at += size
    assert picture(state) == WHOLE


@given(st.lists(any_events(), max_size=40))
@examples(150)
def test_any_events_are_taken(events):
    """Whatever a log holds, the reducer takes it, twice with the same result."""
    assert picture(fold(events)) == picture(fold(events))


def test_whole_run():
    """A finished run: counts, badge, best, times."""
    state = fold(RUN)
    assert state.badge == "finished"
    assert state.updates == state.planned == UPDATES
    assert len(state.steps) == UPDATES
    assert sorted(state.validations) == list(range(0, UPDATES + 1, 50))
    assert list(state.evals) == ["MMLU", "ARC-Easy"]
    assert state.eta_seconds() is None
    assert state.evaluating is None
    assert state.first_t is not None
    assert state.last_t is not None
    assert state.last_t - state.first_t > 125


def test_starting_weights_are_a_row():
    """Step 0 is the last row of the checkpoint list once it was evaluated, and may be best."""
    state = fold(
        [
            stamped(ev.ValidationFinished(step=0, loss=1.0)),
            stamped(ev.ValidationFinished(step=50, loss=1.1)),
        ]
    )
    assert state.checkpoint_rows()[-1].kind == "start"
    assert state.checkpoint_rows()[-1].val_loss == 1.0
    assert state.best_validation is not None
    assert state.best_validation.step == 0
    assert fold([]).checkpoint_rows() == []


def test_nan_is_never_best_but_is_kept():
    """A diverged validation is news and no record."""
    state = fold(
        [ev.ValidationFinished(step=0, loss=math.nan), ev.ValidationFinished(step=5, loss=2.0)]
    )
    assert state.best_validation is not None
    assert state.best_validation.step == 5
    assert math.isnan(state.validations[0].loss)


def test_highest_attempt_wins_a_step():
    """Steps done again after a restart replace the old ones, which are kept aside."""
    first = [stamped(ev.StepFinished(step=s, loss=1.0), seq=s + 1) for s in range(20)]
    again = [stamped(ev.AttemptStarted(start_step=10), seq=50, att=2)]
    again += [stamped(ev.StepFinished(step=s, loss=2.0), seq=s + 60, att=2) for s in range(10, 15)]
    late = [stamped(ev.StepFinished(step=12, loss=7.0), seq=99, att=1)]
    state = fold(first + again + late)
    assert state.steps.column("loss").tolist() == [1.0] * 10 + [2.0] * 5
    assert state.attempt == 2
    assert state.updates == 15
    assert [steps.tolist() for steps, _ in state.replaced] == [list(map(float, range(10, 20)))]


def test_restart_forgets_later_evaluations_and_keeps_files():
    """Validations after the restart point are done again; saved checkpoints exist still."""
    state = fold(
        [
            ev.ValidationFinished(step=10, loss=1.0),
            ev.ValidationFinished(step=20, loss=0.5),
            ev.CheckpointSaved(step=10, path="ckpt/step-10"),
            stamped(ev.AttemptStarted(start_step=10, resumed_from="ckpt/step-10"), att=2),
        ]
    )
    assert sorted(state.validations) == [10]
    assert state.badge == "starting"
    assert "ckpt/step-10" in state.checkpoints


def test_gap_is_filled_later():
    """An event that the queue lost and the file brought counts, once, in its place."""
    steps = [stamped(ev.StepFinished(step=s, loss=float(s)), seq=s + 1) for s in range(6)]
    state = fold([*steps[:2], *steps[3:], steps[2], steps[2]])
    assert state.steps.column("loss").tolist() == [0, 1, 2, 3, 4, 5]
    assert state.updates == 6


@given(st.lists(st.integers(1, 40), max_size=80))
def test_seen_numbers_are_a_set(numbers):
    """Whatever the order, a number is new exactly once."""
    seen, known = SeenNumbers(), set()
    for number in numbers:
        assert seen.add(number) == (number not in known)
        known.add(number)


@pytest.mark.parametrize(
    ("events", "badge"),
    [
        ([], "starting"),
        ([ev.StepFinished(step=0)], "running"),
        ([ev.StepFinished(step=0), ev.StateChanged(state="paused")], "paused"),
        ([ev.StepFinished(step=0), ev.ControlApplied(id="1", command="pause")], "paused"),
        ([ev.ControlApplied(id="1", command="pause", outcome="rejected")], "starting"),
        ([ev.StateChanged(state="paused"), ev.ControlApplied(id="2", command="resume")], "running"),
        ([ev.RunFinished(status="failed", reason="x"), ev.StateChanged(state="running")], "failed"),
        ([ev.RunFinished(status="stopped")], "stopped"),
    ],
)
def test_badge(events, badge):
    """The badge is the newest word of the engine; the end is final."""
    assert fold(events).badge == badge


def test_unknown_and_dropped_are_counted():
    """Nothing is skipped in silence."""
    state = fold([ev.Unknown(type="later"), ev.EventsDropped(count=7), ev.EventsDropped(count=2)])
    assert state.unknown == 1
    assert state.dropped == 9


def test_startup_phases_have_their_times():
    """Each phase ends where the next begins."""
    state = fold(
        [
            stamped(ev.PhaseStarted(phase="import"), t=10.0),
            stamped(ev.PhaseStarted(phase="model"), t=12.5),
            stamped(ev.PhaseStarted(phase="train"), t=13.0),
            stamped(ev.StepFinished(step=0, loss=1.0), t=14.0),
            stamped(ev.PhaseStarted(phase="validate"), t=15.0),
        ]
    )
    assert [(p.name, p.end) for p in state.startup] == [
        ("import", 12.5),
        ("model", 13.0),
        ("train", 15.0),
    ]
    assert state.phase is not None
    assert state.phase.name == "validate"


def test_the_questions_before_the_first_update_are_a_phase_of_their_own():
    """The validation that came before them has its own time; later ones are no start-up."""
    start = [
        stamped(ev.PhaseStarted(phase="validate"), t=1.0),
        stamped(ev.ValidationFinished(step=0, loss=1.0), t=21.0),
        stamped(ev.EvalStarted(step=0, task="MMLU"), t=21.0),
        stamped(ev.EvalFinished(step=0, task="MMLU", correct=1, total=4), t=23.0),
        stamped(ev.EvalStarted(step=0, task="GSM8K"), t=23.0),
    ]
    wanted = [("validate", 21.0), ("evaluate", None)]
    assert [(p.name, p.end) for p in fold(start).startup] == wanted
    trained = [
        stamped(ev.PhaseStarted(phase="train"), t=60.0),
        stamped(ev.StateChanged(state="running"), t=60.0),
        stamped(ev.StepFinished(step=0, loss=1.0), t=61.0),
        stamped(ev.EvalStarted(step=1, task="MMLU"), t=62.0),
    ]
    assert [p.name for p in fold(start + trained).startup] == ["validate", "evaluate", "train"]


def test_eta_counts_evaluations():
    """What is left: updates at the median pace, and the evaluations still to come."""
    state = fold(
        [
            ev.RunStarted(name="r", num_iterations=101, settings={"eval_every": 50}),
            ev.ValidationFinished(step=0, loss=1.0, seconds=7.0),
            *[ev.StepFinished(step=s, loss=1.0, seconds=2.0) for s in range(40)],
        ]
    )
    # 60 updates, a validation at 50 and one at 100.
    assert state.eta_seconds() == pytest.approx(60 * 2.0 + 2 * 7.0)


def test_ranks_keep_their_memory():
    """The newest heartbeat and the course of the memory, by rank."""
    state = fold(
        [
            stamped(ev.RankHeartbeat(rank=1, memory_bytes=100), t=1.0),
            stamped(ev.RankHeartbeat(rank=1, memory_bytes=300), t=2.0),
            ev.RankLost(rank=1, reason="killed"),
        ]
    )
    assert state.ranks[1].last.memory_bytes == 300
    assert state.ranks[1].memory.column("memory_bytes").tolist() == [100, 300]
    assert state.ranks[1].lost == "killed"


def test_a_run_that_lost_a_rank_does_not_run():
    """Seconds go by until the ranks are back; news of the attempt before changes nothing then."""
    said = []
    state = RunState()
    for event in (
        ev.AttemptStarted(stamp=ev.Stamp(att=1)),
        ev.StepFinished(step=0, loss=1.0, stamp=ev.Stamp(att=1)),
        ev.RankLost(rank=1, reason="killed", stamp=ev.Stamp(src="sup", att=1)),
        ev.AttemptStarted(stamp=ev.Stamp(att=2)),
        ev.StepFinished(step=0, loss=1.0, stamp=ev.Stamp(att=2)),
        ev.RankLost(rank=1, reason="killed", stamp=ev.Stamp(src="sup", att=1)),
    ):
        state.apply(event)
        said.append(state.badge)
    assert said == ["starting", "running", "starting", "starting", "running", "running"]


def test_log_is_bounded():
    """A chatty run costs no more memory than a quiet one."""
    state = RunState()
    for i in range(6000):
        state.apply(ev.LogLine(text=str(i)))
    assert len(state.log) == 5000
    assert state.log_total == 6000


def test_best_known_loss_is_shown():
    """A log with nanochat's micro-batch loss alone still has a training curve."""
    assert fold([ev.StepFinished(step=0, loss_micro_last=2.0)]).loss_name == "loss_micro_last"
    both = [ev.StepFinished(step=0, loss_micro_last=2.0), ev.StepFinished(step=1, loss=1.0)]
    assert fold(both).loss_name == "loss"


def test_a_run_resumed_on_fewer_ranks_shows_those():
    """Ranks that were left behind are not shown as silent ones."""
    state = fold(
        [
            stamped(ev.AttemptStarted(world_size=2)),
            stamped(ev.RankHeartbeat(rank=0)),
            stamped(ev.RankHeartbeat(rank=1)),
            stamped(ev.RunFinished(status="stopped")),
        ]
    )
    assert list(state.ranks) == [0, 1]
    state.apply(stamped(ev.AttemptStarted(start_step=4, world_size=1), att=2))
    assert list(state.ranks) == [0]
    assert not state.ended


@pytest.mark.parametrize("batched", [False, True])
def test_updates_after_an_end_say_that_the_run_was_taken_up_again(batched: bool) -> None:
    """Also where the line that says so was lost: a run that trains has not ended."""
    state = RunState()
    state.apply(ev.RunStarted(name="x", num_iterations=9, stamp=ev.Stamp(seq=1)))
    state.apply(ev.StepFinished(step=0, loss=1.0, stamp=ev.Stamp(seq=2)))
    state.apply(ev.RunFinished(status="failed", stamp=ev.Stamp(seq=3)))
    assert state.ended
    later = ev.Stamp(att=2, seq=4)
    if batched:
        state.apply(ev.StepBatch(steps=[1, 2], columns={"loss": [0.9, 0.8]}, stamp=later))
    else:
        state.apply(ev.StepFinished(step=1, loss=0.9, stamp=later))
    assert not state.ended
    assert state.badge == "running"


@pytest.mark.parametrize("kind", ["sftui", "hf", "lightning", "foreign"])
def test_checkpoints_of_any_trainer_come_newest_first(kind: ev.CheckpointKind) -> None:
    """And are places on the chart; what was exported comes behind them."""
    state = RunState()
    for step in (10, 20, 30):
        state.apply(ev.CheckpointSaved(step=step, path=f"out/{step}", kind=kind))
    state.apply(ev.CheckpointSaved(step=30, path="merged", kind="hf", reason="export"))
    state.apply(ev.CheckpointRemoved(path="out/10"))
    rows = state.checkpoint_rows()
    assert [row.path for row in rows] == ["out/30", "out/20", "out/10", "merged"]
    assert rows.steps.tolist() == [10, 20, 30]
    assert rows.kept == 2
