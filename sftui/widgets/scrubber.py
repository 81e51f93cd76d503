"""The bar of a replay: where the clock is, and what there is to jump to."""

from __future__ import annotations

from textual.events import Click

from sftui.drawing.canvas import Grid, Span, text_width
from sftui.drawing.roles import Back, Ink, style
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.replay_status import Tape
from sftui.widgets.panel import Panel

_MARKS = {
    "validation": ("╵", Ink.VAL),
    "eval": ("•", Ink.SECOND),
    "checkpoint": ("◆", Ink.SAVED),
    "control": ("▾", Ink.WARN),
    "attempt": ("▾", Ink.WARN),
    "alarm": ("▴", Ink.BAD),
    "lost": ("✗", Ink.BAD),
    "end": ("▪", Ink.DIM),
}
"""Later kinds cover earlier ones where two share a cell."""


class Scrubber(Panel):
    """One row: the time, the bar, the speed. A click goes there."""

    TOPICS = Topic.ALL & ~Topic.LOG

    _bar: tuple[int, int] = (0, 0)

    async def on_click(self, event: Click) -> None:
        start, end = self._bar
        if end - start > 1 and start <= event.x < end:
            part = (event.x - start) / (end - start - 1)
            await self.run_action(f"app.scrub_to({part!r})")

    def paint(self, grid: Grid) -> None:
        tape = self.view.tape
        grid.back(0, 0, grid.width, Back.BAR)
        if tape is None:
            return
        bar = Back.BAR
        text, dim = style(Ink.TEXT, bold=True, back=bar), style(Ink.DIM, back=bar)
        mark = "▶" if tape.moving else "■" if tape.at_end else "‖"
        col = grid.text(0, 1, f"{mark} ", style(Ink.WARN, bold=True, back=bar))
        here, total = self._times(tape)
        col = grid.text(0, col, here, text)
        if grid.width >= 50:
            col = grid.text(0, col, f" of {total}", dim)
        end = grid.width - 1
        for spans in self._right(tape, text, dim):
            if end - sum(text_width(t) for t, _ in spans) < col + 24:
                break
            end = grid.right(0, end, spans, col) - 2
        self._track(grid, tape, col + 2, end)

    def _right(self, tape: Tape, text: int, dim: int) -> list[list[Span]]:
        """From the right border inwards, most important first."""
        parts: list[list[Span]] = [[(tape.speed_words, text)]]
        if len(tape.stages) > 1:
            name = clean(tape.stages[tape.stage], 24)
            parts.append([(f"stage {tape.stage + 1}/{len(tape.stages)} ", dim), (name, text)])
        if tape.last_step is not None and tape.clock != "steps":
            here, total = self._steps(tape)
            parts.append([(f"step {here} of {total}", dim)])
        return parts

    def _times(self, tape: Tape) -> tuple[str, str]:
        """The clock and its end: a time, or steps where the log has no times."""
        if tape.clock == "steps":
            here, total = self._steps(tape)
            return f"step {here}", total
        return fmt.clock(tape.seconds), fmt.clock(tape.total_seconds)

    def _steps(self, tape: Tape) -> tuple[str, str]:
        """Updates so far and at the end, counted as the header does: after step 0 it is one."""
        here, planned = max(tape.step or 0, self.state.done), self.state.planned
        last = tape.last_step or 0
        total = planned if planned == last + 1 else last
        return fmt.count(here), fmt.count(max(here, total))

    def _track(self, grid: Grid, tape: Tape, start: int, end: int) -> None:
        self._bar = (start, end)
        cells = end - start
        if cells < 2:
            return
        bar = Back.BAR
        knob = start + round(tape.part * (cells - 1))
        grid.rule(0, start, end, "─", style(Ink.FAINT, back=bar))
        grid.rule(0, start, knob, "━", style(Ink.TRAIN, back=bar))
        order = list(_MARKS)
        for mark in sorted(tape.marks, key=lambda m: order.index(m.kind)):
            char, ink = _MARKS[mark.kind]
            grid.put(0, start + round(mark.part * (cells - 1)), char, style(ink, back=bar))
        grid.put(0, knob, "●", style(Ink.TEXT, bold=True, back=bar))
