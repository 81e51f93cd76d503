"""The rule on validations against itself done the slow way."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.alarms.alarm_engine import AlarmEngine
from engine.alarms.rules import ValidationRule
from engine.events import ValidationFinished

losses = st.floats(0.01, 10, allow_subnormal=False) | st.just(1e308)
looks = st.lists(st.tuples(st.integers(0, 12), losses), min_size=1, max_size=30)


@given(looks)
def test_it_knows_what_all_that_count_would_say(
    seen: list[tuple[int, float]],
) -> None:
    """Steps that come again replace, lower ones take back what came after them."""
    rule, kept = ValidationRule(), {}
    for step, loss in seen:
        again = bool(kept) and step == max(kept)
        kept = {s: value for s, value in kept.items() if s < step}
        before = dict(kept)
        kept[step] = loss
        rule.add(step, loss, None)
        values = list(kept.values())
        if len(values) > 2:
            order, squares = (2, 6) if len(values) < 8 else (3, 20)
            with np.errstate(over="ignore"):
                sizes = np.abs(np.diff(values, n=order))
            expected = 1.4826 * statistics.median(sizes.tolist()) / math.sqrt(squares)
            assert rule.wobble == pytest.approx(expected, rel=1e-12, nan_ok=True)
        if before and not again:
            assert rule.best == min(before.values())
            assert rule.best_step == min(before, key=before.__getitem__)


@given(looks, st.integers(0, 12))
def test_a_rewind_leaves_what_was_measured_up_to_there(
    seen: list[tuple[int, float]], step: int
) -> None:
    rising = sorted(dict(seen).items())
    rule, fresh = ValidationRule(), ValidationRule()
    for at, loss in rising:
        rule.add(at, loss, None)
    rule.rewind(step)
    for at, loss in rising:
        if at <= step:
            fresh.add(at, loss, None)
    for both in (rule, fresh):
        both.add(100, 5.0, None)
    assert (rule.best, rule.best_step) == (fresh.best, fresh.best_step)
    if len([at for at, _ in rising if at <= step]) >= 2:
        assert rule.wobble == pytest.approx(fresh.wobble, nan_ok=True)


def first_alarm(rule: ValidationRule, values: NDArray[np.float64]) -> int | None:
    """Index of the validation at which it says over-fitting."""
    for i, loss in enumerate(values):
        rule.add(50 * i, float(loss), None)
        if rule.overfitting is not None:
            return i
    return None


def test_a_curve_that_bends_does_not_hide_its_rise() -> None:
    """A fall from 5 to 1 in the first third is no scatter; the 8 % it rises after are told."""
    at, rng = np.linspace(0, 1, 12), np.random.default_rng(3)
    mean = 1 + 4 * np.exp(-12 * at) + 0.08 * np.clip((at - 0.5) / 0.5, 0, 1)
    found = [
        first_alarm(ValidationRule(), mean + rng.normal(0, 0.002, 12)) is not None
        for _ in range(100)
    ]
    assert np.mean(found) > 0.6


@pytest.mark.parametrize(("validations", "limit"), [(12, 0.08), (41, 0.14)])
def test_validations_that_only_scatter_are_seldom_called_over_fitting(
    validations: int, limit: float
) -> None:
    """Scatter of 1.2 % of the level, as of the smallest validation sets: the best is picked."""
    rng = np.random.default_rng(4)
    found = [
        first_alarm(ValidationRule(), rng.normal(1.24, 0.015, validations)) is not None
        for _ in range(300)
    ]
    assert np.mean(found) < limit


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_one_set_of_rows_that_is_well_does_not_end_the_alarm_of_another(order: list[bool]) -> None:
    """Sets that are measured in turn: the alarm is raised once and stays."""
    engine, heard = AlarmEngine(), []
    for i, good_first in enumerate([*order, True]):
        for name in ("good", "bad") if good_first else ("bad", "good"):
            loss = 1.0 + (0.1 * i if name == "bad" else 0.0)
            heard += engine.observe(ValidationFinished(step=i, loss=loss, set_name=name))
    kinds = [type(alarm).__name__ for alarm in heard]
    assert "AlarmCleared" not in kinds
    if len(order) >= 6:
        assert "AlarmRaised" in kinds
