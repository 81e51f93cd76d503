"""The numbers of an update added up over ranks, without a wait in the training's way.

One reduction of some 48 bytes an update, on our own gloo group: begun when the update is done,
looked at when the next one is. Its latency lies under the update between, which costs a few
microseconds of CPU instead of a round trip; the sums are told one update late.

With them travels whether a rank wants a meeting (`Steering.wants_meeting`): at the next boundary
then, and only then, all ranks agree in a second reduction. So a request is answered once, at one
step that is the same everywhere, and waits one update longer than it would otherwise. Where an
update takes longer than `SLOW_STEP_SECONDS` every boundary is a meeting and the sums are told at
once: a person should not wait for it, and two reductions are nothing beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

SLOW_STEP_SECONDS = 1.0

_LAST_WORD_SECONDS = 2.0
"""At an end that is an error a peer may never take part: so long is its part waited for."""

_FAULT, _MEET = -2, -1
"""Places behind the numbers: ranks that have none to give, ranks that want to meet."""

Tell = Callable[[list[float]], None]


class RankFault(RuntimeError):
    """A rank could not give its numbers; raised on every rank at the same update."""


class UpdateSums:
    """The reduction of the newest update; one for each attachment, the same on all ranks."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self._group = group
        self._work: Any = None
        self._sums: torch.Tensor | None = None
        self._tell: Tell | None = None
        self.meets = True
        """Whether the next boundary is a meeting; known to all ranks alike once settled."""

    def take_meets(self) -> bool:
        """Whether this boundary is a meeting: one rank alone meets itself each time."""
        meets, self.meets = self.meets, False
        return meets or self._group is None

    @property
    def is_settled(self) -> bool:
        """Whether the newest update has been told."""
        return self._tell is None

    def add(self, values: Sequence[float], tell: Tell, *, fault: bool, meet: bool) -> None:
        """Begin the reduction of an update; `tell` gets the sums. A collective that does not wait.

        Args:
            fault: this rank has no numbers, and the cockpit has to go dark everywhere.
            meet: this rank wants a meeting at the next boundary.
        """
        assert self._tell is None, "settle the update before"
        self._tell = tell
        self._sums = torch.tensor([*values, float(fault), float(meet)], dtype=torch.float64)
        if self._group is not None:
            self._work = dist.all_reduce(self._sums, group=self._group, async_op=True)

    def settle(self, *, at_an_error: bool = False) -> None:
        """Wait for the newest sums, if they were not told yet, and tell them.

        Raises:
            RankFault: a rank had none.
            RuntimeError: a peer is gone.
        """
        tell, work, self._tell, self._work = self._tell, self._work, None, None
        if tell is None or self._sums is None:
            return
        if work is not None and at_an_error:
            work.wait(timedelta(seconds=_LAST_WORD_SECONDS))
        elif work is not None:
            work.wait()
        sums = self._sums.tolist()
        self.meets |= sums[_MEET] > 0
        if sums[_FAULT]:
            raise RankFault("another rank went dark")
        tell(sums[:_FAULT])
