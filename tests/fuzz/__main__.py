"""Fuzz every reader for so many minutes: `make fuzz`, or a target alone.

    python -m tests.fuzz [--minutes 30] [--seed N] [--only log,events] [--at NUMBER] [--save DIR]

Inputs are real ones (the logs of the reference folder where it is, our own files, lines of other
programs) with one to five things wrong, made from target, seed and number alone: `--only TARGET
--seed N --at NUMBER` tries the same one again and prints its story. A traceback, more than 5 s of
CPU, 20 s of waiting, more than 1 GB, or a byte that acts on a terminal is a finding. The seconds
are those of a core of its own: what shares one, as two fuzzes side by side may, gets as many more.
A finding is mended as its kind, with a test that says which rule was missing. Exit code 1 when
there was one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import screen
from tests.fuzz.runner import Child, Tally
from tests.fuzz.targets import NOT_A_TERMINAL, TARGETS, Tried

ROUND_SECONDS = 4.0
"""Of one target before the next one has its turn."""


def children(names: list[str], seed: int) -> dict[str, Child]:
    module = {NOT_A_TERMINAL: "tests.fuzz.screen"}
    return {name: Child(name, seed, module.get(name, "tests.fuzz.child")) for name in names}


def fuzz(names: list[str], seed: int, seconds: float) -> dict[str, Tally]:
    """Try all targets in turn for so long; what was tried and found of each."""
    began = time.monotonic()
    running = children(names, seed)
    numbers = {name: itertools.count() for name in names}
    try:
        for name in itertools.cycle(names):
            left = seconds - (time.monotonic() - began)
            if left <= 0:
                break
            tally = running[name].tally
            before = set(tally.findings)
            running[name].run(min(ROUND_SECONDS, left), numbers[name])
            for kind in set(tally.findings) - before:
                print(f"{name} --seed {seed} --at {tally.first[kind][0]}: {kind}", flush=True)
    finally:
        for child in running.values():
            child.close()
    return {name: child.tally for name, child in running.items()}


def table(tallies: dict[str, Tally]) -> list[str]:
    """One line a target: inputs, seconds, findings, and CPU seconds of the slowest input."""
    heads = f"{'target':<18}{'inputs':>9}{'seconds':>9}{'findings':>10}{'kinds':>7}"
    lines = [f"{heads}{'slowest':>9}  at"]
    for name, tally in tallies.items():
        found = tally.findings
        lines.append(
            f"{name:<18}{tally.inputs:>9,}{tally.seconds:>9.0f}{found.total():>10,}{len(found):>7}"
            f"{tally.slowest[0]:>9.1f}  {tally.slowest[1]}"
        )
    total = sum(tally.inputs for tally in tallies.values())
    seconds = sum(tally.seconds for tally in tallies.values())
    findings = sum(tally.findings.total() for tally in tallies.values())
    return [*lines, f"{'all':<18}{total:>9,}{seconds:>9.0f}{findings:>10,}"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--only", default="", help="names of targets, with commas")
    parser.add_argument("--at", type=int, help="the number of one input: try it alone, here")
    parser.add_argument("--save", type=Path, help="with --at: write the input into this file")
    flags = parser.parse_args()
    every = [*TARGETS, NOT_A_TERMINAL]
    names = flags.only.split(",") if flags.only else every
    if unknown := set(names) - set(every):
        parser.error(f"no such target: {', '.join(sorted(unknown))}. There are {', '.join(every)}.")
    if flags.at is not None:
        with tempfile.TemporaryDirectory() as folder:
            if names == [NOT_A_TERMINAL]:
                screen.try_number(flags.at, flags.seed, Path(folder))
                return 0
            tried = Tried(names[0], Path(folder), flags.seed)
            if flags.save is not None:
                flags.save.write_bytes(tried.input(flags.at)[1])
            tried.try_number(flags.at)
        return 0
    print(f"seed {flags.seed}, {flags.minutes:g} minutes, {len(names)} targets", flush=True)
    tallies = fuzz(names, flags.seed, flags.minutes * 60)
    print("\n".join(table(tallies)))
    for name, tally in tallies.items():
        for kind, count in tally.findings.most_common():
            number, story = tally.first[kind]
            print(f"\n== {name} --seed {flags.seed} --at {number}, {count} times: {kind}\n{story}")
    return int(any(tally.findings for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
