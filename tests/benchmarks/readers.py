"""How fast logs become a picture: `python tests/benchmarks/readers.py [--against DIR]`.

Prints each target of the design beside what was measured, and as a ratio to a plain
count of the same lines in the same run, so that a slow or busy machine shows. Memory is
what a log of a million lines takes beyond one of 1,000, in the same run.

With `--against DIR`, another checkout, only this: the CPU time of `sftui replay --headless`
here and there, in turns, over a run of ours, one with results at every step, and a CSV, each
with many lines and with a few, which is what the start takes.
"""

import argparse
import functools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sftui.readers import LineBuffer
from sftui.readers.nanochat import NanochatReader
from sftui.sources.open_log import open_replay
from sftui.state.run_state import RunState
from tests.benchmarks.long_logs import Csv, Journal, Results, Watched
from tests.long_files import FORMATS, EveryRow
from tests.processes import Children, children, environment

STILL_SECONDS = 8.0
"""A screen that paints nothing for so long has loaded its log."""

SFT = "Step {:05d}/{:05d} | Training loss: {:.6f}| lrm: {:.6f}| num_tokens: {:,}\n"
BASE = (
    "step {:05d}/{:05d} ({:.2f}%) | loss: {:.6f} | lrm: 1.00 | dt: 2157.73ms | "
    "tok/sec: 242,983 | mfu: 20.10 | total time: 0.00m\n"
)


def sft_log(num_lines: int) -> bytes:
    """A log of chat_sft: training lines, a validation every 50, two evaluations every 100."""
    lines = []
    total = num_lines + 1
    for step in range(num_lines):
        if step % 50 == 0:
            lines.append(f"Step {step:05d} | Validation loss: {2 - step / total:.6f}\n")
        if step % 100 == 0:
            lines.append("Final: 249/1024 (24.32%)\nFinal: 251/1024 (24.51%)\n")
            lines.append(f"Step {step:05d} | mmlu_acc: 0.243164, arc_easy_acc: 0.245117\n")
        loss, mult = 3 - step / total, 1 - step / total
        lines.append(SFT.format(step, total, loss, mult, step + 1000))
    return "".join(lines).encode()


def base_log(num_lines: int) -> bytes:
    """A log of base_train."""
    lines = [BASE.format(s, num_lines, 100 * s / num_lines, 3.0) for s in range(num_lines)]
    return "".join(lines).encode()


def best(action: Callable[[], object], times: int = 5) -> float:
    """The shortest of some runs, seconds."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        spent.append(time.perf_counter() - start)
    return min(spent)


def parse(data: bytes) -> None:
    """All of a log through the reader."""
    reader = NanochatReader()
    reader.feed(data)
    reader.close()


def report(what: str, seconds: float, target: float, plain: float) -> None:
    print(
        f"{what:<44} {seconds * 1e3:9.1f} ms   target {target * 1e3:6.0f} ms   "
        f"{seconds / target:5.2f} of the target   {seconds / plain:5.1f} x splitting its lines"
    )


HERE = Path(__file__).resolve().parents[2]
LONG, SHORT = 30_000, 100
"""Updates of the files that two checkouts read in turns."""


def against(other: Path, pairs: int) -> None:
    """Ratios of CPU time, this checkout to another one, over the same files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, make in (("run", Journal), ("run with results", Results), ("csv", Csv)):
            for points in (SHORT, LONG):
                place = folder / f"{kind} {points}"
                place.mkdir()
                log = make(place, points if kind != "run with results" else points // 3)
                turns = [
                    (headless(tree, log.target, folder), headless(HERE, log.target, folder))
                    for tree in [other] * (pairs + 1)
                ][1:]  # the first leaves the byte code behind
                ratios = sorted(here / there for there, here in turns)
                there, here = (min(column) for column in zip(*turns, strict=True))
                print(
                    f"{kind:<17} {points:>6,} updates: {here:5.2f} s here, {there:5.2f} s there, "
                    f"{here / there:.2f} of the least, {statistics.median(ratios):.2f} in the "
                    f"middle of {pairs} pairs ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                    flush=True,
                )


def headless(tree: Path, log: Path, folder: Path) -> float:
    """CPU seconds of `sftui replay --headless` of a checkout."""
    env = environment(
        PYTHONPATH=str(tree),
        PYTHONPYCACHEPREFIX=str(folder / "code"),
        SFTUI_CONFIG=str(folder / "config.toml"),
    )
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its byte code
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "sftui", "replay", "--headless", str(log)]
    subprocess.run(command, check=True, env=env, cwd=folder, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    logs = {
        "chat_sft, 7 000 lines": (sft_log(6600), 0.050),
        "base_train, 7 000 lines": (base_log(7000), 0.050),
        "base_train, 24 000 lines": (base_log(24000), 0.200),
    }
    for what, (data, target) in logs.items():
        plain = best(functools.partial(LineBuffer().feed, data))
        report(what, best(functools.partial(parse, data)), target, plain)

    with tempfile.TemporaryDirectory() as name:
        show_rows(Path(name))
        show_long(Path(name))


def show_rows(folder: Path) -> None:
    """What a row of twenty numbers costs the reader of each format, and all of it in a state."""
    short, long = 2_000, 20_000
    for kind in FORMATS:
        costs = {}
        for rows in (short, long):
            log = EveryRow(folder, kind, rows)
            costs[rows] = figures_of(log.file)
        (few, few_now), (many, now) = costs[short], costs[long]
        numbers = 20 * (long - short)
        print(
            f"{kind:<12} {1e6 * (many - few) / (long - short):6.1f} us of CPU a row of 20 numbers, "
            f"{(now - few_now) / numbers:5.1f} bytes resident a number "
            f"(what every file costs is taken off)"
        )


def figures_of(log: Path) -> tuple[float, float]:
    """CPU seconds of a process that reads it into a state, and what is resident then."""
    _, _, busy, _, _, _, now, _ = figures(log)
    return busy, now


def show_long(folder: Path) -> None:
    """Speed and memory of a log of a million lines, beside one of 1,000."""
    data = sft_log(950_000)
    num_lines = data.count(b"\n")
    plain = best(lambda: LineBuffer().feed(data), 1)
    long, short = folder / "long.log", folder / "short.log"
    long.write_bytes(data)
    short.write_bytes(sft_log(950))
    # In processes of their own: the peak memory is then that of one log.
    first, whole, busy, jump, points, state_bytes, *most = figures(long)
    *_, few, _, base_now, base_most = figures(short)
    report(f"{num_lines:,} lines: first picture", first, 0.5, plain)
    report(f"{num_lines:,} lines: all in the state", whole, 5.0, plain)
    report("  the same, processor time", busy, 5.0, plain)
    report("  jump back to the middle", jump, 0.5, plain)
    points -= few
    print(
        f"bytes a point, more than with 1,000 lines (target < 30): state {state_bytes / points:.1f}"
    )
    grown = [(here - base) / points for here, base in zip(most, (base_now, base_most), strict=True)]
    print(f"  source and state: {grown[0]:.1f} resident once loaded, {grown[1]:.1f} at most")
    with children() as started:
        env = environment(SFTUI_CONFIG=str(folder / "config.toml"))
        (now, peak), (base_now, base_most) = (screen(started, env, log) for log in (long, short))
    live, most_ever = (2**20 * (a - b) / points for a, b in ((now, base_now), (peak, base_most)))
    print(f"  the whole screen: {live:.1f} resident once loaded, {most_ever:.1f} at most")
    print("    (19,000 validations and 9,500 rounds of evaluation are judged and drawn in it)")


def figures(log: Path) -> list[float]:
    """What `long_log` prints."""
    command = [sys.executable, __file__, str(log)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in out.split()]


def screen(started: Children, env: dict[str, str], log: Path) -> tuple[float, float]:
    """MiB resident of `sftui replay` once nothing is painted any more, and at most."""
    watched = Watched(started, "-m", "sftui", "replay", str(log), env=env)
    watched.until_curve()
    painted = -1
    while len(watched.terminal.output) != painted:
        painted = len(watched.terminal.output)
        time.sleep(STILL_SECONDS)
    memory = watched.memory()
    watched.leave()
    return memory


def resident_bytes() -> tuple[int, int]:
    """Now, and at most ever (a child's `ru_maxrss` starts at its parent's)."""
    status = Path("/proc/self/status").read_text()
    now, most = (int(status.split(name)[1].split()[0]) for name in ("VmRSS:", "VmHWM:"))
    return now * 1024, most * 1024


def long_log(path: str) -> None:
    """Open a long log as the screen would; print the figures of `main`."""
    start, busy = time.perf_counter(), time.process_time()
    opened = open_replay(path)
    source, state = opened.source, RunState()
    first = None
    while not source.closed:
        for event in source.poll():
            state.apply(event)
        if first is None and len(state.steps):
            first = time.perf_counter() - start
        time.sleep(0.01)
    whole, busy = time.perf_counter() - start, time.process_time() - busy
    now, most = resident_bytes()
    points, state_bytes = 3 * len(state.steps), state.steps.num_bytes
    middle = len(state.steps) // 2
    start = time.perf_counter()
    source.seek_step(middle)
    state = RunState()
    while state.updates <= middle:
        for event in source.poll():
            state.apply(event)
    jump = time.perf_counter() - start
    source.close()
    print(first, whole, busy, jump, points, state_bytes, now, most)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", nargs="?", help="print the figures of this log alone")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--pairs", type=int, default=5, help="turns of both")
    options = parser.parse_args()
    if options.log:
        long_log(options.log)
    elif options.against:
        against(options.against.resolve(), options.pairs)
    else:
        main()
