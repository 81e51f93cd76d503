"""Packed numbers: what comes back is what went in, to the bit, whatever it was."""

import bisect
import math
import struct
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.sources import packed_numbers
from sftui.sources.packed_numbers import Packed


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """Blocks of eight, so that a short list has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_numbers, "BLOCK", 8)
        yield


def bits(values) -> list[bytes]:
    return [struct.pack("d", value) for value in values]


WHOLE = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300))
DECIMALS = st.builds(
    lambda whole, digits: float(f"{whole}e-{digits}"),
    st.integers(-(10**9), 10**9),
    st.integers(0, 12),
)
DOUBLES = st.one_of(st.floats(), st.floats(width=32), DECIMALS, st.just(-0.0), st.just(math.nan))


@st.composite
def pieces(draw, values):
    """Lists whose numbers are of one kind for a while, as the columns of a log are."""
    found = []
    for _ in range(draw(st.integers(0, 5))):
        first = draw(values)
        alike = st.one_of(st.just(first), values) if draw(st.booleans()) else values
        found.append(draw(st.lists(alike, max_size=20)))
    return found


def check_parts(made, plain, places):
    """Indices and slices, from both ends, as those of a plain array."""
    assert len(made) == len(plain)
    for at in range(len(plain)):
        assert bits([made[at], made[at - len(plain)]]) == bits([plain[at]] * 2)
    for start in places:
        for stop in places:
            assert bits(made[start:stop]) == bits(plain[start:stop])
            assert made[start:stop].typecode == plain.typecode
    for beyond in (len(plain), -len(plain) - 1):
        with pytest.raises(IndexError):
            made[beyond]


@given(pieces(DOUBLES), st.lists(st.integers(-40, 40), max_size=4))
def test_doubles_come_back_to_the_bit(parts, places):
    """NaN, infinities, -0.0 and the last digit included, however they were bundled."""
    made, single, plain = Packed("d"), Packed("d"), array("d")
    for number, part in enumerate(parts):
        made.extend(np.array(part, dtype=np.float64) if number % 2 else part)
        plain.extend(part)
        for value in part:
            single.append(value)
    assert bits(made) == bits(single) == bits(plain)
    check_parts(made, plain, places)


@given(pieces(WHOLE), st.lists(st.integers(-40, 40), max_size=4))
def test_whole_numbers_come_back(parts, places):
    """Up to the ends of 64 bits; they stay whole numbers."""
    made, plain = Packed("q"), array("q")
    for part in parts:
        made.extend(part)
        plain.extend(part)
    assert list(made) == plain.tolist()
    assert all(type(value) is int for value in made)
    for start in places:
        assert made[start:] == plain[start:]


@given(st.integers(-1000, 1000), st.integers(-3, 3), st.integers(0, 40), st.integers(-2000, 2000))
def test_even_steps_are_found_by_bisection(first, rise, length, sought):
    """Blocks that rise or fall evenly keep no number at all, and read like any other."""
    steps = [first + rise * i for i in range(length)]
    made = Packed("q")
    made.extend(steps)
    assert list(made) == steps
    assert made.num_bytes == 8 * (length % 8)
    if rise > 0:
        assert bisect.bisect_right(made, sought) == bisect.bisect_right(steps, sought)


def test_what_a_log_prints_takes_less_room(monkeypatch):
    """Six digits of a loss in four bytes, counts in two; a computed number keeps its eight."""
    monkeypatch.setattr(packed_numbers, "BLOCK", 4096)
    noise = np.random.default_rng(0)
    rows = 5 * 4096
    kinds = {
        "loss": (np.round(1 + noise.random(rows), 6), 4),
        "tokens": (4000.0 + noise.integers(0, 500, rows), 2),
        "rank": (noise.integers(0, 8, rows).astype(np.float64), 1),
        "single": (noise.random(rows).astype(np.float32).astype(np.float64), 4),
        "computed": (noise.random(rows), 8),
        "step": (np.arange(rows, dtype=np.float64), 0),
    }
    for name, (values, width) in kinds.items():
        made = Packed("d")
        made.extend(values)
        assert made.num_bytes == width * rows, name
        assert made[:].tobytes() == values.tobytes()


def test_a_slice_with_a_step_is_refused():
    with pytest.raises(ValueError, match="no step"):
        Packed("q")[::2]
