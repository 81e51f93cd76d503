"""A rank that trains nothing: what the supervisor starts in its tests.

`fake.json` in the run directory says what goes wrong: a list of
`{"attempt", "rank", "how"}` with how = kill, raise, memory, deaf, never_ends or abort_after_end.
Without `steps` it runs until it is asked to stop.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from engine.control import Command
from engine.events import AttemptStarted, RunFinished, StepFinished
from engine.journal.event_bus import EventBus
from engine.journal.event_files import finished, last_stamp, next_attempt
from engine.run.run_dir import RunDir
from engine.steering.inbox import Inbox, answer


def main() -> int:
    run = RunDir(Path(sys.argv[1]))
    rank = int(os.environ["RANK"])
    first_seq = int(os.environ["SFTUI_FIRST_SEQ"])
    if finished(run, first_seq) is not None:
        return 0
    script = json.loads((run.path / "fake.json").read_text())
    parent = int(os.environ["SFTUI_SUPERVISOR_PID"])
    # Only rank 0 writes, so only it can count; the others wait for it.
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"]) + 1
    how = next(
        (
            f["how"]
            for f in script.get("faults", [])
            if (f["attempt"], f["rank"]) == (attempt, rank)
        ),
        None,
    )
    (run.path / f"pid-{attempt}-{rank}").write_text(str(os.getpid()))
    if rank != 0:
        while True:
            started = last_stamp(run.events)
            if how == "kill" and started is not None and started.att == attempt:
                os.kill(os.getpid(), signal.SIGKILL)
            if finished(run, first_seq) is not None:
                return 0
            if os.getppid() != parent:
                return 1
            time.sleep(0.02)
    bus = EventBus(run, run.id, next_attempt(run))
    bus.emit(AttemptStarted(world_size=int(os.environ["WORLD_SIZE"])))
    inbox = Inbox(run, attempt)
    step = 0
    while True:
        if how == "raise":
            bus.flush()
            raise RuntimeError("the seventh seal is broken")
        if how == "memory":
            bus.flush()
            raise RuntimeError("CUDA out of memory. Tried to allocate 3 GiB")
        requests = inbox.read().requests
        if how == "deaf":
            requests = []
        stop = any(request.command is Command.STOP for request in requests)
        for request in requests:
            bus.emit(answer(request, step=step))
        if stop or os.getppid() != parent:
            reason = "asked" if stop else "the supervisor is gone"
            bus.emit(RunFinished(status="stopped", reason=reason, step=step))
            bus.close()
            return 0
        if step == script.get("steps"):
            if how == "never_ends":
                return 0
            bus.emit(RunFinished(status="finished", step=step))
            bus.close()
            if how == "abort_after_end":
                os.abort()
            return 0
        bus.emit(StepFinished(step=step, loss=1.0))
        step += 1
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
