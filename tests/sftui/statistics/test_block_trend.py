"""A trend of the training loss is claimed of losses that have one, and of few others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.statistics.block_trend import BLOCK, MIN_BLOCKS, block_trend, mean_error
from tests.loss_worlds import autocorrelated


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8, 0.9, 0.95])
def test_neighbours_that_are_alike_are_no_trend(correlation: float) -> None:
    """False in about 5 %: of 200 at most 20, three standard errors more."""
    false = 0
    for seed in range(200):
        losses = autocorrelated(np.random.default_rng(seed), 976, correlation)
        found = block_trend(range(976), losses)
        assert found is not None
        false += found.low * found.high > 0
    assert false <= 20


def test_a_fall_beyond_the_noise_is_a_trend() -> None:
    """A tenth of a scatter a hundred steps is seen over a thousand."""
    rng = np.random.default_rng(0)
    losses = 1.2 - 0.065 * np.arange(1000) / 1000 + rng.normal(0, 0.065, 1000)
    found = block_trend(range(1000), losses)
    assert found is not None
    assert found.low < -0.000065 < found.high < 0


@given(st.lists(st.floats(0, 10), max_size=BLOCK * MIN_BLOCKS - 1))
def test_a_few_steps_have_no_trend_and_no_error(losses: list[float]) -> None:
    """Eight means of twenty at least; what is no number is left out."""
    padded = [*losses, float("nan")] * 1
    assert block_trend(range(len(padded)), padded) is None
    assert mean_error(padded) is None


def test_the_error_of_a_mean_covers_it() -> None:
    """Two errors around the mean hold the true one in 19 of 20, a falling line or not."""
    missed = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        losses = 2 - np.linspace(0, 1, 600) + 0.1 * autocorrelated(rng, 600, 0.8)
        error = mean_error(losses)
        assert error is not None
        missed += abs(losses.mean() - 1.5) > 2 * error
    assert missed <= 22
