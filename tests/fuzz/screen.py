"""Random input to a real screen in a pseudo-terminal; the child of the target `screen`.

Each input is typed in pieces of any length into a screen of its own, with resizes and signals
between them. Then it is told to end: the terminal must be as it was, without a traceback.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.faults.terminal import Terminal
from tests.fuzz.doors import Finding
from tests.fuzz.mutations import TOKENS, mutated
from tests.fuzz.targets import SEQUENCES
from tests.processes import children, environment

PROGRAM = """
from sftui.app import run_screen
from sftui.cockpit.screen_request import ScreenRequest
from tests.sftui.fake_run import ListSource, fake_run
end = run_screen(ScreenRequest(ListSource(fake_run(until=30)), "pty"))
print("OUTCOME", end.outcome.name, end.error)
"""

KEYS = (
    b"jkhlgGnNp+-=0123456789 \t\rcmzsivfo?/:[]{}<>,.aAbBdDeErRtTuUwWxXyY\x1b[A\x1b[B\x1b[5~\x1b[6~"
)

SEEDS = [*SEQUENCES, *TOKENS, KEYS, KEYS * 3]


class TooSlow(Finding):
    """It ended as a screen does that could not within seconds: its terminal is in order."""


def try_number(number: int, seed: int, folder: Path) -> None:
    """Type one input, and once more where a busy machine may be why it ended late.

    Raises:
        Finding: the screen broke, did not end, or left the terminal changed.
    """
    try:
        try_once(number, seed, folder)
    except TooSlow:
        try_once(number, seed, folder)


def try_once(number: int, seed: int, folder: Path) -> None:
    """Raises: as `try_number`; `TooSlow` where the way out of a screen that hangs was taken."""
    rng = random.Random(f"screen/{seed}/{number}")
    data = b"".join(mutated(rng, SEEDS)[:3000] for _ in range(rng.choice((1, 4))))
    with children() as started:
        env = environment(SFTUI_CONFIG=str(folder / "config.json"))
        screen = Terminal(started, "-c", PROGRAM, env=env)
        try:
            screen.wait_for("checkpoints")
            _type(screen, rng, data)
            told = rng.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
            screen.process.send_signal(told)
            code = screen.wait(60)
            words = screen.words()
            if code == 128 + told and "Traceback" not in words and screen.cooked():
                raise TooSlow(f"exit code {code}: {words[-2000:]}")
            if code != 0 or "Traceback" in words or "OUTCOME" not in words:
                raise Finding(f"exit code {code}: {words[-2000:]}")
            if " None\n" not in words.replace("\r", "").rpartition("OUTCOME")[2]:
                raise Finding(f"the screen failed: {words[-2000:]}")
            if not screen.cooked():
                raise Finding("the terminal was left raw")
        finally:
            screen.close()


def _type(screen: Terminal, rng: random.Random, data: bytes) -> None:
    at = 0
    while at < len(data) and screen.process.poll() is None:
        piece = data[at : (at := at + rng.choice((1, 10, 100, 1000)))]
        os.write(screen.master, piece)
        if rng.random() < 0.05:
            screen.resize(rng.choice((1, 20, 80, 300)), rng.choice((1, 10, 36, 100)))
        if rng.random() < 0.1:
            time.sleep(rng.choice((0.02, 0.15)))


def main() -> None:
    seed, folder = int(sys.argv[2]), Path(sys.argv[3])
    print("ready", flush=True)
    for line in sys.stdin:
        found: dict[str, object] = {"number": int(line), "peak": 0}
        try:
            try_number(int(line), seed, folder)
        except Exception as error:
            kind = f"{type(error).__name__}: {str(error)[:60]!r}"
            found |= {"kind": kind, "story": str(error)[-4000:]}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
