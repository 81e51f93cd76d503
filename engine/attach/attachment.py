"""One attempt of somebody else's training, on every rank: run directory, events, requests.

The engine's own bus, inbox, steering, heartbeats and alarms, laid around a loop that is not
ours. Every rank makes one `Attachment` at the same place and calls the same methods in the same
order; those marked "collective" talk to the other ranks over a gloo group of our own.

An error of ours never ends the training: `go_dark` says so once, closes everything, and every
later call does nothing. A rank that goes dark alone closes its side of the group, which ends the
others' waiting at once.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import math
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist

from engine import distributed
from engine.alarms.run_alarms import RunAlarms
from engine.attach.signals import StopSignals
from engine.attach.update_sums import SLOW_STEP_SECONDS, RankFault, Tell, UpdateSums
from engine.config import RuntimeConfig
from engine.control import Command, Request
from engine.distributed import Ranks
from engine.errors import RunDirError
from engine.events import (
    AttemptStarted,
    CheckpointRemoved,
    CheckpointSaved,
    EndStatus,
    Event,
    LogLine,
    PhaseStarted,
    RunFinished,
    RunStarted,
    Scalar,
)
from engine.journal.event_bus import EventBus
from engine.journal.event_files import FIRST_SEQ_VARIABLE, began, finished, next_attempt
from engine.processes.heartbeat import Heartbeat
from engine.processes.peer_watch import PeerWatch
from engine.run import foreign, run_dir
from engine.run.lock import RunLock, hold_event_log
from engine.run.run_dir import RunDir
from engine.steering.steering import Decision, Steering

CONTROL_TIMEOUT_SECONDS = 1800.0
"""Of our collectives: as long as torch's own default, since a rank may be held up by a callback
of its owner's for as long as that."""

PATIENCE_SECONDS = 5.0
"""How long a rank before us may still write: a keeper has ended it before it starts another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a trainer says of itself before its first update."""

    name: str
    updates: int
    """Updates planned, those done before included."""
    device: torch.device
    start_step: int = 0
    """Updates done; more than 0 where it goes on from a checkpoint."""
    source: str | None = None
    num_parameters: int | None = None
    rows: int | None = None
    output_dir: str = ""
    """Where it saves its checkpoints: what a run that goes on is known by."""
    resumed_from: str | None = None
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    effective: Mapping[str, Scalar] = field(default_factory=dict)


class Attachment:
    """The cockpit's side of one call of `train()`; a collective where there are several ranks.

    Args:
        runs_dir: where a run of its own is made; a keeper's run is found by itself.
        resume: `auto` goes on in the newest run of the same command and output folder, where the
            training goes on from a checkpoint; `new` always makes a new run.
        refused: commands that this trainer cannot carry out, with the reason.
    """

    def __init__(
        self,
        training: Training,
        *,
        runs_dir: str | Path | None = None,
        resume: str = "auto",
        refused: Mapping[Command, str] | None = None,
    ) -> None:
        self.training = training
        self.dark = ""
        """Why nothing is told any more; empty while all is well."""
        self.ended = False
        self.stopped = ""
        """Why the training was stopped; empty while it was not."""
        self.refused: dict[Command, str] = dict(refused or {})
        self.ranks: Ranks = distributed.found(
            training.device, timeout_seconds=CONTROL_TIMEOUT_SECONDS
        )
        self._bus: EventBus | None = None
        self._lock: RunLock | None = None
        self._writer: int | None = None
        self._saved: dict[str, int] = {}
        """Checkpoints that were told of and are on disk, as far as known: path -> step."""
        self._began = time.monotonic()
        self.kept = foreign.handed_down() is not None
        self._alarms: RunAlarms | None = None
        self._watches_peers = False
        self.signals: StopSignals | None = None
        self.heartbeat: Heartbeat | None = None
        self._sums = UpdateSums(self.ranks.control_group)
        self._update_seconds: float | None = None
        try:
            self._join(runs_dir, resume)
        except Exception as error:
            # The others may be waiting for us already: they must not wait for long.
            self.dark = str(error)
            self._release()
            raise

    def _join(self, runs_dir: str | Path | None, resume: str) -> None:
        place = self._open(runs_dir, resume)
        self.run = RunDir(Path(place.path))
        self.attempt = place.attempt
        self.steering = Steering(
            self.run,
            self._bus,
            self.ranks,
            self.attempt,
            follows_parent=False,
            refused=self.refused,
        )
        if self._alarms is not None:
            self._alarms.run_control = self.steering
        self.heartbeat = Heartbeat(self.run, self.ranks, self.emit)
        self.heartbeat.__enter__()
        self.signals = StopSignals(self.run, self.ranks.rank, self.steering.request_shutdown)
        self.signals.install()
        self._peers = PeerWatch(self.run, rank=self.ranks.rank, world_size=self.ranks.world_size)
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and "TORCHELASTIC_RUN_ID" in os.environ:
            self._watches_peers = True
            self._peers.start()
        atexit.register(self._at_exit)
        self._begin()

    # ---- where the run lies ------------------------------------------------------------------

    def _open(self, runs_dir: str | Path | None, resume: str) -> _Place:
        """Rank 0 finds or makes the run and opens it; all ranks learn where. A collective.

        Raises:
            RunDirError: on every rank, when rank 0 could not.
        """
        place = _Place()
        if self.ranks.is_main:
            try:
                place = self._open_as_writer(runs_dir, resume)
            except Exception as error:
                place = _Place(error=f"{error}")
        if self.ranks.world_size > 1:
            box = [place]
            dist.broadcast_object_list(box, 0, group=self.ranks.control_group)
            place = box[0]
        if place.error:
            raise RunDirError(place.error)
        return place

    def _open_as_writer(self, runs_dir: str | Path | None, resume: str) -> _Place:
        run = self._usable_run()
        if run is None and resume == "auto" and self.training.start_step:
            run = _earlier_run(run_dir.runs_root(runs_dir), self.training)
            self._lock = RunLock.acquire(run, "trainer") if run else None
        if run is None:
            run = self._new_run(runs_dir)
            self._lock = RunLock.acquire(run, "trainer")
        elif self.kept and self._lock is None:
            # The keeper may be following the output: it lets go of the event log now.
            foreign.write_note(run, "attached")
        self._writer = hold_event_log(run, PATIENCE_SECONDS)
        attempt = next_attempt(run)
        # A kept run is on the screen from its keeper's first word on: the imports count too.
        told = (began(journal) for journal in (run.events, run.supervisor_events))
        self._began = min([self._began, *(m for m in told if m is not None)])
        self._alarms = RunAlarms(run, RuntimeConfig())
        self._bus = EventBus(run, run.id, attempt, watch=self._alarms.observe)
        return _Place(path=str(run.path), attempt=attempt)

    def _usable_run(self) -> RunDir | None:
        """The keeper's run, unless a training of this command has ended in it already."""
        run = foreign.handed_down()
        if run is None:
            return None
        first_seq = int(os.environ.get(FIRST_SEQ_VARIABLE) or 0)
        if not run.manifest.is_file() or finished(run, first_seq) is not None:
            self.kept = False
            return None
        return run

    def _new_run(self, runs_dir: str | Path | None) -> RunDir:
        root = runs_dir
        kept = foreign.handed_down()
        if root is None and kept is not None and "SFTUI_RUNS" not in os.environ:
            root = kept.path.parent
        run = foreign.create(
            run_dir.runs_root(root),
            self.training.name,
            command=own_command(),
            cwd=Path.cwd(),
            now=datetime.now(),
            max_restarts=0,
            kept=False,
            more={
                "world_size": self.ranks.world_size,
                "device_type": self.training.device.type,
                "output_dir": self.training.output_dir,
            },
        )
        say(f"run {run.id} in {run.path}; watch and steer it: sftui attach {run.id}")
        return run

    def _begin(self) -> None:
        told, ranks = self.training, self.ranks
        # Of a kept run the keeper, or who typed --run, has said the name.
        name = self.run.read_manifest().get("name") if self.kept else None
        self.emit(
            RunStarted(
                name=str(name or told.name),
                source=told.source,
                num_iterations=told.updates + 1,
                world_size=ranks.world_size,
                device=told.device.type,
                backend=ranks.backend,
                num_parameters=told.num_parameters,
                rows=told.rows,
                settings=told.settings,
                effective=told.effective,
                unavailable={command.value: why for command, why in self.refused.items()},
                step=told.start_step,
            )
        )
        self.emit(
            AttemptStarted(
                step=told.start_step,
                start_step=told.start_step,
                world_size=ranks.world_size,
                resumed_from=told.resumed_from,
                num_iterations=told.updates + 1,
            )
        )
        self.emit(PhaseStarted(phase="train", step=told.start_step))

    # ---- events and numbers ------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether there is anything left to do for the cockpit."""
        return not self.dark and not self.ended

    def at_step(self, step: int) -> None:
        """Tell the heartbeat which update begins."""
        self.last_step = step
        if self.heartbeat is not None and self.alive:
            self.heartbeat.at_step(step, seconds=self._update_seconds)

    def emit(self, event: Event) -> None:
        """Hand an event of rank 0 to the bus; nothing on other ranks."""
        if self._bus is not None and not self.dark:
            self._bus.emit(event)

    def refuse_moved(self) -> None:
        """Refuse to write a file into what stands in the place of the run's folder.

        Raises:
            OSError: the folder was moved, deleted or replaced.
        """
        if self._bus is not None and not self._bus.folder_in_place():
            raise OSError(errno.ENOENT, f"{self.run.path} is not the run's folder any more")

    def meet_next(self) -> None:
        """Make the next boundary a meeting; call it on all ranks."""
        self._sums.meets = True

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over ranks of a tensor on the CPU, in place; returns it. A collective."""
        if self.ranks.control_group is not None:
            dist.all_reduce(tensor, group=self.ranks.control_group)
        return tensor

    def meets(self, stride: int) -> tuple[bool, int]:
        """Inside an evaluation: whether any rank has to stop, and rank 0's `stride`. A collective.

        Both are the same on all ranks, so that they leave and meet again together.
        """
        wanted = self.steering.shutdown_requested
        if self.ranks.control_group is None:
            return wanted, stride
        tensor = torch.tensor([int(wanted), stride if self.ranks.is_main else 0])
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.ranks.control_group)
        told, agreed = tensor.tolist()
        return bool(told), int(agreed)

    def update_done(
        self,
        step: int,
        values: Sequence[float],
        tell: Tell,
        *,
        seconds: float,
        fault: Exception | None = None,
    ) -> Decision:
        """Add an update's numbers up over ranks, and agree on the requests before that of `step`.

        A collective, which waits for nobody where no rank had anything to agree on and steps are
        short: `tell` gets the sums at once or when the next update is done (`settle`).

        Args:
            values: of this rank.
            seconds: that the update took.
            fault: why this rank has no numbers; raised here, and `RankFault` on the others.
        """
        self._update_seconds = seconds
        self.settle()
        meets = self._sums.take_meets()
        wants = self.steering.wants_meeting(step + 1) or seconds > SLOW_STEP_SECONDS
        self._sums.add(values, tell, fault=fault is not None, meet=wants)
        if fault is not None or meets:
            self._settle_with(fault)
        return self.boundary(step) if meets else self.steering.unchanged()

    def settle(self, *, at_an_error: bool = False) -> None:
        """Tell of the newest update, now that its numbers are added up."""
        self._sums.settle(at_an_error=at_an_error)

    @property
    def is_settled(self) -> bool:
        """Whether nothing has to be waited for to tell of the newest update."""
        return self._sums.is_settled

    def _settle_with(self, fault: Exception | None) -> None:
        try:
            self._sums.settle()
        except RankFault:
            raise (fault or RankFault("another rank went dark")) from None

    def boundary(self, step: int) -> Decision:
        """Agree on the requests before the update of `step`. A collective."""
        return self._agreed(self.steering.at_boundary(step))

    def wait_while_paused(self, step: int) -> Decision:
        """Wait, ranks in touch, until there is something to do. A collective, 4 times a second."""
        return self._agreed(self.steering.wait_while_paused(step))

    def _agreed(self, decision: Decision) -> Decision:
        self._sums.meets |= decision.again
        if decision.stop:
            self.stopped = decision.stop_reason
        return decision

    def answer(self, requests: Sequence[Request], step: int, refusal: str = "") -> None:
        """Answer evaluation and checkpoint requests: done, or refused with the reason."""
        if requests and not self.dark:
            outcome = "rejected" if refusal else "applied"
            self.steering.acknowledge(requests, step, outcome, refusal)  # type: ignore[arg-type]

    # ---- checkpoints -------------------------------------------------------------------------

    def saved(self, event: CheckpointSaved) -> None:
        """Tell of a checkpoint, and of those that the trainer has removed meanwhile."""
        self.emit(event)
        self._saved[event.path] = event.step or 0
        self.look_for_removed()

    def has_told(self, path: str) -> bool:
        """Whether a checkpoint was told of and is still there, as far as known."""
        return path in self._saved

    def look_for_removed(self) -> None:
        """Tell of checkpoints that the trainer has pruned."""
        for path, step in list(self._saved.items()):
            if not Path(path).exists():
                del self._saved[path]
                self.emit(CheckpointRemoved(step=step, path=path, reason="keep"))

    # ---- the end -----------------------------------------------------------------------------

    def finish(self, status: EndStatus, reason: str, step: int) -> None:
        """Write the end of the run and let go of everything."""
        if self.ended:
            return
        self.ended = True
        if not self.dark:
            with contextlib.suppress(Exception):
                # A stop was agreed on, so its update is told already.
                self.settle(at_an_error=status != "finished")
            with contextlib.suppress(Exception):
                self.steering.finish(step)
                seconds = round(time.monotonic() - self._began, 3)
                self.emit(
                    RunFinished(
                        status=status, reason=reason, step=step, updates=step, seconds=seconds
                    )
                )
        self._release()

    def fail(self, error: BaseException, step: int) -> None:
        """The training ended with an exception: the run's end, or a keeper's next attempt."""
        if not self.alive:
            return
        text = f"{type(error).__name__}: {str(error)[:2000]}"
        if not self.kept:
            status: EndStatus = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            self.finish(status, text if str(error) else type(error).__name__, step)
            return
        # The keeper starts the command again, or writes the end when it does not.
        with contextlib.suppress(Exception):
            self.settle(at_an_error=True)
        self.emit(LogLine(text=text, level="error", rank=self.ranks.rank, step=step))
        self.ended = True
        self._release()

    def go_dark(self, error: BaseException | str) -> None:
        """Give up telling and steering, once and for all; the training goes on."""
        if self.dark or self.ended:
            return
        what = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        say(f"warning: the cockpit is dark from here on, training goes on ({what})")
        self.emit(
            LogLine(
                text=f"the cockpit is dark from here on, training goes on ({what})", level="error"
            )
        )
        self.dark = what
        if self.kept and self.ranks.is_main:
            with contextlib.suppress(OSError):
                foreign.write_note(self.run, "dark", what)
        self._release()

    def _release(self) -> None:
        """Close what is open. What fails here fails for the cockpit alone."""
        with contextlib.suppress(Exception):
            if self.signals is not None:
                self.signals.remove()
            if self._watches_peers:
                self._peers.close()
        with contextlib.suppress(Exception):
            if self.heartbeat is not None:
                self.heartbeat.__exit__(None, None, None)
        with contextlib.suppress(Exception):
            if self._bus is not None:
                self._bus.close()
        with contextlib.suppress(Exception):
            if self._writer is not None:
                os.close(self._writer)
                self._writer = None
        with contextlib.suppress(Exception):
            if self._lock is not None:
                self._lock.release()
        if self.dark and self.ranks.control_group is not None:
            # A peer that waits for us in a collective gets an error now, not in half an hour.
            with contextlib.suppress(Exception):
                dist.destroy_process_group(self.ranks.control_group)
        with contextlib.suppress(Exception):
            atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """The interpreter ends while the training has not."""
        if self.alive:
            self.fail(SystemExit("the process ended before the training did"), self.last_step)

    last_step = 0
    """Updates done, as far as told; kept by the hooks."""


@dataclass(slots=True)
class _Place:
    """Where a run lies, as rank 0 tells it."""

    path: str = ""
    attempt: int = 1
    error: str = ""


def say(text: str) -> None:
    """One line for the person who started the script."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"sftui: {text}\n")
        sys.stderr.flush()


def own_command() -> list[str]:
    """The command that started this process, or the launcher that started all ranks."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        with contextlib.suppress(psutil.Error, OSError):
            launcher = psutil.Process(os.getppid()).cmdline()
            if launcher:
                return launcher
    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process().cmdline()
    return [sys.executable, *sys.argv]


def _earlier_run(root: Path, training: Training) -> RunDir | None:
    """The newest run of the same command and output folder, when nobody drives it."""
    command = own_command()
    for run in run_dir.list_runs(root)[:50]:
        try:
            manifest = run.read_manifest()
        except RunDirError:
            continue
        same = manifest.get("command") == command and foreign.is_foreign(manifest)
        if not same or manifest.get("output_dir") != training.output_dir:
            continue
        end = finished(run)
        if end is not None and end.status == "finished":
            return None
        try:
            RunLock.acquire(run).release()
        except RunDirError:
            return None
        return run
    return None


def finite(value: object) -> float | None:
    """A number as a float (NaN and infinity are numbers); None for what is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, torch.Tensor):
        return float(value.detach()) if value.numel() == 1 else None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


MOST_TEXT = 300
_SECRET = ("token", "password", "secret", "api_key", "apikey", "credential")
_NOT_SECRET = ("max_token", "num_token", "eos_token", "pad_token", "bos_token", "tokens")


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Scalar]:
    """Settings as events hold them: single values, clipped, without anybody's secrets."""
    out: dict[str, Scalar] = {}
    for name, value in settings.items():
        word = str(name).lower()
        if any(s in word for s in _SECRET) and not any(s in word for s in _NOT_SECRET):
            continue
        if value is None or isinstance(value, bool | int | str):
            out[str(name)] = value[:MOST_TEXT] if isinstance(value, str) else value
        elif isinstance(value, float):
            out[str(name)] = value if math.isfinite(value) else str(value)
        else:
            out[str(name)] = str(value)[:MOST_TEXT]
    return out


def shape_of(model: Any) -> tuple[int, int]:
    """Parameters of a module, and how many of them are trained."""
    total = trained = 0
    for parameter in model.parameters():
        # DeepSpeed and FSDP keep a part here and say the whole beside it.
        count = int(getattr(parameter, "ds_numel", parameter.numel()))
        total += count
        trained += count if parameter.requires_grad else 0
    return total, trained
