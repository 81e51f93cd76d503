"""Apply requests between two optimizer steps, on all ranks at the same step.

Rank 0 reads the inbox; then every rank takes part in one small collective, and all
return the same `Decision`. A rank that acted on what it alone knows (a signal, a
lost parent) would leave the others waiting in the next collective, so such things
travel through it too: rank 0 puts in the pending requests, each rank its reason to
shut down, and the element-wise maximum is the decision.
"""

from __future__ import annotations

import bisect
import math
import os
import signal
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch

from engine.control import NOTICES, Command, Request
from engine.distributed import Ranks
from engine.events import ControlApplied, ControlOutcome, RunFinished, StateChanged, StateName
from engine.journal.event_bus import EventBus
from engine.journal.event_files import scan
from engine.run import resume_file
from engine.run.lock import SUPERVISOR_PID_VARIABLE
from engine.run.run_dir import RunDir
from engine.steering.inbox import HISTORY_VARIABLE, Inbox, answer, late_answer

PAUSED_BEAT_SECONDS = 0.25
"""While paused, ranks meet this often: no collective times out, a dead peer is noticed."""

_POLL_SECONDS = 0.02
"""While paused, rank 0 checks the inbox this often."""

_DEATH_SECONDS = 0.5
"""A parent whose main thread was killed is gone within this time."""

MAX_LR_FACTOR = 100.0

_SIGNALLED, _ORPHANED, _ABANDONED = 1, 2, 3
_SHUTDOWN_REASONS = {
    _SIGNALLED: "a rank got SIGTERM",
    # An agent: of several, another may take its place. The supervisor: nobody holds the run.
    _ORPHANED: "the supervisor is gone",
    _ABANDONED: "the supervisor is gone",
}

# The vector that the ranks agree on; all entries are >= 0, so that the maximum of rank 0's
# entry and the others' zeros is rank 0's.
_PAUSED, _STOP, _SHUTDOWN, _EVALUATE, _CHECKPOINT, _LR, _HURRY, _AGAIN, _LENGTH = range(9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the requests come to at one step; the same on every rank."""

    evaluate: tuple[Request, ...] = ()
    """Requests that one evaluation serves. Their contents are known to rank 0 only; the
    number is the same everywhere."""
    checkpoint: tuple[Request, ...] = ()
    """Likewise for one checkpoint."""
    stop: bool = False
    """Save a checkpoint and end."""
    hurry: bool = False
    """A second stop: end without a checkpoint."""
    stop_reason: str = ""
    """Why, in words; of a request, known to rank 0 only."""
    paused: bool = False
    """After the work above, call `wait_while_paused`."""
    lr_factor: float = 1.0
    """Multiplies the schedule."""
    again: bool = False
    """Something is in force that has to be agreed on at the next boundary too: a pause, or one
    that begins there. For a trainer that meets only where `wants_meeting` says so."""


Failure = Literal["", "memory", "error"]
_FAILURES: tuple[Failure, ...] = get_args(Failure)
_MOST_RANKS = 1_000_000
"""A failure and its rank are one number, so that the maximum is one of them."""


def _failure_words(number: int) -> str:
    if not number:
        return ""
    kind, rank = divmod(number, _MOST_RANKS)
    return f"{'ran out of memory' if _FAILURES[kind] == 'memory' else 'failed'} on rank {rank}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnProgress:
    """What one rank brings to a meeting during an evaluation."""

    done: int
    """Questions it has answered."""
    tokens: int = 0
    """It has written."""
    finished: bool = False
    failure: Failure = ""
    """Why it has no result; the others then need not go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalMeeting:
    """What such a meeting comes to; the same on every rank."""

    stopped: bool
    """The run is to stop."""
    cancelled: bool
    """The evaluation is to be given up, and the run goes on."""
    finished: bool
    """All ranks are."""
    failure: str
    """Why there is no result, with the rank that has none."""
    done: int
    tokens: int


_EVAL_WORDS = ("stopped", "cancelled", "unfinished", "failed")
"""What stands before the ranks' counts in the vector of such a meeting."""


@dataclass(slots=True)
class _PendingRequests:
    """What requests have asked for and is still in force. Rank 0 only; restored after a restart."""

    paused: bool = False
    pause_at: int | None = None
    stop_reason: str = ""
    hurry: bool = False
    lr_steps: list[int] = field(default_factory=list)
    lr_factors: list[float] = field(default_factory=list)

    def set_lr(self, step: int, factor: float) -> None:
        # A later request outranks what an earlier attempt was asked for further on.
        keep = bisect.bisect_left(self.lr_steps, step)
        self.lr_steps[keep:] = [step]
        self.lr_factors[keep:] = [factor]

    def lr_factor(self, step: int) -> float:
        """Factor in force at `step`: a resumed run changes it where the first one did."""
        index = bisect.bisect_right(self.lr_steps, step)
        return self.lr_factors[index - 1] if index else 1.0


class Steering:
    """The controls of one attempt, on every rank.

    Args:
        bus: rank 0's; None on the others.
        attempt: of these ranks; requests made to an older one are refused.
        lr_factor: in force before the first request in the event log.
        follows_parent: whether the end of the parent process means stop. It does under our
            supervisor; the shell that started another trainer may leave.
        refused: commands that this run cannot carry out, with the reason; asked at every
            request, so it may grow.
    """

    def __init__(
        self,
        run_dir: RunDir,
        bus: EventBus | None,
        ranks: Ranks,
        attempt: int,
        *,
        lr_factor: float = 1.0,
        follows_parent: bool = True,
        refused: Mapping[Command, str] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._follows_parent = follows_parent
        self._refused: Mapping[Command, str] = {} if refused is None else refused
        self._ranks = ranks
        self._first_factor = lr_factor
        self._factor = lr_factor
        self._shutdown = 0
        self._announced = "running"
        self._several_agents = ranks.world_size > ranks.local_world_size
        told = os.environ.get(SUPERVISOR_PID_VARIABLE)
        self._parent = int(told or os.getppid())
        self._loss_of_parent = _ABANDONED if told else _ORPHANED
        self._inbox: Inbox | None = None
        self._pending = _PendingRequests()
        self._answers: list[ControlApplied] = []
        self._state_reason = ""
        self._cancel: list[Request] = []
        """Requests to give up the evaluation that runs."""
        self._late_evaluate: list[Request] = []
        self._late_checkpoint: list[Request] = []
        if ranks.is_main:
            history = int(os.environ.get(HISTORY_VARIABLE, 0))
            self._inbox = Inbox(run_dir, attempt, history_bytes=history, now=now)
            self._pending = _restore(run_dir)

    # ---- called by the trainer ---------------------------------------------------------------

    def at_boundary(self, step: int) -> Decision:
        """Meet the other ranks before the update of `step` and agree on what to do.

        One collective of 64 bytes on the control group (0.2 ms on 2 busy cores); none for
        a single rank.
        """
        own_shutdown = self._own_shutdown()
        # With what came in during an evaluation.
        evaluate, self._late_evaluate = self._late_evaluate, []
        checkpoint, self._late_checkpoint = self._late_checkpoint, []
        if self._bus is not None and self._bus.lost_folder:
            # Nothing more can be saved there, so nothing is waited for.
            self._pending.stop_reason, self._pending.hurry = self._bus.lost_folder, True
        elif self._inbox is not None:
            self._read_inbox(step, evaluate, checkpoint)
        agreed = self._agree(step, own_shutdown, len(evaluate), len(checkpoint))
        shutdown = agreed[_SHUTDOWN]
        self._shutdown = max(self._shutdown, shutdown)
        self._factor = _float_of(agreed[_LR])
        reason = self._pending.stop_reason or _SHUTDOWN_REASONS.get(shutdown, "")
        stop = bool(agreed[_STOP] or shutdown)
        decision = Decision(
            evaluate=tuple(evaluate) or _unnamed(Command.EVALUATE, agreed[_EVALUATE]),
            checkpoint=tuple(checkpoint) or _unnamed(Command.CHECKPOINT, agreed[_CHECKPOINT]),
            stop=stop,
            hurry=bool(agreed[_HURRY]),
            stop_reason=(reason or "asked for") if stop else "",
            paused=bool(agreed[_PAUSED]) and not stop,
            lr_factor=self._factor,
            again=bool(agreed[_AGAIN]),
        )
        self._announce(step, decision)
        return decision

    def wants_meeting(self, step: int) -> bool:
        """Whether this rank knows of anything to agree on at the boundary of `step`.

        No collective, and without news the cost of one stat: a trainer whose ranks tell each
        other this ahead of time (as `engine.attach` does) needs no `at_boundary` where nobody
        wants one. What comes in later waits for the boundary after.
        """
        pending = self._pending
        if self._shutdown or self._orphaned() or self._late_evaluate or self._late_checkpoint:
            return True
        if self._inbox is None:
            return False
        return (
            pending.paused
            or bool(pending.stop_reason)
            or (pending.pause_at is not None and step >= pending.pause_at)
            or self._factor_at(step) != self._factor
            or (self._bus is not None and bool(self._bus.lost_folder))
            or self._inbox.changed()
        )

    def unchanged(self) -> Decision:
        """The decision of a boundary at which no rank wanted a meeting."""
        return Decision(lr_factor=self._factor)

    def during_evaluation(self, step: int, progress: OwnProgress) -> EvalMeeting:
        """Meet the other ranks in the middle of an evaluation: how far is it, and shall it go on?

        A collective. Ranks come at their own pace, and go on coming until all have finished.
        What else is asked for meanwhile is carried out at the next boundary.
        """
        own_shutdown = self._own_shutdown()
        if self._bus is not None and self._bus.lost_folder:
            self._pending.stop_reason, self._pending.hurry = self._bus.lost_folder, True
        elif self._inbox is not None:
            self._read_inbox(step, self._late_evaluate, self._late_checkpoint, evaluating=True)
        ranks = self._ranks
        vector = [0] * (len(_EVAL_WORDS) + 2 * ranks.world_size)
        stop = bool(self._pending.stop_reason or own_shutdown)
        vector[: len(_EVAL_WORDS)] = [
            int(stop),
            int(bool(self._cancel)),
            int(not progress.finished),
            _FAILURES.index(progress.failure) * _MOST_RANKS + ranks.rank if progress.failure else 0,
        ]
        # Each rank's own places, so that the maximum keeps all of them.
        place = len(_EVAL_WORDS) + 2 * ranks.rank
        vector[place : place + 2] = [progress.done, progress.tokens]
        stopped, cancelled, unfinished, failed, *counts = self._largest(vector)
        if cancelled and self._bus is not None:
            for request in self._cancel:
                self._bus.emit(answer(request, "applied", "", step))
        if cancelled:
            self._cancel = []
        return EvalMeeting(
            stopped=bool(stopped),
            cancelled=bool(cancelled),
            finished=not unfinished,
            failure=_failure_words(failed),
            done=sum(counts[0::2]),
            tokens=sum(counts[1::2]),
        )

    def wait_while_paused(self, step: int) -> Decision:
        """Wait, ranks in touch, until there is something to do or the pause is over."""
        while True:
            if self._inbox is not None:
                self._idle()
            decision = self.at_boundary(step)
            if decision.evaluate or decision.checkpoint or decision.stop or not decision.paused:
                return decision

    def acknowledge(
        self,
        requests: Sequence[Request],
        step: int,
        outcome: ControlOutcome = "applied",
        reason: str = "",
    ) -> None:
        """Answer evaluation and checkpoint requests, once their work is done (or refused).

        The other commands are answered by `at_boundary`. Does nothing on other ranks.
        """
        if self._bus is not None:
            for request in requests:
                self._bus.emit(answer(request, outcome, reason, step))

    def finish(self, step: int) -> None:
        """Refuse what came too late, so that no request is left without an answer."""
        if self._inbox is None or self._bus is None or not self._bus.folder_in_place():
            return
        batch = self._inbox.read()
        for refusal in batch.refusals:
            self._bus.emit(refusal)
        for request in batch.requests:
            self._bus.emit(late_answer(request, step))

    # An alarm calls these two on the publisher thread of the events, while the trainer's thread
    # reads (and, where a request came in, writes) the same attributes. That is safe: each
    # assignment is atomic in Python and stands for itself, and the trainer reads them once a
    # step. So an alarm counts a step late at worst, and against a request that comes in at the
    # same moment either order of the two is a valid one.

    def request_pause(self, reason: str) -> None:
        """Pause at the next boundary. Only rank 0's call has an effect."""
        # The reason first: who sees the pause sees why.
        self._state_reason = reason
        self._pending.paused = True

    def request_stop(self, reason: str) -> None:
        """Stop at the next boundary. Only rank 0's call has an effect."""
        self._pending.stop_reason = self._pending.stop_reason or reason

    @property
    def agent_lost(self) -> bool:
        """True on every rank when one machine's agent died and the others may wait for another.

        Not for the supervisor: it holds the lock and the place where the machines meet. The run
        is then not over: its ranks save and leave, and start again when there are as many
        machines as before.
        """
        return self._several_agents and self._shutdown == _ORPHANED

    # ---- signals and parents -----------------------------------------------------------------

    def handle_signals(self) -> None:
        """Make SIGTERM a request to stop, and ignore the terminal's signals.

        A handler only sets a flag: the ranks combine it at the next boundary and stop at
        the same step.
        """
        signal.signal(signal.SIGTERM, lambda *_: self.request_shutdown())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def request_shutdown(self) -> None:
        """Stop all ranks at the next boundary; may be called from a signal handler."""
        self._shutdown = max(self._shutdown, _SIGNALLED)

    @property
    def shutdown_requested(self) -> bool:
        """Whether this rank, as far as it knows alone, has been told to stop."""
        return self._shutdown > 0

    def _own_shutdown(self) -> int:
        """Why this rank has to shut down, as far as it knows alone; 0 for not at all.

        A SIGTERM may mean that the parent died. The kernel sends it when the thread that
        started us dies; until the parent's other threads are gone too it is still our parent.
        """
        wanted = self._shutdown
        end = time.monotonic() + _DEATH_SECONDS * self._follows_parent
        while not (orphaned := self._orphaned()) and wanted and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        if orphaned:
            wanted = self._shutdown = self._loss_of_parent
        return wanted

    def _orphaned(self) -> bool:
        return self._follows_parent and os.getppid() != self._parent

    # ---- one boundary ------------------------------------------------------------------------

    def _idle(self) -> None:
        """Rank 0 paces the pause; the others wait for it in the collective."""
        assert self._inbox is not None
        end = time.monotonic() + PAUSED_BEAT_SECONDS
        while time.monotonic() < end and not self._inbox.changed() and not self._shutdown:
            time.sleep(_POLL_SECONDS)

    def _agree(self, step: int, shutdown: int, num_evaluate: int, num_checkpoint: int) -> list[int]:
        vector = [0] * _LENGTH
        vector[_SHUTDOWN] = shutdown
        if self._inbox is not None:
            vector[_PAUSED] = int(self._pending.paused)
            vector[_STOP] = int(bool(self._pending.stop_reason))
            vector[_EVALUATE] = num_evaluate
            vector[_CHECKPOINT] = num_checkpoint
            vector[_LR] = _bits_of(self._factor_at(step))
            vector[_HURRY] = int(self._pending.hurry)
        vector[_AGAIN] = int(self.wants_meeting(step + 1))
        return self._largest(vector)

    def _factor_at(self, step: int) -> float:
        """Of the learning rate at `step`, as far as was asked for. Rank 0's."""
        return self._pending.lr_factor(step) if self._pending.lr_steps else self._first_factor

    def _largest(self, vector: list[int]) -> list[int]:
        """The element-wise maximum over ranks; a collective where there are several."""
        if self._ranks.control_group is None:
            return vector
        tensor = torch.tensor(vector, dtype=torch.int64)
        torch.distributed.all_reduce(
            tensor, op=torch.distributed.ReduceOp.MAX, group=self._ranks.control_group
        )
        agreed: list[int] = tensor.tolist()
        return agreed

    def _announce(self, step: int, decision: Decision) -> None:
        """Answer only now that every rank has agreed, and say what state this is."""
        if self._bus is None:
            return
        for event in self._answers:
            self._bus.emit(event)
        self._answers = []
        state: StateName = (
            "stopping" if decision.stop else "paused" if decision.paused else "running"
        )
        if state != self._announced:
            reason = decision.stop_reason if decision.stop else self._state_reason
            self._bus.emit(StateChanged(state=state, reason=reason, step=step))
            self._announced = state

    def _read_inbox(
        self,
        step: int,
        evaluate: list[Request],
        checkpoint: list[Request],
        *,
        evaluating: bool = False,
    ) -> None:
        assert self._inbox is not None
        pending = self._pending
        if pending.pause_at is not None and step >= pending.pause_at:
            pending.paused, pending.pause_at = True, None
            self._state_reason = "after the number of steps asked for"
        if self._bus is not None and not self._bus.folder_in_place():
            # What has the name now is another run's folder, and so are its requests.
            return
        batch = self._inbox.read()
        self._answers += batch.refusals
        for request in batch.requests:
            if pending.stop_reason:
                # Stop beats everything queued behind it; a person's second one means "at once".
                again = request.command is Command.STOP
                pending.hurry = pending.hurry or (again and request.author not in NOTICES)
                outcome: ControlOutcome = "applied" if again else "rejected"
                self._answers.append(answer(request, outcome, "the run is stopping", step))
            elif reason := self._refused.get(request.command, ""):
                self._answers.append(answer(request, "rejected", reason, step))
            elif request.command is Command.EVALUATE:
                evaluate.append(request)
            elif request.command is Command.CHECKPOINT:
                checkpoint.append(request)
            elif request.command is Command.CANCEL and evaluating:
                self._cancel.append(request)
            elif request.command is Command.CANCEL:
                self._answers.append(answer(request, "rejected", "no evaluation is running", step))
            else:
                self._answers.append(self._apply(request, step))

    def _apply(self, request: Request, step: int) -> ControlApplied:
        pending, argument = self._pending, request.argument
        by = request.author or "a request"
        match request.command:
            case Command.PAUSE:
                note = "already paused" if pending.paused else ""
                pending.paused, pending.pause_at = True, None
                self._state_reason = f"by {by}"
            case Command.RESUME:
                if argument is not None and not 1 <= argument < 2**31:
                    return answer(request, "rejected", "resume takes a number of steps >= 1", step)
                note = "" if pending.paused else "already running"
                pending.paused, pending.pause_at = False, None
                self._state_reason = f"by {by}"
                if argument is not None:
                    pending.pause_at = step + int(argument)
                    note = f"pauses before step {pending.pause_at}"
            case Command.STOP:
                note = ""
                pending.stop_reason = f"stop asked for by {by}"
            case Command.LR_FACTOR:
                if argument is None or not math.isfinite(argument) or argument <= 0:
                    return answer(request, "rejected", "lr takes a factor > 0, like 0.5", step)
                if argument > MAX_LR_FACTOR:
                    limit = f"a factor above {MAX_LR_FACTOR:g} is taken for a slip"
                    return answer(request, "rejected", limit, step)
                note = ""
                pending.set_lr(step, argument)
            case _:
                note = ""
        return answer(request, "applied", note, step)


def _restore(run_dir: RunDir) -> _PendingRequests:
    """The requests in force when the last attempt ended: a pause outlives a killed rank.

    In the order of the file, whatever the wall clock did. A run that was taken up again runs:
    of the session before only the learning rate holds.
    """
    pending = _PendingRequests()
    sessions = resume_file.read(run_dir)
    first_attempt = sessions[-1].attempt if sessions else 1
    for event in scan(run_dir.events, ControlApplied, RunFinished, StateChanged):
        if isinstance(event, ControlApplied):
            _restore_request(pending, event)
        elif isinstance(event, StateChanged):
            # An alarm pauses and stops without a request, and is not raised a second time.
            if event.state == "paused" and pending.pause_at is None:
                pending.paused = True
            elif event.state == "stopping" and event.reason not in _SHUTDOWN_REASONS.values():
                pending.stop_reason = pending.stop_reason or event.reason
        if isinstance(event, RunFinished) or event.stamp.att < first_attempt:
            pending.paused, pending.pause_at, pending.stop_reason = False, None, ""
    return pending


def _restore_request(pending: _PendingRequests, event: ControlApplied) -> None:
    if event.outcome != "applied":
        return
    if event.command == Command.PAUSE.value:
        pending.paused, pending.pause_at = True, None
    elif event.command == Command.RESUME.value:
        pending.paused = False
        steps = event.argument
        pending.pause_at = None if steps is None else (event.step or 0) + int(steps)
    elif event.command == Command.STOP.value:
        pending.stop_reason = "stop asked for before the ranks were restarted"
    elif event.command == Command.LR_FACTOR.value and event.argument is not None:
        pending.set_lr(event.step or 0, event.argument)


def _unnamed(command: Command, count: int) -> tuple[Request, ...]:
    """What ranks other than 0 know of requests: how many there are."""
    return tuple(Request(id="", command=command) for _ in range(count))


def _bits_of(value: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits


def _float_of(bits: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<q", bits))[0]
    return value
