"""A run that failed: why, and the command that goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine import events as ev
from sftui.state.run_state import RunState
from sftui.view.failure import failure
from sftui.view.view import View
from tests.sftui.fake_run import fake_run

RUN = "20260304-101500-starter"


def ended(
    reason: str, *, until: int = 288, rows: int = 8, status: ev.EndStatus = "failed"
) -> RunState:
    state = RunState()
    for event in fake_run(until=until, finish=False):
        if isinstance(event, ev.RunStarted):
            event = replace(event, settings={"device_batch_size": rows})
        state.apply(event)
    state.apply(ev.RunFinished(status=status, reason=reason))
    return state


def test_it_goes_on_from_the_newest_checkpoint() -> None:
    alarm = failure(ended("rank 1: exit code 1 (logs in logs/attempt-1)"), RUN)
    assert alarm is not None
    assert alarm.event.severity == "error"
    expected = f"rank 1: exit code 1. sftui run --resume {RUN} goes on from step 200"
    assert alarm.event.text == expected


def test_what_did_not_fit_goes_on_with_half_the_rows() -> None:
    alarm = failure(ended("rank 1 ran out of memory at step 288"), RUN)
    assert alarm is not None
    assert "--resume-changed --device-batch-size 4 goes on from step 200" in alarm.event.text


def test_a_single_row_cannot_be_halved() -> None:
    alarm = failure(ended("rank 1 ran out of memory at step 288", rows=1), RUN)
    assert alarm is not None
    assert "--device-batch-size" not in alarm.event.text


def test_without_a_checkpoint_it_begins_again() -> None:
    alarm = failure(ended("rank 1: killed", until=12), RUN)
    assert alarm is not None
    assert alarm.event.text.endswith(f"{RUN} begins again: nothing was saved")


def test_where_all_were_deleted_it_does_not_say_that_nothing_was_saved() -> None:
    state = ended("rank 1: killed")
    for known in list(state.checkpoints.values()):
        if known.path is not None:
            state.apply(ev.CheckpointRemoved(path=known.path))
    alarm = failure(state, RUN)
    assert alarm is not None
    assert alarm.event.text.endswith(f"{RUN} begins again: no checkpoint is left")


@pytest.mark.parametrize("status", ["finished", "stopped"])
def test_a_run_that_did_not_fail_needs_none(status: ev.EndStatus) -> None:
    assert failure(ended("done", status=status), RUN) is None


def test_the_log_of_another_program_gets_no_command() -> None:
    assert failure(ended("killed"), "") is None


def test_it_can_be_put_away() -> None:
    state, view = ended("rank 1: killed"), View(now=lambda: 0.0, run_id=RUN)
    assert [alarm.event.kind for alarm in view.alarms(state)] == ["failed"]
    view.hide_alarms(state)
    assert view.alarms(state) == []
    # Taken up again it has none; when that fails too, it is said again.
    state.apply(ev.AttemptStarted(start_step=200, world_size=2, stamp=ev.Stamp(att=2)))
    assert view.alarms(state) == []
    state.apply(ev.StepFinished(step=200, loss=1.0, stamp=ev.Stamp(att=2)))
    state.apply(ev.RunFinished(status="failed", reason="again", stamp=ev.Stamp(att=2)))
    assert [alarm.event.kind for alarm in view.alarms(state)] == ["failed"]
