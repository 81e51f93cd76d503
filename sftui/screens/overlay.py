"""The screen of `sftui compare`: runs on one chart, their list, one against the pinned one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import NULL_SPACING, Offset, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.screen import Screen
from textual.widget import Widget

from sftui.keys import key_table
from sftui.keys.bindings import bindings, rebind
from sftui.screens.arrangement import Box
from sftui.state.run_state import RunState
from sftui.terminal.compositor import SpanCompositor
from sftui.widgets.footer import KeyFooter
from sftui.widgets.overlay_chart import OverlayChart
from sftui.widgets.overlay_details import OverlayDetails
from sftui.widgets.overlay_list import OverlayList

if TYPE_CHECKING:
    from sftui.compare.overlaid_runs import Overlay
    from sftui.widgets.panel import Panel

TICK_SECONDS, FOLLOW_SECONDS = 0.1, 0.5
"""While files are read; while living runs are followed."""
WIDE_COLUMNS, SMALL_ROWS, SMALL_COLUMNS = 110, 14, 50


def boxes(width: int, height: int, num_runs: int, *, big: bool) -> dict[str, Box]:
    """Where every panel goes: beside the chart, under it, or nowhere."""
    if width < 1 or height < 1:
        return {}
    footer = {"footer": Box(0, height - 1, width, 1)} if height >= 4 else {}
    body = height - len(footer)
    if big or height < SMALL_ROWS or width < SMALL_COLUMNS:
        return {"chart": Box(0, 0, width, body)} | footer
    rows = min(num_runs, max(2, body // 4)) + 2
    if width >= WIDE_COLUMNS:
        left = max(64, round(width * 0.62))
        return {
            "chart": Box(0, 0, left, body),
            "runs": Box(left, 0, width - left, rows),
            "details": Box(left, rows, width - left, body - rows),
        } | footer
    details = max(5, (body - rows) * 2 // 5)
    chart = body - rows - details
    return {
        "chart": Box(0, 0, width, chart),
        "runs": Box(0, chart, width, rows),
        "details": Box(0, chart + rows, width, details),
    } | footer


class OverlayLayout(Layout):
    """Places the panels where `boxes` says; the others are not placed at all."""

    name = "overlay"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        assert isinstance(parent, OverlayScreen)
        found = parent.boxes(size)
        return [
            WidgetPlacement(_region(found[child.id]), Offset(0, 0), NULL_SPACING, child)
            for child in children
            if child.id in found
        ]


class OverlayScreen(Screen[None]):
    """All panels over one overlay."""

    AUTO_FOCUS: ClassVar[str | None] = "#chart"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings((key for key in key_table.TABLE if key.mode == "compare"), priority=True)
    ]

    def __init__(self, overlay: Overlay, poll: Callable[[], bool]) -> None:
        """`poll` takes what has come of the runs; whether anything has."""
        super().__init__()
        rebind(self, key_table.of_mode("compare"), priority=True)
        self.overlay = overlay
        self._poll = poll
        self._overlay_layout = OverlayLayout()
        self._compositor = SpanCompositor()
        self._big = False
        nobody = RunState()
        self.details = OverlayDetails(nobody, overlay, id="details")
        self.panels: list[Panel] = [
            OverlayChart(nobody, overlay, id="chart"),
            OverlayList(nobody, overlay, id="runs"),
            self.details,
            KeyFooter(nobody, overlay.view, id="footer"),
        ]

    def compose(self) -> ComposeResult:
        yield from self.panels

    @property
    def layout(self) -> Layout:
        """Ours, at every size; a style sheet can only name Textual's."""
        return self._overlay_layout

    def boxes(self, size: Size) -> dict[str, Box]:
        return boxes(size.width, size.height, len(self.overlay.contenders), big=self._big)

    def on_mount(self) -> None:
        self._tick()

    def _tick(self) -> None:
        """Take what has come; no tick at all once everything is read and nothing is followed."""
        if self._poll():
            self.show()
        if self.overlay.loading:
            self.set_timer(TICK_SECONDS, self._tick)
        elif self.overlay.moving:
            self.set_timer(FOLLOW_SECONDS, self._tick)

    def show(self) -> None:
        """Paint what is visible anew; only cells that changed reach the terminal."""
        visible = self.boxes(self.size)
        for panel in self.panels:
            if panel.id in visible:
                panel.rebuild()

    def _do(self, act: Callable[[], object]) -> None:
        act()
        self.show()

    # ---- keys ------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys have priority over a panel's, not over a screen that lies on this one."""
        return self.is_current or action not in _ACTIONS

    def action_choose(self, by: int) -> None:
        self._do(lambda: self.overlay.choose(by))

    def action_pin(self) -> None:
        self._do(self.overlay.pin)

    def action_toggle_hidden(self) -> None:
        if problem := self.overlay.toggle():
            self.notify(problem, markup=False, timeout=3)
        self.show()

    def action_show_all(self) -> None:
        self._do(self.overlay.show_all)

    def action_toggle_log_y(self) -> None:
        self.overlay.view.log_y = not self.overlay.view.log_y
        self.show()

    def action_cycle_smoothing(self) -> None:
        self._do(self.overlay.cycle_smoothing)

    def action_zoom(self, closer: bool) -> None:
        self._do(lambda: self.overlay.view.sight.zoom(closer))

    def action_zoom_at(self, closer: bool, at: float | None) -> None:
        self._do(lambda: self.overlay.view.sight.zoom(closer, at))

    def action_pan_by(self, by: float) -> None:
        self._do(lambda: self.overlay.view.sight.pan(by))

    def action_point(self, cells: int) -> None:
        last = self.overlay.last_step()
        self._do(lambda: self.overlay.view.sight.move(cells, last))

    def action_point_at(self, at: float | None) -> None:
        if self.overlay.view.sight.cursor != at:
            self.overlay.view.sight.cursor = at
            self.show()

    def action_reset_look(self) -> None:
        self._do(self.overlay.view.sight.reset)

    def action_scroll(self, by: int) -> None:
        page = max(1, self.details.size.height - 3)
        self.overlay.scrolled = max(0, self.overlay.scrolled + by * page)
        self.show()

    def action_toggle_big(self) -> None:
        self._big = not self._big
        # A child's request drops the cached arrangement of its ancestors.
        self.panels[0].refresh(layout=True)

    def action_help(self) -> None:
        from sftui.screens.help import Help  # noqa: PLC0415  only when asked for

        self.app.push_screen(Help(only="compare"))

    def action_leave(self) -> None:
        self.app.exit()


_ACTIONS = frozenset(key.action.split("(")[0] for key in key_table.of_mode("compare"))


def _region(box: Box) -> Region:
    return Region(box.x, box.y, box.width, box.height)
