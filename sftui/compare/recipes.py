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
from sftui.compare.differences import BY_HAND, by_hand, changes_the_model, told, value_words
from sftui.compare.pairing import LETTERS, Side, check_number, rows_of
from sftui.compare.seed_spread import NOT_OF_A_RECIPE
from sftui.sources import snapshot
from sftui.sources.reading import FOUND_OUT, Reading
from sftui.statistics.paired_tests import NOT_JUDGED
from sftui.statistics.scores import GOLD, Scoreboard
from sftui.statistics.seed_tests import RecipeDifference, judge_recipes, recipe_difference
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.printed_chart import built

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
        settings = [_settings(run) for run in self.runs]
        names = {name for each in settings for name in each}
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
    one_letter: int = 0
    """Runs in which most answers are one letter: then nothing is claimed of the accuracy."""


def is_group(target: str) -> bool:
    """Whether a word names several runs; a file whose name has a comma is one."""
    return "," in target and not Path(target).expanduser().exists()


def read(
    targets: Sequence[str],
    runs_dir: str | Path | None = None,
    reading: Reading = FOUND_OUT,
) -> list[Recipe]:
    """The runs of every recipe. `reading`: how the logs among them are read.

    Raises:
        UsageError: a name is empty, named twice, or no run and no log.
    """
    check_number(len(targets))
    recipes, seen = [], set()
    for letter, target in zip(LETTERS, targets, strict=False):
        names = target.split(",") if is_group(target) else [target]
        if not all(names):
            raise UsageError(f"{target!r}: an empty name; expected runs with commas between them.")
        runs = [snapshot.read(name, runs_dir, reading=reading) for name in names]
        for name, run in zip(names, runs, strict=True):
            if run.path in seen:
                raise UsageError(f"{name} is named twice; a run is one observation. Leave one out.")
            seen.add(run.path)
        recipes.append(Recipe(letter=letter, runs=tuple(runs)))
    return recipes


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The last measurement of one number in one run."""

    seed: object
    exam: object
    """Equal where the same was asked; None where that is not known."""
    value: float
    one_letter: bool = False
    """Nearly all answers are one letter."""
    grain: float = 0.0
    """Smallest step of the value: one question of an accuracy."""


Ends = Mapping[str, Sequence[End]]
"""By what was measured: the end of every run that has it, in the order of the runs."""


def results(recipes: Sequence[Recipe]) -> list[Result]:
    """Every number that the first recipe and another have, judged as one family."""
    return judged([(recipe.letter, ends(recipe)) for recipe in recipes])


def judged(sides: Sequence[tuple[str, Ends]]) -> list[Result]:
    """The same of what was measured of each recipe, under its letter."""
    (first, ours), *others = sides
    pairs: list[tuple[str, tuple[str, str], RecipeDifference, int]] = []
    for letter, theirs in others:
        for what in filter(theirs.__contains__, ours):
            measured = [*ours[what], *theirs[what]]
            grain = max(end.grain for end in measured)
            found = recipe_difference(*_by_seed(ours[what], theirs[what]), grain=grain)
            one_letter = sum(end.one_letter for end in measured)
            pairs.append((what, (first, letter), found, one_letter))
    words = iter(judge_recipes([found for _, _, found, one_letter in pairs if not one_letter]))
    return [
        Result(
            what=what,
            letters=letters,
            found=found,
            verdict=NOT_JUDGED if one_letter else next(words),
            points=what != VALIDATION,
            one_letter=one_letter,
        )
        for what, letters, found, one_letter in pairs
    ]


def ends(recipe: Recipe) -> dict[str, list[End]]:
    """Of every number that a run of the recipe has: the last of each run that has it."""
    found: dict[str, list[End]] = {}
    for run in recipe.runs:
        board, seed = Scoreboard(run.run.path if run.run else None), _seed(run)
        for task, by_step in run.state.evals.items():
            result = by_step[max(by_step)]
            known = board.evaluation(result)
            if known.value is not None:
                end = End(
                    seed=seed,
                    exam=result.item_set,
                    value=known.value,
                    one_letter=known.one_letter is not None,
                    grain=1 / known.total if known.total else 0.0,
                )
                found.setdefault(task, []).append(end)
            if known.gold is not None:
                mean = float(np.nanmean(known.gold))
                found.setdefault(f"{task}, {GOLD}", []).append(
                    End(seed=seed, exam=result.item_set, value=mean)
                )
        losses = [v for v in run.state.validation_list() if math.isfinite(v.loss)]
        if losses:
            rows = rows_of(run, losses[-1])
            exam = rows.digests.tobytes() if rows and rows.digests is not None else None
            found.setdefault(VALIDATION, []).append(
                End(seed=seed, exam=exam, value=losses[-1].loss)
            )
    # The loss comes last, whichever run had it first.
    return {what: found[what] for what in sorted(found, key=lambda name: name == VALIDATION)}


def _by_seed(a: Sequence[End], b: Sequence[End]) -> tuple[dict[object, float], dict[object, float]]:
    """Numbers by seed where all were asked the same; else by a key that pairs nothing."""
    exams = {end.exam for end in [*a, *b]}
    one_exam = len(exams) == 1 and None not in exams
    sides: list[dict[object, float]] = []
    for side, found in enumerate((a, b)):
        seeds = {end.seed for end in found}
        paired = one_exam and len(seeds) == len(found) and None not in seeds
        sides.append(
            {(end.seed if paired else (side, i)): end.value for i, end in enumerate(found)}
        )
    return sides[0], sides[1]


def _seed(run: Side) -> object:
    return told(run.state).get("seed")


def _settings(run: Side) -> dict[str, Any]:
    """What makes a run one of its recipe, what a person did by hand included."""
    found = {name: v for name, v in told(run.state).items() if name not in NOT_OF_A_RECIPE}
    hands = by_hand(run.state)
    return found | ({BY_HAND: hands} if hands else {})


def summary(recipe: Recipe) -> list[str]:
    """What the seeds of one recipe say together, a line a number."""
    lines = []
    for what, found in ends(recipe).items():
        values, points = [end.value for end in found], what != VALIDATION
        scale, unit, digits = (100.0, "points", 1) if points else (1.0, "nats", 4)
        mean = float(np.mean(values))
        text = f"{clean(what, 60)}: {fmt.percent(mean) if points else fmt.loss(mean)}"
        text += f", mean of {len(values)} run{'s' if len(values) > 1 else ''}"
        if len(values) > 1:
            spread = scale * float(np.std(values, ddof=1))
            text += f"; seeds scatter by {spread:.{digits}f} {unit}"
        if letters := sum(end.one_letter for end in found):
            text += f"; {_one_letter_words(letters, len(found))}"
        lines.append(text)
    return lines


def _one_letter_words(letters: int, runs: int) -> str:
    return (
        f"in {letters} of {runs} runs most answers are one letter: their accuracy is that "
        "letter's share, not what the model knows"
    )


def setting_lines(recipes: Sequence[Recipe]) -> list[str]:
    """What was set differently in the recipes, by what all runs of each have in common."""
    common = [
        {
            name: value
            for name, value in _settings(recipe.runs[0]).items()
            if name not in recipe.varied and changes_the_model(name)
        }
        for recipe in recipes
    ]
    lines = []
    for name in sorted({name for each in common for name in each}):
        if all(name in each for each in common) and len({repr(e[name]) for e in common}) > 1:
            values = ", ".join(
                f"{r.letter} {clean(value_words(each[name]), 60)}"
                for r, each in zip(recipes, common, strict=True)
            )
            lines.append(f"  {clean(name, 40)}: {values}")
    if not any(common):
        return ["settings: no run tells any"]
    return ["settings that differ:", *lines] if lines else ["settings: no difference"]


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
    out += ["", *setting_lines(recipes)]
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
    if result.one_letter:
        return f"{text}; {_one_letter_words(result.one_letter, len(found.a) + len(found.b))}"
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
                "one_letter_runs": each.one_letter,
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
    return built(figure, colour=colour)


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
