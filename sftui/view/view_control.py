"""How the charts are shown, changed by keys, mouse and preferences: what writes a `View`.

The screen over a run and that of `sftui compare` have one each. A widget reads its view
and never writes it; tests/sftui/view/test_view_control.py holds that for all modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sftui.drawing.x_axis import AXES, missing_words
from sftui.keys.key_table import KeyTable
from sftui.keys.preferences import Preferences
from sftui.state.records import Topic
from sftui.state.run_state import RunState
from sftui.view.view import SMOOTHING, View
from sftui.view.viewport import Extent, Viewport


class ViewControl:
    """Changes one view and has what became stale painted."""

    def __init__(
        self, view: View, *, extent: Callable[[], Extent], show: Callable[[Topic], None]
    ) -> None:
        """`extent`: of the chart as it was painted last. `show` paints what a topic touches."""
        self.view = view
        self._extent = extent
        self._show = show

    def use_keys(self, keys: KeyTable) -> None:
        """Show these keys wherever one is named; paints nothing."""
        self.view.keys = keys

    # ---- curves and axes -------------------------------------------------------------------

    def toggle_log_y(self) -> None:
        self.view.log_y = not self.view.log_y
        self._show(Topic.VIEW)

    def toggle_whole(self) -> None:
        """The run so far, or all that is planned."""
        self.view.whole = not self.view.whole
        self._show(Topic.VIEW)

    def cycle_range(self, state: RunState) -> None:
        """The next way to choose the y axis of the loss; one that was drawn as a box goes first."""
        if self.view.viewport.y_part is not None:
            self.view.viewport.y_part = None
        else:
            self.view.chart_page.next_range_of("loss", judged=bool(state.validations))
        self._show(Topic.VIEW)

    def cycle_smoothing(self) -> None:
        self.view.smoothing = (self.view.smoothing + 1) % len(SMOOTHING)
        self._show(Topic.VIEW)

    def next_x_axis(self, state: RunState) -> str:
        """Take the next measure that the log has; returns a sentence on those it has not."""
        view, at = self.view, AXES.index(self.view.x_axis)
        missing = []
        for name in (*AXES[at + 1 :], *AXES[: at + 1]):
            if name == "step" or view.x_scale(state, name) is not None:
                view.x_axis = name
                break
            missing.append(name)
        self._show(Topic.VIEW)
        return missing_words(missing)

    def set_x_axis(self, state: RunState, name: str) -> str:
        """Take this measure; returns a sentence where the log has none of it."""
        if name != "step" and self.view.x_scale(state, name) is None:
            return missing_words([name])
        self.view.x_axis = name
        self._show(Topic.VIEW)
        return ""

    # ---- the part in sight, the crosshair --------------------------------------------------

    def move(self, act: Callable[[Viewport], None]) -> None:
        """Move the crosshair or the part of the run that the charts show."""
        viewport = self.view.viewport
        viewport.extent = self._extent()
        before = (viewport.part, viewport.cursor, viewport.y_part)
        act(viewport)
        if (viewport.part, viewport.cursor, viewport.y_part) != before:
            self._show(Topic.VIEW)

    def jump(self, state: RunState, by: int, kinds: str) -> bool:
        """Move the crosshair to the next or previous place; False when there is none.

        `kinds`: `checkpoint`, or `event` for evaluations, requests and alarms as well.
        """
        here = self.view.viewport.cursor
        if here is None:
            here = math.inf if by < 0 else -math.inf
        places = _places(state, kinds)
        onwards = sorted(p for p in places if (p > here if by > 0 else p < here))
        if not onwards:
            return False
        self.move(lambda viewport: viewport.go(onwards[0] if by > 0 else onwards[-1]))
        return True

    def toggle_look(self, state: RunState) -> None:
        """The crosshair to the newest update, or away; over a replay the arrows are then its."""
        view = self.view
        on = not view.looking if view.replay is not None else view.viewport.cursor is None
        view.looking = on and view.replay is not None
        if on:
            self.move(lambda viewport: viewport.move(0, state.newest_place))
        else:
            self.move(lambda viewport: viewport.point(None))
        self._show(Topic.VIEW)

    # ---- alarms ----------------------------------------------------------------------------

    def hide_alarms(self, state: RunState) -> None:
        """Hide the active alarms until they are raised again."""
        self.view.hide_alarms(state)
        self._show(Topic.ALARMS | Topic.VIEW)

    # ---- between runs ----------------------------------------------------------------------

    def prefer(self, preferences: Preferences) -> None:
        """Show the charts as they were shown last; paints nothing."""
        view = self.view
        view.smoothing = preferences.smoothing % len(SMOOTHING)
        view.log_y, view.whole = preferences.log_y, preferences.whole
        if preferences.x_axis in AXES:
            view.x_axis = preferences.x_axis
        view.chart_page.restore(preferences.charts)


def _places(state: RunState, kinds: str) -> set[float]:
    """Updates at which something happened."""
    places = set[float](state.checkpoint_rows().steps.tolist())
    if kinds != "checkpoint":
        places |= {float(step) for step in state.validations}
        places |= {float(step) for found in state.evals.values() for step in found}
        places |= {float(c.step) for c in state.controls if c.step is not None}
        alarms = (alarm.event.step for alarm in state.alarms.values())
        places |= {float(step) for step in alarms if step is not None}
    return places
