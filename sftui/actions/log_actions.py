"""What the keys of the log do: scroll, filter, search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftui.actions.cockpit_app import CockpitApp

if TYPE_CHECKING:
    from collections.abc import Callable

    from sftui.logbook.log_book import LogBook
    from sftui.state.run_state import RunState


class LogActions(CockpitApp):
    """Actions of the group `log`."""

    def _read_log(self, act: Callable[[LogBook, RunState], object]) -> None:
        self._cockpit.read_log(act)
        if self._cockpit.view.log.busy:
            self._wake()

    def action_scroll_log(self, by: int) -> None:
        self._read_log(lambda log, state: log.scroll(state, by))

    def action_log_start(self) -> None:
        self._read_log(lambda log, state: log.to_start(state))

    def action_follow_log(self) -> None:
        self._read_log(lambda log, _: log.follow())

    def action_filter_log(self) -> None:
        self._read_log(lambda log, state: log.next_filter(state))

    # ---- search ----------------------------------------------------------------------------

    def action_search_log(self) -> None:
        if not self._cockpit.search_log():
            self.tell("The log has no room here.")
        self._wake()

    def action_type_search(self, text: str) -> None:
        self._read_log(lambda log, state: log.type(state, text))
        self._wake()

    def action_erase_search(self, everything: bool) -> None:
        self._read_log(lambda log, state: log.erase(state, everything))
        self._wake()

    def action_accept_search(self) -> None:
        self._read_log(lambda log, state: log.accept(state))

    def action_end_search(self) -> None:
        self._read_log(lambda log, state: log.end_search(state))

    def action_step_search(self, by: int) -> None:
        found = False

        def step(log: LogBook, state: RunState) -> None:
            nonlocal found
            found = log.step(state, by)

        self._read_log(step)
        if not found:
            self._tell_none(by, "match")
