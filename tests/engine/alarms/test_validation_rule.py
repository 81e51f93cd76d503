"""The rule on validations against itself done the slow way."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.alarms.rules import ValidationRule

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
            bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:])]  # noqa: B905
            expected = 1.4826 * statistics.median(bends) / math.sqrt(6)
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
