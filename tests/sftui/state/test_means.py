"""The drawn line is the data: the mean around each place, against one that reads every point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.state.means import FEW_POINTS, Line, Means, line
from sftui.state.series import Table


def table_of(values: list[float], step: float = 1.0) -> Table:
    """A table with one column `y`, evenly spaced."""
    table = Table(["y"])
    table.extend(np.arange(len(values), dtype=np.float64) * step, {"y": np.array(values)})
    return table


@given(
    st.lists(st.floats(-100, 100, width=32) | st.just(math.nan), min_size=1, max_size=400),
    st.integers(1, 40),
    st.floats(0.0, 1.0),
)
def test_the_mean_around_a_column_is_that_of_the_points_around_it(values, columns, share):
    """Any values, holes among them, any number of columns and any window."""
    x_high = float(len(values))
    table = table_of(values)
    window = share * x_high
    found = Means(table.series("y")).columns(0.0, x_high, columns, window)
    half = round(window * columns / x_high / 2)
    edges = np.searchsorted(table.x, x_high / columns * np.arange(-half, columns + half + 1))
    y = table.column("y").astype(np.float64)
    for i in range(columns):
        inside = y[edges[i] : edges[i + 2 * half + 1]]
        inside = inside[np.isfinite(inside)]
        # A group of points counts where it starts: of many points a column that is a hair.
        if len(values) < 8 * columns:
            expected = inside.mean() if len(inside) else math.nan
            if edges[half + i] == len(values):
                expected = math.nan  # behind the last value there is no line
            assert found[i] == pytest.approx(expected, abs=1e-3, nan_ok=True)


def test_a_long_series_is_averaged_as_a_short_one():
    """The pyramid of sums against the plain mean of a window, at a million points."""
    rng = np.random.default_rng(7)
    values = np.sin(np.arange(1_000_000) / 90_000) + rng.normal(0, 0.5, 1_000_000)
    table = table_of(values.tolist())
    found = Means(table.series("y")).columns(0, 1e6, 200, 25_000.0)
    for i in range(10, 190, 30):
        centre = (i + 0.5) * 5_000
        assert found[i] == pytest.approx(
            values[int(centre - 12_500) : int(centre + 12_500)].mean(), abs=0.01
        )


def test_appending_and_rewriting_keep_the_sums_right():
    """Means follow a series that grows, and one that a later attempt cuts."""
    table = table_of([1.0] * 5000)
    means = Means(table.series("y"))
    assert means.columns(0, 5000, 10, 0.0)[-1] == 1.0
    table.truncate(2000.0)
    table.extend(np.arange(2000, 6000, dtype=np.float64), {"y": np.full(4000, 3.0)})
    found = means.columns(0, 6000, 12, 0.0)
    # A group of points counts for the part in which it starts.
    assert found == pytest.approx([1.0] * 4 + [3.0] * 8, abs=2.0 / 8)


@pytest.mark.parametrize("points", [31, 800, 20_000])
def test_an_outlier_at_the_start_bends_no_more_than_half_a_window(points):
    """A first loss of 19.4 before a plateau at 2: a twentieth later the line says 2."""
    table = table_of([19.4] + [2.0] * (points - 1), step=800 / points)
    drawn = line(Means(table.series("y")), 0.025)
    for place in np.linspace(0.05, 1.0, 20) * table.x[-1]:
        nearest = float(table.x[np.searchsorted(table.x, place)])
        assert drawn.at(nearest) == pytest.approx(2.0)
    _, high = drawn.columns(0.0, 800.0, 100)
    assert np.nanmax(high[5:]) == pytest.approx(2.0)


@pytest.mark.parametrize("limits", [None, np.linspace(0.0, 400.0, 201)])
def test_the_line_begins_and_ends_with_its_values(limits):
    """Of updates 100 to 300 on an axis of 400 nothing is drawn before or after."""
    table = Table(["y"])
    table.extend(np.arange(100.0, 301.0), {"y": np.linspace(3.0, 1.0, 201)})
    means = Means(table.series("y"))
    found = means.columns(0.0, 400.0, 200, 20.0, limits)
    known = np.flatnonzero(np.isfinite(found))
    assert known.tolist() == list(range(50, 151))


def test_a_spike_does_not_spoil_what_comes_after_it():
    """Sums are never taken as differences of sums: 1e30 would swallow the rest."""
    values = [1.0] * 3000
    values[100] = 1e30
    found = Means(table_of(values).series("y")).columns(0, 3000, 100, 75.0)
    assert found[20:].tolist() == [1.0] * 80


def test_few_points_are_joined_as_they_are():
    """Thirty points: the line goes through each of them."""
    rng = np.random.default_rng(3)
    table = table_of(rng.normal(2, 1, FEW_POINTS - 1).tolist())
    drawn = line(Means(table.series("y")), 0.025)
    assert isinstance(drawn, Line)
    assert drawn.window == 0.0
    assert drawn.at(7.0) == pytest.approx(float(table.column("y")[7]))
