"""`make aa`: what does the product claim of runs in which there is nothing to claim?

Two sets of starter runs, a seed each, kept in a folder and used again by a later call. In one
the learning rate is zero: nothing changes, so no cell, headline or validation may be called
clear. In the other the recipe trains: runs differ in their seed alone, so recipes made of them
at random must not be called different more often than the test says, and a comparison of single
runs says that it is none of recipes. The unit is a run: comparisons of one run share its luck.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sftui.compare import compare_text, pairing, recipes
from sftui.compare.recipes import Recipe
from sftui.sources import snapshot
from sftui.sources.snapshot import Snapshot
from sftui.statistics.accuracy import wilson
from sftui.statistics.families import START
from sftui.statistics.paired_tests import CLEAR
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import LossBoard

ALLOWED = 0.05
"""Share of false claims that the project allows itself."""
SPLITS = 200
"""Random splits of the seeds; they share runs, so their rate is rougher than their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What is called clear of one run."""

    headline: bool
    cell: bool
    validation: bool


def claims(shot: Snapshot) -> Claims:
    """As the screen, `show` and the report say it."""
    folder = shot.run.path if shot.run is not None else None
    scores = Scoreboard(folder).scores(shot.state)
    heads = (scores.of(task, max(found), START) for task, found in shot.state.evals.items())
    changes = LossBoard(folder).changes(shot.state.validation_list())
    return Claims(
        headline=any(judged is not None and judged.verdict == CLEAR for judged in heads),
        cell=any(judged.verdict == CLEAR for judged in scores.cells.values()),
        validation=any(change.clear for change in changes.values()),
    )


def rate(found: Sequence[bool]) -> str:
    """`1 of 20 runs, 5.0 % [0.9, 23.6]`."""
    low, high = wilson(sum(found), len(found))
    share = 100 * sum(found) / max(1, len(found))
    return f"{sum(found)} of {len(found)} runs, {share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def false_splits(runs: Sequence[Snapshot], splits: int = SPLITS, seed: int = 0) -> float:
    """Share of random splits of one recipe's runs in which any difference is called clear."""
    rng, wrong = np.random.default_rng(seed), 0
    half = len(runs) // 2
    for _ in range(splits):
        order = rng.permutation(len(runs)).tolist()
        sides = [
            Recipe(letter=letter, runs=tuple(runs[i] for i in chosen))
            for letter, chosen in (("A", order[:half]), ("B", order[half : 2 * half]))
        ]
        wrong += any(result.verdict == CLEAR for result in recipes.results(sides))
    return wrong / splits


def singles(runs: Sequence[Snapshot]) -> tuple[int, int, int]:
    """(pairs, pairs with a clear difference of checkpoints, pairs that do not say that this is
    none of recipes)."""
    pairs = clear = silent = 0
    for a, b in itertools.combinations(runs, 2):
        found = pairing.of(a, b)
        pairs += 1
        clear += any(t.judged is not None and t.judged.verdict == CLEAR for t in found.tasks)
        text = " ".join(compare_text.as_text([found], 100, 20).split())
        silent += "A verdict is of these checkpoints, not of recipes" not in text
    return pairs, clear, silent


def train(name: str, seed: int, root: Path, flags: Sequence[str]) -> None:
    """A starter run of this seed, unless a finished one lies in `root`."""
    kept = root.glob(f"*-{name}-{seed}")
    if any(snapshot.read(str(path)).status == "finished" for path in kept):
        return
    words = ["run", "--recipe", "starter", "--headless", f"--seed={seed}", f"--run={name}-{seed}"]
    done = subprocess.run(
        [sys.executable, "-m", "sftui", *words, f"--runs-dir={root}", *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"seed {seed} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def finished(root: Path, name: str) -> list[Snapshot]:
    """The runs of a folder that came to their end, one a seed."""
    found = (snapshot.read(str(path)) for path in sorted(root.glob(f"*-{name}-*")))
    return [shot for shot in found if shot.status == "finished"]


def at_rest(runs: Sequence[Snapshot]) -> tuple[list[str], bool]:
    """What a person should know of runs that learnt nothing; whether it is within the limit."""
    found = [claims(shot) for shot in runs]
    told = {
        "headline": [each.headline for each in found],
        "a cell": [each.cell for each in found],
        "validation": [each.validation for each in found],
    }
    lines = [f"{len(runs)} runs at a learning rate of zero, called clear:"]
    lines += [f"  {words + ':':12}{rate(flags)}" for words, flags in told.items()]
    return lines, all(sum(flags) <= ALLOWED * len(flags) for flags in told.values())


def of_one_recipe(runs: Sequence[Snapshot]) -> tuple[list[str], bool]:
    """The same of seeds of one recipe."""
    pairs, clear, silent = singles(runs)
    lines = [
        f"{len(runs)} seeds of one recipe",
        f"  single runs: {clear} of {pairs} pairs of checkpoints clearly differ; "
        f"{silent} of them do not say that this is none of recipes",
    ]
    share = 0.0
    if len(runs) >= 4:
        share = false_splits(runs)
        lines.append(f"  recipes of random halves: clear in {100 * share:.1f} % of {SPLITS}")
    return lines, silent == 0 and share <= ALLOWED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("runs/aa"))
    parser.add_argument("--at-once", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("flags", nargs="*", help="more flags of `sftui run`, after --")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    sets = {"still": [*asked.flags, "--init-lr-frac=0"], "seed": asked.flags}
    wanted = [(name, seed) for name in sets for seed in range(1, asked.runs + 1)]
    with ThreadPoolExecutor(asked.at_once) as pool:
        made = pool.map(lambda w: train(w[0], w[1], asked.folder, sets[w[0]]), wanted)
        for number, _ in enumerate(made, start=1):
            print(f"run {number} of {len(wanted)} is there", file=sys.stderr)
    good = True
    for name, say in (("still", at_rest), ("seed", of_one_recipe)):
        lines, within = say(finished(asked.folder, name))
        good &= within
        print("\n".join([*lines, "  within the limits" if within else "  BEYOND THE LIMITS"]))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
