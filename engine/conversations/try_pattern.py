"""Encode and decode a text with a tokenizer from outside: `python -m ...`, a job on stdin.

A process of its own, because a pattern may bring down or hold up the one that uses it. Prints
`same`, or what came back instead.
"""

from __future__ import annotations

import json
import sys

from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError


def main() -> int:
    job = json.load(sys.stdin)
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
