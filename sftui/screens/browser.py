"""The checkpoint browser: a table of checkpoints over the dimmed dashboard, and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Input

from engine.run import owners
from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.screens.confirm import Answer, Confirm
from sftui.screens.copying import copy_from, copy_text
from sftui.screens.modal import Modal
from sftui.screens.questions import QuestionsScreen
from sftui.text.clean import clean
from sftui.widgets.answer_list import AnswerList
from sftui.widgets.checkpoint_table import CheckpointTable

if TYPE_CHECKING:
    from sftui.cockpit.cockpit import Cockpit
    from sftui.terminal.terminal_app import TerminalApp

POLL_SECONDS = 1.0
"""Between two readings of the disk while the browser is open: a checkpoint is seconds of work."""


class Browser(Modal[None]):
    """The table, a prompt to type into, and the answers. A running job outlives the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEFAULT_KEYS.of_mode("browser"))]

    def __init__(self, cockpit: Cockpit, begin_at: int | None = None) -> None:
        """`begin_at`: step of the row that the cursor begins on; None for the first."""
        super().__init__()
        self._begin_at = begin_at
        rebind(self, cockpit.view.keys.of_mode("browser"))
        self._cockpit = cockpit
        self.table = CheckpointTable(
            cockpit.state, cockpit.view, cockpit.checkpoints, id="checkpoint-table"
        )

        self.answers = AnswerList(
            cockpit.state, cockpit.view, cockpit.checkpoints.sampler, id="answers"
        )
        self.prompt = Input(id="prompt", max_length=4000, placeholder="a prompt")

    def compose(self) -> ComposeResult:
        yield self.table
        yield self.prompt
        yield self.answers

    def on_mount(self) -> None:
        self.prompt.display = False
        self.poll()
        if self._begin_at is not None:
            self.table.begin_at(self._begin_at)
            self.table.rebuild()
        self.table.focus()
        self.set_interval(POLL_SECONDS, self.poll)

    def poll(self) -> None:
        """Read the disk again, and take the answers that have come."""
        self.table.state = self._cockpit.state
        self.table.reload()
        self.table.rebuild()
        self._cockpit.checkpoints.sampler.poll()
        self.answers.display = bool(self._cockpit.checkpoints.sampler.samples)
        self.set_class(self.answers.display or self.prompt.display, "asked")
        self.answers.rebuild()

    def _say(self, words: str) -> None:
        self.table.said = words
        self.poll()

    def action_shelf_close(self) -> None:
        if self.prompt.display:
            self._close_prompt()
        else:
            self.dismiss()

    def action_copy_here(self) -> None:
        copy_from(self)

    def action_shelf_move(self, by: int) -> None:
        self.table.move(by)

    def action_shelf_sort(self) -> None:
        self.table.sort_next()

    def action_shelf_turn(self) -> None:
        self.table.sort_turned()

    def action_shelf_pick(self) -> None:
        self.table.pick()

    def action_shelf_answers(self) -> None:
        """Answers of the chosen one beside those of what it is compared with, which come first."""
        chosen, other = self.table.chosen, self.table.other
        if chosen is None:
            return
        if other is None:
            self._say(f"There is no other checkpoint to compare {chosen.name} with.")
            return
        self.app.push_screen(QuestionsScreen(self._cockpit, (other.step, chosen.step)))

    def action_shelf_branch(self) -> None:
        """Say the command of a new run from the chosen one, and copy it."""
        if self.table.chosen is not None:
            words, command = self.table.checkpoints.branch(self.table.chosen)
            if command:
                copy_text(cast("TerminalApp", self.app), clean(command, 4000))
            self._say(f"{words} {command}".strip())

    def action_shelf_mark(self) -> None:
        if self.table.chosen is not None:
            self._say(self.table.checkpoints.toggle_mark(self.table.chosen))

    def action_shelf_start(self, what: str) -> None:
        if self.table.chosen is not None:
            self._say(self.table.checkpoints.start(what, self.table.chosen))

    def action_shelf_sample(self) -> None:
        """Type a prompt; `enter` asks the checkpoint under the cursor."""
        if self.table.chosen is None:
            return
        self.prompt.border_title = "prompt · enter asks · esc back"
        self.prompt.value = self._cockpit.checkpoints.sampler.prompt
        self.prompt.display = True
        # At once: the next key belongs to the prompt already.
        self.set_focus(self.prompt)
        self.poll()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        prompt, row = event.value.strip(), self.table.chosen
        self._close_prompt()
        if prompt and row is not None:
            checkpoints = self._cockpit.checkpoints
            alive = self._cockpit.takes_requests
            self._say(checkpoints.sampler.ask(checkpoints.run, row, prompt, alive=alive))
            self.answers.top = 0

    def _close_prompt(self) -> None:
        self.prompt.display = False
        self.table.focus()
        self.poll()

    def action_shelf_scroll(self, by: int) -> None:
        self.answers.scroll_lines(by)

    def action_shelf_delete(self) -> None:
        row = self.table.chosen
        if row is None:
            return
        checkpoints, alive = self.table.checkpoints, not self._cockpit.over
        if problem := checkpoints.why_not_delete(row, alive=alive):
            self._say(problem)
            return
        other = owners.other_owner(checkpoints.run.path) if checkpoints.run is not None else ""
        facts = [
            f"The run is {other}'s." if other else "",
            "It is the best one so far." if row.best else "",
            "It is marked to be kept." if row.marked else "",
            "It cannot be brought back.",
        ]
        detail = " ".join(fact for fact in facts if fact)
        question = f"Delete the checkpoint of {row.name}?"
        answers = (Answer("y", "delete", "delete it from disk"),)

        def answered(value: str | None) -> None:
            if value == "delete":
                self._say(self._cockpit.delete_checkpoint(row))

        self.app.push_screen(Confirm(question, detail, answers), answered)
