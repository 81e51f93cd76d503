"""Time to the first frame of `sftui`'s screen against that of an empty Textual app.

Both start as fresh processes in a pseudo-terminal, in turns, and are timed from the
start of the process to the first full frame, so the ratio holds on a busy machine.

    python tests/benchmarks/first_frame.py [rounds]

Against another version of sftui, e.g. an older checkout with an environment of its own: the three
start in turns, and the CPU time of a start is compared too, which says more on a busy machine.

    python tests/benchmarks/first_frame.py [rounds] --against PATH

With `--instructions` too, the processor's instructions of one start of each are counted by
valgrind's callgrind instead, once: the same within a thousandth whatever else the machine does.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import shutil
import statistics
import struct
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.other_version import program

HERE = Path(__file__).resolve().parents[2]

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
    return start(code)[0]


def start(code: str, tree: Path | None = None, under: tuple[str, ...] = ()) -> tuple[float, float]:
    """Seconds to the first frame of a process that runs `code`, and CPU seconds of its whole life.

    With `tree`, the process is that checkout's: its interpreter, its folder. `under`: a command
    that the process is run by.
    """
    python = str(tree / ".venv" / "bin" / "python") if tree else sys.executable
    words = [*under, python, "-c", code]
    read, write = os.pipe()
    os.set_inheritable(write, True)
    begin = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"DRAWN_FD": str(write), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        if tree:
            os.chdir(tree)
        os.execvp(words[0], words)
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
        usage = os.wait4(pid, 0)[2]
    if word == b"!":
        raise AssertionError("the screen imports something heavy before its first frame")
    if not word:
        raise AssertionError("the process ended before its first frame")
    return took, usage.ru_utime + usage.ru_stime


def against(tree: Path, rounds: int) -> None:
    """Print how the first frame and the CPU time of a start compare with another checkout's."""
    apps = {
        "ours": (OURS, HERE),
        "other": (program(tree, "first_frame.py"), tree),
        "empty": (EMPTY, HERE),
    }
    for code, place in apps.values():
        start(code, place)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in apps}
    for turn in range(rounds):
        order = list(apps) if turn % 2 else list(reversed(apps))
        for name in order:
            taken[name].append(start(*apps[name]))
    for number, what in enumerate(("first frame", "CPU of a start")):
        ours, other, empty = ([1000 * pair[number] for pair in taken[name]] for name in apps)
        ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))
        print(
            f"{what}: {min(ours):.1f} against {min(other):.1f} ms at best "
            f"({min(ours) / min(other):.3f}), {statistics.median(ours):.1f} against "
            f"{statistics.median(other):.1f} in the middle; median of the ratios {ratio:.3f}; "
            f"an empty app {min(empty):.1f} and {statistics.median(empty):.1f} ms"
        )


def instructions(code: str, tree: Path) -> int:
    """Instructions of a start and its end in user space; of one seed of hashes."""
    os.environ["PYTHONHASHSEED"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "said")
        start(code, tree, ("valgrind", "--tool=callgrind", f"--log-file={said}",
                           f"--callgrind-out-file={folder}/profile"))  # fmt: skip
        words = said.read_text().split("Collected :")
    return int(words[-1].split()[0])


def count_against(tree: Path) -> None:
    """Print how many instructions the start takes beside another checkout's."""
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not here: install it, or leave out --instructions")
    theirs = program(tree, "first_frame.py")
    start(OURS, HERE), start(theirs, tree)  # as in `main`
    ours, other, empty = (
        instructions(code, place) / 1e6
        for code, place in ((OURS, HERE), (theirs, tree), (EMPTY, HERE))
    )
    print(
        f"a start: {ours:,.1f} against {other:,.1f} million instructions ({ours / other:.3f}), "
        f"an empty app {empty:,.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=9)
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout")
    parser.add_argument("--instructions", action="store_true", help="with --against: count them")
    flags = parser.parse_args()
    if flags.against and flags.instructions:
        count_against(flags.against.resolve())
        return
    if flags.against:
        against(flags.against.resolve(), flags.rounds)
        return
    first_frame(EMPTY), first_frame(OURS)  # warm the page cache and the byte code
    empty, ours = [], []
    for _ in range(flags.rounds):
        empty.append(first_frame(EMPTY))
        ours.append(first_frame(OURS))
    ratio = statistics.median(o / e for o, e in zip(ours, empty, strict=True))
    print(f"empty app {min(empty):.3f} s, sftui {min(ours):.3f} s (best of {flags.rounds})")
    print(f"first frame: {ratio:.2f} x an empty Textual app (target <= {TARGET})")


if __name__ == "__main__":
    main()
