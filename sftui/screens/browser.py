"""The checkpoint browser: a table with a cursor over the dimmed dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from sftui import keys
from sftui.screens.confirm import Answer, Confirm
from sftui.widgets.shelf_table import ShelfTable

if TYPE_CHECKING:
    from sftui.cockpit import Cockpit

LOOK_SECONDS = 1.0
"""How often the disk is looked at while the browser is open: a checkpoint is seconds of work."""


class Browser(ModalScreen[None]):
    """Closed by `esc`; a job that works goes on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key.keys, key.action, key.words, id=key.id, tooltip=key.help, show=False)
        for key in keys.of_mode("browser")
    ]

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__()
        self._cockpit = cockpit
        self.table = ShelfTable(cockpit.state, cockpit.view, cockpit.shelf, id="shelf")

    def compose(self) -> ComposeResult:
        yield self.table

    def on_mount(self) -> None:
        self._look()
        self.table.focus()
        self.set_interval(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self.table.state = self._cockpit.state
        self.table.look()
        self.table.rebuild()

    def _say(self, words: str) -> None:
        self.table.said = words
        self._look()

    def action_shelf_close(self) -> None:
        self.dismiss()

    def action_shelf_move(self, by: int) -> None:
        self.table.move(by)

    def action_shelf_mark(self) -> None:
        if self.table.chosen is not None:
            self._say(self.table.shelf.toggle_mark(self.table.chosen))

    def action_shelf_start(self, what: str) -> None:
        if self.table.chosen is not None:
            self._say(self.table.shelf.start(what, self.table.chosen))

    def action_shelf_delete(self) -> None:
        row = self.table.chosen
        if row is None:
            return
        shelf, alive = self.table.shelf, not self._cockpit.over
        if problem := shelf.why_not_delete(row, alive=alive):
            self._say(problem)
            return
        facts = [
            "It is the best one so far." if row.best else "",
            "It is marked to be kept." if row.marked else "",
            "It cannot be brought back.",
        ]
        detail = " ".join(fact for fact in facts if fact)
        question = f"Delete the checkpoint of {row.name}?"
        answers = (Answer("y", "delete", "delete it from disk"),)

        def answered(value: str | None) -> None:
            if value == "delete":
                self._say(shelf.delete(row, alive=not self._cockpit.over))

        self.app.push_screen(Confirm(question, detail, answers), answered)
