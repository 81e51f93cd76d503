"""A line of the log with all of its words, however long it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftui.checkpoints.answers import wrap
from sftui.drawing.canvas import Grid, Span, text_width
from sftui.drawing.roles import Role, style
from sftui.logbook.event_lines import time_of_day
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.logbook.log_content import Line
    from sftui.state.run_state import RunState
    from sftui.view.view import View

_LONG = 4000
"""Characters from which on a line is cut into rows where it stands, not at blanks."""


class LinePage(Panel):
    """Scrolled by the keys of its screen and the wheel."""

    TOPICS = Topic.NOTHING
    can_focus = True
    border_keys = "line"

    def __init__(self, state: RunState, view: View, *, id: str) -> None:
        super().__init__(state, view, id=id)
        self._line: Line | None = None
        self._text = ""
        self._step: int | None = None
        self._top = 0
        self._rows: tuple[int, list[str]] = (0, [])
        """The rows, and the width they were made for."""

    def open(self, line: Line, text: str, step: int | None) -> None:
        """Show another line; `step`: the update it belongs to."""
        self._line, self._text, self._step, self._top, self._rows = line, text, step, 0, (0, [])
        self.rebuild()

    def scroll_rows(self, by: int) -> None:
        self._top = max(0, self._top + by)
        self.rebuild()

    def on_mouse_scroll_up(self) -> None:
        self.scroll_rows(-3)

    def on_mouse_scroll_down(self) -> None:
        self.scroll_rows(3)

    def copied(self) -> str:
        """The whole line."""
        return self._text

    def paint(self, grid: Grid) -> None:
        if self._line is None:
            return
        width, rows = max(8, grid.width - 4), grid.height - 2
        if self._rows[0] != width:
            self._rows = (width, rows_of(self._text, width))
        lines = self._rows[1]
        self._top = max(0, min(self._top, len(lines) - rows))
        title: list[Span] = [("line", style(Role.TITLE, bold=True))]
        facts = []
        if self._line.t is not None:
            facts.append(time_of_day(self._line.t))
        if self._step is not None:
            facts.append(f"step {fmt.count(self._step)}")
        if self._line.times > 1:
            facts.append(f"{fmt.count(self._line.times)} times")
        facts.append(f"{fmt.count(len(self._text))} characters")
        title.append((" · " + " · ".join(facts), style(Role.DIM)))
        notes, below = self.key_notes(grid.width - 8), len(lines) - self._top - rows
        if below > 0:
            more = f"  {fmt.count(below)} more rows"
            if sum(text_width(text) for text, _ in notes) + len(more) <= grid.width - 8:
                notes.append((more, style(Role.FAINT)))
        grid.frame(title, notes, border=self.border)
        for i, row in enumerate(lines[self._top : self._top + max(0, rows)]):
            grid.text(1 + i, 2, row, style(Role.TEXT))


def rows_of(text: str, width: int) -> list[str]:
    """Lines in rows of at most `width` cells; a very long one is cut where a row ends."""
    rows: list[str] = []
    for line in text.split("\n"):
        if len(line) <= _LONG:
            rows += wrap(line, width)
        else:
            # Half as many characters where some may be two cells wide.
            size = width if line.isascii() else max(1, width // 2)
            rows += [line[at : at + size] for at in range(0, len(line), size)]
    return rows
