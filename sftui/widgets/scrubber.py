"""The bar of a replay: where the clock is, and what there is to jump to."""

from __future__ import annotations

from dataclasses import dataclass

from textual.events import MouseDown, MouseMove, MouseUp
from textual.message import Message

from sftui.drawing.canvas import Grid, Span, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.replay_status import ReplayStatus
from sftui.widgets.panel import Panel

_MARKS = {
    "validation": ("╵", Role.VAL),
    "eval": ("•", Role.TASK_1),
    "checkpoint": ("◆", Role.SAVED),
    "control": ("▾", Role.WARN),
    "attempt": ("▾", Role.WARN),
    "alarm": ("▴", Role.BAD),
    "lost": ("✗", Role.BAD),
    "end": ("▪", Role.DIM),
}
"""Later kinds cover earlier ones where two share a cell."""
_ORDER = {kind: number for number, kind in enumerate(_MARKS)}
_SHOWN = tuple(_MARKS.values())


@dataclass
class ScrubbedTo(Message):
    """Posted when the bar was pressed, and while the mouse draws the knob along it."""

    part: float
    """Place along the stage, 0 to 1."""


class Scrubber(Panel):
    """One row: the time, the bar, the speed. A click goes there, and the knob can be drawn."""

    TOPICS = Topic.ALL & ~Topic.LOG

    bar: tuple[int, int] = (0, 0)
    """Columns of the bar as it was last painted: the first, and the one after the last."""

    _drawn_to: int | None = None
    """Column that the mouse has drawn the knob to; None while it does not."""

    def on_mouse_down(self, event: MouseDown) -> None:
        start, end = self.bar
        if end - start > 1 and start <= event.x < end:
            self.capture_mouse()
            self._draw_to(event.x)

    def on_mouse_move(self, event: MouseMove) -> None:
        if self._drawn_to is not None and event.button:
            self._draw_to(event.x)

    def on_mouse_up(self, event: MouseUp) -> None:
        if self._drawn_to is not None:
            self._draw_to(event.x)
            self._drawn_to = None
            self.release_mouse()

    def _draw_to(self, column: int) -> None:
        """The place under a column, or the end of the bar that is next to it."""
        start, end = self.bar
        column = min(max(column, start), end - 1)
        if column != self._drawn_to and end - start > 1:
            self._drawn_to = column
            self.post_message(ScrubbedTo((column - start) / (end - start - 1)))

    def paint(self, grid: Grid) -> None:
        replay = self.view.replay
        grid.back(0, 0, grid.width, Back.BAR)
        if replay is None:
            return
        bar = Back.BAR
        text, dim = style(Role.TEXT, bold=True, back=bar), style(Role.DIM, back=bar)
        mark = "▶" if replay.moving else "■" if replay.at_end else "‖"
        col = grid.text(0, 1, f"{mark} ", style(Role.WARN, bold=True, back=bar))
        here, total = self._times(replay)
        col = grid.text(0, col, here, text)
        if grid.width >= 50:
            col = grid.text(0, col, f" of {total}", dim)
        end = grid.width - 1
        for spans in self._mode(grid.width) + self._right(replay, text, dim):
            if end - sum(text_width(t) for t, _ in spans) < col + 24:
                break
            end = grid.right(0, end, spans, col) - 2
        self._track(grid, replay, col + 2, end)

    def _mode(self, width: int) -> list[list[Span]]:
        """What the arrows move: said where they act, first while it is not the clock."""
        keys = self.view.keys
        if self.view.looking:
            end = keys.by_id("look_end").shown
            words = f"crosshair · {end} scrubs again" if width >= 80 else f"crosshair · {end}"
            return [[(words, style(Role.WARN, bold=True, back=Back.BAR))]]
        if width < 140:
            return []
        hint = f"{keys.by_id('open_panel').shown} on the chart: crosshair"
        return [[(hint, style(Role.FAINT, back=Back.BAR))]]

    def _right(self, replay: ReplayStatus, text: int, dim: int) -> list[list[Span]]:
        """From the right border inwards, most important first."""
        parts: list[list[Span]] = [[(replay.speed_words, text)]]
        if len(replay.stages) > 1:
            parts.append(self._stage(replay, text, dim))
        if replay.last_step is not None and replay.clock != "steps":
            here, total = self._steps(replay)
            parts.append([(f"step {here} of {total}{self._logged(replay)}", dim)])
        return parts

    def _times(self, replay: ReplayStatus) -> tuple[str, str]:
        """The clock and its end: a time, or steps where the log has no times."""
        if replay.clock == "steps":
            here, total = self._steps(replay)
            return f"step {here}", total + self._logged(replay)
        # The end is rounded as the header's "took" is.
        total = fmt.clock(round(replay.total_seconds))
        return total if replay.at_end else fmt.clock(replay.seconds), total

    def _steps(self, replay: ReplayStatus) -> tuple[str, str]:
        """Updates so far and at the end, counted as the header does: after step 0 it is one."""
        here, planned = max(replay.step or 0, self.state.done), self.state.planned
        last = replay.last_step or 0
        total = planned if planned == last + 1 else last
        return fmt.count(here), fmt.count(max(here, total))

    def _logged(self, replay: ReplayStatus) -> str:
        """A word where the log ends before what was planned, which the header counts to."""
        planned = self.state.planned
        return " logged" if planned is not None and planned > (replay.last_step or 0) + 1 else ""

    def _stage(self, replay: ReplayStatus, text: int, dim: int) -> list[Span]:
        """Which of the programs of the log this is, how it ended, and another one that failed."""
        bad = style(Role.BAD, bold=True, back=Back.BAR)
        good = style(Role.GOOD, bold=True, back=Back.BAR)
        spans: list[Span] = [(f"stage {replay.stage + 1}/{len(replay.stages)} ", dim)]
        spans.append((clean(replay.stages[replay.stage], 24), text))
        failed = [i for i, end in enumerate(replay.ends) if end.startswith("failed")]
        if replay.stage in failed:
            spans.append((" ✗", bad))
        elif failed:
            # The newest: it is why somebody reads such a log.
            spans.append((f" · ✗ {clean(replay.stages[failed[-1]], 24)} failed", bad))
        elif replay.ends and replay.ends[replay.stage] == "finished":
            spans.append((" ✓", good))
        return spans

    def _track(self, grid: Grid, replay: ReplayStatus, start: int, end: int) -> None:
        self.bar = (start, end)
        cells = end - start
        if cells < 2:
            return
        bar = Back.BAR
        knob = start + round(replay.part * (cells - 1))
        grid.rule(0, start, end, "─", style(Role.FAINT, back=bar))
        grid.rule(0, start, knob, "━", style(Role.TRAIN, back=bar))
        topmost: dict[int, int] = {}
        for mark in replay.marks:
            cell = start + round(mark.part * (cells - 1))
            topmost[cell] = max(topmost.get(cell, 0), _ORDER[mark.kind])
        for cell, number in topmost.items():
            char, role = _SHOWN[number]
            grid.put(0, cell, char, style(role, back=bar))
        grid.put(0, knob, "●", style(Role.TEXT, bold=True, back=bar))
