"""Numbers of bytes: the units that memory is told in, and a size in words."""

from __future__ import annotations

MIB = 2**20
GIB = 2**30


def in_words(num_bytes: float) -> str:
    """`0.25 GiB` from a tenth of a GiB on, `12.3 MiB` below."""
    return f"{num_bytes / GIB:.2f} GiB" if num_bytes >= GIB / 10 else f"{num_bytes / MIB:.1f} MiB"
