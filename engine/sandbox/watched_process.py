"""One program that runs: it is told its job, heard out within limits, and ended.

Nothing here waits without a limit: a program may print for ever, read nothing, or close its
pipes and go on.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable

WALL_SECONDS = 15.0
OUTPUT_BYTES = 64 * 1024
"""What is printed beyond ends the program."""

_POLL_SECONDS = 0.25
"""How late a request to stop is noticed while a program runs."""
_END_SECONDS = 5.0
"""The kernel needs a moment to end all that was killed."""
_LEAVE_SECONDS = 1.0
"""For a program that has told its verdict to leave by itself, with its own status."""
_MOST_VERDICT = 4096


class WatchedProcess:
    """One program that runs: what it is told, what it tells, and its end."""

    def __init__(self, process: subprocess.Popen[bytes], verdict: int, job: bytes) -> None:
        self.process = process
        self.told = bytearray()
        self.printed = bytearray()
        self.status: int | None = None
        self.cut = False
        """Whether a limit or a request ended it."""
        self._verdict = verdict
        self._job = memoryview(job)

    def watch(self, interrupted: Callable[[], bool]) -> str:
        """Until it is over, or a limit ends it; which one, or an empty text."""
        why = self._watch(interrupted)
        self.cut = bool(why)
        return why

    def _watch(self, interrupted: Callable[[], bool]) -> str:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        until = time.monotonic() + WALL_SECONDS
        with selectors.DefaultSelector() as selector:
            for end in (stdin.fileno(), stdout.fileno(), self._verdict):
                os.set_blocking(end, False)
            selector.register(stdin, selectors.EVENT_WRITE)
            selector.register(stdout, selectors.EVENT_READ)
            selector.register(self._verdict, selectors.EVENT_READ)
            # With its verdict's pipe a program is over, whatever it left behind it.
            while self._verdict in selector.get_map():
                if interrupted():
                    return "interrupt"
                if time.monotonic() > until:
                    return "time"
                for key, _ in selector.select(_POLL_SECONDS):
                    if key.fileobj is stdin:
                        self._tell(selector)
                    elif key.fileobj is stdout:
                        self._hear(selector, stdout, self.printed)
                    else:
                        self._hear(selector, self._verdict, self.told)
                if len(self.printed) > OUTPUT_BYTES or len(self.told) > _MOST_VERDICT:
                    return "output"
        return ""

    def _tell(self, selector: selectors.BaseSelector) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        try:
            self._job = self._job[os.write(stdin.fileno(), self._job[:65536]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._job = self._job[:0]
        if not self._job:
            selector.unregister(stdin)
            stdin.close()

    def _hear(self, selector: selectors.BaseSelector, source: object, into: bytearray) -> None:
        descriptor = source if isinstance(source, int) else source.fileno()  # type: ignore[attr-defined]
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        if data:
            into += data
        else:
            selector.unregister(source)  # type: ignore[arg-type]

    def end(self, *, at_once: bool) -> None:
        """Kill what is left of it, and wait until it is gone."""
        if not at_once:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_LEAVE_SECONDS)
        # bwrap is the leader of this group, and takes all of the sandbox with it. Its pid stands
        # for it until `wait` below.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.status = self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self.process.stdout is not None:
            self._drain(self.process.stdout.fileno())
            self.process.stdout.close()

    def _drain(self, descriptor: int) -> None:
        """Wait for the last process that holds the pipe: then nothing of the program is left."""
        until = time.monotonic() + _END_SECONDS
        os.set_blocking(descriptor, False)
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while (left := until - time.monotonic()) > 0:
                if selector.select(left):
                    data = os.read(descriptor, 65536)
                    if not data:
                        return
                    if len(self.printed) <= OUTPUT_BYTES:
                        self.printed += data
