"""Every file that replaces another is written here: whole or not at all, and never through a link.

A rename puts a file in the place of whatever stands there: as root, `-o /dev/null` would take the
device from every program of the machine. And a run directory may come from another person: a link
in it, in the place of a file or of the file beside it that becomes it, would lead a write to a
file of one's own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from engine.files.checked import kind_of

_OF_THE_SYSTEM = tuple(map(Path, ("/dev", "/proc", "/sys")))
_MEMORY = Path("/dev/shm")
"""A folder like any other."""

_PRIVATE = 0o600
_SHARED = 0o666
"""Before the umask, as `open` makes a file."""


def refuse_place(path: Path) -> None:
    """Refuse to put a file where none belongs: over a device, a pipe, a socket or a folder, or
    over a name of the system's own (`/dev/stdout` is a link).

    Any other link may be replaced; what it leads to is left alone.

    Raises:
        OSError: saying what stands there.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not stat.S_ISLNK(mode) and (kind := kind_of(mode)):
            raise OSError(errno.EINVAL, f"it is {kind}; expected a file", str(path))
    folder = path.parent.resolve()
    if any(folder.is_relative_to(place) for place in _OF_THE_SYSTEM) and not (
        folder.is_relative_to(_MEMORY)
    ):
        raise OSError(errno.EINVAL, f"{folder} is the system's own; expected a folder", str(path))


def refuse_linked(folder: Path) -> None:
    """Refuse a folder of a run that is a link: what is written there would lie somewhere else.

    Raises:
        OSError: it is one.
    """
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "it is a link; expected a folder", str(folder))


def put_aside(path: Path) -> Path:
    """Give what stands at `path` another name beside it, which nothing has; returns that name.

    Raises:
        OSError: the folder may not be written.
    """
    names = (path.with_name(f"{path.name}.aside{n}") for n in ("", *range(2, 1000)))
    aside = next((name for name in names if not os.path.lexists(name)), None)
    if aside is None:
        raise OSError(errno.EEXIST, "999 of that name were put aside already", str(path))
    return path.rename(aside)


def reason(error: OSError) -> str:
    """Why a file could not be written, and which one, for the end of a sentence."""
    words = error.strerror or str(error)
    return f"{words} ({error.filename})" if error.filename else words


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = False, private: bool = False) -> Iterator[Path]:
    """Write a file to the path that is given; at the end of the block it takes the place of `path`.

    Until then `path` is as it was; if the block raises it stays so, and nothing is left beside it.

    Args:
        sync: flush it to the disk first, so that a power cut leaves the old file or the new one.
        private: only its owner may read it.

    Yields:
        An empty file of this thread, beside `path` and hidden.

    Raises:
        OSError: as `refuse_place`, or the folder cannot be written.
    """
    refuse_place(path)
    aside = path.with_name(f".{path.name}.{threading.get_native_id()}.part")
    # Of a thread that had this number, or a link that somebody put there.
    aside.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(aside, flags, _PRIVATE if private else _SHARED))
    try:
        yield aside
        if sync:
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
