"""The page of charts as a person left it: grid, filter, focus, pins, and how each chart is drawn.

Headless: what is where is arithmetic over the panels that there are and the room they have. The
screen changes it by keys and mouse, the widget reads it; what is worth keeping goes into the
preferences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sftui.view.chart_filter import ChartFilter, parse
from sftui.view.chart_panels import ChartPanel

MOST = 4
"""Rows and columns of the page."""
LEAST_WIDTH, LEAST_HEIGHT = 24, 6
"""Cells of a chart: in less it would say nothing. A page that is too small shows fewer."""
_AUTO_WIDTH, _AUTO_HEIGHT = 38, 10
"""Cells of a chart while the grid follows the size of the screen."""
MOST_KEPT = 256
"""Charts whose pins and settings are remembered."""

Range = Literal["eye", "val", "all", "zero", "typed"]
RANGES: tuple[Range, ...] = ("eye", "val", "all", "zero")
"""What the y axis shows, in the order of the key."""
RANGE_WORDS: dict[Range, str] = {
    "eye": "y: average",
    "val": "y: validation",
    "all": "y: all",
    "zero": "y: from 0",
    "typed": "y: typed",
}


class Cell(NamedTuple):
    """Where one chart of the page is."""

    place: int
    """Of its panel, among all."""
    x: int
    y: int
    width: int
    height: int


@dataclass(slots=True, kw_only=True)
class Look:
    """How one chart is drawn."""

    log_y: bool = False
    range: Range = "eye"
    limits: tuple[float, float] | None = None
    """Those that were typed, in what the axis counts."""

    @property
    def plain(self) -> bool:
        """Whether nothing was chosen."""
        return not self.log_y and self.range == "eye"


@dataclass(slots=True)
class ChartPage:
    """Mutable; the screen over it changes it."""

    rows: int = 0
    columns: int = 0
    """Of the grid, 0 while it follows the size of the screen."""
    query: str = ""
    focus: str = ""
    """Key of the chart that keys act on; the first where it is not there."""
    full: bool = False
    """Whether that chart has the page to itself."""
    typing: Literal["", "filter", "range"] = ""
    """What goes into `typed`."""
    typed: str = ""
    pins: list[str] = field(default_factory=list)
    """Keys of the charts that stand on the dashboard too, in order."""
    looks: dict[str, Look] = field(default_factory=dict)
    _before: str = ""

    @property
    def filter(self) -> ChartFilter:
        """What the query asks for."""
        return parse(self.query)

    def look(self, key: str) -> Look:
        """How that chart is drawn; to be read."""
        return self.looks.get(key) or _PLAIN

    # ---- where everything is -----------------------------------------------------------------

    def grid(self, width: int, height: int, count: int) -> tuple[int, int]:
        """Rows and columns of a page of that many cells, for `count` charts: what is asked for, as
        far as there is room and there are charts."""
        if self.full:
            return 1, 1
        rows = self.rows or min(MOST, height // _AUTO_HEIGHT)
        columns = self.columns or _columns(count, max(1, rows), min(MOST, width // _AUTO_WIDTH))
        columns = max(1, min(columns, width // LEAST_WIDTH, max(1, count)))
        rows = max(1, min(rows, height // LEAST_HEIGHT, math.ceil(max(1, count) / columns)))
        return rows, columns

    def page_of(self, index: int, width: int, height: int, count: int) -> tuple[int, int]:
        """The page that holds a chart, from 0, and how many pages there are."""
        rows, columns = self.grid(width, height, count)
        return index // (rows * columns), max(1, math.ceil(count / (rows * columns)))

    def cells(self, index: int, width: int, height: int, count: int) -> list[Cell]:
        """The charts on the page of that index: side by side over the whole room, none cut."""
        if not count or width < 1 or height < 1:
            return []
        rows, columns = self.grid(width, height, count)
        first = index // (rows * columns) * rows * columns
        return [
            Cell(
                first + i,
                (left := i % columns * width // columns),
                (top := i // columns * height // rows),
                (i % columns + 1) * width // columns - left,
                (i // columns + 1) * height // rows - top,
            )
            for i in range(min(rows * columns, count - first))
        ]

    def focused(self, panels: Sequence[ChartPanel]) -> int:
        """Index of the focused chart; 0 where it is not among them."""
        return next((i for i, panel in enumerate(panels) if panel.key == self.focus), 0)

    # ---- moving about ------------------------------------------------------------------------

    def move(self, panels: Sequence[ChartPanel], by: int) -> None:
        """Focus the chart so many places on; it stops at the ends."""
        if panels:
            at = min(max(self.focused(panels) + by, 0), len(panels) - 1)
            self.focus = panels[at].key

    def turn(self, panels: Sequence[ChartPanel], by: int, width: int, height: int) -> None:
        """So many pages on: the chart at the same place there."""
        rows, columns = self.grid(width, height, len(panels))
        self.move(panels, by * rows * columns)

    def set_grid(self, rows: int, columns: int) -> None:
        """Show so many rows and columns, each 1 to `MOST`, or 0 for as many as suit the screen."""
        self.rows, self.columns = rows % (MOST + 1), columns % (MOST + 1)
        self.full = False

    # ---- the line that is typed --------------------------------------------------------------

    def begin(self, what: Literal["filter", "range"], start: str = "") -> None:
        """Let keys go into a line."""
        self.typing, self.typed, self._before = what, start, self.query

    def type(self, text: str) -> None:
        """Replace the line; a filter holds at once."""
        self.typed = text
        if self.typing == "filter":
            self.query = text

    def keep(self, key: str) -> str:
        """End the line: the filter stays; limits are given to the chart of that key.

        Returns what is wrong with the line, or an empty text.
        """
        what, self.typing = self.typing, ""
        if what == "range":
            return self._set_limits(key, self.typed)
        return ""

    def drop(self) -> None:
        """End the line as if nothing had been typed."""
        if self.typing == "filter":
            self.query = self._before
        self.typing = ""

    def _set_limits(self, key: str, text: str) -> str:
        look = self._own(key)
        if not text.strip():
            look.range, look.limits = "eye", None
            return ""
        limits = limits_of(text)
        if limits is None:
            return f"{text.strip()} is no range: write low:high, such as 1.0:1.1; nothing is auto."
        if look.log_y and limits[0] <= 0:
            return "A logarithmic axis begins above 0."
        look.range, look.limits = "typed", limits
        return ""

    # ---- one chart ---------------------------------------------------------------------------

    def toggle_log_y(self, key: str) -> None:
        look = self._own(key)
        look.log_y = not look.log_y
        if look.log_y and look.limits is not None and look.limits[0] <= 0:
            look.range, look.limits = "eye", None

    def next_range(self, panel: ChartPanel) -> None:
        """The next of `RANGES` that says something of this chart."""
        self.next_range_of(panel.key, judged=panel.has_validation)

    def next_range_of(self, key: str, *, judged: bool) -> None:
        """The next of `RANGES` for a chart; `judged`: whether it has a validation."""
        look = self._own(key)
        ranges = [r for r in RANGES if r != "val" or judged]
        at = ranges.index(look.range) if look.range in ranges else -1
        look.range = ranges[(at + 1) % len(ranges)]

    def toggle_pin(self, key: str) -> bool:
        """Put the chart on the dashboard or take it away; whether it is there now."""
        if key in self.pins:
            self.pins.remove(key)
            return False
        self.pins = [*self.pins, key][-MOST_KEPT:]
        return True

    def _own(self, key: str) -> Look:
        return self.looks.setdefault(key, Look())

    # ---- between runs ------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """What is worth remembering, as plain values."""
        looks = {
            key: {"log_y": look.log_y, "range": look.range, "limits": look.limits}
            for key, look in list(self.looks.items())[-MOST_KEPT:]
            if not look.plain
        }
        kept = {"rows": self.rows, "columns": self.columns, "pins": self.pins, "looks": looks}
        return {name: value for name, value in kept.items() if value}

    def restore(self, kept: dict[str, Any]) -> None:
        """Take what `kept` gave; whatever is of another kind is passed over."""
        for name in ("rows", "columns"):
            value = kept.get(name)
            if type(value) is int and 0 <= value <= MOST:
                setattr(self, name, value)
        pins, looks = kept.get("pins"), kept.get("looks")
        if isinstance(pins, list):
            self.pins = [key for key in pins if isinstance(key, str)][:MOST_KEPT]
        if isinstance(looks, dict):
            found = {key: look for key, raw in looks.items() if (look := _look(raw)) is not None}
            self.looks = dict(list(found.items())[:MOST_KEPT])


_PLAIN = Look()


def _columns(count: int, rows: int, most: int) -> int:
    """Of at most so many columns, as many as leave the fewest places empty; where one page does
    not hold all charts, all of them."""
    fitting = [c for c in range(most, 0, -1) if count <= rows * c]
    return min(fitting, key=lambda c: -count % c, default=most)


def limits_of(text: str) -> tuple[float, float] | None:
    """`1.0:1.1` as limits; None for anything else."""
    parts = text.replace(",", ".").split(":")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        return None
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _look(raw: object) -> Look | None:
    if not isinstance(raw, dict):
        return None
    look = Look(log_y=raw.get("log_y") is True)
    limits = raw.get("limits")
    if raw.get("range") in RANGES:
        look.range = raw["range"]
    elif raw.get("range") == "typed" and isinstance(limits, list | tuple) and len(limits) == 2:
        numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in limits)
        if numbers and limits[0] < limits[1] and not (look.log_y and limits[0] <= 0):
            look.range, look.limits = "typed", (float(limits[0]), float(limits[1]))
    return look
