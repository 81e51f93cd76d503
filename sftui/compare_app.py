"""The full screen of `sftui compare`: the app around `screens.overlay`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from textual.screen import Screen

from sftui import diagnostics
from sftui.compare.overlay_feed import OverlayFeed, open_overlay
from sftui.compare.shared_axis import AxisName
from sftui.diagnostics import ExitCode
from sftui.keys import keymap as keymap_module
from sftui.keys import preferences as preferences_module
from sftui.keys.keymap import Keymap
from sftui.keys.preferences import Preferences
from sftui.screens.overlay import OverlayScreen
from sftui.sources.reading import Reading
from sftui.terminal.terminal_app import TerminalApp
from sftui.text.clean import clean


class CompareApp(TerminalApp):
    """The screen over several runs; it remembers nothing of how they were shown."""

    def __init__(
        self,
        feed: OverlayFeed,
        preferences: Preferences | None = None,
        keymap: Keymap | None = None,
        *,
        by: AxisName = "step",
        metric: str | None = None,
    ) -> None:
        """`by`: what x measures first. `metric`: what the chart shows, if not the loss."""
        super().__init__(preferences, keymap)
        feed.overlay.axis_name = by
        self.overlay = feed.overlay
        self.board = OverlayScreen(feed.overlay, feed.poll, self.keys, metric=metric)
        if preferences is not None:
            self.board.control.prefer(replace(preferences, whole=False, x_axis="step"))

    def get_default_screen(self) -> Screen[None]:
        return self.board

    def forget_colours(self) -> None:
        for screen in {self.board, self.board.front}:
            for panel in screen.panels:
                panel.forget_colours()


def run_screen(
    targets: Sequence[str],
    runs_dir: str | Path | None = None,
    readings: Sequence[Reading] = (),
    *,
    by: AxisName = "step",
    metric: str | None = None,
) -> ExitCode:
    """Show these runs and logs until the user leaves. `readings`: how each is read; `by` and
    `metric` as of `CompareApp`.

    Raises:
        UsageError: one of them is no run and no log.
    """
    feed = open_overlay(targets, runs_dir, readings=readings)
    try:
        keymap = keymap_module.load()
        if keymap.said:
            diagnostics.note(keymap.said)
        app = CompareApp(feed, preferences_module.load(), keymap, by=by, metric=metric)
        from sftui.terminal import ascii_glyphs  # noqa: PLC0415  as in `app.run_screen`

        app.ascii = ascii_glyphs.needed()
        app.run_in_terminal()
    finally:
        feed.close()
    if app.ended_by is not None:
        return ExitCode(128 + app.ended_by)
    broken = app._exception
    if broken is not None:
        diagnostics.note(f"the screen failed: {clean(str(broken), 300)}")
        return ExitCode.RUN_FAILED
    return ExitCode.DONE
