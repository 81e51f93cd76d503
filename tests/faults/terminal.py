"""A person at a terminal: a program in a pseudo-terminal, its keys, its bytes, its end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time

from tests.processes import Children, wait_for

_SEQUENCES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


class Terminal:
    """`python ARGUMENTS` with a terminal of its own, controlled by `started`."""

    def __init__(
        self,
        started: Children,
        *arguments: str,
        env: dict[str, str],
        columns: int = 120,
        lines: int = 36,
    ) -> None:
        self.master, slave = pty.openpty()
        self.output = b""
        self.deaf = False
        """True: nothing is read any more, as by a terminal that hangs."""
        self.resize(columns, lines)

        def own_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = started.start(
            *arguments,
            env=env
            | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONFAULTHANDLER": "1"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=own_terminal,
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self.deaf and (piece := os.read(self.master, 65536)):
                self.output += piece

    def words(self, since: int = 0) -> str:
        """What was painted, escape sequences taken out."""
        return _SEQUENCES.sub(b"", self.output[since:]).decode("utf-8", "replace")

    def wait_for(self, text: str, since: int = 0, seconds: float = 60.0) -> None:
        """Until `text` has been painted (after that many bytes)."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: text in self.words(since) or self.process.poll() is not None, seconds)
        assert text in self.words(since), f"no {text!r} in: {self.words(since)[-6000:]}"

    def press(self, keys: str) -> int:
        """Send keys; where the output stood."""
        here = len(self.output)
        os.write(self.master, keys.encode())
        return here

    def repaint(self) -> int:
        """Have everything painted anew (only changed cells are, else); where that begins."""
        here = len(self.output)
        self.resize(self.columns + 1 if self.columns % 2 == 0 else self.columns - 1, self.lines)
        return here

    def see(self, text: str, seconds: float = 60.0) -> None:
        """Until `text` stands on the screen, in whatever pieces it came there."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.wait_for(text, self.repaint(), 2.0)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def resize(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def cooked(self) -> bool:
        """Whether the terminal shows what is typed and waits for whole lines, as a shell's does."""
        wanted = termios.ECHO | termios.ICANON | termios.ISIG
        flags: int = termios.tcgetattr(self.master)[3]
        return flags & wanted == wanted

    def hang_up(self) -> None:
        """As a dropped connection: the terminal is gone."""
        os.close(self.master)
        self.master = -1

    def wait(self, seconds: float = 30.0) -> int:
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            # Where it hangs, for whoever reads this: every thread's stack, if it still can.
            self.process.send_signal(signal.SIGABRT)
            self._thread.join(5)
            raise AssertionError(f"it did not end: {self.words()[-6000:]}") from None
        self._thread.join(5)
        return code

    def close(self) -> None:
        if self.master >= 0:
            os.close(self.master)
