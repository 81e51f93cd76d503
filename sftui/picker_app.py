"""The screen of `sftui` typed alone: the app around `screens.picker`."""

from __future__ import annotations

import time
from pathlib import Path

from textual.screen import Screen

from engine.run import run_dir
from sftui import diagnostics
from sftui.cockpit.screen_request import Onward
from sftui.diagnostics import ExitCode
from sftui.keys import keymap as keymap_module
from sftui.keys import preferences as preferences_module
from sftui.keys.keymap import Keymap
from sftui.keys.preferences import Preferences
from sftui.screens.picker import PickerScreen, Words
from sftui.sources.run_briefs import memory_path
from sftui.sources.run_entries import EntryFeed
from sftui.terminal.terminal_app import TerminalApp
from sftui.text.clean import clean

AGAIN = ("pick",)
"""The words that show the picker, in `commands.onward`."""


class PickerApp(TerminalApp):
    """The picker as a program; what was picked is shown when it has closed."""

    def __init__(
        self,
        feed: EntryFeed,
        preferences: Preferences | None = None,
        keymap: Keymap | None = None,
        *,
        said: str = "",
    ) -> None:
        super().__init__(preferences, keymap)
        self.onward: Onward | None = None
        self.picker = PickerScreen(feed, self.keys, self._picked, now=time.time, said=said)

    def get_default_screen(self) -> Screen[None]:
        return self.picker

    def _picked(self, words: Words) -> None:
        self.onward = Onward(words=words, back=AGAIN) if words else None
        self.exit()

    def forget_colours(self) -> None:
        for panel in (self.picker.list, self.picker.footer):
            panel.forget_colours()


def run_screen(runs_dir: Path | None = None, said: str = "") -> tuple[ExitCode, Onward | None]:
    """Show the picker until something is picked or the user leaves; returns what was picked.

    `said`: why the last pick was not opened.
    """
    keymap = keymap_module.load()
    if keymap.said:
        diagnostics.note(keymap.said)
    feed = EntryFeed(run_dir.runs_root(runs_dir), Path.cwd(), memory_path())
    app = PickerApp(feed, preferences_module.load(), keymap, said=said)
    from sftui.terminal import ascii_glyphs  # noqa: PLC0415  as in `app.run_screen`

    app.ascii = ascii_glyphs.needed()
    app.run_in_terminal()
    if app.ended_by is not None:
        return ExitCode(128 + app.ended_by), None
    if app._exception is not None:
        diagnostics.note(f"the screen failed: {clean(str(app._exception), 300)}")
        return ExitCode.RUN_FAILED, None
    return ExitCode.DONE, app.onward
