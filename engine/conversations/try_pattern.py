"""Encode and decode a text with a tokenizer from outside: `python -m ...`, a job on stdin.

A process of its own, because a pattern may bring down or hold up the one that uses it. Prints
`same`, or what came back instead.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError
from engine.files import checked

MOST_BYTES = 2**30
"""Beyond what this program takes before it has seen the pattern; the time is its parent's limit."""


def limit_memory() -> None:
    """Let this process take MOST_BYTES more of memory than it has; nothing where Linux's own file
    about it is missing."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> int:
    job = checked.parse_json(sys.stdin.read())
    limit_memory()
    try:
        tokenizer = Tokenizer.from_json(job["tokenizer"].encode())
    except CheckpointError as error:
        print(error)  # noqa: T201  the answer
        return 1
    ids = tokenizer.encode_ordinary(job["text"])
    back = tokenizer.decode(ids)
    print("same" if back == job["text"] else f"a sentence came back as {back!r}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
