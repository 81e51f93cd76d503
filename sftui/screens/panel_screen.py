"""A screen of panels that are placed by a function of its size, not by a style sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.geometry import NULL_SPACING, Offset, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.screen import Screen
from textual.widget import Widget

from sftui.screens.arrangement import Box
from sftui.terminal.compositor import CroppingCompositor

if TYPE_CHECKING:
    from sftui.state.records import Topic
    from sftui.widgets.panel import Panel


class BoxLayout(Layout):
    """Places the panels where `PanelScreen.boxes` says; the others are not placed at all."""

    name = "boxes"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        assert isinstance(parent, PanelScreen)
        boxes = parent.boxes(size)
        return [
            WidgetPlacement(_region(boxes[child.id]), Offset(0, 0), NULL_SPACING, child)
            for child in children
            if child.id in boxes
        ]


class PanelScreen(Screen[None]):
    """Subclasses set `panels` and say in `boxes` where they are."""

    panels: list[Panel]

    def __init__(self) -> None:
        super().__init__()
        self._box_layout = BoxLayout()
        self._compositor = CroppingCompositor()

    def boxes(self, size: Size) -> dict[str, Box]:
        """Where every visible panel is at this size, by its id."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield from self.panels

    @property
    def layout(self) -> Layout:
        """Ours, at every size; a style sheet can only name Textual's."""
        return self._box_layout

    def rebuild_stale(self, touched: Topic) -> None:
        """Rebuild the visible panels that any of these topics makes stale."""
        visible = self.boxes(self.size)
        for panel in self.panels:
            if panel.id in visible and panel.TOPICS & touched:
                panel.rebuild()

    def rearrange(self) -> None:
        """The set of panels changed."""
        # A child's request drops the cached arrangement of its ancestors; the screen's own
        # would find the size unchanged and keep it.
        self.panels[0].refresh(layout=True)


def _region(box: Box) -> Region:
    return Region(box.x, box.y, box.width, box.height)
