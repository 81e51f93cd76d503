"""What the keys of the charts and panels do: axes, zoom, crosshair, jumps, layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sftui.view.viewport import Sight


class LookActions:
    """Mixed into the app, which has a cockpit."""

    _cockpit: Any
    tell: Callable[..., None]
    push_screen: Callable[..., Any]

    def action_toggle_log_y(self) -> None:
        self._cockpit.toggle_log_y()

    def action_toggle_whole(self) -> None:
        self._cockpit.toggle_whole()

    def action_cycle_smoothing(self) -> None:
        self._cockpit.cycle_smoothing()

    def action_next_x_axis(self) -> None:
        said = self._cockpit.next_x_axis()
        if said:
            self.tell(said)

    def action_zoom(self, closer: bool) -> None:
        self._cockpit.look(lambda sight: sight.zoom(closer))

    def action_zoom_at(self, closer: bool, at: float | None) -> None:
        self._cockpit.look(lambda sight: sight.zoom(closer, at))

    def action_pan_by(self, by: float) -> None:
        self._cockpit.look(lambda sight: sight.pan(by))

    def action_point_at(self, at: float | None) -> None:
        def point(sight: Sight) -> None:
            sight.cursor = at

        self._cockpit.look(point)

    def action_point(self, cells: int) -> None:
        last = self._cockpit.state.newest_place
        self._cockpit.look(lambda sight: sight.move(cells, last))

    def action_jump_event(self, by: int) -> None:
        self._jump(by, "event")

    def action_jump_checkpoint(self, by: int) -> None:
        self._jump(by, "checkpoint")

    def _jump(self, by: int, kinds: str) -> None:
        if not self._cockpit.jump(by, kinds):
            side = "later" if by > 0 else "earlier"
            self.tell(f"There is no {side} {kinds}.")

    def action_reset_look(self) -> None:
        self._cockpit.look(lambda sight: sight.reset())

    def action_hide_alarms(self) -> None:
        self._cockpit.hide_alarms()

    def action_toggle_table(self) -> None:
        self._cockpit.toggle_table()

    def action_toggle_maximised(self) -> None:
        self._cockpit.toggle_maximised()

    def action_jump_to_panel(self) -> None:
        from sftui.screens.jump import Jump  # noqa: PLC0415  only when asked for

        self.push_screen(Jump(self._cockpit.begin_jump()), self._cockpit.end_jump)

    def action_step_panel(self, by: int) -> None:
        self._cockpit.dashboard.next_panel(by)

    def action_show_panel(self, number: int) -> None:
        self._cockpit.show_panel(number)
