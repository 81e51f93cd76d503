"""The supervisor's ear for a rank 0 that hangs: nobody else is left to say so.

Rank 0 reads the heartbeats of all ranks and raises the alarm of a silent one. When rank 0 itself
hangs (stopped, or held by a disk or a driver) no rank writes events any more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import psutil

from engine.events import AlarmCleared, AlarmRaised, Event, LogLine
from engine.polling import PollingThread
from engine.processes.heartbeat_file import SILENT_SECONDS, read_record
from engine.run import lock
from engine.run.run_dir import RunDir

POLL_SECONDS = 1.0


class SilenceWatch(PollingThread):
    """Looks at rank 0's heartbeat while the `with` block lasts.

    Args:
        tell: writes an event into the supervisor's journal.
        restart_seconds: silence after which rank 0 is killed, so that elastic restarts all ranks;
            0 for never.
    """

    def __init__(
        self,
        run_dir: RunDir,
        tell: Callable[[Event], None],
        *,
        restart_seconds: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("silence", POLL_SECONDS)
        self._run_dir = run_dir
        self._tell = tell
        self._restart_seconds = restart_seconds
        self._clock = clock
        self._beat: object = None
        self._changed: float | None = None
        self._told = False

    def poll(self) -> bool:
        # Whatever is wrong with a heartbeat file costs the watch, never the run.
        with contextlib.suppress(OSError, psutil.Error):
            self.look()
        return True

    def look(self) -> None:
        """Read rank 0's heartbeat once; raise, clear or act."""
        now = self._clock()
        raw = read_record(self._run_dir.heartbeat(0))
        if raw is None or not _is_ours(raw):
            # Between two attempts, or not begun yet: there is nobody to be silent.
            self._heard(now, None)
            return
        if self._changed is None or raw.get("beat") != self._beat:
            self._heard(now, raw.get("beat"))
            return
        silent = now - self._changed
        if silent > SILENT_SECONDS and not self._told:
            self._told = True
            self._tell(
                AlarmRaised(
                    kind="rank_silent",
                    severity="error",
                    value=silent,
                    limit=SILENT_SECONDS,
                    text=f"no heartbeat of rank 0 for {silent:.0f} s; it is process {raw['pid']}, "
                    f"{psutil.Process(raw['pid']).status()}",
                )
            )
        if self._restart_seconds and silent > self._restart_seconds:
            text = f"rank 0 was silent for {silent:.0f} s and is killed (--restart-silent)"
            self._tell(LogLine(text=text, level="error"))
            os.kill(raw["pid"], signal.SIGKILL)
            self._heard(now, raw.get("beat"))

    def _heard(self, now: float, beat: object) -> None:
        self._changed, self._beat = now, beat
        if self._told:
            self._told = False
            self._tell(AlarmCleared(kind="rank_silent"))


def _is_ours(raw: dict[str, object]) -> bool:
    """Whether the record is of a living process that this one started: a file may say any id."""
    pid, started = raw.get("pid"), raw.get("started")
    if not isinstance(pid, int) or not isinstance(started, float):
        return False
    if not lock.is_alive(pid, started):
        return False
    with contextlib.suppress(psutil.Error):
        return any(parent.pid == os.getpid() for parent in psutil.Process(pid).parents())
    return False
