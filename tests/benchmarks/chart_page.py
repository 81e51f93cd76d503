"""What the page of charts costs: sixteen charts redrawn at any length, and a page turned.

Ratios from one run, so that they hold on a busy machine.

    python tests/benchmarks/chart_page.py
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from engine import events as ev
from sftui.drawing.canvas import Grid
from sftui.state.run_state import RunState
from sftui.state.series import Table
from sftui.view.view import View
from sftui.widgets.loss_chart import LossChart
from sftui.widgets.series_chart import SeriesCharts

ROOM = (46, 160)
"""Rows and columns of the page on a terminal of 160 x 48."""
SERIES = 20
REDRAW_MS, TURN_MS, LENGTH_RATIO = 8.0, 30.0, 1.5
"""Targets: sixteen charts drawn again, a page turned, long against short."""


def long_state(num_points: int) -> RunState:
    """A log of so many rows with a loss and 19 free metrics in every row."""
    state = RunState()
    state.apply(ev.StepFinished(step=0, loss=4.0))
    rng = np.random.default_rng(0)
    x = np.arange(1, num_points + 1, dtype=np.float64)
    base = (1 + 3 * np.exp(-x / num_points * 6)).astype(np.float32)
    noise = rng.normal(0, 0.05, num_points).astype(np.float32)
    state.steps.extend(x, {"loss": base + noise})
    for i in range(SERIES - 1):
        table = state.metrics[f"metric_{i:02}"] = Table([f"metric_{i:02}"])
        table.extend(x, {f"metric_{i:02}": base * (1 + i) + np.roll(noise, i * 7)})
    return state


def page(num_points: int) -> SeriesCharts:
    """A 4 x 4 page over it, painted once so that pyramids and sums are folded."""
    view = View(now=lambda: 0.0)
    view.chart_page.set_grid(4, 4)
    charts = SeriesCharts(long_state(num_points), view, id="charts")
    for focus in ("loss", "metric_18"):
        view.chart_page.focus = focus
        charts.paint(Grid(*ROOM))
    return charts


def costs(lengths: tuple[int, ...], rounds: int) -> dict[int, tuple[float, float]]:
    """Median milliseconds of CPU by length: sixteen charts drawn again, and a page turned.

    Drawn in turns, so that a busy moment falls on all.
    """
    pages = {num_points: page(num_points) for num_points in lengths}
    redraws: dict[int, list[float]] = {n: [] for n in lengths}
    turns: dict[int, list[float]] = {n: [] for n in lengths}
    for _ in range(rounds):
        for num_points, charts in pages.items():
            kept = charts.page
            for focus, into in (("loss", redraws), ("metric_18", turns)):
                kept.focus = focus
                begin = time.process_time()
                charts.paint(Grid(*ROOM))
                into[num_points].append((time.process_time() - begin) * 1000)
                assert len(charts.cells) == (16 if focus == "loss" else 4)
    return {n: (statistics.median(redraws[n]), statistics.median(turns[n])) for n in lengths}


def append_cost(num_points: int) -> float:
    """Milliseconds of CPU to take one new row into all series and draw the page again."""
    charts = page(num_points)
    charts.page.focus = "loss"
    state, took = charts.state, []
    for i in range(40):
        step = num_points + 1 + i
        state.steps.put(step, {"loss": 1.0})
        for name, table in state.metrics.items():
            table.put(step, {name: 1.0})
        begin = time.process_time()
        charts.paint(Grid(*ROOM))
        took.append((time.process_time() - begin) * 1000)
    return statistics.median(took)


def one_chart(num_points: int) -> float:
    """Milliseconds of CPU of the dashboard's loss chart, for scale."""
    chart = LossChart(long_state(num_points), View(now=lambda: 0.0), id="loss")
    took = []
    for _ in range(30):
        begin = time.process_time()
        chart.paint(Grid(30, 120))
        took.append((time.process_time() - begin) * 1000)
    return statistics.median(took)


def main() -> None:
    few, many, most = 2_000, 100_000, 1_000_000
    found = costs((few, many, most), 30)
    for num_points, (redraw, turn) in found.items():
        print(
            f"{SERIES} series x {num_points:>9,}: 16 charts {redraw:.2f} ms (target < "
            f"{REDRAW_MS:g}), next page {turn:.2f} ms (target < {TURN_MS:g})"
        )
    for num_points in (many, most):
        ratio = found[num_points][0] / found[few][0]
        print(f"16 charts at {num_points:,} / at {few:,}: {ratio:.2f} (target <= {LENGTH_RATIO})")
    print(f"16 charts / one loss chart of 120 x 30: {found[many][0] / one_chart(many):.1f}")
    print(
        f"16 charts after one more row at {many:,}: {append_cost(many):.2f} ms "
        f"(target < {REDRAW_MS:g})"
    )


if __name__ == "__main__":
    main()
