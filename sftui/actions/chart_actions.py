"""What the keys and the mouse do to charts and panels: axes, zoom, crosshair, jumps, layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftui.actions.cockpit_app import ActionsOfApp

if TYPE_CHECKING:
    from sftui.widgets.zoom_chart import ChartMoved


class ChartActions(ActionsOfApp):
    """Actions of the groups `chart` and `panels`."""

    def action_toggle_log_y(self) -> None:
        self._cockpit.charts.toggle_log_y()

    def action_cycle_range(self) -> None:
        self._cockpit.charts.cycle_range(self._cockpit.state)

    def action_toggle_whole(self) -> None:
        self._cockpit.charts.toggle_whole()

    def action_cycle_smoothing(self) -> None:
        view, state = self._cockpit.view, self._cockpit.state
        before = view.smoothing_share
        self._cockpit.charts.cycle_smoothing()
        if before and view.smoothing_share and not view.loss_line(state).window:
            self.tell("So few points are drawn one by one, whatever the window.")

    def action_next_x_axis(self) -> None:
        missing = self._cockpit.charts.next_x_axis(self._cockpit.state)
        if missing:
            self.tell(missing)

    def action_zoom(self, closer: bool) -> None:
        self._cockpit.charts.move(lambda viewport: viewport.zoom(closer))

    async def action_open_panel(self) -> None:
        """Open the focused panel: the crosshair, a screen, or all the room there is."""
        from sftui.widgets.panel import Panel  # noqa: PLC0415  numpy: not before the first frame

        panel = self.screen.focused
        if isinstance(panel, Panel):
            await panel.run_action(panel.opens)

    def action_toggle_look(self) -> None:
        self._cockpit.charts.toggle_look(self._cockpit.state)

    def action_look(self, cells: int) -> None:
        self.action_point(cells)

    def action_look_event(self, by: int) -> None:
        self._jump(by, "event")

    def action_end_look(self) -> None:
        self.action_toggle_look()

    def action_point(self, cells: int) -> None:
        last = self._cockpit.state.newest_place
        self._cockpit.charts.move(lambda viewport: viewport.move(cells, last))

    def on_chart_moved(self, message: ChartMoved) -> None:
        """The mouse over a chart; one that a modal screen covers keeps its crosshair."""
        if self.screen is self._cockpit.dashboard:
            self._cockpit.charts.move(message.apply)

    def action_jump_event(self, by: int) -> None:
        self._jump(by, "event")

    def action_jump_checkpoint(self, by: int) -> None:
        self._jump(by, "checkpoint")

    def _jump(self, by: int, kinds: str) -> None:
        if not self._cockpit.charts.jump(self._cockpit.state, by, kinds):
            self._tell_none(by, kinds)

    def action_reset_view(self) -> None:
        self._cockpit.charts.move(lambda viewport: viewport.reset())

    def action_hide_alarms(self) -> None:
        self._cockpit.charts.hide_alarms(self._cockpit.state)

    # ---- panels ----------------------------------------------------------------------------

    def action_toggle_table(self) -> None:
        self._cockpit.dashboard.toggle_table()

    def action_toggle_maximised(self) -> None:
        self._cockpit.dashboard.toggle_maximised()

    def action_jump_to_panel(self) -> None:
        from sftui.screens.jump import Jump  # noqa: PLC0415  only when asked for

        self.push_screen(Jump(self._cockpit.begin_jump()), self._cockpit.end_jump)

    def action_step_panel(self, by: int) -> None:
        self._cockpit.dashboard.next_panel(by)

    def action_show_panel(self, number: int) -> None:
        self._cockpit.dashboard.show_panel(number)
