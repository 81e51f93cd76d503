"""The newest losses, speed, memory and accuracies in a few lines, for small screens; in rows that
are left, the three questions about the run."""

from __future__ import annotations

import math

from sftui.compare.differences import past_words
from sftui.drawing.canvas import Grid, Span, text_width
from sftui.drawing.roles import Role, style, task_role
from sftui.logbook.event_lines import val_name
from sftui.state.records import Topic
from sftui.statistics.families import START
from sftui.statistics.paired_tests import CLEAR
from sftui.statistics.scored import accuracy_of
from sftui.statistics.scores import difference_words, first_words, short_sentence
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.view.outlook import answers
from sftui.widgets.panel import Panel

MOST_RANKS = 2
"""Ranks with a row each; more of them share one."""


class SmallSummary(Panel):
    """Losses and speed left, memory and accuracy right; one column when narrow."""

    TOPICS = Topic.ALL & ~Topic.LOG

    def paint(self, grid: Grid) -> None:
        framed = grid.height >= 5 and grid.width >= 40
        if framed:
            grid.frame([("now", style(Role.TITLE, bold=True))], border=self.border)
        inset = 2 if framed else 0
        top, rows = (1, grid.height - 2) if framed else (0, grid.height)
        left, right = self._left(), self._right()
        width = grid.width - 2 * inset
        if width >= 56:
            middle = inset + max(36, width * 2 // 5) if width >= 70 else inset + width // 2
            if len(right) < rows and width >= 70:
                right += self._answers(grid.width - inset - middle)
            for i in range(rows):
                if i < len(left):
                    self._line(grid, top + i, inset, middle - 2, left[i])
                if i < len(right):
                    self._line(grid, top + i, middle, grid.width - inset, right[i])
            return
        for i, spans in enumerate([*left, *right][:rows]):
            self._line(grid, top + i, inset, grid.width - inset, spans)

    def _line(self, grid: Grid, row: int, col: int, end: int, spans: list[Span]) -> None:
        for text, number in spans:
            if col + text_width(text) > end:
                return
            col = grid.text(row, col, text, number)

    def _answers(self, cells: int) -> list[list[Span]]:
        """The questions of the large screen, for rows that have nothing else: whether validation
        falls, what comes next, when the run ends (which the header tells as well)."""
        ends, falls, following = answers(self.state, self.view, past_words(self.view, self.state))
        lines: list[list[Span]] = []
        for answer in (falls, following, ends):
            words = answer.fitting(cells - text_width(answer.question) - 2)
            number = style(Role.TEXT, bold=answer.clear)
            lines.append([(f"{answer.question}  ", style(Role.DIM)), (words, number)])
        return lines

    def _left(self) -> list[list[Span]]:
        state = self.state
        dim = style(Role.DIM)
        newest = state.last_step.loss if state.last_step else None
        bad = newest is not None and not math.isfinite(newest)
        smooth = self.view.loss_line(state).last
        train: list[Span] = [("train  ", dim), (fmt.loss(smooth), style(Role.TRAIN, bold=True))]
        if bad:
            train.append((f"  now {fmt.loss(newest)}", style(Role.BAD, bold=True)))
        lines = [train]
        results = state.validation_list()
        best = state.best_validation
        if results:
            bright = style(Role.VAL, bold=True)
            name = val_name(results).removeprefix("val ")
            value: list[Span] = [(f"{name:<6} ", dim), (fmt.loss(results[-1].loss), bright)]
            if best is not None and best.step != results[-1].step:
                over = fmt.loss(results[-1].loss - best.loss)
                value.append((f"  {over} above best", dim))
            lines.append(value)
        speed = state.steps.last("tokens_per_second")
        pace = state.step_seconds()
        if speed is not None or pace is not None:
            third: list[Span] = [("tok/s  ", dim), (fmt.si(speed), style(Role.THIRD, bold=True))]
            third.append((f"  {fmt.duration(pace)}/step", style(Role.FAINT)))
            lines.append(third)
        if best is not None:
            where = "start" if best.step == 0 else f"step {fmt.count(best.step)}"
            star: list[Span] = [("★ best ", style(Role.GOOD)), (fmt.loss(best.loss), dim)]
            lines.append([*star, (f"  {where}", dim)])
        return lines

    def _all_ranks(self) -> list[Span]:
        """The most memory that one of many ranks takes, and how many of them are lost."""
        ranks = list(self.state.ranks.values())
        sizes = [rank.last.memory_bytes for rank in ranks if rank.last.memory_bytes is not None]
        most = max(sizes, default=None)
        total = max((rank.last.memory_total_bytes or 0 for rank in ranks), default=0)
        words = fmt.size_of(most, total or None)
        spans: list[Span] = [(f"{len(ranks)} ranks ", style(Role.DIM))]
        spans += [("up to ", style(Role.DIM)), (words, style(Role.TEXT, bold=True))]
        if lost := sum(rank.lost is not None for rank in ranks):
            spans.append((f"  {lost} lost", style(Role.BAD, bold=True)))
        return spans

    def _right(self) -> list[list[Span]]:
        state, dim = self.state, style(Role.DIM)
        lines: list[list[Span]] = []
        if len(state.ranks) > MOST_RANKS:
            lines.append(self._all_ranks())
        for number, rank in sorted(state.ranks.items()) if not lines else ():
            word = "resident" if rank.last.memory_kind == "resident" else "allocated"
            size = fmt.size_of(rank.last.memory_bytes, rank.last.memory_total_bytes)
            spans: list[Span] = [(f"rank {number} ", dim), (size, style(Role.TEXT, bold=True))]
            spans.append((f" {word}", style(Role.FAINT)))
            if rank.lost is not None:
                spans = [(f"rank {number} ", dim), ("lost", style(Role.BAD, bold=True))]
            lines.append(spans)
        scores = self.view.board.scores(state)
        for i, (task, results) in enumerate(state.evals.items()):
            newest = results[results.last_step]
            role = style(task_role(i), bold=True)
            spans = [(f"{clean(task, 20)} ", dim), (fmt.percent(accuracy_of(newest)), role)]
            first = results[results.first_step]
            if first is not newest:
                judged = scores.of(task, results.last_step, START)
                if judged is not None and judged.held_by == "letter":
                    spans.append((f"  {short_sentence(judged)}", dim))
                elif judged is not None:
                    clear = judged.verdict == CLEAR
                    up = judged.comparison.difference > 0
                    number_style = style(Role.GOOD if up else Role.BAD, bold=True) if clear else dim
                    since = first_words(results.first_step)
                    spans.append((f"  {difference_words(judged)} vs {since}", number_style))
            lines.append(spans)
        return lines
