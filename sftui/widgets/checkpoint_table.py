"""The checkpoint browser's table: a cursor over every checkpoint, and what is done with it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from textual.events import Click

from sftui.checkpoints.checkpoint_list import busy_words
from sftui.drawing.canvas import Grid, Span, fit, text_width
from sftui.drawing.roles import Back, Role, style, task_role
from sftui.drawing.short_names import short_names
from sftui.state.records import Topic
from sftui.statistics.scored import accuracy_of
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.paths import typed_path
from sftui.view.empty_words import nothing_yet
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.checkpoints.checkpoint_list import CheckpointList
    from sftui.checkpoints.checkpoint_row import CheckpointRow
    from sftui.state.run_state import RunState
    from sftui.view.view import View

_DETAIL_ROWS = 7
_FLAGS_CELLS = len("best · marked · exported") + 2


class CheckpointTable(Panel):
    """All rows with a cursor; below, where the chosen one lies and how the job stands."""

    TOPICS = Topic.ALL
    can_focus = True
    border_keys = "browser"

    def __init__(
        self, state: RunState, view: View, checkpoints: CheckpointList, *, id: str
    ) -> None:
        super().__init__(state, view, id=id)
        self.checkpoints = checkpoints
        self.cursor = 0
        self.said = ""
        """What the last action did."""
        self.rows: list[CheckpointRow] = []
        self._top = 0

    def reload(self) -> None:
        """Read the disk again; the cursor stays on its checkpoint when others come or go."""
        chosen = self.chosen
        self.rows = self.checkpoints.rows(self.state)
        if chosen is not None:
            same = (i for i, row in enumerate(self.rows) if row.known.path == chosen.known.path)
            self.cursor = next(same, self.cursor)
        self.cursor = max(0, min(self.cursor, len(self.rows) - 1))

    def begin_at(self, step: int) -> None:
        """The cursor on the row of this step, if there is one."""
        self.cursor = next((i for i, r in enumerate(self.rows) if r.step == step), self.cursor)

    @property
    def chosen(self) -> CheckpointRow | None:
        return self.rows[self.cursor] if self.rows else None

    def move(self, by: int) -> None:
        self.cursor = max(0, min(len(self.rows) - 1, self.cursor + by))
        self.said = ""
        self.rebuild()

    def copied(self) -> str:
        """The path of the chosen checkpoint, as it can be typed here."""
        chosen = self.chosen
        if chosen is None:
            return super().copied()
        where = typed_path(chosen.info.path) if chosen.info is not None else chosen.known.path or ""
        return clean(where, 4000) or chosen.name

    def on_click(self, event: Click) -> None:
        if event.y < self.size.height - 1:
            self.move(self._top + event.y - 2 - self.cursor)

    def paint(self, grid: Grid) -> None:
        notes: list[Span] = []
        room = grid.width - 8
        for key in self.view.keys.of_mode("browser"):
            if not key.footer:
                continue
            piece = f"{key.shown} {key.words}  "
            if text_width(piece) > room:
                break
            room -= text_width(piece)
            notes += [
                (key.shown, style(Role.WARN, bold=True)),
                (f" {key.words}  ", style(Role.DIM)),
            ]
        if notes:
            notes[-1] = (notes[-1][0].rstrip(), notes[-1][1])
        title = [("checkpoints", style(Role.TITLE, bold=True))]
        disk = [row.info.size_bytes for row in self.rows if row.info is not None]
        corner: list[Span] = []
        if disk:
            corner = [(f"{len(disk)} on disk, {fmt.size(sum(disk))}", style(Role.DIM))]
        grid.frame(title, notes, border=self.border, corner=corner)
        if not self.rows:
            grid.text(
                1,
                2,
                fit(nothing_yet("checkpoint", self.state, self.view), grid.width - 4),
                style(Role.FAINT),
            )
            return
        columns = self._columns(grid.width - 4)
        heads = short_names([clean(task, 60) for task in self.state.evals], 9)
        for name, (end, _) in columns.items():
            if name == "checkpoint":
                grid.text(1, 4, name, style(Role.FAINT))
                continue
            grid.right(1, 2 + end, [(heads.get(clean(name, 60), name), style(Role.FAINT))], 2)
        detail = _DETAIL_ROWS if grid.height >= 16 else 2
        room = max(1, grid.height - 3 - detail)
        self._top = max(0, min(self.cursor - room // 2, len(self.rows) - room))
        for i, row in enumerate(self.rows[self._top : self._top + room]):
            self._row(grid, 2 + i, row, columns, chosen=self._top + i == self.cursor)
        # Under the table, where the eye is.
        below = 3 + min(len(self.rows), room)
        self._detail(grid, min(below, grid.height - 1 - detail), detail)

    def _columns(self, width: int) -> dict[str, tuple[int, int]]:
        """Name -> end and cells, while they fit."""
        wanted = [("checkpoint", 16), ("val", 9), *((task, 10) for task in self.state.evals)]
        wanted += [("size", 8), ("age", 6), ("", 20)]
        # Size and age stay when there are too many tasks.
        while len(wanted) > 5 and sum(cells for _, cells in wanted) > width:
            wanted.pop(-4)
        found, at = {}, 0
        for name, cells in wanted:
            if at + cells > width:
                break
            at += cells
            found[name] = (at, cells)
        if "" in found:
            at, cells = found[""]
            more = max(0, min(width - at, _FLAGS_CELLS - cells))
            found[""] = (at + more, cells + more)
        return found

    def _row(
        self,
        grid: Grid,
        row: int,
        item: CheckpointRow,
        columns: dict[str, tuple[int, int]],
        *,
        chosen: bool,
    ) -> None:
        gone = item.known.removed or (
            self.checkpoints.run is not None and item.known.kind == "sftui" and item.info is None
        )
        text = style(Role.FAINT if gone else Role.TEXT, bold=chosen)
        mark, role = ("◇", Role.FAINT) if gone else ("◆", Role.SAVED)
        if item.known.kind == "start":
            mark, role = "▷", Role.DIM
        elif item.known.exported:
            mark, role = "⇪", Role.SAVED
        if item.best and not item.known.exported:
            mark, role = "★", Role.GOOD
        grid.text(row, 2, mark, style(role))
        grid.text(row, 4, fit(item.name, 14), text)
        loss = self.state.checkpoint_loss(item.known)
        values: dict[str, Span] = {
            "val": (
                fmt.loss(loss) if loss is not None else "",
                style(Role.FAINT if gone else Role.VAL),
            ),
            "size": (
                "gone" if gone else fmt.size(_size(item)) if _size(item) is not None else "",
                style(Role.FAINT if gone else Role.DIM),
            ),
            "age": (self._age(item), style(Role.FAINT if gone else Role.DIM)),
        }
        for i, (task, by_step) in enumerate(self.state.evals.items()):
            result = by_step.get(item.step)
            percent = fmt.percent(accuracy_of(result)) if result is not None else ""
            role_here = Role.FAINT if gone else task_role(i)
            values[task] = (percent, style(role_here))
        for name, (end, _) in columns.items():
            if name in values:
                grid.right(row, 2 + end, [values[name]], 18)
        if "" in columns:
            end, cells = columns[""]
            words = [
                "best" if item.best else "",
                "marked" if item.marked else "",
                "exported" if item.exported else "",
            ]
            flags = " · ".join(word for word in words if word)
            grid.text(row, 2 + end - cells + 2, fit(flags, cells - 2), style(Role.DIM))
        if chosen:
            grid.back(row, 1, grid.width - 1, Back.ROW)
            grid.put(row, 1, "▌", style(Role.FOCUS, back=Back.ROW))

    def _age(self, item: CheckpointRow) -> str:
        # By the log as the dashboard; the disk alone knows one that no event told of.
        t = item.known.t
        if t is None and item.info is not None:
            t = item.info.created
        return self.view.age(self.state, t)

    def _detail(self, grid: Grid, row: int, rows: int) -> None:
        end = grid.width - 2
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
            tail = job.lines()[-(rows - len(lines)) :] if rows > len(lines) else []
            lines += [(line, style(Role.DIM)) for line in tail]
        chosen = self.chosen
        if chosen is not None and len(lines) < rows:
            where = (
                typed_path(chosen.info.path) if chosen.info is not None else chosen.known.path or ""
            )
            reason = f"({clean(chosen.known.reason, 20)})" if chosen.known.reason else ""
            lines.append((f"{clean(where, 300)}  {reason}".strip(), style(Role.FAINT)))
        # Wrapped: a path that is cut cannot be typed.
        pieces = [
            (piece, number)
            for text, number in lines
            for piece in textwrap.wrap(text, max(8, end - 2), break_on_hyphens=False)
        ]
        for i, (text, number) in enumerate(pieces[:rows]):
            grid.text(row + i, 2, fit(text, end - 2), number)


def _size(item: CheckpointRow) -> int | None:
    return item.info.size_bytes if item.info is not None else item.known.size_bytes
