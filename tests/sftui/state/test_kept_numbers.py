"""No number of an event is lost in silence, and a replay knows what the live screen knew."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from engine.journal import wire
from sftui.readers.journal import JournalReader
from sftui.state import step_columns
from sftui.state.run_state import RunState
from sftui.state.step_columns import NOT_KEPT
from tests.conftest import examples
from tests.sftui.state.test_run_state import picture

NUMERIC = (int, float, int | None, float | None, Mapping[str, int], Mapping[str, float])
REQUIRED = {float: 1.0, int: 1}

# The log holds every event it shows and forgets the oldest; the newest update is one event of
# thousands. What is there alone is not kept.
NO_HISTORY = {"log", "log_total", "last_step"}


def numbers_of(kind: type[ev.Event]) -> list[str]:
    """The numeric fields that an event has besides the step and the stamp of every event."""
    hints = typing.get_type_hints(kind)
    return [
        f.name for f in fields(kind) if f.name not in ("step", "stamp") and hints[f.name] in NUMERIC
    ]


def example(kind: type[ev.Event], **values: object) -> ev.Event:
    """An event with its required fields, of step 3 and a second attempt."""
    hints = typing.get_type_hints(kind)
    required = {
        f.name: REQUIRED.get(hints[f.name], "x")
        for f in fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    return kind(step=3, stamp=ev.Stamp(att=2, t=100.0), **(required | values))


def kept_of(event: ev.Event) -> dict[str, object]:
    """What the state keeps once it has seen the event, in a run that is under way."""
    state = RunState()
    state.apply(ev.RunStarted(name="chat_sft", num_iterations=50, stamp=ev.Stamp(t=50.0)))
    for rank in range(8):
        state.apply(ev.RankHeartbeat(rank=rank))
    state.apply(event)
    return {
        f.name: picture(getattr(state, f.name)) for f in fields(state) if f.name not in NO_HISTORY
    }


def is_kept(kind: type[ev.Event], name: str) -> bool:
    """Whether two values of the number leave two different states."""
    mapping = typing.get_origin(typing.get_type_hints(kind)[name]) is Mapping
    low, high = ({"a": 2}, {"a": 5}) if mapping else (2, 5)
    return kept_of(example(kind, **{name: low})) != kept_of(example(kind, **{name: high}))


ALL_NUMBERS = [(kind, name) for kind in ev.KINDS.values() for name in numbers_of(kind)]


@pytest.mark.parametrize(("kind", "name"), ALL_NUMBERS, ids=lambda v: getattr(v, "__name__", v))
def test_every_number_of_an_event_is_kept_or_said_to_be_forgotten(kind, name):
    """`RunState` keeps it, or `NOT_KEPT` says why not; a number is never dropped by oversight."""
    assert is_kept(kind, name) != ((kind, name) in NOT_KEPT)


def test_what_is_said_not_to_be_kept_exists():
    """A field that was renamed takes its excuse with it."""
    assert NOT_KEPT.keys() <= set(ALL_NUMBERS)
    assert all(NOT_KEPT.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinishedLater(ev.StepFinished):
    """An update as a later version may have it: a count, a number and one by name."""

    masked_tokens: int | None = None
    update_ratio: float | None = None
    loss_by_length: Mapping[str, float] = dataclasses.field(default_factory=dict)


def test_a_field_that_is_added_but_forgotten_is_refused():
    """The trap: the event has a number more, and nothing else was changed."""
    assert not any(is_kept(StepFinishedLater, name) for name in numbers_of(StepFinishedLater)[-3:])


def test_a_field_that_is_added_needs_nothing_else(monkeypatch):
    """The columns are derived: with the numbers of the later version they hold them."""
    own = ev._own_fields(StepFinishedLater, float | None, int | None)
    names = (*ev.STEP_NUMBERS, *own)
    monkeypatch.setattr(step_columns, "STEP_NUMBERS", names)
    monkeypatch.setattr(step_columns, "_numbers_of", attrgetter(*names))
    assert is_kept(StepFinishedLater, "masked_tokens")
    assert is_kept(StepFinishedLater, "update_ratio")


# ---- live and replay ---------------------------------------------------------------------------

number = st.sampled_from([None, math.nan, math.inf, -math.inf, 0.0, 0.5, 2.5, 1e300])
count = st.sampled_from([None, 0, 3, 2**40])
OTHERS = [
    ev.AttemptStarted(start_step=4),
    ev.StateChanged(state="paused", reason="by ctl"),
    ev.ValidationFinished(step=7, loss=1.5, rows=8, paired_error=0.1),
    ev.EvalFinished(step=7, task="MMLU", correct=3, total=9, letters={"A": 9}),
    ev.RankHeartbeat(rank=1, memory_bytes=7, cpu_percent=50.0),
    ev.MetricLogged(step=5, values={"mfu": 0.5, "train/x": math.nan}),
    ev.MetricLogged(step=6, values={"mfu": 0.5}),
    ev.CheckpointSaved(step=8, path="ckpt/step-8", size_bytes=5),
    ev.LogLine(text="a line"),
    ev.RunFinished(status="finished", updates=9),
]


@st.composite
def updates(draw) -> ev.StepFinished:
    """An update in which any number may be missing, NaN or infinite."""
    values = {name: draw(count if name in ev.STEP_COUNTS else number) for name in ev.STEP_NUMBERS}
    for name in ev.STEP_MAPPINGS:
        values[name] = dict.fromkeys(draw(st.sampled_from(["", "a", "ab"])), 0.5)
    return ev.StepFinished(step=draw(st.integers(0, 30)), **values)


@st.composite
def journals(draw) -> list[ev.Event]:
    """Events of a run as rank 0 stamps them: updates that repeat and go back, attempts, others."""
    drawn = draw(st.lists(updates() | st.sampled_from(OTHERS), max_size=12))
    # Long stretches of rows with the same names are what a reader turns into columns.
    alike = draw(updates())
    first = draw(st.integers(0, 20))
    drawn += [dataclasses.replace(alike, step=first + i) for i in range(draw(st.integers(0, 12)))]
    att, events = 1, []
    # The first events of a boot are no updates; the last one, a second later, is none either.
    drawn = [ev.RunStarted(name="chat_sft"), *drawn, ev.RankHeartbeat(rank=0)]
    # The wall clock may be set while the run lasts; the monotonic one only goes on.
    t, m = 1_700_000_000.0, 10.0
    for seq, event in enumerate(drawn, 1):
        att += isinstance(event, ev.AttemptStarted)
        jump = draw(st.sampled_from([0.0, 0.0, 0.0, 0.0, -500.0, 86400.0]))
        t, m = t + 0.25 + jump, m + 0.25
        stamp = ev.Stamp(run="r", src="r0", att=att, seq=seq, t=t, m=m, boot="b")
        events.append(dataclasses.replace(event, stamp=stamp))
    return events


def seen(state: RunState) -> dict[str, object]:
    """Every field that a view can read; of the newest update, its numbers."""
    found = {f.name: getattr(state, f.name) for f in fields(state) if not f.name.startswith("_")}
    last = state.last_step
    found["last_step"] = last and dataclasses.replace(last, stamp=ev.UNSTAMPED)
    return {name: picture(value) for name, value in found.items()}


@given(journals())
@examples(150)
def test_a_replay_ends_in_the_state_of_the_live_run(events):
    """The same events one by one, and through the journal's reader in columns: one state."""
    lines = [wire.encode(event) for event in events]
    live, replay = RunState(), RunState()
    for line in lines:
        live.apply(wire.decode(line))
    reader = JournalReader()
    for event in [*reader.feed(b"".join(lines)), *reader.close()]:
        replay.apply(event)
    assert seen(replay) == seen(live)
