"""Marks on a replay's bar: every kind in its place, and no more of them than there are places."""

import time

from hypothesis import given
from hypothesis import strategies as st

from engine.events import EvalFinished, Event, RunStarted, StepFinished, ValidationFinished
from sftui.sources.bar_marks import PLACES, BarMarks
from sftui.sources.recording import Recording
from sftui.view.replay_status import part_of


def recording(events: list[Event]) -> Recording:
    found = Recording()
    found.extend([RunStarted(name="run"), *events])
    return found


def results(steps: range) -> list[Event]:
    found: list[Event] = []
    for step in steps:
        found.append(StepFinished(step=step, loss=1.0))
        found.append(ValidationFinished(step=step, loss=1.0))
        found.append(EvalFinished(step=step, task="arc", accuracy=0.5))
    return found


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_every_mark_has_one_of_its_kind_in_its_place(pieces: list[int]) -> None:
    """However the file grows, and whatever was shown before."""
    found, marks, step = recording([]), BarMarks(), 0
    for count in pieces:
        found.extend(results(range(step, step + count)))
        step += count
        timeline = found.stages[0].timeline
        shown = marks.of(timeline)
        length, total = len(timeline), timeline.seconds
        places = {(mark.kind, round(mark.part * PLACES)) for mark in shown}
        for mark in timeline.marks:
            at = part_of(mark.seconds, total, mark.position, length) * PLACES
            assert any((mark.kind, round(at) + off) in places for off in (-2, -1, 0, 1, 2))
    kinds = {mark.kind for mark in timeline.marks}
    assert len(shown) <= len(kinds) * PLACES
    if len(timeline.marks) < PLACES // 2:
        assert [mark.kind for mark in shown] == [mark.kind for mark in timeline.marks]


def test_a_row_more_of_a_hundred_thousand_costs_no_look_at_each() -> None:
    """A file that grows is looked at ten times a second."""
    found, marks = recording(results(range(50_000))), BarMarks()
    timeline = found.stages[0].timeline
    shown = marks.of(timeline)
    assert len(timeline.marks) == 100_000
    assert len(shown) <= 2 * PLACES
    begun = time.process_time()
    for step in range(50_000, 50_010):
        found.extend(results(range(step, step + 1)))
        assert marks.of(timeline) is shown
    assert time.process_time() - begun < 0.1


def test_a_stage_without_marks_has_none_on_its_bar() -> None:
    timeline = recording([StepFinished(step=0, loss=1.0)]).stages[0].timeline
    assert BarMarks().of(timeline) == ()
