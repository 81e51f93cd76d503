"""A long run in little time: memory stays flat, nothing is lost, nothing grows that must not."""

import itertools
import json
import statistics
import subprocess
import sys

import pytest

from sftui.sources.live import LiveSource
from sftui.state.run_state import LOG_LINES, RunState
from tests.benchmarks.long_run import resident_bytes
from tests.processes import ROOT, environment, events, make_run

NUM_STEPS = 60_000
"""Twenty minutes of the 50 events a second that a fast run makes."""

RANK = """
import json, sys
from pathlib import Path
from engine.events import LogLine, RankHeartbeat, StepFinished
from engine.run.run_dir import RunDir
from engine.journal.event_bus import EventBus
from tests.benchmarks.long_run import resident_bytes
run, num_steps = RunDir(Path(sys.argv[1])), int(sys.argv[2])
bus = EventBus(run, run.id, 1)
sizes = []
for step in range(num_steps):
    bus.emit(StepFinished(step=step, loss=1.0, lrs={"a": 1.0}, grad_norm=2.0, seconds=0.02))
    if step % 4 == 0:
        bus.emit(RankHeartbeat(rank=0, pid=1, at_step=step, step=step))
    if step % 5 == 0:
        bus.emit(LogLine(step=step, text=f"line {step} " + "x" * 200))
    if step % 1000 == 999:
        assert bus.flush()
        sizes.append(resident_bytes())
assert bus.close(30)
print(json.dumps({"sizes": sizes, "last": bus.last_seq}))
"""


@pytest.mark.slow
def test_many_events_through_queue_log_and_state_leave_memory_flat(tmp_path):
    """The rank's memory does not grow; the screen's by the points of its curves and no more."""
    run = make_run(tmp_path)
    live, state = LiveSource(run), RunState()
    rank = subprocess.Popen(
        [sys.executable, "-c", RANK, str(run.path), str(NUM_STEPS)],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    sizes = []
    try:
        while rank.poll() is None:
            for event in live.poll():
                state.apply(event)
            sizes.append((len(state.steps), resident_bytes()))
        told = json.loads(rank.stdout.read())
        while found := live.poll():
            for event in found:
                state.apply(event)
    finally:
        rank.kill()
        rank.wait()
        rank.stdout.close()
        live.close()
    expected = NUM_STEPS + NUM_STEPS // 4 + NUM_STEPS // 5
    assert told["last"] == expected
    assert len(events(run.events)) == expected
    assert state.log_total == NUM_STEPS // 5
    assert len(state.log) == LOG_LINES
    assert state.steps.x.tolist() == list(range(NUM_STEPS))
    assert live.num_from_queue + live.num_from_file == expected
    assert state.dropped == 0

    # Where the screen gets no processor, its backlog raises the size once, by a bounded few MiB
    # that malloc keeps; an event that is kept raises it all the time. So the largest rise does
    # not count: what is left allows 70 bytes a step, and an event has several hundred.
    middles = [statistics.median(told["sizes"][n : n + 10]) for n in range(10, 60, 10)]
    rises = sorted(late - early for early, late in itertools.pairwise(middles))
    assert sum(rises[:-1]) < 2 * 2**20, f"the rank keeps what it has told: {told['sizes']}"
    # Once the log is full, a step costs its numbers in the columns.
    full = next(size for steps, size in sizes if steps > NUM_STEPS * 0.7)
    per_step = (sizes[-1][1] - full) / (NUM_STEPS * 0.3)
    assert per_step < 400, per_step
