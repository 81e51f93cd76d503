"""The app as its actions see it: a cockpit that may not be there yet, and the clock that ticks it.

Light on purpose: it is imported before the first frame.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sftui.terminal.terminal_app import TerminalApp

if TYPE_CHECKING:
    from textual.actions import ActionParseResult
    from textual.dom import DOMNode

    from sftui.cockpit.cockpit import Cockpit


AGE_SECONDS = 10.0
"""Between two looks at the ages of checkpoints, after a run has ended."""
PAINT_SECONDS = 0.025
"""From what a key did to its paint: a frame of Textual's and half. A tick that is due waits."""
TICK_AT_LATEST = 0.2
"""Seconds after the last tick, however fast keys come."""


class CockpitApp(TerminalApp):
    """Base of the app; what its groups of actions find in it."""

    cockpit: Cockpit | None = None
    """None until the first frame is out."""
    ticking = False
    """Whether another tick is due; where nothing comes by itself, none is."""
    _aging: asyncio.TimerHandle | None = None
    """The next look at the ages of a run that has ended."""
    _ticked = _next_at = 0.0
    """By the monotonic clock: the last tick, and before when there is none."""

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """As Textual's; what it changed is painted before the next tick's work begins."""
        handled = await super().run_action(action, default_namespace, namespaces)
        self._next_at = min(time.monotonic() + PAINT_SECONDS, self._ticked + TICK_AT_LATEST)
        return handled

    @property
    def _cockpit(self) -> Cockpit:
        assert self.cockpit is not None, "check_action lets no key through before"
        return self.cockpit

    def _tick(self) -> None:
        cockpit = self._cockpit
        self._ticked = time.monotonic()
        cockpit.tick()
        pace = cockpit.pace
        self.ticking = bool(pace)
        if pace:
            # Not Textual's timer: the task it makes costs more than a tick that finds nothing.
            asyncio.get_running_loop().call_later(pace, self._next_tick)
        elif cockpit.shows_ages:
            # Nothing comes any more, and what there is grows older.
            if self._aging is not None:
                self._aging.cancel()
            loop = asyncio.get_running_loop()
            self._aging = loop.call_later(AGE_SECONDS, self._next_tick)

    def _next_tick(self) -> None:
        # `_exit` and `_handle_exception` are private names of Textual 8.2: the clock is not its
        # timer, so it must end and fail as one. This may go when a timer of Textual's needs no
        # task of its own.
        if self._exit or not self.is_running:
            return
        if (early := self._next_at - time.monotonic()) > 0:
            asyncio.get_running_loop().call_later(early, self._next_tick)
            return
        try:
            self._tick()
        except Exception as error:  # as Textual's timer does: the screen closes and says why
            self._handle_exception(error)

    def _wake(self) -> None:
        """Start ticking again, if no tick is due."""
        if not self.ticking:
            self._tick()

    def _tell_none(self, by: int, what: str) -> None:
        """Say that there is nothing to jump to on that side."""
        self.tell(f"There is no {'later' if by > 0 else 'earlier'} {what}.")


if TYPE_CHECKING:
    ActionsOfApp = CockpitApp
else:
    ActionsOfApp = object
"""Base of the groups of actions that the app is put together from: checked as parts of it, made as
plain classes, because Textual collects styles and keys of every class that derives from an app."""
