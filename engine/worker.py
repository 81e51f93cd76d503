"""One rank: `python -P -m engine.worker RUN_DIR`, the same under the supervisor and torchrun.

The rank knows only the run directory and torchrun's environment. Its exit code is
a hint: the durable `run_finished` event is the only proof of success, and a
restarted rank that finds one leaves at once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from engine import config
from engine.alarms.run_alarms import RunAlarms
from engine.errors import RunDirError, SftuiError, SlowPathWarning
from engine.events import Event, LogLine, PhaseStarted, RunFinished
from engine.journal.event_bus import EventBus
from engine.journal.event_files import FIRST_SEQ_VARIABLE, began, finished, next_attempt
from engine.processes import collecting, cuda_environment, orphan
from engine.run import resume_file
from engine.run.lock import hold_event_log
from engine.run.run_dir import RunDir

SWITCH_SECONDS = 0.0005
LEAVE_SECONDS = 2.0
"""For threads to end once the main thread is done."""


def main(arguments: list[str]) -> int:
    """Train; returns 0 when the run has its end, 1 when the ranks should be started again."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -P -m engine.worker RUN_DIR\n")
        return 2
    run = RunDir(Path(arguments[0]).absolute())
    cuda_environment.set_defaults()
    if not orphan.end_with_parent():
        return 1
    if _has_ended(run):
        return 0
    started = time.monotonic()
    writer = alarms = bus = None
    if os.environ.get("RANK", "0") == "0":
        try:
            writer = hold_event_log(run)
        except RunDirError as error:
            sys.stderr.write(f"sftui: error: {error}\n")
            return 1
    attempt = next_attempt(run)
    if writer is not None:
        try:
            settings = config.from_flat(resume_file.manifest_now(run)["config"], None)
        except SftuiError as error:
            bus = EventBus(run, run.id, attempt)
            bus.emit(RunFinished(status="failed", reason=str(error)))
            bus.close()
            os.close(writer)
            return 0
        alarms = RunAlarms(run, settings.runtime)
        # The run's seconds count from its first attempt, not from the last.
        started = min(started, began(run.events) or started)
        bus = EventBus(run, run.id, attempt, watch=alarms.observe)
    try:
        return _train(run, bus, alarms, attempt, started)
    except SftuiError as error:
        # Starting again would meet the same mistake, so this is the end of the run.
        traceback.print_exc()
        if bus is None:
            return 1
        seconds = time.monotonic() - started
        bus.emit(RunFinished(status="failed", reason=str(error), seconds=seconds))
        return 0
    except Exception as error:
        traceback.print_exc()
        if bus is not None:
            text = f"{type(error).__name__}: {error}"
            bus.emit(LogLine(text=text, level="error", rank=0))
        return 1
    finally:
        if bus is not None:
            bus.close()
        if writer is not None:
            os.close(writer)


def _train(
    run: RunDir, bus: EventBus | None, alarms: RunAlarms | None, attempt: int, started: float
) -> int:
    def emit(event: Event) -> None:
        if bus is not None:
            bus.emit(event)

    emit(PhaseStarted(phase="import"))
    # torch: seconds and 200 MiB; the screen should know by now that this rank is alive.
    with collecting.put_off(collect=False):
        import torch  # noqa: PLC0415

        from engine import conclusion, distributed, session_setup, trainer  # noqa: PLC0415
        from engine.processes.heartbeat import Heartbeat  # noqa: PLC0415
        from engine.processes.peer_watch import PeerWatch  # noqa: PLC0415
        from engine.steering.steering import Steering  # noqa: PLC0415

    _tell_slow_paths(emit)
    manifest = resume_file.manifest_now(run)
    size = manifest["world_size"]
    emit(PhaseStarted(phase="group", detail=f"{size} rank" if size == 1 else f"{size} ranks"))
    ranks = distributed.join(manifest["device_type"])
    for warning in distributed.launch_warnings():
        emit(LogLine(text=warning, level="warn"))
    # Rank 0 writes the log that the number comes from; the others may read it too late.
    attempt = int(ranks.broadcast(torch.tensor([attempt])))
    steering = Steering(run, bus, ranks, attempt)
    steering.handle_signals()
    if alarms is not None:
        alarms.run_control = steering
    # Threads beat, publish, load and write; whoever launches kernels must not wait the usual
    # 5 ms for the interpreter's lock each time.
    sys.setswitchinterval(SWITCH_SECONDS)
    watch = PeerWatch(run, rank=ranks.rank, world_size=ranks.world_size)
    watch.start()
    with Heartbeat(run, ranks, emit) as heartbeat:
        settle_log = bus.flush if bus is not None else lambda: None
        with collecting.put_off(collect=True):
            session = session_setup.build(run, ranks, attempt, emit, settle_log)
        outcome = trainer.train(session, steering, heartbeat.at_step)
        if steering.agent_lost:
            session.close()
            text = (
                "the agent of one machine is gone; the step is saved, and the run goes on when "
                "as many machines as before have joined"
            )
            emit(LogLine(step=outcome.step, text=text, level="error"))
            return 1
        steering.finish(outcome.step)
        emit(PhaseStarted(phase="save", step=outcome.step))
        outcome = conclusion.conclude(session, outcome)
        session.close()
    emit(
        RunFinished(
            step=outcome.step,
            status=outcome.status,
            reason=outcome.reason,
            updates=outcome.step,
            seconds=round(time.monotonic() - started, 3),
        )
    )
    if bus is not None:
        bus.close()
    watch.close()
    ranks.barrier()
    _leave(0)


def _leave(code: int) -> NoReturn:
    """End the process without tearing libraries down: all that matters is on disk.

    A rank has been seen to abort in that, and with a live NCCL group it may hang, which
    would keep the others waiting for its end.
    """
    end = time.monotonic() + LEAVE_SECONDS
    for thread in threading.enumerate():
        # A checkpoint that is nearly written; one that waits for a dead peer is not waited for.
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(max(0.0, end - time.monotonic()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tell_slow_paths(emit: Callable[[Event], None]) -> None:
    """Put every `SlowPathWarning` on the screen with its reason; others go where they went."""
    show = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, SlowPathWarning):
            emit(LogLine(text=str(message), level="warn", rank=0))
        show(message, category, *rest, **more)

    # Whatever PYTHONWARNINGS says: a slow path is a line, never silence and never a crash.
    warnings.simplefilter("always", SlowPathWarning)
    warnings.showwarning = tell


def _has_ended(run: RunDir) -> bool:
    """Whether the run has ended in this session; an end from before a resumption does not count."""
    first_seq = os.environ.get(FIRST_SEQ_VARIABLE)
    end = finished(run, int(first_seq or 0))
    if end is None or first_seq is not None:
        return end is not None
    # Started by torchrun on another machine: nobody told us where this session began.
    resumed = resume_file.read(run)
    return not resumed or end.stamp.att >= resumed[-1].attempt


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
