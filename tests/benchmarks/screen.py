"""What the screen costs: at 10 events/s, idle, under 10,000 events/s, and at ten million points.

Counts, CPU shares and ratios, all from one run, so that they hold on a busy machine.

    python tests/benchmarks/screen.py [seconds per case]

Against another version of sftui, e.g. an older checkout: both screens are watched over the same
seconds, key for key, so that a busy machine is as busy for the one as for the other.

    python tests/benchmarks/screen.py --against PATH [--rounds 3] [seconds per case]
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import statistics
import struct
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from sftui.drawing.canvas import Grid
from sftui.state.run_state import RunState
from sftui.state.series import Table
from sftui.view.view import View
from sftui.widgets.loss_chart import LossChart
from tests.benchmarks.other_version import program
from tests.sftui.fake_run import fake_run

HERE = Path(__file__).resolve().parents[2]
CASES = ((0, 2000), (10, 2), (10, 2000), (10_000, 2000))
"""Events a second, and how many updates the run had before."""

EMPTY = "from textual.app import App\nApp().run()\n"

OURS = """
import math, sys, time
from sftui.app import run_screen
from sftui.cockpit.screen_request import ScreenRequest
from tests.sftui.fake_run import fake_run
from engine import events as ev
rate, done = float(sys.argv[1]), int(sys.argv[2])
start = fake_run(until=min(done, 400), finish=False)
def step(n, t):
    loss = 1 + math.exp(-n / 300) + 0.1 * math.sin(n * 1.7)
    return ev.StepFinished(step=n, loss=loss, lr_mult=0.5, grad_norm=0.7, seconds=0.1,
        tokens_per_second=12000 + 300 * math.sin(n), stamp=ev.Stamp(seq=10_000 + n, t=t))
start += [step(n, start[-1].stamp.t) for n in range(400, done)]
shift = time.time() - start[-1].stamp.t
class Flow:
    closed = False
    def __init__(self):
        self.waiting = list(start)
        self.begin = time.monotonic()
        self.made = 0
    def poll(self, max_events=2000, max_seconds=0.05):
        if self.waiting:
            out, self.waiting = self.waiting, []
            return out
        due = int((time.monotonic() - self.begin) * rate)
        out = []
        while self.made < due and len(out) < max_events:
            out.append(step(done + self.made, time.time() - shift))
            self.made += 1
        return out
    def send(self, request): pass
    def describe(self): return "benchmark"
    settled = True
    def alive(self): return True, ""
    def close(self): pass
run_screen(ScreenRequest(Flow(), "benchmark"))
"""
MEASURED_KEYS = 60


class Screen:
    """A program in a pseudo-terminal of 160 x 48."""

    def __init__(self, code: str, *args: str, tree: Path = HERE) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # `python -c` looks for packages in its folder before all else.
            os.chdir(tree)
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            # What is installed has its bytecode; compiling it takes memory that stays.
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            os.execv(sys.executable, [sys.executable, "-c", code, *args])
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
        self.bytes = 0

    def read(self, seconds: float) -> None:
        """Take what it writes for so long."""
        read_all([self], seconds)

    def cpu(self) -> float:
        """CPU seconds used so far, to the nanosecond: a tick of 10 ms is 2 % of a quiet screen."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def resident(self) -> float:
        """MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def measure(self, seconds: float) -> tuple[float, float]:
        """Share of a core in percent, kilobytes a second to the terminal."""
        cpu, sent, begin = self.cpu(), self.bytes, time.perf_counter()
        self.read(seconds)
        took = time.perf_counter() - begin
        return 100 * (self.cpu() - cpu) / took, (self.bytes - sent) / took / 1000

    def key_latency(self, key: bytes) -> float:
        """Milliseconds from a key to the paint that it alone can cause."""
        os.write(self.fd, key)
        begin = time.perf_counter()
        while True:
            if not select.select([self.fd], [], [], 5)[0]:
                return 5000.0
            piece = os.read(self.fd, 65536)
            self.bytes += len(piece)
            if any(mark in piece for mark in MARKS):
                return 1000 * (time.perf_counter() - begin)

    def close(self) -> None:
        os.write(self.fd, b"q\x11")
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:
            pass
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def read_all(screens: list[Screen], seconds: float) -> None:
    """Take what screens write for so long."""
    by_fd = {screen.fd: screen for screen in screens}
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        for fd in select.select(list(by_fd), [], [], left)[0]:
            by_fd[fd].bytes += len(os.read(fd, 65536))


MARKS = (b"whole run", b"so far")
"""Only the key that changes the range repaints these words under the chart."""


def _write_bytecode(program: str, tree: Path) -> None:
    first = Screen(program, "10", "2", tree=tree)
    first.read(10)
    first.close()


def live(seconds: float) -> None:
    _write_bytecode(OURS, HERE)
    empty = Screen(EMPTY)
    empty.read(3)
    idle_empty, _ = empty.measure(4 * seconds)
    empty.close()
    for rate, done in CASES:
        screen = Screen(OURS, str(rate), str(done))
        # Idle is what is left after half a minute of silence.
        screen.read(5 if rate else 45)
        cpu, sent = screen.measure(seconds if rate else 4 * seconds)
        words = f"{rate:>6} events/s from step {done}: {cpu:.2f} % of a core, {sent:.2f} kB/s"
        if rate == 0:
            words += f" (an empty app: {idle_empty:.2f} %; the clock moves every other second)"
        if rate == 10_000:
            times = []
            for _ in range(MEASURED_KEYS):
                times.append(screen.key_latency(b"f"))
                screen.read(0.03)
            words += f"; key to paint {_quantiles(times)}"
        print(words + f"; resident {screen.resident():.0f} MiB")
        screen.close()


def against(tree: Path, seconds: float, rounds: int) -> None:
    """This version beside the one in `tree`, over the same seconds; of the rounds the medians.

    A pair is started in turns: which of the two comes first changes with the round.
    """
    theirs = program(tree, "screen.py")
    _write_bytecode(OURS, HERE)
    _write_bytecode(theirs, tree)
    for rate, done in CASES:
        costs: list[list[tuple[float, float, float]]] = [[], []]
        times: list[list[float]] = [[], []]
        for number in range(rounds):
            pair = [(OURS, HERE), (theirs, tree)]
            order = (0, 1) if number % 2 == 0 else (1, 0)
            started = {i: Screen(pair[i][0], str(rate), str(done), tree=pair[i][1]) for i in order}
            screens = [started[0], started[1]]
            read_all(screens, 6 if rate else 45)
            long = seconds if rate else 4 * seconds
            before = [(screen.cpu(), screen.bytes) for screen in screens]
            read_all(screens, long)
            for screen, (cpu, sent), cost in zip(screens, before, costs, strict=True):
                share = 100 * (screen.cpu() - cpu) / long
                cost.append((share, (screen.bytes - sent) / long / 1000, screen.resident()))
            for _ in range(MEASURED_KEYS if rate == 10_000 else 0):
                for i in order:
                    times[i].append(screens[i].key_latency(b"f"))
                    read_all(screens, 0.03)
            for screen in screens:
                screen.close()
        (ours, sent, size), (other, sent_other, size_other) = (
            [statistics.median(column) for column in zip(*cost, strict=True)] for cost in costs
        )
        print(
            f"{rate:>6} events/s from step {done}: {ours:.2f} against {other:.2f} % of a core, "
            f"ratio {ours / max(other, 0.01):.2f}; {sent:.2f} against {sent_other:.2f} kB/s; "
            f"resident {size:.0f} against {size_other:.0f} MiB"
            + (f"; key to paint {_quantiles(times[0])} against {_quantiles(times[1])}"
               if times[0] else ""),
            flush=True,
        )  # fmt: skip


def _quantiles(times: list[float]) -> str:
    ordered = sorted(times)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    return f"p50 {statistics.median(ordered):.0f} ms, p99 {p99:.0f} ms"


def redraw() -> None:
    """CPU time of one rebuild of the loss chart, 2 thousand against 10 million points.

    Drawn in turns, and the medians compared, so that a busy moment falls on both.
    """
    few, many = 2_000, 10_000_000
    charts = {num_points: _chart(num_points) for num_points in (few, many)}
    costs: dict[int, list[float]] = {few: [], many: []}
    for _ in range(100):
        for num_points, chart in charts.items():
            begin = time.process_time()
            chart.paint(Grid(30, 120))
            costs[num_points].append((time.process_time() - begin) * 1000)
    middle = {num_points: statistics.median(each) for num_points, each in costs.items()}
    for num_points, cost in middle.items():
        print(f"{num_points:>10,} points: {cost:.2f} ms (target < 2)")
    print(f"redraw ratio: {middle[many] / middle[few]:.2f} (target <= 1.5)")


def _chart(num_points: int) -> LossChart:
    """A chart whose pyramids and average are folded."""
    state = RunState()
    for event in fake_run(until=2, finish=False):
        state.apply(event)
    rng = np.random.default_rng(0)
    x = np.arange(2, num_points + 2, dtype=np.float64)
    y = (1 + np.exp(-x / num_points * 5) + rng.normal(0, 0.05, num_points)).astype(np.float32)
    state.steps.extend(x, {"loss": y, "lr_mult": np.linspace(1, 0, num_points)})
    chart = LossChart(state, View(now=lambda: 0.0), id="loss")
    chart.paint(Grid(30, 120))
    own = Table(["y"])
    own.extend(x, {"y": y})
    own.series("y").columns(0, num_points, 240)
    print(f"{num_points:>10,} points: {own.num_bytes / num_points:.1f} B a point")
    return chart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("seconds", nargs="?", type=float, default=10.0, help="for each case")
    parser.add_argument("--against", type=Path, help="a checkout of another version")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    if args.against:
        against(args.against.resolve(), args.seconds, args.rounds)
    else:
        redraw()
        live(args.seconds)


if __name__ == "__main__":
    main()
