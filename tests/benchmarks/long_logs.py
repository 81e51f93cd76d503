"""Twenty series of 100,000 points on the screen: first curve, all of it, memory, idle, following.

    python tests/benchmarks/long_logs.py [--points 100000] [--seconds 10] [--kind KIND]

Opens each with `sftui replay` in a pseudo-terminal. An empty Textual app is measured in the same
run: machines differ, ratios differ less. The kinds:

    journal, csv       an event log of ours with the heartbeats of two ranks and validations
                       between, and the CSV that Lightning's logger writes
    every row of ...   twenty series of which every row has all, validation and accuracies too, as
                       wandb, TensorBoard, CSV, JSON lines and text
    thousand           a thousand series, as JSON lines; a fiftieth of the rows
    results            a run of ours with a validation, an evaluation and a checkpoint at every step
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

from engine import events as ev
from engine.journal import wire
from tests.benchmarks.first_frame import EMPTY, first_frame
from tests.faults.terminal import Terminal
from tests.long_files import FORMATS, EveryRow
from tests.processes import Children, children, environment

BRAILLE = re.compile(rb"\xe2[\xa0-\xa3][\x80-\xbf]")
CURVE_CELLS = 60
"""So many cells of dots are a curve, and no list of marks."""
SOURCES = ("arc_easy", "arc_challenge", "gsm8k", "smoltalk", "spelling", "identity", "mmlu")
QUIET_SECONDS = 1.5
EMPTY_APP = "from textual.app import App\nApp().run()\n"


def series(step: int, points: int, noise: random.Random) -> ev.StepFinished:
    """Twenty numbers of one update, all of them moving."""
    loss = 1 + 2 * math.exp(-step / points * 6) + noise.gauss(0, 0.05)
    mult = 1 - step / points
    tokens = 4000 + noise.randrange(500)
    seconds = round(0.1 + noise.random() / 100, 6)
    return ev.StepFinished(
        step=step,
        loss=loss,
        loss_rows_mean=loss + noise.gauss(0, 0.01),
        loss_micro_last=loss + noise.gauss(0, 0.2),
        lr_mult=mult,
        lrs={"lm_head": 0.008 * mult, "wte": 0.4 * mult, "matrices": 0.04 * mult},
        grad_norm=0.5 + noise.random(),
        supervised_tokens=tokens // 2,
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / seconds,
        epoch=3 * step / points,
        loss_by_source={name: loss + noise.gauss(0, 0.1) for name in SOURCES},
    )


def flat(event: ev.StepFinished) -> dict[str, float | None]:
    """The twenty numbers under one name each."""
    names = ("loss", "loss_rows_mean", "loss_micro_last", "lr_mult", "grad_norm", "epoch")
    counts = ("supervised_tokens", "tokens", "seconds", "tokens_per_second")
    return (
        {name: getattr(event, name) for name in (*names, *counts)}
        | {f"lr-{name}": value for name, value in event.lrs.items()}
        | {f"loss-{name}": value for name, value in event.loss_by_source.items()}
    )


class Journal:
    """A run directory of ours."""

    def __init__(self, folder: Path, points: int) -> None:
        self.target = folder / "run"
        self.file = self.target / "events.jsonl"
        self.points = points
        self.target.mkdir()
        (self.target / "run.json").write_text(json.dumps({"id": "run"}))
        self._seq = 0
        self._noise = random.Random(0)
        with self.file.open("wb") as file:
            start = ev.RunStarted(name="sft", num_iterations=2 * points + 1, world_size=2)
            file.write(self._line(start, 0.0))
            for step in range(points):
                file.writelines(self.lines(step))

    def lines(self, step: int) -> Iterator[bytes]:
        t = step / 10
        if step % 1000 == 0:
            loss = 1.1 + math.exp(-step / self.points * 6)
            yield self._line(ev.ValidationFinished(step=step, loss=loss), t)
        yield self._line(series(step, self.points, self._noise), t)
        if step % 10 == 0:  # a beat a second of each rank
            for rank in (0, 1):
                beat = ev.RankHeartbeat(
                    rank=rank, at_step=step, memory_bytes=2**30 + 4096 * (step % 512), pid=rank + 9
                )
                yield self._line(beat, t)

    def _line(self, event: ev.Event, t: float) -> bytes:
        self._seq += 1
        stamp = ev.Stamp(run="run", seq=self._seq, t=1.7e9 + t, m=1000 + t, boot="b")
        return wire.encode(replaced(event, stamp))


def replaced(event: ev.Event, stamp: ev.Stamp) -> ev.Event:
    from dataclasses import replace

    return replace(event, stamp=stamp)


class Csv:
    """What Lightning's CSVLogger writes: a row a step, validation in rows of its own."""

    def __init__(self, folder: Path, points: int) -> None:
        self.target = self.file = folder / "metrics.csv"
        self.points = points
        self._noise = random.Random(0)
        self._names = list(flat(series(0, points, random.Random(0))))
        with self.file.open("wb") as file:
            file.write((",".join([*self._names, "val_loss", "step"]) + "\n").encode())
            for step in range(points):
                file.writelines(self.lines(step))

    def lines(self, step: int) -> Iterator[bytes]:
        values = flat(series(step, self.points, self._noise))
        row = [repr(values[name]) for name in self._names]
        yield (",".join([*row, "", str(step)]) + "\n").encode()
        if step % 1000 == 999:
            loss = 1.1 + math.exp(-step / self.points * 6)
            yield (",".join([*[""] * len(row), repr(loss), str(step)]) + "\n").encode()


class Results(Journal):
    """A run directory of ours that measured and saved after every step."""

    def lines(self, step: int) -> Iterator[bytes]:
        t, falling = step / 10, math.exp(-step / self.points * 6)
        loss = 1.1 + falling + self._noise.gauss(0, 0.02)
        right = round(1000 * (0.7 - 0.4 * falling) + self._noise.gauss(0, 10))
        yield self._line(ev.ValidationFinished(step=step, loss=loss), t)
        found = ev.EvalFinished(step=step, task="GSM8K", correct=right, total=1000)
        yield self._line(found, t)
        yield self._line(ev.CheckpointSaved(step=step, path=f"checkpoints/{step:06d}"), t)
        yield self._line(series(step, self.points, self._noise), t)


class Rows(EveryRow):
    """Rows that all have all numbers."""

    @classmethod
    def of(cls, kind: str, folder: Path, points: int) -> Rows:
        return cls(folder, kind, points)

    def lines(self, step: int) -> Iterator[bytes]:
        return self.more(1)


Log = Journal | Csv | Rows
THOUSAND = ("loss", *(f"layer_{i:04}/update_ratio" for i in range(999)))
KINDS: dict[str, Callable[[Path, int], Log]] = {
    "journal": Journal,
    "csv": Csv,
    **{f"every row of {kind}": functools.partial(Rows.of, kind) for kind in FORMATS},
    "thousand": lambda folder, points: Rows(folder, "jsonl", points // 50, THOUSAND),
    "results": Results,
}


class Watched:
    """A program in a terminal of 160 x 48, its bytes counted as they come."""

    def __init__(self, started: Children, *words: str, env: dict[str, str]) -> None:
        self.begin = time.perf_counter()
        self.terminal = Terminal(started, *words, env=env, columns=160, lines=48)
        self.process = psutil.Process(self.terminal.process.pid)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begin

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def until_curve(self) -> float:
        """Seconds to the first curve on the terminal."""
        while len(BRAILLE.findall(self.terminal.output)) < CURVE_CELLS:
            assert self.terminal.process.poll() is None, self.terminal.words()[-2000:]
            assert self.seconds < 120, "no curve within two minutes"
            time.sleep(0.002)
        return self.seconds

    def until_rest(self) -> tuple[float, float]:
        """Seconds to the last paint, and until no work is left either (alarms are judged last)."""
        painted, busy, last_paint, last_work = -1, -1.0, self.seconds, self.seconds
        while self.seconds - last_work < QUIET_SECONDS:
            time.sleep(0.02)
            if len(self.terminal.output) != painted:
                painted, last_paint = len(self.terminal.output), self.seconds
            if (cpu := self.cpu()) > busy:  # a clock tick of the kernel is 10 ms
                busy, last_work = cpu, self.seconds
            assert self.seconds < 300, "it never comes to rest"
        return last_paint, last_work

    def measure(self, seconds: float) -> tuple[float, float]:
        """Share of a core in percent, kilobytes a second to the terminal."""
        cpu, sent, begin = self.cpu(), len(self.terminal.output), time.perf_counter()
        time.sleep(seconds)
        took = time.perf_counter() - begin
        written = len(self.terminal.output) - sent
        return 100 * (self.cpu() - cpu) / took, written / took / 1000

    def memory(self) -> tuple[float, float]:
        """MiB resident: now, and the most there ever were."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        most = int(status.split("VmHWM:")[1].split()[0]) / 1024
        return self.process.memory_info().rss / 2**20, most

    def leave(self, key: str = "q") -> None:
        self.terminal.press(key)
        self.terminal.wait(30)
        self.terminal.close()


def grow(log: Log, seconds: float, per_second: float) -> threading.Thread:
    """Append updates to the file from a thread, at a rate."""

    def write() -> None:
        begin, done = time.monotonic(), 0
        with log.file.open("ab", buffering=0) as file:
            while (passed := time.monotonic() - begin) < seconds:
                while done < passed * per_second:
                    file.write(b"".join(log.lines(log.points + done)))
                    done += 1
                time.sleep(0.02)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000, help="of each of the 20 series")
    parser.add_argument("--seconds", type=float, default=10.0, help="of idling and following")
    parser.add_argument("--rounds", type=int, default=3, help="starts that are timed")
    parser.add_argument("--kind", choices=KINDS, help="only this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, children() as started:
        folder = Path(name)
        # An installed program has its byte code; a checkout need not.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "code")
        env = environment(SFTUI_CONFIG=str(folder / "config.toml"))
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        first_frame(EMPTY)
        empty = Watched(started, "-c", EMPTY_APP, env=env)
        time.sleep(2)
        idle_empty, _ = empty.measure(options.seconds)
        empty.leave("\x11")
        print(f"an empty Textual app idles at {idle_empty:.2f} % of a core")
        for number, (kind, make) in enumerate(KINDS.items()):
            if options.kind in (None, kind):
                place = folder / str(number)
                place.mkdir()
                show(kind, make(place, options.points), started, env, options, idle_empty)


def show(
    kind: str,
    log: Log,
    started: Children,
    env: dict[str, str],
    options: argparse.Namespace,
    idle_empty: float,
) -> None:
    values = (len(THOUSAND) if kind == "thousand" else 20) * log.points
    print(f"\n{kind}: {values:,} numbers, {log.file.stat().st_size / 1e6:.0f} MB")
    words = ("-m", "sftui", "replay", str(log.target))
    curves, ratios, whole_ratios, wholes, rests, busy = [], [], [], [], [], []
    for turn in range(options.rounds):
        alone = first_frame(EMPTY)
        screen = Watched(started, *words, env=env)
        curves.append(screen.until_curve())
        ratios.append(curves[-1] / alone)
        whole, rest = screen.until_rest()
        wholes.append(whole)
        rests.append(rest)
        whole_ratios.append(whole / alone)
        busy.append(screen.cpu())
        if turn < options.rounds - 1:
            screen.leave()
    now, most = screen.memory()
    idle, idle_bytes = screen.measure(options.seconds)
    sent = len(screen.terminal.output)
    screen.leave()
    follow = Watched(started, *words, "--follow", env=env)
    follow.until_curve()
    follow.until_rest()
    writer = grow(log, options.seconds + 3, 10)
    time.sleep(1)
    following, following_bytes = follow.measure(options.seconds)
    writer.join()
    follow.leave()
    print(
        f"  first curve {min(curves):.2f} s = {statistics.median(ratios):.2f} x an empty app's "
        f"first frame (target <= 1.8)\n"
        f"  all in {min(wholes):.2f} s = {statistics.median(whole_ratios):.1f} x that frame\n"
        f"    (target < 3.5 s where it takes 0.34 s, so < {3.5 / 0.34:.1f} x)\n"
        f"  at rest {min(rests):.2f} s, {min(busy):.2f} s of a core\n"
        f"  resident {now:.0f} MiB, at most {most:.0f} (target < 150); {sent / 1000:.0f} kB "
        f"painted\n"
        f"  idle {idle:.2f} % of a core, an empty app {idle_empty:.2f} (target within 0.2), "
        f"{idle_bytes:.2f} kB/s\n"
        f"  following 10 updates/s {following:.2f} % of a core (target < 1.5), "
        f"{following_bytes:.2f} kB/s\n"
        f"  {values / min(wholes):,.0f} numbers a second"
    )


if __name__ == "__main__":
    main()
