"""A screen over a run where nothing happens: what is asked, painted and woken for."""

import re

import pytest
from rich.console import Console
from textual.geometry import Region

from engine import events as ev
from sftui.app import SftuiApp
from sftui.cockpit.cockpit import (
    IDLE_SECONDS,
    QUIET_SECONDS,
    SILENT_SECONDS,
    SLOW_TICK_SECONDS,
    TICK_SECONDS,
)
from sftui.cockpit.screen_request import ScreenRequest
from tests.pictures import characters
from tests.sftui.fake_run import ListSource, fake_run
from tests.sftui.test_app import Clock, ready

EVENTS = fake_run(until=288, finish=False)
END = max(event.stamp.t for event in EVENTS)


def make(source=None) -> tuple[SftuiApp, Clock]:
    clock = Clock(END + 0.5)
    return SftuiApp(ScreenRequest(source or ListSource(EVENTS), ""), now=clock), clock


async def test_a_second_paints_only_what_shows_it():
    """The header's clock, and the ages of checkpoints in the second in which they change."""
    app, clock = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        seen = {}
        for second in range(1, 28):
            before = {panel.id: panel.grid for panel in dashboard.panels}
            words = {panel.id: panel.text() for panel in dashboard.panels}
            clock.t = END + 0.5 + second
            app.cockpit.tick()
            for panel in dashboard.panels:
                if panel.grid is not before[panel.id]:
                    seen[panel.id] = seen.get(panel.id, 0) + 1
                    # None in vain, but for the bold mark of life in the header.
                    assert panel.id == "header" or panel.text() != words[panel.id]
    assert seen["header"] >= 26
    assert 0 < seen["checkpoints"] < 26
    assert set(seen) <= {"header", "checkpoints", "memory"}


@pytest.mark.parametrize(
    ("quiet", "pace"),
    [
        (0.0, TICK_SECONDS),
        (QUIET_SECONDS - 0.1, TICK_SECONDS),
        (QUIET_SECONDS + 0.1, SLOW_TICK_SECONDS),
        (IDLE_SECONDS - 0.1, SLOW_TICK_SECONDS),
    ],
)
async def test_a_silent_run_is_looked_at_less_often(quiet, pace):
    app, clock = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        clock.t = app.cockpit.quiet + quiet
        assert app.cockpit.pace == pace


async def test_an_idle_screen_wakes_with_the_clock():
    """Once a second, just after it began, and of long silence every other second; at once as
    before when an answer is waited for."""
    app, clock = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for part in (0.0, 0.25, 0.99):
            clock.t = float(int(app.cockpit.quiet) + IDLE_SECONDS + 2) + part
            assert 0 < app.cockpit.pace < 1.02
            assert 0 < (clock.t + app.cockpit.pace) % 1.0 < 0.02
            clock.t = 2.0 * (int(app.cockpit.quiet + SILENT_SECONDS) // 2 + 1) + part
            assert 1.0 < app.cockpit.pace < 2.02
            assert 0 < (clock.t + app.cockpit.pace) % 2.0 < 0.02
        await pilot.press("e")
        assert app.cockpit.view.pending
        assert app.cockpit.pace == SLOW_TICK_SECONDS


async def test_a_partial_update_asks_only_widgets_that_changed(monkeypatch):
    """The clock in the header costs the header, not the screen."""
    app, _ = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        await pilot.pause(0.1)
        asked = []
        for widget in (dashboard, *dashboard.panels):

            def ask(crop, widget=widget, render=widget.render_lines):
                asked.append(widget.id or "screen")
                return render(crop)

            monkeypatch.setattr(widget, "render_lines", ask)
        panel = dashboard.panels[0]
        panel.refresh(Region(2, 0, 5, 1))
        await pilot.pause(0.1)
        assert asked
        assert set(asked) == {"header"}


async def test_partial_updates_add_up_to_the_screen():
    """Whatever changed when: the terminal shows what a full frame would."""
    app, clock = make(ListSource(EVENTS[: len(EVENTS) // 2], per_poll=None))
    later = EVENTS[len(EVENTS) // 2 :]
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        await pilot.pause(0.1)
        compositor = dashboard._compositor
        rows = [line.ljust(120) for line in characters(app).splitlines()]
        taken = 0
        render = compositor.render_partial_update

        def take():
            nonlocal taken
            update = render()
            if update is not None:
                taken += 1
                type_over(rows, update.render_segments(Console(color_system=None)))
            return update

        compositor.render_partial_update = take
        for start in range(0, len(later), 20):
            app.source.events = later[start : start + 20]
            clock.t += 1
            app.cockpit.tick()
            app.cockpit.tick()
            await pilot.pause(0.02)
        await pilot.press("left", "left", "l")
        await pilot.pause(0.1)
        assert taken > 10
        assert [row.rstrip() for row in rows] == characters(app).splitlines()


def type_over(rows: list[str], written: str) -> None:
    """What a terminal does with text and cursor positions; none of it is wide."""
    for row, col, text in re.findall(
        r"\x1b\[(\d+);(\d+)H([^\x1b]*(?:\x1b\[[\d;]*m[^\x1b]*)*)", written
    ):
        words = re.sub(r"\x1b\[[\d;]*m", "", text)
        y, x = int(row) - 1, int(col) - 1
        rows[y] = rows[y][:x] + words + rows[y][x + len(words) :]


class Timed(ListSource):
    """Notes how long it was given."""

    longest = 0.0

    def poll(self, max_events: int = 2000, max_seconds: float = 0.05) -> list[ev.Event]:
        self.longest = max(self.longest, max_seconds)
        return super().poll(max_events, max_seconds)


async def test_a_key_waits_for_a_slice_of_reading_alone():
    """Over a long run that is being read: short slices, soon after each other, and the panels no
    more often than else."""
    source = Timed(EVENTS)
    app, _ = make(source)
    painted = []
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        show = dashboard.show
        dashboard.show = lambda topic: (painted.append(topic), show(topic))
        alarm = ev.AlarmRaised(kind="spike", severity="warn", value=3, limit=2, text="x")
        source.events = [alarm] * (2000 * 4 - 1)
        for _ in range(3):
            app.cockpit.tick()
            assert app.cockpit.pace < TICK_SECONDS / 2
        assert painted == []
        for _ in range(4):
            app.cockpit.tick()
        assert app.cockpit.pace >= TICK_SECONDS
        assert painted
    assert source.longest <= 0.02
