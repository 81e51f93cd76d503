"""Every key and every mark of the screen, from the one table."""

from __future__ import annotations

import textwrap

from textual.content import Content

from sftui.keys.key_table import GROUPS, PROGRAMS, KeyTable
from sftui.screens.page import CLOSES, Page

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


CHART_MARKS = (
    ("━", "mean of a centred window, over what is lowest and highest in each column, pale"),
    ("●", "a single point, where there are few; one standard error on either side is tinted"),
    ("▴ ▾", "points outside the range of the chart"),
    ("╌", "accuracy of guessing"),
    ("⌖", "pinned to the dashboard"),
)
_MARKS_OF = {"compare": OVERLAY_MARKS, "charts": CHART_MARKS}

_KEYS = 12
"""Cells of the first column."""


class Help(Page):
    """Over a run, a replay, the page of charts, or `sftui compare`."""

    PAGE_ID, WIDEST, FRAME = "help", 84, 8

    def __init__(self, keys: KeyTable, only: str = "") -> None:
        """`only` one group of keys: that of a program of its own."""
        super().__init__()
        self._keys = keys
        self._only = only

    def content(self, width: int) -> Content:
        return help_content(self._keys, self._only, width)


def help_content(keys: KeyTable, only: str = "", width: int = 76) -> Content:
    """The page as styled text, of one group or of all that the screen over a run has.

    What is longer than `width` cells goes on under its beginning, not under the key.
    """
    indent = "\n" + " " * _KEYS
    lines: list[Content | str | tuple[str, str]] = []
    for group, words in GROUPS.items():
        if group != only if only else group in PROGRAMS:
            continue
        lines += [Content.styled(words, "bold $role-title"), "\n"]
        for key in keys.entries:
            if key.group == group:
                told = indent.join(textwrap.wrap(key.help, max(16, width - _KEYS)))
                shown = Content.styled(f"{key.shown:>{_KEYS - 2}}", "bold $role-warn")
                lines += [shown, f"  {told}\n"]
        lines.append("\n")
    lines += [Content.styled("Marks", "bold $role-title"), "\n"]
    for mark, words in _MARKS_OF.get(only, MARKS):
        told = indent.join(textwrap.wrap(words, max(16, width - _KEYS)))
        lines += [Content.styled(f"{mark:>{_KEYS - 2}}", "bold"), f"  {told}\n"]
    lines += ["\n", Content.styled(CLOSES, "$role-faint")]
    return Content.assemble(*lines)
