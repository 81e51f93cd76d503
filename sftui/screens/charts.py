"""The page of charts: every number of a run, a log, or several runs, as small multiples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.events import Key
from textual.geometry import Size

from sftui.keys.bindings import bindings, rebind
from sftui.keys.key_table import DEFAULT_KEYS
from sftui.screens.arrangement import Box, arrange
from sftui.screens.copying import copy_from, export_from
from sftui.screens.panel_screen import PanelScreen
from sftui.state.records import Topic
from sftui.view.chart_page import ChartPage
from sftui.view.chart_panels import ChartPanel, ChartRun
from sftui.widgets.alarm_bar import AlarmBar, rows_wanted
from sftui.widgets.footer import KeyFooter
from sftui.widgets.run_header import RunHeader
from sftui.widgets.scrubber import Scrubber
from sftui.widgets.series_chart import ChartChosen, SeriesCharts

if TYPE_CHECKING:
    from sftui.state.run_state import RunState
    from sftui.view.view import View
    from sftui.view.view_control import ViewControl
    from sftui.view.viewport import Extent
    from sftui.widgets.zoom_chart import ChartMoved


class ChartsScreen(PanelScreen):
    """Over the dashboard or the screen of `sftui compare`, with the same viewport."""

    AUTO_FOCUS: ClassVar[str | None] = "#charts"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DEFAULT_KEYS.of_mode("charts"))]

    def __init__(
        self,
        state: RunState,
        view: View,
        control: ViewControl,
        *,
        runs: Callable[[], Sequence[ChartRun]] | None = None,
        pause: Callable[[], object] | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        """`runs`: several runs beside each other; without, that of `state`.

        `pause` is what space does; `on_close` is called when the page is left.
        """
        super().__init__()
        rebind(self, view.keys.of_mode("charts"))
        self._run = state
        self.view = view
        self.control = control
        self._several = runs is not None
        self._pause = pause
        self._on_close = on_close
        self._alarm_rows = 0
        self.charts = SeriesCharts(state, view, id="charts", runs=runs)
        footer = KeyFooter(state, view, id="footer")
        footer.mode = "charts"
        self.panels = [
            RunHeader(state, view, id="header"),
            self.charts,
            Scrubber(state, view, id="scrubber"),
            AlarmBar(state, view, id="alarms"),
            footer,
        ]

    # ---- a screen over a run -----------------------------------------------------------------

    @property
    def extent(self) -> Extent:
        """Of the focused chart as it was painted last."""
        return self.charts.extent

    @property
    def page(self) -> ChartPage:
        return self.view.chart_page

    def boxes(self, size: Size) -> dict[str, Box]:
        if self._several:
            # Runs beside each other have no header, no clock and no alarms in common.
            rows = size.height - (1 if size.height >= 4 else 0)
            boxes = {"charts": Box(0, 0, size.width, rows)} if size.width and rows > 0 else {}
            footer = {"footer": Box(0, rows, size.width, 1)} if rows < size.height else {}
            return boxes | footer
        boxes = arrange(
            size.width,
            size.height,
            panel="charts",
            maximised=True,
            kind="narrow",
            replay=self.view.replay is not None,
            alarms=rows_wanted(self.view.alarms(self._run), size.width),
        )
        return boxes

    def set_state(self, state: RunState) -> None:
        self._run = state
        for panel in self.panels:
            panel.state = state

    def show(self, touched: Topic) -> None:
        """Paint what these topics make stale; only cells that changed reach the terminal."""
        rows = rows_wanted(self.view.alarms(self._run), self.size.width)
        if rows != self._alarm_rows:
            self._alarm_rows = rows
            self.rearrange()
        self.rebuild_stale(touched)

    def tick(self, touched: Topic) -> None:
        visible = self.boxes(self.size)
        for panel in self.panels:
            if panel.id in visible and not panel.TOPICS & touched:
                panel.tick()

    def _changed(self) -> None:
        self.show(Topic.VIEW)

    # ---- which chart -------------------------------------------------------------------------

    @property
    def chosen(self) -> ChartPanel | None:
        """The focused chart."""
        panels = self.charts.panels
        return panels[self.page.focused(panels)] if panels else None

    def action_move_chart(self, right: int, down: int) -> None:
        page, panels = self.page, self.charts.panels
        if page.full and right:
            self.action_point(right, alone=1)
            return
        width, height = self.charts.room()
        columns = page.grid(width, height, len(panels))[1]
        at = page.focused(panels)
        if down and not page.full and not 0 <= at + down * columns < len(panels):
            return  # no chart there: the focus stays in its column
        page.move(panels, right + down * (1 if page.full else columns))
        self._changed()

    def action_turn_page(self, by: int) -> None:
        self.page.turn(self.charts.panels, by, *self.charts.room())
        self._changed()

    def action_open_chart(self) -> None:
        if self.chosen is not None:
            self.page.focus = self.chosen.key
            self.page.full = not self.page.full
            self._changed()

    def on_chart_chosen(self, message: ChartChosen) -> None:
        """The mouse: a click focuses, two open, the wheel turns pages."""
        if not self.is_current:
            return
        if message.kind in ("next", "previous"):
            self.action_turn_page(1 if message.kind == "next" else -1)
            return
        self.page.focus = message.key
        if message.kind == "open":
            self.page.full = not self.page.full
        self._changed()

    # ---- grid and filter ---------------------------------------------------------------------

    def action_set_grid(self, size: int) -> None:
        self.page.set_grid(size, size)
        self._changed()

    def action_more_rows(self) -> None:
        self.page.set_grid(self.page.rows + 1, self.page.columns)
        self._changed()

    def action_more_columns(self) -> None:
        self.page.set_grid(self.page.rows, self.page.columns + 1)
        self._changed()

    def action_filter_charts(self) -> None:
        self.page.full = False
        self.page.begin("filter", self.page.query)
        self._changed()

    def action_type_limits(self) -> None:
        if self.chosen is not None:
            self.page.focus = self.chosen.key
            limits = self.page.look(self.chosen.key).limits
            self.page.begin("range", "" if limits is None else f"{limits[0]:g}:{limits[1]:g}")
            self._changed()

    def on_key(self, event: Key) -> None:
        """While a line is typed, every key goes into it."""
        page = self.page
        if not page.typing:
            return
        if event.key == "enter":
            problem = page.keep(page.focus)
            if problem:
                self.notify(problem, markup=False, timeout=5)
        elif event.key == "escape":
            page.drop()
        elif event.key == "backspace":
            page.type(page.typed[:-1])
        elif event.key == "ctrl+u":
            page.type("")
        elif event.is_printable and event.character:
            page.type(page.typed + event.character)
        elif event.key in ("ctrl+c", "ctrl+p"):
            return
        event.stop()
        event.prevent_default()
        self._changed()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a line is typed no key of the table acts."""
        return not (self.page.typing and action in _ACTIONS)

    # ---- one chart ---------------------------------------------------------------------------

    def action_pin_chart(self) -> None:
        if self._several:
            self.notify("One run alone has a dashboard to pin to.", markup=False, timeout=3)
            return
        if self.chosen is None:
            return
        there = self.page.toggle_pin(self.chosen.key)
        where = f"{self.view.keys.by_id('panel_7').shown} shows it there"
        words = f"on the dashboard: {where}" if there else "not on the dashboard any more"
        self.app.clear_notifications()
        self.notify(f"{self.chosen.title}: {words}.", markup=False, timeout=3)
        self._changed()

    def action_toggle_log_y(self) -> None:
        if self.chosen is not None:
            self.page.toggle_log_y(self.chosen.key)
            self._changed()

    def action_cycle_range(self) -> None:
        if self.chosen is not None:
            self.page.next_range(self.chosen)
            self._changed()

    def action_copy_here(self) -> None:
        copy_from(self)

    def action_export_chart(self) -> None:
        export_from(self)

    # ---- all charts --------------------------------------------------------------------------

    def action_cycle_smoothing(self) -> None:
        self.control.cycle_smoothing()

    def action_toggle_whole(self) -> None:
        self.control.toggle_whole()

    def action_next_x_axis(self) -> None:
        if self._several:
            self.notify("Runs beside each other go by steps.", markup=False, timeout=3)
            return
        missing = self.control.next_x_axis(self._run)
        if missing:
            self.app.clear_notifications()
            self.notify(missing, markup=False, timeout=3)

    def action_zoom(self, closer: bool) -> None:
        self.control.move(lambda viewport: viewport.zoom(closer))

    def action_point(self, cells: int, alone: int = 10) -> None:
        """Move the crosshair; by `alone` times as much over one chart."""
        last = self.charts.newest
        by = cells * (alone if self.page.full else 1)
        self.control.move(lambda viewport: viewport.move(by, last))

    def on_chart_moved(self, message: ChartMoved) -> None:
        """The mouse over a chart."""
        if self.is_current:
            self.control.move(message.apply)

    def action_reset_view(self) -> None:
        self.control.move(lambda viewport: viewport.reset())

    def action_toggle_running(self) -> None:
        if self._pause is not None:
            self._pause()

    # ---- leaving -----------------------------------------------------------------------------

    def action_back(self) -> None:
        """One step back."""
        page = self.page
        if page.full:
            page.full = False
        elif self.view.viewport.cursor is not None:
            self.control.move(lambda viewport: viewport.point(None))
        elif page.query.strip():
            page.query = ""
        else:
            self.action_close_charts()
            return
        self._changed()

    def action_close_charts(self) -> None:
        self.page.typing = ""
        self.dismiss()
        if self._on_close is not None:
            self._on_close()

    def action_help(self) -> None:
        from sftui.screens.help import Help  # noqa: PLC0415  only when asked for

        self.app.push_screen(Help(self.view.keys, only="charts"))


_ACTIONS = frozenset(key.action.split("(")[0] for key in DEFAULT_KEYS.of_mode("charts"))
