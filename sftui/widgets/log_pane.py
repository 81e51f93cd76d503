"""The log: what happened, newest at the bottom, followed unless a person scrolls back."""

from __future__ import annotations

from itertools import islice

from sftui.canvas import Grid, Span, fit
from sftui.ink import Ink, style
from sftui.panel import Panel
from sftui.records import Topic
from sftui.words import entry, time_of_day


class LogPane(Panel):
    """Only the lines in sight are put into words."""

    TOPICS = Topic.LOG | Topic.LOOK
    can_focus = True

    async def on_mouse_scroll_up(self) -> None:
        await self.run_action("app.scroll_log(-3)")

    async def on_mouse_scroll_down(self) -> None:
        await self.run_action("app.scroll_log(3)")

    def paint(self, grid: Grid) -> None:
        log, view = self.state.log, self.view
        rows = grid.height - 2
        back = min(view.log_back, max(0, len(log) - rows))
        notes: list[Span] = [("follow ▾", style(Ink.FAINT))]
        if back:
            notes = [(f"{back} newer below · end follows", style(Ink.WARN))]
        title: list[Span] = [("log", style(Ink.TITLE, bold=True))]
        lost = self.state.log_total - len(log)
        if lost and back >= len(log) - rows > 0:
            title.append((f" · {lost} older lines are in the file", style(Ink.DIM)))
        if self.state.dropped:
            title.append((f" · {self.state.dropped} events dropped", style(Ink.WARN)))
        grid.frame(title, notes, border=self.border)
        if rows < 1:
            return
        newest_first = islice(reversed(log), back, back + rows)
        for i, event in enumerate(reversed(list(newest_first))):
            line = entry(event)
            if line is None:
                continue
            row, end = 1 + i, grid.width - 2
            col = 2
            if grid.width >= 50:
                col = grid.text(row, col, time_of_day(event.stamp.t) + " ", style(Ink.FAINT))
            plain = line.ink in (Ink.DIM, Ink.TEXT, Ink.VAL, Ink.SAVED)
            col = grid.text(row, col, line.mark + " ", style(line.ink))
            number = style(Ink.DIM if line.ink == Ink.DIM else Ink.TEXT if plain else line.ink)
            grid.text(row, col, fit(line.text, end - col), number)
