"""The full screen of `sftui compare`: the app around `screens.overlay`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual.screen import Screen

from sftui import diagnostics
from sftui.compare.overlay_feed import OverlayFeed, open_overlay
from sftui.diagnostics import ExitCode
from sftui.keys import keymap, preferences
from sftui.keys.keymap import Keymap
from sftui.keys.preferences import Preferences
from sftui.screens.overlay import OverlayScreen
from sftui.terminal.terminal_app import TerminalApp
from sftui.text.clean import clean
from sftui.view.view import SMOOTHING


class CompareApp(TerminalApp):
    """Several runs, one screen."""

    def __init__(
        self,
        feed: OverlayFeed,
        liked: Preferences | None = None,
        keymap: Keymap | None = None,
    ) -> None:
        super().__init__(liked, keymap)
        self.overlay = feed.overlay
        self.board = OverlayScreen(feed.overlay, feed.poll)
        if liked is not None:
            self.overlay.view.log_y = liked.log_y
            self.overlay.view.smoothing = liked.smoothing % len(SMOOTHING)

    def get_default_screen(self) -> Screen[None]:
        return self.board

    def forget_colours(self) -> None:
        for panel in self.board.panels:
            panel.forget_colours()


def run_screen(targets: Sequence[str], runs_dir: str | Path | None = None) -> ExitCode:
    """Show them until the user leaves.

    Raises:
        UsageError: one of them is no run and no log.
    """
    feed = open_overlay(targets, runs_dir)
    try:
        own = keymap.load()
        if own.said:
            diagnostics.note(own.said)
        app = CompareApp(feed, preferences.load(), own)
        from sftui.terminal import ascii_glyphs  # noqa: PLC0415  as in `app.run_screen`

        app.ascii = ascii_glyphs.needed()
        app.run_in_terminal()
    finally:
        feed.close()
    broken = app._exception
    if broken is not None:
        diagnostics.note(f"the screen failed: {clean(str(broken), 300)}")
        return ExitCode.RUN_FAILED
    return ExitCode.DONE
