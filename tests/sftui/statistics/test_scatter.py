"""How much a run's checkpoints scatter: known worlds give back what was put into them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import t as student

from sftui.statistics.monotone import monotone_rest
from sftui.statistics.paired_tests import Evaluation
from sftui.statistics.run_scatter import accuracy_curve
from sftui.statistics.scatter import Scatter, p_beyond, scatter

values = st.lists(st.floats(-3, 3).map(lambda x: round(x, 3)), min_size=1, max_size=30)


@pytest.mark.parametrize("robust", [False, True])
def test_scatter_is_the_standard_deviation_of_what_is_added(robust: bool) -> None:
    """Over many evaluations, whatever the bend they lie on."""
    steps = np.arange(4000) / 4000
    noise = np.random.default_rng(1).normal(0, 0.013, 4000)
    for bend in (0 * steps, 3 * steps, 5 * steps**2):
        found = scatter(bend + noise, robust=robust)
        assert found is not None
        assert found.deviation == pytest.approx(0.013, rel=0.05)


def test_a_bend_without_scatter_has_none() -> None:
    """Second differences of a bend are the bend; third ones are nearly nothing."""
    bend = 1.2 + 0.5 * np.exp(-np.arange(12) / 6)
    found = scatter(bend, robust=True)
    assert found is not None
    second = 1.4826 * np.median(np.abs(np.diff(bend, n=2))) / np.sqrt(6)
    assert found.deviation < second / 10
    assert scatter(bend[:3]) is None


@given(values)
def test_what_a_monotone_curve_leaves_is_scipys(drawn: list[float]) -> None:
    """The better of rising and falling, by least squares."""
    found = np.array(drawn)
    rest = min(
        float(((found - isotonic_regression(found, increasing=up).x) ** 2).sum())
        for up in (True, False)
    )
    assert monotone_rest(found)[0] == pytest.approx(rest, abs=1e-9)


def test_p_beyond_the_scatter_is_students() -> None:
    """With the scatter alone, t at its degrees of freedom; with none, no obstacle."""
    own = Scatter(beyond=0.01**2, total=0.01**2, freedom=7.0)
    expected = 2 * student.sf(0.04 / np.sqrt(2) / 0.01, 7.0)
    assert p_beyond(0.04, 0.0, own) == pytest.approx(expected)
    assert p_beyond(0.04, 0.01, own) > expected
    assert p_beyond(0.04, 0.01, Scatter(beyond=0.0, total=1.0, freedom=1.0)) == 0.0
    assert p_beyond(0.04, 0.01, None) == 0.0


def evaluations(right: NDArray[np.bool_]) -> list[Evaluation]:
    return [Evaluation(correct=int(r.sum()), total=len(r), item_set="x", right=r) for r in right]


def test_the_questions_own_noise_is_no_scatter_of_checkpoints() -> None:
    """Answers that flip at random are explained by the questions; a moved level is not."""
    rng = np.random.default_rng(2)
    easy = rng.normal(size=1024)
    found = {}
    for name, moved in (("still", 0.0), ("moving", 0.03)):
        levels = rng.normal(0, 3 * moved, 40)
        flags = np.array([easy + rng.normal(size=1024) > 0.6 + level for level in levels])
        own = accuracy_curve(evaluations(flags)).scatter()
        assert own is not None
        found[name] = own.deviation
    assert found["still"] < 0.005
    assert 0.015 < found["moving"] < 0.05


def test_a_task_that_is_learnt_in_one_jump_does_not_hide_that_it_was() -> None:
    """25 to 90 % within two of six evaluations is a jump, not a scatter of 10 points."""
    levels = (0.25, 0.25, 0.60, 0.85, 0.90, 0.92)
    rng = np.random.default_rng(3)
    flags = np.array([rng.random(256) < level for level in levels])
    own = accuracy_curve(evaluations(flags)).scatter()
    assert own is not None
    assert p_beyond(0.67, 0.03, own) < 0.001


def test_a_run_that_jumps_up_and_down_is_not_taken_for_one_that_learns() -> None:
    """What is left of the closest monotone curve is as large as the jumps."""
    counts = (250, 420, 230, 440, 240, 400)
    known = [Evaluation(correct=k, total=1000) for k in counts]
    own = accuracy_curve(known).scatter()
    assert own is not None
    assert own.deviation > 0.05
    assert p_beyond(0.15, 0.02, own) > 0.1
