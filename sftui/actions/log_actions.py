"""What the keys of the log do: scroll, filter, search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sftui.cockpit.cockpit import Cockpit
    from sftui.logbook.book import LogBook
    from sftui.state.run_state import RunState


class LogActions:
    """Mixed into the app, which has a cockpit and wakes its clock."""

    _cockpit: Any
    _wake: Callable[[], None]
    tell: Callable[..., None]

    def _read_log(self, act: Callable[[LogBook, RunState], object]) -> None:
        cockpit: Cockpit = self._cockpit
        cockpit.read_log(act)
        if cockpit.view.log.busy:
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
        cockpit: Cockpit = self._cockpit
        if not cockpit.search_log():
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
            side = "later" if by > 0 else "earlier"
            self.tell(f"There is no {side} match.")
