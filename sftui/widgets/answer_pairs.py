"""What two checkpoints answered to the same prompts, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftui.checkpoints.answers import Sides, answer_text, beside_lines, paint_lines
from sftui.checkpoints.pair_words import checkpoint_words
from sftui.drawing.canvas import Grid, Span, fit
from sftui.drawing.roles import Role, style
from sftui.state.records import Topic
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.checkpoints.prompts import Sampler
    from sftui.state.run_state import RunState
    from sftui.view.view import View


class AnswerPairs(Panel):
    """Samples of the run and answers to prompts that a person typed, of two steps."""

    TOPICS = Topic.NOTHING

    def __init__(self, state: RunState, view: View, sampler: Sampler, *, id: str) -> None:
        super().__init__(state, view, id=id)
        self._sampler = sampler
        self.steps = (0, 0)
        """The earlier one and the one that is looked at."""
        self.top = 0
        """Lines scrolled down."""

    def asked(self) -> dict[str, Sides]:
        """Prompt -> answers of both, in the order in which they were asked."""
        told: dict[str, tuple[list[str], list[str]]] = {}
        said = [(s.prompt, s.step, s.text) for s in self.state.samples]
        said += [(s.prompt, s.step, s.text) for s in self._sampler.samples if s.text is not None]
        for prompt, step, text in said:
            for side, at in enumerate(self.steps):
                if step == at:
                    told.setdefault(prompt, ([], []))[side].append(text)
        return dict(told)

    def rows_wanted(self, width: int, height: int) -> int:
        """With its frame, on a screen of `height` rows: at most two fifths of them."""
        lines = beside_lines(self.asked(), width - 5)
        return min(max(1, len(lines)) + 2, max(5, height * 2 // 5))

    def scroll_lines(self, by: int) -> None:
        self.top = max(0, self.top + by)
        self.rebuild()

    def on_mouse_scroll_up(self) -> None:
        self.scroll_lines(-3)

    def on_mouse_scroll_down(self) -> None:
        self.scroll_lines(3)

    def copied(self) -> str:
        """All prompts with both answers, whole."""
        names = [checkpoint_words(step) for step in self.steps]
        return answer_text([
            (prompt, name, text)
            for prompt, sides in self.asked().items()
            for name, texts in zip(names, sides, strict=True)
            for text in texts
        ])  # fmt: skip

    def paint(self, grid: Grid) -> None:
        names = [checkpoint_words(step) for step in self.steps]
        title: list[Span] = [("answers", style(Role.TITLE, bold=True))]
        title.append((f" · {names[0]} │ {names[1]}", style(Role.DIM)))
        asked = self.asked()
        if not asked:
            grid.frame(title, border=self.border)
            words = (
                f"no sample of {names[0]} or {names[1]} is kept; the browser asks one: c, then p"
            )
            grid.text(1, 2, fit(words, grid.width - 4), style(Role.FAINT))
            return
        lines = beside_lines(asked, grid.width - 5)
        rows = grid.height - 2
        self.top = max(0, min(self.top, len(lines) - rows))
        below = len(lines) - self.top - rows
        unit = "line" if below == 1 else "lines"
        notes = [(f"{below} {unit} below · shift+↓", style(Role.DIM))] if below > 0 else []
        grid.frame(title, notes, border=self.border)
        paint_lines(grid, lines, self.top)
