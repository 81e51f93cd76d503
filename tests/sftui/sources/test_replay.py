"""A recorded run on a clock: speeds, jumps, stages, growing files, and what cannot be opened."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.control import Command, Request
from engine.errors import RunDirError, UsageError
from engine.events import (
    AlarmRaised,
    AttemptStarted,
    CheckpointSaved,
    ControlApplied,
    EvalFinished,
    LogLine,
    RankHeartbeat,
    RankLost,
    RunFinished,
    RunStarted,
    Stamp,
    StepBatch,
    StepFinished,
    ValidationFinished,
)
from engine.journal import wire
from sftui.cockpit.screen_alarms import ScreenAlarms
from sftui.sources import feed as file_feed
from sftui.sources import open_log
from sftui.sources.clock import WATCH_SPEED
from sftui.sources.open_log import open_replay, read_whole, recognise
from sftui.sources.recording import Recording, Timeline
from sftui.sources.replay import replay_events
from sftui.state.run_state import RunState
from tests.conftest import SHARED, needs_shared
from tests.long_files import EveryRow
from tests.sftui.readers.reader_checks import flat


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run_of(num_steps: int, *, every: int = 10, seconds: float | None = 0.5, name: str = "run"):
    """A run with a validation and an evaluation of two tasks every so many steps."""
    yield RunStarted(name=name, stamp=Stamp(run=name))
    for step in range(num_steps):
        if step % every == 0:
            yield ValidationFinished(step=step, loss=2.0 - step / 1000)
            yield EvalFinished(step=step, task="MMLU", correct=step, total=1024)
            yield EvalFinished(step=step, task="ARC", accuracy=0.25)
        yield StepFinished(step=step, loss=3.0 - step / 1000, seconds=seconds)
    yield CheckpointSaved(step=num_steps, path="final")
    yield RunFinished(status="finished")


def steps_of(events) -> list[int]:
    return [e.step for e in flat(events) if isinstance(e, StepFinished)]


# ---- the clock ----------------------------------------------------------------------------------


def test_the_clock_gives_what_has_happened():
    """At speed 4 a step of half a second comes every eighth of a second."""
    clock = Clock()
    source = replay_events(run_of(100), speed=4.0, now=clock)
    assert steps_of(source.poll()) == []
    clock.now += 1.0
    assert steps_of(source.poll()) == list(range(8))
    clock.now += 0.25
    assert steps_of(source.poll()) == [8, 9]
    assert source.poll() == []
    assert (source.seconds, source.step, source.closed) == (5.0, 10, False)
    source.speed = 1000.0
    clock.now += 1.0
    assert steps_of(source.poll()) == list(range(10, 100))
    assert source.closed


def test_infinite_speed_shows_all():
    """Instantly means everything, in order, once."""
    events = list(run_of(50))
    source = replay_events(events)
    got = list(itertools.chain.from_iterable(iter(source.poll, [])))
    assert got == events
    assert source.closed


def test_a_pause_stops_the_clock():
    """Nothing happens while the clock stands, and nothing is made up for afterwards."""
    clock = Clock()
    source = replay_events(run_of(100), speed=1.0, now=clock)
    clock.now += 5.0
    source.poll()
    source.paused = True
    clock.now += 50.0
    assert source.poll() == []
    source.paused = False
    clock.now += 1.0
    assert steps_of(source.poll()) == [10, 11]


def test_without_any_time_a_step_is_a_second():
    """A log without times runs by its steps; the clock says so."""
    clock = Clock()
    source = replay_events(run_of(100, seconds=None), speed=2.0, now=clock)
    source.poll()
    assert source.clock_kind == "steps"
    clock.now += 5.0
    assert len(steps_of(source.poll())) == 10


def test_log_times_win():
    """Times of the updates are the clock, pauses of the run included; it never runs back."""
    stamps = [0.0, 1.0, 2.0, 60.0, 59.0, 61.0]
    events = [RunStarted(name="r", stamp=Stamp(t=1e9))]
    events += [
        StepFinished(step=i, seconds=0.1, stamp=Stamp(t=1e9 + t)) for i, t in enumerate(stamps)
    ]
    clock = Clock()
    source = replay_events(events, speed=1.0, now=clock)
    clock.now += 2.0
    assert steps_of(source.poll()) == [0, 1, 2]
    clock.now += 58.0
    assert steps_of(source.poll()) == [3, 4]
    assert (source.clock_kind, source.seconds_total) == ("time", 61.0)


def test_resuming_at_infinite_speed_within_a_log_plays_it():
    """After a look back, play means watching, not a jump to the end."""
    source = replay_events(run_of(100))
    source.poll()
    source.seek_step(20)
    assert source.paused
    source.paused = False
    assert source.speed == WATCH_SPEED


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_a_speed_must_be_positive(speed):
    """A clock that stands or runs back is no speed."""
    with pytest.raises(UsageError, match="speed"):
        replay_events([]).speed = speed


# ---- jumps --------------------------------------------------------------------------------------


def test_seeking_back_starts_a_new_generation():
    """Going back gives everything up to there again, for a fresh state; going on does not."""
    source = replay_events(run_of(100))
    source.poll()
    assert source.generation == 0
    source.seek_step(30)
    events = source.poll()
    assert source.generation == 1
    assert steps_of(events) == list(range(31))
    assert (source.step, source.paused) == (30, True)
    source.seek_step(40)
    assert steps_of(source.poll()) == list(range(31, 41))
    assert source.generation == 1


def test_every_place_has_one_state():
    """The state after any chain of jumps is the state of a run that was watched to there."""
    source = replay_events(run_of(60))
    state, generation = RunState(), 0
    for step in (50, 10, 11, 59, 0, 33):
        source.seek_step(step)
        events = source.poll()
        if source.generation != generation:
            state, generation = RunState(), source.generation
        for event in events:
            state.apply(event)
        fresh = RunState()
        for event in source.events_until(source.position):
            fresh.apply(event)
        assert (state.updates, state.validations) == (fresh.updates, fresh.validations)
        assert state.updates == step + 1
        assert state.steps.x.tolist() == fresh.steps.x.tolist() == list(range(step + 1))


def test_marks_are_the_places_worth_seeing():
    """Every evaluation round, checkpoint, control and alarm is a place to jump to."""
    events = [
        *list(run_of(30))[:-1],
        ControlApplied(step=29, id="1", command="pause"),
        AlarmRaised(step=29, kind="spike", text="loss spike"),
        RankLost(rank=1),
        RunFinished(status="failed"),
    ]
    source = replay_events(events)
    source.poll()
    kinds = [mark.kind for mark in source.marks]
    assert kinds == ["validation", "eval"] * 3 + ["checkpoint", "control", "alarm", "lost", "end"]
    assert source.marks[3].label == "MMLU 0.98 %, ARC 25.00 %"
    source.seek(0)
    assert [source.next_mark().kind for _ in range(3)] == ["validation", "eval", "validation"]
    assert source.step == 10
    seen = flat(source.events_until(source.position))
    assert isinstance(seen[-1], ValidationFinished)
    assert source.previous_mark().kind == "eval"
    assert source.step == 0
    source.seek_end()
    assert source.next_mark() is None


def test_single_steps():
    """One step forward or back shows that step and stands still."""
    source = replay_events(run_of(30))
    source.poll()
    source.seek_step(10)
    source.step_by(1)
    assert (source.step, source.paused) == (11, True)
    source.step_by(-3)
    assert source.step == 8


def test_requests_are_refused():
    """A replay has nobody to ask; the sentence says what would."""
    with pytest.raises(UsageError, match="sftui attach"):
        replay_events([]).send(Request(id="1", command=Command.PAUSE))


# ---- stages -------------------------------------------------------------------------------------


def test_a_file_of_several_stages_opens_on_the_sft_stage():
    """The SFT stage is shown, others are one call away, and a switch is a new generation."""
    events = [*run_of(20, name="mid_train"), *run_of(30, name="chat_sft"), *run_of(5, name="eval")]
    source = replay_events(events)
    assert steps_of(source.poll()) == list(range(30))
    assert [stage.name for stage in source.stages] == ["mid_train", "chat_sft", "eval"]
    assert source.stage == 1
    source.select_stage(0)
    assert steps_of(source.poll()) == list(range(20))
    assert (source.stage, source.generation) == (0, 1)


def test_a_second_start_of_the_same_run_says_more_about_it():
    """A later `RunStarted` under the same name begins no stage."""
    recording = Recording()
    recording.extend([LogLine(text="early"), RunStarted(name="a", stamp=Stamp(run="a-1"))])
    recording.extend([RunStarted(name="a", num_iterations=9, stamp=Stamp(run="a-1"))])
    (stage,) = recording.stages
    assert (stage.start.num_iterations, len(stage.timeline)) == (9, 3)


# ---- batches ------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=20), max_size=6),
    st.lists(st.integers(0, 120), max_size=4),
    st.sampled_from(["steps", "duration", "time"]),
)
def test_batches_and_single_events_have_the_same_places(runs, places, timed):
    """Positions, clock and steps do not depend on how updates were bundled, falling steps too."""
    bundled, single = Timeline(), Timeline()
    for steps in runs:
        columns = {"loss": [1.0] * len(steps)}
        if timed == "duration":
            columns["seconds"] = [0.5 + s for s in steps]
        times = [1.7e9 + s for s in steps] if timed == "time" else []
        batch = StepBatch(steps=steps, columns=columns, times=times)
        start = steps[-1] + 1
        bundled.append(batch)
        for event in batch.rows():
            single.append(event)
        for timeline in (bundled, single):
            timeline.append(ValidationFinished(step=start - 1, loss=1.0))
    assert len(bundled) == len(single)
    assert bundled.marks == single.marks
    for place in places:
        assert bundled.seconds_at(place) == pytest.approx(single.seconds_at(place))
        assert bundled.step_at(place) == single.step_at(place)
        assert bundled.at_step(place) == single.at_step(place)
        whole = flat(bundled.events(0, place))
        assert whole == flat(single.events(0, place))
        assert flat(bundled.events(place // 2, place)) == whole[place // 2 :]


def test_batches_parted_by_evaluations_become_one():
    """A state far behind gets few big batches; anything that changes a run's course parts them."""

    def batch(start: int) -> StepBatch:
        steps = range(start, start + 10)
        return StepBatch(step=start + 9, steps=steps, columns={"loss": [1.0] * 10})

    def value(step: int) -> ValidationFinished:
        return ValidationFinished(step=step, loss=1.0)

    again = AttemptStarted(start_step=15, stamp=Stamp(att=2))
    parts = [value(0), batch(0), value(10), batch(10), value(20), again, batch(15), value(25)]
    timeline = Timeline()
    for event in parts:
        timeline.append(event)
    few = list(timeline.news(0, len(timeline)))
    kinds = [StepBatch, *[ValidationFinished] * 3, AttemptStarted, StepBatch, ValidationFinished]
    assert [type(e) for e in few] == kinds
    assert list(few[0].steps) == list(range(20))
    states = RunState(), RunState()
    for state, events in zip(states, (parts, few), strict=True):
        for event in events:
            state.apply(event)
    assert states[0].steps.x.tolist() == states[1].steps.x.tolist()
    assert states[0].validations == states[1].validations


def beating(steps: int) -> list:
    """A run of ours: a step a second, now and then free metrics, two ranks that beat."""
    events = [RunStarted(name="r", stamp=Stamp(run="r", t=0.0))]
    for step in range(steps):
        stamp = Stamp(run="r", t=float(step))
        loss = {"loss": [1.0 + step], "lrs/wte": [0.5]}
        events.append(StepBatch(step=step, steps=[step], columns=loss, times=[stamp.t]))
        if step % 7 == 0:
            columns = {"travel": [0.1 * step]}
            events.append(StepBatch(step=step, steps=[step], columns=columns, times=[stamp.t]))
        events += [RankHeartbeat(rank=r, memory_bytes=step, stamp=stamp) for r in (0, 1)]
        if step % 50 == 49:
            events.append(ValidationFinished(step=step + 1, loss=1.0, stamp=stamp))
    return events


def test_heartbeats_part_few_batches_and_change_nothing():
    """Rows between heartbeats come together, for twenty seconds; the state is the same."""
    events, timeline = beating(100), Timeline()
    for event in events:
        timeline.append(event)
    assert flat(timeline.events(0, 999)) == flat(events)
    news = list(timeline.news(0, len(timeline)))
    rows = [len(e.steps) for e in news if isinstance(e, StepBatch) and "loss" in e.columns]
    assert sum(rows) == 100
    assert max(rows) <= 21
    assert len(rows) <= 7
    told = [e for e in news if not isinstance(e, StepBatch)]
    assert sorted(map(repr, told)) == sorted(
        repr(e) for e in events if not isinstance(e, StepBatch)
    )
    states = RunState(), RunState()
    for state, listed in zip(states, (events, news), strict=True):
        for event in listed:
            state.apply(event)
    one, other = states
    for name in one.steps.names:
        assert np.array_equal(one.steps.column(name), other.steps.column(name), equal_nan=True)
    assert one.metrics["travel"].column("travel").tolist() == (
        other.metrics["travel"].column("travel").tolist()
    )
    assert (one.ranks[1].last, one.first_t, one.last_t) == (
        other.ranks[1].last,
        other.first_t,
        other.last_t,
    )


def test_a_rank_that_beats_is_not_called_silent_in_a_replay():
    """Beats are told late, but never so late that the alarm would go off."""
    lookout = ScreenAlarms(foreign=False)
    lookout.take(replay_events(beating(500)).poll())
    found = []
    while lookout.busy:
        found += lookout.work(1.0)
    assert found == []


def test_alarms_of_a_recording_are_those_of_its_events():
    """Read again from the recording, in pieces, they are raised at the same steps."""
    events = [RunStarted(name="r", stamp=Stamp(run="r", t=0.0))]
    losses = np.random.default_rng(0).normal(2.0, 0.01, 9000)
    losses[[5000, 5001, 8200]] = 9.0, 9.0, math.nan
    for start in range(0, 9000, 50):
        steps = range(start, start + 50)
        columns = {"loss": losses[start : start + 50].tolist()}
        events.append(StepBatch(step=start + 49, steps=steps, columns=columns))
    source = replay_events(events)
    told, reread = ScreenAlarms(foreign=True), ScreenAlarms(foreign=True, again=source.again)
    told.take(events)
    found = []
    while not source.closed:
        source.poll(max_seconds=0.0)
        reread.reach(source.delivered)
        found += reread.work(0.0)
    assert reread.busy
    found += reread.work(10.0)
    assert not reread.busy
    raised = [(type(alarm), alarm.kind, alarm.step) for alarm in found]
    assert raised == [(type(alarm), alarm.kind, alarm.step) for alarm in told.work(10.0)]
    assert (AlarmRaised, "nonfinite", 8200) in raised


def test_columns_lie_together_however_small_the_pieces():
    """One row of numbers each, beats beside them."""
    timeline = Timeline()
    for event in beating(400):
        timeline.append(event)
    assert len(timeline._rows) == 2
    stretches = [r for r in timeline._rows.values() if "loss" in r.columns]
    assert len(stretches[0].steps) == 400


def test_columns_are_spelled_out_for_who_cannot_take_them():
    """Without `columnar` every update comes as an event of its own."""
    batch = StepBatch(step=9, steps=range(10), columns={"loss": [1.0] * 10})
    events = [RunStarted(name="r"), batch, RunFinished(status="finished")]
    got = replay_events(events, columnar=False).poll()
    assert [type(e) for e in got] == [RunStarted, *[StepFinished] * 10, RunFinished]


# ---- files --------------------------------------------------------------------------------------

_LINE = "Step {:05d}/00100 | Training loss: 1.500000| lrm: 1.000000| num_tokens: 1,697\n"


def drain(source) -> list:
    """Everything a source gives by now."""
    return flat(itertools.chain.from_iterable(iter(source.poll, [])))


def until(source, done) -> list:
    """Poll until what came satisfies `done`; the test's own timeout ends it."""
    events = []
    while not done(events):
        events += flat(source.poll())
    return events


def write_run(folder, events) -> None:
    """A run directory with these events, numbered."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    lines = []
    for seq, event in enumerate(events, 1):
        stamp = Stamp(run=folder.name, seq=seq, t=1e9 + seq)
        fields = {n: getattr(event, n) for n in event.__dataclass_fields__ if n != "stamp"}
        lines.append(wire.encode(type(event)(**fields, stamp=stamp)))
    (folder / "events.jsonl").write_bytes(b"".join(lines))


def test_a_run_directory_is_replayed_from_its_events(tmp_path, monkeypatch):
    """Path, id and the link logs/run.log all open the run's event log, each event once."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "20260101-000000-x"
    write_run(run, run_of(40))
    with (run / "events.jsonl").open("ab") as file:  # a line written twice, and a torn one
        file.write((run / "events.jsonl").read_bytes().splitlines(True)[-1] + b'{"v":1,"ty')
    lost = RankLost(rank=1, reason="killed", stamp=Stamp(src="sup", seq=1, t=1e9 + 20.5))
    (run / "supervisor.jsonl").write_bytes(wire.encode(lost))
    (run / "run.log").write_text(_LINE.format(0))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "run.log").symlink_to(run / "run.log")
    for target in (str(run), run.name, run.name[:11], "logs/run.log"):
        opened = open_replay(target)
        events = drain(opened.source)
        assert steps_of(events) == list(range(40)), target
        assert [e.reason for e in events if isinstance(e, RankLost)] == ["killed"]
        assert opened.run is not None
        assert opened.source.lines.unrecognised == 1
        opened.source.close()
    text = read_whole("logs/run.log", format_name="nanochat")
    assert steps_of(drain(text.source)) == [0]


def test_a_log_that_was_read_whole_is_not_closed_before_it_was_given(tmp_path):
    """Whoever polls until `closed` gets all of it, and may seek before the first poll."""
    log = tmp_path / "x.log"
    log.write_text("".join(_LINE.format(i) for i in range(30)))
    source = read_whole(str(log)).source
    assert not source.closed
    assert steps_of(drain(source)) == list(range(30))
    assert source.closed
    source = read_whole(str(log)).source
    source.seek_step(4)
    assert steps_of(drain(source)) == list(range(5))


def test_following_a_growing_file(tmp_path):
    """New lines come, whole; a line cut in the middle is waited for."""
    log = tmp_path / "run.log"
    log.write_text("")
    opened = open_replay(str(log), follow=True)
    try:
        with log.open("a") as file:
            file.write("Overriding: run = dummy\n" + _LINE.format(0) + _LINE.format(1)[:40])
            file.flush()
            events = until(opened.source, lambda got: steps_of(got) == [0])
            assert not opened.source.closed
            file.write(_LINE.format(1)[40:])
            file.flush()
            events = until(opened.source, lambda got: steps_of(got) == [1])
        assert events
        assert opened.source.alive() == (True, "the file grows")
    finally:
        opened.source.close()


def test_following_through_rotation_and_truncation(tmp_path):
    """A new file under the old name is read on from; one that was emptied starts over."""
    log = tmp_path / "run.log"
    log.write_text(_LINE.format(0) + _LINE.format(1))
    opened = open_replay(str(log), follow=True)
    source = opened.source
    try:
        until(source, lambda got: steps_of(got) == [0, 1])
        log.rename(tmp_path / "run.log.1")
        log.write_text(_LINE.format(2))
        until(source, lambda got: steps_of(got) == [2])
        log.write_text(_LINE.format(0))
        # As long as before, in the same file. Steps start again, so it is a stage of its own.
        until(source, lambda got: steps_of(got) == [0])
        assert len(source.stages) == 2
        assert "replaced or emptied 2 times" in source.describe()
        told = [
            e.text for s in source.stages for e in s.timeline.events(0, 99) if type(e) is LogLine
        ]
        assert len([text for text in told if "reading it from its start" in text]) == 2
    finally:
        source.close()


def test_what_cannot_be_opened_is_said_in_one_line(tmp_path, monkeypatch):
    """No file, no run, an empty file, a binary, a text without steps: each a sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.log").write_text("")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "novel.txt").write_text("It was a dark and stormy night.\n" * 100)
    (tmp_path / "one.log").write_text("step 5 loss 2.31\n")
    (tmp_path / "folder").mkdir()
    cases = {
        "missing.log": "does not exist",
        "empty.log": "is empty",
        "binary": "binary file",
        "novel.txt": "no training log",
        "one.log": "no two of its lines have a step and a loss, and one line holds numbers: 1 like",
        "folder": "no run directory",
        "nothere": "no run is called",
    }
    for target, words in cases.items():
        for opener in (open_replay, read_whole):
            with pytest.raises((UsageError, RunDirError), match=words) as caught:
                opener(target)
            assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="one of"):
        read_whole("novel.txt", format_name="tea leaves")


def test_the_newest_run_is_named_when_the_link_is_missing(tmp_path, monkeypatch):
    """`sftui replay logs/run.log` before any link exists says what to type."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "20260101-000000-x", run_of(3))
    with pytest.raises(UsageError, match=r"sftui replay 20260101-000000-x"):
        open_replay("logs/run.log")


def test_a_folder_with_one_log_is_that_log(tmp_path):
    """Somebody's output directory is searched for the log in it; two logs are a question."""
    (tmp_path / "notes.txt").write_text("nothing\n")
    (tmp_path / "out").write_text("".join(_LINE.format(i) for i in range(20)))
    assert read_whole(str(tmp_path)).path.name == "out"
    (tmp_path / "out2").write_text("".join(_LINE.format(i) for i in range(20)))
    with pytest.raises(UsageError, match="out, out2"):
        read_whole(str(tmp_path))


def test_the_journal_wins_over_text():
    """Our event log is told from text that merely holds JSON."""
    head = wire.encode(RunStarted(name="x")) * 3
    reader, sniffed = recognise(head)
    assert (reader.name, sniffed.confidence) == ("sftui", 0.99)
    assert recognise(json.dumps({"a": 1}).encode() + b"\n") is None


@needs_shared
def test_the_speedrun_opens_on_its_sft_stage():
    """The whole pipeline of October opens where a person looks first."""
    log = SHARED / "logs/nanochat/speedrun_d20_2gpu_oct2025.log"
    opened = open_replay(str(log))
    try:
        while opened.source.loading:
            opened.source.poll()
        drain(opened.source)
        stage = opened.source.stages[opened.source.stage]
        assert (stage.name, stage.timeline.num_updates) == ("chat_sft", 681)
        assert "nanochat October 2025" in opened.source.describe()
    finally:
        opened.source.close()


def test_the_first_picture_of_a_log_of_wide_rows_has_enough_of_them_for_a_curve(tmp_path):
    """A row of a thousand numbers fills half of the first block; a long preamble all of it."""
    names = tuple(f"layer_{i:04}/update_ratio" for i in range(999))
    log = EveryRow(tmp_path, "jsonl", 60, ("loss", *names))
    assert log.file.stat().st_size > file_feed.SHORT_BYTES
    opened, feed = open_log._prepare(
        str(log.target), None, None, None, follow=False, speed=math.inf
    )
    feed.start(60.0)
    try:
        rows = len(opened.recording.stages[-1].timeline)
        assert file_feed.FIRST_ROWS <= rows < 40, "and no more than it takes"
    finally:
        feed.close()
