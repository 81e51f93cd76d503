"""The screen of `sftui compare`: runs on one chart, their list, one against the pinned one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.geometry import Size

from engine.errors import UsageError
from sftui.compare.numbers import find
from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS, KeyTable
from sftui.screens.arrangement import Box
from sftui.screens.copying import copy_from, export_from
from sftui.screens.panel_screen import PanelScreen
from sftui.state.records import Topic
from sftui.state.run_state import RunState
from sftui.view.chart_panels import ChartRun
from sftui.view.view_control import ViewControl
from sftui.widgets.footer import KeyFooter
from sftui.widgets.overlay_chart import OverlayChart
from sftui.widgets.overlay_details import OverlayDetails
from sftui.widgets.overlay_list import OverlayList

if TYPE_CHECKING:
    from sftui.compare.overlaid_runs import Overlay
    from sftui.screens.charts import ChartsScreen
    from sftui.view.viewport import Extent
    from sftui.widgets.zoom_chart import ChartMoved

TICK_SECONDS, FOLLOW_SECONDS = 0.1, 0.5
"""Between two ticks while files are read, and while running runs are followed."""
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


class OverlayScreen(PanelScreen):
    """Chart, list and details over one `Overlay`."""

    AUTO_FOCUS: ClassVar[str | None] = "#chart"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(DEFAULT_KEYS.of_mode("compare"), priority=True)
    ]

    def __init__(
        self,
        overlay: Overlay,
        poll: Callable[[], bool],
        keys: KeyTable = DEFAULT_KEYS,
        *,
        metric: str | None = None,
    ) -> None:
        """`poll` reads on in the runs and returns whether anything came. `metric`: as it was typed,
        the number to show once the runs are read."""
        super().__init__()
        rebind(self, keys.of_mode("compare"), priority=True)
        self.overlay = overlay
        self._poll = poll
        self._asked = metric
        self._said = overlay.axis_name == "step"
        """Whether the axis that was asked for is there, or it was told why not."""
        self._big = False
        no_run = RunState()
        self.details = OverlayDetails(no_run, overlay, id="details")
        chart = OverlayChart(no_run, overlay, id="chart")
        self._chart = chart
        self.front: OverlayScreen | ChartsScreen = self
        """What is painted as runs are read: this screen, or the page of charts over it."""
        self.control = ViewControl(
            overlay.view, extent=lambda: self.front.extent, show=lambda _: self._show_front()
        )
        self.control.use_keys(keys)
        self.panels = [
            chart,
            OverlayList(no_run, overlay, id="runs"),
            self.details,
            KeyFooter(no_run, overlay.view, id="footer"),
        ]

    def boxes(self, size: Size) -> dict[str, Box]:
        return boxes(size.width, size.height, len(self.overlay.contenders), big=self._big)

    @property
    def extent(self) -> Extent:
        """Of the chart as it was painted last."""
        return self._chart.extent

    def on_mount(self) -> None:
        self._tick()

    def _tick(self) -> None:
        """Take what has come; no tick at all once everything is read and nothing is followed."""
        changed = self._poll()
        if not self.overlay.loading:
            changed = self._take_flags() or changed
        if changed:
            self._show_front()
        if self.overlay.loading:
            self.set_timer(TICK_SECONDS, self._tick)
        elif self.overlay.moving:
            self.set_timer(FOLLOW_SECONDS, self._tick)

    def _take_flags(self) -> bool:
        """What only runs that are read can tell: the number that was asked for, and whether they
        have the axis. Returns whether the chart changed."""
        if not self._said:
            self._said = True
            if reason := self.overlay.axis()[1]:
                self.notify(f"By steps: {reason}", markup=False, timeout=6)
        asked, self._asked = self._asked, None
        if asked is None:
            return False
        try:
            self.overlay.show_number(find(asked, [c.state for c in self.overlay.contenders]))
        except UsageError as error:
            self.notify(str(error), markup=False, timeout=8)
        return True

    def show(self) -> None:
        """Paint what is visible anew; only cells that changed reach the terminal."""
        visible = self.boxes(self.size)
        for panel in self.panels:
            if panel.id in visible:
                panel.rebuild()

    def _show_front(self) -> None:
        if isinstance(self.front, OverlayScreen):
            self.show()
        else:
            self.front.show(Topic.ALL)

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
        self.control.toggle_log_y()

    def action_cycle_smoothing(self) -> None:
        self.control.cycle_smoothing()

    def action_next_x_axis(self) -> None:
        reasons = self.overlay.next_axis()
        self.app.clear_notifications()
        if reasons:
            self.notify(reasons, markup=False, timeout=4)
        self.show()

    def action_next_number(self, by: int) -> None:
        words = self.overlay.next_number(by)
        self.app.clear_notifications()
        self.notify(words, markup=False, timeout=2)
        self.show()

    def action_zoom(self, closer: bool) -> None:
        self.control.move(lambda viewport: viewport.zoom(closer))

    def action_point(self, cells: int) -> None:
        last = self.overlay.last_place()
        self.control.move(lambda viewport: viewport.move(cells, last))

    def on_chart_moved(self, message: ChartMoved) -> None:
        """The mouse over the chart; under another screen it keeps its crosshair."""
        if self.is_current:
            self.control.move(message.apply)

    def action_reset_view(self) -> None:
        self.control.move(lambda viewport: viewport.reset())

    def action_scroll(self, by: int) -> None:
        page = max(1, self.details.size.height - 3)
        self.overlay.scrolled = max(0, self.overlay.scrolled + by * page)
        self.show()

    def action_toggle_big(self) -> None:
        self._big = not self._big
        self.rearrange()

    def action_copy_here(self) -> None:
        copy_from(self)

    def action_export_chart(self) -> None:
        export_from(self)

    def action_show_charts(self) -> None:
        """Every number of the runs that are shown, on one page."""
        from sftui.screens.charts import ChartsScreen  # noqa: PLC0415  only when asked for

        overlay = self.overlay
        page = ChartsScreen(
            overlay.reference.state,
            overlay.view,
            self.control,
            runs=lambda: [
                ChartRun(state=c.state, letter=c.letter, role=c.role) for c in overlay.shown
            ],
            on_close=self._come_back,
        )
        self.front = page
        self.app.push_screen(page)

    def _come_back(self) -> None:
        self.front = self
        self.show()

    def action_help(self) -> None:
        from sftui.screens.help import Help  # noqa: PLC0415  only when asked for

        self.app.push_screen(Help(self.overlay.view.keys, only="compare"))

    def action_leave(self) -> None:
        self.app.exit()


_ACTIONS = frozenset(key.action.split("(")[0] for key in DEFAULT_KEYS.of_mode("compare"))
