"""Points in, cells out; no app."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftui.drawing import canvas
from sftui.drawing.canvas import Grid
from sftui.drawing.roles import Back, Role, parts, style


def dots(codes) -> np.ndarray:
    """Braille codes back to dots."""
    rows, cols = codes.shape
    out = np.zeros((rows * 4, cols * 2), dtype=bool)
    for r in range(rows):
        for c in range(cols):
            bits = int(codes[r, c]) - 0x2800
            for y, x, bit in (
                (0, 0, 1),
                (1, 0, 2),
                (2, 0, 4),
                (3, 0, 64),
                (0, 1, 8),
                (1, 1, 16),
                (2, 1, 32),
                (3, 1, 128),
            ):
                out[4 * r + y, 2 * c + x] = bool(bits & bit)
    return out


@given(st.lists(st.tuples(st.integers(-9, 20), st.integers(-9, 20)), min_size=2, max_size=12))
def test_a_span_of_dots_is_those_dots(spans):
    """Every dot of a cell has its own bit, as Unicode orders them; nothing is set outside."""
    spans = spans[: len(spans) // 2 * 2]
    first, stop = np.array(spans, dtype=np.float64).T
    index = np.arange(12)[:, None]
    expected = (index >= first) & (index < stop)
    assert (dots(canvas.spans_to_codes(first, stop, 3)) == expected).all()


_BANDS = st.builds(
    lambda values, bottom, span, rows, thick: canvas.Band(
        np.array([low for low, _ in values]),
        np.array([low + size for low, size in values]),
        bottom,
        bottom + span,
        rows,
        thick,
    ),
    st.lists(
        st.tuples(st.floats(-3, 4) | st.sampled_from([math.nan, math.inf, 1e300]), st.floats(0, 2)),
        max_size=24,
    ),
    st.floats(-4, 0),
    st.floats(0, 6),
    st.integers(0, 6),
    st.integers(1, 2),
)


@given(st.lists(_BANDS, max_size=6))
def test_curves_drawn_together_are_those_drawn_alone(bands):
    """Of any lengths, heights and limits: none reaches into another."""
    alone = [canvas.curve(*band[:5], thick=band.thick) for band in bands]
    for found, expected in zip(canvas.curves(bands), alone, strict=True):
        assert found.shape == expected.shape
        assert (found == expected).all()


def test_flat_line_is_one_dot_row():
    """A constant in the middle of the range is one straight row of dots."""
    y = np.full(8, 0.5)
    picture = dots(canvas.curve(y, y, 0.0, 1.0, 2))
    assert picture.any(axis=1).sum() == 1
    assert picture.any(axis=0).all()


def test_limits_are_inside_the_picture():
    """The lowest and the highest value of the range have a dot."""
    y = np.array([0.0, 1.0])
    picture = dots(canvas.curve(y, y, 0.0, 1.0, 3))
    assert picture[-1, 0]
    assert picture[0, 1]


@given(st.lists(st.floats(-3, 4), min_size=4, max_size=40).filter(lambda v: len(v) % 2 == 0))
def test_curve_is_connected(values):
    """Neighbouring columns touch, however steep the curve."""
    y = np.array(values)
    picture = dots(canvas.curve(y, y, -4.0, 5.0, 6))
    for a, b in zip(picture.T, picture.T[1:], strict=False):
        assert a.any()
        assert b.any()
        gap = max(
            np.flatnonzero(b)[0] - np.flatnonzero(a)[-1],
            np.flatnonzero(a)[0] - np.flatnonzero(b)[-1],
        )
        assert gap <= 1


def test_unknown_breaks_the_curve():
    """No dot is drawn where nothing is known, and none reaches into the hole."""
    y = np.array([0.5, 0.5, math.nan, math.nan, 0.1, 0.1])
    picture = dots(canvas.curve(y, y, 0.0, 1.0, 2))
    assert picture.any(axis=0).tolist() == [True, True, False, False, True, True]


@pytest.mark.parametrize("bad", [math.inf, -math.inf, 1e300, -1e300])
def test_values_far_outside_draw_nothing_and_do_not_raise(bad):
    """A diverged loss leaves the picture at its edge."""
    y = np.array([0.5, bad, 0.5, 0.5])
    canvas.curve(y, y, 0.0, 1.0, 2)


def test_thick_line_has_two_dots():
    """The average is two dots thick so that it stands out without colour."""
    y = np.full(6, 0.5)
    picture = dots(canvas.curve(y, y, 0.0, 1.0, 3, thick=2))
    assert (picture.sum(axis=0) == 2).all()


def test_bridge_fills_between_points_only():
    """Holes between two points are crossed; the ends are not extended."""
    y = np.array([math.nan, 1.0, math.nan, 3.0, math.nan], dtype=np.float32)
    low, high = canvas.bridge(y, y)
    assert low[1:4].tolist() == high[1:4].tolist() == [1, 2, 3]
    assert np.isnan(low[[0, 4]]).all()


def test_top_layer_owns_the_cell():
    """Two curves in one cell are not merged: the colour would lie about one of them."""
    grid = Grid(1, 1)
    grid.overlay(0, 0, np.array([[0x2801]], dtype=np.uint32), style(Role.RAW))
    grid.overlay(0, 0, np.array([[0x2880]], dtype=np.uint32), style(Role.TRAIN))
    assert grid.codes[0, 0] == 0x2880
    assert parts(int(grid.styles[0, 0]))[0] is Role.TRAIN
    grid.overlay(0, 0, np.array([[0x2800]], dtype=np.uint32), style(Role.RAW))
    assert grid.codes[0, 0] == 0x2880


@pytest.mark.parametrize(
    ("col", "expected"), [(0, "x 練  "), (1, " x練  "), (2, "訓x   "), (3, "訓 x  "), (4, "訓練x ")]
)
def test_half_a_wide_character_is_never_left(col, expected):
    """Whatever is painted over one half of it, the row keeps its number of cells."""
    grid = Grid(1, 6)
    grid.text(0, 0, "訓練", 1)
    grid.put(0, col, "x", 2)
    assert grid.lines() == [expected]
    assert canvas.text_width(expected) == 6


@given(
    st.integers(0, 12),
    st.integers(0, 30),
    st.text(max_size=40),
    st.integers(-5, 15),
    st.integers(-10, 40),
)
@example(3, 3, "\x1f⼀", 1, 3)
def test_drawing_anywhere_never_raises(height, width, text, row, col):
    """A panel of any size is painted by the same code."""
    grid = Grid(height, width)
    grid.text(row, col, text, style(Role.TEXT))
    grid.right(row, col, [(text, style(Role.DIM))])
    grid.put(row, col, "x", style(Role.TEXT))
    grid.bar(row, col, col + 9, 0.4, 1, 2)
    grid.back(row, col, col + 5, Back.ROW)
    grid.overlay(row, col, np.full((2, 3), 0x28FF, dtype=np.uint32), 3)
    grid.frame([(text, 1)], [(text, 2)], border=3, corner=[(text, 4)])
    for line in grid.lines():
        assert canvas.text_width(line) <= width


def test_border_is_never_broken():
    """A title that is too long is cut, and every edge of the frame is whole."""
    grid = Grid(4, 20)
    grid.frame([("a title far too long for this", 1)], [("so is this subtitle here", 2)], border=3)
    top, *_, bottom = grid.lines()
    assert top[0] == "╭"
    assert top[-1] == "╮"
    assert bottom == "╰" + "─" * 18 + "╯"
    assert [line[0] + line[-1] for line in grid.lines()[1:-1]] == ["││", "││"]


def test_wide_characters_take_two_cells():
    """A Chinese character is never cut in half."""
    grid = Grid(1, 5)
    grid.text(0, 0, "训练集", 0)
    assert grid.line(0) == "训练 "
    assert canvas.text_width(grid.line(0)) == 5
    assert canvas.fit("训练集", 5) == "训练…"


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.9, 1.9, 4, [1.0, 1.25, 1.5, 1.75]),
        (0, 1953, 8, [0, 250, 500, 750, 1000, 1250, 1500, 1750]),
        (-1, 1, 2, [-1, 0, 1]),
    ],
)
def test_ticks_are_round(low, high, most, expected):
    """Steps are 1, 2, 2.5 or 5 times a power of ten."""
    values, _ = canvas.ticks(low, high, most)
    assert values == pytest.approx(expected)


@given(st.floats(1, 1e9))
def test_ratchet_holds_and_does_not_waste(value):
    """The axis always holds the newest point, with at most half, later 8 %, to spare."""
    end = canvas.ratchet(value)
    assert end >= value
    assert end <= max(16.0, value * (1.5 if value < 1024 else 1.08) + 1)


def test_ratchet_stays_between_jumps():
    """Most appended points do not move the axis: that is what keeps the diff small."""
    assert len({canvas.ratchet(n) for n in range(1000, 2000)}) < 12


@given(st.floats(-1e5, 1e5), st.floats(1e-6, 1e5))
def test_settled_limits_hold_the_data(low, span):
    """Limits are snapped outwards, never inwards."""
    bottom, top = canvas.settle(None, low, low + span)
    slack = 1e-8 * max(span, abs(low))
    assert bottom <= low + slack
    assert top >= low + span - slack


def test_settled_limits_stay_while_they_serve():
    """A little more or less data does not move the axis."""
    before = canvas.settle(None, 1.0, 2.0)
    assert canvas.settle(before, 1.1, 1.9) == before
    assert canvas.settle(before, 1.0, 2.3) != before
    assert canvas.settle(before, 1.0, 1.1) != before


def test_room_to_follow_ends_at_zero():
    """A loss that has fallen near zero gets no axis below it; what is negative does."""
    assert canvas.settle((4.0, 8.0), 0.3, 8.0)[0] == 0.0
    assert canvas.settle((-1.0, 3.0), -2.2, 3.0)[0] < -2.2


def test_sparkline_shows_the_last_values():
    """One block a value, the newest last; unknown ones are blank."""
    assert canvas.sparkline(np.array([0.0, 1.0, math.nan, 0.5]), 3) == "█ ▁"
    assert canvas.sparkline(np.array([]), 3) == "   "
    assert canvas.sparkline(np.array([2.0]), 4) == "▁   "


FINITE = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [
        *(0.0, 1.0, 5e-324, -5e-324, 1e-308, 3.4e38, -3.4e38, 1e300, -1e300),
        *(9e307, -9e307, 1.7976931348623157e308, -1.7976931348623157e308),
    ]
)
"""Any finite numbers, and those whose sums and distances are not."""


@given(FINITE, FINITE, st.integers(1, 40), st.booleans())
@example(-1.7e308, 1.7e308, 4, False)
@example(0.0, 5e-324, 4, False)
def test_ticks_of_any_two_numbers_are_few_and_finite(one, other, most, whole):
    """A range of 1e308 tick values was made before it was cut."""
    low, high = sorted((one, other))
    for found, step in (
        canvas.ticks(low, high, most, whole=whole),
        canvas.time_ticks(low, high, most),
    ):
        assert len(found) <= most + 2
        assert all(map(math.isfinite, [*found, step]))
        assert step > 0
    assert 0 < canvas.tick_step(high - low, most) < math.inf


@given(FINITE, FINITE, st.none() | st.tuples(FINITE, FINITE))
@example(-1.7e308, 1.7e308, None)
def test_limits_of_any_two_numbers_are_finite(one, other, before):
    """And hold both, as far as numbers are drawn."""
    low, high = map(canvas.within, sorted((one, other)))
    if before is not None:
        before = canvas.settle(None, *sorted(before))
    found = canvas.settle(before, *sorted((one, other)))
    assert 0 < found[1] - found[0] < math.inf
    slack = 1e-6 * max(abs(low), abs(high), found[1] - found[0])
    assert found[0] <= low + slack
    assert found[1] >= high - slack
    assert all(math.isfinite(canvas.ratchet(end)) for end in (high - low, other))


@pytest.mark.filterwarnings("error")
@given(st.lists(FINITE, min_size=2, max_size=12), FINITE, FINITE, st.integers(1, 9))
def test_any_finite_numbers_are_drawn(values, one, other, cells):
    """Curves, lines, filled holes and sparklines; a warning would stand on the screen."""
    low, high = sorted((one, other))
    y = np.array(values)
    y = np.repeat(y, 2)
    canvas.curve(y, y, low, high, cells)
    line = canvas.line_through(np.arange(len(y), dtype=float), y, low, high, cells)
    assert not np.isinf(line).any()
    assert len(canvas.sparkline(y, cells)) == cells
    with np.errstate(over="ignore"):
        narrow = np.clip(y, -3.4e38, 3.4e38).astype(np.float32)
    for each in (y, narrow):
        holes = each.copy()
        holes[1:-1:2] = np.nan
        for edge in canvas.bridge(holes, holes):
            assert np.isfinite(edge[[0, -1]]).all()
            assert not np.isinf(edge).any()


def test_a_curve_on_its_edge_has_a_place_on_an_axis_of_any_height():
    """Of an axis of the smallest number there is."""
    low, high = 0.0, 5e-324
    found = dots(canvas.curve(np.full(4, high), np.full(4, high), low, high, 2))
    assert found[0].all()
