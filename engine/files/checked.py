"""What is read from a file is checked here once, where it enters.

A run directory may come from another person, and any file may be damaged. Its files are opened
only where they are regular ones, in place: a link would lead out of the folder, a pipe blocks for
ever, a device has no end. They are read up to a limit, and JSON that Python cannot take
(nested too deeply, a number of a thousand digits) is a `ValueError` like JSON that is none.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

MOST_JSON_BYTES = 4 * 1024 * 1024
"""Limit of the small files of a run; a manifest with every setting takes 10 kB."""

_HOLLOW_BYTES = 64 * 1024 * 1024

LARGEST_WHOLE = 2**63
"""Whole numbers stay below it: they go into columns of 64 bits."""
MOST_DIGITS = 18
"""Of a number that fits 64 bits."""

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


_scan: Callable[[str, int], tuple[Any, int]] = json.scanner.make_scanner(json.JSONDecoder())  # type: ignore[attr-defined]
_JSON_BLANKS = " \t\n\r"


def kind_of(mode: int) -> str:
    """What stands there in place of a file, in words; empty for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def open_descriptor(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open a regular file, never through a link, and without waiting for a pipe's other end.

    Raises:
        OSError: as `os.open`, or something else than a regular file stands there.
    """
    # Looked at first: opening a device can already do something.
    with contextlib.suppress(FileNotFoundError):
        _refuse_other(path, os.lstat(path).st_mode)
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link; expected a file", str(path)) from None
        raise
    try:
        _refuse_other(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _refuse_other(path: Path, mode: int) -> None:
    if kind := kind_of(mode):
        raise OSError(errno.EINVAL, f"it is {kind}; expected a file", str(path))


def open_file(path: Path) -> BinaryIO:
    """`open_descriptor` for reading, as a file object."""
    return os.fdopen(open_descriptor(path), "rb")


def skip_hole(file: BinaryIO, block: bytes) -> int:
    """Go on behind the hole of a sparse file, where `block`, read last, is all zeros.

    A file can say that it has a terabyte and hold a few bytes: reading all of it, block by block,
    would have no end. A text file that a power cut left with zeros in it is such a file as well.

    Returns:
        Bytes that were passed over; 0 where what follows was written.
    """
    if block[:1] != b"\0" or block.count(0) != len(block) or not hasattr(os, "SEEK_DATA"):
        return 0
    descriptor, here = file.fileno(), file.tell()
    # Where the system stands is behind what the file object holds in its buffer.
    stands = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        there = os.lseek(descriptor, here, os.SEEK_DATA)
    except OSError as error:
        # ENXIO: nothing but a hole up to the end. Others: a file system that knows no holes.
        there = os.fstat(descriptor).st_size if error.errno == errno.ENXIO else here
    os.lseek(descriptor, stands, os.SEEK_SET)
    if there <= here:
        return 0
    file.seek(there)
    return there - here


def written_size(path: Path) -> int:
    """Bytes of a file up to a hole that it ends in: what somebody wrote, where no more follows.

    Raises:
        OSError: there is no such file.
    """
    found = path.stat()
    size = found.st_size
    if found.st_blocks * 512 >= size or not stat.S_ISREG(found.st_mode):
        return size
    with path.open("rb") as file, contextlib.suppress(OSError, AttributeError):
        hole = os.lseek(file.fileno(), 0, os.SEEK_HOLE)
        try:
            os.lseek(file.fileno(), hole, os.SEEK_DATA)
        except OSError as error:
            return min(size, hole) if error.errno == errno.ENXIO else size
    return size


def is_hollow(found: os.stat_result) -> bool:
    """Whether a long file is nearly all hole: it says it has a hundred times what it takes.

    A file system that compresses takes a tenth for a text.
    """
    return found.st_size > _HOLLOW_BYTES and found.st_blocks * 512 * 100 < found.st_size


def hollow_fault(path: Path, found: os.stat_result) -> str:
    """What to say of a file of which nearly nothing was written; an empty text of any other.

    A checksum of a terabyte of zeros takes half an hour, and loading it all of the memory.
    """
    if not is_hollow(found):
        return ""
    return (
        f"{path}: says that it has {found.st_size:,} bytes, of which {found.st_blocks * 512:,} are "
        "written; expected a whole file. Copy it again from where it was made"
    )


def read_bytes(path: Path, limit: int = MOST_JSON_BYTES) -> bytes:
    """The whole of a regular file.

    Raises:
        OSError: as `open_descriptor`, or the file is larger than `limit` bytes.
    """
    with open_file(path) as file:
        size = min(limit, os.fstat(file.fileno()).st_size)
        # A byte more shows that it ended; room for `limit` would be asked for at every read.
        data = file.read(size + 1)
        if size < len(data) <= limit:
            data += file.read(limit + 1 - len(data))
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit:,} bytes", str(path))
    return data


def read_typed(path: Path, limit: int = MOST_JSON_BYTES) -> bytes:
    """`read_bytes` of a path that a person typed: links are theirs, a pipe is still no file.

    Raises:
        OSError: as `read_bytes`.
    """
    return read_bytes(path.resolve(), limit)


def parse_json(text: bytes | str) -> Any:
    """`json.loads`, whose every failure is a ValueError."""
    try:
        if type(text) is str and text.startswith("{"):
            # What `json.loads` does with an object, without its three layers: a run has millions.
            try:
                value, end = _scan(text, 0)
            except StopIteration:
                pass  # it ends too early: `loads` has the words
            else:
                if end == len(text) or not text[end:].strip(_JSON_BLANKS):
                    return value
        return json.loads(text)  # noqa: TID251  here its errors are caught
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """`tomllib.loads`, whose every failure is a ValueError."""
    import tomllib  # noqa: PLC0415  the first frame needs it of those alone who have such a file

    try:
        return tomllib.loads(text)  # noqa: TID251  here its errors are caught
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path, limit: int = MOST_JSON_BYTES) -> Any:
    """The value of a small JSON file.

    Raises:
        OSError: as `read_bytes`.
        ValueError: it is not JSON.
    """
    return parse_json(read_bytes(path, limit))


def whole(value: object) -> int:
    """A whole number that fits 64 bits.

    Raises:
        ValueError: it is none.
    """
    if type(value) is int and -LARGEST_WHOLE <= value < LARGEST_WHOLE:
        return value
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    bound = ""
    if type(value) is int:
        bound = " below 2^63" if value > 0 else " of at least -2^63"
    raise ValueError(f"{short(value)}; expected a whole number{bound}")


def digits(text: str) -> int | None:
    """The number that `text` writes in the digits 0 to 9, at most 18; None for any other text.

    `str.isdigit` holds for `²` too, which `int` does not take, nor does it 5,000 digits.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


def number(value: object) -> float:
    """A finite number.

    Raises:
        ValueError: it is none, or larger than a float can be.
    """
    if type(value) is float or type(value) is int:
        with contextlib.suppress(OverflowError):
            found = float(value)
            if math.isfinite(found):
                return found
    bound = " of at most 1.7e308" if type(value) is int else ""
    raise ValueError(f"{short(value)}; expected a number{bound}")


def text(value: object) -> str:
    """A text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str):
        return value
    raise ValueError(f"{short(value)}; expected a text")


def table(value: object) -> dict[str, Any]:
    """A table of a JSON file.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, dict):
        return value
    raise ValueError(f"{short(value)}; expected a table")


def short(value: object) -> str:
    """A wrong value as a message shows it: some characters, whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**30:
        return f"a number of {value.bit_length() * 0.30103:.0f} digits"
    if isinstance(value, str):
        value = value[:60]
    elif isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)}"
    return repr(value)
