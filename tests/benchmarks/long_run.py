"""Hours of a run through the real path: does memory stay flat, is anything lost, is the clock true?

    python tests/benchmarks/long_run.py [--seconds 180] [--rate 2000]

The trainer is simulated; supervisor, event bus, log, live queue and the screen in a
pseudo-terminal are the real ones. Three minutes at 2000 events a second send as many as the
two hours at 50 of `make long-run`. Prints sizes on the way and their slopes at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

SIZE = (160, 48)
EVENTS_A_STEP = 1.22
"""The simulated rank: a step, two events every ten steps, a validation every fifty."""


def resident_bytes(pid: int | None = None) -> int:
    """Resident memory of a process of ours."""
    pages = int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares: units of y a unit of x."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def main() -> None:
    from engine.events import Stamp
    from engine.journal.event_files import last_stamp
    from engine.run import lock, run_dir
    from sftui.sources import snapshot
    from tests.faults.place import Place
    from tests.faults.terminal import Terminal
    from tests.processes import children, wait_for

    def newest(run: run_dir.RunDir) -> Stamp:
        stamp = last_stamp(run.events)
        assert stamp is not None, "an event log does not grow shorter"
        return stamp

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--rate", type=float, default=2000, help="events a second")
    options = parser.parse_args()
    every = max(options.seconds / 120, 5.0)
    with tempfile.TemporaryDirectory() as folder, children() as started:
        place = Place(Path(folder), started)
        script = {"rate": options.rate / EVENTS_A_STEP, "texts": ["a line of the log " + "x" * 150]}
        env = place.environment(
            SFTUI_WORKER="tests.faults.simulated", SFTUI_SIMULATION=json.dumps(script)
        )
        words = ("-m", "sftui", "run", *place.flags())
        screen = Terminal(started, *words, env=env, columns=SIZE[0], lines=SIZE[1])
        wait_for(lambda: run_dir.list_runs(place.root), 60)
        run = run_dir.list_runs(place.root)[0]
        wait_for(lambda: last_stamp(run.events) is not None, 60)
        holder = lock.holder(run)
        assert holder is not None
        rank = psutil.Process(holder.pid).children()[0]
        begin, begin_cpu = time.monotonic(), cpu(screen.process.pid)
        samples: list[tuple[float, int, int, int, float]] = []
        first_seq = newest(run).seq
        while (now := time.monotonic() - begin) < options.seconds:
            time.sleep(min(every, options.seconds - now))
            stamp = newest(run)
            seq = stamp.seq
            sizes = resident_bytes(screen.process.pid), resident_bytes(rank.pid)
            samples.append((time.monotonic() - begin, seq, *sizes, stamp.t or 0.0))
            # The terminal's bytes are read and thrown away, as a terminal does.
            painted, screen.output = len(screen.output), screen.output[-200_000:]
            if len(samples) % 12 == 0 or options.seconds < 600:
                print(
                    f"{samples[-1][0]:7.0f} s  {seq:9,} events  screen {sizes[0] / 2**20:6.1f} MiB"
                    f"  rank {sizes[1] / 2**20:6.1f} MiB  painted {painted / 1000:,.0f} kB",
                    flush=True,
                )
        seconds = time.monotonic() - begin
        screen_cpu = cpu(screen.process.pid) - begin_cpu
        here = screen.press("4")
        time.sleep(1.5)
        process = started.start(
            *("-m", "sftui", "ctl", run.id, "stop"), env=env, stdout=-1, stderr=-2
        )
        answer = process.communicate(timeout=60)[0].decode().strip()
        screen.wait_for("STOPPED", here)
        # Only changed cells are painted: a whole clock is there after painting everything.
        here = screen.repaint()
        time.sleep(3)
        header = re.findall(r"\d+:\d\d:\d\d|\d+:\d\d", screen.words(here))
        screen.press("q")
        screen.wait(30)
        shot = snapshot.read_run(run)
        state = shot.state
        told = newest(run).seq
        settled = [s for s in samples if s[0] > seconds / 3]
        print(f"\n{told - first_seq:,} events in {seconds:,.0f} s = {told / seconds:,.0f}/s")
        print(f"  {answer}; in the file {told:,}, dropped {state.dropped}")
        for name, column in (("screen", 2), ("rank", 3)):
            by_time = slope([(s[0] / 3600, s[column] / 2**20) for s in settled])
            by_event = slope([(s[1], s[column]) for s in settled])
            print(
                f"  {name:6} {settled[0][column] / 2**20:6.1f} -> "
                f"{settled[-1][column] / 2**20:6.1f} MiB over the last two thirds: "
                f"{by_time:+.1f} MiB/h, {by_event:+.1f} bytes an event"
            )
        print(f"  the screen took {100 * screen_cpu / seconds:.1f} % of a core")
        first, last = samples[0], samples[-1]
        shown = (state.last_t or 0) - (state.first_t or 0)
        print(
            f"  clock: {last[4] - first[4]:,.2f} s by the events, {last[0] - first[0]:,.2f} s by "
            f"ours; elapsed {shown:,.1f} s, in the header {header[0]}"
        )
        print(f"  log pane: {len(state.log):,} lines kept of {state.log_total:,}")
        print(f"  event log {run.events.stat().st_size / 1e6:,.1f} MB")


def cpu(pid: int) -> float:
    """CPU seconds of a process."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    main()
