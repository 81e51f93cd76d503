"""The validation losses: every one of them, with its change from the start and from before."""

from __future__ import annotations

from engine.alarms.source_moves import source_moves
from sftui.drawing.canvas import Grid, Span, fit
from sftui.drawing.roles import Back, Role, style
from sftui.state.records import Topic, Validation
from sftui.statistics.families import PREVIOUS, START
from sftui.statistics.validation_scores import LossChange
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.empty_words import nothing_yet
from sftui.widgets.panel import Panel

_COLUMNS = (("step", 8), ("loss", 9), ("Δstart", 10), ("± s.e.", 9), ("Δprev", 10), ("took", 8))
"""Heads and cells, in order; what does not fit is left out from the right."""

_BASES = {
    "rows": "coloured when clear, row by row",
    "scatter": "coloured when beyond their scatter",
    "nothing": "no losses by row: no verdicts yet",
    "others": "of other rows each: they do not compare",
}
"""What the verdicts rest on, the best first."""

MEANINGS = {"over-fitting": "all rose, over-fitting", "shift": "a shift of the mixture"}


class ValidationTable(Panel):
    """Newest first; the start stays in sight at the bottom."""

    TOPICS = Topic.VALIDATION | Topic.RUN | Topic.VIEW
    can_focus = True

    def paint(self, grid: Grid) -> None:
        results = self.state.validation_list()
        changes = self.view.losses.changes(results)
        title: list[Span] = [("validation", style(Role.TITLE, bold=True))]
        corner: list[Span] = []
        if results:
            named = f" of {clean(results[-1].set_name, 24)}" if results[-1].set_name else ""
            title.append((f" · {results[-1].metric}{named}", style(Role.DIM)))
            corner = [(f"{len(results)} measured", style(Role.FAINT))]
        words = _BASES[changes.basis] if changes.basis is not None else ""
        notes: list[Span] = [(words, style(Role.FAINT))] if len(results) > 1 else []
        grid.frame(title, notes, border=self.border, corner=corner)
        if not results:
            grid.text(
                1,
                2,
                fit(nothing_yet("validation", self.state, self.view), grid.width - 4),
                style(Role.FAINT),
            )
            return
        ends = self._ends(grid.width - 4)
        for name, end in ends.items():
            grid.right(1, 2 + end, [(name, style(Role.FAINT))], 2)
        others = self._other_sets(grid)
        others += self._sources(grid, others)
        room = grid.height - 3 - others
        best = self.state.best_validation
        # Of a log that validates with every row, what has room here and the first.
        rows = list(reversed(results[-max(1, room) :]))
        if len(results) > len(rows):
            rows.append(results[0])
        if len(rows) > room > 2:
            # Neither the best nor the start is ever scrolled away.
            last = [rows[-1]] if best is None or best.step == rows[-1].step else [best, rows[-1]]
            kept = [row for row in rows[: room - len(last)] if row not in last]
            rows = sorted([*kept, *last], key=lambda row: -row.step)
        for i, row in enumerate(rows[: max(0, room)]):
            is_best = best is not None and row.step == best.step
            against = (changes.get((row.step, START)), changes.get((row.step, PREVIOUS)))
            self._row(grid, 2 + i, row, ends, *against, is_best=is_best, newest=i == 0)

    def _other_sets(self, grid: Grid) -> int:
        """The newest loss of every further set of rows, at the bottom; how many lines it took."""
        sets = list(self.state.other_validations.items())[: max(0, (grid.height - 3) // 2)]
        for i, (name, by_step) in enumerate(sets):
            newest = by_step.ordered[-1]
            words = f"{clean(name, 24) or newest.metric} {fmt.loss(newest.loss)} at {newest.step}"
            y = grid.height - 1 - len(sets) + i
            grid.text(y, 2, fit(words, grid.width - 4), style(Role.DIM))
        return len(sets)

    def _sources(self, grid: Grid, below: int) -> int:
        """Losses by source of rows against the best validation; how many lines it took.

        Above `below` lines at the bottom, in what the validations leave free and a third of the
        height at least: what moved most comes first, and the head says what a rise means.
        """
        results, best = self.state.validation_list(), self.state.best_validation
        newest = results[-1]
        losses = newest.loss_by_source
        free = grid.height - 3 - below
        room = max(free // 3, free - len(results) - 1)
        if len(losses) < 2 or room < 2:
            return 0
        base = best.loss_by_source if best is not None else {}
        moves = source_moves(base, losses)
        moved = [*moves.rose, *moves.fell]
        names = [*moved, *(name for name in losses if name not in moved)][: room - 1]
        top = grid.height - 1 - below - len(names) - 1
        words = "by source" + (f", from step {best.step:,}" if best is not None and base else "")
        if newest is not best and moves.meaning != "unknown":
            words += f": {MEANINGS[moves.meaning]}"
        grid.text(top, 2, fit(words, grid.width - 4), style(Role.FAINT))
        for i, name in enumerate(names, start=1):
            change = losses[name] - base[name] if name in base else None
            text = f"{clean(name, 24)} {fmt.loss(losses[name])} {fmt.change(change)}"
            grid.text(top + i, 2, fit(text.rstrip(), grid.width - 4), style(Role.DIM))
        return len(names) + 1

    def _ends(self, width: int) -> dict[str, int]:
        ends, at = {}, 0
        for name, cells in _COLUMNS:
            if at + cells > width:
                break
            at += cells
            ends[name] = at
        return ends

    def _row(
        self,
        grid: Grid,
        row: int,
        found: Validation,
        ends: dict[str, int],
        start: LossChange | None,
        previous: LossChange | None,
        *,
        is_best: bool,
        newest: bool,
    ) -> None:
        words = "start" if found.step == 0 else fmt.count(found.step)
        bold = newest or is_best
        error = fmt.loss(start.error) if start and start.error is not None else ""
        took = fmt.duration(found.seconds) if found.seconds is not None else ""
        cells: dict[str, Span] = {
            "step": (words, style(Role.TEXT if bold else Role.DIM, bold=bold)),
            "loss": (fmt.loss(found.loss), style(Role.VAL, bold=bold)),
            "Δstart": _change(start),
            "± s.e.": (error, style(Role.FAINT)),
            "Δprev": _change(previous),
            "took": (took, style(Role.FAINT)),
        }
        for name, end in ends.items():
            grid.right(row, 2 + end, [cells[name]], 2)
        if is_best:
            grid.text(row, 2, "★", style(Role.GOOD, bold=True))
            grid.back(row, 1, grid.width - 1, Back.ROW)


def _change(found: LossChange | None) -> Span:
    """`▼ 0.0124`: lower is better, and only a clear change has a colour."""
    if found is None:
        return fmt.UNKNOWN, style(Role.FAINT)
    text = fmt.change(found.change)
    if not found.clear:
        return text, style(Role.DIM)
    return text, style(Role.GOOD if found.change < 0 else Role.BAD, bold=True)
