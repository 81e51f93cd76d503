"""The power table: how often the headline says a gain that is there, and one that is not.

    .venv/bin/python -m tests.benchmarks.power [--runs 2000]

Two tasks, 1,024 questions, 20 evaluations (the worlds of `tests/honesty_sim.py`); beside the
product's headline the plain paired test, Holm over the tasks. 2,000 runs a line take half a
minute on an idle core.
"""

from __future__ import annotations

import argparse
import sys

from tests import honesty_sim


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    print(f"{runs} runs a line; % of runs")
    print(f"{'world':28}{'headline':>10}{'plain test':>12}{'limit':>8}")
    good = True
    for rho, gain, least in (
        (0.5, 0.02, None),
        (0.5, 0.04, 75),
        (0.5, 0.08, None),
        (0.8, 0.02, None),
        (0.8, 0.04, 90),
        (0.8, 0.08, None),
    ):
        found = honesty_sim.rates(runs, rho=rho, gain=gain)
        good &= least is None or found["up"] >= least
        limit = f">= {least}" if least is not None else ""
        world = f"+{100 * gain:.0f} points, rho {rho}"
        print(f"{world:28}{found['up']:10.1f}{found['plain']:12.1f}{limit:>8}", flush=True)
    print(f"{'nothing changed':28}{'headline':>10}{'colour':>12}{'limits':>10}")
    for name, wobble, limits in (("no wobble", 0.0, (8, 5)), ("wobble of 1 point", 0.01, (10, 10))):
        found = honesty_sim.rates(runs, wobble=wobble)
        good &= found["headline"] <= limits[0] and found["colour"] <= limits[1]
        limit = f"<= {limits[0]}, {limits[1]}"
        print(f"{name:28}{found['headline']:10.1f}{found['colour']:12.1f}{limit:>10}", flush=True)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
