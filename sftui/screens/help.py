"""Every key and every mark of the screen, from the one table."""

from __future__ import annotations

import textwrap

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from sftui.keys.key_table import GROUPS, PROGRAMS, in_use

MARKS = (
    ("━", "training loss, moving average"),
    ("⣿", "training loss of every step, faint"),
    ("●", "validation loss"),
    ("★", "best validation loss; the starting weights count"),
    ("▴", "spikes above the range of the chart"),
    ("◆ ◇", "checkpoint, and one removed since"),
    ("▾ ┊", "a request that took effect"),
    ("╎", "end of an epoch"),
    ("▲▼", "a clear difference; anything less is grey"),
)

OVERLAY_MARKS = (
    ("━", "training loss, moving average; the pinned run's is thick"),
    ("⣿", "raw training loss of the pinned run, faint"),
    ("A B C", "the run whose curve ends there"),
    ("● ■ ▲", "validation loss, a mark for each run"),
)


_KEYS = 12
"""Cells of the first column."""


class Help(ModalScreen[None]):
    """Any key closes it, except those that scroll."""

    def __init__(self, only: str = "") -> None:
        """`only` one group of keys: that of a program of its own."""
        super().__init__()
        self._only = only

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield Static(markup=False)

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        # Border, padding, the scroll bar and a blank before it.
        width = max(20, min(84, self.app.size.width) - 8)
        self.query_one(Static).update(help_content(self._only, width))

    def on_key(self, event: events.Key) -> None:
        if event.key in ("up", "down", "pageup", "pagedown", "home", "end", "tab", "shift+tab"):
            return
        event.stop()
        self.dismiss()


def help_content(only: str = "", width: int = 76) -> Content:
    """The page as styled text, of one group or of all that the screen over a run has.

    What is longer than `width` cells goes on under its beginning, not under the key.
    """
    indent = "\n" + " " * _KEYS
    lines: list[Content | str | tuple[str, str]] = []
    for group, words in GROUPS.items():
        if group != only if only else group in PROGRAMS:
            continue
        lines += [Content.styled(words, "bold $ink-title"), "\n"]
        for key in in_use():
            if key.group == group:
                told = indent.join(textwrap.wrap(key.help, max(16, width - _KEYS)))
                shown = Content.styled(f"{key.shown:>{_KEYS - 2}}", "bold $ink-warn")
                lines += [shown, f"  {told}\n"]
        lines.append("\n")
    lines += [Content.styled("Marks", "bold $ink-title"), "\n"]
    for mark, words in OVERLAY_MARKS if only else MARKS:
        told = indent.join(textwrap.wrap(words, max(16, width - _KEYS)))
        lines += [Content.styled(f"{mark:>{_KEYS - 2}}", "bold"), f"  {told}\n"]
    lines += ["\n", Content.styled("any key closes this page", "$ink-faint")]
    return Content.assemble(*lines)
