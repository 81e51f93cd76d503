"""Rows of one step: a list with a cursor, and the chosen row token by token."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from textual.events import Click

from sftui.drawing.canvas import Grid, Span, fit, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.checkpoints.step_rows import ShownRow, StepRows
    from sftui.state.run_state import RunState
    from sftui.view.view import View

BETWEEN = "·"
"""Stands between two tokens."""
BREAK = "⏎"
"""A line end in a token: the row goes on below, as in the text."""
_BESIDE = 100
"""Columns from which the row stands beside the list."""
_LIST = 44
_HEAD = 3


class RowTable(Panel):
    """A list of rows, and one of them."""

    TOPICS = Topic.ALL
    can_focus = True
    border_keys = "rows"

    def __init__(self, state: RunState, view: View, rows: StepRows, *, id: str) -> None:
        super().__init__(state, view, id=id)
        self.rows = rows
        self.cursor = 0
        self.scrolled = 0
        """Lines of the chosen row above its first one shown."""
        self._top = 0
        self._most_scroll = 0

    def move(self, by: int) -> None:
        """To another row."""
        count = len(self.rows.rows or ())
        self.cursor = max(0, min(count - 1, self.cursor + by))
        self.scrolled = 0
        self.rebuild()

    def scroll_row(self, by: int) -> None:
        """Through the chosen row."""
        self.scrolled = max(0, min(self._most_scroll, self.scrolled + by))
        self.rebuild()

    def on_click(self, event: Click) -> None:
        if event.y < self.size.height - 1:
            self.move(self._top + event.y - _HEAD - self.cursor)

    def copied(self) -> str:
        """The chosen row as the model reads it."""
        rows = self.rows.rows
        if not rows:
            return super().copied()
        row = rows[self.cursor]
        return f"{row.where}\n{row.fault or ''.join(row.tokens).replace(BREAK, chr(10))}"

    def paint(self, grid: Grid) -> None:
        title: list[Span] = [("rows", style(Role.TITLE, bold=True))]
        title.append((f" · step {fmt.count(self.rows.step)}", style(Role.DIM)))
        grid.frame(title, self.key_notes(grid.width - 8), border=self.border)
        rows = self.rows.rows
        if not rows:
            empty = "no row stands in this step" if rows is not None else "reading the rows…"
            for i, line in enumerate(textwrap.wrap(self.rows.problem or empty, grid.width - 4)):
                if 1 + i < grid.height - 1:
                    grid.text(1 + i, 2, line, style(Role.DIM))
            return
        self.cursor = max(0, min(self.cursor, len(rows) - 1))
        self._head(grid, rows)
        beside = grid.width >= _BESIDE
        space = grid.height - 1 - _HEAD
        shown = space if beside else max(3, min(len(rows), space // 3))
        end = _LIST if beside else grid.width - 1
        self._top = max(0, min(self.cursor - shown // 2, len(rows) - shown))
        for i, row in enumerate(rows[self._top : self._top + shown]):
            self._item(grid, _HEAD + i, end, row, chosen=self._top + i == self.cursor)
        if beside:
            for below in range(_HEAD, grid.height - 1):
                grid.put(below, end, "│", style(Role.AXIS))
            self._row(grid, _HEAD, end + 2, rows[self.cursor])
        else:
            self._row(grid, _HEAD + shown + 1, 2, rows[self.cursor])

    def _head(self, grid: Grid, rows: tuple[ShownRow, ...]) -> None:
        """All rows in one line, and what the list's columns are."""
        tokens = sum(len(row.tokens) for row in rows)
        spans: list[Span] = [(f"{len(rows):,} rows", style(Role.TEXT, bold=True))]
        spans.append((f"  {tokens:,} tokens", style(Role.DIM)))
        taught = sum(row.supervised for row in rows)
        spans.append((f"  {taught:,} supervised", style(Role.GOOD)))
        if cut := sum(bool(row.dropped) for row in rows):
            spans.append((f"  {cut:,} cut", style(Role.WARN)))
        if silent := sum(row.silent for row in rows):
            spans.append((f"  {silent:,} without loss", style(Role.WARN)))
        grid.spans(1, 2, spans, grid.width - 2)
        grid.text(2, 2, fit("tokens  superv.  source", grid.width - 4), style(Role.FAINT))

    def _item(self, grid: Grid, line: int, end: int, row: ShownRow, *, chosen: bool) -> None:
        col = grid.text(line, 2, f"{len(row.tokens):>6,} ", style(Role.TEXT, bold=chosen), end)
        role = Role.WARN if row.silent else Role.GOOD
        col = grid.text(line, col, f"{row.supervised:>8,}  ", style(role), end)
        mark = f" cut {row.dropped:,}" if row.dropped else ""
        words = fit(row.source or row.where, max(1, end - col - 1 - len(mark)))
        col = grid.text(line, col, words, style(Role.DIM), end)
        grid.text(line, col, mark, style(Role.WARN), end)
        if chosen:
            grid.back(line, 1, end, Back.ROW)

    def _row(self, grid: Grid, line: int, col: int, row: ShownRow) -> None:
        """Where it is from, and its tokens, those that are learned in green."""
        end, last = grid.width - 2, grid.height - 1
        if line >= last:
            return
        about = row.where + (f" · {row.dropped:,} more tokens are cut" if row.dropped else "")
        about += "" if row.fault or not row.silent else " · no token of it is learned"
        grid.text(line, col, fit(about, end - col), style(Role.FAINT))
        if row.fault:
            for i, words in enumerate(textwrap.wrap(row.fault, max(8, end - col))):
                if line + 1 + i < last:
                    grid.text(line + 1 + i, col, words, style(Role.BAD))
            return
        lines = _wrapped(row, max(8, end - col))
        room = last - line - 1
        self._most_scroll = max(0, len(lines) - room)
        self.scrolled = min(self.scrolled, self._most_scroll)
        for i, spans in enumerate(lines[self.scrolled : self.scrolled + room]):
            grid.spans(line + 1 + i, col, spans, end)
        if self.scrolled < self._most_scroll:
            # On the left: the keys are on the right of the frame.
            more = f" ↓ {self._most_scroll - self.scrolled:,} more lines "
            grid.text(last, 2, more, style(Role.DIM), 22)


def _wrapped(row: ShownRow, width: int) -> list[list[Span]]:
    """Tokens as lines of that many cells, broken where the text breaks."""
    plain, learned, dot = style(Role.DIM), style(Role.GOOD), style(Role.FAINT)
    lines: list[list[Span]] = [[]]
    used = 0
    for token, supervised in zip(row.tokens, row.mask, strict=True):
        look = learned if supervised else plain
        if used:
            lines[-1].append((BETWEEN, dot))
            used += 1
        for piece in _pieces(token, width):
            wide = text_width(piece)
            if used + wide + 1 > width and used:
                lines.append([])
                used = 0
            lines[-1].append((piece, look))
            used += wide
        if token.endswith(BREAK):
            lines.append([])
            used = 0
    return lines


def _pieces(token: str, width: int) -> list[str]:
    """A token, or parts of one that is longer than a line."""
    if text_width(token) < width:
        return [token]
    step = max(1, (width - 1) // 2)
    return [token[at : at + step] for at in range(0, len(token), step)]
