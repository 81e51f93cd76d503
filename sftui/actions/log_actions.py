"""What the keys of the log do: scroll, filter, search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftui.actions.cockpit_app import ActionsOfApp

if TYPE_CHECKING:
    from collections.abc import Callable

    from sftui.logbook.log_book import LogBook
    from sftui.state.run_state import RunState


class LogActions(ActionsOfApp):
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

    # ---- reading ---------------------------------------------------------------------------

    def action_move_log(self, by: int) -> None:
        self._read_log(lambda log, state: log.move(state, by))

    def action_wrap_log(self) -> None:
        log = self._cockpit.view.log
        log.wrapped = not log.wrapped
        self._read_log(lambda *_: None)

    def action_fold_log(self) -> None:
        folded = self._cockpit.view.log.toggle_folded()
        self._read_log(lambda *_: None)
        self.tell("Lines that repeat stand once." if folded else "Every line stands.")

    def action_open_line(self) -> None:
        """The whole line under the cursor."""
        from sftui.screens.line_reader import LineReader  # noqa: PLC0415  only when asked for

        cockpit = self._cockpit
        if cockpit.view.log.line_at_cursor(cockpit.state) is None:
            self.tell("There is no line yet.")
            return
        self.push_screen(LineReader(cockpit.state, cockpit.view), self._after_line)

    def _after_line(self, jump: bool | None) -> None:
        self._read_log(lambda *_: None)
        if jump:
            self._line_to_point()

    def action_log_point(self) -> None:
        """From the log to the chart, or from a chart to the log: the same update."""
        dashboard = self._cockpit.dashboard
        if dashboard.focused is not None and dashboard.focused.id == "log":
            self._line_to_point()
        else:
            self._point_to_line()

    def _line_to_point(self) -> None:
        cockpit = self._cockpit
        step = cockpit.view.log.step_at_cursor(cockpit.state)
        if step is None:
            self.tell("This line belongs to no update that is known.")
            return
        cockpit.dashboard.focus_panel("loss")
        cockpit.charts.move(lambda viewport: viewport.go(float(step)))

    def _point_to_line(self) -> None:
        cockpit = self._cockpit
        at = cockpit.view.viewport.cursor
        step = cockpit.state.newest_place if at is None else at
        place = cockpit.view.log.content.place_of(cockpit.state, step)
        if place is None:
            self.tell("The log has no line of that update.")
            return
        cockpit.dashboard.focus_panel("log")
        self._read_log(lambda log, state: log.go(state, place))

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
