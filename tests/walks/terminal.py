"""A terminal of tmux's, on a server of its own: keys in, the screen out as text or as a picture."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console

from tests.make_screenshots import to_png

Size = tuple[int, int]
"""Columns and rows."""


class WalkError(Exception):
    """The screen did not come to show what was waited for; it is in the message."""


class Terminal:
    """One window of one tmux server."""

    def __init__(self, socket: str, size: Size) -> None:
        self.socket, self.size = socket, size

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self.socket, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, text: str) -> None:
        """Characters as they stand, and nothing after them."""
        self.tmux("send-keys", "-t", "walk", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: `Enter`, `Escape`, `C-c`, `x`."""
        self.tmux("send-keys", "-t", "walk", *keys)

    def command(self, *words: str) -> None:
        """A line for the shell."""
        self.type(" ".join(words))
        self.press("Enter")

    def screen(self) -> str:
        """The characters that are seen, a line a row."""
        return self.tmux("capture-pane", "-t", "walk", "-p")

    def wait(self, *wanted: str, seconds: float = 120.0) -> str:
        """The screen, as soon as one of `wanted` stands in it.

        Raises:
            WalkError: it does not within `seconds`.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            screen = self.screen()
            if any(each in screen for each in wanted):
                return screen
            time.sleep(0.1)
        raise WalkError(
            f"waited {seconds:g} s for {' or '.join(wanted)!r}; the screen is\n{screen}"
        )

    def picture(self, path: Path, chromium: str = "") -> None:
        """The screen as `path` (SVG), and as PNG beside it where there is a Chromium."""
        width, _ = self.size
        console = Console(
            record=True,
            width=width,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
        )
        # One decoder for all: tmux repeats no colour that goes on in the next row.
        for text in AnsiDecoder().decode(self.tmux("capture-pane", "-t", "walk", "-p", "-e", "-N")):
            console.print(text, soft_wrap=True)
        path.write_text(console.export_svg(title=path.stem))
        if chromium:
            to_png(path, chromium)


@contextlib.contextmanager
def opened(size: Size, *, folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """A shell in `folder`; its server, and so all it runs in the foreground, ends with the block.

    Raises:
        WalkError: tmux is not installed.
    """
    if shutil.which("tmux") is None:
        raise WalkError("tmux is not installed; type apt-get install tmux")
    terminal = Terminal(f"sftui-walk-{os.getpid()}", size)
    names = {"TERM": "tmux-256color", "COLORTERM": "truecolor", "PS1": "$ ", **environment}
    told = [f"{name}={value}" for name, value in names.items()]
    columns, rows = (str(n) for n in size)
    terminal.tmux(
        *("-f", "/dev/null", "new-session", "-d", "-s", "walk", "-x", columns, "-y", rows),
        *("-c", str(folder), "env", *told, "bash", "--norc", "--noprofile"),
    )
    try:
        terminal.wait("$ ", seconds=10)
        yield terminal
    finally:
        terminal.tmux("kill-server")
