"""The samples of a run: what it answered to its prompts, newest first, prompt by prompt."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from sftui.checkpoints.answers import (
    Answer,
    Group,
    Line,
    answer_text,
    lines_of,
    paint_lines,
)
from sftui.drawing.canvas import Grid, Span, fit
from sftui.drawing.roles import Role, style
from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.state.records import Topic
from sftui.text import format as fmt
from sftui.widgets.panel import Panel

if TYPE_CHECKING:
    from engine.events import SampleGenerated
    from sftui.state.run_state import RunState
    from sftui.view.view import View

_CUT = {"max_tokens": "cut short", "time": "cut short", "positions": "cut short"}


class SamplePanel(Panel):
    """As many newest answers of every prompt as fit; the older ones below, by scrolling."""

    TOPICS = Topic.SAMPLES | Topic.RUN | Topic.VIEW
    can_focus = True
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEFAULT_KEYS.of_mode("samples"))]

    def __init__(self, state: RunState, view: View, *, id: str) -> None:
        super().__init__(state, view, id=id)
        rebind(self, view.keys.of_mode("samples"))
        self.top = 0
        """Lines scrolled down."""
        self._made: tuple[object, list[Line]] = (None, [])
        """Lines, and what they were made of."""

    def action_samples_scroll(self, by: int) -> None:
        self.top = max(0, self.top + by)
        self.rebuild()

    def on_mouse_scroll_up(self) -> None:
        self.action_samples_scroll(-3)

    def on_mouse_scroll_down(self) -> None:
        self.action_samples_scroll(3)

    def copied(self) -> str:
        """The newest answer to every prompt, whole: what is scrolled away too."""
        newest = {sample.prompt: sample for sample in self.state.samples}
        if not newest:
            return super().copied()
        return answer_text([
            (prompt, _step_words(sample.step), sample.text) for prompt, sample in newest.items()
        ])  # fmt: skip

    def paint(self, grid: Grid) -> None:
        title: list[Span] = [("samples", style(Role.TITLE, bold=True))]
        found = self.state.samples
        if not found:
            grid.frame(title, border=self.border)
            words = textwrap.wrap(self._why_none(), max(8, grid.width - 4))
            for i, line in enumerate(words[: max(0, grid.height - 2)]):
                grid.text(1 + i, 2, fit(line, grid.width - 4), style(Role.DIM))
            return
        rows = grid.height - 2
        made_of = (found[-1], len(found), grid.width, rows)
        if made_of != self._made[0]:
            self._made = (made_of, _lines(groups(found), grid.width - 5, rows))
        lines = self._made[1]
        self.top = max(0, min(self.top, len(lines) - rows))
        newest = found[-1].step
        if newest is not None:
            title.append((f" · step {fmt.count(newest)}", style(Role.DIM)))
        below = len(lines) - self.top - rows
        notes: list[Span] = []
        if below > 0:
            s = "" if below == 1 else "s"
            notes = [(f"{below} line{s} below · ↓", style(Role.FAINT))]
        grid.frame(title, notes, border=self.border)
        paint_lines(grid, lines, self.top)

    def _why_none(self) -> str:
        run = self.state.run
        if run is None:
            return "None yet."
        if "sample_every" not in run.settings:
            return f"No samples {'in this log' if self.view.replay is not None else 'so far'}."
        if not run.settings["sample_every"]:
            return (
                "This run makes none: --sample-every 100 answers a few prompts while it trains. "
                "Any checkpoint can be asked: c, then p."
            )
        return "None yet."


def _step_words(step: int | None) -> str:
    return "" if step is None else f"step {fmt.count(step)}"


def groups(samples: Sequence[SampleGenerated]) -> list[Group]:
    """By prompt in the order of first appearance, newest first; the newest of a step counts."""
    found: dict[str, dict[object, SampleGenerated]] = {}
    for number, sample in enumerate(samples):
        # A log that does not tell prompts tells several answers a step.
        key = sample.step if sample.prompt and sample.step is not None else -1 - number
        found.setdefault(sample.prompt, {})[key] = sample
    steps = [0 if sample.step is None else sample.step for sample in samples]
    cells = max(len(fmt.count(step)) for step in steps) if steps else 0
    return [
        (
            prompt,
            [_said(s, cells, fresh=not i) for i, s in enumerate(reversed(by.values()))],
        )
        for prompt, by in found.items()
    ]


def _said(sample: SampleGenerated, cells: int, *, fresh: bool) -> Answer:
    return Answer(
        label="" if sample.step is None else fmt.count(sample.step).rjust(cells),
        text=sample.text or "(nothing)",
        note=_CUT.get(sample.stopped_by, ""),
        fresh=fresh,
    )


def _lines(found: list[Group], width: int, rows: int) -> list[Line]:
    """The newest of every prompt first, as many of each as fit; then what is older."""
    most = max(len(answers) for _, answers in found)
    newest = [(prompt, answers[:1]) for prompt, answers in found]
    first = lines_of(newest, width)
    if len(first) > rows:
        first = lines_of(newest, width, tight=True)
    depth = 1
    while depth < most:
        more = lines_of([(prompt, answers[: depth + 1]) for prompt, answers in found], width)
        if len(more) > rows:
            break
        first, depth = more, depth + 1
    older = [(prompt, answers[depth:]) for prompt, answers in found if len(answers) > depth]
    if not older:
        return first
    # The heading starts where the panel ends, or right below.
    gap: list[Line] = [()] * max(1, rows - len(first))
    heading: Line = ((0, ("older", style(Role.FAINT))),)
    return [*first, *gap, heading, *lines_of(older, width)]
