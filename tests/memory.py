"""The most memory a process held, its own alone.

`ru_maxrss` of a process begins at what its parent held when it was started: under a test
runner of 1.6 GB every child seems to take that much.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

OF_COMMAND = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[2:])
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
open(sys.argv[1], "w").write(str(most))
sys.exit(done.returncode)
"""
"""A small process that runs a command and writes down the most its processes held, in bytes."""


def peak_bytes() -> int:
    """Of this process since its program began."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def watched(words: list[str], report: Path) -> list[str]:
    """The command line that runs `words` and writes the most memory they took into `report`."""
    return [sys.executable, "-c", OF_COMMAND, str(report), *words]
