"""Histories: what a chart is told must be what the points say."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sftui.state.series import Table
from tests.conftest import examples


def filled(x, y) -> Table:
    table = Table(["y"])
    table.extend(np.asarray(x, dtype=float), {"y": y})
    return table


@given(
    st.lists(st.floats(-1e6, 1e6, width=32) | st.just(math.nan), min_size=1, max_size=900),
    st.integers(1, 60),
    st.floats(0, 1),
    st.floats(0, 1),
)
@examples(200)
def test_columns_keep_extremes(ys, num_columns, a, b):
    """The extremes of a view are those of its points, at any zoom and through any level."""
    x = np.cumsum(np.linspace(0.1, 1.9, len(ys)))
    low, high = sorted((a * x[-1], b * x[-1]))
    if not high > low:
        return
    series = filled(x, ys).series("y")
    lows, highs = series.columns(low, high, num_columns)
    inside = np.asarray(ys, dtype=np.float32)[(x >= low) & (x <= high)]
    known = inside[~np.isnan(inside)]
    if not len(known):
        assert np.isnan(lows).all()
        assert np.isnan(highs).all()
        return
    assert np.nanmin(lows) == known.min()
    assert np.nanmax(highs) == known.max()


def test_columns_are_where_the_points_are():
    """Without a pyramid every point falls into its own column."""
    low, high = filled(range(10), range(10)).series("y").columns(0, 10, 10)
    assert low.tolist() == high.tolist() == list(range(10))


def test_spike_survives_ten_thousand_points_a_column():
    """One step's spike is still there when the whole run is in sight."""
    y = np.ones(1_000_000, dtype=np.float32)
    y[654_321] = 9.0
    low, high = filled(np.arange(len(y)), y).series("y").columns(0, len(y), 100)
    assert np.flatnonzero(high == 9.0).tolist() == [65]
    assert (low == 1.0).all()


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(-5, 5, width=32)), max_size=120))
def test_put_in_any_order_is_the_last_word_by_x(rows):
    """Rows stay sorted by x; the newest row of an x wins; views follow every change."""
    table = Table(["y"])
    series = table.series("y")
    for x, y in rows:
        table.put(x, {"y": y})
        series.columns(0, 61, 3)
    expected = dict(rows)
    assert table.x.tolist() == sorted(expected)
    assert table.column("y").tolist() == [expected[x] for x in sorted(expected)]
    fresh = filled(sorted(expected), [expected[x] for x in sorted(expected)]).series("y")
    np.testing.assert_array_equal(series.columns(0, 61, 3), fresh.columns(0, 61, 3))


def test_truncated_rows_are_forgotten_by_the_pyramid():
    """After a restart from a checkpoint the old future is not drawn."""
    table = filled(range(4096), np.arange(4096))
    series = table.series("y")
    series.columns(0, 4096, 4)
    assert table.truncate(1000) == 3096
    for x in range(1000, 2000):
        table.put(x, {"y": -1.0})
    low, high = series.columns(0, 4096, 2)
    assert high[0] == 999
    assert low[0] == -1
    assert np.isnan(high[1])


def test_missing_columns_and_values_are_unknown():
    """What a row does not say is NaN, never zero."""
    table = Table(["a"])
    table.put(0, {"a": 1.0})
    table.put(1, {"b": 2.0, "a": None})
    assert np.isnan(table.column("a")[1])
    assert np.isnan(table.column("b")[0])
    assert np.isnan(table.column("never")).all()
    assert table.last("a") == 1.0
    assert table.at(1) == {"b": 2.0}
    assert table.at(0.5) is None


def test_a_column_that_was_never_given_takes_no_memory():
    """Asked for, drawn, averaged, and with rows put between the others: it stays unknown."""
    table = Table(["y", "never"])
    table.extend(np.arange(1000.0), {"y": np.ones(1000)})
    before = table.num_bytes
    never = table.series("never")
    assert np.isnan(table.column("never")).all()
    assert len(table.column("never")) == len(never) == 1000
    assert (table.last("never"), table.written("never"), never.empty) == (None, False, True)
    assert np.isnan(never.columns(0, 999, 10)).all()
    assert len(never.sample(0, 999)) == 0
    assert table.num_bytes == before
    table.put(3.0, {"y": 2.0})
    table.put(3.5, {"y": 2.0})
    assert not table.written("never")
    table.put(4.0, {"never": 5.0})
    assert np.nansum(table.column("never")) == table.last("never") == 5.0


def test_non_finite_values_are_kept():
    """An infinite loss is news; a huge finite one does not become infinite."""
    table = Table(["y"])
    table.put(0, {"y": math.inf})
    table.put(1, {"y": 1e300})
    assert math.isinf(table.column("y")[0])
    assert np.isfinite(table.column("y")[1])


def test_a_point_costs_less_than_thirty_bytes():
    """Rows and pyramid together, for the worst fill of the growing arrays."""
    table = Table(["y"])
    series = table.series("y")
    for n in range(20_000):
        table.put(n, {"y": 1.0})
    series.columns(0, 20_000, 10)
    assert table.num_bytes < 30 * 20_000
