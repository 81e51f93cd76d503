"""`sftui compare A1,A2,A3 B1,B2,B3`: recipes compared over seeds, a run being one observation.

A word with commas names the runs of one recipe. Each run gives its last accuracy a task, its
last probability of the right letter and its last validation loss; the recipes are compared
with the first one, and everything that is compared is one family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import UsageError
from sftui.compare.differences import told
from sftui.compare.pairing import LETTERS, Side, check_number
from sftui.compare.seed_spread import NOT_OF_A_RECIPE
from sftui.sources import snapshot
from sftui.statistics.paired_tests import accuracy_of
from sftui.statistics.scores import GOLD, Scoreboard
from sftui.statistics.seed_tests import RecipeDifference, judge_recipes, recipe_difference
from sftui.text import format as fmt
from sftui.text.clean import clean

SCHEMA = 1
VALIDATION = "validation loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The runs of one recipe."""

    letter: str
    runs: tuple[Side, ...]

    @property
    def varied(self) -> list[str]:
        """Settings besides the seed in which its runs differ: then it is no one recipe."""
        settings = [told(run.state) for run in self.runs]
        names = {name for each in settings for name in each} - NOT_OF_A_RECIPE
        return sorted(n for n in names if len({repr(each.get(n)) for each in settings}) > 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One number of all runs of two recipes."""

    what: str
    letters: tuple[str, str]
    found: RecipeDifference
    verdict: str
    points: bool
    """In percentage points; else in nats."""


def is_group(target: str) -> bool:
    """Whether a word names several runs; a file whose name has a comma is one."""
    return "," in target and not Path(target).expanduser().exists()


def read(targets: Sequence[str], runs_dir: str | Path | None = None) -> list[Recipe]:
    """The runs of every recipe.

    Raises:
        UsageError: a name is empty, named twice, or no run and no log.
    """
    check_number(len(targets))
    recipes, seen = [], set()
    for letter, target in zip(LETTERS, targets, strict=False):
        names = target.split(",") if is_group(target) else [target]
        if not all(names):
            raise UsageError(f"{target!r}: an empty name; expected runs with commas between them.")
        runs = [snapshot.read(name, runs_dir) for name in names]
        for name, run in zip(names, runs, strict=True):
            if run.path in seen:
                raise UsageError(f"{name} is named twice; a run is one observation. Leave one out.")
            seen.add(run.path)
        recipes.append(Recipe(letter=letter, runs=tuple(runs)))
    return recipes


def results(recipes: Sequence[Recipe]) -> list[Result]:
    """Every number that the first recipe and another have, judged as one family."""
    first, *others = recipes
    boards = {
        id(run): Scoreboard(run.run.path if run.run else None) for r in recipes for run in r.runs
    }
    pairs: list[tuple[str, tuple[str, str], RecipeDifference, bool]] = []
    for other in others:
        letters = (first.letter, other.letter)
        for task in first.runs[0].state.evals:
            for what, points in ((task, True), (f"{task}, {GOLD}", True)):
                ends = [_ends(recipe, task, boards, gold=what != task) for recipe in (first, other)]
                if all(ends):
                    pairs.append((what, letters, recipe_difference(*_by_seed(*ends)), points))
        losses = [_losses(recipe) for recipe in (first, other)]
        if all(losses):
            pairs.append((VALIDATION, letters, recipe_difference(*losses), False))
    words = judge_recipes([found for _, _, found, _ in pairs])
    return [
        Result(what=what, letters=letters, found=found, verdict=word, points=points)
        for (what, letters, found, points), word in zip(pairs, words, strict=True)
    ]


End = tuple[object, str | None, float]
"""Seed, item set, value."""


def _ends(recipe: Recipe, task: str, boards: Mapping[int, Scoreboard], *, gold: bool) -> list[End]:
    """The last evaluation of every run of a recipe."""
    found: list[End] = []
    for run in recipe.runs:
        by_step = run.state.evals.get(task)
        if not by_step:
            continue
        result = by_step[max(by_step)]
        value = accuracy_of(result)
        if gold:
            known = boards[id(run)].evaluation(result).gold
            value = float(np.nanmean(known)) if known is not None else None
        if value is not None:
            found.append((_seed(run), result.item_set, value))
    return found


def _by_seed(a: Sequence[End], b: Sequence[End]) -> tuple[dict[object, float], dict[object, float]]:
    """Numbers by seed where all were asked the same questions; else by a key that pairs nothing."""
    sets = {item_set for _, item_set, _ in [*a, *b]}
    one_exam = len(sets) == 1 and None not in sets
    return tuple(  # type: ignore[return-value]
        {
            (seed if one_exam and seed is not None else (side, i)): value
            for i, (seed, _, value) in enumerate(ends)
        }
        if len({seed for seed, _, _ in ends}) == len(ends)
        else {(side, i): value for i, (_, _, value) in enumerate(ends)}
        for side, ends in enumerate((a, b))
    )


def _losses(recipe: Recipe) -> dict[object, float]:
    """Last validation loss by run; not paired: that the rows are the same is not looked at."""
    found = {}
    for i, run in enumerate(recipe.runs):
        known = [v.loss for v in run.state.validation_list() if math.isfinite(v.loss)]
        if known:
            found[recipe.letter, i] = known[-1]
    return dict(found)


def _seed(run: Side) -> object:
    return told(run.state).get("seed")


def as_text(recipes: Sequence[Recipe], columns: int, lines: int, *, colour: bool = False) -> str:
    """Who they are, what was found, and the curves with the range of their seeds."""
    out = []
    for recipe in recipes:
        names = ", ".join(clean(run.title, 60) for run in recipe.runs)
        count = len(recipe.runs)
        out.append(f"{recipe.letter}  {count} run{'s' if count > 1 else ''}: {names}")
        if recipe.varied:
            listed = clean(", ".join(recipe.varied), 300)
            out.append(f"   its runs differ in more than the seed: {listed}")
    out += ["", *(sentence(result) for result in results(recipes))]
    chart = bands(recipes, columns, max(10, min(22, lines - len(out) - 2)), colour=colour)
    return "\n".join([*out, *(["", chart] if chart else [])])


def sentence(result: Result) -> str:
    """One number: both means, the difference with its interval, verdict and runs needed."""
    found, (a, b) = result.found, result.letters
    scale, unit = (100.0, "points") if result.points else (1.0, "nats")
    digits = 1 if result.points else 4
    means = [float(np.mean(side)) for side in (found.a, found.b)]
    shown = [fmt.percent(m) if result.points else fmt.loss(m) for m in means]
    text = (
        f"{clean(result.what, 60)}: {a} {shown[0]} ({len(found.a)} runs), {b} {shown[1]} "
        f"({len(found.b)} runs); {b} - {a} {scale * found.difference:+.{digits}f} {unit}"
    )
    if math.isnan(found.p):
        return f"{text}; not known: it takes two runs of each recipe to tell seeds from recipes"
    how = "paired by seed" if found.paired else "not paired"
    low, high = scale * found.low, scale * found.high
    text += (
        f", 95% [{low:+.{digits}f}, {high:+.{digits}f}], p {found.p:.2g}, {how}: {result.verdict}"
    )
    text += f"; seeds scatter by {scale * found.spread:.{digits}f} {unit}"
    needed = found.runs_needed
    if needed is not None and needed > min(len(found.a), len(found.b)):
        text += f"; about {needed:,} runs of each would show a difference of this size"
    return text


def to_dict(recipes: Sequence[Recipe]) -> dict[str, Any]:
    """What `compare --json` prints of recipes; unknown is null."""
    return {
        "schema": SCHEMA,
        "recipes": [
            {
                "letter": recipe.letter,
                "runs": [{"path": str(run.path), "seed": _seed(run)} for run in recipe.runs],
                "varied": recipe.varied,
            }
            for recipe in recipes
        ],
        "results": [
            {
                "what": each.what,
                "a": each.letters[0],
                "b": each.letters[1],
                "unit": "fraction" if each.points else "nats",
                "values_a": list(each.found.a),
                "values_b": list(each.found.b),
                "difference": each.found.difference,
                "interval": [_finite(each.found.low), _finite(each.found.high)],
                "p": _finite(each.found.p),
                "kind": "paired" if each.found.paired else "unpaired",
                "seed_deviation": _finite(each.found.spread),
                "runs_needed": each.found.runs_needed,
                "verdict": each.verdict,
            }
            for each in results(recipes)
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


POINTS = 160
"""Of a band's curve."""


def bands(recipes: Sequence[Recipe], columns: int, rows: int, *, colour: bool = False) -> str:
    """Validation losses by step: the mean of a recipe's runs, and the range of its seeds."""
    found = [(recipe.letter, band) for recipe in recipes if (band := _band(recipe)) is not None]
    if not found:
        return ""
    # plotext: 0.25 s of imports that only a printed chart is worth.
    import plotext  # noqa: PLC0415

    figure = plotext.figure
    figure.clear()
    figure.plot_size(max(40, min(columns, POINTS)), rows)
    figure.theme("simple" if colour else "colorless")
    for letter, (steps, table) in found:
        x = steps.tolist()
        for y in (table.min(axis=0), table.max(axis=0)):
            figure.draw(figure.signal(x, y.tolist(), marker="·").lines())
        figure.draw(figure.signal(x, table.mean(axis=0).tolist(), marker=letter.lower()))
    figure.title("validation loss by step, mean and range of the seeds")
    text: str = figure.build().string(colorless=not colour)
    figure.clear()
    return text.rstrip("\n")


def _band(recipe: Recipe) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(steps [K], losses [runs, K]) of the validations that all runs have."""
    curves = [
        {v.step: v.loss for v in run.state.validation_list() if math.isfinite(v.loss)}
        for run in recipe.runs
    ]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    if len(steps) < 2:
        return None
    return np.array(steps, dtype=np.float64), np.array([[c[s] for s in steps] for c in curves])
