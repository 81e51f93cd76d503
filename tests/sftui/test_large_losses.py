"""A log whose losses are as large as numbers can be is shown, written up and drawn like any other.

A run that diverges prints such losses, and a damaged log holds them. Squares and distances of two
of them are infinite, which no error of a reader's, no warning and no endless loop may come of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sftui import report
from sftui.commands import show
from sftui.drawing.canvas import Grid
from sftui.report.report_facts import Facts
from sftui.state import series
from sftui.state.run_state import RunState
from sftui.text import format as fmt
from sftui.view.view import View
from sftui.widgets.benchmarks import Benchmarks
from sftui.widgets.loss_chart import LossChart
from sftui.widgets.now import Now
from sftui.widgets.series_chart import SeriesCharts
from sftui.widgets.validation_table import ValidationTable

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

LARGEST = 1.7976931348623157e308
Losses = Sequence[tuple[float, float | None]]
"""Training loss and, where there is one, validation loss of each row."""

NUMBERS = st.one_of(
    st.sampled_from([LARGEST, -LARGEST, 9e307, -9e307, 1e300, -1e300, 1e160, 3.4e38, -3.4e38]),
    st.sampled_from([0.0, 5e-324, 1.0, 2.0, 2.5]),
    st.floats(allow_nan=False, allow_infinity=False),
)
PAIR = (NUMBERS, NUMBERS | st.none())


def opened(folder: Path, losses: Losses) -> Facts:
    path = folder / "log.jsonl"
    rows = [
        {"step": step, "loss": loss} | ({} if value is None else {"eval_loss": value})
        for step, (loss, value) in enumerate(losses, start=1)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return report.open_facts(str(path), folder)


def paint(state: RunState) -> None:
    """Every panel that draws losses, on axes of both kinds."""
    for log_y in (False, True):
        view = View(now=lambda: 0.0)
        view.log_y = log_y
        for kind in (LossChart, SeriesCharts, Benchmarks, Now, ValidationTable):
            kind(state, view, id="panel").paint(Grid(24, 90))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.tuples(*PAIR), min_size=2, max_size=9), st.sampled_from([1, 3, 25]))
@example([(1.0, 1.7e308), (1.0, -1.7e308)], 9)
@example([(1.5e308, None), (-1.7e308, None)], 90)
@example([(1.0, 1e300), (1.0, -1e300)], 9)
@example([(1e308, 2.0), (2.0, 1.7e308)], 4)
def test_losses_of_any_size_are_shown_and_written_up(
    tmp_path: Path, losses: Losses, times: int
) -> None:
    """`show` and the screen counted ticks without an end; the report overflowed."""
    facts = opened(tmp_path, list(losses) * times)
    assert "loss by step" in show.as_text(facts.shot, 100, 30)
    paint(facts.shot.state)
    words = report.markdown(facts, "en", stem="log")
    assert "nan" not in words.lower().split()


@pytest.mark.parametrize(
    "losses",
    [
        [(1.0, 1.7e308), (1.0, -1.7e308)],
        [(1.0, 1.7e308), (1.0, 1.7e308)],
        [(1.0, -1.7e308), (1.0, 2.0)],
        [(1.7e308, None), (-1.5e308, None)],
        [(1e308, None), (2.0, 1e-308)],
    ],
)
def test_a_picture_of_losses_of_any_size_is_drawn(tmp_path: Path, losses: Losses) -> None:
    """matplotlib takes no limits that are infinite, and warns of what overflows, on stderr."""
    facts = opened(tmp_path, list(losses) * 10)
    written = report.write(facts, tmp_path / "report.md", "en")
    assert [picture.suffix for picture in written.pictures] == [".svg", ".png"]


def test_a_loss_beyond_what_is_kept_says_that_it_is_larger(tmp_path: Path) -> None:
    """What is kept of it is the largest number of a column, which the log did not print."""
    facts = opened(tmp_path, [(1.0, 1.7e308), (1.0, -1e300)])
    results = facts.shot.state.validation_list()
    assert [fmt.loss(each.loss) for each in results] == [">8.51e+37", "<-8.51e+37"]
    assert fmt.loss(8.5e37) == "8.50e+37"
    assert float(np.float32(series.LARGEST)) == series.LARGEST
    assert all(math.isfinite(each.loss) for each in results)
