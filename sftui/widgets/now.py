"""The newest numbers: training and validation loss, speed, gradient norm.

The small curves under them show the whole run, not the last few steps: a window that
slides would repaint itself with every step, and say less.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftui.compare.differences import past_words
from sftui.drawing.canvas import Grid, Span, fit, ratchet, sparkline, text_width
from sftui.drawing.roles import Role, style
from sftui.logbook.event_lines import val_name
from sftui.state.records import Topic
from sftui.state.series import Series
from sftui.text import format as fmt
from sftui.view.outlook import Answer, answers, widest
from sftui.widgets.panel import Panel

LINES = 3
"""Rows of the three questions."""


class Now(Panel):
    """Four cells, two by two; sparklines where there are rows for them."""

    TOPICS = Topic.STEPS | Topic.VALIDATION | Topic.RUN | Topic.VIEW
    can_focus = True
    opens = "app.show_facts"

    _told: tuple[tuple[object, ...], tuple[int, list[tuple[Answer, str]]]] | None = None
    """What the answers were told of, and they as `_fitted` gives them."""

    def paint(self, grid: Grid) -> None:
        grid.frame([("now", style(Role.TITLE, bold=True))], border=self.border)
        rows, width = grid.height - 2, grid.width - 4
        if rows < 2 or width < 16:
            return
        half = width // 2
        lines = LINES if rows >= 4 + LINES else 0
        sparks = rows - lines >= 6
        cells = (self._train(), self._validation(half - 2), self._speed(), self._gradient())
        for i, (label, spans, series, role) in enumerate(cells):
            row = 1 + (i // 2) * (3 if sparks else 2)
            col = 2 + (i % 2) * half
            end = col + half - 2
            if row + 1 >= grid.height - 1 - lines:
                break
            grid.text(row, col, fit(label, half - 2), style(Role.DIM))
            used = col
            for text, number in spans:
                if used + text_width(text) > end:
                    break
                used = grid.text(row + 1, used, text, number)
            if sparks:
                values = _course(series, half - 2)
                grid.text(row + 2, col, sparkline(values, half - 2), style(role))

        if lines:
            self._answers(grid, grid.height - 1 - LINES)

    def _answers(self, grid: Grid, row: int) -> None:
        """A line a question, in as many words as there is room for."""
        start, found = self._fitted(grid.width)
        for at, (answer, words) in enumerate(found, row):
            grid.text(at, 2, answer.question, style(Role.DIM))
            grid.text(at, start, words, style(Role.TEXT, bold=answer.clear))

    def _fitted(self, width: int) -> tuple[int, list[tuple[Answer, str]]]:
        """The column where answers begin, and each with its words. Of a live run they are told once
        a second and when more than an update has come: an end that wavers with every update is no
        better known, and its row is repainted each time."""
        state, view = self.state, self.view
        ran = (state, state.badge, state.end, state.planned, len(state.validation_list()))
        shown = (view.trouble, view.past, view.earlier, len(state.controls), int(view.now()))
        of = (*ran, *shown, width)
        if view.replay is not None or self._told is None or self._told[0] != of:
            found = answers(state, view, past_words(view, state))
            start = 2 + widest(found) + 2
            fitted = [(answer, answer.fitting(width - 2 - start)) for answer in found]
            self._told = (of, (start, fitted))
        return self._told[1]

    def _train(self) -> tuple[str, list[Span], Series, Role]:
        state = self.state
        line = self.view.loss_line(state)
        raw = state.step_series(state.loss_name)
        bright = style(Role.TRAIN, bold=True)
        spans: list[Span] = []
        label = "train loss"
        if line.window:
            # Of the last point only the half before it is there.
            label = f"train · last {fmt.count(max(1, round(line.window / 2)))}"
            spans.append((fmt.loss(line.last), bright))
            newest = float(raw.y[-1]) if len(raw) else math.nan
            # A log without training losses is no diverged run.
            if math.isfinite(newest) or state.nonfinite:
                role = Role.FAINT if math.isfinite(newest) else Role.BAD
                spans.append((f"  raw {fmt.loss(newest)}", style(role)))
        else:
            spans.append((fmt.loss(state.steps.last(state.loss_name)), bright))
        return label, spans, raw, Role.RAW

    def _validation(self, room: int) -> tuple[str, list[Span], Series, Role]:
        results = self.state.validation_list()
        losses = self.state.validations.loss
        if not results:
            return "val loss", [(fmt.UNKNOWN, style(Role.DIM))], losses, Role.VAL_LINE
        newest, best = results[-1], self.state.best_validation
        spans: list[Span] = [(fmt.loss(newest.loss), style(Role.VAL, bold=True))]
        if best is not None and newest.step != best.step:
            over = fmt.loss(newest.loss - best.loss)
            words = f"  {over} above best"
            if len(spans[0][0]) + len(words) > room:
                words = f"  {over} over ★"
            spans.append((words, style(Role.DIM)))
        elif best is not None:
            spans.append(("  ★ best", style(Role.GOOD)))
        label = f"{val_name(results)} · step {fmt.count(newest.step)}"
        return label, spans, losses, Role.VAL_LINE

    def _speed(self) -> tuple[str, list[Span], Series, Role]:
        state = self.state
        speed = state.steps.last("tokens_per_second")
        spans: list[Span] = [(fmt.si(speed), style(Role.THIRD, bold=True))]
        pace = state.step_seconds()
        if pace is not None:
            spans.append((f"  {fmt.duration(pace)}/step", style(Role.FAINT)))
        return "tokens/s", spans, state.step_series("tokens_per_second"), Role.RAW

    def _gradient(self) -> tuple[str, list[Span], Series, Role]:
        state = self.state
        norm = state.steps.last("grad_norm")
        newest = state.last_step.grad_norm if state.last_step else None
        bad = newest is not None and not math.isfinite(newest)
        text = fmt.loss(newest if bad else norm, 3)
        number = style(Role.BAD if bad else Role.SECOND, bold=True)
        spans: list[Span] = [(text, number)]
        multiplier = state.steps.last("lr_mult")
        if multiplier is not None:
            spans.append((f"  lr ×{multiplier:.3g}", style(Role.RATE)))
        return "gradient norm", spans, state.step_series("grad_norm"), Role.RATE


def _course(series: Series, cells: int) -> NDArray[Any]:
    """Middle of each of `cells` parts of the run so far; a hole takes the value before it."""
    if not len(series) or cells < 1:
        return np.empty(0)
    low, high = series.columns(0.0, ratchet(float(series.x[-1]) + 1), cells)
    with np.errstate(invalid="ignore"):
        middle = (low.astype(np.float64) + high) / 2
    known = np.flatnonzero(np.isfinite(middle))
    if not len(known):
        return np.empty(0)
    held = np.maximum.accumulate(np.where(np.isfinite(middle), np.arange(cells), known[0]))
    return middle[held][: known[-1] + 1]
