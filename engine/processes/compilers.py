"""What `--compile` needs of a machine, found out without torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping

CPP_COMPILERS = ("g++", "clang++")
C_COMPILERS = ("gcc", "clang", "cc")


def obstacle(
    device_type: str,
    environment: Mapping[str, str] = os.environ,
    which: Callable[[str], str | None] = shutil.which,
) -> str:
    """Why `torch.compile` cannot work on such a device here, and what to install; "" when it can.

    A compiler that is there and fails is told by the rank, with what it printed.
    """
    if device_type == "mps":
        return (
            "torch.compile is a prototype on Apple GPUs, and nothing here was tried with it: "
            "--device-type mps runs without"
        )
    if device_type == "cuda":
        if importlib.util.find_spec("triton") is None:
            return (
                "torch.compile writes its GPU kernels in Triton, which is not installed beside "
                "torch (pip install triton)"
            )
        # Triton's launchers are C.
        return _missing("a C compiler", environment.get("CC"), C_COMPILERS, which)
    return _missing("a C++ compiler", environment.get("CXX"), CPP_COMPILERS, which)


def _missing(
    what: str, typed: str | None, names: tuple[str, ...], which: Callable[[str], str | None]
) -> str:
    wanted = (typed,) if typed else names
    if any(which(name) for name in wanted):
        return ""
    return f"torch.compile needs {what}, and there is no {' or '.join(wanted)} on this machine"
