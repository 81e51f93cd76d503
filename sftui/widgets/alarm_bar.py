"""The active alarms under the header, each with what to do about it; no row without one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sftui.drawing.canvas import Grid, fit, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.state.records import Alarm, Topic
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.widgets.panel import Panel

_BESIDE = 30
"""Cells of the mark, and of the step and how to hide it, beside an alarm's name and words."""


_FEW = 3
"""Lines from which the worst alarm has two, whatever comes after it."""


class AlarmBar(Panel):
    """The worst first; one whose words are too long for a line takes two where there is room."""

    TOPICS = Topic.ALARMS | Topic.VIEW | Topic.RUN

    def paint(self, grid: Grid) -> None:
        alarms = self.view.alarms(self.state)
        for row in range(grid.height):
            grid.back(row, 0, grid.width, Back.ROW)
        shown, row = alarms[: grid.height], 0
        if len(shown) == grid.height >= _FEW and _is_long(shown[0], grid.width):
            # What to do about the worst is worth more than the name of the least.
            shown.pop()
        for i, alarm in enumerate(shown):
            spare = grid.height - row - (len(shown) - i)
            lines = 2 if spare > 0 and _is_long(alarm, grid.width) else 1
            left = len(alarms) - len(shown) if i == len(shown) - 1 else 0
            self._alarm(grid, row, alarm, lines, left)
            row += lines

    def _alarm(self, grid: Grid, row: int, alarm: Alarm, lines: int, left: int) -> None:
        """Paint one alarm; `left`: how many more there are than have room."""
        event = alarm.event
        role = Role.BAD if event.severity == "error" else Role.WARN
        mark, text = style(role, bold=True, back=Back.ROW), style(Role.TEXT, back=Back.ROW)
        col = grid.text(row, 1, f"▲ {_name(alarm)}  ", mark)
        end, notes = grid.width - 1, []
        if event.step is not None:
            notes.append(f"step {fmt.count(event.step)}")
        if alarm.count > 1:
            notes.append(f"{alarm.count} times")
        if left:
            notes.append(f"{left} more")
        if row == 0:
            notes.append("a hides")
        words = " · ".join(notes)
        if end - col > text_width(words) + 30:
            end = grid.right(row, end, [(words, style(Role.DIM, back=Back.ROW))], col) - 2
        told = clean(event.text, 400)
        if lines == 1 or text_width(told) <= end - col:
            grid.text(row, col, fit(told, end - col), text)
            return
        first = (textwrap.wrap(told, max(8, end - col)) or [""])[0]
        grid.text(row, col, fit(first, end - col), text)
        rest = told[len(first) :].strip()
        grid.text(row + 1, 3, fit(rest, grid.width - 4), text)


def rows_wanted(alarms: Sequence[Alarm], width: int) -> int:
    """Lines in which all of them could be read."""
    return sum(2 if _is_long(alarm, width) else 1 for alarm in alarms)


def _is_long(alarm: Alarm, width: int) -> bool:
    """Whether its words and what stands beside them are more than a line."""
    words = text_width(clean(alarm.event.text, 400)) + text_width(_name(alarm))
    return words + _BESIDE > width


def _name(alarm: Alarm) -> str:
    return clean(alarm.event.kind, 24).replace("_", " ")
