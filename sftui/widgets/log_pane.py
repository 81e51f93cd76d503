"""The log: what happened, newest at the bottom, followed unless a user scrolls back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.events import Click, Key, Paste

from sftui.checkpoints.answers import wrap
from sftui.drawing.canvas import Grid, Span, fit, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.logbook.event_lines import time_of_day
from sftui.logbook.log_book import LogBook
from sftui.logbook.log_content import Line, Window
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.state.run_state import RunState
    from sftui.view.view import View

_PROMPT_END = "▌"
_STEPS = ("next", "previous", "end")
_LEAD = 12
"""Cells of a line that are shown before a match that would else be cut off."""


class LogPane(Panel):
    """The log with its filter and search. Only visible lines are read and formatted."""

    opens = "app.open_line"

    TOPICS = Topic.LOG | Topic.VIEW
    can_focus = True
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEFAULT_KEYS.of_mode("log"))]

    def __init__(self, state: RunState, view: View, *, id: str) -> None:
        super().__init__(state, view, id=id)
        rebind(self, view.keys.of_mode("log"))
        self._places: dict[int, int] = {}
        """Row of the pane -> place of the line that stands there."""

    # ---- keys and mouse --------------------------------------------------------------------

    async def on_mouse_scroll_up(self) -> None:
        await self.run_action("app.scroll_log(-3)")

    async def on_mouse_scroll_down(self) -> None:
        await self.run_action("app.scroll_log(3)")

    async def on_key(self, event: Key) -> None:
        """While a query is typed, every key goes into it."""
        if not self.view.log.typing:
            return
        action = {
            "enter": "accept_search",
            "escape": "end_search",
            "backspace": "erase_search(False)",
            "ctrl+u": "erase_search(True)",
            "up": "step_search(-1)",
            "down": "step_search(1)",
        }.get(event.key)
        if action is None and event.is_printable and event.character:
            action = f"type_search({event.character!r})"
        event.stop()
        event.prevent_default()
        if action is not None:
            await self.run_action(f"app.{action}")

    async def on_paste(self, event: Paste) -> None:
        if self.view.log.typing:
            event.stop()
            await self.run_action(f"app.type_search({event.text!r})")

    def on_blur(self) -> None:
        if self.view.log.typing:
            self.call_later(self.run_action, "app.accept_search")

    def copied(self) -> str:
        """The line under the cursor, whole; without a cursor the newest in sight."""
        line = self.view.log.line_at_cursor(self.state)
        return "" if line is None else self.view.log.whole(self.state, line)

    async def action_log_cursor(self, by: int) -> None:
        await self.run_action(f"app.move_log({by})")

    async def action_open_line(self) -> None:
        await self.run_action("app.open_line")

    def on_click(self, event: Click) -> None:
        """The cursor to the line under the mouse; `Panel` opens it at the second click."""
        place = self._places.get(event.y)
        if place is not None:
            self.view.log.go(self.state, place)
            self.rebuild()

    # ---- drawing ---------------------------------------------------------------------------

    def paint(self, grid: Grid) -> None:
        book = self.view.log
        rows = grid.height - 2
        window = book.window(self.state, max(1, rows))
        grid.frame(self._title(book, window, grid.width), self._notes(window), border=self.border)
        if rows < 1:
            return
        if not window.lines and book.name != "all":
            grid.text(1, 2, fit("no such line so far", grid.width - 4), style(Role.FAINT))
        pattern, timed, current = book.pattern, book.content.timed, book.content.current
        cursor = book.cursor if self.has_focus else None
        self._places = {}
        if book.wrapped:
            self._wrapped(grid, window.lines, rows, cursor)
            return
        for i, line in enumerate(window.lines):
            self._places[1 + i] = line.place
            self._line(grid, 1 + i, line, pattern, timed, line.place == current)
            if line.place == cursor:
                self._mark(grid, 1 + i, 1 + i)

    def _title(self, book: LogBook, window: Window, width: int) -> list[Span]:
        dim = style(Role.DIM)
        title: list[Span] = [("log", style(Role.TITLE, bold=True))]
        if book.name != "all":
            title.append((f" · {book.name}", style(Role.VAL)))
        if book.typing or book.query:
            cells = max(8, width - 40 - len(book.name))
            query = book.query
            while text_width(query) > cells:
                query = query[1:]
            title.append((" /", style(Role.WARN, bold=True)))
            title.append((query, style(Role.TEXT, bold=True)))
            if book.typing:
                title.append((_PROMPT_END, style(Role.WARN)))
            if words := book.search_words(self.state):
                title.append((f" · {words}", dim))
            later, earlier, end = (self.view.keys.by_id(f"search_{what}").shown for what in _STEPS)
            hint = f" · {later} later · {earlier} earlier · {end} ends"
            if book.typing:
                hint = " · enter keeps · esc ends"
            if width >= 100:
                title.append((hint, style(Role.FAINT)))
        elif not book.content.timed and window.lines and window.older is not None:
            at = window.older + len(window.lines)
            if window.newer is not None:
                total = fmt.count(at + window.newer)
                title.append((f" · line {fmt.count(at)} of {total}", dim))
        elif (lost := self.state.log_total - len(self.state.log)) and window.older == lost:
            # There is no journal to go on in.
            title.append((f" · {fmt.count(lost)} older lines are in the file", dim))
        if self.state.dropped:
            title.append((f" · {self.state.dropped} events dropped", style(Role.WARN)))
        return title

    def _notes(self, window: Window) -> list[Span]:
        if window.newer == 0:
            return [("follow ▾", style(Role.FAINT))]
        many = "newer below" if window.newer is None else f"{fmt.count(window.newer)} newer below"
        name = "to_end" if self.view.mode == "replay" else "log_end"
        key = self.view.keys.by_id(name).shown
        return [(f"{many} · {key} follows", style(Role.WARN))]

    def _mark(self, grid: Grid, first: int, last: int) -> None:
        """The rows of the line under the cursor."""
        for row in range(first, last + 1):
            grid.back(row, 1, grid.width - 1, Back.ROW)
            grid.put(row, 1, "▌", style(Role.FOCUS, back=Back.ROW))

    def _wrapped(self, grid: Grid, lines: list[Line], rows: int, cursor: int | None) -> None:
        """Lines in as many rows as they need, the newest at the bottom; that under the cursor is
        always in sight, of one longer than the pane the beginning."""
        timed, room = self.view.log.content.timed, grid.width - 4
        lead = len("00:00:00 ") if timed and grid.width >= 50 else 0
        told = [(line, wrap(_words(line), max(8, room - lead))) for line in lines]
        end = sum(len(pieces) for _, pieces in told)
        top, at = max(0, end - rows), 0
        for line, pieces in told:
            if line.place == cursor:
                top = min(max(top, at + len(pieces) - rows), at)
            at += len(pieces)
        at = -top
        for line, pieces in told:
            for i, piece in enumerate(pieces):
                row = 1 + at + i
                if not 1 <= row <= rows:
                    continue
                self._places[row] = line.place
                if lead and not i:
                    grid.text(row, 2, time_of_day(line.t), style(Role.FAINT))
                grid.text(row, 2 + lead, piece, style(_role(line)))
            if line.place == cursor:
                self._mark(grid, max(1, 1 + at), min(rows, at + len(pieces)))
            at += len(pieces)

    def _line(
        self,
        grid: Grid,
        row: int,
        line: Line,
        pattern: re.Pattern[str] | None,
        timed: bool,
        here: bool,
    ) -> None:
        end = grid.width - 2
        col = 2
        if timed and grid.width >= 50:
            col = grid.text(row, col, time_of_day(line.t) + " ", style(Role.FAINT))
        if line.mark:
            col = grid.text(row, col, line.mark + " ", style(line.role))
        number = style(_role(line))
        if line.times > 1:
            times = f" ×{fmt.count(line.times)}"
            grid.text(row, end - len(times), times, style(Role.VAL, bold=True))
            end -= len(times)
        text, room = line.text, end - col
        found = list(pattern.finditer(text)) if pattern is not None else []
        if found and text_width(text[: found[0].end()]) > room - 1:
            # The match would be cut off: begin a little before it.
            skip = max(0, found[0].start() - min(_LEAD, room // 2))
            text = "…" + text[skip:]
            found = list(pattern.finditer(text)) if pattern is not None else []
        shown = fit(text, room)
        grid.text(row, col, shown, number)
        if here:
            grid.put(row, 1, "▶", style(Role.WARN))
        for match in found:
            start = col + text_width(text[: match.start()])
            stop = min(start + text_width(match[0]), col + text_width(shown))
            if start >= stop:
                continue
            # The line's own colour may not be told from the background in every theme.
            mark = style(Role.TEXT, bold=True, back=Back.CURSOR)
            if here:
                mark = style(Role.ON_BADGE, bold=True, back=Back.WARN)
            grid.styles[row, start:stop] = mark


def _role(line: Line) -> Role:
    """Colour of the words: what warns keeps that of its mark."""
    if line.role in (Role.TEXT, Role.VAL, Role.SAVED):
        return Role.TEXT
    return line.role


def _words(line: Line) -> str:
    """A line with its mark, and how often it came."""
    times = f" ×{fmt.count(line.times)}" if line.times > 1 else ""
    return f"{line.mark} {line.text}{times}" if line.mark else f"{line.text}{times}"
