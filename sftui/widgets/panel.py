"""The base of every panel: a grid of cells, of which only the changed ones are painted.

A panel says which topics make it stale and how to paint itself; everything else
(diff, strips, theme, focus) is here. No layout pass, no Rich renderable, no message
per event: a rebuild costs a few numpy calls and the terminal gets what moved.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from textual.events import Click
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from sftui.drawing.canvas import BLANK, Grid, Span, text_width
from sftui.drawing.roles import Back, Role, style
from sftui.drawing.theme import Palette
from sftui.keys.key_table import JUMP_LETTERS, Key
from sftui.state.records import Topic
from sftui.terminal import ascii_glyphs

if TYPE_CHECKING:
    from sftui.drawing.chart_data import ChartData
    from sftui.state.run_state import RunState
    from sftui.view.view import View


_NEAR = 8
"""Cells between two changes that cost less to send again than a cursor movement."""


class Panel(Widget):
    """A line-API widget over a `Grid`."""

    TOPICS: ClassVar[Topic] = Topic.ALL
    """Topics of the state that this panel shows."""

    can_focus = False

    opens: ClassVar[str] = "app.toggle_maximised"
    """The action of enter while it has the focus, and of a double click on it."""
    double_click_opens: ClassVar[bool] = True
    """Whether a double click inside the border is not the panel's own."""
    border_keys: ClassVar[str] = ""
    """Mode of the keys that are named on its lower border; empty where none are."""

    def __init__(self, state: RunState, view: View, *, id: str) -> None:
        super().__init__(id=id)
        self.state = state
        self.view = view
        self._clock: Hashable = None
        self.grid = Grid(0, 0)
        """The cells as they were painted last; every `rebuild` makes another."""
        self._strips: dict[int, Strip] = {}
        self._sized = False
        """Whether it was painted at its present size since it was last hidden."""

    @property
    def clock(self) -> Hashable:
        """What of the paint depends on the time; another value makes the panel stale."""
        return None

    def tick(self) -> None:
        """Called once a second when nothing else was rebuilt: rebuild if `clock` changed."""
        if self.clock != self._clock:
            self.rebuild()

    def paint(self, grid: Grid) -> None:
        """Draw the state into an empty grid of this panel's size."""
        raise NotImplementedError

    def text(self) -> str:
        """The characters of the panel as it was painted last, a line a row."""
        return "\n".join(self.grid.lines())

    def copied(self) -> str:
        """What the copy key takes from here; by default all words of the panel."""
        rows = [_unframed(row) for row in self.grid.lines()]
        return "\n".join(row for row in rows if row)

    def chart_data(self) -> ChartData | None:
        """The chart as it is seen, to be written to files; None where there is none."""
        return None

    def rebuild(self) -> None:
        """Paint anew and refresh the spans that differ from what is on screen."""
        if not self.is_mounted or not self.display:
            return
        width, height = self.size
        grid = Grid(height, width)
        if height and width:
            self.paint(grid)
            if self.id in self.view.jumping:
                number = style(Role.ON_BADGE, bold=True, back=Back.WARN)
                grid.text(0, 0, f" {JUMP_LETTERS[self.id]} ", number)
            grid.settle()
        self._clock = self.clock
        before, self.grid = self.grid, grid
        if before.codes.shape != grid.codes.shape:
            self._strips.clear()
            self.refresh()
            return
        changed = grid.changed_from(before)
        rows = np.flatnonzero(changed.any(axis=1))
        if not len(rows):
            return
        spans = []
        for row in rows.tolist():
            where = np.flatnonzero(changed[row])
            self._strips.pop(row, None)
            gaps = np.flatnonzero(np.diff(where) > _NEAR)
            for first, last in zip(
                where[[0, *(gaps + 1)]].tolist(), where[[*gaps, -1]].tolist(), strict=True
            ):
                spans.append(Region(first, row, last - first + 1, 1))
        self.refresh(*spans)

    def forget_colours(self) -> None:
        """Make the strips again under the present theme; the cells stay."""
        self._strips.clear()
        self.refresh()

    def on_click(self, event: Click) -> None:
        """A key that is named on the border is a button. Two clicks open what is under them; on
        the border, they enlarge the panel."""
        if self.border_keys and event.y == self.size.height - 1:
            key = self._key_under(event.x)
            if key is not None:
                event.stop()
                self.app.simulate_key(key.keys.split(",")[0])
            return
        if event.chain != 2 or not self.can_focus:
            return
        if event.y in (0, self.size.height - 1) or event.x in (0, self.size.width - 1):
            self.call_later(self.run_action, "app.toggle_maximised")
        elif self.double_click_opens:
            self.call_later(self.run_action, self.opens)

    def key_notes(self, room: int) -> list[Span]:
        """The keys for the lower border, in at most `room` cells: the least important gives way,
        the way out stays."""
        keys = self._named_keys()
        while keys and sum(_note_cells(key) for key in keys) > room + 2:
            spare = [key for key in keys if key.words != "Close"] or keys
            keys.remove(spare[-1])
        notes: list[Span] = []
        for key in keys:
            gap = "" if key is keys[-1] else "  "
            notes += [
                (key.shown, style(Role.WARN, bold=True)),
                (f" {key.words}{gap}", style(Role.DIM)),
            ]
        return notes

    def _named_keys(self) -> list[Key]:
        """Those that its border names, the most important first."""
        keys = [key for key in self.view.keys.of_mode(self.border_keys) if key.footer]
        return sorted(keys, key=lambda key: key.footer)

    def _key_under(self, x: int) -> Key | None:
        """The key whose name and words stand at a column of the lower border."""
        row, start = self.grid.lines()[-1], 0
        for key in self._named_keys():
            words = f"{key.shown} {key.words}"
            at = row.find(words, start)
            if at < 0:
                continue
            start = at + len(words)
            if at <= x < start:
                return key
        return None

    def on_resize(self) -> None:
        self.rebuild()
        self._sized = True

    def on_hide(self) -> None:
        self._sized = False

    def on_show(self) -> None:
        # It may come back at its old size, without a resize; what changed meanwhile was not
        # painted.
        if not self._sized:
            self.rebuild()

    def watch_has_focus(self, has_focus: bool) -> None:
        # Not `on_focus`: Textual calls that before `has_focus` is true.
        super().watch_has_focus(has_focus)
        self.rebuild()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Rows of the grid as they are: a panel has no border, padding, tint or opacity of a style
        sheet, and every cell has both its colours, so that Textual's pass over each row of each
        frame for them (a tenth of a live screen's time) finds nothing to do."""
        strips = [self.render_line(y) for y in crop.line_range]
        if crop.column_span == (0, self.grid.width):
            return strips
        return [strip.crop(*crop.column_span) for strip in strips]

    def render_line(self, y: int) -> Strip:
        strip = self._strips.get(y)
        if strip is None:
            app = cast(Any, self.app)
            palette = app.palette
            if y < self.grid.height:
                codes, styles = self.grid.codes[y], self.grid.styles[y]
                if getattr(app, "ascii", False):
                    codes = ascii_glyphs.plain(codes, styles)
                strip = to_strip(codes, styles, palette)
            else:
                strip = Strip.blank(self.size.width, palette[0])
            for line_filter in self.get_line_filters():  # no colour, the terminal's own colours
                strip = strip.apply_filter(line_filter, self.background_colors[1])
            self._strips[y] = strip
        return strip

    @property
    def border(self) -> int:
        """Style of the frame, bright when the panel has the focus."""
        return style(Role.FOCUS if self.has_focus else Role.BORDER)


def _note_cells(key: Key) -> int:
    return text_width(f"{key.shown} {key.words}  ")


_FRAME = "─│╭╮╰╯┤├ "
_BAR = re.compile("[━╸╺]+ *")
"""How full something is: pasted, only the number beside it says something."""


def _unframed(row: str) -> str:
    """A row of a panel without its border and bars; nothing of one that is border alone."""
    return _BAR.sub("", row).strip(_FRAME)


def to_strip(codes: NDArray[Any], styles: NDArray[Any], palette: Palette) -> Strip:
    """One row of cells as runs of equal style; a blank joins the run on its left."""
    width = len(codes)
    if not width:
        return Strip([], 0)
    # The background still matters under a blank; the foreground does not.
    inherit, backs = codes == BLANK, styles >> 8
    inherit[1:] &= backs[1:] == backs[:-1]
    inherit[0] = False
    source = np.arange(width) * ~inherit
    effective = styles[np.maximum.accumulate(source)]
    starts = [0, *(np.flatnonzero(effective[1:] != effective[:-1]) + 1).tolist()]
    bounds = [*starts, width]
    numbers = effective[starts].tolist()
    text = codes.tobytes().decode("utf-32-le")
    segments = [
        Segment(text[a:b].replace("\0", ""), palette[number])
        for a, b, number in zip(bounds, bounds[1:], numbers, strict=False)
    ]
    return Strip(segments, width)
