"""The rows of the run picker: runs and logs with their state, losses, results and age."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from textual.events import Click
from textual.message import Message

from sftui.drawing.canvas import Grid, Span, fit, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.short_names import short_names
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.paths import typed_path
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.sources.run_entries import Entry
    from sftui.state.run_state import RunState
    from sftui.view.view import View

_ROLES = {
    "running": Role.GOOD,
    "paused": Role.WARN,
    "finished": Role.DIM,
    "failed": Role.BAD,
    "interrupted": Role.WARN,
    "log": Role.FAINT,
}
_LEAST_NAME, _MOST_NAME = 22, 46
_LEAST_RESULTS = 12
_UPDATES = 15
_DETAIL_ROWS = 3
_HEADED = 3
"""Rows of the border and the heads of the columns."""


class Column(NamedTuple):
    """One column: its head, first cell, and cells."""

    head: str
    start: int
    cells: int


class PickedByMouse(Message):
    """A row was clicked twice."""


class RunList(Panel):
    """Rows with a cursor and marks; the screen says what is listed."""

    TOPICS = Topic.NOTHING
    can_focus = False

    def __init__(self, state: RunState, view: View, *, id: str) -> None:
        super().__init__(state, view, id=id)
        self.rows: Sequence[Entry] = ()
        self.total = 0
        """How many there are without the filter."""
        self.running = 0
        """How many of them live."""
        self.marked: list[str] = []
        """Targets in the order in which they were marked."""
        self.empty: Sequence[tuple[str, str]] = ()
        """What to say where no row is: a line to type (or nothing), and words."""
        self.cursor = 0
        self._top = 0

    # ---- the cursor ------------------------------------------------------------------------

    @property
    def chosen(self) -> Entry | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def set_rows(self, rows: Sequence[Entry], total: int, running: int) -> None:
        """Show these; the cursor stays on its row, where that is still there."""
        before = self.chosen
        self.rows, self.total, self.running = rows, total, running
        places = {entry.target: i for i, entry in enumerate(rows)}
        if before is not None and self.cursor:
            self.cursor = places.get(before.target, self.cursor)
        self.cursor = max(0, min(self.cursor, len(rows) - 1))
        self.rebuild()

    def move(self, by: int) -> None:
        self.cursor = max(0, min(len(self.rows) - 1, self.cursor + by))
        self.rebuild()

    def page(self, by: int) -> None:
        """By as many rows as are in sight."""
        self.move(by * max(1, self._room(self.size.height) - 1))

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or not any more, and go on to the next.

        What may not be read is not marked.
        """
        if self.chosen is None or not self.chosen.readable:
            return
        target = self.chosen.target
        if target in self.marked:
            self.marked.remove(target)
        else:
            self.marked.append(target)
        self.move(1)

    def copied(self) -> str:
        """The target of the row under the cursor."""
        return super().copied() if self.chosen is None else self.chosen.target

    # ---- the mouse -------------------------------------------------------------------------

    def on_click(self, event: Click) -> None:
        """Chooses a row; at its left edge marks it; twice opens it."""
        place = self._top + event.y - 2
        shown = 2 <= event.y < 2 + self._room(self.size.height)
        if not shown or place >= len(self.rows):
            return
        self.cursor = place
        if event.x <= 3:
            self.toggle_mark()
            self.move(-1 if place < len(self.rows) - 1 else 0)
        elif event.chain == 2:
            self.post_message(PickedByMouse())
        self.rebuild()

    def on_mouse_scroll_up(self) -> None:
        self.move(-3)

    def on_mouse_scroll_down(self) -> None:
        self.move(3)

    # ---- drawing ---------------------------------------------------------------------------

    def paint(self, grid: Grid) -> None:
        title: list[Span] = [("runs and logs", style(Role.TITLE, bold=True))]
        if self.total:
            shown = len(self.rows)
            words = fmt.count(self.total)
            title.append((f" · {words if shown == self.total else f'{shown:,} of {words}'}", _DIM))
        if self.running:
            title.append((f" · {self.running} running", style(Role.GOOD)))
        notes: list[Span] = []
        if self.marked:
            more = " · mark another to compare" if len(self.marked) < 2 else " · enter compares"
            notes = [(f"{len(self.marked)} marked{more}", style(Role.WARN))]
        grid.frame(title, notes, border=style(Role.FOCUS))
        if not self.rows:
            self._say_empty(grid)
            return
        columns = self._columns(grid.width)
        for column in columns:
            right = column.head in _RIGHT
            col = column.start + (column.cells - text_width(column.head) if right else 0)
            grid.text(1, col, column.head, style(Role.FAINT))
        room = self._room(grid.height)
        self._top = max(0, min(self._top, len(self.rows) - room, self.cursor))
        self._top = max(self._top, self.cursor - room + 1)
        for i, entry in enumerate(self.rows[self._top : self._top + room]):
            self._row(grid, 2 + i, entry, columns, chosen=self._top + i == self.cursor)
        if self._details(grid.height) and self.chosen is not None:
            self._detail(grid, grid.height - 1 - _DETAIL_ROWS, self.chosen)

    def _details(self, height: int) -> bool:
        return height >= 12

    def _room(self, height: int) -> int:
        """Rows of the list."""
        return max(1, height - _HEADED - (_DETAIL_ROWS if self._details(height) else 0))

    def _columns(self, width: int) -> list[Column]:
        """Those that fit: age, state and loss stay, results go before updates and validation."""
        end = width - 2
        longest = max((text_width(entry.name) for entry in self.rows), default=0)
        name = max(_LEAST_NAME, min(_MOST_NAME, longest))
        wanted = [("state", 12), ("updates", _UPDATES), ("loss", 8), ("best val", 9)]
        room = end - 4 - name - 7
        while len(wanted) > 1 and sum(cells for _, cells in wanted) > room:
            wanted.remove(next(w for w in (wanted[-1], wanted[0]) if w[0] != "state"))
            if len(wanted) == 3:
                # Of what is left, the loss says more than how far it came.
                wanted = [w for w in wanted if w[0] != "updates"]
        if sum(cells for _, cells in wanted) > room:
            name = max(8, room + name - sum(cells for _, cells in wanted))
        columns, at = [Column("name", 4, name)], 4 + name + 1
        for head, cells in wanted:
            columns.append(Column(head, at, cells - 1))
            at += cells
        if end - 7 - at >= _LEAST_RESULTS:
            columns.append(Column("results", at + 2, end - 7 - at - 2))
        columns.append(Column("age", end - 5, 5))
        return columns

    def _row(
        self, grid: Grid, row: int, entry: Entry, columns: list[Column], *, chosen: bool
    ) -> None:
        role = _ROLES.get(entry.state.split(",")[0], Role.FAINT)
        if entry.target in self.marked:
            letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[self.marked.index(entry.target) % 26]
            grid.put(row, 2, letter, style(Role.WARN, bold=True))
        elif entry.live:
            grid.put(row, 2, "●", style(role, bold=True))
        values = {
            "name": (entry.name, style(Role.TEXT, bold=chosen or entry.live)),
            "state": self._state(entry, style(role, bold=entry.live)),
            "updates": (_updates(entry), _DIM),
            "loss": ("" if entry.last_loss is None else fmt.loss(entry.last_loss), _TRAIN),
            "best val": ("" if entry.best_loss is None else fmt.loss(entry.best_loss), _VAL),
            "age": ("" if entry.t is None else self._age(entry.t), _DIM),
        }
        for column in columns:
            if column.head == "results":
                grid.text(row, column.start, _results(entry, column.cells), _DIM)
                continue
            text, number = values[column.head]
            text = _shortened(text, column.cells) if column.head == "name" else text
            text = fit(text, column.cells)
            right = column.head in _RIGHT
            col = column.start + (column.cells - text_width(text) if right else 0)
            grid.text(row, col, text, number)
        if chosen:
            grid.back(row, 1, grid.width - 1, Back.ROW)
            grid.put(row, 1, "▌", style(Role.FOCUS, back=Back.ROW))

    def _state(self, entry: Entry, number: int) -> Span:
        silent = entry.silent(self.view.now())
        if silent:
            return "silent", style(Role.WARN, bold=True)
        # Whose it is stands below, where there is room for a name.
        return (entry.state if entry.readable else "private"), number

    def _age(self, t: float) -> str:
        return fmt.age(max(0.0, self.view.now() - t))

    def _detail(self, grid: Grid, row: int, entry: Entry) -> None:
        grid.rule(row, 1, grid.width - 1, "─", style(Role.BORDER))
        facts = [entry.state]
        if silent := entry.silent(self.view.now()):
            facts.append(f"silent for {fmt.duration(silent)}")
        if entry.done is not None:
            of = "" if entry.planned is None else f" of {fmt.count(entry.planned)}"
            facts.append(f"{fmt.count(entry.done)}{of} updates")
        elif entry.size is not None:
            facts.append(f"{fmt.size(entry.size)}, not read as it is now")
        if entry.best_loss is not None:
            facts.append(f"best validation {fmt.loss(entry.best_loss)}")
        facts += [f"{clean(task, 40)} {fmt.percent(share)}" for task, share in entry.tasks]
        grid.text(row + 1, 2, fit(" · ".join(facts), grid.width - 4), style(Role.TEXT))
        where = typed_path(Path(entry.target))
        grid.text(row + 2, 2, fit(clean(where, 1000), grid.width - 4), style(Role.FAINT))

    def _say_empty(self, grid: Grid) -> None:
        widest = max((text_width(line) for line, _ in self.empty), default=0)
        rows: list[tuple[str, str]] = []
        for line, words in self.empty:
            # A path that is cut cannot be looked up.
            pieces = textwrap.wrap(words, max(8, grid.width - 4)) if not line else [words]
            rows += [(line, piece) for piece in pieces or [""]]
        for i, (line, words) in enumerate(rows[: max(0, grid.height - 2)]):
            col = grid.text(1 + i, 2, fit(line, grid.width - 4), style(Role.WARN, bold=True))
            at = 4 + widest if line else col
            grid.text(1 + i, at, fit(words, max(0, grid.width - 2 - at)), _DIM)


_DIM, _TRAIN, _VAL = style(Role.DIM), style(Role.TRAIN), style(Role.VAL)
_RIGHT = frozenset({"updates", "loss", "best val", "age"})


def _updates(entry: Entry) -> str:
    if entry.done is None:
        return ""
    for number in (fmt.count, fmt.si):
        text = number(entry.done) + ("" if entry.planned is None else f"/{number(entry.planned)}")
        if len(text) < _UPDATES:
            break
    return text


def _shortened(name: str, cells: int) -> str:
    """The end of a name tells runs of a day apart; a path keeps its file."""
    return name if text_width(name) <= cells else "…" + fit(name[::-1], cells - 1)[::-1].lstrip("…")


def _results(entry: Entry, cells: int) -> str:
    """As many results as fit, without a name cut in two."""
    short = short_names([clean(task, 60) for task, _ in entry.tasks], 9) if entry.tasks else {}
    text = ""
    for task, share in entry.tasks:
        piece = f"{short[clean(task, 60)]} {fmt.percent(share)}"
        joined = f"{text}  {piece}" if text else piece
        if text_width(joined) > cells:
            break
        text = joined
    return text
