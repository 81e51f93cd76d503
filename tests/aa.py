"""`make aa`: what does the product claim of runs in which there is nothing to claim?

Two sets of short starter runs, a seed each, kept in a folder and used again by a later call. In
one the learning rate is zero: nothing changes, so no cell, headline or validation may be called
clear, and all seeds must give the same answers to the same questions. In the other the recipe
trains: runs differ in their seed alone, so recipes made of them at random must not be called
different more often than the test says, and a comparison of single runs says that it is none of
recipes. The unit is a run: comparisons of one run share its luck.

What is found goes to `tests/benchmarks/aa.json`, when both sets are whole.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sftui.compare import compare_text, pairing, recipes
from sftui.compare.recipes import Recipe
from sftui.compare.seed_spread import last_accuracy, seed_lines, seed_spread
from sftui.sources import snapshot
from sftui.sources.snapshot import Snapshot
from sftui.statistics.accuracy import wilson
from sftui.statistics.families import START
from sftui.statistics.paired_tests import CLEAR
from sftui.statistics.scores import Scoreboard
from sftui.statistics.validation_scores import LossBoard

RECIPE = (
    "--recipe=starter",
    "--num-iterations=31",
    "--eval-every=10",
    "--eval-metrics-every=10",
    "--eval-metrics-max-problems=128",
    "--sample-every=0",
    "--checkpoint-every=0",
)
"""The shortest starter run in which one skill is clearly learnt and four evaluations are made,
from which on the scatter of checkpoints is known."""
SETS = {"still": ("--init-lr-frac=0", "--target-examples-per-step=4"), "seed": ()}
"""More flags of each set; at a rate of zero the rows of a step change nothing but its time."""
RESULT = Path(__file__).parent / "benchmarks" / "aa.json"
SCHEMA = 1

ALLOWED = 0.05
"""Share of false claims that the project allows itself."""
SPLITS = 1000
"""Random splits of the seeds; they share runs, so their rate is rougher than their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What is called clear of one run."""

    headline: bool
    cell: bool
    probability: bool
    """Of the right letter."""
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
        probability=any(judged.verdict == CLEAR for judged in scores.gold.values()),
        validation=any(change.clear for change in changes.values()),
    )


def rate(found: Sequence[bool]) -> str:
    """`1 of 20 runs, 5.0 % [0.9, 23.6]`."""
    low, high = wilson(sum(found), len(found))
    share = 100 * sum(found) / max(1, len(found))
    return f"{sum(found)} of {len(found)} runs, {share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def false_splits(runs: Sequence[Snapshot], half: int, splits: int = SPLITS, seed: int = 0) -> float:
    """Share of random choices of `half` runs against as many others of the same recipe in which
    any difference is called clear."""
    rng, wrong = np.random.default_rng(seed), 0
    measured = recipes.ends(Recipe(letter="A", runs=tuple(runs)))
    for _ in range(splits):
        order = rng.permutation(len(runs)).tolist()
        sides = [
            (letter, {what: [found[i] for i in chosen] for what, found in measured.items()})
            for letter, chosen in (("A", order[:half]), ("B", order[half : 2 * half]))
        ]
        wrong += any(result.verdict == CLEAR for result in recipes.judged(sides))
    return wrong / splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """What `compare` says of every two runs of a set."""

    pairs: int
    paired: int
    """Answers item by item and validation row by row: they were asked the same."""
    clear: int
    """Two checkpoints of which a task, its probability or the validation is called clear."""
    silent: int
    """Pairs that do not say that this is none of recipes."""


def singles(runs: Sequence[Snapshot]) -> Pairs:
    """Every run with every other, each comparison by itself."""
    pairs = paired = clear = silent = 0
    for a, b in itertools.combinations(runs, 2):
        found = pairing.of(a, b)
        rows = found.validation is not None and found.validation.difference is not None
        pairs += 1
        paired += rows and all(not task.reason for task in found.tasks)
        judged = [j for task in found.tasks for j in (task.judged, task.gold)]
        judged.append(found.validation.judged if found.validation is not None else None)
        clear += any(each is not None and each.verdict == CLEAR for each in judged)
        silent += "A verdict is of these checkpoints, not of recipes" not in seed_lines([a, b])
    for a, b in itertools.pairwise(runs):
        # The whole text draws a chart, so of neighbours alone.
        text = " ".join(compare_text.as_text([pairing.of(a, b)], 100, 20).split())
        silent += seed_lines([a, b]) not in text
    return Pairs(pairs=pairs, paired=paired, clear=clear, silent=silent)


def train(name: str, seed: int, root: Path, flags: Sequence[str]) -> None:
    """A run of this seed."""
    words = ["run", "--headless", *RECIPE, *SETS[name], f"--seed={seed}", f"--run={name}-{seed}"]
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


def missing(root: Path, runs: int) -> list[tuple[str, int]]:
    """Sets and seeds of which there is no finished run yet."""
    there = {
        (name, shot.path.name.rpartition("-")[2]) for name in SETS for shot in finished(root, name)
    }
    return [(n, seed) for n in SETS for seed in range(1, runs + 1) if (n, str(seed)) not in there]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One set: what a person should know, whether it is within the limits, and the figures."""

    lines: list[str]
    within: bool
    figures: dict[str, Any]


def at_rest(runs: Sequence[Snapshot]) -> Outcome:
    """Of runs that learnt nothing."""
    found = [claims(shot) for shot in runs]
    told = {
        "headline": [each.headline for each in found],
        "a cell": [each.cell for each in found],
        "probability": [each.probability for each in found],
        "validation": [each.validation for each in found],
    }
    two = singles(runs)
    lines = [f"{len(runs)} runs at a learning rate of zero, called clear:"]
    lines += [f"  {words + ':':13}{rate(flags)}" for words, flags in told.items()]
    lines.append(_pair_line(two))
    within = all(sum(flags) <= ALLOWED * len(flags) for flags in told.values())
    within &= two.clear <= ALLOWED * two.pairs and two.paired == two.pairs and not two.silent
    counts = {words: sum(flags) for words, flags in told.items()}
    intervals = {words: wilson(sum(flags), len(flags)) for words, flags in told.items()}
    figures = {"runs": len(runs), "clear": counts, "interval": intervals, "compare": asdict(two)}
    return Outcome(lines=lines, within=within, figures=figures)


def of_one_recipe(runs: Sequence[Snapshot]) -> Outcome:
    """Of seeds of one recipe."""
    two = singles(runs)
    lines = [f"{len(runs)} seeds of one recipe", _pair_line(two)]
    splits: dict[str, float] = {}
    for half in sorted({min(3, len(runs) // 2), len(runs) // 2} - {0, 1}):
        share = splits[str(half)] = false_splits(runs, half)
        lines.append(
            f"  recipes of {half} against {half}: clear in {100 * share:.1f} % of {SPLITS} splits"
        )
    spread = {
        task: {"points": 100 * deviation, "mean": float(np.mean(_last(runs, task)))}
        for task, (deviation, _) in seed_spread(runs).items()
    }
    lines += [
        f"  {task}: {100 * each['mean']:.1f} %, seeds scatter by {each['points']:.1f} points"
        for task, each in spread.items()
    ]
    within = two.paired == two.pairs and not two.silent
    within &= all(share <= ALLOWED for share in splits.values())
    figures = {
        "runs": len(runs),
        "compare": asdict(two),
        "splits": SPLITS,
        "clear_by_runs_a_side": splits,
        "seeds": spread,
    }
    return Outcome(lines=lines, within=within, figures=figures)


def _pair_line(two: Pairs) -> str:
    return (
        f"  compare: {two.paired} of {two.pairs} pairs asked the same; {two.clear} pairs of "
        f"checkpoints clearly differ; {two.silent} do not say that this is none of recipes"
    )


def _last(runs: Sequence[Snapshot], task: str) -> list[float]:
    return [end for shot in runs if (end := last_accuracy(shot, task)) is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("runs/aa"))
    parser.add_argument("--at-once", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--at-most", type=int, default=1000, help="runs to train in this call")
    parser.add_argument("flags", nargs="*", help="more flags of `sftui run`, after --")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    wanted = missing(asked.folder, asked.runs)
    now = wanted[: asked.at_most]
    with ThreadPoolExecutor(asked.at_once) as pool:
        made = pool.map(lambda w: train(w[0], w[1], asked.folder, asked.flags), now)
        for number, _ in enumerate(made, start=1):
            print(f"run {number} of {len(now)} is there", file=sys.stderr, flush=True)
    if len(now) < len(wanted):
        print(f"{len(wanted) - len(now)} runs are still to be made: type it again")
        return 0
    found = {
        name: say(finished(asked.folder, name)[: asked.runs])
        for name, say in (("still", at_rest), ("seed", of_one_recipe))
    }
    for each in found.values():
        print(
            "\n".join(
                [*each.lines, "  within the limits" if each.within else "  BEYOND THE LIMITS"]
            )
        )
    if not asked.flags:
        recipe = {name: [*RECIPE, *more] for name, more in SETS.items()}
        figures = {name: each.figures for name, each in found.items()}
        content = {"schema": SCHEMA, "recipe": recipe, **figures}
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(not all(each.within for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
