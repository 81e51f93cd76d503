"""Recipes over seeds: a run is one observation, and two seeds of one recipe are no difference."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.events import EvalFinished
from engine.journal import wire
from engine.run.run_dir import RunDir
from sftui import cli
from sftui.compare import compare_text, comparison, recipes
from sftui.statistics.paired_tests import CLEAR, NOT_JUDGED
from sftui.statistics.seed_tests import judge_recipes, recipe_difference
from tests.processes import events
from tests.sftui.compare.test_comparison import BEFORE, make

numbers = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(numbers, numbers)
def test_recipes_are_compared_by_welchs_test(a: list[float], b: list[float]) -> None:
    """scipy's, with its interval."""
    from scipy.stats import ttest_ind

    found = recipe_difference(
        {("a", i): x for i, x in enumerate(a)}, {("b", i): x for i, x in enumerate(b)}
    )
    if min(np.std(a), np.std(b)) < 1e-9:  # nothing varies: scipy warns
        return
    reference = ttest_ind(b, a, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert not found.paired
    assert found.p == pytest.approx(reference.pvalue, abs=1e-9)
    assert (found.low, found.high) == (
        pytest.approx(interval.low, abs=1e-9),
        pytest.approx(interval.high, abs=1e-9),
    )


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=12))
def test_the_same_seeds_are_paired(pairs: list[tuple[float, float]]) -> None:
    """scipy's paired t test over the seeds."""
    from scipy.stats import ttest_rel

    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    found = recipe_difference(dict(enumerate(a)), dict(enumerate(b)))
    assert found.paired
    if np.std(np.array(b) - np.array(a)) < 1e-6:
        return
    assert found.p == pytest.approx(ttest_rel(b, a).pvalue, abs=1e-7)


def test_one_run_of_each_tells_nothing_of_recipes() -> None:
    """However far they lie apart."""
    found = recipe_difference({1: 0.2}, {1: 0.9})
    assert np.isnan(found.p)
    assert judge_recipes([found]) == ["no evidence"]
    assert found.runs_needed is None


def test_splits_of_one_recipe_are_called_different_in_at_most_one_of_twenty() -> None:
    """Twenty seeds that scatter by 3.4 points, split at random."""
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(400):
        ends = rng.normal(0.87, 0.034, 6)
        found = recipe_difference(dict(enumerate(ends[:3])), dict(enumerate(ends[3:], start=3)))
        wrong += judge_recipes([found]) == [CLEAR]
    assert wrong / 400 < 0.075


@pytest.mark.parametrize(("runs", "questions", "share"), [(2, 16, 0.1), (2, 64, 0.3), (3, 16, 0.1)])
def test_seeds_with_the_same_count_right_are_not_without_error(
    runs: int, questions: int, share: float
) -> None:
    """Few questions give few counts, so two runs often have the same: that is no zero scatter."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(1000):
        ends = rng.binomial(questions, share, 2 * runs) / questions
        a: dict[object, float] = dict(enumerate(ends[:runs]))
        b: dict[object, float] = dict(enumerate(ends[runs:], start=runs))
        wrong += judge_recipes([recipe_difference(a, b, grain=1 / questions)]) == [CLEAR]
    assert wrong / 1000 < 0.065


def test_a_large_difference_of_seeds_with_the_same_count_is_clear() -> None:
    """One question is the least that runs scatter by, no more."""
    found = recipe_difference({1: 0.25, 2: 0.25, 3: 0.25}, {1: 0.5, 2: 0.5, 3: 0.5}, grain=1 / 64)
    assert judge_recipes([found]) == [CLEAR]


def runs(tmp_path: Path, name: str, rights: tuple[int, ...], **settings: object) -> str:
    """Runs of one recipe, a seed each, named with commas."""
    made = [
        make(tmp_path, f"{name}{i}", right=right, losses=BEFORE, seed=i, **settings)
        for i, right in enumerate(rights)
    ]
    return ",".join(str(path) for path in made)


def test_compare_of_words_with_commas_is_one_of_recipes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paired by seed; the verdict, the scatter of seeds, and no screen."""
    a = runs(tmp_path, "a", (10, 20, 15), matrix_lr=0.02)
    b = runs(tmp_path, "b", (60, 71, 64), matrix_lr=0.04)
    assert cli.main(["compare", a, b]) == 0
    printed = capsys.readouterr().out
    assert "MMLU: A " in printed
    assert "paired by seed: clear" in printed
    assert cli.main(["compare", a, b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["results"][0]["kind"] == "paired"
    assert [len(recipe["runs"]) for recipe in found["recipes"]] == [3, 3]
    with pytest.raises(UsageError, match="named twice"):
        recipes.read([a, a])


def test_runs_that_differ_in_more_than_the_seed_are_named(tmp_path: Path) -> None:
    """Such a group is no recipe; it is compared, and said."""
    one = make(tmp_path, "x", right=9, losses=BEFORE, seed=1, matrix_lr=0.02)
    two = make(tmp_path, "y", right=9, losses=BEFORE, seed=2, matrix_lr=0.04)
    other = make(tmp_path, "z", right=9, losses=BEFORE, seed=3, matrix_lr=0.04)
    found = recipes.read([f"{one},{two}", str(other)])
    assert found[0].varied == ["matrix_lr"]
    assert "differ in more than the seed: matrix_lr" in recipes.as_text(found, 100, 30)


def test_a_comparison_of_single_runs_says_that_it_is_none_of_recipes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How much seeds differ comes from runs at hand that differ in nothing else."""
    a, b, c = runs(tmp_path, "a", (10, 20, 15)).split(",")
    other = make(tmp_path, "other", right=60, losses=BEFORE, seed=9, matrix_lr=0.5)
    assert cli.main(["compare", a, str(other)]) == 0
    assert "is not known from these runs" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["compare", a, str(other), b, c]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    spread = np.std([10, 20, 15], ddof=1) * np.sqrt(2) * 100 / 100
    assert "two seeds of one recipe differ by about" in printed
    assert "(3 runs)" in printed
    assert spread > 0


def test_no_accuracy_is_claimed_where_the_answers_are_one_letter(tmp_path: Path) -> None:
    """The accuracy of such a run is that letter's share; what was set differently is named."""
    a = runs(tmp_path, "a", (10, 11, 12), matrix_lr=0.02)
    b = runs(tmp_path, "b", (30, 31, 32), matrix_lr=0.04)
    for name in (a, b):
        for path in name.split(","):
            tell_letters(Path(path), {"B": 36, "A": 4})
    found = recipes.read([a, b])
    by_name = {result.what: result for result in recipes.results(found)}
    assert by_name["MMLU"].verdict == NOT_JUDGED
    said = recipes.as_text(found, 100, 30)
    assert "in 6 of 6 runs most answers are one letter" in said
    assert "matrix_lr: A 0.02, B 0.04" in said


def tell_letters(run: Path, letters: dict[str, int]) -> None:
    """Write into a run's journal which letters its last evaluation answered."""
    journal = RunDir(run).events
    told = [
        replace(event, letters=letters) if isinstance(event, EvalFinished) else event
        for event in events(journal)
    ]
    journal.write_bytes(b"".join(map(wire.encode, told)))


def test_one_letter_in_either_run_holds_the_verdict_back(tmp_path: Path) -> None:
    """Whichever is named first; the letter is not taken for a run."""
    one = make(tmp_path, "one", right=10, losses=BEFORE, seed=1)
    two = make(tmp_path, "two", right=36, losses=BEFORE, seed=2)
    tell_letters(one, {"A": 39, "B": 1})
    for paths, letter in (((one, two), "A"), ((two, one), "B")):
        found = comparison.compare_all([str(path) for path in paths])
        assert found[0].tasks[0].judged is not None
        assert found[0].tasks[0].judged.verdict == NOT_JUDGED
        text = "\n".join(compare_text.result_lines(found[0]))
        assert f"run {letter}: " in text
        assert text.count("of the answers are") == 1
