"""Loss curves: paired differences, wobble and trend against worked examples and scipy.stats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftui.state.records import Validation
from sftui.statistics.block_trend import block_trend, mean_error
from sftui.statistics.loss_statistics import (
    LossDifference,
    compare_losses,
    fit_trend,
    trend,
    weighted_mean,
)
from sftui.statistics.monotone import monotone_rest
from sftui.statistics.run_scatter import row_share
from sftui.statistics.scatter import scatter
from sftui.statistics.validation_scores import LossBoard, LossChange, p_of_order


def near(value: float, digits: int = 6) -> object:
    return pytest.approx(value, abs=0.51 * 10**-digits)


BASE = [1.10, 1.30, 1.20, 1.40, 1.00, 1.25, 1.15, 1.35]
CHANGE = [0.02, 0.03, 0.01, 0.04, 0.02, 0.0, 0.03, 0.01]
NOW = [b + c for b, c in zip(BASE, CHANGE, strict=True)]

floats = st.floats(-5, 5).map(lambda x: round(x, 3))


def test_paired_validation_of_the_worked_example() -> None:
    """Eight rows that each rise a little are a clear rise: each is compared with itself."""
    found = compare_losses(NOW, BASE)
    assert isinstance(found, LossDifference)
    assert (found.mean, found.error) == (near(0.02), near(0.004629))
    assert found.z == near(4.3205, 4)
    assert 100 * found.relative == near(1.6410, 4)
    assert found.rows == 8
    assert found.low < found.mean < found.high


@given(st.lists(st.tuples(floats, floats), min_size=3, max_size=40))
def test_paired_validation_is_scipys_paired_t_test(rows: list[tuple[float, float]]) -> None:
    """Any two row tables give the interval of scipy's paired t test."""
    from scipy.stats import ttest_rel

    now, before = [a for a, _ in rows], [b for _, b in rows]
    found = compare_losses(now, before)
    assert isinstance(found, LossDifference)
    if found.error < 1e-9:  # nothing varies: scipy has no interval
        return
    reference = ttest_rel(now, before)
    interval = reference.confidence_interval(0.95)
    assert found.z == pytest.approx(reference.statistic, rel=1e-6)
    assert (found.low, found.high) == (
        pytest.approx(interval.low, abs=1e-9),
        pytest.approx(interval.high, abs=1e-9),
    )


def test_other_rows_are_refused_with_the_reason() -> None:
    """Different rows are never compared as if they were the same."""
    assert "8 and 7 rows" in str(compare_losses(NOW, BASE[:7]))
    ids = [str(i) for i in range(8)]
    assert "not the same ones" in str(compare_losses(NOW, BASE, ids_now=ids, ids_before=ids[::-1]))
    assert "at least 2" in str(compare_losses([1.0], [1.0]))


def test_rows_without_supervised_tokens_do_not_spoil_the_mean() -> None:
    """A row whose loss is NaN is left out of both sides."""
    found = compare_losses([*NOW, math.nan], [*BASE, 1.0])
    assert isinstance(found, LossDifference)
    assert (found.rows, found.mean) == (8, near(0.02))


def test_rise_of_the_reference_run() -> None:
    """The reference run's validation rose by 1.56 %, its perplexity from 3.47 to 3.54."""
    found = compare_losses([1.263363] * 400, [1.243950] * 400)
    assert isinstance(found, LossDifference)
    assert (found.mean, 100 * found.relative) == (near(0.019413), near(1.5606, 4))
    assert (math.exp(1.243950), math.exp(1.263363)) == (near(3.469290), near(3.537297))


@given(st.lists(st.tuples(floats, st.floats(0.01, 5)), min_size=3, max_size=30))
def test_a_weighted_mean_has_the_error_of_a_ratio(rows: list[tuple[float, float]]) -> None:
    """statsmodels' regression on a constant with robust errors (HC1); equal weights: sd/sqrt(n)."""
    import statsmodels.api as sm

    values, weights = np.array([v for v, _ in rows]), np.array([w for _, w in rows])
    fit = sm.WLS(values, np.ones(len(values)), weights=weights).fit(cov_type="HC1")
    mean, error = weighted_mean(values, weights)
    assert mean == pytest.approx(float(fit.params[0]), abs=1e-9)
    assert error == pytest.approx(float(fit.bse[0]), abs=1e-9)
    plain = weighted_mean(values, np.ones(len(values)))[1]
    assert plain == pytest.approx(values.std(ddof=1) / math.sqrt(len(values)), abs=1e-12)


def test_the_error_and_the_change_are_of_one_number() -> None:
    """With each row's part in the printed loss, the mean is the printed losses' difference."""
    rng = np.random.default_rng(0)
    before, change, parts = rng.normal(1.3, 0.3, 60), rng.normal(0, 0.02, 60), rng.random(60)
    parts /= parts.sum()
    found = compare_losses(before + change, before, weights=parts)
    assert isinstance(found, LossDifference)
    assert found.mean == pytest.approx(parts @ (before + change) - parts @ before, abs=1e-12)
    assert found.relative == pytest.approx(found.mean / (parts @ before))


def test_trend_of_the_worked_example() -> None:
    """A falling curve has the slope, error and p of the regression."""
    found = trend(range(6), [1.30, 1.28, 1.27, 1.27, 1.25, 1.24])
    assert found is not None
    assert (found.slope, found.error, found.p) == (near(-0.011143), near(0.001256), near(0.000892))


@given(st.lists(floats, min_size=4, max_size=60))
def test_trend_is_scipys_regression(values: list[float]) -> None:
    """Any curve gives scipy's slope, error and p."""
    from scipy.stats import linregress

    steps = [10 * i for i in range(len(values))]
    found, reference = fit_trend(steps, values), linregress(steps, values)
    assert found is not None
    assert found.slope == pytest.approx(reference.slope, abs=1e-9)
    if reference.stderr > 1e-6:  # a constant has none in scipy
        assert found.error == pytest.approx(reference.stderr, rel=1e-6)
        assert found.p == pytest.approx(reference.pvalue, rel=1e-6, abs=1e-12)


def test_no_trend_is_shown_where_the_interval_contains_zero() -> None:
    """Noise is not a trend, and two points are not a curve."""
    noise = np.random.default_rng(0).normal(1.2, 0.05, 40)
    assert fit_trend(range(40), noise) is not None
    assert trend(range(40), noise) is None
    assert trend([1, 2], [1.0, 0.5]) is None
    assert trend([3, 3, 3], [1.0, 0.9, 0.5]) is None
    assert trend(range(5), [1.0] * 5) is None


def test_about_one_flat_curve_in_twenty_shows_a_trend() -> None:
    """The interval is a 95 % one: over flat noise a trend appears in about 5 % of cases."""
    rng = np.random.default_rng(7)
    shown = sum(trend(range(30), rng.normal(1.2, 0.05, 30)) is not None for _ in range(1000))
    assert 25 <= shown <= 80


@given(st.lists(st.sampled_from([1.0, 1.5, 2.0, 2.5]), min_size=2, max_size=6))
def test_the_order_of_values_counts_equal_ones_as_one_place(values: list[float]) -> None:
    """Against every order that the values can be drawn in."""
    orders = list(itertools.permutations(values))

    def monotone(order: Sequence[float]) -> bool:
        return list(order) in (sorted(order), sorted(order, reverse=True))

    found = p_of_order(values)
    if not monotone(values) or len(set(values)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(sum(map(monotone, orders)) / len(orders))


def validated(losses: Sequence[float]) -> LossChange:
    """The newest against the first, of a log without row files."""
    validations = [
        Validation(step=i, loss=loss, metric="loss", seconds=None, t=None)
        for i, loss in enumerate(losses)
    ]
    return LossBoard().changes(validations)[len(losses) - 1, "start"]


def test_a_loss_of_few_digits_that_moved_once_is_no_trend() -> None:
    """Five losses lie in order in 2 of 120 draws; four equal ones and another in 2 of 5."""
    assert validated([0.43, 0.42, 0.41, 0.40, 0.39]).clear
    assert not validated([0.43, 0.43, 0.43, 0.43, 0.42]).clear


def test_a_loss_that_mostly_stands_still_is_no_trend() -> None:
    """More than half of its third differences are 0, and it neither only falls nor only rises."""
    flat = [0.43] * 12
    flat[3] = 0.44
    assert not validated([*flat, 0.42]).clear


ANY_SIZE = st.lists(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1.7e308, -1.7e308, 1e300, -1e300, 1e160, 5e-324, 0.0, 1.0]),
    min_size=5,
    max_size=12,
)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@given(ANY_SIZE, ANY_SIZE, st.booleans())
@example([1e300, -1e300] * 5, [1.0] * 10, True)
def test_numbers_of_any_size_have_finite_statistics(
    one: list[float], other: list[float], robust: bool
) -> None:
    """A square of 1e300 ended the report; what overflowed was told on stderr."""
    length = min(len(one), len(other))
    one, other = one[:length], other[:length]
    found = scatter(one, robust=robust, jumps_from=0.0)
    assert found is not None
    assert math.isfinite(found.total)
    assert math.isfinite(found.beyond)
    assert math.isfinite(monotone_rest(one)[0])
    difference = compare_losses(one, other)
    assert not isinstance(difference, str)
    assert math.isfinite(difference.low)
    assert math.isfinite(difference.high)
    for line in (fit_trend(one, other), block_trend(np.arange(20.0 * length), one * 20)):
        assert line is None or all(map(math.isfinite, (line.slope, line.low, line.high, line.p)))
    error = mean_error(one * 20)
    assert error is None or math.isfinite(error)
    assert np.isfinite(row_share(np.array([one, other] * 3))).all()
