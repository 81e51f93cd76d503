"""Open a results file of numpy's: its size is asked before it is unpacked.

A file of megabytes can say that it unpacks to gigabytes, and numpy believes the length that an
array's header names.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engine.files import checked

MOST_UNPACKED_BYTES = 256 * 1024 * 1024
"""A thousand questions unpack to 100 kB; a validation of a million rows to 16 MB."""

MOST_MEMBERS = 64

_MOST_DIRECTORY_BYTES = 1024 * MOST_MEMBERS
"""An entry of an archive's list takes 46 bytes, its name and some numbers."""

_END, _END_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_MOST_COMMENT = 2**16

DAMAGED = (
    KeyError,
    ValueError,
    EOFError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    IndexError,
    RuntimeError,
    TypeError,
    SyntaxError,
    struct.error,
    zlib.error,
)
"""What a damaged or hostile archive raises, whichever part of it is wrong. RuntimeError: a member
that is said to be encrypted; SyntaxError: the header of an array."""


@contextlib.contextmanager
def opened(path: Path, most: int = MOST_UNPACKED_BYTES) -> Iterator[Any]:
    """The arrays of an npz file by name, none of them a pickle.

    Args:
        most: bytes that all of them may unpack to.

    Raises:
        OSError: it is missing, or no regular file.
        ValueError: it would unpack to more than `most`; one of `DAMAGED`, there or
            while an array is read.
    """
    import zipfile  # noqa: PLC0415  of a file that is opened: a screen that opens none spares it

    # Opened here: numpy leaves the file open when it turns out to be no zip.
    with checked.open_file(path) as file:
        if (claimed := _directory_bytes(file)) > _MOST_DIRECTORY_BYTES:
            raise ValueError(f"it holds too many arrays: the list of them takes {claimed:,} bytes")
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise ValueError(f"it holds {len(members):,} arrays")
            total = sum(member.file_size for member in members)
            if total > most:
                raise ValueError(
                    f"its entries are too large: they unpack to {total:,} bytes, and results take "
                    f"at most {most:,}"
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as found:
                yield found
        except zipfile.BadZipFile as error:  # there, or while an array is read
            raise ValueError(str(error)) from None


def _directory_bytes(file: BinaryIO) -> int:
    """Length that an archive's end says its list of entries has; 0 where there is no such end.

    `zipfile` makes an object of every entry when it opens the file: sixty thousand empty ones took
    half a second each time that somebody asked for a result. See PKWARE's APPNOTE, 4.3.
    """
    size = file.seek(0, os.SEEK_END)
    begin = max(0, size - _END.size - _MOST_COMMENT - _LOCATOR_64.size - _END_64.size)
    file.seek(begin)
    tail = file.read()
    claimed = [0]
    # It looks at the very end first, then for the last record before a comment.
    for place in {len(tail) - _END.size, tail.rfind(b"PK\5\6")}:
        if place < 0 or len(tail) - place < _END.size or tail[place : place + 4] != b"PK\5\6":
            continue
        claimed.append(_END.unpack_from(tail, place)[5])
        locator = place - _LOCATOR_64.size
        record = locator - _END_64.size
        if record >= 0 and tail[locator : locator + 4] == b"PK\6\7":
            claimed.append(_END_64.unpack_from(tail, record)[8])
    file.seek(0)
    return max(claimed)
