"""The runs on the chart: letter, mark, name, how it stands, its losses. One row each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from textual.events import Click

from sftui.drawing.canvas import Grid, Span, fit, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.short_names import short_id
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.compare.overlaid_runs import Contender, Overlay
    from sftui.state.run_state import RunState


class OverlayList(Panel):
    """The chosen row has a tint and a pointer; a hidden run is faint and says so."""

    can_focus = True

    def __init__(self, state: RunState, overlay: Overlay, *, id: str) -> None:
        super().__init__(state, overlay.view, id=id)
        self.overlay = overlay
        self._top = 0

    def paint(self, grid: Grid) -> None:
        rows, overlay = grid.height - 2, self.overlay
        if rows < 1:
            return
        last = max(0, len(overlay.contenders) - rows)
        self._top = min(max(self._top, overlay.chosen - rows + 1), overlay.chosen, last)
        for row, contender in enumerate(overlay.contenders[self._top : self._top + rows]):
            self._row(grid, 1 + row, contender)
        title: list[Span] = [("runs", style(Role.TITLE, bold=True))]
        left = len(overlay.contenders) - rows
        notes: list[Span] = [(f"{left} more", style(Role.FAINT))] if left > 0 else []
        grid.frame(title, notes, border=self.border)

    def copied(self) -> str:
        """Every run with its whole name and its numbers, a line each."""
        lines = []
        for place, contender in enumerate(self.overlay.contenders):
            numbers = self._numbers(contender, place == self.overlay.pinned)
            words = ["".join(text for text, _ in spans).strip() for spans in reversed(numbers)]
            facts = ", ".join(word for word in words if word)
            lines.append(f"{contender.letter} {clean(contender.title, 200)}: {facts}")
        return "\n".join(lines)

    def _row(self, grid: Grid, row: int, contender: Contender) -> None:
        overlay, dim = self.overlay, style(Role.DIM)
        place = overlay.contenders.index(contender)
        chosen, pinned = place == overlay.chosen, place == overlay.pinned
        own = style(Role.FAINT if contender.hidden else contender.role, bold=pinned)
        col = grid.text(row, 1, "›" if chosen else " ", style(Role.FOCUS, bold=True))
        col = grid.text(row, col, f"{contender.letter} {contender.mark} ", own)
        end, title = grid.width - 2, clean(contender.title, 80)
        for rank, spans in enumerate(self._numbers(contender, pinned)):
            # The name comes before all but the most important.
            least = 12 if rank < 2 else min(36, text_width(title))
            if end - sum(text_width(text) for text, _ in spans) < col + least + 2:
                break
            end = grid.right(row, end, spans, col) - 2
        grid.text(row, col, _shortened(title, end - col), own if pinned else dim)
        if chosen:
            grid.back(row, 1, grid.width - 1, Back.ROW)

    def _numbers(self, contender: Contender, pinned: bool) -> list[list[Span]]:
        """From the right border inwards, most important first."""
        state, dim, text = contender.state, style(Role.DIM), style(Role.TEXT)
        words = "hidden" if contender.hidden else "pinned" if pinned else ""
        parts: list[list[Span]] = [[(f"{words:<6}", style(Role.WARN if pinned else Role.FAINT))]]
        known = [v for v in state.validation_list() if math.isfinite(v.loss)]
        if known:
            parts.append([(f"{known[-1].metric if known[-1].metric != 'loss' else 'val'} ", dim)])
            parts[-1].append((fmt.loss(known[-1].loss), text))
        else:
            last = contender.last_loss(self.view.smoothing_share)
            parts.append([("train ", dim), (fmt.loss(last), text)])
        parts.append([(f"{fmt.si(state.done)} steps", dim)])
        parts.append([(contender.status, dim)])
        return parts

    def on_click(self, event: Click) -> None:
        place = self._top + event.y - 1
        if 0 <= place < len(self.overlay.contenders) and 1 <= event.y < self.size.height - 1:
            by = place - self.overlay.chosen
            self.call_later(self.run_action, f"screen.choose({by})")


def _shortened(title: str, cells: int) -> str:
    """A run's id loses its time of day first: what follows tells runs apart."""
    return fit(title if text_width(title) <= cells else short_id(title, "…"), cells)
