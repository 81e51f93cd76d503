"""The questions screen: what a newer checkpoint gained and lost against an older one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from sftui.keys import key_table
from sftui.keys.bindings import bindings, rebind
from sftui.statistics.flips import KINDS, Questions, open_book
from sftui.widgets.flip_table import FlipTable

if TYPE_CHECKING:
    from sftui.cockpit.cockpit import Cockpit

LOOK_SECONDS = 0.25
"""Between looks whether the questions have come."""


class QuestionsScreen(ModalScreen[None]):
    """Opens on the newest evaluation against the start."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(key for key in key_table.TABLE if key.mode == "questions")
    ]

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__()
        rebind(self, key_table.of_mode("questions"))
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
        run = self._cockpit.shelf.run
        if run is not None and self._cockpit.questions is None:
            self._cockpit.questions = Questions(run)
        self.table.questions = self._cockpit.questions
        self.table.focus()
        self._open()
        if self.table.questions is not None and not self.table.questions.ready:
            self._looking = self.set_interval(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if self.table.questions is not None and self.table.questions.ready:
            self._looking.stop()
            self.table.rebuild()

    def _open(self) -> None:
        state, table = self._cockpit.state, self.table
        table.state = state
        if not self._tasks:
            table.book = "Nothing was evaluated yet."
        else:
            task = self._tasks[self._task_at]
            steps = sorted(state.evals[task])
            now = max(1, len(steps) - 1 - self._step)
            if len(steps) < 2:
                table.book = f"{task} was evaluated once only: there is nothing to compare."
            else:
                before = steps[now - 1] if self._previous else steps[0]
                folder = self._cockpit.shelf.run.path if self._cockpit.shelf.run else None
                table.book = open_book(folder, state, task, steps[now], before)
        table.cursor = 0
        table.rebuild()

    def action_flip_close(self) -> None:
        self.dismiss()

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
            looks = len(self._cockpit.state.evals[self._tasks[self._task_at]])
            self._step = max(0, min(looks - 2, self._step + by))
            self._open()

    def action_flip_against(self) -> None:
        """Against the start, or the evaluation before."""
        self._previous = not self._previous
        self._open()
