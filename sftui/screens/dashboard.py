"""The screen over a run or a replay: which panels are there, and where, at this size."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.events import DescendantFocus
from textual.geometry import Size

from sftui.screens.arrangement import Box, arrange, family
from sftui.screens.panel_screen import PanelScreen
from sftui.state.records import Topic
from sftui.view.view import PANELS, TABLES
from sftui.widgets.accuracy_chart import AccuracyChart
from sftui.widgets.alarm_bar import AlarmBar, rows_wanted
from sftui.widgets.benchmarks import Benchmarks
from sftui.widgets.checkpoint_panel import CheckpointPanel
from sftui.widgets.footer import KeyFooter
from sftui.widgets.log_pane import LogPane
from sftui.widgets.loss_chart import LossChart
from sftui.widgets.now import Now
from sftui.widgets.rank_table import RankTable
from sftui.widgets.run_header import RunHeader
from sftui.widgets.sample_panel import SamplePanel
from sftui.widgets.scrubber import Scrubber
from sftui.widgets.series_chart import SeriesCharts
from sftui.widgets.small_summary import SmallSummary
from sftui.widgets.validation_table import ValidationTable

if TYPE_CHECKING:
    from sftui.state.run_state import RunState
    from sftui.view.view import View
    from sftui.view.viewport import Extent


class Dashboard(PanelScreen):
    """All panels over one state and one view, and which of them are shown."""

    AUTO_FOCUS: ClassVar[str | None] = "#loss"

    def __init__(self, state: RunState, view: View) -> None:
        super().__init__()
        self._run = state
        self.view = view
        make = (
            (RunHeader, "header"),
            (LossChart, "loss"),
            (AccuracyChart, "accuracy"),
            (Now, "now"),
            (RankTable, "memory"),
            (Benchmarks, "benchmarks"),
            (ValidationTable, "validation"),
            (CheckpointPanel, "checkpoints"),
            (LogPane, "log"),
            (SamplePanel, "samples"),
            (SmallSummary, "summary"),
            (Scrubber, "scrubber"),
            (AlarmBar, "alarms"),
            (KeyFooter, "footer"),
        )
        self.panels = [kind(state, view, id=name) for kind, name in make]
        self.panels.insert(-1, SeriesCharts(state, view, id="pinned", pinned=True))
        self._loss = next(panel for panel in self.panels if isinstance(panel, LossChart))
        self._checkpoints = next(p for p in self.panels if isinstance(p, CheckpointPanel))
        self.panel = "loss"
        """The big one on a small screen, and the one that `maximised` leaves alone."""
        self.lower = "accuracy"
        """What stands under the loss chart where there is room for all: accuracy, samples or what
        is pinned."""
        self.table = TABLES[0]
        """The table beside the charts, one of TABLES."""
        self.maximised = False
        self._num_ranks = 1
        self._alarm_rows = 0
        self._absent: frozenset[str] = frozenset()
        self._visible: frozenset[str] = frozenset()  # as they were arranged last

    def boxes(self, size: Size) -> dict[str, Box]:
        """Where every visible panel is at this size, by its id."""
        boxes = arrange(
            size.width,
            size.height,
            panel=_place(self.panel),
            lower=self.lower,
            maximised=self.maximised,
            num_ranks=self._num_ranks,
            replay=self.view.replay is not None,
            alarms=rows_wanted(self.view.alarms(self._run), size.width),
            absent=self.absent - {_place(self.panel)},
        )
        if self.table == "validation" and "benchmarks" in boxes:
            boxes["validation"] = boxes.pop("benchmarks")
        self._visible = frozenset(boxes)
        return boxes

    @property
    def extent(self) -> Extent:
        """Of the loss chart as it was painted last: what keys move within."""
        return self._loss.extent

    @property
    def chosen_checkpoint(self) -> int | None:
        """Step of the row of the checkpoints that was clicked."""
        return self._checkpoints.chosen

    @property
    def wide(self) -> bool:
        """Whether all panels are shown side by side."""
        kind = family(self.size.width, self.size.height)
        return kind == "wide" and not self.maximised

    @property
    def absent(self) -> frozenset[str]:
        """Panels that the whole log has nothing for: they get no room until a key asks for them.

        Of all of it, not up to the clock: the panels stay where they are under a moving clock.
        """
        replay = self.view.replay
        if replay is None:
            return frozenset()
        table = "evals" if self.table == "benchmarks" else "validations"
        needs = {"accuracy": "evals", "memory": "ranks", "checkpoints": "checkpoints"}
        needs["benchmarks"] = table
        return frozenset(name for name, what in needs.items() if what not in replay.holds)

    def set_state(self, state: RunState) -> None:
        """Show another state: a replay went back, or to another stage."""
        self._run = state
        for panel in self.panels:
            panel.state = state

    def show(self, touched: Topic) -> None:
        """Rebuild the visible panels that any of these topics makes stale."""
        ranks = max(self._num_ranks, len(self._run.ranks))
        rows = rows_wanted(self.view.alarms(self._run), self.size.width)
        shape = (ranks, rows, self.absent)
        if shape != (self._num_ranks, self._alarm_rows, self._absent):
            self._num_ranks, self._alarm_rows, self._absent = shape
            self.rearrange()
        self.rebuild_stale(touched)

    def tick(self, touched: Topic) -> None:
        """A second went by: clocks move, unless `touched` has them painted anyway."""
        for panel in self.panels:
            if panel.id in self._visible and not panel.TOPICS & touched:
                panel.tick()

    def focus_panel(self, name: str, *, alone: bool = False) -> None:
        """Make a panel of `PANELS` the big one, and the focused one; `alone`: maximise it."""
        self.maximised = self.maximised or alone
        self.panel = name
        if name in ("accuracy", "samples", "pinned"):
            self.lower = name
        self.rearrange()
        visible = self.boxes(self.size)
        # On a small screen the table stands for the accuracy chart.
        target = name if name in visible else self.table if name == "accuracy" else name
        if target in visible:
            self.query_one(f"#{target}").focus()
        else:
            self.set_focus(None)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """A panel that was clicked is the one that `z` enlarges."""
        if self.wide and event.widget.id is not None:
            if self.absent & {_place(self.panel), _place(event.widget.id)}:
                self.rearrange()  # what was there because it was asked for goes again
            self.panel = event.widget.id

    def toggle_maximised(self) -> None:
        self.maximised = not self.maximised
        self.focus_panel(self.panel)

    def toggle_table(self) -> None:
        """Benchmarks or validation losses, in the same place."""
        seen = set(TABLES) & set(self.boxes(self.size))
        self.table = "validation" if self.table == "benchmarks" else "benchmarks"
        if self.panel == "validation":
            self.panel = "benchmarks"
        visible = self.boxes(self.size)
        if self.wide and "benchmarks" in self.absent:
            # The log has nothing for it: gone again, or there while it is asked for.
            gone = self.table == "benchmarks" and seen
            self.focus_panel("loss" if gone else self.table)
        elif self.table in visible:
            self.rearrange()
        else:
            # On a small screen another panel has the place: bring the table there.
            self.focus_panel("accuracy")
        self.show(Topic.VIEW)

    def show_panel(self, number: int) -> None:
        """By its number key, from 1."""
        self.focus_panel(PANELS[number - 1])

    def next_panel(self, by: int) -> None:
        """Focus the panel so many places on; what has nothing to show is passed over."""
        panels = [name for name in PANELS if name != "samples" or self._run.samples]
        panels = [name for name in panels if name not in self.absent]
        if not self.view.chart_page.pins:
            panels.remove("pinned")
        at = panels.index(self.panel) if self.panel in panels else 0
        self.focus_panel(panels[(at + by) % len(panels)])


def _place(panel: str) -> str:
    """The box a panel is shown in: the two tables share that of the benchmarks."""
    return "benchmarks" if panel == "validation" else panel
