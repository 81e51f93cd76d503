"""The rows screen: what the model read in a step, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from sftui.checkpoints.step_rows import StepRows
from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.screens.copying import copy_from
from sftui.screens.modal import Modal
from sftui.widgets.row_table import RowTable

if TYPE_CHECKING:
    from sftui.cockpit.cockpit import Cockpit

POLL_SECONDS = 0.2
"""Between two checks whether the rows have come."""


class RowsScreen(Modal[None]):
    """Rows of one step; opens on the newest that was trained."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEFAULT_KEYS.of_mode("rows"))]

    def __init__(self, cockpit: Cockpit) -> None:
        super().__init__()
        rebind(self, cockpit.view.keys.of_mode("rows"))
        self._cockpit = cockpit
        self._rows = StepRows(cockpit.checkpoints.run)
        self.table = RowTable(cockpit.state, cockpit.view, self._rows, id="rows")

    def compose(self) -> ComposeResult:
        yield self.table

    def on_mount(self) -> None:
        self.table.focus()
        self._rows.ask(self._newest())
        self.set_interval(POLL_SECONDS, self._poll)
        self.table.rebuild()

    def on_unmount(self) -> None:
        self._rows.close()

    def _newest(self) -> int:
        """The newest step that was trained; the first one before there is one."""
        last = self._cockpit.state.last_step
        return 0 if last is None else last.step or 0

    def _poll(self) -> None:
        if self._rows.poll():
            self.table.rebuild()

    def action_rows_close(self) -> None:
        self.dismiss()

    def action_copy_here(self) -> None:
        copy_from(self)

    def action_rows_move(self, by: int) -> None:
        self.table.move(by)

    def action_rows_scroll(self, by: int) -> None:
        self.table.scroll_row(by)

    def action_rows_step(self, by: int) -> None:
        """To an earlier step, or a later one."""
        self._rows.ask(max(0, min(self._newest(), self._rows.step + by)))
        self.table.move(-self.table.cursor)
