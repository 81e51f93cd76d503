"""The keeper's process: `python -P -m sftui.commands.keep RUN_DIR`, started by `sftui run -- CMD`.

It stands here because it reads what a script prints by all formats the screen knows.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from engine.events import Event
from engine.processes import keeper
from engine.run.run_dir import RunDir
from sftui.readers import Reader

_MOST_HEAD_BYTES = 4 * 1024 * 1024
_LOOK_BYTES = 256
"""Fewer new bytes are not looked at again for a format."""


class FormatFollower:
    """Chooses the reader by what the output looks like, and reads on with it."""

    def __init__(self) -> None:
        self._head = b""
        self._looked = 0
        self._reader: Reader | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Events that these bytes complete; none until a format is recognised."""
        if self._reader is not None:
            return self._reader.feed(data)
        self._head = (self._head + data)[-_MOST_HEAD_BYTES:]
        if len(self._head) - self._looked < _LOOK_BYTES and self._looked < _MOST_HEAD_BYTES:
            return []
        return self._look()

    def close(self) -> list[Event]:
        """Events of what is left."""
        found = self._look() if self._reader is None and self._head else []
        return found + (self._reader.close() if self._reader is not None else [])

    def _look(self) -> list[Event]:
        from sftui.sources.open_log import recognise  # noqa: PLC0415  numpy and the readers

        self._looked = len(self._head)
        found = recognise(self._head)
        if found is None:
            return []
        self._reader = found[0]()
        head, self._head = self._head, b""
        return self._reader.feed(head)


def main(arguments: Sequence[str]) -> int:
    """Keep one run; its exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -P -m sftui.commands.keep RUN_DIR\n")
        return 2
    return keeper.main(RunDir(Path(arguments[0]).absolute()), FormatFollower)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
