"""`make aa`: runs that differ only in their seed must not be called different.

Prints how often the product's own verdict (`--baseline`, over every pair of runs and task)
is a false `clear`, and how often it would be without two of its guards: the family
of all comparisons shown, and the wobble of a run's own evaluations. Finished runs of
an earlier call in the same folder are used again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sftui.compare.baseline import Baseline, load
from sftui.sources import snapshot
from sftui.sources.snapshot import Snapshot
from sftui.statistics.families import BASELINE, START
from sftui.statistics.loss_statistics import wobble
from sftui.statistics.paired_tests import CLEAR, compare_evaluations, judge
from sftui.statistics.scores import Scoreboard

ALLOWED = 0.05
"""Share of false `clear` verdicts that the project allows itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished run, and itself as a baseline for the others."""

    shot: Snapshot
    baseline: Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Over all ordered pairs of runs and all tasks."""

    told: Counter[str]
    """What the product says."""
    without_wobble: Counter[str]
    """The same comparisons judged alone, by the exact paired test only."""
    alone: Counter[str]
    """Judged alone, with the wobble."""

    @property
    def false_clear(self) -> float:
        return share(self.told, CLEAR)


def share(found: Counter[str], word: str) -> float:
    return found[word] / found.total() if found else 0.0


def train(seed: int, root: Path, flags: Sequence[str]) -> None:
    """A starter run of this seed, unless a finished one lies in `root`."""
    if any(snapshot.read(str(path)).status == "finished" for path in root.glob(f"*-seed-{seed}")):
        return
    words = ["run", "--recipe", "starter", "--headless", f"--seed={seed}", f"--run=seed-{seed}"]
    done = subprocess.run(
        [sys.executable, "-m", "sftui", *words, f"--runs-dir={root}", *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"seed {seed} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def finished(root: Path) -> list[Run]:
    """The runs of a folder that came to their end, one a seed."""
    found = []
    for path in sorted(root.glob("*-seed-*")):
        shot = snapshot.read(str(path))
        if shot.status == "finished":
            found.append(Run(shot=shot, baseline=load(str(path))))
    return found


def judge_pairs(runs: Sequence[Run]) -> Verdicts:
    """Every run with every other as its baseline, at its last evaluation."""
    told: Counter[str] = Counter()
    bare: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for run, other in itertools.permutations(runs, 2):
        state = run.shot.state
        board = Scoreboard(run.shot.path, other.baseline)
        scores = board.scores(state)
        for task, evals in state.evals.items():
            last = max(evals)
            judged = scores.of(task, last, BASELINE)
            before = other.baseline.of(task)
            if judged is None or before is None:
                continue
            told[judged.verdict] += 1
            now = board.evaluation(evals[last])
            values = [v for step in sorted(evals) if (v := board.evaluation(evals[step]).value)]
            for counted, own in ((bare, None), (alone, wobble(values))):
                comparison = compare_evaluations(now, before, wobble=own)
                assert comparison is not None
                counted[judge([comparison])[0].verdict] += 1
    return Verdicts(told=told, without_wobble=bare, alone=alone)


def lines(runs: Sequence[Run]) -> list[str]:
    """What a person should know."""
    found = judge_pairs(runs)
    text = [f"{len(runs)} runs, {found.told.total()} comparisons (each pair both ways, each task)"]
    for words, counted in (
        ("as the screen says it", found.told),
        ("judged alone", found.alone),
        ("judged alone, no wobble", found.without_wobble),
    ):
        rates = ", ".join(f"{word} {share(counted, word):.1%}" for word in sorted(counted))
        text.append(f"  {words + ':':26}{rates}")
    for task in runs[0].shot.state.evals:
        ends, wobbles, clear = [], [], 0
        for run in runs:
            evals = run.shot.state.evals[task]
            board = Scoreboard(run.shot.path)
            values = [v for s in sorted(evals) if (v := board.evaluation(evals[s]).value)]
            ends.append(100 * values[-1])
            own = wobble(values)
            wobbles.append(100 * own if own is not None else np.nan)
            judged = board.scores(run.shot.state).of(task, max(evals), START)
            clear += judged is not None and judged.verdict == CLEAR
        total = runs[0].shot.state.evals[task][0].total or 1
        p = np.mean(ends) / 100
        sampling = 100 * np.sqrt(p * (1 - p) / total)
        text.append(
            f"  {task}: ends at {np.mean(ends):.1f} %, between seeds {np.std(ends, ddof=1):.1f} "
            f"points; of {total} questions {sampling:.1f}; a run's wobble "
            f"{np.nanmedian(wobbles):.1f}; clear against its start in {clear} of {len(runs)}"
        )
    word = "at most" if found.false_clear <= ALLOWED else "MORE THAN"
    text.append(f"false clear {found.false_clear:.1%}: {word} {ALLOWED:.0%}")
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("runs/aa"))
    parser.add_argument("--at-once", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("flags", nargs="*", help="more flags of `sftui run`, after --")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(asked.at_once) as pool:
        for seed, _ in enumerate(
            pool.map(lambda s: train(s, asked.folder, asked.flags), range(1, asked.runs + 1)), 1
        ):
            print(f"seed {seed} of {asked.runs} is there", file=sys.stderr)
    runs = finished(asked.folder)
    print("\n".join(lines(runs)))
    return int(judge_pairs(runs).false_clear > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
