"""The evaluations: right answers, accuracy, and differences in points to start and before.

A difference has a colour only when its verdict is `clear`; then it also carries an
arrow, so the colour is never alone. The start is a row like any other and stays in
sight at the bottom.
"""

from __future__ import annotations

from sftui import format as fmt
from sftui.canvas import Grid, Span, fit
from sftui.clean import clean
from sftui.ink import SERIES_INKS, Back, Ink, style
from sftui.panel import Panel
from sftui.records import Topic
from sftui.stats import CLEAR, Scored, accuracy_of, compare

_STEP = 6
_WITH_COUNT, _PLAIN, _SHORT, _ACCURACY = 24, 20, 13, 7
"""Cells of a task: count, accuracy, both differences; no count; difference to start; accuracy."""
_DIFFERENCE = 7


class Benchmarks(Panel):
    """Newest evaluation first."""

    TOPICS = Topic.EVALS | Topic.RUN
    can_focus = True

    def paint(self, grid: Grid) -> None:
        state = self.state
        corner: list[Span] = []
        if state.evaluating is not None and not state.ended:
            words = f"evaluating {clean(state.evaluating.task, 30)}…"
            corner = [(words, style(Ink.SAVED))]
        tasks = list(state.evals)
        room = grid.width - 4 - _STEP
        shown, cells = _fitting(len(tasks), room)
        notes: list[Span] = [("Δ in points, coloured when clear", style(Ink.FAINT))]
        if len(tasks) > shown:
            notes = [(f"{len(tasks) - shown} more tasks", style(Ink.FAINT))]
        title = [("benchmarks", style(Ink.TITLE, bold=True))]
        grid.frame(title, notes if tasks else (), border=self.border, corner=corner)
        if not tasks:
            grid.text(1, 2, fit("no evaluation yet", grid.width - 4), style(Ink.FAINT))
            return
        for i, task in enumerate(tasks[:shown]):
            self._head(grid, 2 + _STEP + i * cells, task, cells, SERIES_INKS[i % len(SERIES_INKS)])
        grid.text(2, 2, "step".rjust(_STEP - 1), style(Ink.FAINT))
        steps = sorted({s for by_step in state.evals.values() for s in by_step}, reverse=True)
        rows = grid.height - 4
        if len(steps) > rows > 1:
            # The start is what everything is compared with: it is never scrolled away.
            steps = [*steps[: rows - 1], steps[-1]]
        for i, step in enumerate(steps[: max(0, rows)]):
            self._row(grid, 3 + i, step, tasks[:shown], cells, newest=i == 0)

    def _head(self, grid: Grid, col: int, task: str, cells: int, ink: Ink) -> None:
        results = self.state.evals[task]
        total = results[max(results)].total
        name = clean(task, 40)
        n = f" n={total}" if total else ""
        end = col + cells - 1
        after = grid.text(1, col + 1, fit(name, cells - 2), style(ink, bold=True), end)
        if after + len(n) <= end:
            grid.text(1, after, n, style(Ink.FAINT))
        for name, at in self._columns(end, cells).items():
            grid.right(2, at, [(name, style(Ink.FAINT))], col)

    def _columns(self, end: int, cells: int) -> dict[str, int]:
        """Ends of the columns of a task that ends at `end`."""
        names = {"%": 0}
        if cells >= _SHORT:
            names = {"Δstart": 0, "%": _DIFFERENCE}
        if cells >= _PLAIN:
            names = {"Δprev": 0, "Δstart": _DIFFERENCE, "%": 2 * _DIFFERENCE}
        if cells >= _WITH_COUNT:
            names["k"] = 2 * _DIFFERENCE + 5
        return {name: end - back for name, back in names.items()}

    def _row(
        self, grid: Grid, row: int, step: int, tasks: list[str], cells: int, *, newest: bool
    ) -> None:
        if row >= grid.height - 1:
            return
        words = "start" if step == 0 else fmt.count(step)
        number = style(Ink.TEXT if newest else Ink.DIM, bold=newest)
        grid.text(row, 2, words.rjust(_STEP - 1), number)
        for i, task in enumerate(tasks):
            results = self.state.evals[task]
            result = results.get(step)
            if result is None:
                continue
            col = 2 + _STEP + i * cells
            end = col + cells - 1
            ink = style(SERIES_INKS[i % len(SERIES_INKS)], bold=newest)
            at = self._columns(end, cells)
            earlier = [s for s in results if s < step]
            if "Δprev" in at:
                before = results[max(earlier)] if earlier else None
                self._difference(grid, row, at["Δprev"], result, before)
            if "Δstart" in at:
                start = results[min(earlier)] if earlier else None
                self._difference(grid, row, at["Δstart"], result, start)
            percent = fmt.percent(accuracy_of(result)).removesuffix("%")
            grid.right(row, at["%"], [(percent, ink)], col)
            if "k" in at and result.correct is not None:
                grid.right(row, at["k"], [(str(result.correct), style(Ink.DIM))], col - 1)
        if newest:
            grid.back(row, 1, grid.width - 1, Back.ROW)

    def _difference(
        self, grid: Grid, row: int, end: int, now: Scored, before: Scored | None
    ) -> None:
        if before is None:
            grid.right(row, end, [(fmt.UNKNOWN, style(Ink.FAINT))])
            return
        difference = compare(now, before)
        if difference is None:
            return
        text = fmt.points(difference.points)
        number = style(Ink.DIM)
        if difference.verdict == CLEAR:
            up = difference.points > 0
            text = ("▲" if up else "▼") + text
            number = style(Ink.GOOD if up else Ink.BAD, bold=True)
        grid.right(row, end, [(text, number)])


def _fitting(num_tasks: int, room: int) -> tuple[int, int]:
    """How many tasks fit, and the cells of each: detail goes before tasks do."""
    for cells in (_WITH_COUNT, _PLAIN, _SHORT):
        if num_tasks * cells <= room:
            return num_tasks, cells
    return max(0, min(num_tasks, room // _ACCURACY)), _ACCURACY
