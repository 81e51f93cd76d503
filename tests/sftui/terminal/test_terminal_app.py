"""Keys that come faster than screens open and close, and what a broken screen ends with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import ComposeResult
from textual.css.query import NoMatches
from textual.geometry import Size
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static

from sftui.keys.key_table import DEFAULT_KEYS
from sftui.screens.command_line import CommandLine
from sftui.screens.help import Help
from sftui.screens.picker import PickerScreen
from sftui.screens.run_panel import RunPanel
from sftui.sources.run_entries import EntryFeed
from sftui.terminal.terminal_app import TerminalApp
from sftui.verbs.completion import Around
from tests.faults.terminal import Terminal
from tests.processes import children, environment


class Asking(ModalScreen[None]):
    """As any screen of ours: it looks for its widgets whenever it is told something."""

    def compose(self) -> ComposeResult:
        yield Static()

    def on_mount(self) -> None:
        self.query_one(Static).update("")

    def on_resize(self) -> None:
        self.query_one(Static).update("")

    def on_paste(self) -> None:
        self.query_one(Input)


SCREENS: dict[str, Callable[[], Screen[Any]]] = {
    "asking": Asking,
    "facts": lambda: RunPanel([]),
    "help": lambda: Help(DEFAULT_KEYS),
    "picker": lambda: PickerScreen(
        EntryFeed(Path("/nowhere"), Path("/nowhere"), None), DEFAULT_KEYS, lambda _: None, now=float
    ),
    "command": lambda: CommandLine(Around(), DEFAULT_KEYS, str),
}


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_that_is_closed_as_it_opens_breaks_nothing(name: str) -> None:
    """`:` and `escape` in one read of the terminal: its Mount came after its widgets were gone."""
    app = TerminalApp()
    async with app.run_test() as pilot:
        for _ in range(3):
            screen = SCREENS[name]()
            app.push_screen(screen)
            await pilot.pause(0)
            app.pop_screen()
            size = Size(90, 30)
            screen.post_message(events.Resize(size, size))
            await pilot.pause()
        for early in (SCREENS[name](), SCREENS[name]()):
            app.push_screen(early)
            app.pop_screen()
            await pilot.pause()
        assert app.is_running
        assert app.screen is app.screen_stack[0]


@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen_that_opens_as_the_app_ends_breaks_nothing(name: str) -> None:
    """`:` and SIGTERM at one moment: it stood on the stack, and its widgets were never made."""
    for turns in range(3):
        app = TerminalApp()
        async with app.run_test():
            app.push_screen(SCREENS[name]())
            for _ in range(turns):
                await asyncio.sleep(0)
            app.exit()
        assert app._exception is None


async def test_an_error_of_an_open_screen_is_none_of_these() -> None:
    """It ends the app, as any error of a handler."""
    app = TerminalApp()

    async def ask() -> None:
        async with app.run_test() as pilot:
            app.push_screen(screen := Asking())
            await pilot.pause()
            screen.post_message(events.Paste("text"))
            await pilot.pause()

    with pytest.raises(NoMatches):
        await ask()


BREAKS = """
from sftui.app import run_screen, SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
from tests.sftui.fake_run import ListSource, fake_run
def break_it(app):
    raise RuntimeError("a handler of ours")
SftuiApp.action_help = break_it
end = run_screen(ScreenRequest(ListSource(fake_run()), "pty"))
print("OUTCOME", end.outcome.name, end.error)
"""


def test_a_screen_that_breaks_over_a_run_that_has_ended_says_so(tmp_path: Path) -> None:
    """The end of the run hid the error: a traceback, and exit code 0."""
    env = environment(SFTUI_CONFIG=str(tmp_path / "config.json"))
    with children() as started:
        screen = Terminal(started, "-c", BREAKS, env=env)
        try:
            screen.wait_for("checkpoints")
            screen.press("?")
            screen.wait()
            assert "OUTCOME FINISHED a handler of ours" in screen.words()
            assert screen.cooked()
        finally:
            screen.close()
