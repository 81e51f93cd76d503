"""The lock of a run: which process holds it, and whether that process is still alive.

The kernel frees a `flock` when its holder dies, however it died, so the lock proves
that the holder lives; the text in the file only names the holder for messages. The
descriptor must not be inherited: a child that kept it would hold the lock for a
dead parent.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import psutil

from engine.errors import RunDirError
from engine.files import checked
from engine.run.run_dir import RunDir

START_TOLERANCE_SECONDS = 5.0
"""psutil derives start times from the wall clock at boot, which may be corrected later."""

HEARTBEAT_FRESH_SECONDS = 15.0
"""Heartbeats are written every second; 15 s allow for a busy machine."""

CLOCKS_APART_SECONDS = 24 * 3600.0
"""Clocks of machines that share a folder differ by less: a file from further ahead was not
written just now, whatever it says."""

SUPERVISOR_PID_VARIABLE = "SFTUI_SUPERVISOR_PID"
"""Pid of a rank's parent, set by the parent: it may die before the rank asks the system."""

WRITER_PATIENCE_SECONDS = 30.0
"""A rank that has lost its supervisor saves a checkpoint first; elastic kills after 30 s."""

_MOST_BYTES = 64 * 1024
"""Limit of a lock and of a heartbeat; they take a few hundred bytes."""

_RETRY_SECONDS = 0.5
"""`holder` takes a shared lock for an instant to test it; `acquire` waits that long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that wrote the lock file."""

    pid: int
    host: str = ""
    started: float = 0.0
    """Start time of the process, seconds since the epoch."""
    boot: str = ""
    role: str = "supervisor"
    """What it is to the run: our `supervisor`, the `keeper` of another trainer, or that `trainer`
    itself where nobody keeps it."""

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        return f"process {self.pid} on {self.host}, started {since}"


class RunLock:
    """The lock of one run, held from `acquire` to `release` or to the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, run_dir: RunDir, role: str = "supervisor") -> RunLock:
        """Take the lock and put our name into it, and what we are to the run.

        Raises:
            RunDirError: another process holds it (the message names it), or it cannot be made.
        """
        try:
            # Python opens with O_CLOEXEC: not inherited by the ranks.
            descriptor = checked.open_descriptor(run_dir.lock, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise RunDirError(
                f"cannot open the lock {run_dir.lock}: {error.strerror}. "
                "Check that the run directory exists and is yours."
            ) from None
        deadline = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                os.close(descriptor)
                who = last_holder(run_dir)
                if isinstance(error, BlockingIOError):
                    raise RunDirError(
                        f"{run_dir.path} is in use by {who or 'another process'}. "
                        f"Watch it with `sftui attach {run_dir.id}`, or start a new run."
                    ) from None
                raise RunDirError(
                    f"{run_dir.lock} cannot be locked: {error.strerror}. "
                    "Put the runs on a file system with locks (--runs-dir)."
                ) from None
        me = Holder(
            pid=os.getpid(),
            host=socket.gethostname(),
            started=process_start(os.getpid()) or time.time(),
            boot=boot_id(),
            role=role,
        )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(asdict(me)) + "\n").encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def hold_event_log(run_dir: RunDir, patience_seconds: float = WRITER_PATIENCE_SECONDS) -> int:
    """Become the only writer of the event log; returns the descriptor that holds it while open.

    A rank whose supervisor was killed, or that was stopped and continued, may outlive its
    session: two writers would mix their numbers, and the end that the old one writes would
    be taken for the new one's. So whoever is second waits, and does not write.

    Raises:
        RunDirError: another process still writes after that time, or the file cannot be opened.
    """
    try:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = checked.open_descriptor(run_dir.events, flags)
    except OSError as error:
        raise RunDirError(f"cannot open {run_dir.events}: {error.strerror}.") from None
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise RunDirError(
                    f"{run_dir.events} is still written by an older rank of this run "
                    f"({_living_rank(run_dir) or 'which gives no sign of life'}). End that process "
                    "and start the run again with --resume."
                ) from None
            time.sleep(0.02)
        except OSError:
            # A file system without locks: nothing better than the run's own lock there.
            return descriptor


def last_holder(run_dir: RunDir) -> Holder | None:
    """The last process that held the lock, alive or not; None when there was none."""
    return _read_holder(run_dir.lock)


def holder(run_dir: RunDir) -> Holder | None:
    """The process that holds the lock now, None when it is free; on the holder's machine only."""
    try:
        descriptor = checked.open_descriptor(run_dir.lock)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        # Locked and not yet named is a supervisor between its two first calls.
        return last_holder(run_dir) or Holder(pid=0)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def is_running(run_dir: RunDir) -> bool:
    """Whether some process drives this run now."""
    return evidence(run_dir)[0]


def evidence(run_dir: RunDir) -> tuple[bool, str]:
    """Whether the run is alive, and the evidence for it in words."""
    if not run_dir.path.is_dir():
        return False, f"its folder {run_dir.path} is gone: it was deleted or moved"
    held = holder(run_dir)
    if held is not None:
        return True, f"the {held.role} (pid {held.pid}) holds the lock"
    rank = _living_rank(run_dir)
    if rank is not None:
        # Started by torchrun, on another machine, or orphaned and saving its last checkpoint.
        return True, rank
    last = last_holder(run_dir)
    if last is None:
        said = "" if run_dir.logs.is_symlink() else _last_words(run_dir.supervisor_log)
        return False, said or "no supervisor has held this run"
    if last.boot and boot_id() and last.host == socket.gethostname() and last.boot != boot_id():
        return False, f"the machine was restarted since (the {last.role} was pid {last.pid})"
    where = "" if last.host == socket.gethostname() else f" on {last.host}"
    return False, f"the {last.role} (pid {last.pid}{where}) is gone"


def is_alive(pid: int, started: float | None) -> bool:
    """Whether `pid` is still the process that started then: ids are reused after a death."""
    born = process_start(pid)
    if born is None:
        return False
    return not started or abs(born - started) <= START_TOLERANCE_SECONDS


def process_start(pid: int) -> float | None:
    """Start time of a process, seconds since the epoch; None when it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except (psutil.Error, OSError, ValueError):
        return None


@functools.cache
def boot_id() -> str:
    """Id of this boot of the machine; empty where the system has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # macOS.
        done = subprocess.run(
            ["sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, timeout=2
        )
        return done.stdout.strip()
    return ""


def _read_holder(path: Path) -> Holder | None:
    try:
        raw = checked.table(checked.read_json(path, _MOST_BYTES))
        return Holder(
            pid=_pid(raw["pid"]),
            host=checked.text(raw.get("host", "")),
            started=checked.number(raw.get("started", 0.0)),
            boot=checked.text(raw.get("boot", "")),
            role=_role(raw.get("role")),
        )
    except (OSError, ValueError, KeyError):
        return None


def _role(value: object) -> str:
    """A word of ours; a lock from before there were others was a supervisor's."""
    return value if value in ("keeper", "trainer") else "supervisor"


def _pid(value: object) -> int:
    pid = checked.whole(value)
    if not 0 < pid < 2**31:
        raise ValueError(f"{pid} is no process id")
    return pid


def _last_words(log: Path) -> str:
    """Why a supervisor that never held the lock could not start, as its log says."""
    try:
        with checked.open_file(log) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read(4096).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"the supervisor did not start: {last.removeprefix('sftui: error: ')}" if last else ""


def _living_rank(run_dir: RunDir) -> str | None:
    """A rank with a fresh heartbeat and, on this machine, a living process; None without one."""
    here = socket.gethostname()
    if run_dir.heartbeats.is_symlink():
        return None  # another run's beat there
    for path in sorted(run_dir.heartbeats.glob("rank-*.json")):
        try:
            age = time.time() - path.lstat().st_mtime
            if not -CLOCKS_APART_SECONDS < age <= HEARTBEAT_FRESH_SECONDS:
                continue
            raw = checked.table(checked.read_json(path, _MOST_BYTES))
            pid, host = _pid(raw["pid"]), checked.text(raw["host"])
            rank, started = checked.whole(raw["rank"]), checked.number(raw.get("started") or 0.0)
        except (OSError, ValueError, KeyError):
            continue
        if host != here or is_alive(pid, started):
            where = "" if host == here else f" on {host}"
            return f"rank {rank} (pid {pid}{where}) beat {max(age, 0):.0f} s ago"
    return None
