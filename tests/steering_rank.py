"""One rank of the steering tests: meets its peers again and again and writes what was decided.

Usage: `python -m tests.steering_rank RUN_DIR OUT ATTEMPT [timeout]`; torchrun's variables in
the environment. Ends when a stop is decided.
"""

import json
import os
import sys
import time
from pathlib import Path

from engine import distributed
from engine.journal.event_bus import EventBus
from engine.processes.orphan import end_with_parent
from engine.run.run_dir import RunDir
from engine.steering.steering import Decision, Steering


def main() -> None:
    run, out, attempt = RunDir(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
    end_with_parent()
    # Importing torch takes the ranks seconds apart on a busy machine; a short timeout is
    # meant for the collectives, not for that.
    out.with_suffix(".ready").touch()
    while len(list(out.parent.glob("out-*.ready"))) < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.01)
    timeout = float(sys.argv[4]) if len(sys.argv) > 4 else 60.0
    ranks = distributed.join("cpu", timeout_seconds=timeout)
    bus = EventBus(run, run.id, attempt, live=False) if ranks.is_main else None
    steering = Steering(run, bus, ranks, attempt)
    steering.handle_signals()
    step = 0
    with out.open("w", buffering=1) as file:

        def apply_requests(decision: Decision) -> None:
            file.write(
                json.dumps(
                    [
                        step,
                        decision.paused,
                        len(decision.evaluate),
                        len(decision.checkpoint),
                        decision.stop,
                        decision.hurry,
                        decision.lr_factor,
                    ]
                )
                + "\n"
            )
            steering.acknowledge(decision.evaluate, step)
            steering.acknowledge(decision.checkpoint, step)

        while True:
            decision = steering.at_boundary(step)
            apply_requests(decision)
            while decision.paused and not decision.stop:
                decision = steering.wait_while_paused(step)
                apply_requests(decision)
            if decision.stop:
                break
            step += 1
            time.sleep(0.005)
        steering.finish(step)
        if bus is not None:
            bus.close()
        ranks.barrier()
        file.write(json.dumps(["end", decision.stop_reason]) + "\n")
    ranks.leave()


if __name__ == "__main__":
    main()
