"""Keep another trainer's command: a session of its own, logs, restarts, and what it prints.

`python -P -m sftui.commands.keep RUN_DIR` runs it. The command may be torchrun, accelerate,
deepspeed or python: one child is watched, and `run_finished` in the event log is the proof of
an end, as for our own ranks. A script that attaches writes the events itself; of one that does
not, the keeper reads the output and writes what it tells. No torch in here.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from engine.control import Command, Request
from engine.errors import RunDirError, SftuiError
from engine.events import Event, LogLine, RankLost, RunFinished
from engine.journal import event_files, wire
from engine.processes import reaper
from engine.processes.output_events import Follower, OutputEvents
from engine.run import foreign, resume_file
from engine.run.held_folder import HeldFolder
from engine.run.lock import RunLock
from engine.run.run_dir import RunDir, refuse_links
from engine.steering import inbox

POLL_SECONDS = 0.1
SETTLE_SECONDS = 5.0
"""After the first number in the output: a script that attaches by hand does so by then."""
PATIENT_SECONDS = 60.0
"""A request waits so long for a script that neither attaches nor prints a number."""
GRACE_SECONDS = 30.0
"""From a signal to the end of a command that is not attached."""
CLEAN_SECONDS = 10.0
"""For what is left of an attempt, before it is killed."""
BACKOFF_SECONDS = 1.0

STARTUP = Path(__file__).parents[1] / "attach" / "startup"
"""Folder of the `sitecustomize` that attaches a script without a changed line."""

_ERROR = re.compile(r"^(?:\[[^\]\n]*\]:?\s*)?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt)\b.*)$")
_KILLED = re.compile(r"Signal \d+ \(SIG[A-Z]+\) received by PID \d+")
_LAUNCHERS = ("ChildFailedError", "subprocess.CalledProcessError", "SignalException")
_TAIL_BYTES = 64 * 1024


def main(run_dir: RunDir, make_follower: Callable[[], Follower]) -> int:
    """Keep the run's command to its end: 0 finished or stopped, 1 failed, 2 bad input."""
    try:
        refuse_links(run_dir)
        lock = RunLock.acquire(run_dir, "keeper")
    except RunDirError as error:
        sys.stderr.write(f"sftui: error: {error}\n")
        return 2
    reaper.start_if_first()
    with lock:
        try:
            resume_file.settle(run_dir, os.environ.pop(resume_file.ID_VARIABLE, ""))
            manifest = resume_file.manifest_now(run_dir)
        except (RunDirError, OSError) as error:
            sys.stderr.write(f"sftui: error: {error}\n")
            return 2
        return Keeper(run_dir, manifest, make_follower).run()


class Keeper:
    """Starts the command, again where it crashed, until the run has its end."""

    def __init__(
        self, run: RunDir, manifest: Mapping[str, Any], make_follower: Callable[[], Follower]
    ) -> None:
        self._run = run
        self._folder = HeldFolder(run.path)
        self._manifest = manifest
        self._make_follower = make_follower
        last = event_files.last_stamp(run.events)
        self._first_seq = last.seq if last else 0
        self._attempt = event_files.next_log_attempt(run)
        self._history = _size(run.control) if self._first_seq else 0
        self._attaches = bool(manifest.get("attach", True))
        self._num_signals = 0
        self._stopped_by = ""
        """Who stopped a command that is not attached."""
        self._child: subprocess.Popen[bytes] | None = None
        self._output: OutputEvents | None = None
        self._idle_attempts = 0
        """Attempts in a row that ended before they trained."""
        self._reasons: list[str] = []

    def run(self) -> int:
        """Keep it; the exit code."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        told = self._manifest.get("max_restarts")
        most = 3 if told is None else int(told)
        num_starts = 0
        while True:
            num_starts += 1
            code, reason = self._one_attempt()
            if self._is_over(code):
                return self._conclude(code, reason)
            # Not by SIGTERM: ranks whose launcher is gone would take it for a person's stop, and
            # end a run that is about to go on.
            self._sweep(at_once=True)
            self._tell(RankLost(reason=reason))
            why = self._why_not_again(reason, num_starts > most)
            if why:
                return self._conclude(code, why)
            if self._output is not None:
                self._output.leave()
            self._wait(BACKOFF_SECONDS * num_starts)
            if self._num_signals:
                return self._conclude(code, reason)
            self._attempt = max(self._attempt + 1, event_files.next_log_attempt(self._run))

    # ---- one start of the command ------------------------------------------------------------

    def _one_attempt(self) -> tuple[int, str]:
        """Start the command and wait for its end: exit code, and why it ended, in words."""
        folder = self._run.rank_log(self._attempt, 0)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "stdout.log"
        with contextlib.suppress(OSError):
            foreign.note_path(self._run).unlink()
        command = [str(word) for word in self._manifest.get("command", [])]
        try:
            with path.open("ab") as log:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=str(self._manifest.get("cwd") or "."),
                    env=self._environment(),
                    start_new_session=True,
                )
        except OSError as error:
            return 127, f"the command could not be started: {error.strerror}: {command[0]}"
        self._tell(LogLine(text=f"started {' '.join(command)[:500]} (pid {self._child.pid})"))
        output = self._output = OutputEvents(self._run, path, self._make_follower)
        watch = _Watch(self, output)
        while self._child.poll() is None:
            watch.look()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(POLL_SECONDS)
        watch.look()
        code = self._child.returncode
        watch.end(follow=self.note() is None)
        trained = output.num_steps > 0 or self.note() is not None
        self._idle_attempts = 0 if trained else self._idle_attempts + 1
        return code, _reason(code, path)

    def _environment(self) -> dict[str, str]:
        found = dict(os.environ)
        found[foreign.RUN_DIR_VARIABLE] = str(self._run.path)
        found[foreign.ATTEMPT_VARIABLE] = str(self._attempt)
        found[foreign.ATTACH_VARIABLE] = "1" if self._attaches else "0"
        found[event_files.FIRST_SEQ_VARIABLE] = str(self._first_seq)
        found[inbox.HISTORY_VARIABLE] = str(self._history)
        # Without it restarted ranks read the dead attempt's addresses. (pytorch issue 135712)
        found["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        # Its lines are followed while they are written.
        found.setdefault("PYTHONUNBUFFERED", "1")
        if self._attaches:
            before = found.get("PYTHONPATH")
            found["PYTHONPATH"] = str(STARTUP) + (os.pathsep + before if before else "")
        return found

    def note(self) -> foreign.AttachNote | None:
        """What the trainer of this attempt said about being attached."""
        note = foreign.read_note(self._run)
        return note if note is not None and note.attempt == self._attempt else None

    @property
    def attaches(self) -> bool:
        """Whether the script may attach at all."""
        return self._attaches

    @property
    def history(self) -> int:
        """Bytes of requests that an earlier session of the run left."""
        return self._history

    # ---- stopping ----------------------------------------------------------------------------

    def stop(self, author: str) -> None:
        """Stop a command that nothing can be asked of: a signal, and after a while the end."""
        if self._stopped_by:
            return
        self._stopped_by = author
        assert self._child is not None
        with contextlib.suppress(OSError):
            self._child.terminate()
        end = time.monotonic() + GRACE_SECONDS
        while self._child.poll() is None and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            if self._num_signals > 1:
                break
        self._sweep()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """First signal: stop with a checkpoint, where that can be asked for. Second: now."""
        self._num_signals += 1
        if self._num_signals > 1:
            self._stopped_by = self._stopped_by or signal.Signals(number).name
            for process in self._processes():
                with contextlib.suppress(psutil.Error):
                    process.kill()
            return
        request = Request(
            id=wire.new_id(),
            command=Command.STOP,
            author=signal.Signals(number).name,
            t=time.time(),
        )
        try:
            self._folder.refuse_moved()
            # The trainer's rank 0 reads it, or the keeper itself, where nobody is attached.
            inbox.post(self._run, request)
        except (SftuiError, OSError):
            if self._child is not None:
                with contextlib.suppress(OSError):
                    self._child.terminate()

    def _processes(self) -> list[psutil.Process]:
        """Processes of the command: its descendants, and what it left to others.

        torchrun gives each rank a session of its own, and a rank whose agent was killed has
        another parent; the run directory in its environment tells whose it is.
        """
        found: dict[int, psutil.Process] = {}
        mark = str(self._run.path)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid == os.getpid() or process.uids().real != os.getuid():
                    continue
                if process.environ().get(foreign.RUN_DIR_VARIABLE) == mark:
                    found[process.pid] = process
        return list(found.values())

    def _sweep(self, *, at_once: bool = False) -> None:
        """End what is left of an attempt, so that the next one is alone."""
        alive = left = self._processes()
        if not at_once:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.terminate()
            _, alive = psutil.wait_procs(left, timeout=CLEAN_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=CLEAN_SECONDS)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._num_signals:
            time.sleep(POLL_SECONDS)

    # ---- the end -----------------------------------------------------------------------------

    def _end(self) -> RunFinished | None:
        here = self._here()
        return None if here is None else event_files.finished(here, self._first_seq)

    def _here(self) -> RunDir | None:
        """The run where its folder is now, whatever stands at its path; None when it is deleted."""
        there = self._folder.where()
        return None if there is None else RunDir(there)

    def _is_over(self, code: int) -> bool:
        """Whether nothing is to be started again."""
        return bool(
            code == 0
            or self._end() is not None
            or self._stopped_by
            or self._num_signals
            or not self._run.manifest.exists()
            or not self._folder.in_place()
        )

    def _why_not_again(self, reason: str, spent: bool) -> str:
        """Why the command is not started again; empty when it is."""
        self._reasons.append(reason)
        last = [each.lower() for each in self._reasons[-2:]]
        if len(last) == 2 and all("out of memory" in text for text in last):
            return f"the same as the attempt before: {reason}"
        if self._idle_attempts >= 2:
            return f"twice before it trained: {reason}"
        return reason if spent else ""

    def _conclude(self, code: int, reason: str) -> int:
        """Write the run's end if nobody did; returns the exit code."""
        end = self._end()
        if end is None:
            end = self._own_end(code, reason)
            self._tell_end(end)
        elif code != 0 and end.status != "failed":
            self._tell(LogLine(text=f"after the training: {reason}", level="warn"))
        if (here := self._here()) is not None:
            requests, refusals = inbox.Inbox(here, self._attempt).read()
            for event in [*refusals, *(inbox.late_answer(request) for request in requests)]:
                self._tell(event)
        if self._num_signals or self._stopped_by:
            self._sweep()
        sys.stderr.write(f"{end.status}: {end.reason}\n")
        return 0 if end.status in ("finished", "stopped") else 1

    def _own_end(self, code: int, reason: str) -> RunFinished:
        note = self.note()
        steps = self._output.last_step if self._output is not None else None
        if self._stopped_by or self._num_signals:
            by = self._stopped_by or "a signal"
            return RunFinished(status="stopped", reason=f"stop asked for by {by}", step=steps)
        if code != 0:
            where = self._run.relative(self._run.rank_log(self._attempt, 0))
            return RunFinished(status="failed", reason=f"{reason} (output in {where})", step=steps)
        if note is not None and note.answer == "attached":
            text = "the command ended before its training did (exit code 0)"
            return RunFinished(status="failed", reason=text)
        text = "the command ended (exit code 0)"
        if note is not None and note.answer == "dark":
            text += f"; nothing was told of its last part: {note.reason}"
        return RunFinished(status="finished", reason=text, step=steps)

    def _tell_end(self, end: RunFinished) -> None:
        """Into the event log where the keeper writes it, else into its own file."""
        if self._output is None or not self._output.tell_last(end):
            self._tell(end)

    def _tell(self, event: Event) -> None:
        # Looked up at each event: the folder may be moved by now, and another's in its place.
        here = self._here()
        if here is None:
            return
        journal = event_files.JournalWriter(here.supervisor_events, self._run.id, "sup")
        try:
            journal.write(event, self._attempt)
        except OSError as error:
            # The disk is full: the log and the free lock must say it.
            lost = wire.encode(event).decode().strip()
            sys.stderr.write(f"{here.supervisor_events}: {error.strerror}; not written: {lost}\n")


class _Watch:
    """Decides, while one attempt runs, who writes its events and who answers requests."""

    def __init__(self, keeper: Keeper, output: OutputEvents) -> None:
        self._keeper = keeper
        self._output = output
        self._inbox: inbox.Inbox | None = None
        self._seen_at: float | None = None
        """When the output first held a number."""
        self._asked_at: dict[str, float] = {}

    def look(self) -> None:
        """Take in what was printed and asked since; called ten times a second."""
        note = self._keeper.note()
        if note is not None and note.answer != "refused":
            # The script has a voice of its own.
            self._output.leave()
            self._inbox = None
            return
        self._output.read()
        if self._output.num_steps and self._seen_at is None:
            self._seen_at = time.monotonic()
        if not self._output.is_writing:
            why = self._why_follow(note)
            if why:
                self._output.follow(why)
        if self._output.is_writing:
            self._answer(self._output.why)

    def _why_follow(self, note: foreign.AttachNote | None) -> str:
        """Why the output is to be followed from now on; empty while it may attach yet."""
        if not self._keeper.attaches:
            return "told so by --no-attach"
        if note is not None:
            return note.reason
        if self._seen_at is not None and time.monotonic() - self._seen_at >= SETTLE_SECONDS:
            return "this script attaches nothing"
        # A look into the file costs a stat; the requests stay for whoever answers them.
        waiting = inbox.Inbox(self._output.run, 0, history_bytes=self._keeper.history)
        now = time.monotonic()
        for request in waiting.read().requests:
            first = self._asked_at.setdefault(request.id, now)
            limit = 2.0 if request.command is Command.STOP else PATIENT_SECONDS
            if now - first >= limit:
                return "it has neither attached nor printed a number yet"
        return ""

    def _answer(self, why: str) -> None:
        """Answer what is asked of a script that cannot hear: only its end can be had."""
        if self._inbox is None:
            self._inbox = inbox.Inbox(
                self._output.run, self._output.attempt, history_bytes=self._keeper.history
            )
        batch = self._inbox.read()
        for refusal in batch.refusals:
            self._output.emit(refusal)
        for request in batch.requests:
            step = self._output.last_step
            if request.command is Command.STOP:
                self._output.emit(
                    inbox.answer(request, reason="the command gets SIGTERM", step=step)
                )
                self._keeper.stop(request.author or "a request")
            else:
                reason = f"not attached, only followed by what it prints: {why}"
                self._output.emit(inbox.answer(request, "rejected", reason, step))

    def end(self, *, follow: bool) -> None:
        """The command is over; `follow`: it never attached, so its output is all there is."""
        if follow and not self._output.is_writing and self._output.num_steps:
            self._output.follow("this script attaches nothing")
        self._output.close_output()


def _reason(code: int, path: Path) -> str:
    """Why a command ended, in words: its signal or code, and the last error that it printed."""
    if code == 0:
        return "exit code 0"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the command was ended by {signal.Signals(-code).name}"
    error = _last_error(path)
    return f"the command ended with exit code {code}" + (f": {error}" if error else "")


def _last_error(path: Path) -> str:
    """The first error of a program (not of its launcher) near the end of what was printed."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    found = [match[1] for line in lines if (match := _ERROR.match(line.strip()))]
    own = [text for text in found if not any(name in text for name in _LAUNCHERS)]
    # torchrun says of a killed rank which signal it was, in a frame of its own.
    killed = [match[0] for line in lines if (match := _KILLED.search(line))]
    last = next((line.strip() for line in reversed(lines) if re.search(r"\w", line)), "")
    return (own[-1] if own else killed[-1] if killed else last)[:500]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
