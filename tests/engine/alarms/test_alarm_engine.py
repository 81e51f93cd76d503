"""Alarms: each planted fault raises its own alarm and no other; a clean run raises none."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine import events as ev
from engine.alarms.alarm_engine import Alarm, AlarmEngine, StepNumbers
from engine.alarms.board import ALL_KINDS, CLOCK_KINDS, EVENT_KINDS, SEVERITY, AlarmBoard
from engine.alarms.loss_rule import LossRule
from engine.alarms.rules import ValidationRule
from engine.alarms.windows import Reading, RecentMedian, SortedWindow
from tests.simulated_run import GIB, Simulation, run


def alarms(events: Iterable[ev.Event], engine: AlarmEngine | None = None) -> list[Alarm]:
    engine = engine or AlarmEngine()
    return [alarm for event in events for alarm in engine.observe(event)]


def raised(events: Iterable[ev.Event], engine: AlarmEngine | None = None) -> list[str]:
    return [a.kind for a in alarms(events, engine) if isinstance(a, ev.AlarmRaised)]


def first(events: Iterable[ev.Event], engine: AlarmEngine | None = None) -> ev.AlarmRaised:
    return next(a for a in alarms(events, engine) if isinstance(a, ev.AlarmRaised))


def steps(losses: Iterable[float], start: int = 0, **numbers: object) -> list[ev.Event]:
    return [
        ev.StepFinished(step=start + i, loss=loss, **numbers)  # type: ignore[arg-type]
        for i, loss in enumerate(losses)
    ]


def quiet(count: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(1.2, 0.06, count).tolist()


# ---- the patterns ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_run_raises_nothing(seed: int) -> None:
    """1953 steps in which nothing is wrong raise no alarm."""
    assert raised(run(Simulation(seed=seed))) == []


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("nonfinite", {"nan_at": 700}),
        ("spike", {"spike_at": 700}),
        ("diverging", {"ramp_at": 1000}),
        ("overfitting", {"val_rise": 0.1}),
        ("straggler", {"slow_rank_seconds": 0.3}),
        ("stall", {"silence_at": 777}),
        ("letter_collapse", {"letter": "A"}),
        ("slowdown", {"slow_from": 1200}),
        ("rank_silent", {"silent_rank_at": 900}),
        ("memory_tight", {"memory_share": 0.93}),
        ("disk_low", {"disk_free": 3 * GIB}),
    ],
)
def test_a_fault_raises_its_alarm_and_no_other(kind: str, fault: dict[str, object]) -> None:
    """Every planted fault is named, once, with severity, step and what to do."""
    found = [
        a
        for a in alarms(run(Simulation(seed=1, **fault)))  # type: ignore[arg-type]
        if isinstance(a, ev.AlarmRaised)
    ]
    assert [a.kind for a in found] == [kind]
    assert found[0].severity == SEVERITY[kind]
    assert found[0].step is not None
    assert len(found[0].text) > 40


def test_a_replay_raises_what_the_live_run_raised() -> None:
    """The alarms are a function of the events: the same each time."""
    fault = Simulation(seed=4, nan_at=500, ramp_at=1000, silence_at=1477)
    # As text: a NaN is not equal to itself.
    assert repr(alarms(run(fault))) == repr(alarms(run(fault)))
    assert set(raised(run(fault))) == {"nonfinite", "diverging", "stall"}


# ---- loss ------------------------------------------------------------------------------------


def test_robust_z_of_the_worked_example() -> None:
    """Median, distance and z are the published ones."""
    window = SortedWindow(10)
    for value in (1.20, 1.25, 1.18, 1.22, 1.30, 1.24, 1.19, 1.21, 1.26, 1.23):
        window.push(value)
    median = window.median()
    sigma = window.sigma(median)
    assert median == pytest.approx(1.225)
    assert sigma == pytest.approx(0.037065)
    assert (1.60 - median) / sigma == pytest.approx(10.1174, abs=5e-5)
    assert (1.40 - median) / sigma == pytest.approx(4.7214, abs=5e-5)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.integers(1, 30))
def test_sorted_window_is_the_last_values(values: list[float], size: int) -> None:
    """After any values the window's median is that of the last ones."""
    window = SortedWindow(size)
    for value in values:
        window.push(value)
    kept = values[-size:]
    assert window.ordered == sorted(kept)
    assert window.median() == statistics.median(kept)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=40), st.floats(0, 20))
def test_the_quick_test_never_hides_a_spike(values: list[float], distance: float) -> None:
    """Where the quick test says no spike, the exact one says so too."""
    window = SortedWindow(100)
    for value in values:
        window.push(value)
    median = window.median()
    if window.fewer_than_half_within(median, distance):
        exact = statistics.median(abs(x - median) for x in values)
        assert exact >= distance - 1e-9


def test_one_odd_batch_is_a_mark_and_no_alarm() -> None:
    """A single high loss marks the chart; the second within five steps is an alarm."""
    engine = AlarmEngine()
    single = [*quiet(200), 3.0, *quiet(50, 1)]
    assert raised(steps(single), engine) == []
    assert list(engine.marks) == [200]
    pair = [*quiet(200), 3.0, 1.2, 1.2, 3.0, *quiet(50, 1)]
    assert raised(steps(pair)) == ["spike"]
    apart = [*quiet(200), 3.0, *quiet(10, 2), 3.0, *quiet(50, 1)]
    assert raised(steps(apart)) == []


def test_no_spike_before_anything_is_normal() -> None:
    """The first thirty losses fall steeply and are judged by nothing."""
    falling = [11.0 - 0.3 * i for i in range(29)]
    assert raised(steps([*falling, 12.0, 12.0])) == []


def test_a_flat_loss_does_not_make_rounding_a_spike() -> None:
    """A loss that is constant to the last digit raises nothing when the last digit moves."""
    assert raised(steps([0.5] * 200 + [0.5001, 0.5002, 0.5001] + [0.5] * 50)) == []


def test_the_advice_names_a_command_where_there_is_one() -> None:
    """The log of another program cannot be steered."""
    for run_id, command in (("20260304-tiny", "with sftui ctl 20260304-tiny lr 0.5"), ("", "")):
        engine = AlarmEngine(run_id=run_id)
        found = alarms(run(Simulation(seed=1, ramp_at=1000)), engine)
        [text] = [a.text for a in found if isinstance(a, ev.AlarmRaised)]
        assert f"halve the rate {command}".strip() + ", or stop and resume" in text
        assert ("sftui" in text) == bool(run_id)


def test_diverging_ends_when_the_loss_comes_back() -> None:
    """The alarm is cleared half the way back, not at the limit where it would flicker."""
    path = [*quiet(300), *(np.array(quiet(120, 1)) + 0.5), *quiet(200, 2)]
    found = [a for a in alarms(steps(path)) if a.kind == "diverging"]
    assert [type(a) for a in found] == [ev.AlarmRaised, ev.AlarmCleared]
    assert 300 < (found[0].step or 0) < 330
    assert 420 < (found[1].step or 0) < 445


def test_divergence_of_a_loss_around_zero() -> None:
    """A loss that may be negative is judged by its noise where a share means nothing."""
    rng = np.random.default_rng(0)
    around_zero = rng.normal(0, 0.05, 600)
    assert raised(steps(around_zero)) == []
    assert "diverging" in raised(steps([*around_zero, *rng.normal(0.5, 0.05, 60)]))


def test_nan_for_good_is_one_alarm() -> None:
    """A run that is lost says so once, not at every step."""
    lost = [*quiet(50), *[math.nan] * 1000]
    assert raised(steps(lost)) == ["nonfinite"]


def test_a_nan_is_over_after_twenty_good_steps() -> None:
    """The alarm stays up for twenty finite losses and goes."""
    found = alarms(steps([*quiet(50), math.nan, *quiet(50, 1)]))
    assert [(type(a), a.step) for a in found] == [(ev.AlarmRaised, 50), (ev.AlarmCleared, 70)]


@pytest.mark.parametrize(
    "event",
    [
        ev.StepFinished(step=3, loss=math.inf),
        ev.StepFinished(step=3, loss=1.0, grad_norm=math.nan),
        ev.StepFinished(step=3, loss_micro_last=math.inf),
        ev.ValidationFinished(step=3, loss=math.nan),
    ],
)
def test_whatever_is_not_finite_is_named(event: ev.Event) -> None:
    """Loss, gradient norm and validation count; the text says which."""
    found = first([event])
    assert found.kind == "nonfinite"
    assert "at step 3" in found.text


def test_a_micro_batch_without_supervised_tokens_is_no_alarm() -> None:
    """nanochat prints nan for such a batch; three in a row are something else."""
    nan = ev.StepFinished(step=5, loss_micro_last=math.nan)
    good = ev.StepFinished(step=5, loss_micro_last=1.2)
    assert raised([nan, nan, good, nan, good]) == []
    assert raised([nan, nan, nan]) == ["nonfinite"]
    ours = ev.StepFinished(step=5, loss=1.2, loss_micro_last=math.nan)
    assert raised([ours] * 10) == []


def test_columns_say_the_same_as_single_steps() -> None:
    """A reader of long logs may give columns: the alarms do not change."""
    path = [*quiet(200), 3.0, 3.0, *(np.array(quiet(200, 1)) + 0.5)]
    batch = ev.StepBatch(step=len(path) - 1, steps=range(len(path)), columns={"loss": path})
    engine = AlarmEngine()
    assert raised([batch]) == raised(steps(path), engine) == ["spike", "diverging"]


def test_logs_with_missing_numbers_are_folded() -> None:
    """A foreign log may have no loss, no step, no time: nothing fails and nothing is made up."""
    odd: list[ev.Event] = [
        ev.StepFinished(),
        ev.StepFinished(step=1, grad_norm=2.0),
        ev.StepFinished(step=2, seconds=0.0, tokens_per_second=math.nan),
        ev.ValidationFinished(loss=1.0),
        ev.EvalFinished(task="x", accuracy=0.5),
        ev.RankHeartbeat(rank=0),
        ev.MetricLogged(values={"reward": math.nan}),
        ev.LogLine(text="hello"),
        ev.Unknown(type="new"),
        ev.RankLost(),
        ev.EventsDropped(count=3),
    ]
    assert raised(odd * 50) == []


# ---- validation and answers ------------------------------------------------------------------


def validations(
    values: Iterable[float], error: float | None = None, start: int = 0
) -> list[ev.Event]:
    return [
        ev.ValidationFinished(step=start + 50 * i, loss=v, paired_error=error)
        for i, v in enumerate(values)
    ]


CALM = [1.0, 1.001, 1.0, 1.001, 1.0, 1.001, 1.0, 1.001]


def test_overfitting_needs_two_evaluations_and_the_fourth() -> None:
    """One bad evaluation is noise; two in a row, from the fourth on, are an alarm."""
    assert raised(validations([*CALM, 1.03, 1.001, 1.03, 1.0])) == []
    assert raised(validations([1.0, 1.05, 1.06])) == []
    found = first(validations([*CALM, 1.03, 1.031]))
    assert (found.kind, found.step) == ("overfitting", 450)
    assert "step 0" in found.text


def test_overfitting_has_to_beat_the_paired_error() -> None:
    """The same rise is no alarm where the rows differ too much to tell."""
    rising = [*CALM, 1.03, 1.031]
    assert raised(validations(rising, error=0.003)) == ["overfitting"]
    assert raised(validations(rising, error=0.02)) == []


def test_overfitting_has_to_beat_the_wobble() -> None:
    """A rise that is no larger than the evaluations' own scatter is no alarm."""
    restless = [1.0 + 0.02 * (i % 2) for i in range(12)]
    assert raised(validations([*restless, 1.04, 1.041])) == []


def test_overfitting_is_over_when_the_loss_is_back() -> None:
    """Falling back to the best clears the alarm."""
    found = alarms(validations([*CALM, 1.03, 1.031, 1.0]))
    assert [type(a) for a in found] == [ev.AlarmRaised, ev.AlarmCleared]


def test_the_same_model_measured_twice_is_one_evaluation() -> None:
    """An evaluation asked for by hand does not count as the second in a row."""
    twice = validations([*CALM, 1.03])
    assert raised([*twice, twice[-1], twice[-1]]) == []


def test_a_resumed_run_forgets_what_it_does_again() -> None:
    """Evaluations after the step that a resume starts from are measured anew."""
    before = validations([*CALM, 1.03])
    again = ev.AttemptStarted(start_step=350)
    assert raised([*before, again, *validations([1.001, 1.03], start=350)]) == []
    assert raised([*before, again, *validations([1.001, 1.03, 1.03], start=350)]) == ["overfitting"]


def test_wobble_of_the_worked_example() -> None:
    """The scatter of evaluations is that of the published example."""
    rule = ValidationRule()
    for step, loss in enumerate([1.243, 1.240, 1.244, 1.239, 1.245, 1.241]):
        rule.add(step, loss, None)
    assert rule.wobble == pytest.approx(0.005750, abs=5e-7)


def test_letter_collapse_by_task() -> None:
    """The alarm stays while one task answers one letter, and few answers prove nothing."""

    def answers(task: str, **letters: int) -> ev.Event:
        return ev.EvalFinished(task=task, step=100, letters=letters)

    assert raised([answers("MMLU", A=70, B=30)]) == []
    assert raised([answers("MMLU", A=9, B=1)]) == []
    found = alarms(
        [
            answers("MMLU", A=71, B=29),
            answers("ARC", A=99, B=1),
            answers("MMLU", A=50, B=50),
            answers("ARC", A=50, B=50),
        ]
    )
    assert [type(a) for a in found] == [ev.AlarmRaised, ev.AlarmCleared]
    assert "71%" in str(getattr(found[0], "text", ""))


def share(step: int, of_a: int) -> ev.Event:
    return ev.EvalFinished(task="MMLU", step=step, letters={"A": of_a, "B": 100 - of_a})


RUN = ev.RunStarted(name="r", num_iterations=1001)


def test_a_start_that_answers_one_letter_is_no_fault_of_the_run() -> None:
    """No alarm for what the run was given, nor while it is still learning the letters."""
    early = [share(step, 90) for step in (0, 100, 200, 300, 400)]
    assert raised([RUN, *early]) == []
    assert raised([RUN, *early, share(500, 50), share(600, 90), share(700, 50)]) == []


def test_a_run_that_never_leaves_its_one_letter_is_told_so() -> None:
    """From half of the updates on, at the second evaluation in a row; the same one twice is one."""
    run = [RUN, share(0, 90), share(400, 90), share(500, 90)]
    assert raised(run) == []
    assert raised([*run, share(500, 90)]) == []
    assert raised([*run, share(600, 90)]) == ["letter_collapse"]
    assert raised([share(0, 90), share(100, 90), share(200, 90)]) == ["letter_collapse"]


def test_a_run_that_falls_into_one_letter_is_told_at_once() -> None:
    """Its start answered with all letters."""
    assert raised([RUN, share(0, 50), share(100, 90)]) == ["letter_collapse"]


# ---- time ------------------------------------------------------------------------------------


def at(event: ev.Event, t: float, m: float | None = None) -> ev.Event:
    from dataclasses import replace

    return replace(event, stamp=ev.Stamp(t=t, m=m))


def running(until: int = 50, seconds: float = 1.0) -> tuple[AlarmEngine, float]:
    """An engine that has seen steps, and the time of the last one."""
    engine = AlarmEngine()
    for step in range(until):
        engine.observe(
            at(ev.StepFinished(step=step, seconds=seconds), step * seconds, step * seconds)
        )
    return engine, (until - 1) * seconds


def kinds(found: list[Alarm]) -> list[str]:
    return [f"{'+' if isinstance(a, ev.AlarmRaised) else '-'}{a.kind}" for a in found]


def test_a_watcher_sees_a_stall_and_its_end() -> None:
    """Thirty seconds without a step are an alarm, the next step ends it."""
    engine, last = running()
    assert engine.tick(last + 30) == []
    assert kinds(engine.tick(last + 31)) == ["+stall"]
    assert engine.tick(last + 200) == []
    assert kinds(engine.observe(at(ev.StepFinished(step=50), last + 201))) == ["-stall"]


def test_slow_steps_are_given_ten_times_their_own_time() -> None:
    """A run with steps of 20 seconds is not stalled after a minute."""
    engine, last = running(seconds=20.0)
    assert engine.tick(last + 199) == []
    assert kinds(engine.tick(last + 201)) == ["+stall"]


def test_step_times_come_from_the_spacing_where_the_log_has_no_other() -> None:
    """A foreign log with times and nothing else is watched as well."""
    engine = AlarmEngine()
    for step in range(10):
        engine.observe(at(ev.StepFinished(step=step, loss=1.0), 5.0 * step))
    assert engine.tick(45 + 50) == []
    assert kinds(engine.tick(45 + 51)) == ["+stall"]


@pytest.mark.parametrize(
    "event",
    [
        ev.PhaseStarted(phase="validate"),
        ev.EvalStarted(task="MMLU"),
        ev.CheckpointStarted(),
        ev.StateChanged(state="paused"),
        ev.ControlApplied(id="a", command="pause"),
        ev.RunFinished(status="finished"),
        ev.AttemptStarted(),
        ev.RankLost(rank=1),
        ev.RankLost(reason="the command ended with exit code 1"),
    ],
)
def test_no_stall_where_no_step_is_due(event: ev.Event) -> None:
    """Measuring, saving, pausing and starting may take their time."""
    engine, last = running()
    engine.observe(at(event, last + 1))
    assert engine.tick(last + 1000) == []


@pytest.mark.parametrize(
    "events",
    [
        [ev.PhaseStarted(phase="validate"), ev.PhaseStarted(phase="train")],
        [ev.CheckpointStarted(), ev.CheckpointSaved(path="x")],
        [ev.StateChanged(state="paused"), ev.StateChanged(state="running")],
        [ev.ControlApplied(id="a", command="pause"), ev.ControlApplied(id="b", command="resume")],
    ],
)
def test_a_stall_is_seen_again_when_steps_are_due(events: list[ev.Event]) -> None:
    """After the phase, the save or the pause the clock runs again, before the first step."""
    engine, last = running()
    for event in events:
        engine.observe(at(event, last + 20))
    assert engine.tick(last + 49) == []
    assert kinds(engine.tick(last + 52)) == ["+stall"]


@pytest.mark.parametrize(
    "pause",
    [
        ev.ControlApplied(id="a", command="pause", step=40),
        ev.StateChanged(state="paused", step=40),
    ],
)
def test_a_step_told_behind_its_pause_does_not_end_the_pause(pause: ev.Event) -> None:
    """Another's trainer tells of an update when its log line is there: behind the answer."""
    engine, last = running(until=40)
    engine.observe(at(pause, last + 1))
    engine.observe(at(ev.StepFinished(step=39, loss=1.0, seconds=0.1), last + 2))
    engine.observe(at(ev.ValidationFinished(step=40, loss=1.0), last + 3))
    engine.observe(at(ev.PhaseStarted(phase="train", step=40), last + 3))
    assert engine.tick(last + 3600) == []
    # The next update is one behind the pause, whoever ended it.
    engine.observe(at(ev.StepFinished(step=40, loss=1.0, seconds=0.1), last + 3601))
    assert kinds(engine.tick(last + 3700)) == ["+stall"]


def test_a_pause_that_was_refused_pauses_nothing() -> None:
    """Only an applied control changes what is due."""
    engine, last = running()
    refused = ev.ControlApplied(id="a", command="pause", outcome="rejected")
    engine.observe(at(refused, last + 1))
    assert kinds(engine.tick(last + 40)) == ["+stall"]


def test_a_beating_heart_is_no_progress() -> None:
    """A rank that hangs in a collective still beats; the run is stalled all the same."""
    engine, last = running()
    for second in range(1, 60):
        beat = ev.RankHeartbeat(rank=0, at_step=49)
        found = engine.observe(at(beat, last + second))
        if found:
            break
    assert kinds(found) == ["+stall"]
    assert 30 < second < 33


def test_a_clock_that_was_set_is_no_stall() -> None:
    """Only a silence that both clocks saw counts: a laptop may sleep, a clock may be set."""
    engine, last = running()
    assert engine.tick(last + 3600, last + 2) == []
    assert kinds(engine.tick(last + 3600, last + 40)) == ["+stall"]


def beats(engine: AlarmEngine, ranks: Iterable[int], t: float, step: int) -> list[Alarm]:
    return [
        alarm
        for rank in ranks
        for alarm in engine.observe(at(ev.RankHeartbeat(rank=rank, at_step=step), t))
    ]


def test_one_silent_rank_is_named() -> None:
    """A rank without a beat for thirty seconds is named, and cleared when it is back."""
    engine = AlarmEngine()
    for second in range(10):
        assert beats(engine, (0, 1, 2), second, second) == []
    found = [a for s in range(10, 45) for a in beats(engine, (0, 2), s, s)]
    assert kinds(found) == ["+rank_silent"]
    assert "rank 1 for" in str(getattr(found[0], "text", ""))
    assert kinds(beats(engine, (1,), 46, 46) + beats(engine, (0,), 48, 47)) == ["-rank_silent"]


def test_a_lost_rank_is_no_silent_one() -> None:
    """A rank that is known to be gone has an event of its own."""
    engine = AlarmEngine()
    beats(engine, (0, 1), 0, 0)
    engine.observe(at(ev.RankLost(rank=1), 5))
    assert [a for s in range(6, 60) for a in beats(engine, (0,), s, s)] == []


def test_all_silent_is_a_stall_while_steps_are_due_and_silence_otherwise() -> None:
    """One alarm, not two: steps that do not come, or ranks that say nothing while measuring."""
    engine, last = running()
    beats(engine, (0, 1), last, 49)
    assert kinds(engine.tick(last + 40)) == ["+stall"]
    engine, last = running()
    beats(engine, (0, 1), last, 49)
    engine.observe(at(ev.PhaseStarted(phase="validate"), last))
    assert kinds(engine.tick(last + 40)) == ["+rank_silent"]


def test_ranks_on_one_cpu_share_its_memory() -> None:
    """Two ranks with half of the memory each are tight together."""
    engine = AlarmEngine()

    def beat(rank: int, used: int, host: str = "a") -> list[Alarm]:
        return engine.observe(
            ev.RankHeartbeat(
                rank=rank, host=host, memory_bytes=used * GIB, memory_total_bytes=10 * GIB
            )
        )

    assert beat(0, 5) == []
    assert beat(1, 5, host="b") == []
    assert kinds(beat(1, 5)) == ["+memory_tight"]
    assert kinds(beat(1, 3)) == ["-memory_tight"]


def test_tight_memory_of_a_device() -> None:
    """Reserved and foreign memory count, and so does an allocator that had to try again."""
    beat = ev.RankHeartbeat(
        rank=0,
        memory_kind="cuda",
        memory_bytes=1 * GIB,
        memory_reserved_bytes=5 * GIB,
        memory_total_bytes=10 * GIB,
    )
    from dataclasses import replace

    assert raised([beat]) == []
    assert raised([replace(beat, gpu_others_bytes=5 * GIB)]) == ["memory_tight"]
    assert raised([replace(beat, alloc_retries=2)]) == ["memory_tight"]


def test_a_rank_back_at_normal_is_no_straggler() -> None:
    """Three slow windows in a row are needed, and a normal one ends the alarm."""
    engine = AlarmEngine()

    def window(start: int, slow: float) -> list[Alarm]:
        return [
            alarm
            for step in range(start, start + 51)
            for rank in (0, 1)
            for alarm in engine.observe(
                ev.RankHeartbeat(rank=rank, at_step=step, seconds_per_token=slow if rank else 1.0)
            )
        ]

    found = [kinds(window(51 * i, slow)) for i, slow in enumerate([2.0, 2.0, 1.2, 2.0, 2.0])]
    assert found == [[]] * 5
    assert kinds(window(255, 2.0)) == ["+straggler"]
    assert kinds(window(306, 1.0)) == ["-straggler"]


# ---- how often a person is told --------------------------------------------------------------


def test_the_same_kind_waits_for_ten_minutes_and_two_hundred_steps() -> None:
    """Repetitions are held back, counted, and told when both have passed."""
    engine = AlarmEngine()
    told: list[ev.AlarmRaised] = []
    for step in range(1500):
        loss = math.nan if step % 50 == 0 else 1.2
        event = at(ev.StepFinished(step=step, loss=loss), 1.0 * step)
        told += [a for a in engine.observe(event) if isinstance(a, ev.AlarmRaised)]
    assert [a.step for a in told] == [0, 600, 1200]
    assert told[0].text.endswith("init_lr_frac")
    assert told[1].text.endswith("(x12 since step 0)")


def test_what_is_judged_are_numbers_of_an_update() -> None:
    """A number that is renamed in the event is renamed in the rules, or this fails."""
    assert set(StepNumbers._fields) <= set(ev.STEP_NUMBERS)


def test_without_times_the_steps_count_alone() -> None:
    """A log without a clock is held back by steps."""
    lost = [math.nan if step % 50 == 0 else 1.2 for step in range(500)]
    found = [a.step for a in alarms(steps(lost)) if isinstance(a, ev.AlarmRaised)]
    assert found == [0, 200, 400]


def test_a_condition_that_lasts_is_told_when_its_time_has_come() -> None:
    """What began while it was held back, and still holds, is not lost."""
    board = AlarmBoard(ALL_KINDS)
    for step, holds in ((0, True), (10, False), (20, True), (230, True)):
        board.step = step
        slow = Reading(value=1.0, limit=2.0) if holds else None
        board.judge("slowdown", slow, lambda _: "slow")
    found = board.collect()
    assert kinds(found) == ["+slowdown", "-slowdown", "+slowdown"]
    assert found[-1].step == 230


def test_alarms_of_the_run_itself_are_taken_over() -> None:
    """A journal that already tells of an alarm is not told of it again by its reader."""
    told = ev.AlarmRaised(kind="nonfinite", text="by rank 0", step=0)
    engine = AlarmEngine()
    assert raised([told, *steps([math.nan] * 5)], engine) == []
    assert engine.observe(ev.AlarmCleared(kind="nonfinite")) == []
    assert engine.observe(ev.AlarmRaised(kind="event_log_blocked")) == []


def test_kinds_share_the_work() -> None:
    """Rank 0 and the watcher raise each kind once between them."""
    assert EVENT_KINDS | CLOCK_KINDS == ALL_KINDS == set(SEVERITY)
    fault = Simulation(seed=1, nan_at=500, silence_at=977)
    inside = raised(run(fault), AlarmEngine(kinds=EVENT_KINDS))
    outside = raised(run(fault), AlarmEngine(kinds=CLOCK_KINDS))
    assert (inside, outside) == (["nonfinite"], ["stall"])


def test_a_new_run_in_the_same_file_starts_clean() -> None:
    """The next stage of a pipeline is not judged by the losses of the one before."""
    first_stage = steps(quiet(300))
    second = [ev.RunStarted(name="next"), *steps((np.array(quiet(300, 1)) * 3).tolist())]
    assert raised([*first_stage, *second]) == []
    ended = alarms([*steps([math.nan]), ev.RunStarted(name="next")])
    assert kinds(ended) == ["+nonfinite", "-nonfinite"]


def test_more_about_the_same_run_is_no_new_run() -> None:
    """A reader may tell a run's settings in several pieces; what is normal stays known."""
    begun = ev.RunStarted(name="a", stamp=ev.Stamp(run="a"))
    path = [begun, *steps(quiet(200)), begun, *steps([3.0, 3.0], start=200)]
    assert raised(path) == ["spike"]


def test_alarms_carry_the_time_of_the_run_and_no_number_of_its_writer() -> None:
    """An alarm has its cause's time, and is not mistaken for a repetition of it."""
    event = ev.StepFinished(step=3, loss=math.nan, stamp=ev.Stamp(run="r", seq=17, t=5.0, att=2))
    (found,) = alarms([event])
    assert (found.stamp.seq, found.stamp.t, found.stamp.att) == (0, 5.0, 2)


def test_a_loss_costs_little() -> None:
    """The rule keeps a bounded number of values, however long the run."""
    rule = LossRule()
    for value in quiet(5000):
        rule.add(value)
    assert len(rule._window) == 100
    assert len(rule._recent._values) == 20


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=60), st.floats(-3, 3), st.floats(-3, 3))
def test_the_counted_median_is_the_median(values: list[float], early: float, late: float) -> None:
    """Counting finds exactly the medians that pass the limit, also when the limit moves."""
    recent = RecentMedian()
    recent.set_limit(early)
    for i, value in enumerate(values):
        if i == 25:
            recent.set_limit(late)
        recent.push(value)
        limit = late if i >= 25 else early
        kept = values[max(0, i - 19) : i + 1]
        passes = len(kept) == 20 and statistics.median(kept) > limit
        assert recent.above_limit() == (statistics.median(kept) if passes else None)


@given(late=st.floats(0.0, 100.0), text=st.booleans())
def test_a_number_told_late_is_no_step_back_in_time(late: float, text: bool) -> None:
    """A reader gives a log's free metrics behind the steps of its block, with their own times."""
    events: list[ev.Event] = [
        ev.StepFinished(step=i, loss=1.0, stamp=ev.Stamp(t=1000.0 + i)) for i in range(100)
    ]
    stamp = ev.Stamp(t=1000.0 + late)
    more = (
        ev.LogLine(text="x", stamp=stamp)
        if text
        else ev.MetricLogged(values={"x": 1.0}, stamp=stamp)
    )
    after = ev.StepFinished(step=100, loss=1.0, stamp=ev.Stamp(t=1101.0))
    assert raised([*events, more, after]) == []
    silent = ev.StepFinished(step=100, loss=1.0, stamp=ev.Stamp(t=1900.0))
    assert raised([*events, more, silent]) == ["stall"]


def test_an_alarm_about_one_of_several_sets_names_it() -> None:
    """Its numbers stood beside another set's in the report and contradicted them."""
    events: list[ev.Event] = []
    for i, loss in enumerate([5.0, 4.0, 3.2, 2.5, 1.9, 1.4, 1.0, 1.8, 1.9, 2.0]):
        events.append(ev.ValidationFinished(step=i, loss=1.0 / (1 + i), set_name="seen"))
        events.append(ev.ValidationFinished(step=i, loss=loss, set_name="held out"))
    assert first(events).text.startswith("validation of held out 1.9")
    alone = [e for e in events if isinstance(e, ev.ValidationFinished) and e.set_name != "seen"]
    assert first(alone).text.startswith("validation 1.9")


@given(
    st.lists(
        st.sampled_from([1.7e308, -1.7e308, 1e300, 0.0, 5e-324, 1.0])
        | st.floats(allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=7,
    )
)
@example([1e300, 0.0, 0.0])
def test_losses_of_any_size_are_judged(losses: list[float]) -> None:
    """The square of one overflowed, and with it went the run that it warned of."""
    engine = AlarmEngine()
    for step in range(60):
        loss = losses[step % len(losses)]
        engine.observe(ev.StepFinished(step=step, loss=loss, tokens_per_second=abs(loss)))
        engine.observe(ev.ValidationFinished(step=step, loss=loss))
