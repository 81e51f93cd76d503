"""Tell a Git LFS pointer from the file it stands for.

A clone without `git lfs pull` holds, in the place of every large file, a text of about
130 bytes. Readers of data, tokenizers and checkpoints all meet it, and each would blame the
format it expected.
"""

from __future__ import annotations

import re
from pathlib import Path

MOST_BYTES = 1024
"""A pointer is shorter than this by git-lfs's own specification."""

_FIRST_LINE = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)
_SIZE = re.compile(rb"^size (\d+)\s*$", re.MULTILINE)


def pointer_fault(path: Path, head: bytes | None = None) -> str:
    """What to say of a file that is a pointer; an empty text when it is none or cannot be read.

    `head` is the beginning of the file where it was read already.
    """
    if head is None:
        try:
            with path.open("rb") as file:
                head = file.read(MOST_BYTES)
        except OSError:
            return ""
    if not head.startswith(_FIRST_LINE):
        return ""
    size = _SIZE.search(head[:MOST_BYTES])
    of = f" of a file of {int(size[1]):,} bytes" if size else ""
    return (
        f"{path}: a Git LFS pointer{of}, not the file itself. Fetch it with `git lfs pull` in "
        f"{path.parent}"
    )
