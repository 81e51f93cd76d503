"""A page of text over the dimmed screen: scrolled by some keys, closed by any other."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from sftui.screens.modal import Modal

CLOSES = "any key or a click closes this page"
"""On the lower border of every page."""
_SCROLLS = ("up", "down", "pageup", "pagedown", "home", "end", "tab", "shift+tab")


class Page(Modal[None]):
    """A modal screen with one text, wrapped again when the width changes."""

    PAGE_ID: ClassVar[str]
    """For the style sheet."""
    WIDEST: ClassVar[int]
    """Cells of the page with its frame, where the screen has them."""
    FRAME: ClassVar[int]
    """Cells of border, padding, scroll bar and what is left free beside it."""

    def content(self, width: int) -> Content:
        """The text, wrapped to `width` cells."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with VerticalScroll(id=self.PAGE_ID) as page:
            page.border_subtitle = CLOSES
            yield Static(markup=False)

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = max(20, min(self.WIDEST, self.app.size.width) - self.FRAME)
        self.query_one(Static).update(self.content(width))

    def on_click(self, event: events.Click) -> None:
        """Anywhere but on the scroll bar."""
        if event.widget is self or isinstance(event.widget, Static | VerticalScroll):
            self.dismiss()

    def on_key(self, event: events.Key) -> None:
        if event.key in _SCROLLS:
            return
        event.stop()
        self.dismiss()
