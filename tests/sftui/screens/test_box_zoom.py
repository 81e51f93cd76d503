"""The loss chart under the mouse and the key of its range, in the app."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from sftui.widgets.loss_chart import LossChart
from tests.sftui.fake_run import ListSource, fake_run


def make() -> SftuiApp:
    events = fake_run(until=288)
    end = max(event.stamp.t or 0.0 for event in events)
    return SftuiApp(ScreenRequest(ListSource(events), "test"), now=lambda: end + 0.5)


async def chart_of(pilot: Pilot[None]) -> tuple[Any, LossChart]:
    app: Any = pilot.app
    while app.cockpit is None:
        await pilot.pause(0.01)
    while app.source.events:
        app.cockpit.tick()
    app.cockpit.tick()
    await pilot.pause()
    return app.cockpit.view.viewport, app.cockpit.dashboard.query_one("#loss", LossChart)


async def drag(pilot: Pilot[None], start: tuple[int, int], end: tuple[int, int]) -> None:
    await pilot.mouse_down("#loss", offset=start)
    # The pilot's own move has no button.
    for _ in range(2):
        await pilot._post_mouse_events(
            [_moved()], "#loss", offset=end, button=1,
        )  # fmt: skip
    await pilot.mouse_up("#loss", offset=end)
    await pilot.pause()


def _moved() -> Any:
    from textual.events import MouseMove

    return MouseMove


async def test_a_box_zooms_both_axes_and_a_double_click_shows_all_again() -> None:
    async with make().run_test(size=(120, 36)) as pilot:
        viewport, chart = await chart_of(pilot)
        plot = chart.plot
        left, top = plot.col + 10, plot.row + 2
        right, bottom = plot.col + 40, plot.row + 8
        x = (plot.x_of(left), plot.x_of(right))
        y = (plot.y_of(bottom + 1), plot.y_of(top))
        await drag(pilot, (left, top), (right, bottom))
        assert viewport.part == x
        assert viewport.y_part == y
        assert (chart.plot.y_low, chart.plot.y_high) == y
        assert "box" in chart.text()
        await pilot.click("#loss", offset=(left, top), times=2)
        await pilot.pause()
        assert viewport.part is None
        assert viewport.y_part is None


async def test_a_flat_box_zooms_updates_alone_and_a_click_zooms_nothing() -> None:
    async with make().run_test(size=(120, 36)) as pilot:
        viewport, chart = await chart_of(pilot)
        plot = chart.plot
        await drag(pilot, (plot.col + 10, plot.row + 3), (plot.col + 11, plot.row + 3))
        assert viewport.part is None
        await drag(pilot, (plot.col + 30, plot.row + 3), (plot.col + 10, plot.row + 3))
        assert viewport.part is not None
        assert viewport.y_part is None
        # A part is in sight now: the same drag moves it.
        before = viewport.part
        await drag(pilot, (plot.col + 30, plot.row + 3), (plot.col + 40, plot.row + 3))
        assert viewport.part != before
        assert viewport.part[1] - viewport.part[0] == before[1] - before[0]


async def test_g_cycles_the_range_and_forgets_a_box() -> None:
    async with make().run_test(size=(120, 36)) as pilot:
        viewport, chart = await chart_of(pilot)
        words = []
        for _ in range(4):
            words.append(chart.text().splitlines()[-1].split("y: ")[1].split(" · ")[0])
            await pilot.press("g")
            await pilot.pause()
        assert words == ["linear", "linear, validation", "linear, all", "linear, from 0"]
        plot = chart.plot
        await drag(pilot, (plot.col + 10, plot.row + 2), (plot.col + 40, plot.row + 8))
        assert viewport.y_part is not None
        await pilot.press("g")
        assert viewport.y_part is None
        assert viewport.part is not None
