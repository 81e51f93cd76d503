"""What the limits of a chart rest on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftui.drawing.plot import percentiles

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
