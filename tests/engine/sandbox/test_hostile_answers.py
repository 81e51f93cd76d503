"""Answers that attack: each is a wrong answer, stays inside, and leaves nothing behind.

Twelve kinds, run as the programs of HumanEval are. What they would change outside (files, a
listening socket, the process that started them) is looked at after each.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.sandbox import bubblewrap, program_sandbox, watched_process
from engine.sandbox.program_sandbox import Interrupted, Sandbox
from tests.engine.sandbox.leftovers import left_behind

TESTS = "\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n\ncheck(add)\n"
RIGHT = "def add(a, b):\n    return a + b\n"

# Each reads: the attack, then an answer that would be right had the attack done its work. What
# the kernel refuses raises, and what it ignores ends in the last line, which no test passes.
WRONG = "\n\ndef add(a, b):\n    return 'attacked'\n"

HOSTILE = {
    "fork bomb": """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
    else:
        continue
    break
""",
    "memory": """
kept = []
while True:
    kept.append(bytearray(8 * 1024 * 1024))
""",
    "memory beside the address space": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
held = []
for _ in range(10_000):
    descriptor = libc.memfd_create(b"x", 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "memfd_create")
    held.append(descriptor)
    os.write(descriptor, bytes(900_000))
""",
    "disk": """
for number in range(100_000):
    with open(f"/work/{{number}}", "wb") as file:
        file.write(bytes(1_000_000))
""",
    "network to loopback": """
import socket
with socket.create_connection(("127.0.0.1", {port}), timeout=2) as talk:
    talk.sendall(b"secret")
""",
    "reading the home": """
found = open({secret!r}).read()
""",
    "killing the parent": """
import os, signal
for pid in {{os.getppid(), 1, {pid}}}:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
try:
    os.kill(-1, signal.SIGKILL)
except OSError:
    pass
""",
    "escaping by /proc": """
import os
for pid in (1, os.getppid(), {pid}):
    for way in ("root", "cwd"):
        print(os.listdir(f"/proc/{{pid}}/{{way}}/"))
    open(f"/proc/{{pid}}/root{outside}", "w").write("changed")
""",
    "signals": """
import signal, os
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
""",
    "symlinks": """
import os
os.symlink("{outside}", "/work/link")
with open("/work/link", "w") as file:
    file.write("changed")
""",
    "infinite output": """
while True:
    print("x" * 4096)
""",
    "unicode tricks": """
import sys
sys.stdout.buffer.write(b"\\xff\\xfe\\x00\\xf0\\x9f" * 100)
print("\\u202e\\u2066\\x1b[2J\\x1b]0;title\\x07", flush=True)
raise ValueError("\\ud800\\x00\\u202e" * 1000)
""",
    "subprocess left behind": """
import subprocess
subprocess.Popen(["/bin/sh", "-c", "sleep 1000; echo late > {outside}"], start_new_session=True)
""",
    "a verdict of its own": """
import os, sys
for descriptor in range(3, 64):
    try:
        os.write(descriptor, b'{{"word": "", "error": ""}}')
    except OSError:
        pass
os._exit(0)
""",
    "a verdict nested without end": """
import os
for descriptor in range(3, 64):
    try:
        os.write(descriptor, b"[" * 4000)
    except OSError:
        pass
os._exit(0)
""",
    "namespaces anew": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000 | 0x00020000):
    raise OSError(ctypes.get_errno(), "unshare")
""",
    "the system": """
import os
for folder in ("/", "/usr", "/usr/bin", "/dev", {prefix!r}):
    try:
        open(os.path.join(folder, "sftui-was-here"), "w")
    except OSError:
        continue
    break
else:
    raise OSError("all of it is read-only")
""",
}


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    try:
        return program_sandbox.open_sandbox()
    except UsageError as error:
        pytest.skip(str(error))


class Listener:
    """Counts who comes to a port of the loopback, and to an abstract socket."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(0.1)
        self.port = int(self.server.getsockname()[1])
        self.visits = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                self.server.accept()[0].close()
            except TimeoutError:
                continue
            self.visits += 1

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.server.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


def test_a_right_answer_is_right(sandbox):
    assert sandbox.run(RIGHT + TESTS).passed


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_answer_is_a_wrong_answer_that_stays_inside(kind, sandbox, listener, tmp_path):
    secret = Path.home() / f".sftui-test-{os.getpid()}"
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    secret.write_text("secret")
    attack = HOSTILE[kind].format(
        port=listener.port,
        secret=str(secret),
        pid=os.getpid(),
        outside=outside,
        prefix=os.path.realpath(sys.base_prefix),
    )
    try:
        verdict, printed = sandbox.run_aloud(attack + WRONG + TESTS)
        assert not verdict.passed
        assert "secret" not in verdict.reason + printed
        assert len(printed) < 4 * watched_process.OUTPUT_BYTES
        assert outside.read_text() == "as it was"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]
        assert listener.visits == 0
        assert left_behind() == []
        # And the next answer is judged as if nothing had been.
        assert sandbox.run(RIGHT + TESTS).passed
    finally:
        secret.unlink()


def test_without_the_filter_a_process_left_behind_ends_with_its_answer(sandbox, tmp_path):
    outside = tmp_path / "late"
    program = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
        open({str(outside)!r}, "w").write("late")
    os._exit(0)
"""
    unfiltered = Sandbox(bwrap=sandbox.bwrap, filtered=False)
    assert not unfiltered.run(program + WRONG + TESTS).passed
    assert left_behind() == []


def test_a_request_to_stop_is_heard_while_a_program_runs(sandbox):
    started = time.monotonic()
    with pytest.raises(Interrupted):
        sandbox.run("while True: pass", interrupted=lambda: time.monotonic() > started + 0.3)
    assert time.monotonic() < started + 2
    assert left_behind() == []


def test_a_sandbox_dies_with_the_process_that_started_it(sandbox):
    del sandbox
    source = (
        "from engine.sandbox.program_sandbox import open_sandbox\n"
        "open_sandbox().run('import time\\ntime.sleep(600)')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", source], cwd=Path(__file__).parents[3])
    mark = f"{bubblewrap.STARTED_BY}={child.pid}\0".encode()

    def alive() -> bool:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes() + b"\0":
                    return True
            except OSError:
                continue
        return False

    _until(alive)
    child.kill()
    child.wait()
    _until(lambda: not alive())


def _until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
