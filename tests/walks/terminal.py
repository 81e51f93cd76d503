"""A person at a terminal: a shell in tmux, its keys, its mouse, and what its screen says."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console

from engine.run import run_dir
from sftui.drawing.canvas import text_width
from tests.make_screenshots import to_png
from tests.pictures import pin_characters

PROMPT = "▷ "
"""Of the shell: a line that begins with it and nothing after it waits for a command."""
_LEFT, _RIGHT = 0, 2
_WHEEL = {"up": 64, "down": 65}
_DRAG = 32


class WalkError(AssertionError):
    """The screen does not say what it should; with the screen."""


class Terminal:
    """A shell in a tmux of its own. `name` is the walk's, `pictures` where its screens go."""

    def __init__(
        self, place: Path, name: str, size: tuple[int, int], pictures: Path, chromium: str
    ) -> None:
        self.name, self.size, self.pictures, self.chromium = name, size, pictures, chromium
        self.place = place
        self._tmux = ["tmux", "-f", os.devnull, "-S", str(place / f"{name}.socket")]
        self._shots = 0
        self.said: list[str] = []
        """A line for every step, for the record."""

    def __enter__(self) -> Terminal:
        self._open()
        return self

    def hang_up(self) -> None:
        """The terminal goes with all that is in it, as a dropped connection; a fresh one comes."""
        self.said.append("the terminal is killed")
        self.call("kill-server")
        time.sleep(1.0)
        self._open()

    def _open(self) -> None:
        width, height = self.size
        outer = {k: v for k, v in os.environ.items() if k not in ("TMUX", "TMUX_PANE")}
        bin_dir = str(Path(sys.executable).parent)
        environment = outer | {
            "PATH": f"{bin_dir}:{outer.get('PATH', '')}",
            "COLORTERM": "truecolor",
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "PS1": PROMPT,
            "SFTUI_CONFIG": str(self.place / f"{self.name}.json"),
        }
        shell = ["bash", "--norc", "--noprofile"]
        size = ["-x", str(width), "-y", str(height)]
        subprocess.run(
            [*self._tmux, "new-session", "-d", *size, "-c", str(self.place), *shell],
            env=environment,
            check=True,
            timeout=30,
        )
        self.call("set", "-g", "default-terminal", "tmux-256color")
        self.call("set", "-s", "set-clipboard", "on")
        self.call("set", "-s", "escape-time", "0")
        self.wait_for_prompt()

    def __exit__(self, *error: object) -> None:
        self.call("kill-server")
        # A run goes on without its terminal: twice, and it ends without a checkpoint.
        for _ in range(2):
            for run in run_dir.list_runs(self.place / "runs"):
                words = [sys.executable, "-m", "sftui", "ctl", run.id, "stop"]
                subprocess.run(words, cwd=self.place, capture_output=True, timeout=60)

    def call(self, *words: str) -> str:
        """A command of tmux; what it printed."""
        found = subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=30)
        return found.stdout

    # ---- the eyes --------------------------------------------------------------------------

    def screen(self) -> str:
        """The characters on the screen, a line a row."""
        return self.call("capture-pane", "-p")

    def see(self, *texts: str, seconds: float = 60.0) -> str:
        """Wait until all of these (regular expressions) stand on the screen; the screen."""
        deadline = time.monotonic() + seconds
        while True:
            screen = self.screen()
            missing = [text for text in texts if not re.search(text, screen)]
            if not missing:
                self.said.append(f"saw {', '.join(texts)}")
                return screen
            if "Traceback" in screen:
                raise WalkError(f"{self.name}: a traceback:\n{screen}")
            if time.monotonic() > deadline:
                raise WalkError(f"{self.name}: no {missing} within {seconds:.0f} s on\n{screen}")
            time.sleep(0.15)

    def gone(self, text: str, seconds: float = 20.0) -> None:
        """Wait until this does not stand on the screen any more."""
        deadline = time.monotonic() + seconds
        while re.search(text, screen := self.screen()):
            if time.monotonic() > deadline:
                raise WalkError(f"{self.name}: {text!r} is still there:\n{screen}")
            time.sleep(0.15)

    def whole(self, seconds: float = 15.0) -> None:
        """Every panel on the screen has an unbroken border, once no notice lies on it."""
        deadline = time.monotonic() + seconds
        while broken := broken_borders(screen := self.screen()):
            if time.monotonic() > deadline:
                raise WalkError(f"{self.name}: {broken[0]}\n{screen}")
            time.sleep(0.3)

    def clipboard(self) -> str:
        """What was copied last through the terminal."""
        return self.call("show-buffer")

    def copied(self, text: str, seconds: float = 20.0) -> None:
        """Wait until this was copied: a notice may be that of the copy before."""
        deadline = time.monotonic() + seconds
        while text not in (found := self.clipboard()):
            if time.monotonic() > deadline:
                raise WalkError(f"{self.name}: no {text!r} was copied but {found!r}")
            time.sleep(0.15)
        self.said.append(f"copied {text}")

    def picture(self, title: str) -> None:
        """Keep the screen as SVG, and as PNG where there is a Chromium."""
        self._shots += 1
        width, height = self.size
        console = Console(
            file=io.StringIO(),
            record=True,
            width=width,
            height=height,
            color_system="truecolor",
            force_terminal=True,
        )
        # One decoder for all rows: tmux names a style once and goes on with it in the next row.
        # -N: blanks at the end of a row have a background too.
        rows = AnsiDecoder().decode(self.call("capture-pane", "-e", "-N", "-p").rstrip("\n"))
        for row in rows:
            console.print(row, no_wrap=True, overflow="crop", crop=True)
        path = self.pictures / f"{self.name}-{width}x{height}-{self._shots:02}-{title}.svg"
        path.write_text(pin_characters(console.export_svg(title=path.stem)), encoding="utf-8")
        if self.chromium:
            with contextlib.suppress(subprocess.SubprocessError):
                to_png(path, self.chromium)
        self.said.append(f"picture {path.name}")

    # ---- the hands -------------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        """Press keys, one after another, by tmux's names of them."""
        self.said.append(f"pressed {' '.join(keys)}")
        for key in keys:
            self.call("send-keys", *([key] if len(key) > 1 else ["-l", key]))
            time.sleep(0.12)

    def write(self, text: str) -> None:
        """Write text and press enter."""
        self.said.append(f"wrote {text}")
        self.call("send-keys", "-l", text)
        time.sleep(0.25)
        self.call("send-keys", "Enter")

    def verb(self, line: str) -> None:
        """A verb after `:`; the line is on the screen before it is typed."""
        self.press(":")
        self.see("a verb: ")
        self.write(line)

    def shell(self, command: str) -> None:
        """Type a command at the shell."""
        self.wait_for_prompt()
        self.call("send-keys", "C-l")
        self.write(command)

    def wait_for_prompt(self, seconds: float = 240.0) -> str:
        """Until the shell waits for a command; what stands above its prompt."""
        deadline = time.monotonic() + seconds
        while True:
            screen = self.screen().rstrip()
            if screen.endswith(PROMPT.strip()):
                return screen
            if time.monotonic() > deadline:
                raise WalkError(f"{self.name}: no prompt within {seconds:.0f} s:\n{screen}")
            time.sleep(0.15)

    def place_of(self, text: str, skip: int = 0, seconds: float = 20.0) -> tuple[int, int]:
        """Column and row of the middle of a text on the screen, from 0, once it stands there."""
        deadline = time.monotonic() + seconds
        while (found := self._found(text, skip)) is None:
            if time.monotonic() > deadline:
                raise WalkError(
                    f"{self.name}: nothing to point at reads {text!r}:\n{self.screen()}"
                )
            time.sleep(0.15)
        return found

    def _found(self, text: str, skip: int) -> tuple[int, int] | None:
        for row, line in enumerate(self.screen().split("\n")):
            for found in re.finditer(text, line):
                if skip:
                    skip -= 1
                    continue
                before = text_width(line[: found.start()])
                return before + text_width(found[0]) // 2, row
        return None

    def click(self, text: str, *, times: int = 1, skip: int = 0, dx: int = 0, dy: int = 0) -> None:
        """Click on a text."""
        x, y = self.place_of(text, skip)
        self.said.append(f"clicked {text}" + (" twice" if times == 2 else ""))
        for _ in range(times):
            self._mouse(_LEFT, x + dx, y + dy, "M")
            self._mouse(_LEFT, x + dx, y + dy, "m")
        time.sleep(0.2)

    def wheel(self, way: str, x: int, y: int, notches: int = 3) -> None:
        """Turn the wheel over a cell."""
        self.said.append(f"turned the wheel {way} over {x},{y}")
        for _ in range(notches):
            self._mouse(_WHEEL[way], x, y, "M")
        time.sleep(0.2)

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Draw with the left button from one cell to another."""
        self.said.append(f"dragged {start} to {end}")
        self._mouse(_LEFT, *start, "M")
        for part in (0.3, 0.6, 1.0):
            x = round(start[0] + (end[0] - start[0]) * part)
            y = round(start[1] + (end[1] - start[1]) * part)
            self._mouse(_LEFT + _DRAG, x, y, "M")
            time.sleep(0.05)
        self._mouse(_LEFT, *end, "m")
        time.sleep(0.2)

    def hover(self, x: int, y: int) -> None:
        """Move the pointer over a cell, no button down."""
        self._mouse(_DRAG + 3, x, y, "M")
        time.sleep(0.2)

    def _mouse(self, button: int, x: int, y: int, end: str) -> None:
        report = f"\x1b[<{button};{x + 1};{y + 1}{end}".encode()
        self.call("send-keys", "-H", *[f"{byte:02x}" for byte in report])


def broken_borders(screen: str) -> list[str]:
    """Panels whose border is not closed, a sentence each. Wide characters take two cells."""
    rows = [_cells(line) for line in screen.split("\n")]
    found = []
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell == "╭":
                right = next((i for i in range(x + 1, len(row)) if row[i] in "╮╭"), None)
                if right is None or row[right] != "╮":
                    found.append(f"the panel at column {x}, row {y} has no right upper corner")
                    continue
                found += _open_side(rows, x, right, y)
    return found


def _open_side(rows: list[list[str]], left: int, right: int, top: int) -> list[str]:
    for y in range(top + 1, len(rows)):
        row = rows[y] + [" "] * (right + 1 - len(rows[y]))
        if row[left] == "╰" and row[right] == "╯":
            return []
        if row[left] != "│" or row[right] != "│":
            return [f"the panel at column {left}, row {top} is open in row {y}"]
    return [f"the panel at column {left}, row {top} has no lower border"]


def _cells(line: str) -> list[str]:
    cells: list[str] = []
    for char in line:
        width = text_width(char)
        if width:
            cells += [char] + [""] * (width - 1)
    return cells
