"""The run panel: every setting, what it came to, and what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from textual.content import Content

from sftui.drawing.canvas import fit, text_width
from sftui.screens.page import Page
from sftui.view.run_facts import Section

_NAME, _VALUE = 26, 24
"""Cells of the first two columns; the first grows with the names of another's settings."""
_NARROW = 70
"""Narrower than this, a meaning stands under its setting."""


class RunPanel(Page):
    """Opened by `i`; what is not known yet is not listed."""

    PAGE_ID, WIDEST, FRAME = "run-panel", 118, 7

    def __init__(self, sections: Sequence[Section]) -> None:
        super().__init__()
        self._sections = sections

    def content(self, width: int) -> Content:
        return run_panel_content(self._sections, width)


def run_panel_content(sections: Sequence[Section], width: int) -> Content:
    """The page as styled text, wrapped to `width` cells."""
    lines: list[Content | str | tuple[str, str]] = []
    longest = max((text_width(fact.name) for _, facts in sections for fact in facts), default=0)
    column = max(_NAME, min(longest + 1, width // 2))
    if not sections:
        lines.append(Content.styled("The run has not said yet what it is.\n", "$role-faint"))
    for title, facts in sections:
        lines += [Content.styled(title, "bold $role-title"), "\n"]
        for fact in facts:
            name = fit(fact.name, column - 1).ljust(column)
            value = fact.value + (f" → {fact.effective}" if fact.effective else "")
            lines += [Content.styled(f"  {name}", "$role-dim")]
            wide = width >= _NARROW and text_width(value) < _VALUE
            beside = ("\n" + " " * (2 + column)).join(
                textwrap.wrap(value, max(16, width - 2 - column))
            )
            lines.append(Content.styled(value.ljust(_VALUE) if wide else beside, "bold"))
            if fact.meaning:
                start = 2 + column + _VALUE if wide else 6
                wrapped = textwrap.wrap(fact.meaning, max(16, width - start)) or [""]
                if not wide:
                    lines.append("\n" + " " * start)
                indent = "\n" + " " * start
                lines.append(Content.styled(indent.join(wrapped), "$role-faint"))
            lines.append("\n")
        lines.append("\n")
    return Content.assemble(*lines)
