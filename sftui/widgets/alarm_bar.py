"""What is wrong, and what to do about it: there while something is, gone when nothing is."""

from __future__ import annotations

import textwrap

from sftui import format as fmt
from sftui.canvas import Grid, fit, text_width
from sftui.clean import clean
from sftui.ink import Back, Ink, style
from sftui.panel import Panel
from sftui.records import Topic


class AlarmBar(Panel):
    """One line an alarm, the worst first."""

    TOPICS = Topic.ALARMS | Topic.LOOK | Topic.RUN

    def paint(self, grid: Grid) -> None:
        alarms = self.view.alarms(self.state)
        for row in range(grid.height):
            grid.back(row, 0, grid.width, Back.ROW)
        lines = 2 if grid.height >= 2 * len(alarms) else 1
        room = grid.height // lines
        for i, alarm in enumerate(alarms[:room]):
            row, event = i * lines, alarm.event
            ink = Ink.BAD if event.severity == "error" else Ink.WARN
            mark, text = style(ink, bold=True, back=Back.ROW), style(Ink.TEXT, back=Back.ROW)
            col = grid.text(row, 1, "▲ ", mark)
            name = clean(event.kind, 24).replace("_", " ")
            col = grid.text(row, col, f"{name}  ", mark)
            end = grid.width - 1
            notes = []
            if event.step is not None:
                notes.append(f"step {fmt.count(event.step)}")
            if alarm.count > 1:
                notes.append(f"{alarm.count} times")
            left = len(alarms) - room
            if i == room - 1 and left > 0:
                notes.append(f"{left} more")
            if row == 0:
                notes.append("a hides")
            words = " · ".join(notes)
            if end - col > text_width(words) + 30:
                end = grid.right(row, end, [(words, style(Ink.DIM, back=Back.ROW))], col) - 2
            told = clean(event.text, 400)
            if lines == 1 or text_width(told) <= end - col:
                grid.text(row, col, fit(told, end - col), text)
                continue
            first = (textwrap.wrap(told, max(8, end - col)) or [""])[0]
            grid.text(row, col, fit(first, end - col), text)
            rest = told[len(first) :].strip()
            grid.text(row + 1, 3, fit(rest, grid.width - 4), text)
