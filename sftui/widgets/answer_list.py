"""What checkpoints answered to prompts of the browser; answers to one prompt stand together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftui.checkpoints.answers import answer_text, lines_of, paint_lines
from sftui.drawing.canvas import Grid
from sftui.drawing.roles import Role, style
from sftui.state.records import Topic
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.checkpoints.prompts import Sampler
    from sftui.state.run_state import RunState
    from sftui.view.view import View


class AnswerList(Panel):
    """Answers by prompt, scrolled by the browser's keys and the wheel."""

    TOPICS = Topic.NOTHING

    def __init__(self, state: RunState, view: View, sampler: Sampler, *, id: str) -> None:
        super().__init__(state, view, id=id)
        self.sampler = sampler
        self.top = 0

    def scroll_lines(self, by: int) -> None:
        self.top = max(0, self.top + by)
        self.rebuild()

    def on_mouse_scroll_up(self) -> None:
        self.scroll_lines(-3)

    def on_mouse_scroll_down(self) -> None:
        self.scroll_lines(3)

    def copied(self) -> str:
        """The answers to the prompt that was asked last, whole."""
        groups = self.sampler.groups()[:1]
        return answer_text([(prompt, a.label, a.text) for prompt, said in groups for a in said])

    def paint(self, grid: Grid) -> None:
        lines = lines_of(self.sampler.groups(), grid.width - 5)
        self.top = max(0, min(self.top, len(lines) - (grid.height - 2)))
        below = len(lines) - self.top - (grid.height - 2)
        unit = "line" if below == 1 else "lines"
        notes = [(f"{below} {unit} below · shift+↓", style(Role.DIM))] if below > 0 else []
        title = [("answers", style(Role.TITLE, bold=True)), (" · greedy", style(Role.DIM))]
        grid.frame(title, notes, border=self.border)
        paint_lines(grid, lines, self.top)
