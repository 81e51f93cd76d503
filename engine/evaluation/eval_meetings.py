"""The ranks meet while an evaluation runs: progress is told, and a request to stop is heard.

An evaluation of hours may not be deaf. Ranks work at their own pace, so they cannot meet after
as many tokens: each comes when half a second of its own has passed, and goes on coming when it
has finished, until all have. So every rank comes as often as the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from engine.steering.steering import Failure

EVERY_SECONDS = 0.5
"""Between two meetings: a request is heard after that and one token, or one batch."""

TELL_SECONDS = 1.0
"""Between two events of progress."""


class Meeting(Protocol):
    """`engine.steering.steering.EvalMeeting`."""

    @property
    def stopped(self) -> bool: ...
    @property
    def cancelled(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def failure(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def tokens(self) -> int: ...


class Meet(Protocol):
    """One meeting of all ranks; a collective."""

    def __call__(self, *, done: int, tokens: int, finished: bool, failure: Failure) -> Meeting: ...


class EvaluationCancelled(Exception):
    """A request ended the evaluation; the same on every rank."""

    def __init__(self, *, stopped: bool, done: int) -> None:
        super().__init__()
        self.stopped = stopped
        """The run is to stop; else it goes on."""
        self.done = done


class PeerFailed(Exception):
    """Another rank has no result, so there is none at all."""

    def __init__(self, failure: str) -> None:
        super().__init__(failure)
        self.failure = failure
        """Why, and which rank."""


class EvalMeetings:
    """One rank's meetings during the evaluation of one task.

    Args:
        tell: progress of all ranks, (done, tokens); called about once a second.
    """

    def __init__(
        self,
        meet: Meet,
        tell: Callable[[int, int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meet = meet
        self._tell = tell
        self._clock = clock
        self._next = clock() + EVERY_SECONDS
        self._next_told = clock() + TELL_SECONDS
        self._done = self._tokens = 0

    def work(self, done: int, tokens: int = 0) -> None:
        """Call it after each token, or each batch.

        Raises:
            EvaluationCancelled: somebody asked for it.
            PeerFailed: another rank has given up.
        """
        self._done, self._tokens = done, tokens
        if self._clock() < self._next:
            return
        self._come(finished=False)
        self._next = self._clock() + EVERY_SECONDS

    def finish(self) -> None:
        """This rank is done: wait for the others, and hear what is asked meanwhile.

        Raises: as `work`.
        """
        while not self._come(finished=True).finished:
            pass

    def fail(self, failure: Failure) -> str:
        """This rank has no result: the others learn of it, and stop; why, and which rank."""
        return self._meet(
            done=self._done, tokens=self._tokens, finished=True, failure=failure
        ).failure

    def _come(self, *, finished: bool) -> Meeting:
        found = self._meet(done=self._done, tokens=self._tokens, finished=finished, failure="")
        if found.failure:
            raise PeerFailed(found.failure)
        if (found.stopped or found.cancelled) and not found.finished:
            raise EvaluationCancelled(stopped=found.stopped, done=found.done)
        if self._clock() >= self._next_told:
            self._tell(found.done, found.tokens)
            self._next_told = self._clock() + TELL_SECONDS
        return found
