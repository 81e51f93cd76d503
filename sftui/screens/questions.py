"""The questions screen: what a newer checkpoint gained and lost against an older one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from sftui.checkpoints.pair_words import checkpoint_words
from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.screens.copying import copy_from
from sftui.screens.modal import Modal
from sftui.statistics.flips import KINDS, Questions, open_book
from sftui.view.empty_words import nothing_yet
from sftui.widgets.answer_pairs import AnswerPairs
from sftui.widgets.flip_table import FlipTable

if TYPE_CHECKING:
    from sftui.cockpit.cockpit import Cockpit

POLL_SECONDS = 0.25
"""Between two checks whether the questions have come."""
_BOTH_FROM = 30
"""Rows of the terminal from which on the answers stand above the questions."""


class QuestionsScreen(Modal[None]):
    """One task at two checkpoints; opens on the newest evaluation against the start, or on two
    that were chosen, with what both answered to prompts above the questions."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEFAULT_KEYS.of_mode("questions"))]

    def __init__(self, cockpit: Cockpit, pair: tuple[int, int] | None = None) -> None:
        """`pair`: steps of two checkpoints, what it is compared with first; None for the newest
        evaluation against the start."""
        super().__init__()
        rebind(self, cockpit.view.keys.of_mode("questions"))
        self._cockpit = cockpit
        evals = cockpit.state.evals
        self._tasks = list(evals)
        both = [all(step in evals[task] for step in pair or ()) for task in self._tasks]
        self._task_at = both.index(True) if True in both else 0
        self._step = 0
        """Steps back from the newest evaluation."""
        self._previous = False
        self._pair = pair
        self.table = FlipTable(cockpit.state, cockpit.view, id="flips")
        self.answers = AnswerPairs(
            cockpit.state, cockpit.view, cockpit.checkpoints.sampler, id="answer-pairs"
        )

    def compose(self) -> ComposeResult:
        yield self.answers
        yield self.table

    def on_mount(self) -> None:
        run = self._cockpit.checkpoints.run
        if run is not None and self._cockpit.questions is None:
            self._cockpit.questions = Questions(run)
        self.table.questions = self._cockpit.questions
        self.table.focus()
        self._show_answers(self._pair is not None and self.app.size.height >= _BOTH_FROM)
        self._open()
        if self._pair is not None and isinstance(self.table.book, str):
            self._show_answers(True)
        if self.table.questions is not None and not self.table.questions.ready:
            self._polling = self.set_interval(POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        if self.table.questions is not None and self.table.questions.ready:
            self._polling.stop()
            self.table.rebuild()

    def _open(self) -> None:
        state, table = self._cockpit.state, self.table
        table.state = state
        if not self._tasks:
            table.book = nothing_yet("evaluation", state, self._cockpit.view)
        else:
            task = self._tasks[self._task_at]
            before, now = self._pair or self._evaluated(task)
            missing = [at for at in (before, now) if at not in state.evals[task]]
            if missing:
                places = " and ".join(checkpoint_words(step) for step in missing)
                table.book = f"{task} was not evaluated at {places}."
            elif before == now:
                table.book = f"{task} was evaluated once only: there is nothing to compare."
            else:
                run = self._cockpit.checkpoints.run
                folder = run.path if run is not None else None
                table.book = open_book(folder, state, task, now, before)
            self.answers.steps = before, now
        if self._pair is not None:
            self.answers.steps = self._pair
        table.cursor = self.answers.top = 0
        table.rebuild()
        self._fit_answers()
        self.answers.rebuild()

    def _evaluated(self, task: str) -> tuple[int, int]:
        """Steps of what is compared: the start or the evaluation before, and that one."""
        steps = sorted(self._cockpit.state.evals[task])
        now = min(len(steps) - 1, max(1, len(steps) - 1 - self._step))
        return steps[now - 1 if self._previous and now else 0], steps[now]

    def _leave_pair(self) -> None:
        """Go on from the newer of the two among all evaluations."""
        if self._pair is not None:
            steps = sorted(self._cockpit.state.evals[self._tasks[self._task_at]])
            later = sum(step > self._pair[1] for step in steps)
            self._pair, self._step = None, max(0, min(len(steps) - 2, later))

    def _show_answers(self, shown: bool) -> None:
        self.answers.display = shown
        self.set_class(shown, "asked")
        self._fit_answers()
        self.answers.rebuild()

    def on_resize(self) -> None:
        self._fit_answers()

    def _fit_answers(self) -> None:
        """As high as they are, up to a share of the screen."""
        size = self.app.size
        self.answers.styles.height = self.answers.rows_wanted(min(150, size.width), size.height)

    def action_flip_prompts(self) -> None:
        self._show_answers(not self.answers.display)

    def action_flip_scroll(self, by: int) -> None:
        self.answers.scroll_lines(by)

    def action_flip_close(self) -> None:
        self.dismiss()

    def action_copy_here(self) -> None:
        copy_from(self)

    def action_flip_move(self, by: int) -> None:
        self.table.move(by)

    def action_flip_task(self) -> None:
        self._task_at = (self._task_at + 1) % max(1, len(self._tasks))
        self._open()

    def action_flip_kind(self) -> None:
        self.table.kind = KINDS[(KINDS.index(self.table.kind) + 1) % len(KINDS)]
        self.table.cursor = 0
        self.table.rebuild()

    def action_flip_step(self, by: int) -> None:
        """To an earlier evaluation, or a later one."""
        if self._tasks:
            self._leave_pair()
            count = len(self._cockpit.state.evals[self._tasks[self._task_at]])
            self._step = max(0, min(count - 2, self._step + by))
            self._open()

    def action_flip_against(self) -> None:
        """Against the start, or the evaluation before."""
        if self._pair is not None and self._tasks:
            self._leave_pair()
        else:
            self._previous = not self._previous
        self._open()
