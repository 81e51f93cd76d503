"""How often do the alarms cry wolf, and how often do they miss? Seeded, about a minute.

`python tests/benchmarks/alarm_rates.py [--runs 200]` folds simulated runs of 1953 steps
through the alarms: clean ones under five kinds of noise, then ones with a fault planted,
then the losses of `tests/loss_worlds.py` with their limits, and every real log it is given:
`--logs FOLDER`; `--only worlds --long` are the bounded worlds over 50,000 steps too.
The exit status is 1 when a limit is broken.
Beside each rate stands the figure of the design notes, from another simulation whose
noise is not known in detail: its heavy tails are lighter than a plain t3 (90 % of runs
with a mark, not 100 %), and its autocorrelation is nearer to .8 than to .9. A rate over
200 runs has a standard error of up to 3.5 points.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine import events as ev
from engine.alarms.alarm_engine import AlarmEngine
from engine.alarms.board import SEVERITY
from engine.errors import SftuiError
from sftui.sources.open_log import read_whole
from tests.loss_worlds import FAULT_WORLDS, NULL_WORLDS, World
from tests.simulated_run import Simulation, losses, run

CLEAN = {
    "as the reference": Simulation(),
    "heavy tails (t3)": Simulation(noise="t3", time_cv=0.4),
    "autocorrelated .8": Simulation(noise="auto", val_wobble=0.004),
    "autocorrelated .9": Simulation(noise="auto", correlation=0.9, val_wobble=0.004),
    "printed micro-batch": Simulation(noise="micro", val_wobble=0.008, time_cv=0.4),
}

EXPECTED_FALSE = {
    "nonfinite": "0",
    "spike": "0; t3 1.5",
    "diverging": "0",
    "overfitting": "0 (wobble .002), 3 (.004), 13 (.008)",
    "stall": "0",
    "straggler": "0",
    "slowdown": "0",
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """A planted fault, the alarm that must come, and what the notes say."""

    name: str
    kind: str
    change: Callable[[int], Simulation]
    start: int
    expected: str
    events: str = "losses"
    """losses, measured or all: what the fault shows in; the rest would only cost time."""


FAULTS = [
    Fault("one NaN", "nonfinite", lambda s: Simulation(seed=s, nan_at=700), 700, "100"),
    Fault(
        "+0.5 on 3 steps",
        "spike",
        lambda s: Simulation(seed=s, spike_at=700, spike_size=0.5),
        700,
        "100",
    ),
    Fault(
        "  same, autocorrelated",
        "spike",
        lambda s: Simulation(seed=s, spike_at=700, spike_size=0.5, noise="auto"),
        700,
        "78",
    ),
    Fault(
        "  same, t3",
        "spike",
        lambda s: Simulation(seed=s, spike_at=700, spike_size=0.5, noise="t3"),
        700,
        "46",
    ),
    Fault(
        "  same, printed micro-batch",
        "spike",
        lambda s: Simulation(seed=s, spike_at=700, spike_size=0.5, noise="micro"),
        700,
        "0",
    ),
    Fault(
        "ramp +0.3 over 50 steps",
        "diverging",
        lambda s: Simulation(seed=s, ramp_at=1000, ramp_size=0.3),
        1000,
        "100",
    ),
    Fault(
        "  same, printed micro-batch",
        "diverging",
        lambda s: Simulation(seed=s, ramp_at=1000, ramp_size=0.3, noise="micro"),
        1000,
        "81",
    ),
    Fault(
        "ramp +0.4 over 50 steps",
        "diverging",
        lambda s: Simulation(seed=s, ramp_at=1000),
        1000,
        "100",
    ),
    Fault(
        "val +1.56 %, wobble .002",
        "overfitting",
        lambda s: Simulation(seed=s, val_rise=0.0194),
        0,
        "97",
        events="measured",
    ),
    Fault(
        "val +1.56 %, wobble .004",
        "overfitting",
        lambda s: Simulation(seed=s, val_rise=0.0194, val_wobble=0.004),
        0,
        "65",
        events="measured",
    ),
    Fault(
        "val +8 %",
        "overfitting",
        lambda s: Simulation(seed=s, val_rise=0.1),
        0,
        "100",
        events="measured",
    ),
    Fault(
        "rank 1 sleeps 0.3 s a step",
        "straggler",
        lambda s: Simulation(seed=s, slow_rank_seconds=0.3),
        0,
        "-",
        events="all",
    ),
    Fault(
        "60 s of silence",
        "stall",
        lambda s: Simulation(seed=s, silence_at=977),
        976,
        "-",
        events="all",
    ),
    Fault(
        "constant letter A",
        "letter_collapse",
        lambda s: Simulation(seed=s, letter="A"),
        1000,
        "-",
        events="measured",
    ),
    Fault(
        "three times slower",
        "slowdown",
        lambda s: Simulation(seed=s, slow_from=1200),
        1200,
        "-",
        events="all",
    ),
]


def events_of(sim: Simulation, which: str) -> Iterator[ev.Event]:
    if which != "losses":
        yield from run(sim, steps=which == "all")
        return
    loss = losses(sim, np.random.default_rng(sim.seed))
    yield ev.StepBatch(step=len(loss) - 1, steps=range(len(loss)), columns={"loss": loss.tolist()})


def first_steps(sim: Simulation, which: str) -> tuple[dict[str, int], int]:
    """First step of every alarm of the run, and its number of chart marks."""
    engine = AlarmEngine()
    found: dict[str, int] = {}
    for event in events_of(sim, which):
        for alarm in engine.observe(event):
            if isinstance(alarm, ev.AlarmRaised):
                found.setdefault(alarm.kind, alarm.step or 0)
    return found, len(engine.marks)


def clean_run(job: tuple[Simulation, int]) -> tuple[dict[str, int], int]:
    sim, seed = job
    return first_steps(dataclasses.replace(sim, seed=seed), "all")


def faulty_run(job: tuple[int, int]) -> dict[str, int]:
    index, seed = job
    fault = FAULTS[index]
    return first_steps(fault.change(1000 + seed), fault.events)[0]


WORLDS = (*NULL_WORLDS, *FAULT_WORLDS)
LOSS_KINDS = ("spike", "diverging")


def world_run(job: tuple[int, int]) -> dict[str, int]:
    """First step of every alarm of one run of a world."""
    index, seed = job
    found = WORLDS[index].make(np.random.default_rng([index, seed])).tolist()
    engine = AlarmEngine()
    batch = ev.StepBatch(step=len(found) - 1, steps=range(len(found)), columns={"loss": found})
    first: dict[str, int] = {}
    for alarm in engine.observe(batch):
        if isinstance(alarm, ev.AlarmRaised):
            first.setdefault(alarm.kind, alarm.step or 0)
    return first


def print_worlds(pool: Pool, runs: int, *, long: bool) -> list[str]:
    """The table of the worlds; returns the names of those whose limit is broken."""
    broken = []
    print(f"\nlosses of a kind, % of {runs} runs with the alarm")
    print(f"  {'world':34}{'spike':>8}{'diverging':>11}   limit")
    for index, world in enumerate(WORLDS):
        if world.long and not long:
            continue
        found = pool.map(world_run, [(index, seed) for seed in range(runs)], chunksize=5)
        rates = {kind: 100 * sum(kind in f for f in found) / runs for kind in LOSS_KINDS}
        ok = _within(world, rates)
        broken += [] if ok else [world.name]
        print(
            f"  {world.name:34}{rates['spike']:8.1f}{rates['diverging']:11.1f}   "
            f"{_limit(world)}{'' if ok else ' FAIL'}",
            flush=True,
        )
    return broken


def _within(world: World, rates: dict[str, float]) -> bool:
    if world.limit is None:
        return True
    if world.fault is not None:
        return rates[world.fault] >= world.limit
    return max(rates.values()) <= world.limit


def _limit(world: World) -> str:
    if world.limit is None:
        return "-"
    return f"{'>=' if world.fault else '<='} {world.limit:g}"


def print_logs(folder: Path) -> None:
    """Alarms of every stage of the real logs in a folder."""
    stages = alarmed = 0
    print(f"\nreal logs in {folder}")
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            recording = read_whole(str(path)).recording
        except SftuiError:
            continue
        for stage in recording.stages:
            engine = AlarmEngine()
            first: dict[str, str] = {}
            for event in stage.timeline.news(0, len(stage.timeline)):
                for alarm in engine.observe(event):
                    if isinstance(alarm, ev.AlarmRaised):
                        first.setdefault(alarm.kind, f"step {alarm.step}: {alarm.text}")
            stages += 1
            alarmed += any(kind in first for kind in LOSS_KINDS)
            for kind, words in first.items():
                print(f"  {path.relative_to(folder)} [{stage.name}] {kind} at {words}", flush=True)
    print(f"  {alarmed} of {stages} stages raise spike or diverging")


def print_runs(pool: Pool, runs: int) -> None:
    """Simulated runs: clean ones, then ones with a fault planted."""
    print(f"false alarms, % of {runs} clean runs of 1953 steps")
    head = "".join(f"{name:>20}" for name in CLEAN)
    print(f"  {'':16}{head}   notes")
    rates: dict[str, Counter[str]] = {}
    marks: dict[str, int] = {}
    for name, sim in CLEAN.items():
        found = pool.map(clean_run, [(sim, seed) for seed in range(runs)], chunksize=5)
        rates[name] = Counter(kind for kinds, _ in found for kind in kinds)
        marks[name] = sum(1 for _, count in found if count)
    for kind in SEVERITY:
        cells = "".join(f"{100 * rates[name][kind] / runs:20.1f}" for name in CLEAN)
        print(f"  {kind:16}{cells}   {EXPECTED_FALSE.get(kind, '-')}")
    cells = "".join(f"{100 * marks[name] / runs:20.1f}" for name in CLEAN)
    print(f"  {'(a chart mark)':16}{cells}   0.3-0.5; t3 90")

    print(f"\nfound, % of {runs} runs with the fault planted; delay in steps")
    print(f"  {'fault':28}{'alarm':>16}{'found':>8}{'notes':>7}{'delay':>8}   other alarms")
    for index, fault in enumerate(FAULTS):
        found_steps = pool.map(faulty_run, [(index, seed) for seed in range(runs)], chunksize=5)
        hits = [f[fault.kind] for f in found_steps if f.get(fault.kind, -1) >= fault.start]
        other = Counter(k for f in found_steps for k in f if k != fault.kind)
        delay = f"{statistics.median(hits) - fault.start:.0f}" if hits else "-"
        others = ", ".join(f"{k} {100 * n / runs:.1f}" for k, n in other.items()) or "none"
        print(
            f"  {fault.name:28}{fault.kind:>16}{100 * len(hits) / runs:8.1f}"
            f"{fault.expected:>7}{delay:>8}   {others}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="runs,worlds", help="runs, worlds or logs, with commas")
    parser.add_argument("--long", action="store_true", help="the worlds of 50,000 steps too")
    parser.add_argument("--logs", type=Path, help="a folder of real logs")
    options = parser.parse_args()
    parts, broken = options.only.split(","), []
    with multiprocessing.Pool(options.processes) as pool:
        if "runs" in parts:
            print_runs(pool, options.runs)
        if "worlds" in parts:
            broken = print_worlds(pool, options.runs, long=options.long)
    if options.logs is not None:
        print_logs(options.logs)
    sys.exit(f"limits broken: {', '.join(broken)}" if broken else 0)


if __name__ == "__main__":
    main()
