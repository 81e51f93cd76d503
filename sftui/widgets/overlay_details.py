"""One run against the pinned one: results with their evidence, and what was set differently."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from sftui.compare.compare_text import (
    difference_of,
    result_lines,
    setting_lines,
    validation_words,
    why_unpaired,
)
from sftui.compare.differences import (
    BY_HAND,
    changes_the_model,
    collapsed,
    told,
    told_by_both,
    value_words,
)
from sftui.compare.seed_spread import seed_lines
from sftui.drawing.canvas import Grid, Span, fit
from sftui.drawing.roles import Role, style
from sftui.statistics.scores import GOLD, sentence
from sftui.text import format as fmt
from sftui.text.clean import clean
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from sftui.compare.overlaid_runs import Overlay
    from sftui.compare.pairing import Comparison, TaskPair
    from sftui.state.run_state import RunState
    from sftui.statistics.paired_tests import Evaluation


_UNBROKEN = 2000
"""Columns of what is copied."""


class OverlayDetails(Panel):
    """Text about the chosen run and the pinned one, with a note of the lines below."""

    can_focus = True

    def __init__(self, state: RunState, overlay: Overlay, *, id: str) -> None:
        super().__init__(state, overlay.view, id=id)
        self.overlay = overlay
        self.num_lines = 0
        """Lines of the whole text at the present width."""

    def paint(self, grid: Grid) -> None:
        rows, width, overlay = grid.height - 2, grid.width - 4, self.overlay
        if rows < 1 or width < 8:
            return
        a, b = overlay.reference, overlay.other
        title: list[Span] = [
            (b.letter, style(b.role, bold=True)),
            (" against ", style(Role.TITLE, bold=True)),
            (a.letter, style(a.role, bold=True)),
            (" (pinned)", style(Role.DIM)),
        ]
        lines = self._lines(width)
        self.num_lines = len(lines)
        overlay.scrolled = min(overlay.scrolled, max(0, len(lines) - rows))
        for row, spans in enumerate(lines[overlay.scrolled : overlay.scrolled + rows]):
            grid.spans(1 + row, 2, spans, grid.width - 2)
        below = len(lines) - rows - overlay.scrolled
        notes: list[Span] = []
        if below > 0:
            notes = [(f"{below} more lines · pgdn", style(Role.FAINT))]
        elif overlay.scrolled:
            notes = [("pgup", style(Role.FAINT))]
        grid.frame(title, notes, border=self.border)

    def copied(self) -> str:
        """All of it, also what is scrolled away, and no line of it broken."""
        found = self.overlay.comparison()
        if found is None:
            return ""
        a, b = found.letters
        lines = [*result_lines(found), *setting_lines(found, _UNBROKEN)]
        return "\n".join([f"{b} against {a}", *lines])

    def _lines(self, width: int) -> list[list[Span]]:
        if len(self.overlay.contenders) < 2:
            return []
        found = self.overlay.comparison()
        if found is None:
            return [[("reading…", style(Role.DIM))]]
        return [*self._results(found, width), [], *self._settings(found, width)]

    # ---- results ---------------------------------------------------------------------------

    def _results(self, found: Comparison, width: int) -> list[list[Span]]:
        text, lines = style(Role.TEXT), []
        a, b = found.letters
        pair = found.validation
        if pair is None:
            lines += [_head("validation"), *_wrapped("not measured on both sides", width)]
        else:
            unit = pair.b.metric if pair.b.metric == pair.a.metric != "loss" else ""
            name = f"validation, {clean(unit, 20)}" if unit else "validation"
            lines.append(_head(name))
            values = ((pair.a.loss, pair.a.step), (pair.b.loss, pair.b.step))
            lines += self._both([f"{fmt.loss(v)} at {fmt.count(s)}" for v, s in values], width)
            lines += _wrapped(validation_words(pair, a, b), width, text)
        for task in found.tasks:
            lines += self._one_task(task, found, width)
        for letter, names in ((a, found.only_a), (b, found.only_b)):
            if names:
                lines += _wrapped(f"only {letter} was asked: {', '.join(names)}", width)
        if found.tasks or pair is not None:
            lines += [[], *_wrapped(seed_lines(self.overlay.contenders), width)]
        if not (found.tasks or found.only_a or found.only_b):
            lines += [_head("tasks"), *_wrapped("none were evaluated", width)]
        return lines

    def _one_task(self, task: TaskPair, found: Comparison, width: int) -> list[list[Span]]:
        a, b = found.letters
        lines = [_head(clean(task.task, 60))]
        values = ((task.a, task.step_a), (task.b, task.step_b))
        lines += self._both([f"{_score(e)} at {fmt.count(s)}" for e, s in values], width)
        judged = task.judged
        if judged is not None:
            # No colour: two checkpoints may clearly differ, and their recipes not.
            lines += _wrapped(difference_of(task, judged, a, b), width, style(Role.TEXT))
        if task.gold is not None:
            lines += _wrapped(f"{GOLD}: {b} - {a} {sentence(task.gold)}", width)
        if words := why_unpaired(task):
            lines += _wrapped(words, width)
        return lines

    def _both(self, values: list[str], width: int) -> list[list[Span]]:
        """The pinned run's value and the other's, under their colours; in two lines if need be."""
        pair = self.overlay.reference, self.overlay.other
        pieces: list[list[Span]] = [
            [(f"  {c.letter} ", style(c.role, bold=True)), (value, style(Role.TEXT))]
            for c, value in zip(pair, values, strict=True)
        ]
        if sum(len(value) + 4 for value in values) > width:
            return pieces
        return [[*pieces[0], *pieces[1]]]

    # ---- settings --------------------------------------------------------------------------

    def _settings(self, found: Comparison, width: int) -> list[list[Span]]:
        ours, theirs = told(found.a.state), told(found.b.state)
        dim, text = style(Role.DIM), style(Role.TEXT)
        both = told_by_both(found.a.state, found.b.state, found.settings)
        lines = [_head("settings that differ")]
        for name, before, now in both:
            if name == BY_HAND:
                # Sentences, which a column of the table would cut.
                for letter, words in zip(found.letters, (before, now), strict=True):
                    lines += _wrapped(f"{letter} by hand: {words}", width, text)
        if not both:
            words = "none that both sides tell" if found.settings else "none"
            if not ours and not theirs:
                words = "neither side tells any"
            lines += _wrapped(words, width)
        table = [s for s in both if s[0] != BY_HAND and changes_the_model(s[0])]
        cells = min(26, max((len(clean(name, 26)) for name, _, _ in table), default=0))
        each = max(6, (width - cells - 4) // 2)
        if table:
            head: list[Span] = [(" " * (cells + 4), dim)]
            for contender in (self.overlay.reference, self.overlay.other):
                head.append((f"{contender.letter:<{each + 1}}", style(contender.role, bold=True)))
            lines.append(head)
        for name, before, now in table:
            lines.append(
                [
                    (f"  {clean(name, 26):<{cells}}  ", dim),
                    (f"{fit(clean(value_words(before), 200), each):<{each}} ", text),
                    (fit(clean(value_words(now), 200), each), text),
                ]
            )
        if words := collapsed(both):
            lines += _wrapped(f"no effect on the weights: {words}", width)
        for letter, side in zip(found.letters, (ours, theirs), strict=True):
            names = [s[0] for s in found.settings if s not in both and s[0] in side]
            if names:
                lines += _wrapped(f"only {letter} tells: {', '.join(names)}", width)
        return lines


def _head(words: str) -> list[Span]:
    return [(words, style(Role.TITLE, bold=True))]


def _wrapped(words: str, width: int, number: int = style(Role.DIM)) -> list[list[Span]]:
    """Cleaned and folded, a little in from the border."""
    folded = textwrap.wrap(clean(words, 2000), max(8, width - 2))
    return [[("  " + line, number)] for line in folded]


def _score(result: Evaluation) -> str:
    text = fmt.percent(result.value)
    if result.correct is not None and result.total:
        return f"{result.correct}/{result.total} {text}"
    return text
