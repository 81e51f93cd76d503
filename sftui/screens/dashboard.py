"""The one screen: arranges the panels by size; every panel paints itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.events import DescendantFocus
from textual.geometry import NULL_SPACING, Offset, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.screen import Screen
from textual.widget import Widget

from sftui.screens.arrangement import Box, arrange, family
from sftui.state.records import Topic
from sftui.terminal.compositor import SpanCompositor
from sftui.view.view import PANELS
from sftui.widgets.accuracy_chart import AccuracyChart
from sftui.widgets.alarm_bar import AlarmBar, rows_wanted
from sftui.widgets.benchmarks import Benchmarks
from sftui.widgets.checkpoint_panel import Checkpoints
from sftui.widgets.footer import KeyFooter
from sftui.widgets.log_pane import LogPane
from sftui.widgets.loss_chart import LossChart
from sftui.widgets.now import Now
from sftui.widgets.panel import Panel
from sftui.widgets.rank_table import RankTable
from sftui.widgets.run_header import RunHeader
from sftui.widgets.sample_panel import Samples
from sftui.widgets.scrubber import Scrubber
from sftui.widgets.small_summary import Glance
from sftui.widgets.validation_table import ValidationTable

if TYPE_CHECKING:
    from sftui.state.run_state import RunState
    from sftui.view.view import View


class CockpitLayout(Layout):
    """Places the panels where `arrange` says; the others are not placed at all."""

    name = "cockpit"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        assert isinstance(parent, Dashboard)
        boxes = parent.boxes(size)
        return [
            WidgetPlacement(_region(boxes[child.id]), Offset(0, 0), NULL_SPACING, child)
            for child in children
            if child.id in boxes
        ]


class Dashboard(Screen[None]):
    """All panels over one state and one view."""

    AUTO_FOCUS: ClassVar[str | None] = "#loss"

    def __init__(self, state: RunState, view: View) -> None:
        super().__init__()
        self._run = state
        self.view = view
        self._cockpit = CockpitLayout()
        self._compositor = SpanCompositor()
        make = (
            (RunHeader, "header"),
            (LossChart, "loss"),
            (AccuracyChart, "accuracy"),
            (Now, "now"),
            (RankTable, "memory"),
            (Benchmarks, "benchmarks"),
            (ValidationTable, "validation"),
            (Checkpoints, "checkpoints"),
            (LogPane, "log"),
            (Samples, "samples"),
            (Glance, "glance"),
            (Scrubber, "scrubber"),
            (AlarmBar, "alarms"),
            (KeyFooter, "footer"),
        )
        self.panels: list[Panel] = [kind(state, view, id=name) for kind, name in make]
        self._num_ranks = 1
        self._alarm_rows = 0
        self._absent: frozenset[str] = frozenset()
        self._visible: frozenset[str] = frozenset()  # as they were arranged last

    def compose(self) -> ComposeResult:
        yield from self.panels

    @property
    def layout(self) -> Layout:
        """Ours, at every size; a style sheet can only name Textual's."""
        return self._cockpit

    def boxes(self, size: Size) -> dict[str, Box]:
        """Where everything is at this size, now."""
        boxes = arrange(
            size.width,
            size.height,
            panel=_place(self.view.panel),
            lower=self.view.lower,
            maximised=self.view.maximised,
            num_ranks=self._num_ranks,
            replay=self.view.tape is not None,
            alarms=rows_wanted(self.view.alarms(self._run), size.width),
            absent=self.absent - {_place(self.view.panel)},
        )
        if self.view.table == "validation" and "benchmarks" in boxes:
            boxes["validation"] = boxes.pop("benchmarks")
        self._visible = frozenset(boxes)
        return boxes

    @property
    def wide(self) -> bool:
        """All panels are there side by side."""
        kind = family(self.size.width, self.size.height)
        return kind == "wide" and not self.view.maximised

    @property
    def absent(self) -> frozenset[str]:
        """Panels of which the whole log has nothing: they have no room until asked for.

        Of all of it, not up to the clock: the panels stay where they are under a moving clock.
        """
        tape = self.view.tape
        if tape is None:
            return frozenset()
        table = "evals" if self.view.table == "benchmarks" else "validations"
        needs = {"accuracy": "evals", "memory": "ranks", "checkpoints": "checkpoints"}
        needs["benchmarks"] = table
        return frozenset(name for name, what in needs.items() if what not in tape.holds)

    def set_state(self, state: RunState) -> None:
        """Another state over the same view: a replay went back, or to another stage."""
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
        visible = self.boxes(self.size)
        for panel in self.panels:
            if panel.id in visible and panel.TOPICS & touched:
                panel.rebuild()

    def tick(self, touched: Topic) -> None:
        """A second went by: clocks move, unless `touched` has them painted anyway."""
        for panel in self.panels:
            if panel.id in self._visible and not panel.TOPICS & touched:
                panel.tick()

    def rearrange(self) -> None:
        """The set of panels changed."""
        # A child's request drops the cached arrangement of its ancestors; the screen's own
        # would find the size unchanged and keep it.
        self.panels[0].refresh(layout=True)

    def focus_panel(self, name: str) -> None:
        """Make a panel of `PANELS` the big one, and the focused one."""
        self.view.panel = name
        if name in ("accuracy", "samples"):
            self.view.lower = name
        self.rearrange()
        visible = self.boxes(self.size)
        # On a small screen the table stands for the accuracy chart.
        target = name if name in visible else self.view.table if name == "accuracy" else name
        if target in visible:
            self.query_one(f"#{target}").focus()
        else:
            self.set_focus(None)

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """A panel that was clicked is the one that `z` enlarges."""
        if self.wide and event.widget.id is not None:
            if self.absent & {_place(self.view.panel), _place(event.widget.id)}:
                self.rearrange()  # what was there because it was asked for goes again
            self.view.panel = event.widget.id

    def next_panel(self, by: int) -> None:
        # An empty panel is no stop on the way.
        panels = [name for name in PANELS if name != "samples" or self._run.samples]
        panels = [name for name in panels if name not in self.absent]
        at = panels.index(self.view.panel) if self.view.panel in panels else 0
        self.focus_panel(panels[(at + by) % len(panels)])


def _place(panel: str) -> str:
    """The place of a panel: the two tables share one."""
    return "benchmarks" if panel == "validation" else panel


def _region(box: Box) -> Region:
    return Region(box.x, box.y, box.width, box.height)
