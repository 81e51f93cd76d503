"""As process 1 of a container, orphans are reaped, and nobody's own child is taken away."""

import shutil
import subprocess
import sys

import pytest

from engine.processes import reaper
from tests.processes import ROOT, environment

FIRST = """
import os, subprocess, sys, time
import psutil
from engine.processes import reaper
assert os.getpid() == 1
assert reaper.start_if_first(0.05) is not None
# A child that leaves a child of its own behind, which then dies as ours.
orphans = "import os; pid = os.fork(); os._exit(0) if pid else None; print(os.getpid())"
for _ in range(5):
    subprocess.run([sys.executable, "-c", orphans], check=True, stdout=subprocess.DEVNULL)
# A child of our own keeps its exit code, however late we ask.
own = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
assert own.wait() == 7
deadline = time.monotonic() + 10
while [c for c in psutil.Process().children() if c.status() == psutil.STATUS_ZOMBIE]:
    assert time.monotonic() < deadline, "zombies stay"
    time.sleep(0.01)
print("none left")
"""


def test_process_1_reaps_orphans():
    """In a process namespace of its own: five orphans die, none stays in the table."""
    unshare = shutil.which("unshare")
    allowed = unshare and subprocess.run(
        [unshare, "--pid", "--fork", "--mount-proc", "true"], capture_output=True
    )
    if not allowed or allowed.returncode != 0:
        pytest.skip("process namespaces are not allowed here")
    done = subprocess.run(
        [unshare, "--pid", "--fork", "--mount-proc", sys.executable, "-c", FIRST],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "none left\n", done.stderr


def test_elsewhere_nothing_is_reaped():
    """Any other process leaves its children alone."""
    assert reaper.start_if_first() is None
