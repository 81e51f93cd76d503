"""The C library's heap, told to give large arrays back to the system when they are freed.

The columns of a log grow in steps, each a new array and the old one freed. glibc keeps what is
freed for arrays of the next size and raises that limit as it goes, and it has a heap for each
thread: of a hundred thousand rows that took ten of a hundred and thirty MiB. Other C libraries
have no such call and are left alone.
"""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""Numbers of `mallopt`'s parameters, from glibc's malloc.h."""
LARGE_BYTES = 128 * 1024
"""glibc's own limit, before it raises it."""


def return_large_arrays() -> bool:
    """Give arrays of `LARGE_BYTES` and more back when they are freed, and keep to one heap.

    To be called before the thread that makes them starts. Returns whether the C library does so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return bool(mallopt(_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_ARENA_MAX, 1))
