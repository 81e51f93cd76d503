"""A size in words keeps its number, in the unit that reads best."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.files.sizes import GIB, MIB, in_words


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(0, "0.0 MiB"), (MIB, "1.0 MiB"), (102 * MIB, "102.0 MiB"), (103 * MIB, "0.10 GiB")],
)
def test_a_tenth_of_a_gib_changes_the_unit(num_bytes: int, words: str) -> None:
    """Below it MiB with one decimal, from there on GiB with two."""
    assert in_words(num_bytes) == words


@given(st.integers(min_value=0, max_value=2**60))
def test_the_words_are_the_number(num_bytes: int) -> None:
    """Read back, a size is off by half of its last digit at most."""
    number, unit = in_words(num_bytes).split()
    factor, last_digit = {"MiB": (MIB, 0.1), "GiB": (GIB, 0.01)}[unit]
    assert (
        abs(float(number) - num_bytes / factor) <= last_digit * 0.5000001 + 1e-9 * num_bytes / GIB
    )
