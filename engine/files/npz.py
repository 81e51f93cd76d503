"""Open a results file of numpy's: its size is asked before it is unpacked.

A file of megabytes can say that it unpacks to gigabytes, and numpy believes the length that an
array's header names.
"""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.files import checked

MOST_UNPACKED_BYTES = 256 * 1024 * 1024
"""A thousand questions unpack to 100 kB; a validation of a million rows to 16 MB."""

MOST_MEMBERS = 64

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
    zipfile.BadZipFile,
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
    # Opened here: numpy leaves the file open when it turns out to be no zip.
    with checked.open_file(path) as file:
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
