"""The questions screen: what a newer checkpoint gained and lost against an older one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.screens.copying import copy_from
from sftui.statistics.flips import KINDS, Questions, open_book
from sftui.view.empty_words import nothing_yet
from sftui.widgets.flip_table import FlipTable

if TYPE_CHECKING:
    from sftui.cockpit.cockpit import Cockpit

POLL_SECONDS = 0.25
"""Between two checks whether the questions have come."""


class QuestionsScreen(ModalScreen[None]):
    """One task at two checkpoints; opens on the newest evaluation against the start."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEFAULT_KEYS.of_mode("questions"))]

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__()
        rebind(self, cockpit.view.keys.of_mode("questions"))
        self._cockpit = cockpit
        self._tasks = list(cockpit.state.evals)
        self._task_at = 0
        self._step = 0
        """Steps back from the newest evaluation."""
        self._previous = False
        self.table = FlipTable(cockpit.state, cockpit.view, id="flips")

    def compose(self) -> ComposeResult:
        yield self.table

    def on_mount(self) -> None:
        run = self._cockpit.checkpoints.run
        if run is not None and self._cockpit.questions is None:
            self._cockpit.questions = Questions(run)
        self.table.questions = self._cockpit.questions
        self.table.focus()
        self._open()
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
            steps = sorted(state.evals[task])
            now = max(1, len(steps) - 1 - self._step)
            if len(steps) < 2:
                table.book = f"{task} was evaluated once only: there is nothing to compare."
            else:
                before = steps[now - 1] if self._previous else steps[0]
                run = self._cockpit.checkpoints.run
                folder = run.path if run is not None else None
                table.book = open_book(folder, state, task, steps[now], before)
        table.cursor = 0
        table.rebuild()

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
            count = len(self._cockpit.state.evals[self._tasks[self._task_at]])
            self._step = max(0, min(count - 2, self._step + by))
            self._open()

    def action_flip_against(self) -> None:
        """Against the start, or the evaluation before."""
        self._previous = not self._previous
        self._open()
