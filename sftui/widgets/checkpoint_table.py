"""The checkpoint browser's table: a cursor over every checkpoint, and what is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from textual.events import Click

from sftui.checkpoints import checkpoint_detail
from sftui.checkpoints.checkpoint_list import busy_words
from sftui.checkpoints.checkpoint_order import (
    AGE,
    SAVED,
    SIZE,
    VAL,
    Order,
    Rows,
    columns,
    ordered,
)
from sftui.compare.same_run import between_words
from sftui.drawing.canvas import Grid, Span, fit
from sftui.drawing.roles import Back, Role, style, task_role
from sftui.drawing.short_names import short_names
from sftui.logbook.event_lines import val_name
from sftui.state.records import Topic
from sftui.statistics.accuracy import wilson
from sftui.statistics.checkpoint_pair import CheckpointPair, told_apart
from sftui.statistics.scored import accuracy_of
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.paths import typed_path
from sftui.view.empty_words import nothing_yet
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sftui.checkpoints.checkpoint_list import CheckpointList
    from sftui.checkpoints.checkpoint_row import CheckpointRow
    from sftui.state.records import Checkpoint
    from sftui.state.run_state import RunState
    from sftui.view.view import View

_FLAGS_CELLS = len("best · marked · exported") + 2
_LEAST_FLAGS = len("best") + 2
_TASK, _INTERVAL = 10, 10
"""Cells of an accuracy, and of its interval where all tasks have room for one."""
_HEADED = 2
"""Rows of the border and the heads of the columns."""
_FEW_DETAILS, _SMALL = 7, 24
"""Rows of details in a page of fewer rows than `_SMALL`; in a larger one they have half of it."""


class _Column(NamedTuple):
    """One column: what it shows, its first cell and the one after its last."""

    name: str
    start: int
    end: int


class CheckpointTable(Panel):
    """All rows with a cursor; below, where the chosen one lies, how the job stands, and the chosen
    one against another."""

    TOPICS = Topic.ALL
    can_focus = True
    border_keys = "browser"
    opens = "screen.shelf_answers"
    double_click_opens = False

    def __init__(
        self, state: RunState, view: View, checkpoints: CheckpointList, *, id: str
    ) -> None:
        super().__init__(state, view, id=id)
        self.checkpoints = checkpoints
        self.cursor = 0
        self.said = ""
        """What the last action did."""
        self.order = Order()
        self.picked: Checkpoint | None = None
        """The one that the others are compared with; None: the best."""
        self.rows = Rows([], {}, None)
        """Empty until `reload`."""
        self._top = 0
        self._columns: list[_Column] = []
        """As they were painted last."""
        self._pair: tuple[object, CheckpointPair] | None = None

    # ---- rows and their order --------------------------------------------------------------

    def reload(self) -> None:
        """Read the disk again; the cursor stays on its checkpoint when others come or go."""
        self._take(self.checkpoints.rows(self.state))

    def sort_by(self, order: Order) -> None:
        """Other rows first; the cursor stays on its checkpoint."""
        self.order, self.said = order, ""
        self._take(self.rows)
        self.rebuild()

    def sort_next(self) -> None:
        """By the column to the right."""
        names = columns(self.state)
        at = names.index(self.order.column) if self.order.column in names else -1
        self.sort_by(Order(names[(at + 1) % len(names)]))

    def sort_turned(self) -> None:
        """The other way round."""
        self.sort_by(self.order.by(self.order.column))

    def _take(self, rows: Rows) -> None:
        chosen = self.chosen
        self.rows = ordered(rows, self.state, self.order)
        if chosen is not None:
            place = self.rows.place_of(chosen.known)
            self.cursor = self.cursor if place is None else place
        if self.picked is not None and self.rows.place_of(self.picked) is None:
            self.picked = None
        self.cursor = max(0, min(self.cursor, len(self.rows) - 1))

    def begin_at(self, step: int) -> None:
        """The cursor on the row of this step, if there is one."""
        place = self.rows.place_of_step(step)
        self.cursor = self.cursor if place is None else place

    @property
    def chosen(self) -> CheckpointRow | None:
        return self.rows[self.cursor] if self.rows else None

    def move(self, by: int) -> None:
        self.cursor = max(0, min(len(self.rows) - 1, self.cursor + by))
        self.said = ""
        self.rebuild()

    # ---- the other one ---------------------------------------------------------------------

    def pick(self) -> None:
        """Compare the others with the chosen one from now on; again: with the best."""
        chosen = self.chosen
        if chosen is not None:
            again = self.picked is not None and self.picked.path == chosen.known.path
            self.picked = None if again else chosen.known
            self.said = "" if again else f"Others are compared with {chosen.name} now."
            self.rebuild()

    @property
    def other(self) -> CheckpointRow | None:
        """What the chosen one is compared with: the picked one, else the best, else the one saved
        before it; None where there is no other."""
        chosen = self.chosen
        if chosen is None:
            return None
        if self.picked is not None and self.picked.step != chosen.step:
            place = self.rows.place_of(self.picked)
            return None if place is None else self.rows[place]
        best = self.state.best_validation
        if best is not None and best.step != chosen.step:
            place = self.rows.place_of_step(best.step)
            if place is not None:
                return self.rows[place]
        return self._beside(chosen.step)

    def _beside(self, step: int) -> CheckpointRow | None:
        """The one saved before that step; before the first, the one after it. Those that were
        validated, where this one was: of others nothing can be said."""
        steps, measured = self.rows.steps, self.state.validations.loss.x
        if self.state.validations.index_of(step) is not None:
            places = np.minimum(measured.searchsorted(steps), len(measured) - 1)
            validated = steps[measured[places] == steps]
            steps = validated if (validated != step).any() else steps
        before, after = steps[steps < step], steps[steps > step]
        if not len(before) and not len(after):
            return None
        place = self.rows.place_of_step(int(before.max() if len(before) else after.min()))
        return None if place is None else self.rows[place]

    def pair(self) -> CheckpointPair | None:
        """The chosen one against the other, judged once while nothing new was measured."""
        chosen, other, state = self.chosen, self.other, self.state
        if chosen is None or other is None:
            return None
        versions = (state.validations.version, *(e.version for e in state.evals.values()))
        key = (chosen.step, other.step, self.rows.measured, versions)
        if self._pair is None or self._pair[0] != key:
            view, among = self.view, self.rows.measured
            found = told_apart(state, view.board, view.losses, chosen.step, other.step, among)
            self._pair = key, found
        return self._pair[1]

    def copied(self) -> str:
        """The path of the chosen checkpoint, as it can be typed here."""
        chosen = self.chosen
        if chosen is None:
            return super().copied()
        return clean(_where(chosen), 4000) or chosen.name

    # ---- the mouse -------------------------------------------------------------------------

    def on_click(self, event: Click) -> None:
        """A row is chosen, twice opened; the head of a column orders by it, again turns it."""
        place = self._top + event.y - _HEADED
        if event.y == 1:
            for column in self._columns:
                if column.name and column.start <= event.x < column.end:
                    self.sort_by(self.order.by(column.name))
        elif 0 <= event.y - _HEADED < self._room(self.size.height) and place < len(self.rows):
            self.move(place - self.cursor)
            if event.chain == 2:
                self.call_later(self.run_action, self.opens)

    def on_mouse_scroll_up(self) -> None:
        self.move(-3)

    def on_mouse_scroll_down(self) -> None:
        self.move(3)

    # ---- drawing ---------------------------------------------------------------------------

    def paint(self, grid: Grid) -> None:
        title = [("checkpoints", style(Role.TITLE, bold=True))]
        corner: list[Span] = []
        if disk := self.rows.disk:
            size = fmt.size(sum(info.size_bytes for info in disk.values()))
            corner = [(f"{len(disk)} on disk, {size}", style(Role.DIM))]
        grid.frame(title, self.key_notes(grid.width - 8), border=self.border, corner=corner)
        if not self.rows:
            words = nothing_yet("checkpoint", self.state, self.view)
            grid.text(1, 2, fit(words, grid.width - 4), style(Role.FAINT))
            return
        tasks, wide = self._fit_columns(grid.width - 4)
        self._heads(grid)
        room = self._room(grid.height)
        self._top = max(0, min(self.cursor - room // 2, len(self.rows) - room))
        chosen, other = self.chosen, self.other
        assert chosen is not None
        for i, row in enumerate(self.rows[self._top : self._top + room]):
            self._row(grid, _HEADED + i, row, tasks, wide=wide, other=other)
            if self._top + i == self.cursor:
                grid.back(_HEADED + i, 1, grid.width - 1, Back.ROW)
                grid.put(_HEADED + i, 1, "▌", style(Role.FOCUS, back=Back.ROW))
        # Under the table, where the eye is.
        below = _HEADED + 1 + min(len(self.rows), room)
        top = min(below, grid.height - 1 - self._least(grid.height))
        news = self.news(min(_FEW_DETAILS, grid.height - 1 - top))
        shown = checkpoint_detail.Shown(
            state=self.state,
            chosen=chosen,
            other=other,
            pair=self.pair(),
            between=[]
            if other is None
            else between_words(self.state, self.view, chosen.step, other.step),
            news=news,
            curve=val_name(self.state.validation_list()),
        )
        checkpoint_detail.paint(grid, top, shown)

    def _least(self, height: int) -> int:
        """Rows of details that are there at any rate."""
        if height < 16:
            return 2
        return _FEW_DETAILS if height < _SMALL else (height - _HEADED - 2) // 2

    def _room(self, height: int) -> int:
        """Rows of the list."""
        return max(1, height - _HEADED - 1 - self._least(height))

    def _fit_columns(self, width: int) -> tuple[Sequence[str], bool]:
        """Lay out the columns; which tasks have one, and whether with their intervals."""
        tasks = list(self.state.evals)
        ends = [(SIZE, 8), (AGE, 6)]
        cells = [(SAVED, 16), (VAL, 9)]
        rest = width - sum(wide for _, wide in (*cells, *ends))
        wide = bool(tasks) and rest >= len(tasks) * (_TASK + _INTERVAL) + _FLAGS_CELLS
        each = _TASK + (_INTERVAL if wide else 0)
        shown = tasks[: max(0, rest // each)]
        rest -= each * len(shown)
        cells += [(task, each) for task in shown] + ends
        if rest >= _LEAST_FLAGS:
            cells.append(("", min(rest, _FLAGS_CELLS)))
        self._columns, at = [], 2
        for name, count in cells:
            if at + count > width + 2:
                break
            self._columns.append(_Column(name, at, at + count))
            at += count
        return shown, wide

    def _heads(self, grid: Grid) -> None:
        heads = short_names([clean(task, 60) for task in self.state.evals], 8)
        for column in self._columns:
            if not column.name:
                continue
            by = column.name == self.order.column
            arrow = ("▴" if self.order.rises else "▾") if by else ""
            words = heads.get(clean(column.name, 60), column.name) + arrow
            number = style(Role.TEXT, bold=True) if by else style(Role.FAINT)
            if column.name == SAVED:
                grid.text(1, 4, words, number)
                continue
            end = column.start + _TASK if column.name in self.state.evals else column.end
            # The arrow stands beside the numbers, not in their place.
            grid.right(1, end + (1 if by else 0), [(words, number)], 2)

    def _row(
        self,
        grid: Grid,
        row: int,
        item: CheckpointRow,
        tasks: Sequence[str],
        *,
        wide: bool,
        other: CheckpointRow | None,
    ) -> None:
        chosen = self._top + row - _HEADED == self.cursor
        gone = item.known.removed or (
            self.checkpoints.run is not None and item.known.kind == "sftui" and item.info is None
        )
        dim = style(Role.FAINT if gone else Role.DIM)
        grid.text(row, 2, *_mark(item, gone=gone))
        number = style(Role.FAINT if gone else Role.TEXT, bold=chosen)
        after = grid.text(row, 4, fit(item.name, 12), number)
        if other is not None and other.known.path == item.known.path:
            # The one that the chosen one is compared with.
            grid.put(row, after + 1, "○", style(Role.DIM if self.picked is None else Role.WARN))
        loss = self.state.checkpoint_loss(item.known)
        size = _size(item)
        values: dict[str, Span] = {
            VAL: (
                fmt.loss(loss) if loss is not None else "",
                style(Role.FAINT if gone else Role.VAL),
            ),
            SIZE: ("gone" if gone else fmt.size(size) if size is not None else "", dim),
            AGE: (self._age(item), dim),
        }
        for column in self._columns:
            if column.name in values:
                grid.right(row, column.end, [values[column.name]], 18)
            elif column.name in tasks:
                self._accuracy(grid, row, column, item, gone=gone, wide=wide)
            elif not column.name:
                words = (("best", item.best), ("marked", item.marked), ("exported", item.exported))
                flags = " · ".join(word for word, there in words if there)
                cells = column.end - column.start - 2
                grid.text(row, column.start + 2, fit(flags, cells), style(Role.DIM))

    def _accuracy(
        self, grid: Grid, row: int, column: _Column, item: CheckpointRow, *, gone: bool, wide: bool
    ) -> None:
        """Of one task, with its 95 % interval where there is room and the counts are known."""
        result = self.state.evals[column.name].get(item.step)
        if result is None:
            return
        role = task_role(list(self.state.evals).index(column.name))
        percent = (fmt.percent(accuracy_of(result)), style(Role.FAINT if gone else role))
        grid.right(row, column.start + _TASK, [percent], 18)
        if wide and result.correct is not None and result.total:
            low, high = wilson(result.correct, result.total)
            words = f"{100 * low:.1f}-{100 * high:.1f}"
            grid.text(row, column.start + _TASK + 1, words, style(Role.FAINT), column.end)

    def _age(self, item: CheckpointRow) -> str:
        # By the log as the dashboard; the disk alone knows one that no event told of.
        t = item.known.t
        if t is None and item.info is not None:
            t = item.info.created
        return self.view.age(self.state, t)

    def news(self, rows: int) -> list[Span]:
        """What the last action did, how the job stands, and where the chosen one lies."""
        job = self.checkpoints.job
        lines: list[Span] = []
        over = job is not None and job.code is not None and self.said == busy_words(job)
        if self.said and not over:
            lines.append((self.said, style(Role.WARN)))
        if job is not None:
            code = job.code
            if code is None:
                lines.append((f"{job.words}…", style(Role.SAVED)))
            else:
                done = "done" if code == 0 else f"failed (exit code {code})"
                role = Role.GOOD if code == 0 else Role.BAD
                lines.append((f"{job.words}: {done}", style(role, bold=True)))
            said = [line.removeprefix("sftui: ") for line in job.lines()]
            tail = said[-(rows - len(lines)) :] if rows > len(lines) else []
            lines += [(line, style(Role.DIM)) for line in tail]
        chosen = self.chosen
        if chosen is not None and len(lines) < rows:
            reason = f"({clean(chosen.known.reason, 20)})" if chosen.known.reason else ""
            lines.append((f"{clean(_where(chosen), 300)}  {reason}".strip(), style(Role.FAINT)))
        if chosen is not None and chosen.known.kind == "start" and len(self.rows) == 1:
            lines.append((nothing_yet("checkpoint", self.state, self.view), style(Role.DIM)))
        return lines[:rows]


def _where(item: CheckpointRow) -> str:
    """Its path as it can be typed here; of one that is not here, as its trainer wrote it."""
    return typed_path(item.info.path) if item.info is not None else item.known.path or ""


def _mark(item: CheckpointRow, *, gone: bool) -> Span:
    if item.best and not item.known.exported:
        return "★", style(Role.GOOD)
    if item.known.kind == "start":
        return "▷", style(Role.DIM)
    if item.known.exported:
        return "⇪", style(Role.SAVED)
    return ("◇", style(Role.FAINT)) if gone else ("◆", style(Role.SAVED))


def _size(item: CheckpointRow) -> int | None:
    return item.info.size_bytes if item.info is not None else item.known.size_bytes
