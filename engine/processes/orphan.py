"""Make the kernel end a process whose parent died, so that no orphan trains on.

Importing torch takes seconds in which a rank checks nothing. If its supervisor dies
meanwhile, the rank must not come up, train and write as if it still belonged to the
run, which may have been resumed by then. What evaluates, exports or answers for a command
would go on for hours.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

from engine.run.lock import SUPERVISOR_PID_VARIABLE

_SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of linux/prctl.h."""


def end_with_parent() -> bool:
    """Have the kernel send SIGTERM when the parent dies; False when it is dead already.

    Linux; elsewhere the ranks look at each boundary (`Steering`). The signal follows the
    *thread* that started this process, which is the agent's main thread.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None, use_errno=True)
            libc.prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM))
    # It may have died before the call. torchrun does not pass its id on, so there we cannot know.
    expected = os.environ.get(SUPERVISOR_PID_VARIABLE)
    return expected is None or os.getppid() == int(expected)
