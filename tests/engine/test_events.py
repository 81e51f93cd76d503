"""The closed words of the events: complete tables, and a newer version's words stay readable."""

import dataclasses
import typing
from typing import Any

import pytest

from engine import events as ev
from engine.alarms.alarm_engine import AlarmEngine
from engine.alarms.board import SEVERITY
from engine.journal import wire
from engine.journal.run_log import RunLog
from sftui.logbook.event_lines import entry
from sftui.logbook.kinds import kind_of
from sftui.report.counts import Counts
from sftui.sources.recording import Recording
from sftui.state.records import ShownPhase
from sftui.state.run_state import RunState
from sftui.widgets.run_header import BADGES
from sftui.widgets.startup import PHASES
from tests.strategies import same


def words(closed: object) -> set[str]:
    """The words of a `Literal`, or of a union of them."""
    found: set[str] = set()
    for part in typing.get_args(closed):
        found |= {part} if isinstance(part, str) else words(part)
    return found


@pytest.mark.parametrize(
    ("closed", "table"),
    [(ShownPhase, PHASES), (ev.Badge, BADGES)],
    ids=["phases", "badges"],
)
def test_a_table_of_words_has_them_all(closed, table):
    """A phase or a state that is added has its words on the screen."""
    assert set(table) == words(closed)


def test_every_kind_of_alarm_that_a_rule_raises_has_its_severity():
    """The other two are raised by the event log and by the screen, not by a rule."""
    assert set(SEVERITY) == words(ev.AlarmKind) - {"event_log_blocked", "failed"}
    assert set(SEVERITY.values()) <= words(ev.Severity)


def closed_fields() -> list[tuple[type[ev.Event], str]]:
    """Every field of an event that takes words of a closed list."""
    return [
        (kind, name)
        for kind in ev.KINDS.values()
        for name, hint in typing.get_type_hints(kind).items()
        if typing.get_origin(hint) is typing.Literal
    ]


def test_the_closed_words_are_types():
    """A field that stops being one is missed here."""
    names = {f"{kind.__name__}.{name}" for kind, name in closed_fields()}
    assert names == {
        "PhaseStarted.phase",
        "StateChanged.state",
        "RunFinished.status",
        "RankHeartbeat.memory_kind",
        "CheckpointStarted.reason",
        "CheckpointSaved.reason",
        "CheckpointSaved.kind",
        "CheckpointRemoved.reason",
        "ControlApplied.outcome",
        "SampleGenerated.stopped_by",
        "LogLine.level",
        "AlarmRaised.kind",
        "AlarmRaised.severity",
        "AlarmCleared.kind",
    }


@pytest.mark.parametrize(("kind", "name"), closed_fields(), ids=lambda v: getattr(v, "__name__", v))
def test_a_word_of_a_newer_version_is_read_shown_and_counted(kind, name):
    """It comes through the wire as it stands, and nothing that takes events stumbles over it."""
    values: dict[str, Any] = {
        f.name: "x" if f.type == "str" else "hello"
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if kind is ev.RankHeartbeat:
        values["rank"] = 0
    event = kind(step=3, stamp=ev.Stamp(t=5.0, seq=1), **(values | {name: "teleported"}))
    read = wire.decode(wire.encode(event))
    assert same(read, event)
    assert getattr(read, name) == "teleported"
    state, recording = RunState(), Recording()
    state.apply(ev.RunStarted(name="chat_sft"))
    state.apply(read)
    recording.extend([ev.RunStarted(name="chat_sft"), read])
    AlarmEngine().observe(read)
    Counts().count(read)
    RunLog().lines(read)
    kind_of(read)
    line = entry(read)
    if line is not None and f"{kind.__name__}.{name}" in {
        "RunFinished.status",
        "ControlApplied.outcome",
        "StateChanged.state",
    }:
        assert "teleported" in line.text
