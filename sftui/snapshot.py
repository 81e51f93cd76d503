"""A run as it stands now: its files read to their end, folded once, with evidence of life.

`show`, `runs` and `report` all start here, so that they never disagree on what a
status means. Status comes from evidence, not from hope: a run that never said it
ended and whose processes are gone was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine import lock
from engine.run_dir import RunDir
from sftui.sources.tail import TailSource
from sftui.state import RunState

FORMAT = "sftui run directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is known of one run directory."""

    run: RunDir
    state: RunState
    alive: bool
    evidence: str
    """What `alive` rests on, in words."""
    lines_total: int
    lines_unrecognised: int

    @property
    def status(self) -> str:
        """running, paused, finished, failed, interrupted or unknown."""
        badge = self.state.badge
        if self.state.ended:
            return {"finished": "finished", "failed": "failed"}.get(badge, "interrupted")
        if self.alive:
            return "paused" if badge == "paused" else "running"
        return "interrupted" if self.state.last_t is not None else "unknown"


def take(run: RunDir) -> Snapshot:
    """Read a run directory to the end of its files."""
    source = TailSource(run)
    state = RunState()
    total = 0
    while events := source.poll(max_events=20_000, max_seconds=60.0):
        total += len(events)
        for event in events:
            state.apply(event)
    alive, evidence = lock.evidence(run)
    bad = source.num_bad_lines
    return Snapshot(
        run=run,
        state=state,
        alive=alive,
        evidence=evidence,
        lines_total=total + bad,
        lines_unrecognised=bad + state.unknown,
    )
