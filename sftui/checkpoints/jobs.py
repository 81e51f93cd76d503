"""A command of ours as a child process, for work that needs torch and is started by a key."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from sftui.text.clean import clean

MOST_OUTPUT_BYTES = 64 * 1024
"""Of what a job printed, kept to be shown."""


class Job:
    """One command of ours in a process of its own, with its output in a file.

    Nothing of it may reach the terminal that the screen draws on.
    """

    def __init__(
        self,
        words: str,
        arguments: Sequence[str],
        cwd: Path,
        *,
        stdin: bytes = b"",
        most_output: int = MOST_OUTPUT_BYTES,
    ) -> None:
        """`words` say what it does; `stdin` is all that it can read; of its output the last
        `most_output` bytes are kept.

        Raises:
            OSError: it cannot be started.
        """
        self.words = words
        self._most_output = most_output
        # Closed by `close`; the process has its own copy of the descriptor.
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  lives with the job
        with tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sftui", *arguments],
                stdin=given,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=cwd,
            )

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """What it has printed so far, uncleaned; the last part of much."""
        if self._output.closed:
            return ""
        size = self._output.seek(0, 2)
        self._output.seek(max(0, size - self._most_output))
        return self._output.read().decode("utf-8", "replace")

    def lines(self) -> list[str]:
        """The same, cleaned, without blank lines."""
        parts = self.output().split("\n")
        return [line for part in parts if (line := clean(part, 400).strip())]

    def close(self) -> None:
        """Terminate the process if it still runs."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._process.kill()
            self._process.wait()
        self._output.close()
