"""What a report adds up is the same from single updates and from columns."""

import math
from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine import events as ev
from sftui.report.counts import Counts
from tests.conftest import examples
from tests.sftui.state.test_run_state import picture


@st.composite
def batches(draw) -> ev.StepBatch:
    """Rows with any numbers of an update, in an order that goes back now and then."""
    size = draw(st.integers(1, 6))
    names = draw(st.sets(st.sampled_from([*ev.STEP_NUMBERS, "loss_by_source/x", "lrs/y", "mfu"])))
    columns = {}
    for name in sorted(names):
        values = [0.0, 3.0, 8.0]
        if name not in ev.STEP_COUNTS:
            values += [math.nan, math.inf]
        drawn = st.lists(st.sampled_from(values), min_size=size, max_size=size)
        columns[name] = array("d", draw(drawn))
    steps = array("q", draw(st.lists(st.integers(0, 9), min_size=size, max_size=size)))
    times = array("d", [1000.0 + i for i in range(size)]) if draw(st.booleans()) else array("d")
    return ev.StepBatch(step=steps[-1], steps=steps, columns=columns, times=times)


@given(st.lists(batches(), max_size=4))
@examples(100)
def test_a_batch_counts_as_its_rows(parts):
    """Totals, updates done again, losses by source, the time lost before a restart."""
    restart = ev.AttemptStarted(start_step=0, stamp=ev.Stamp(t=2000.0))
    whole, single = Counts(), Counts()
    for batch in parts:
        whole.count(batch)
        for row in batch.rows():
            single.count(row)
        for counts in (whole, single):
            counts.count(restart)
    assert picture(whole) == picture(single)


def test_every_number_of_an_update_has_a_total_and_a_mean():
    """A number that is added to `StepFinished` is there for a report without more."""
    counts = Counts()
    for value in (1, 2, 6):
        numbers: dict[str, Any] = dict.fromkeys(ev.STEP_NUMBERS, value)
        counts.count(ev.StepFinished(step=value, **numbers))
    assert {name: (s.total, s.updates, s.mean) for name, s in counts.sums.items()} == dict.fromkeys(
        ev.STEP_NUMBERS, (9, 3, 3.0)
    )


def test_whole_numbers_are_added_exactly():
    """A run of a year has more tokens than a double holds every number of."""
    counts = Counts()
    for tokens in (2**53, 1, 1):
        counts.count(ev.StepFinished(step=0, tokens=tokens))
    assert counts.sums["tokens"].total == 2**53 + 2
