"""One real rank with faults injected: `python -P -m tests.faults.worker RUN_DIR`.

`SFTUI_FAULTS` is a JSON list of `{"rank", "step", "action", ...}`; `attempt` defaults to
1. An action is taken where that rank begins to accumulate the gradients of that step:

  kill    SIGKILL of itself            exit     leave with `code`
  memory  what CUDA raises when full   nan      this rank's gradient is no number,
                                                 from the first step that has rows for it
  stop    SIGSTOP of itself            sleep    `seconds`, in every step from `step` on
  print   bytes on file descriptors 1 and 2, past every Python layer
  nap     `seconds`, in that step alone  spike    `by` nats on top of that step's loss

An action with `after` waits until that file of the run directory is there. `memory-eval`
raises while letters are evaluated; `letter` answers A to every question.
`clock` shifts this rank's wall clock by the seconds that stand in the file `clock` of the run.
`wait` holds the step until a file `go` stands in the run directory, so that a test can
act at a known moment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

RUN = Path(sys.argv[-1])
HOSTILE = b"\x1b]52;c;aGFja2Vk\x07\x1b]0;pwned\x07\x9b2J\x1b[2J"


def main() -> int:
    rank = int(os.environ.get("RANK", "0"))
    faults = [f for f in json.loads(os.environ["SFTUI_FAULTS"]) if f.get("rank", 0) == rank]
    from engine import measure, trainer, worker

    # What a module uses and does not export can be replaced all the same.
    patched: Any = measure
    accumulate, letters = trainer.accumulate_gradients, patched.answer_task

    def accumulate_or_fail(session: Any, batch: Any) -> Any:
        for fault in faults:
            first = fault["step"]
            lasts = fault["action"] in ("sleep", "nan") and batch.step > first
            here = batch.step == first or lasts
            if here and fault.get("attempt", 1) in (session.attempt, "any"):
                while "after" in fault and not list(RUN.glob(fault["after"])):
                    time.sleep(0.01)
                batch = act(fault, session, batch) or batch
        losses = accumulate(session, batch)
        rise = sum(f["by"] for f in faults if (f["action"], f["step"]) == ("spike", batch.step))
        return replace(losses, loss=losses.loss + rise)

    def letters_or_fail(*arguments: Any, **options: Any) -> Any:
        if any(fault["action"] == "memory-eval" for fault in faults):
            out_of_memory()
        result = letters(*arguments, **options)
        if any(fault["action"] == "letter" for fault in faults):
            return replace(result, predicted=("A",) * result.total)
        return result

    if any(fault["action"] == "clock" for fault in faults):
        shift_clock()
    trainer.accumulate_gradients = accumulate_or_fail
    patched.answer_task = letters_or_fail
    return worker.main(sys.argv[1:])


def act(fault: dict[str, Any], session: Any, batch: Any) -> Any:
    """Do it; another batch to go on with, or None."""
    match fault["action"]:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "exit":
            os._exit(fault["code"])
        case "memory":
            out_of_memory()
        case "nan":
            poisoned = [replace(m, weights=m.weights * float("nan")) for m in batch.micro_steps]
            return replace(batch, micro_steps=tuple(poisoned))
        case "sleep" | "nap":
            time.sleep(fault["seconds"])
        case "print":
            os.write(1, HOSTILE + b"from C\n")
            os.write(2, HOSTILE + b"from C\n")
        case "wait":
            while not (session.run.path / "go").exists():
                time.sleep(0.01)
    return None


def shift_clock() -> None:
    """From now on `time.time` is off by what stands in the run's file `clock`, looked at often."""
    real = time.time
    looked, offset = 0.0, 0.0

    def shifted() -> float:
        nonlocal looked, offset
        now = time.monotonic()
        if now - looked > 0.2:
            looked = now
            try:
                offset = float((RUN / "clock").read_text())
            except (OSError, ValueError):
                offset = 0.0
        return real() + offset

    time.time = shifted


def out_of_memory() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 3.00 GiB")


if __name__ == "__main__":
    sys.exit(main())
