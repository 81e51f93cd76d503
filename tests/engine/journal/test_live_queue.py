"""The fast path to a screen: private, data only, and harmless to both ends."""

import json
import os
import pickle
import signal
import socket
import stat
import sys
import threading
from multiprocessing import connection, managers
from pathlib import Path

import pytest

from engine.journal import live_queue
from engine.journal.live_queue import LivePublisher, LiveServer
from tests.processes import children, make_run, wait_for

SCREEN = """
import sys, time
from pathlib import Path
from engine.journal.live_queue import LiveServer
from engine.run.run_dir import RunDir
server = LiveServer(RunDir(Path(sys.argv[1])))
print("listening", flush=True)
count = 0
while True:
    batch = server.get()
    if batch is not None:
        count += batch[1].count(b"\\n")
        print(count, flush=True)
    time.sleep(0.002)
"""


@pytest.fixture
def run(tmp_path):
    run = make_run(tmp_path)
    yield run
    # The next screen clears away what a killed one left in the temporary directory.
    LiveServer(run).close()


@pytest.fixture
def server(run):
    server = LiveServer(run)
    yield server
    server.close()


@pytest.fixture
def publisher(run):
    publisher = LivePublisher(run)
    yield publisher
    publisher.close()


def drain(server):
    found = []
    while (batch := server.get()) is not None:
        found.append(batch)
    return found


def test_lines_arrive_as_they_were_sent(server, publisher):
    """Bytes in, the same bytes out, in order, with how far the file was written."""
    wait_for(lambda: publisher.connected)
    publisher.offer(10, [b"a\n", "ü<&>\x01\n".encode()])
    publisher.offer(2**40, [b"c\n"])
    got = []
    wait_for(lambda: got.extend(drain(server)) or b"".join(d for _, d in got).endswith(b"c\n"))
    assert b"".join(data for _, data in got) == "a\nü<&>\x01\nc\n".encode()
    assert got[-1][0] == 2**40


def test_the_socket_and_its_key_are_private(run, server):
    """Nobody but the user reads the key or reaches the socket."""
    card = json.loads(run.live.read_text())
    folder = Path(card["address"]).parent
    assert stat.S_IMODE(run.live.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(bytes.fromhex(card["key"])) == 32
    assert len(os.fsencode(card["address"])) < 104


def test_closing_leaves_nothing_behind(run):
    """No socket, no folder, no address; and `sys.stdout` is what it was."""
    before = sys.stdout
    server = LiveServer(run)
    folder = Path(json.loads(run.live.read_text())["address"]).parent
    server.close()
    assert not folder.exists()
    assert not run.live.exists()
    assert sys.stdout is before
    assert not any(thread.name == "live-accept" for thread in threading.enumerate())


def test_a_screen_does_not_remove_the_address_of_its_successor(run):
    """Two screens in turn: the first one's end leaves the second listening."""
    first = LiveServer(run)
    second = LiveServer(run)
    first.close()
    assert json.loads(run.live.read_text())["address"] == str(second._server.address)
    second.close()


def test_a_wrong_key_is_refused(run, server):
    """Reaching the socket is not enough."""
    address = json.loads(run.live.read_text())["address"]
    with pytest.raises(connection.AuthenticationError):
        connection.Client(address, authkey=b"x" * 32)
    assert server.get() is None


class Bomb:
    """What a pickle could do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_pickle_is_not_executed(run, server, tmp_path):
    """Even a peer with the key cannot make the screen run anything."""
    card = json.loads(run.live.read_text())
    target = tmp_path / "executed"
    with connection.Client(card["address"], authkey=bytes.fromhex(card["key"])) as peer:
        peer.send_bytes(pickle.dumps((None, "dummy", (Bomb(target),), {})))
        # The manager answers in its data-only form, or hangs up.
        try:
            answer = peer.recv_bytes()
        except (EOFError, OSError):
            answer = b""
    assert b"#RETURN" not in answer
    assert not target.exists()


@pytest.mark.parametrize("name", ["shutdown", "debug_info", "number_of_objects", "serve"])
def test_a_peer_reaches_nothing_but_put(run, server, publisher, name):
    """The manager's own commands are not for publishers."""
    card = json.loads(run.live.read_text())
    client = managers.listener_client[live_queue._SERIALIZER][1]
    peer = client(card["address"], authkey=bytes.fromhex(card["key"]))
    with pytest.raises(managers.RemoteError):
        managers.dispatch(peer, None, name)
    peer.close()
    wait_for(lambda: publisher.connected)
    inlet = publisher._connect() or live_queue._InletProxy
    assert inlet._exposed_ == ("put",)


@pytest.mark.parametrize("payload", ["text", 3, b"", b"no head", b"x1\nline\n", [b"1\n"]])
def test_a_malformed_batch_is_refused(payload):
    """Only a number, a newline and lines are a batch."""
    import queue

    batches = queue.Queue(2)
    assert live_queue._Inlet(batches).put(payload) is False
    assert batches.empty()


def test_a_slow_screen_is_never_waited_for(run):
    """A full queue refuses; the publisher goes on and keeps its memory bounded."""
    server = LiveServer(run, max_batches=2)
    publisher = LivePublisher(run)
    wait_for(lambda: publisher.connected)
    for index in range(2000):
        publisher.offer(index, [b"x" * 10_000 + b"\n"])
    assert publisher._buffered_bytes <= live_queue.MAX_BUFFERED_BYTES
    wait_for(lambda: not publisher._buffer)
    assert publisher.connected
    assert len(drain(server)) == 2
    publisher.close()
    server.close()


def test_a_killed_screen_is_replaced_by_the_next(run, publisher):
    """SIGKILL of the reader costs the writer nothing, and the next screen is found."""
    for _ in range(2):
        with children() as started:
            process = started.start("-c", SCREEN, str(run.path), stdout=-1)
            assert process.stdout.readline() == b"listening\n"
            wait_for(lambda: publisher.connected)
            publisher.offer(1, [b"line\n"])
            assert process.stdout.readline() == b"1\n"
            process.send_signal(signal.SIGKILL)
            process.wait()
            publisher.offer(2, [b"into the void\n"])
            wait_for(lambda: not publisher.connected)


def test_a_stopped_screen_holds_up_only_the_queues_thread(run, publisher):
    """Ctrl-Z in the terminal: `offer` returns at once; after `fg` the lines arrive."""
    with children() as started:
        process = started.start("-c", SCREEN, str(run.path), stdout=-1)
        process.stdout.readline()
        wait_for(lambda: publisher.connected)
        process.send_signal(signal.SIGSTOP)
        for index in range(1000):
            publisher.offer(index, [b"line\n"])
        assert publisher.connected
        process.send_signal(signal.SIGCONT)
        seen = 0
        while seen < 1000:
            seen = int(process.stdout.readline())


def test_a_stopped_screen_does_not_hold_up_the_end(run):
    """The rank leaves although its screen does not answer."""
    with children() as started:
        process = started.start("-c", SCREEN, str(run.path), stdout=-1)
        process.stdout.readline()
        publisher = LivePublisher(run)
        wait_for(lambda: publisher.connected)
        process.send_signal(signal.SIGSTOP)
        publisher.offer(1, [b"line\n"] * 100_000)
        done = threading.Event()
        threading.Thread(target=lambda: (publisher.close(0.2), done.set()), daemon=True).start()
        assert done.wait(10)


def test_the_socket_of_a_killed_screen_is_cleared_away(run):
    """It could not do so itself."""
    with children() as started:
        process = started.start("-c", SCREEN, str(run.path), stdout=-1)
        process.stdout.readline()
        folder = Path(json.loads(run.live.read_text())["address"]).parent
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert folder.exists()
    LiveServer(run).close()
    assert not folder.exists()


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"address": 3, "key": "zz", "host": "x"}'])
def test_a_damaged_address_is_no_screen(run, card):
    """And no reason to fall over, for either end."""
    run.live.write_text(card)
    publisher = LivePublisher(run)
    publisher.offer(1, [b"line\n"])
    LiveServer(run).close()
    publisher.close()


def test_a_long_temporary_directory_does_not_break_the_socket(run, tmp_path, monkeypatch):
    """A socket path has 108 bytes; some TMPDIRs have more."""
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(live_queue.tempfile, "tempdir", str(long))
    server = LiveServer(run)
    assert len(json.loads(run.live.read_text())["address"]) < 104
    server.close()


def test_another_machine_does_not_try_to_connect(run, server, monkeypatch):
    """Nodes that share the run directory do not share its sockets."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    publisher = LivePublisher(run)
    wait_for(lambda: publisher._seen is not None)
    publisher.close()
    assert not publisher.connected
