"""What the limits of a chart rest on."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftui.drawing.canvas import Grid
from sftui.drawing.plot import Plot, percentiles
from sftui.drawing.y_range import around, extremes, eye_range

NUMBERS = st.floats(-1e6, 1e6, width=32)


@given(
    st.lists(NUMBERS, min_size=1, max_size=50),
    st.lists(st.floats(0, 100), min_size=1, max_size=3),
)
def test_percentiles_are_numpys(values, percents):
    """The same numbers as from the function that it stands for."""
    array = np.array(values, dtype=np.float32)
    wanted = np.percentile(array.astype(np.float64), percents).tolist()
    assert percentiles(array, percents) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, 1.0, 5e-324, 1e-308, 9e307, -9e307, 1.7976931348623157e308, -1.7976931348623157e308]
)


@pytest.mark.filterwarnings("error")
@given(st.tuples(FINITE, FINITE), st.tuples(FINITE, FINITE), FINITE, FINITE, st.booleans())
@example((-1.7e308, 1.7e308), (-1.7e308, 1.7e308), 0.0, 0.0, False)
@example((0.0, 5e-324), (0.0, 5e-324), 1.0, 1.0, False)
def test_a_plot_of_any_limits_is_drawn(x_limits, y_limits, x, y, log):
    """Axes, places and marks: nothing is raised, and what is out of sight is beside the plot."""
    (x_low, x_high), (y_low, y_high) = sorted(x_limits), sorted(y_limits)
    grid = Grid(12, 60)
    plot = Plot(
        grid=grid,
        row=0,
        col=8,
        height=10,
        width=50,
        x_low=x_low,
        x_high=x_high,
        y_low=y_low,
        y_high=y_high,
        log=log,
    )
    plot.draw_y_axis(0)
    plot.draw_x_axis(10)
    assert 7 <= plot.x_cell(x) <= 58
    assert (plot.x_cells(np.array([x])) == plot.x_cell(x)).all()
    at = plot.y_cell(y)
    assert at is None or 0 <= at < 10
    assert all(math.isfinite(plot.y_of(row)) for row in range(11))
    assert all(math.isfinite(plot.x_of(col)) for col in range(8, 58))
    assert all(math.isfinite(value) for value in plot.y_limits)
    plot.mark(x, y, "o", 1)
    plot.polyline(np.array([x_low, x_high]), np.array([y, y_high]), 1)


@pytest.mark.filterwarnings("error")
@given(st.lists(FINITE, min_size=1, max_size=9), st.lists(FINITE, max_size=9))
def test_the_range_of_any_finite_numbers_is_finite(decides, noise):
    """Their distance may be infinite."""
    values, beside = np.array(decides), np.array(noise)
    for everything in (None, extremes([values, beside])):
        found = eye_range(values, everything, noise=beside)
        assert found is not None
        assert all(map(math.isfinite, found))
    assert around((0.0, 1.0), values) is not None
