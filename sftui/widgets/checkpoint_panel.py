"""The checkpoints of the run, newest first; the starting weights are the last row."""

from __future__ import annotations

from textual.events import MouseDown

from sftui.drawing.canvas import Grid, Span, fit
from sftui.drawing.roles import Back, Role, style, task_role
from sftui.drawing.short_names import short_names
from sftui.state.records import Checkpoint, Topic
from sftui.statistics.scored import accuracy_of
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.text.paths import typed_path
from sftui.view.empty_words import nothing_yet
from sftui.widgets.panel import Panel


class CheckpointPanel(Panel):
    """Step, validation loss, accuracies, size and age."""

    TOPICS = Topic.CHECKPOINTS | Topic.VALIDATION | Topic.EVALS | Topic.RUN
    can_focus = True
    opens = "app.browse_chosen"

    chosen: int | None = None
    """Step of the row that was clicked; None before."""
    _top = 0
    """Rows scrolled away."""
    _steps: tuple[int, ...] = ()
    """Of the rows, as they were painted last."""

    def on_mouse_scroll_up(self) -> None:
        self._scroll(-1)

    def on_mouse_scroll_down(self) -> None:
        self._scroll(1)

    def _scroll(self, by: int) -> None:
        self._top += by
        self.rebuild()

    def on_mouse_down(self, event: MouseDown) -> None:
        """Choose the row: what enter or a second click then opens."""
        if 0 <= event.y - 2 < len(self._steps):
            self.chosen = self._steps[event.y - 2]
            self.rebuild()

    @property
    def clock(self) -> tuple[str, ...]:
        """The ages, as they are written."""
        rows = self._shown(self.grid.height)
        return tuple(self.view.age(self.state, row.t) for row in rows)

    def copied(self) -> str:
        """The paths of the checkpoints that are there, newest first, a line each."""
        rows = [row.path for row in self.state.checkpoint_rows() if not row.removed]
        folder = self.view.folder
        paths = [path if folder is None else typed_path(folder / path) for path in rows if path]
        return "\n".join(clean(path, 4000) for path in paths) or super().copied()

    def paint(self, grid: Grid) -> None:
        rows, kept = self._shown(grid.height), self.state.checkpoint_rows().kept
        title = [("checkpoints", style(Role.TITLE, bold=True))]
        notes: list[Span] = [(f"{kept} to resume from", style(Role.FAINT))] if kept else []
        grid.frame(title, notes, border=self.border)
        if not rows:
            grid.text(
                1,
                2,
                fit(nothing_yet("checkpoint", self.state, self.view), grid.width - 4),
                style(Role.FAINT),
            )
            return
        columns = self._columns(grid.width - 4)
        heads = short_names([clean(task, 60) for task in self.state.evals], 6)
        for name, end in columns.items():
            grid.right(1, 2 + end, [(heads.get(clean(name, 60), name), style(Role.FAINT))], 2)
        self._steps = tuple(row.step for row in rows[: max(0, grid.height - 3)])
        best = self.state.best_validation
        for i, row in enumerate(rows[: max(0, grid.height - 3)]):
            is_best = best is not None and row.step == best.step and not row.removed
            is_best = is_best and not row.exported
            self._row(grid, 2 + i, row, columns, is_best=is_best)

    def _shown(self, height: int) -> list[Checkpoint]:
        """Those that a panel of this height has room for, from the one that was scrolled to, and
        the last of all: everything is compared with the start."""
        rows, room = self.state.checkpoint_rows(), height - 3
        self._top = max(0, min(self._top, len(rows) - room))
        if len(rows) > room > 1:
            return [*rows[self._top : self._top + room - 1], rows[-1]]
        return rows[: max(1, room)]

    def _columns(self, width: int) -> dict[str, int]:
        """Column ends, relative; what does not fit is dropped from the right of this list."""
        wanted = [("checkpoint", 13), ("val", 8), ("size", 6), ("age", 5)]
        tasks = [(task, 7) for task in self.state.evals]
        used = sum(cells for _, cells in wanted)
        shown = []
        for name, cells in tasks:
            if used + cells > width:
                break
            used += cells
            shown.append((name, cells))
        ends, at = {}, 0
        for name, cells in [*wanted[:2], *shown, *wanted[2:]]:
            if at + cells > width:
                break
            at += cells
            ends[name] = at
        if "checkpoint" in ends:
            ends["checkpoint"] = 12  # over the names, which are set from the left
        return ends

    def _row(
        self, grid: Grid, row: int, item: Checkpoint, columns: dict[str, int], *, is_best: bool
    ) -> None:
        if row >= grid.height - 1:
            return
        faded = item.removed
        text = style(Role.FAINT if faded else Role.TEXT, bold=is_best)
        if item.kind == "start":
            mark, name = ("▷", style(Role.DIM)), "start"
        elif item.exported:
            what = "nanochat" if item.kind == "nanochat" else "export"
            mark, name = ("⇪", style(Role.SAVED)), what
        else:
            mark, name = ("◆", style(Role.SAVED)), f"step {fmt.count(item.step)}"
        if faded:
            mark = ("◇", style(Role.FAINT))
        if is_best:
            mark = ("★", style(Role.GOOD, bold=True))
        grid.text(row, 2, *mark)
        grid.text(row, 4, fit(name, 14), text)
        end = 2 + columns.get("val", -2)
        loss = self.state.checkpoint_loss(item)
        if loss is not None:
            grid.right(row, end, [(fmt.loss(loss), style(Role.FAINT if faded else Role.VAL))], 2)
        for i, (column, by_step) in enumerate(self.state.evals.items()):
            result = by_step.get(item.step)
            if result is None or column not in columns:
                continue
            role = Role.FAINT if faded else task_role(i)
            percent = fmt.percent(accuracy_of(result)).removesuffix("%")
            grid.right(row, 2 + columns[column], [(percent, style(role))], 2)
        dim = style(Role.FAINT if faded else Role.DIM)
        if "size" in columns and item.kind != "start":
            words = "gone" if faded else fmt.size(item.size_bytes)
            grid.right(row, 2 + columns["size"], [(words, dim)], 2)
        if "age" in columns:
            age = self.view.age(self.state, item.t)
            grid.right(row, 2 + columns["age"], [(age, dim)], 2)
        if is_best or item.step == self.chosen:
            grid.back(row, 1, grid.width - 1, Back.ROW)
        if item.step == self.chosen:
            grid.put(row, 1, "▌", style(Role.FOCUS, back=Back.ROW))
