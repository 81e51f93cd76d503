"""Leave when a peer is dead, even from inside a wait that Python cannot interrupt.

When a rank dies, the agent sends SIGTERM to the others. One that waits inside NCCL (or any
other C call) for the dead one never comes back to run its Python handler, so the agent
would wait its whole grace of 30 s before SIGKILL. The interpreter's C handler does write a
byte into a socket, though, and a thread that reads it can look who is alive, and leave.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from engine.processes.heartbeat_file import read_record
from engine.run.lock import is_alive
from engine.run.run_dir import RunDir

LOOK_SECONDS = 0.25
SILENT_SECONDS = 3.0
"""A peer on another machine cannot be asked for; three missed beats are its death."""


class PeerWatch:
    """From `start` to `close`: after a SIGTERM, end this process once a peer is found dead.

    A SIGTERM while all peers live means "stop with a checkpoint", which the main thread does
    at the next boundary; the watch then only looks on.
    """

    def __init__(
        self,
        run: RunDir,
        *,
        rank: int,
        world_size: int,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._run = run
        self._rank = rank
        self._peers = [peer for peer in range(world_size) if peer != rank]
        self._leave = leave
        self._writer: socket.socket | None = None
        self._closed = threading.Event()
        self._since = time.time()
        self._previous = -1

    def start(self) -> None:
        """Call it in the main thread; does nothing for a rank without peers."""
        if not self._peers:
            return
        reader, self._writer = socket.socketpair()
        # The C handler must never wait for us.
        self._writer.setblocking(False)
        self._previous = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        listen = threading.Thread(
            target=self._listen, args=(reader,), name="peer-watch", daemon=True
        )
        listen.start()

    def close(self) -> None:
        """Call it in the main thread, ahead of the last barrier: from there on peers may end."""
        self._closed.set()
        if self._writer is not None:
            signal.set_wakeup_fd(self._previous)
            # The reader sees the end of it and closes its own.
            self._writer.close()

    def _listen(self, reader: socket.socket) -> None:
        with reader:
            self._read(reader)

    def _read(self, reader: socket.socket) -> None:
        while not self._closed.is_set():
            try:
                signals = reader.recv(64)
            except OSError:
                return
            if not signals:
                return
            if signal.SIGTERM in signals:
                self._look_on()
                return

    def _look_on(self) -> None:
        began = time.monotonic()
        seen: dict[int, tuple[object, float]] = {}
        while not self._closed.wait(LOOK_SECONDS):
            for peer in self._peers:
                record = read_record(self._run.heartbeat(peer))
                if record is None or float(record.get("t") or 0.0) < self._since - 1.0:
                    continue  # none yet, or one that an earlier attempt left behind
                beat, since = seen.get(peer, (None, began))
                if record.get("beat") != beat:
                    seen[peer] = record.get("beat"), time.monotonic()
                    since = time.monotonic()
                if _is_dead(record, time.monotonic() - since):
                    self._go(peer, time.monotonic() - began)
                    return

    def _go(self, peer: int, seconds: float) -> None:
        sys.stderr.write(
            f"rank {self._rank}: rank {peer} is dead; leaving {seconds:.1f} s after SIGTERM "
            "without waiting for it\n"
        )
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        self._leave(1)


def _is_dead(record: dict[str, Any], silent_seconds: float) -> bool:
    """On this machine its process is asked for, elsewhere its beat: clocks may differ."""
    if record.get("host") == socket.gethostname():
        pid = record.get("pid")
        return isinstance(pid, int) and not is_alive(pid, record.get("started"))
    return silent_seconds > SILENT_SECONDS
