"""The most memory a process held, its own alone.

`ru_maxrss` of a process begins at what its parent held when it was started: under a test
runner of 1.6 GB every child seems to take that much.
"""

from __future__ import annotations

import resource
from pathlib import Path


def peak_bytes() -> int:
    """Of this process since its program began."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
