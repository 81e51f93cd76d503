"""The mouse on the screen: footer words, rows, borders, charts, and the wheel."""

from collections.abc import Callable
from typing import cast

import pytest
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Static

from engine.control import Command
from sftui.screens.browser import Browser
from sftui.screens.confirm import Confirm
from sftui.screens.dashboard import Dashboard
from sftui.screens.questions import QuestionsScreen
from sftui.widgets.checkpoint_panel import CheckpointPanel
from sftui.widgets.footer import KeyFooter
from sftui.widgets.panel import Panel
from tests.sftui.actions.test_verb_actions import sent
from tests.sftui.fake_run import fake_run
from tests.sftui.test_app import make, panel_of, ready


def button(footer: KeyFooter, key: str) -> tuple[int, int]:
    """A cell of the footer word of a key."""
    start, end, _ = next(b for b in reversed(footer._buttons) if b[2] == key)
    return (start + end) // 2, 0


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Wait for it, on a machine that has other work."""
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.02)
    raise AssertionError("not within 4 s")


async def test_every_word_of_the_footer_is_a_button():
    """Each does what its key does; the two glyphs of a pair are two buttons."""
    app = make()
    async with app.run_test(size=(160, 48)) as pilot:
        dashboard = await ready(pilot)
        footer = panel_of(dashboard, "footer")
        for _, _, key in footer._buttons:
            assert any(key in k.keys.split(",") for k in app.keys.of_mode("live"))
        shown = {key.keys.split(",")[0] for key in footer._useful()}
        assert {"space", "e", "k", "r"} <= shown
        await pilot.click("#footer", offset=button(footer, "e"))
        await pilot.pause()
        assert [r.command for r in sent(app)] == [Command.EVALUATE]
        await pilot.click("#footer", offset=button(footer, "l"))
        await pilot.pause()
        assert app._cockpit.view.log_y
        await pilot.click("#footer", offset=button(footer, "m"))
        await pilot.pause()
        page = app._cockpit.chart_screen
        assert page is not None
        # Its own footer, with its own keys.
        words = next(p for p in page.panels if isinstance(p, KeyFooter))
        await pilot.click(words, offset=button(words, "m"))
        await pilot.pause()
        assert app._cockpit.chart_screen is None


async def test_a_click_on_the_footer_is_no_letter_of_a_search():
    """While one is typed its own keys stand there."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        footer, log = panel_of(dashboard, "footer"), app._cockpit.view.log
        await pilot.press("slash", "l")
        await pilot.pause()
        assert {key for _, _, key in footer._buttons} == {"enter", "escape", "ctrl+u"}
        await pilot.click("#footer", offset=button(footer, "ctrl+u"))
        await pilot.pause()
        assert (log.typing, log.query) == (True, "")
        await pilot.click("#footer", offset=button(footer, "escape"))
        await pilot.pause()
        assert not log.typing
        assert "Log-y" in footer.text()


@pytest.mark.parametrize("key", ["question_mark", "i", "w", "c", "b", "x", "5 enter"])
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_whatever_a_key_opens_the_mouse_can_leave(key: str, size: tuple[int, int]):
    """By the word on its border, a row, or its text: nobody has to look for a key."""
    app = make(fake_run() if key != "x" else None)  # a run that has ended is not stopped
    async with app.run_test(size=size) as pilot:
        dashboard = await ready(pilot)
        await pilot.press(*key.split())
        await until(pilot, lambda: app.screen is not dashboard and app.screen.query(Widget))
        opened = app.screen
        table = next((p for p in opened.query(Panel) if p.display), None)
        if table is not None:
            await until(pilot, lambda: table.grid.lines())
            at = table.grid.lines()[-1].find("esc")
            assert at > 0, table.text()
            await pilot.click(table, offset=(at + 1, table.size.height - 1))
        else:
            await pilot.click(list(opened.query(Static))[-1], offset=(4, 0))
        await until(pilot, lambda: app.screen is dashboard)
        assert not sent(app)


async def test_an_answer_is_a_button():
    """Beside the question nothing is changed; the answer does what its key does."""
    app = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("x")
        await pilot.pause()
        await pilot.click(offset=(1, 1))
        await pilot.pause()
        assert isinstance(app.screen, Dashboard)
        assert not sent(app)
        await pilot.press("x")
        await pilot.pause()
        opened = cast(Confirm, app.screen)
        question, stop, *_ = opened.query(Static)
        await pilot.click(question, offset=(2, 0))
        await pilot.pause()
        assert app.screen is opened
        await pilot.click(stop, offset=(6, 0))
        await pilot.pause()
        assert [r.command for r in sent(app)] == [Command.STOP]


async def test_a_key_on_a_border_is_a_button():
    """And a click on a border moves no cursor."""
    app = make(fake_run())
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("w")
        await pilot.pause()
        table = cast(QuestionsScreen, app.screen).table
        await until(pilot, lambda: table.grid.lines())
        row, before = table.grid.lines()[-1], table.kind
        cursor = table.cursor
        await pilot.click(table, offset=(row.index("Filter") + 2, table.size.height - 1))
        await pilot.pause()
        assert table.kind != before
        await pilot.click(table, offset=(3, table.size.height - 1))
        await pilot.pause()
        assert table.cursor == cursor


async def test_a_row_of_the_checkpoints_is_chosen_and_opened():
    """A click chooses it, a second opens the browser there; the wheel scrolls."""
    app = make(fake_run())
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        panel = panel_of(dashboard, "checkpoints")
        assert isinstance(panel, CheckpointPanel)
        steps = panel._steps
        await pilot.click("#checkpoints", offset=(6, 3))
        await pilot.pause()
        assert panel.chosen == steps[1]
        assert panel.has_focus
        await pilot.press("enter")
        await pilot.pause()
        assert cast(Browser, app.screen).table.chosen.step == steps[1]
        await pilot.press("escape")
        await pilot.click("#checkpoints", offset=(6, 4), times=2)
        await pilot.pause()
        assert cast(Browser, app.screen).table.chosen.step == steps[2]


async def test_the_wheel_scrolls_the_checkpoints_that_have_no_room():
    """To the oldest and back; the start stays in sight."""
    app = make(fake_run())
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        panel = panel_of(dashboard, "checkpoints")
        assert isinstance(panel, CheckpointPanel)
        everything = [row.step for row in app._cockpit.state.checkpoint_rows()]
        first = panel._steps
        if len(first) < len(everything):
            for _ in everything:
                panel.on_mouse_scroll_down()
            assert panel._steps[0] > everything[0] or panel._steps != first
            assert panel._steps[-1] == everything[-1]
        for _ in everything:
            panel.on_mouse_scroll_up()
        assert panel._steps == first


OPENS = [
    ("benchmarks", "QuestionsScreen"),
    ("now", "RunPanel"),
    ("checkpoints", "Browser"),
    ("memory", ""),
    ("accuracy", ""),
]


async def test_enter_and_two_clicks_open_the_panel_and_its_border_enlarges_it():
    """What it opens is its own: a screen, or all the room."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        for name, screen in OPENS:
            panel = panel_of(dashboard, name)
            for way in ("enter", "mouse"):
                if way == "enter":
                    panel.focus()
                    await pilot.press("enter")
                elif name != "accuracy":
                    await pilot.click(f"#{name}", offset=(9, 1), times=2)
                await pilot.pause()
                if screen:
                    assert type(app.screen).__name__ == screen, name
                    await pilot.press("escape")
                elif way == "enter" or name != "accuracy":
                    assert dashboard.maximised, name
                    await pilot.press("z")
                await pilot.pause()
        await pilot.click("#log", offset=(30, 0), times=2)
        await pilot.pause()
        assert dashboard.maximised
        assert dashboard.panel == "log"


async def test_enter_on_the_loss_is_the_crosshair_and_a_click_focuses():
    """Two clicks inside the chart show all of it again, as before."""
    app = make()
    async with app.run_test(size=(120, 36)) as pilot:
        dashboard = await ready(pilot)
        view = app._cockpit.view
        panel_of(dashboard, "loss").focus()
        await pilot.press("enter")
        assert view.viewport.cursor == app._cockpit.state.newest_place
        await pilot.press("enter")
        assert view.viewport.cursor is None
        await pilot.press("plus")
        assert view.viewport.part is not None
        await pilot.click("#loss", offset=(40, 8), times=2)
        await pilot.pause()
        assert view.viewport.part is None
        focused = app.screen.focused
        assert isinstance(focused, Widget)
        assert focused.id == "loss"
