"""A rank that trains nothing and says much: the real bus, queue, log and inbox around no maths.

`python -P -m tests.faults.simulated RUN_DIR`, started by the real supervisor through
`SFTUI_WORKER`. `SFTUI_SIMULATION` is a JSON object: `rate` (steps a second), `steps` (then
the run is finished; none: until it is stopped), `texts` (log lines, one every ten steps),
`prints` (bytes for file descriptors 1 and 2, as hex). Obeys pause, resume and stop.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path

from engine.control import Command
from engine.events import (
    AttemptStarted,
    EndStatus,
    LogLine,
    RankHeartbeat,
    RunFinished,
    RunStarted,
    SampleGenerated,
    StateChanged,
    StateName,
    StepFinished,
    ValidationFinished,
)
from engine.journal.event_bus import EventBus
from engine.journal.event_files import finished, last_stamp, next_attempt
from engine.run.run_dir import RunDir
from engine.steering.inbox import Inbox, answer

PATIENCE_SECONDS = 0.01


def main() -> int:
    run = RunDir(Path(sys.argv[1]))
    script = json.loads(os.environ.get("SFTUI_SIMULATION", "{}"))
    first_seq = int(os.environ["SFTUI_FIRST_SEQ"])
    parent = int(os.environ["SFTUI_SUPERVISOR_PID"])
    if finished(run, first_seq) is not None:
        return 0
    for descriptor in (1, 2):
        os.write(descriptor, bytes.fromhex(script.get("prints", "")))
    if os.environ["RANK"] != "0":
        while finished(run, first_seq) is None:
            if os.getppid() != parent:
                return 1
            time.sleep(PATIENCE_SECONDS)
        return 0
    last = last_stamp(run.events)
    attempt = next_attempt(run)
    bus = EventBus(run, run.id, attempt)
    step = 0 if last is None else _steps_done(run)
    if last is None:
        bus.emit(RunStarted(name="simulated", num_iterations=script.get("steps"), rows=100))
    bus.emit(AttemptStarted(start_step=step, world_size=int(os.environ["WORLD_SIZE"])))
    status = Loop(run, bus, attempt, script, parent).run(step)
    return 0 if bus.close() and status else 1


class Loop:
    def __init__(self, run: RunDir, bus: EventBus, attempt: int, script: dict, parent: int) -> None:
        self.bus = bus
        self.script = script
        self.parent = parent
        self.inbox = Inbox(run, attempt)
        self.paused = False
        self.stop = ""

    def run(self, step: int) -> bool:
        seconds = 1 / self.script.get("rate", 50)
        texts = self.script.get("texts", [])
        due = time.monotonic()
        beat_at = 0.0
        while True:
            self.apply_requests(step)
            if self.stop or step == self.script.get("steps"):
                status: EndStatus = "stopped" if self.stop else "finished"
                self.bus.emit(RunFinished(status=status, reason=self.stop, step=step, updates=step))
                return True
            now = time.monotonic()
            if now >= beat_at:
                beat_at = now + 2
                self.bus.emit(RankHeartbeat(rank=0, pid=os.getpid(), at_step=step, step=step))
            if self.paused or now < due:
                time.sleep(PATIENCE_SECONDS if self.paused else due - now)
                continue
            due = max(due + seconds, now - 1)
            loss = 1 + math.exp(-step / 300) + 0.1 * math.sin(step * 1.7)
            self.bus.emit(
                StepFinished(step=step, loss=loss, lr_mult=0.5, grad_norm=0.7, seconds=seconds)
            )
            if step % 50 == 0:
                self.bus.emit(ValidationFinished(step=step, loss=loss, rows=8))
            if texts and step % 10 == 0:
                text = texts[step // 10 % len(texts)]
                self.bus.emit(LogLine(step=step, text=text, level="warn"))
                self.bus.emit(SampleGenerated(step=step, prompt=text, text=text))
            step += 1

    def apply_requests(self, step: int) -> None:
        if os.getppid() != self.parent:
            self.stop = "the supervisor is gone"
        batch = self.inbox.read()
        for refusal in batch.refusals:
            self.bus.emit(refusal)
        for request in batch.requests:
            before = self.paused
            if request.command is Command.STOP:
                self.stop = f"asked by {request.author}"
            elif request.command in (Command.PAUSE, Command.RESUME):
                self.paused = request.command is Command.PAUSE
            self.bus.emit(answer(request, step=step))
            if self.paused != before:
                state: StateName = "paused" if self.paused else "running"
                self.bus.emit(StateChanged(state=state, step=step))


def _steps_done(run: RunDir) -> int:
    """As a trainer that checkpoints at every step."""
    from engine.journal.event_files import scan

    return max((event.step or 0 for event in scan(run.events, StepFinished)), default=-1) + 1


if __name__ == "__main__":
    sys.exit(main())
