"""The run panel: every setting, what it came to, and what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from sftui.drawing.canvas import fit, text_width
from sftui.view.run_facts import Section

_NAME, _VALUE = 26, 24
"""Cells of the first two columns."""
_NARROW = 70
"""Narrower than this, a meaning stands under its setting."""


class Facts(ModalScreen[None]):
    """Any key closes it, except those that scroll."""

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        self._sections = sections

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="facts"):
            yield Static(markup=False)

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        # Border, padding and the scroll bar.
        width = max(20, min(118, self.app.size.width) - 7)
        self.query_one(Static).update(facts_content(self._sections, width))

    def on_key(self, event: events.Key) -> None:
        if event.key in ("up", "down", "pageup", "pagedown", "home", "end", "tab", "shift+tab"):
            return
        event.stop()
        self.dismiss()


def facts_content(sections: Sequence[Section], width: int) -> Content:
    """The page as styled text, wrapped to `width` cells."""
    lines: list[Content | str | tuple[str, str]] = []
    if not sections:
        lines.append(Content.styled("The run has not said yet what it is.\n", "$ink-faint"))
    for title, facts in sections:
        lines += [Content.styled(title, "bold $ink-title"), "\n"]
        for fact in facts:
            name = fit(fact.name, _NAME - 1).ljust(_NAME)
            value = fact.value + (f" → {fact.effective}" if fact.effective else "")
            lines += [Content.styled(f"  {name}", "$ink-dim")]
            wide = width >= _NARROW and text_width(value) < _VALUE
            beside = ("\n" + " " * (2 + _NAME)).join(
                textwrap.wrap(value, max(16, width - 2 - _NAME))
            )
            lines.append(Content.styled(value.ljust(_VALUE) if wide else beside, "bold"))
            if fact.meaning:
                start = 2 + _NAME + _VALUE if wide else 6
                wrapped = textwrap.wrap(fact.meaning, max(16, width - start)) or [""]
                if not wide:
                    lines.append("\n" + " " * start)
                indent = "\n" + " " * start
                lines.append(Content.styled(indent.join(wrapped), "$ink-faint"))
            lines.append("\n")
        lines.append("\n")
    lines.append(Content.styled("any key closes this page", "$ink-faint"))
    return Content.assemble(*lines)
