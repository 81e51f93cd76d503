"""An earlier run whose curve lies pale behind the one that is shown."""

from __future__ import annotations

from sftui.state.means import Line, Means, line
from sftui.state.run_state import RunState


class PastRun:
    """Its name and its state, with the line through its training loss."""

    def __init__(self, name: str, state: RunState) -> None:
        self.name = name
        self.state = state
        self.raw = state.step_series(state.loss_name)
        self._means = Means(self.raw)

    def line(self, share: float, x_low: float, x_high: float) -> Line:
        """The line for what is in sight, with the window of the other run's line.

        Args:
            share: width of the window, as a share of the data in sight.
            x_low: first update in sight.
            x_high: last update in sight.
        """
        return line(self._means, share, x_low, x_high)
