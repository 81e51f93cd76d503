"""One accuracy: every number against published tables, scipy.stats and statsmodels."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftui.statistics.accuracy import (
    accuracy,
    items_needed,
    k_candidates,
    mean_spread,
    p_above,
    smallest_detectable,
    standard_error,
    subject_numbers,
    wilson,
)


def near(value: float, digits: int = 6) -> object:
    return pytest.approx(value, abs=0.51 * 10**-digits)


@st.composite
def counts(draw: st.DrawFn, most: int = 3000) -> tuple[int, int]:
    total = draw(st.integers(1, most))
    return draw(st.integers(0, total)), total


@pytest.mark.parametrize(
    ("k", "n", "p", "error", "low", "high", "one_sided"),
    [
        (249, 1024, 0.243164, 0.013406, 0.217880, 0.270368, 0.704357),
        (271, 1024, 0.264648, 0.013786, 0.238545, 0.292512, 0.147792),
        (275, 1024, 0.268555, 0.013850, 0.242311, 0.296529, 0.091650),
        (251, 1024, 0.245117, 0.013442, 0.219755, 0.272384, 0.652405),
        (291, 1024, 0.284180, 0.014094, 0.257402, 0.312571, 0.006932),
        (301, 1024, 0.293945, 0.014236, 0.266854, 0.322577, 0.000788),
    ],
)
def test_the_reference_runs_accuracies(
    k: int,
    n: int,
    p: float,
    error: float,
    low: float,
    high: float,
    one_sided: float,
) -> None:
    """The accuracies of the reference run carry the published interval and p values."""
    found = accuracy(k, n, chance=0.25)
    assert (found.value, found.error) == (near(p), near(error))
    assert (found.low, found.high) == (near(low), near(high))
    assert found.p_chance == near(one_sided)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (659, 2376, 0.259726, 0.295707),
        (3732, 14042, 0.258532, 0.273144),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (5, 10, 0.236593, 0.763407),
        (1, 1024, 0.000172, 0.005511),
    ],
)
def test_wilson_of_whole_test_sets_and_of_extremes(k: int, n: int, low: float, high: float) -> None:
    """The interval is right on whole test sets and at none, all and one of n."""
    assert wilson(k, n) == (near(low), near(high))


def test_standard_errors_at_a_quarter() -> None:
    """More questions shrink the error as the square root."""
    table = {
        100: 0.043301,
        256: 0.027063,
        1024: 0.013532,
        2376: 0.008883,
        14042: 0.003654,
    }
    for total, error in table.items():
        # 14042 and 2376 do not divide by four: the table is for a rate of exactly .25.
        assert math.sqrt(0.25 * 0.75 / total) == near(error)
        assert standard_error(round(total / 4), total) == pytest.approx(error, rel=1e-3)
    assert standard_error(0, 0) == 0.0


@given(counts())
def test_wilson_is_statsmodels(found: tuple[int, int]) -> None:
    """Any count has the interval that statsmodels gives it."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(*found, alpha=0.05, method="wilson")
    assert wilson(*found) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))


def tail(k: int, n: int, chance: float) -> float:
    """Probability of k or more of n, summed term by term with fifty digits."""
    with localcontext(prec=50):
        p = Decimal(chance)
        term = math.comb(n, k) * p**k * (1 - p) ** (n - k)
        total = term
        for i in range(k, n):
            term *= (n - i) * p / ((i + 1) * (1 - p))
            total += term
        return float(total)


@given(counts(), st.floats(0.01, 0.99))
@example((431, 446), 0.1875)
@example((14, 439), 0.8203125)
@example((30, 1151), 0.46875)
def test_the_exact_test_is_exact(found: tuple[int, int], chance: float) -> None:
    """The exact test agrees with sums of fifty digits on any count and chance."""
    k, n = found
    assert p_above(k, n, chance) == pytest.approx(tail(k, n, chance), rel=1e-9, abs=1e-300)


@given(counts(), st.floats(0.01, 0.99))
@example((431, 446), 0.1875)
@example((30, 1151), 0.46875)
def test_the_exact_test_is_scipys(found: tuple[int, int], chance: float) -> None:
    """The exact test agrees with scipy.stats on any count and chance."""
    from scipy.stats import binomtest

    k, n = found
    # Measured against the sums above on 10,000 counts: scipy is right to 5e-13 down to 1e-240,
    # may lose all its digits between there and 1e-300, and says 0 below. The sums judge there.
    greater = binomtest(k, n, chance, "greater").pvalue
    assert p_above(k, n, chance) == pytest.approx(greater, rel=1e-9, abs=1e-240)


def test_chance_of_zero_or_one_needs_no_special_function() -> None:
    """Certain outcomes are certain."""
    assert (p_above(0, 5, 0.0), p_above(1, 5, 0.0), p_above(5, 5, 1.0)) == (1.0, 0.0, 1.0)


def test_error_by_subject_of_the_worked_example() -> None:
    """Items of one subject move together, which widens the error."""
    values = np.array([1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 0])
    clusters = np.array([0] * 4 + [1] * 3 + [2] * 5)
    assert standard_error(6, 12) == near(0.144338)
    assert mean_spread(values, clusters) == (near(0.190941), 2.0)
    assert mean_spread(values) == (near(0.150756), 11.0)
    assert subject_numbers([f"s{i % 9}" for i in range(90)]) is None
    numbers = subject_numbers([f"s{i % 10}" for i in range(90)])
    assert numbers is not None
    assert len(set(numbers.tolist())) == 10


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=6, max_size=60))
def test_error_by_subject_is_statsmodels(pairs: list[tuple[int, int]]) -> None:
    """Any table of items and clusters gives the error of a regression on a constant."""
    import statsmodels.api as sm

    values, clusters = np.array([v for v, _ in pairs]), np.array([c for _, c in pairs])
    if len(set(clusters.tolist())) < 2:
        return
    found = sm.OLS(values.astype(float), np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": clusters}
    )
    assert mean_spread(values, clusters)[0] == pytest.approx(float(found.bse[0]), abs=1e-9)


def test_design_effect_of_57_subjects() -> None:
    """Correlation inside subjects of 18 items inflates the error of 1024 items as published."""
    size = 1024 / 57
    for icc, error in ((0.01, 0.01463), (0.05, 0.01840), (0.10, 0.02222)):
        plain = math.sqrt(0.25 * 0.75 / 1024)
        assert plain * math.sqrt(1 + (size - 1) * icc) == near(error, 5)


def test_granularity_of_the_reference_runs_percentages() -> None:
    """Percentages of 1024 questions have a count; the baseline's have none: it was another set."""
    counts_of = {24.32: 249, 26.86: 275, 26.46: 271, 24.51: 251, 29.39: 301, 28.42: 291}
    assert {pct: k_candidates(pct, 1024) for pct in counts_of} == {
        pct: [k] for pct, k in counts_of.items()
    }
    assert k_candidates(26.58, 1024) == []
    assert k_candidates(27.74, 1024) == []
    assert k_candidates(26.58, 14042) == [3732, 3733]
    assert k_candidates(27.74, 2376) == [659]
    assert k_candidates("26.46", 1024) == [271]
    assert k_candidates(120.0, 1024) == []


@given(counts(20_000))
def test_granularity_never_rejects_a_real_count(found: tuple[int, int]) -> None:
    """The percentage of any count, printed with two decimals, allows that count."""
    k, n = found
    assert k in k_candidates(f"{100 * k / n:.2f}", n)


def test_power_table() -> None:
    """What 1024 questions can see, and how many a smaller change takes."""
    for number, table in (
        (1, {0.0: 5.36, 0.5: 3.79, 0.7: 2.94, 0.9: 1.70}),
        (19, {0.0: 7.37, 0.5: 5.21, 0.7: 4.03, 0.9: 2.33}),
    ):
        for rho, points in table.items():
            found = 100 * smallest_detectable(1024, 0.25, correlation=rho, comparisons=number)
            assert found == near(points, 2)
    needed = {(0.02, 0.0): 7359, (0.02, 0.5): 3680, (0.02, 0.8): 1472}
    needed |= {(0.01, 0.0): 29434, (0.01, 0.5): 14717, (0.01, 0.8): 5887}
    for (change, rho), items in needed.items():
        assert items_needed(change, 0.25, correlation=rho) == items


def test_impossible_counts_are_refused() -> None:
    """More right answers than questions is an error, not a rate above one."""
    for correct, total in ((5, 4), (-1, 4), (0, 0)):
        with pytest.raises(ValueError, match="expected 0 <= correct <= total"):
            accuracy(correct, total)
