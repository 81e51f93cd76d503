"""Time to the first frame of `sftui`'s screen against that of an empty Textual app.

Both start as fresh processes in a pseudo-terminal, in turns, and are timed from the
start of the process to the first full frame, so the ratio holds on a busy machine.

    python tests/benchmarks/first_frame.py [rounds]
"""

from __future__ import annotations

import os
import pty
import select
import statistics
import struct
import sys
import termios
import time
from fcntl import ioctl

EMPTY = """
from textual.app import App
class Empty(App):
    def on_mount(self):
        self.call_after_refresh(self.drawn)
    def drawn(self):
        import os
        os.write(int(os.environ["DRAWN_FD"]), b"x")
        self.exit()
Empty().run()
"""

OURS = """
from sftui.app import SftuiApp
from sftui.cockpit.screen_request import ScreenRequest
class Nothing:
    closed = False
    def poll(self, max_events=0, max_seconds=0.0): return []
    def send(self, request): pass
    def describe(self): return "nothing"
    settled = True
    def alive(self): return True, ""
    def close(self): pass
class Timed(SftuiApp):
    async def first_frame(self):
        import os, sys
        heavy = {"torch", "plotext", "pandas", "pyarrow", "datasets"} & set(sys.modules)
        os.write(int(os.environ["DRAWN_FD"]), b"!" if heavy else b"x")
        self.exit()
Timed(ScreenRequest(Nothing(), "nothing")).run()
"""
TARGET = 1.6


def first_frame(code: str) -> float:
    """Seconds from the start of a process that runs `code` to its first frame."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    begin = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"DRAWN_FD": str(write), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        os.execv(sys.executable, [sys.executable, "-c", code])
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 48, 160, 0, 0))
    os.close(write)
    took, word = 0.0, b""
    try:
        while not word:
            ready, _, _ = select.select([read, terminal], [], [], 60)
            if not ready:
                raise TimeoutError("no frame within a minute")
            if terminal in ready:
                os.read(terminal, 65536)
            if read in ready:
                took, word = time.perf_counter() - begin, os.read(read, 1)
                break
        while True:
            try:
                if not os.read(terminal, 65536):
                    break
            except OSError:  # the terminal is closed: the process has ended
                break
    finally:
        os.close(read)
        os.close(terminal)
        os.waitpid(pid, 0)
    if word == b"!":
        raise AssertionError("the screen imports something heavy before its first frame")
    if not word:
        raise AssertionError("the process ended before its first frame")
    return took


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    first_frame(EMPTY), first_frame(OURS)  # warm the page cache and the byte code
    empty, ours = [], []
    for _ in range(rounds):
        empty.append(first_frame(EMPTY))
        ours.append(first_frame(OURS))
    ratio = statistics.median(o / e for o, e in zip(ours, empty, strict=True))
    print(f"empty app {min(empty):.3f} s, sftui {min(ours):.3f} s (best of {rounds})")
    print(f"first frame: {ratio:.2f} x an empty Textual app (target <= {TARGET})")


if __name__ == "__main__":
    main()
