"""How long the keys of a screen take over a run: a screen in a pseudo-terminal that times itself.

    python tests/benchmarks/key_times.py RUN [seconds before the first key] [presses] [whole]

`whole`: the run is there at the first look, as if it had been read long ago.

A key is timed from the moment its bytes are read to the end of the first paint after its action
has run: its own work, and whatever the screen was at when it came. CPU seconds of the process
beside those of the clock, so that other programs on the machine can be told apart.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.screen import Screen

KEYS = {
    "f": b"f",
    "l": b"l",
    "s": b"s",
    "end": b"\x1b[F",
    "home": b"\x1b[H",
    "+": b"+",
    "-": b"-",
    "c": b"c",
    "down": b"\x1b[B",
    "up": b"\x1b[A",
    "escape": b"\x1b",
    "m": b"m",
    "escape 2": b"\x1b",
    "?": b"?",
    "escape 3": b"\x1b",
}
"""Ranges, axes, the browser of checkpoints, the page of charts and the help."""
PAUSE_SECONDS = 0.25
"""Between the answer to a key and the next key."""
MOST_SECONDS = 5.0
"""A key that is not answered by then had nothing to paint, as `end` at the end: it is not
counted."""
TARGET_SECONDS = 0.1

CHILD = """
import json, os, sys, time
from pathlib import Path
from textual import events
from textual.app import App
from textual.driver import Driver
from engine.run.run_dir import RunDir
from sftui.app import SftuiApp, run_screen
from sftui.cockpit.screen_request import ScreenRequest
from sftui.readers.journal import JournalReader
from sftui.sources.tail import TailSource

begun, ran, found = [], [], []
process, act, display = Driver.process_message, App.run_action, App._display

def noted(self, message):
    if isinstance(message, events.Key):
        begun.append((message.key, time.process_time(), time.monotonic()))
    process(self, message)

async def acted(self, *args, **kwargs):
    result = await act(self, *args, **kwargs)
    if begun:
        ran.append(begun.pop(0))
    return result

def displayed(self, *args, **kwargs):
    display(self, *args, **kwargs)
    while ran:
        key, cpu, clock = ran.pop()
        seconds = time.monotonic() - clock
        # One that had nothing to paint is no time of a key: the next one's paint found it here.
        if seconds < float(sys.argv[5]):
            found.append((key, time.process_time() - cpu, seconds))
            os.write(int(sys.argv[3]), b".")

tick = SftuiApp._tick

def ticked(self):
    SftuiApp._tick = tick
    tick(self)
    os.write(int(sys.argv[3]), b".")

Driver.process_message, App.run_action, App._display = noted, acted, displayed
SftuiApp._tick = ticked
class Whole(TailSource):
    \"\"\"Everything at the first look.\"\"\"

    def __init__(self, run):
        super().__init__(run)
        reader = JournalReader(to_its_end=True)
        self.waiting = reader.feed(run.events.read_bytes()) + reader.close()

    def poll(self, max_events=2000, max_seconds=0.05):
        found, self.waiting = self.waiting, []
        return found

    closed = settled = True

run = RunDir(Path(sys.argv[1]))
source = Whole(run) if sys.argv[4] == "whole" else TailSource(run)
shown = run_screen(ScreenRequest(source, title=run.id, folder=run.path))
found.append(("updates", shown.state.updates, shown.state.end is not None))
Path(sys.argv[2]).write_text(json.dumps(found))
"""


@dataclass(frozen=True)
class Times:
    """What was timed: (key, CPU seconds, seconds), in the order of the presses."""

    keys: Sequence[tuple[str, float, float]]
    updates: int
    """How many of the run's updates were read when the screen was left."""
    whole: bool
    """Whether the run was read to its end by then."""
    unanswered: int
    """Keys after which nothing was painted for `MOST_SECONDS`."""

    def said(self, when: str) -> str:
        """One line for a person."""
        cpu = [cpu for _, cpu, _ in self.keys]
        slowest = max(self.keys, key=lambda each: each[1])
        clock = statistics.median(clock for *_, clock in self.keys)
        late = sum(each > TARGET_SECONDS for each in cpu)
        read = "all" if self.whole else f"{self.updates:,}"
        none = f" and {self.unanswered} without a paint" if self.unanswered else ""
        return (
            f"{len(cpu)} keys{none} {when}: {statistics.median(cpu):.3f} s of CPU ({clock:.3f} s), "
            f"{slowest[1]:.3f} s at most ({slowest[0]}), {late} above {TARGET_SECONDS} s; "
            f"{read} updates read (target {TARGET_SECONDS} s)"
        )


def press(run: Path, wait_seconds: float, rounds: int = 1, *, whole: bool = False) -> Times:
    """Press every key of `KEYS`, `wait_seconds` after the panels came."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "times.json"
        os.environ["SFTUI_CONFIG"] = str(Path(folder) / "config.json")
        answers, answered = os.pipe()
        os.set_inheritable(answered, True)
        words = (str(run), str(out), str(answered), "whole" if whole else "read", str(MOST_SECONDS))
        screen = Screen(CHILD, *words)
        os.close(answered)
        wait_for_answer(screen, answers, 60)  # to the panels' first tick
        screen.read(wait_seconds)
        for key in [*KEYS.values()] * rounds:
            os.write(screen.fd, key)
            wait_for_answer(screen, answers, MOST_SECONDS)
            screen.read(PAUSE_SECONDS)
        screen.close()
        os.close(answers)
        *keys, (_, updates, whole) = json.loads(out.read_text())
    times = [(key, cpu, clock) for key, cpu, clock in keys]
    return Times(times, updates, whole, len(KEYS) * rounds - len(times))


def wait_for_answer(screen: Screen, answers: int, seconds: float) -> None:
    """Until the screen says that it has painted, or for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        screen.read(0.01)
        if select.select([answers], [], [], 0)[0]:
            os.read(answers, 1)
            return


def main() -> None:
    run = Path(sys.argv[1])
    wait = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    times = press(run, wait, rounds, whole="whole" in sys.argv)
    for key, cpu, clock in times.keys:
        print(f"{key:>10} {cpu:.3f} s of CPU, {clock:.3f} s")
    print(times.said(f"after {wait:g} s"))


if __name__ == "__main__":
    main()
