"""The header: what run this is, how it is, how far it got and how long the rest takes.

One row says the vital things; a second row, when there is one, says who runs it and
where the events come from. Things fall away from the least important to the badge.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine import events as ev
from sftui.drawing.canvas import Grid, Span, fit, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.short_names import short_id
from sftui.logbook.event_lines import evaluating, parameters, ranks
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.widgets.panel import Panel
from sftui.widgets.startup import PHASES

BADGES: Mapping[ev.Badge, tuple[str, Back]] = {
    "starting": ("STARTING", Back.BUSY),
    "running": ("RUNNING", Back.GOOD),
    "paused": ("PAUSED", Back.WARN),
    "stopping": ("STOPPING", Back.WARN),
    "finished": ("FINISHED", Back.GOOD),
    "stopped": ("STOPPED", Back.QUIET),
    "failed": ("FAILED", Back.BAD),
}


class RunHeader(Panel):
    """One or two rows over the full width: badge, progress, time left; name and source."""

    TOPICS = Topic.RUN | Topic.STEPS | Topic.EVALS | Topic.CONTROLS | Topic.VIEW

    @property
    def clock(self) -> int | None:
        """The second, while the run goes on."""
        return None if self.state.ended or self.view.trouble else int(self.view.now())

    def paint(self, grid: Grid) -> None:
        for row in range(grid.height):
            grid.back(row, 0, grid.width, Back.BAR)
        vital = grid.height - 1
        self._progress(grid, vital, named=grid.height == 1)
        if grid.height > 1:
            self._identity(grid, 0)

    # ---- who -------------------------------------------------------------------------------

    def _run_name(self) -> str:
        run = self.state.run
        return clean((run.name if run else "") or self.view.title or self.state.run_id, 80)

    def _identity(self, grid: Grid, row: int) -> None:
        bar = Back.BAR
        dim, faint = style(Role.DIM, back=bar), style(Role.FAINT, back=bar)
        col = grid.spans(row, 1, self._mark())
        name = fit(self._run_name(), grid.width - col - 2)
        col = grid.text(row, col, name, style(Role.TEXT, back=bar))
        end = grid.width - 1
        # Of a run that has ended nothing comes any more.
        over = self.state.ended and self.view.replay is None
        if self.view.transport and not over:
            words = fit(clean(self.view.transport, 160), max(0, end - col - 3))
            end = grid.right(row, end, [(words, faint)], col + 3)
        run = self.state.run
        if run is None:
            return
        facts = [word] if (word := ranks(run)) else []
        if size := parameters(run):
            facts.append(size)
        if run.source:
            facts.append(f"from {clean(run.source, 60)}")
        if run.recipe and clean(run.recipe, 40) not in self._run_name():
            facts.append(clean(run.recipe, 40))
        if self.state.attempt > 1:
            facts.append(f"attempt {self.state.attempt}")
        for fact in facts:
            piece = f" · {fact}"
            if col + text_width(piece) > end - 2:
                break
            col = grid.text(row, col, piece, dim)

    def _mark(self) -> list[Span]:
        bar = Back.BAR
        alive = self.state.badge in ("running", "starting") and not self.view.trouble
        alive = alive and self.view.replay is None
        dot = style(Role.GOOD if alive else Role.FAINT, back=bar)
        return [("◉ ", dot), ("sftui ", style(Role.TEXT, bold=True, back=bar))]

    # ---- how far ---------------------------------------------------------------------------

    def _badge(self) -> list[Span]:
        replay = self.view.replay
        if replay is not None:
            word = "FOLLOW" if replay.following and not replay.paused else "REPLAY"
            speed = "paused" if replay.paused and not replay.at_end else ""
            speed = replay.speed_words if replay.moving else speed
            badge = f" {word} {speed} " if speed else f" {word} "
            spans = [(badge, style(Role.ON_BADGE, bold=True, back=Back.WARN))]
            said = "" if self.state.badge == "starting" else f" {clean(self.state.badge, 12)}"
            if self.state.badge == "paused":
                said = " run paused"  # the badge before it speaks of the clock
            if replay.over and not self.state.ended:
                # Nobody knows what became of the run; that it runs is the log's word of then.
                said = " log ends"
            return [*spans, (said, style(Role.DIM, back=Back.BAR))] if said else spans
        if self.view.trouble:
            return [(" LOST ", style(Role.ON_BADGE, bold=True, back=Back.BAD))]
        state = self.state.badge
        word, back = BADGES.get(state, (clean(state, 12).upper() or "?", Back.QUIET))
        spans = [(f" {word} ", style(Role.ON_BADGE, bold=True, back=back))]
        pending = self.view.pending_words()
        if pending:
            spans.append((f" {pending}", style(Role.WARN, back=Back.BAR)))
        return spans

    def _doing(self) -> str:
        """The phase in words; nothing while it plainly trains."""
        state = self.state
        if state.ended or self.view.trouble:
            # The badge says that it was stopped.
            return clean(self.view.trouble or state.reason, 200).removeprefix("stop asked for ")
        if state.evaluating is not None:
            return evaluating(state.evaluating, state.eval_progress)
        if state.phase is None or state.phase.end is not None or state.badge == "paused":
            return ""
        if state.phase.name == "train" and len(state.steps):
            return ""
        return PHASES.get(state.phase.name) or clean(state.phase.name, 40)

    def _progress(self, grid: Grid, row: int, *, named: bool) -> None:
        bar = Back.BAR
        text, dim = style(Role.TEXT, bold=True, back=bar), style(Role.DIM, back=bar)
        state, width = self.state, grid.width
        col = 1
        if named and width >= 50:
            col = grid.spans(row, col, self._mark())
        badge = self._badge()
        badge_width = sum(text_width(t) for t, _ in badge)
        step = fmt.count(state.done)
        planned = state.planned
        if planned is not None:
            step += f"/{fmt.count(planned)}"
        # Name, then badge, then the step: the name gives way first.
        room = width - col - badge_width - len(step) - 9
        if named and room >= 8 and width >= 50:
            # Before the run has told its name there is its id.
            name = fit(short_id(self._run_name()), min(room - 1, max(12, width // 5)))
            col = grid.text(row, col, name + " ", dim)
        col = grid.spans(row, col, badge, width)
        if col + len(step) + 7 <= width:
            col = grid.text(row, col, "  step ", dim)
        elif col + len(step) + 1 <= width:
            col += 1
        else:
            step = ""  # a number cut short is another number
        col = grid.text(row, col, step, text) + 1
        end = width - 1
        for spans in self._right_side(dim, text):
            # Time left comes before the bar, the bar before everything else.
            room = 8 if spans[0][0].startswith("eta") else 22
            if end - sum(text_width(t) for t, _ in spans) < col + room:
                continue
            end = grid.right(row, end, spans, col) - 3
        self._middle(grid, row, col, end, dim)

    def _right_side(self, dim: int, text: int) -> list[list[Span]]:
        """From the right border inwards, most important first."""
        state, view = self.state, self.view
        parts: list[list[Span]] = []
        if not state.ended and (left := view.eta(state)) is not None:
            parts.append([("eta ", dim), (fmt.clock(left), text)])
        if (elapsed := view.elapsed(state)) is not None:
            word = "took " if state.ended else "elapsed "
            still = state.ended or (view.replay is not None and view.replay.at_end)
            parts.append([(word, dim), (fmt.clock(round(elapsed) if still else elapsed), text)])
        speed = state.steps.last("tokens_per_second")
        if speed is not None and not state.ended:
            parts.append([(fmt.si(speed), text), (" tok/s", dim)])
        return parts

    def _middle(self, grid: Grid, row: int, col: int, end: int, dim: int) -> None:
        """The bar with its percentage, and the phase in what room it leaves."""
        planned, bar = self.state.planned, Back.BAR
        doing = self._doing()
        if planned:
            fraction = self.state.done / planned
            # All of it is said of all of it alone, whatever the rounding.
            most = 1.0 if fraction >= 1.0 else 0.999
            percent = f" {fmt.percent(min(most, fraction))}"
            room = end - col - len(percent)
            # Words go before the bar, which says again what the numbers do; how a run ended goes
            # before its percentage too.
            said = text_width(doing) + 3 if doing else 0
            if self.state.ended and end - col - len(percent) < said:
                percent, room = "", end - col
            cells = min(60, room - said)
            if cells >= 6 and percent:
                grid.bar(
                    row,
                    col,
                    col + cells,
                    fraction,
                    style(Role.TRAIN, back=bar),
                    style(Role.TROUGH, back=bar),
                )
                col = grid.text(row, col + cells, percent, style(Role.TRAIN, back=bar))
            elif room >= 0 and percent:
                col = grid.text(row, col, percent.strip(), style(Role.TRAIN, back=bar))
            col += 3 if percent else 1
        bad = self.state.badge == "failed" or bool(self.view.trouble)
        number = style(Role.BAD, back=bar) if bad else style(Role.SAVED, back=bar)
        if doing and end - col >= 6:
            grid.text(row, col, fit(doing, end - col), number)
