"""The first frame: the bare outline of the dashboard, drawn with nothing but Textual.

numpy, the events and the panels are another quarter of a second of imports. They
come while this outline is already on the screen, and the dashboard takes its place.
"""

from __future__ import annotations

from typing import Any, cast

from rich.segment import Segment
from textual.app import ComposeResult
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from sftui.drawing.roles import Back, Role, style
from sftui.keys.key_table import KeyTable


class Outline(Widget):
    """A header with the title, one empty frame, a footer with the way out."""

    def __init__(self, title: str, keys: KeyTable) -> None:
        super().__init__()
        self._run_title = title
        self._keys = keys

    def render_line(self, y: int) -> Strip:
        palette = cast(Any, self.app).palette
        width, height = self.size
        border = palette[style(Role.BORDER)]
        bar = palette[style(Role.DIM, back=Back.BAR)]
        if y == 0:
            name = palette[style(Role.TEXT, bold=True, back=Back.BAR)]
            head = [Segment(" ◉ ", bar), Segment("sftui ", name), Segment(self._run_title, bar)]
            return Strip(head).adjust_cell_length(width, bar)
        if y == height - 1:
            leave = self._keys.by_id("quit")
            return Strip([Segment(f" {leave.shown} {leave.words}", bar)]).adjust_cell_length(
                width, bar
            )
        if width < 2 or height < 4:
            return Strip.blank(width, border)
        if y == 1:
            return Strip([Segment("╭" + "─" * (width - 2) + "╮", border)], width)
        if y == height - 2:
            return Strip([Segment("╰" + "─" * (width - 2) + "╯", border)], width)
        word = " opening…" if y == 2 else ""
        inside = Segment(word.ljust(width - 2)[: width - 2], palette[style(Role.DIM)])
        return Strip([Segment("│", border), inside, Segment("│", border)], width)


class FirstFrame(Screen[None]):
    """The screen until the dashboard takes its place."""

    def __init__(self, title: str, keys: KeyTable) -> None:
        super().__init__()
        self._run_title = title
        self._keys = keys

    def compose(self) -> ComposeResult:
        yield Outline(self._run_title, self._keys)
