"""What the screen costs the training: one real run, watched and unwatched by turns.

    python tests/benchmarks/screen_cost.py [--seconds 10] [--pairs 6]

The starter recipe trains on one rank with one thread. In every other window a screen in a
pseudo-terminal shows it, fed by the live queue. By turns in one run, because two runs one
after the other differ by more than a screen costs on a machine that does other things too.
Seconds that a screen needs to start are left out. Where other programs want the cores, the
wall clock says little; the CPU time that the rank itself spends on a token says what the
queue and its own thread cost.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

SETTLE_SECONDS = 4.0
TARGET = 0.99

FLAGS = (
    "--recipe=starter",
    "--device-type=cpu",
    "--num-iterations=1000000",
    "--eval-every=1000000",
    "--eval-metrics-every=1000000",
    "--checkpoint-every=0",
    "--threads=1",
    "--headless",
)

WATCH = """
import sys
from pathlib import Path
from engine.run.run_dir import RunDir
from sftui.commands import onward
onward.watch_screen(RunDir(Path(sys.argv[1])), lambda: None)
"""
"""The screen of `sftui run`, with its queue, on a run that is already there."""


def main() -> None:
    from engine.control import Command, Request
    from engine.events import StepFinished
    from engine.journal import wire
    from engine.run import lock, run_dir
    from engine.steering import inbox
    from sftui.sources.tail import TailSource
    from tests.faults.terminal import Terminal
    from tests.processes import children, environment, wait_for

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one window")
    parser.add_argument("--pairs", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, children() as started:
        root = Path(folder)
        env = environment(SFTUI_RUNS=str(root), NANOCHAT_BASE_DIR=str(root / "none"))
        started.start("-m", "sftui", "run", *FLAGS, env=env, stdout=-3, stderr=-3)
        wait_for(lambda: run_dir.list_runs(root), 60)
        run = run_dir.list_runs(root)[0]
        tail = TailSource(run)

        def steps(seconds: float) -> list[StepFinished]:
            """Steps of the next so many seconds."""
            found: list[StepFinished] = []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(0.2)
                found += [event for event in tail.poll() if isinstance(event, StepFinished)]
            return found

        wait_for(lambda: any(isinstance(event, StepFinished) for event in tail.poll()), 120)
        steps(SETTLE_SECONDS)
        holder = lock.holder(run)
        assert holder is not None
        rank = psutil.Process(holder.pid).children()[0]
        ratios, cpu_ratios = [], []
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; tokens a second:")
        for pair in range(options.pairs):
            rates, costs = {}, {}
            # Alternating the order cancels a drift of the machine.
            for watched in (False, True) if pair % 2 else (True, False):
                screen = None
                if watched:
                    screen = Terminal(started, "-c", WATCH, str(run.path), env=env, columns=160)
                    screen.wait_for("RUNNING")
                steps(SETTLE_SECONDS)
                before = rank.cpu_times()
                window = steps(options.seconds)
                after = rank.cpu_times()
                rates[watched] = rate(window)
                spent = after.user + after.system - before.user - before.system
                costs[watched] = spent / sum(event.tokens or 0 for event in window)
                if screen is not None:
                    assert "from its file" not in screen.words(), "the live queue feeds it"
                    screen.press("q")
                    screen.wait()
                    screen.close()
            ratios.append(rates[True] / rates[False])
            cpu_ratios.append(costs[False] / costs[True])
            print(
                f"  alone {rates[False]:9,.0f}   watched {rates[True]:9,.0f}   "
                f"ratio {ratios[-1]:.4f}   by the rank's CPU time {cpu_ratios[-1]:.4f}",
                flush=True,
            )
        inbox.post(run, Request(id=wire.new_id(), command=Command.STOP, author="benchmark"))
        wait_for(lambda: tail.poll() or tail.closed, 60)
    for what, values in (("by the wall clock", ratios), ("by the rank's CPU time", cpu_ratios)):
        low, high = interval(values)
        print(
            f"throughput with the screen / without, {what}: {statistics.median(values):.4f} "
            f"(95 % of resampled medians {low:.4f} to {high:.4f}; target >= {TARGET})"
        )


def rate(steps: list) -> float:
    """Tokens a second, by the median step: one that was held up by others does not count."""
    return 1 / statistics.median(event.seconds / event.tokens for event in steps)


def interval(values: list[float], rounds: int = 2000) -> tuple[float, float]:
    """Percentile bootstrap of the median."""
    chance = random.Random(0)
    found = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(rounds))
    return found[int(0.025 * rounds)], found[int(0.975 * rounds)]


if __name__ == "__main__":
    main()
