"""One line of the log to its end, wrapped, over the dimmed dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.screens.copying import copy_from
from sftui.screens.modal import Modal
from sftui.widgets.line_page import LinePage

if TYPE_CHECKING:
    from sftui.state.run_state import RunState
    from sftui.view.view import View


class LineReader(Modal[bool]):
    """Shows the line under the log's cursor; returns whether to go to its point of the chart."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEFAULT_KEYS.of_mode("line"))]

    def __init__(self, state: RunState, view: View) -> None:
        super().__init__()
        rebind(self, view.keys.of_mode("line"))
        self._run, self._view = state, view
        self.page = LinePage(state, view, id="line")

    def compose(self) -> ComposeResult:
        yield self.page

    def on_mount(self) -> None:
        self._open()
        self.page.focus()

    def _open(self) -> None:
        log = self._view.log
        line = log.line_at_cursor(self._run)
        if line is not None:
            log.cursor = line.place
            step = log.content.step_at(self._run, line.place)
            self.page.open(line, log.whole(self._run, line), step)

    def action_line_scroll(self, by: int) -> None:
        self.page.scroll_rows(by)

    def action_line_step(self, by: int) -> None:
        """The next line, or the one before."""
        self._view.log.move(self._run, by)
        self._open()

    def action_line_close(self, jump: bool) -> None:
        self.dismiss(jump)

    def action_copy_here(self) -> None:
        copy_from(self)
