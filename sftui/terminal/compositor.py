"""Send the terminal the cells that changed and not what stands to their left.

Textual 8.2.8 cuts a partial update at its right end only: a changed cell at the end
of a wide panel costs the whole row of that panel (54 instead of 4 kB/s at ten
steps a second). This may go when `ChopsUpdate.render_segments` crops both ends; the
exact pin of Textual in pyproject.toml keeps the private names it stands on.
"""

from __future__ import annotations

from rich.console import Console
from textual._compositor import ChopsUpdate, Compositor
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget

Visible = dict[Widget, tuple[Region, Region]]
"""Widgets with their region and what of it is seen."""


class CroppedUpdate(ChopsUpdate):
    """Textual's partial update, with every strip cropped at both ends."""

    def render_segments(self, console: Console) -> str:
        out: list[str] = []
        for y, first, last in self.spans:
            for end, (start, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                left, right = max(start, first), min(end, last)
                if strip is None or left >= right:
                    continue
                out.append(f"\x1b[{y + 1};{left + 1}H")
                out.append(strip.crop(left - start, right - start).render(console))
        return "".join(out)


class CroppingCompositor(Compositor):
    """Textual's compositor with that update, which asks only widgets that changed.

    Textual asks every widget in the rectangle around all changes for all of its lines: for two
    clocks in opposite corners that is the whole screen.
    """

    _changed: tuple[Region, ...] = ()
    """The regions of the update that is being rendered; empty outside of one."""
    _asked: tuple[Visible, Visible] | None = None
    """All visible widgets, and those of them that this update asks: it looks four times."""

    @property
    def visible_widgets(self) -> Visible:
        found = super().visible_widgets
        if not self._changed:
            return found
        if self._asked is None or self._asked[0] is not found:
            self._asked = (found, self._changed_of(found))
        return self._asked[1]

    def _changed_of(self, found: Visible) -> Visible:
        changed = self._changed
        here = {
            widget: places
            for widget, places in found.items()
            if any(map(places[0].overlaps, changed))
        }
        above = [places[0] for widget, places in here.items() if not isinstance(widget, Screen)]
        if all(any(place.contains_region(region) for place in above) for region in changed):
            # Nothing of the screen's own background is seen there.
            return {
                widget: places for widget, places in here.items() if not isinstance(widget, Screen)
            }
        return here

    def render_partial_update(self) -> ChopsUpdate | None:
        self.cuts  # noqa: B018  kept from now on, and made of all widgets
        self._changed = tuple(self._dirty_regions)
        try:
            update = super().render_partial_update()
        finally:
            self._changed, self._asked = (), None
        if update is None:
            return None
        return CroppedUpdate(update.chops, update.spans, update.chop_ends)
