"""Why a run failed and which command goes on from there, as an alarm."""

from __future__ import annotations

import re

from engine import events as ev
from sftui.state.records import Alarm
from sftui.state.run_state import RunState
from sftui.text.clean import clean

_WHERE = re.compile(r" \(logs in [^)]*\)$")


def failure(state: RunState, run_id: str) -> Alarm | None:
    """The end of a run that failed after its first update, as the worst of alarms.

    Before that the start-up panel says it, in the place where the curve would be. `run_id`:
    the run's name in commands; the logs of other programs have none, and get no advice.
    """
    if state.badge != "failed" or not run_id or not len(state.steps):
        return None
    # The header and the log have room for all of the reason, but not for what to do.
    why = clean(_WHERE.sub("", state.reason), 80) or "it ended without a reason"
    words = f"{why}. {advice(state, run_id)}"
    newest = int(state.steps.x[-1])
    stamp = ev.Stamp(run=run_id, t=state.last_t)
    return Alarm(
        event=ev.AlarmRaised(kind="failed", severity="error", text=words, step=newest, stamp=stamp)
    )


def advice(state: RunState, run_id: str) -> str:
    """The command that resumes the run, and from which step."""
    own = [c for c in state.checkpoints.values() if c.kind == "sftui"]
    saved = [c.step for c in own if not c.removed]
    command = f"sftui run --resume {run_id}"
    nothing = "no checkpoint is left" if own else "nothing was saved"
    where = f" goes on from step {max(saved)}" if saved else f" begins again: {nothing}"
    rows = state.run.settings.get("device_batch_size") if state.run is not None else None
    if "memory" in state.reason.lower() and isinstance(rows, int) and rows > 1:
        command += f" --resume-changed --device-batch-size {rows // 2}"
        where += ", with less memory"
    return command + where
