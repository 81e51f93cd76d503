"""Every number the product prints."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.text import format as fmt


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (fmt.count, 1204, "1,204"),
        (fmt.count, None, "–"),
        (fmt.loss, 1.05664, "1.0566"),
        (fmt.loss, 11.23456, "11.235"),
        (fmt.loss, 123456.0, "1.23e+05"),
        (fmt.loss, math.nan, "NaN"),
        (fmt.loss, -math.inf, "-inf"),
        (fmt.loss, None, "–"),
        (fmt.si, 12431, "12.4k"),
        (fmt.si, 335544320, "336M"),
        (fmt.si, 98.76, "98.8"),
        (fmt.si, 99.96, "100"),
        (fmt.si, 0, "0"),
        (fmt.rate, 2e-4, "2e-4"),
        (fmt.rate, 0.02, "0.02"),
        (fmt.rate, 8.05e-5, "8.1e-5"),
        (fmt.percent, 0.616, "61.6%"),
        (fmt.points, 2.148, "+2.1"),
        (fmt.points, -0.04, "0.0"),
        (fmt.points, -3.25, "-3.2"),
        (fmt.change, -0.0041, "▼ 0.0041"),
        (fmt.change, 0.0118, "▲ 0.0118"),
        (fmt.change, 0.0, "= 0.0000"),
        (fmt.size, 62.5 * 1024**3, "62.5G"),
        (fmt.size, 512, "512B"),
        (fmt.size, 1023.9 * 1024, "1.00M"),
        (fmt.clock, 2472, "0:41:12"),
        (fmt.duration, 0.412, "412ms"),
        (fmt.duration, 3.14, "3.1s"),
        (fmt.duration, 125, "2m 05s"),
        (fmt.duration, 59.7, "1m 00s"),
        (fmt.duration, 11520, "3h 12m"),
        (fmt.duration, 190000, "2d 4h"),
        (fmt.age, 3, "now"),
        (fmt.age, 800, "13m"),
    ],
)
def test_examples(function, value, text):
    """Numbers read as written here."""
    assert function(value) == text


def test_memory_has_one_unit():
    """Used and total are in the unit of the total, so that they can be compared at a glance."""
    assert fmt.size_of(62.5 * 1024**3, 80 * 1024**3) == "62.5/80G"
    assert fmt.size_of(700 * 1024**2, 16 * 1024**3) == "0.68/16G"
    assert fmt.size_of(700 * 1024**2, None) == "700M"


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (1.25, 0.25, "1.25"),
        (1.0, 0.2, "1.0"),
        (1250, 250, "1.25k"),
        (1000, 250, "1.00k"),
        (50, 50, "50"),
        (0, 0.1, "0"),
        (2000, 500, "2.0k"),
        (2.5e-7, 2.5e-7, "2.5e-7"),
        (1e-6, 2.5e-7, "1e-6"),
        (1e18, 5e17, "1e18"),
    ],
)
def test_ticks_have_the_decimals_of_their_step(value, step, text):
    """All labels of an axis have the same form."""
    assert fmt.tick(value, step) == text


@given(
    st.sampled_from([1.0, 2.0, 2.5, 5.0]),
    st.integers(-12, 20),
    st.integers(-40, 40),
)
def test_two_ticks_never_read_alike(factor, exponent, place):
    """A label says its value to a thousandth of a step, from learning rates to counts of flops."""
    step = factor * 10.0**exponent
    here, next_to_it = place * step, (place + 1) * step
    assert fmt.tick(here, step) != fmt.tick(next_to_it, step)
    text = fmt.tick(here, step)
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    value = float(text.rstrip("kMG")) * units.get(text[-1], 1.0)
    assert value == pytest.approx(here, abs=step / 1000, rel=1e-9)


@given(st.none() | st.floats() | st.integers(-(2**60), 2**60))
def test_nothing_raises(value):
    """Whatever a log holds can be printed, and is short."""
    for function in (
        fmt.count,
        fmt.loss,
        fmt.si,
        fmt.rate,
        fmt.percent,
        fmt.points,
        fmt.size,
        fmt.clock,
        fmt.duration,
        fmt.age,
        fmt.change,
    ):
        assert isinstance(function(value), str)
    fmt.size_of(value, value)


@given(st.floats(0.001, 1e14))
def test_si_never_has_more_than_three_digits(value):
    """Three significant digits, also where rounding carries."""
    digits = fmt.si(value).rstrip("kMGT").replace(".", "").lstrip("0")
    assert len(digits) <= 3
