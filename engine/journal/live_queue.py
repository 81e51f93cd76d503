"""The fast path from rank 0 to a screen: a managed queue on a private local socket.

The screen serves the queue and rank 0 connects to it, so that ranks started as
commands can reach it and a screen can come and go. It only saves time: every line in it is
already in `events.jsonl`, and each batch says how far the file had been written, so a reader
knows where to go on without the queue.

Nothing is unpickled: the manager speaks its data-only serializer, and exposes
nothing but `put` of bytes to a peer that knows the 32-byte key.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import shutil
import socket
import stat
import tempfile
import threading
from multiprocessing import managers, util
from pathlib import Path
from typing import Any

from engine.files import checked
from engine.run.run_dir import RunDir, write_private

MAX_BATCHES = 4096
"""Batches a screen may leave unread; then the publisher is refused and the file fills the gap."""

MAX_BATCH_BYTES = 256 * 1024

MAX_BUFFERED_BYTES = 8 * 1024 * 1024
"""What rank 0 keeps for a screen that is slow: about 20 000 events."""

POLL_SECONDS = 0.25
"""How often rank 0 checks for a new screen while none listens (one stat call)."""

_SERIALIZER = "xmlrpclib"
"""The manager's data-only serializer; the other one, pickle, runs what it is sent."""

_MOST_CARD_BYTES = 16 * 1024

_FOLDER_PREFIX = "sftui-live-"
_SUN_PATH_BYTES = 100
"""A socket path may have 108 bytes on Linux and 104 on macOS, its final zero included."""

Batch = tuple[int, bytes]
"""How far `events.jsonl` was written when this was sent, and whole lines in wire format."""


class _Inlet:
    """What a publisher can reach: a bounded queue that refuses instead of blocking."""

    def __init__(self, batches: queue.Queue[Batch]) -> None:
        self._batches = batches

    def put(self, payload: Any) -> bool:
        """Take a batch; False when the screen has too much unread."""
        data = getattr(payload, "data", payload)
        if not isinstance(data, bytes):
            return False
        head, _, lines = data.partition(b"\n")
        number = checked.digits(head.decode("ascii", "replace"))
        if number is None:
            return False
        try:
            self._batches.put_nowait((number, lines))
        except queue.Full:
            return False
        return True


class _InletProxy(managers.BaseProxy):
    """The publisher's end. It takes no reference count on the server.

    The stock proxy tells the server when it dies, from whatever thread collects the
    garbage; with a screen stopped by Ctrl-Z that would hang the rank.
    """

    _exposed_ = ("put",)

    def _incref(self) -> None:
        return

    def put(self, payload: bytes) -> bool:
        call: Any = self._callmethod  # typeshed says it returns nothing
        return bool(call("put", (payload,)))


class _Client(managers.BaseManager):
    pass


_Client.register("inlet", proxytype=_InletProxy)


class _QueueServer(managers.Server):
    """A manager server that lives in a thread and ends without touching `sys.stdout`."""

    public = ["create", "accept_connection", "dummy", "incref", "decref"]  # noqa: RUF012
    # Attributes of the stock server that its type stub leaves out.
    listener: Any
    id_to_refcount: dict[str, int]

    # Both of these go with `_InletProxy._incref`: the one inlet lives as long as its server.
    def incref(self, c: Any, ident: str) -> None:
        self.id_to_refcount[ident] = 1

    def decref(self, c: Any, ident: str) -> None:
        return

    def serve(self) -> None:
        """Accept publishers until `stop`; the stock loop would spin on a closed listener."""
        self.stop_event = threading.Event()
        while not self.stop_event.is_set():
            try:
                peer = self.listener.accept()
            except OSError:
                # A peer that left during the handshake, or our own end.
                continue
            if self.stop_event.is_set():
                peer.close()
                break
            threading.Thread(
                target=self.handle_request, args=(peer,), name="live-peer", daemon=True
            ).start()

    def stop(self) -> None:
        self.stop_event.set()
        # Closing a listening socket does not wake a thread that waits in accept.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(1.0)
            knock.connect(str(self.address))


class LiveServer:
    """The screen's end: listens, and says where in the run directory.

    Start it before `App.run` or at any time after: it starts no process and leaves
    `sys.stdout` alone.

    Raises:
        OSError: no socket can be made; the screen tails the file then.
    """

    def __init__(self, run_dir: RunDir, *, max_batches: int = MAX_BATCHES) -> None:
        self._run_dir = run_dir
        self._batches: queue.Queue[Batch] = queue.Queue(max_batches)
        _remove_stale(run_dir)
        self._folder = _private_folder()
        key = os.urandom(32)
        inlet = _Inlet(self._batches)
        address = str(self._folder / "live")
        registry: dict[str, Any] = {"inlet": (lambda: inlet, ("put",), {}, _InletProxy)}
        self._server = _QueueServer(registry, address, key, _SERIALIZER)
        # The manager closes its listener through this at exit; ours is closed by `close`.
        self._server.stop_event = threading.Event()
        self._thread = threading.Thread(target=self._server.serve, name="live-accept", daemon=True)
        self._thread.start()
        self._card = json.dumps(
            {
                "v": 1,
                "address": address,
                "key": key.hex(),
                "pid": os.getpid(),
                "host": socket.gethostname(),
            }
        ).encode()
        write_private(run_dir.live, self._card)

    def get(self) -> Batch | None:
        """The next batch, or None when nothing waits. Never blocks."""
        try:
            return self._batches.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """Stop listening and take the address out of the run directory, if it is still ours."""
        self._server.stop()
        self._thread.join(1.0)
        with contextlib.suppress(OSError):
            if checked.read_bytes(self._run_dir.live) == self._card:
                self._run_dir.live.unlink()
        with contextlib.suppress(OSError):
            self._server.listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class LivePublisher:
    """Rank 0's end: a thread with a bounded buffer that finds a screen and feeds it.

    A stopped screen holds up this thread alone. What does not fit is let go: the screen
    finds it in the file.
    """

    def __init__(self, run_dir: RunDir) -> None:
        self._path = run_dir.live
        self._buffer: collections.deque[Batch] = collections.deque()
        self._buffered_bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._connected = False
        # What happens while the first connection is made is not lost to the queue.
        self._accepting = True
        self._seen: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name="live-queue", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether a screen is listening now."""
        return self._connected

    def offer(self, offset: int, lines: list[bytes]) -> None:
        """Hand over whole lines of wire format; at once, whatever the screen does.

        Args:
            offset: size of `events.jsonl` with these lines (and all before them) in it.
        """
        if not self._accepting:
            return
        with self._lock:
            for data in _split(lines):
                self._buffer.append((offset, data))
                self._buffered_bytes += len(data)
            while self._buffered_bytes > MAX_BUFFERED_BYTES:
                self._buffered_bytes -= len(self._buffer.popleft()[1])
        self._wake.set()

    def close(self, timeout: float = 1.0) -> None:
        """Send what is left if the screen takes it in time, and leave."""
        self._stopping = True
        self._wake.set()
        # A daemon thread held by a stopped screen is left behind.
        self._thread.join(timeout)

    # ---- the queue's own thread --------------------------------------------------------------

    def _run(self) -> None:
        while True:
            inlet = self._connect()
            if inlet is not None:
                self._connected = self._accepting = True
                with contextlib.suppress(Exception):
                    # Whatever a dead or strange screen makes of it (broken pipe, end of
                    # file, a refusal): the file has it all, wait for the next screen.
                    self._feed(inlet)
            self._connected = self._accepting = False
            with self._lock:
                self._buffer.clear()
                self._buffered_bytes = 0
            if self._stopping:
                return
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()

    def _connect(self) -> _InletProxy | None:
        """A proxy to the screen that `live.json` names, if it names a new one."""
        try:
            found = self._path.stat()
        except OSError:
            self._seen = None
            return None
        seen = (found.st_ino, found.st_mtime_ns)
        if seen == self._seen:
            return None
        self._seen = seen
        self._accepting = True
        try:
            card = checked.read_json(self._path, _MOST_CARD_BYTES)
            if card["host"] != socket.gethostname():
                return None
            client = _Client(card["address"], bytes.fromhex(card["key"]), serializer=_SERIALIZER)
            client.connect()
            inlet = client.inlet()  # type: ignore[attr-defined]
        except Exception as error:
            # A card half written by hand, a socket whose screen died, a wrong key.
            util.info("no live screen: %r", error)
            return None
        assert isinstance(inlet, _InletProxy)
        return inlet

    def _feed(self, inlet: _InletProxy) -> None:
        while True:
            while self._buffer:
                with self._lock:
                    offset, data = self._buffer.popleft()
                    self._buffered_bytes -= len(data)
                inlet.put(b"%d\n%b" % (offset, data))
            if self._stopping:
                return
            self._wake.wait()
            self._wake.clear()


def _split(lines: list[bytes]) -> list[bytes]:
    """Lines joined into batches of at most `MAX_BATCH_BYTES`."""
    batches: list[bytes] = []
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and size + len(line) > MAX_BATCH_BYTES:
            batches.append(b"".join(batch))
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        batches.append(b"".join(batch))
    return batches


def _private_folder() -> Path:
    """A new folder (mode 0700) whose path leaves room for a socket name."""
    for place in (None, "/tmp"):
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=place))
        if len(os.fsencode(folder)) + len("/live") <= _SUN_PATH_BYTES:
            return folder
        folder.rmdir()
    raise OSError("no temporary directory has a path short enough for a socket")


def _remove_stale(run_dir: RunDir) -> None:
    """Remove the socket of a screen that was killed; it could not do so itself."""
    try:
        card = checked.table(checked.read_json(run_dir.live, _MOST_CARD_BYTES))
        address = Path(checked.text(card["address"]))
        if not _is_our_socket(address):
            return
    except (OSError, ValueError, KeyError):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(address))
        except ConnectionRefusedError:
            # These two and nothing else: a folder that holds more is not a dead screen's.
            address.unlink()
            address.parent.rmdir()


def _is_our_socket(address: Path) -> bool:
    """Whether a socket lies there as `LiveServer` makes one: the card may be anybody's.

    Raises:
        OSError: there is none, or it may not be looked at.
    """
    folder = address.parent
    places = {Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve()}
    if not folder.name.startswith(_FOLDER_PREFIX) or folder.parent.resolve() not in places:
        return False
    there, socket_there = folder.lstat(), address.lstat()
    return (
        address.name == "live"
        and stat.S_ISDIR(there.st_mode)
        and there.st_uid == os.getuid()
        and stat.S_ISSOCK(socket_there.st_mode)
        and socket_there.st_uid == os.getuid()
    )
