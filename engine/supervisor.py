"""Hold the run's lock and run the ranks: `python -P -m engine.supervisor RUN_DIR`.

It outlives the screen: the launcher gives it a session of its own, it ignores
SIGHUP, and the first SIGTERM (a cluster's notice) only asks the ranks to stop at
one step with a checkpoint. Exit codes of ranks are hints; `run_finished` in the
event log is the proof of an end, and only where it is missing the supervisor
writes one, into a file of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import psutil

from engine.checkpoints import checkpoint_dir
from engine.control import Command, Request
from engine.errors import RunDirError, SftuiError
from engine.events import Event, LogLine, RankLost, RunFinished
from engine.journal import event_files, wire
from engine.processes import collecting, cuda_environment, machines, reaper
from engine.processes.silence import SilenceWatch
from engine.run import resume_file
from engine.run.held_folder import HeldFolder
from engine.run.lock import SUPERVISOR_PID_VARIABLE, RunLock, hold_event_log
from engine.run.run_dir import RunDir, refuse_links
from engine.steering import inbox, undelivered_stop

if TYPE_CHECKING:
    from engine.processes.elastic import Failure
    from engine.run.resume_file import Resumption

WORKER_VARIABLE = "SFTUI_WORKER"
"""Module of a rank, for tests of the supervisor itself."""


def main(arguments: Sequence[str]) -> int:
    """Run to the end: 0 when it finished or was stopped, 1 when it failed, 2 on bad input."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -P -m engine.supervisor RUN_DIR\n")
        return 2
    run_dir = RunDir(Path(arguments[0]).absolute())
    try:
        refuse_links(run_dir)
        manifest = resume_file.manifest_now(run_dir)
        lock = RunLock.acquire(run_dir)
    except RunDirError as error:
        sys.stderr.write(f"sftui: error: {error}\n")
        return 2
    reaper.start_if_first()
    with lock:
        try:
            # What ranks of a session before may still write comes before this one begins.
            os.close(hold_event_log(run_dir))
        except RunDirError as error:
            sys.stderr.write(f"sftui: error: {error}\n")
            end = RunFinished(status="failed", reason=str(error))
            with contextlib.suppress(OSError):
                event_files.JournalWriter(run_dir.supervisor_events, run_dir.id, "sup").write(end)
            return 2
        try:
            lost = resume_file.settle(run_dir, os.environ.pop(resume_file.ID_VARIABLE, ""))
            manifest = resume_file.manifest_now(run_dir)
        except (RunDirError, OSError) as error:
            sys.stderr.write(f"sftui: error: {error}\n")
            return 2
        return Supervisor(run_dir, manifest).run(lost)


class Supervisor:
    """Runs the ranks, with restarts, until the run has its end; the caller holds the lock."""

    def __init__(self, run_dir: RunDir, manifest: dict[str, Any]) -> None:
        self._run_dir = run_dir
        self._folder = HeldFolder(run_dir.path)
        self._manifest = manifest
        last = event_files.last_stamp(run_dir.events)
        self._first_seq = last.seq if last else 0
        self._attempt = event_files.next_log_attempt(run_dir)
        self._num_signals = 0
        self._launching = False
        self._reasons: list[str] = []

    def run(self, lost: Sequence[Resumption] = ()) -> int:
        """Run the ranks to the end; the exit code. `lost`: see `resume_file.settle`."""
        self._catch_signals()
        for entry in lost:
            settings = ", ".join(entry.changed) or "none"
            text = f"another --resume of the same moment does not count; it changed: {settings}"
            self._tell(LogLine(text=text, level="warn"))
        nodes = int(self._manifest.get("nodes", 1))
        world_size = int(self._manifest.get("world_size", 1))
        local_world_size = max(1, world_size // nodes)
        self._set_environment(local_world_size)
        # torch: two seconds that the lock and the signal handlers must not wait for.
        with collecting.put_off(collect=False):
            from engine.processes import elastic  # noqa: PLC0415

        agent = elastic.Agent(
            command=(
                sys.executable,
                "-P",
                "-u",
                "-m",
                os.environ.get(WORKER_VARIABLE, "engine.worker"),
                str(self._run_dir.path),
            ),
            local_world_size=local_world_size,
            run_id=self._run_dir.id,
            max_restarts=int(self._manifest.get("max_restarts", machines.MAX_RESTARTS)),
            nodes=nodes,
            rendezvous=str(self._manifest.get("rendezvous", "")),
        )
        if nodes > 1:
            self._tell(
                LogLine(text=machines.other_machines(self._run_dir, self._manifest), level="warn")
            )
        self._launching = True
        with undelivered_stop.StopListener(
            self._run_dir,
            lambda: self._end() is not None,
            history_bytes=int(os.environ.get(inbox.HISTORY_VARIABLE, 0)),
        ) as listener:
            silence = SilenceWatch(
                self._run_dir, self._tell, restart_seconds=self._restart_silent_seconds()
            )
            try:
                with silence:
                    failure = elastic.run_ranks(
                        agent,
                        lambda rank: self._run_dir.rank_log(self._attempt, rank),
                        self._before_start,
                    )
            finally:
                self._launching = False
        return self._conclude(failure, listener.request)

    def _restart_silent_seconds(self) -> float:
        settings = self._manifest.get("config")
        return float(settings.get("restart_silent", 0)) if isinstance(settings, dict) else 0.0

    def _set_environment(self, local_world_size: int) -> None:
        """Set the environment variables that the ranks inherit."""
        os.environ[SUPERVISOR_PID_VARIABLE] = str(os.getpid())
        os.environ[event_files.FIRST_SEQ_VARIABLE] = str(self._first_seq)
        if self._first_seq:
            # A resumed run does not carry out requests left unanswered by the session before.
            os.environ[inbox.HISTORY_VARIABLE] = str(_size(self._run_dir.control))
        cuda_environment.set_defaults()
        # Without it restarted ranks read the dead attempt's addresses: killing one rank lost
        # the run in 3 of 5 trials. (pytorch issue 135712)
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // local_world_size)))
        # Threads that spin at the end of every loop make a shared machine 20 times slower (a
        # product of width 64 on 2 busy cores: 138 ms spinning, 7 ms asleep) and gain nothing.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # glibc raises this limit by itself and then keeps freed logits for ever: 590 MiB
        # resident instead of the chunked loss's small peak.
        os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1048576")

    # ---- between attempts --------------------------------------------------------------------

    def _before_start(self, num_starts: int, failure: Failure | None) -> None:
        """Called by the agent before each start of the ranks."""
        # Imported already, by `run`.
        from engine.processes import elastic  # noqa: PLC0415

        if num_starts == 0:
            return
        if self._end() is not None:
            # A rank that aborts while tearing down after the end changes nothing.
            raise elastic.GiveUp
        if fate := self._folder.fate():
            raise elastic.GiveUp(fate)
        assert failure is not None
        if damage := self._damaged_settings():
            # Every rank reads them first: none of the restarts would get any further.
            raise elastic.GiveUp(f"{failure.reason}; the ranks were not started again: {damage}")
        self._reasons.append(failure.reason)
        if self._num_signals:
            # A machine that is being taken away has no time for another start.
            raise elastic.GiveUp(f"told to stop, and then lost a rank: {failure.reason}")
        self._tell(RankLost(rank=failure.rank, reason=failure.reason))
        if self._out_of_memory_again():
            raise elastic.GiveUp(f"the same as the attempt before: {failure.reason}")
        elastic.wait_before_restart(num_starts)
        self._attempt = max(self._attempt + 1, event_files.next_log_attempt(self._run_dir))

    def _damaged_settings(self) -> str:
        """What is wrong with the files that the next ranks would read first; empty if nothing is.

        They were whole when the run began, so they changed under it.
        """
        manifest = self._run_dir.manifest
        try:
            resume_file.manifest_now(self._run_dir)
        except RunDirError as error:
            fault = str(error) if os.path.lexists(manifest) else f"{manifest} is gone."
            return (
                f"{fault} It changed under the run: put back the file that it began with, and go "
                f"on with `sftui run --resume {self._run_dir.id}`"
            )
        return ""

    def _out_of_memory_again(self) -> bool:
        """Whether the last two attempts both ended for want of memory: a third would too."""
        last = [reason.lower() for reason in self._reasons[-2:]]
        return len(last) == 2 and all(
            "out of memory" in text or "outofmemory" in text for text in last
        )

    def _end(self) -> RunFinished | None:
        here = self._here()
        return None if here is None else event_files.finished(here, self._first_seq)

    def _here(self) -> RunDir | None:
        """The run where its folder is now, whatever stands at its path; None when it is deleted."""
        there = self._folder.where()
        return None if there is None else RunDir(there)

    def _conclude(self, failure: Failure | None, stop: Request | None) -> int:
        """Write the run's end if no rank did; returns the exit code.

        `stop` is a stop request that came while no rank was running.
        """
        end = self._end()
        if end is None and stop is not None:
            self._tell(inbox.answer(stop, reason="no rank was running"))
            here = self._here()
            saved = [] if here is None else checkpoint_dir.list_checkpoints(here)
            step = saved[-1].step if saved else 0
            reason = f"stop asked for by {stop.author}"
            end = RunFinished(status="stopped", reason=reason, step=step, updates=step)
            self._tell(end)
        elif end is None:
            if failure is None:
                reason = self._folder.fate() or "the ranks ended without finishing the run"
            else:
                who = "" if failure.rank is None else f"rank {failure.rank}: "
                reason = f"{who}{failure.reason}"
                self._tell(RankLost(rank=failure.rank, reason=failure.reason))
            logs = self._run_dir.relative(self._run_dir.rank_log(self._attempt, 0).parent)
            end = RunFinished(status="failed", reason=f"{reason} (logs in {logs})")
            self._tell(end)
        self._answer_the_rest()
        sys.stderr.write(f"{end.status}: {end.reason}\n")
        return 0 if end.status in ("finished", "stopped") else 1

    def _answer_the_rest(self) -> None:
        """Answer every open request, so that a resumed run does not carry it out."""
        here = self._here()
        if here is None:
            return
        requests, refusals = inbox.Inbox(here, self._attempt).read()
        for event in [*refusals, *(inbox.late_answer(request) for request in requests)]:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        # Looked up at each event: the folder may be moved by now, and another's in its place.
        here = self._here()
        if here is None:
            return
        journal = event_files.JournalWriter(here.supervisor_events, self._run_dir.id, "sup")
        try:
            journal.write(event, self._attempt)
        except OSError as error:
            # The disk is full: the supervisor's log and the free lock must say it.
            lost = wire.encode(event).decode().strip()
            sys.stderr.write(f"{here.supervisor_events}: {error.strerror}; not written: {lost}\n")

    # ---- signals -----------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(undelivered_stop.SIGNAL, self._on_undelivered_stop)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        """First signal: ask the ranks to stop. Second: end them."""
        self._num_signals += 1
        if self._num_signals > 1:
            elastic = sys.modules.get("engine.processes.elastic")
            if elastic is None:
                sys.exit(128 + signum)
            elastic.end_ranks_now(signum)
        request = Request(
            id=wire.new_id(),
            command=Command.STOP,
            author=signal.Signals(signum).name,
            t=time.time(),
        )
        try:
            self._folder.refuse_moved()
            inbox.post(self._run_dir, request)
        except (SftuiError, OSError):
            # No room for a request, or no place: the ranks handle the signal itself as well.
            _signal_children(signum)

    def _on_undelivered_stop(self, signum: int, frame: FrameType | None) -> None:
        """End elastic: a stop was requested while no rank was there to read it."""
        if self._launching:
            sys.modules["engine.processes.elastic"].end_ranks_now(signum)


def _signal_children(signum: int) -> None:
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                child.send_signal(signum)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
