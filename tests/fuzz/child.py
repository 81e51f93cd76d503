"""Try inputs of one target by number, as told on stdin: one JSON line of outcome for each.

`python -m tests.fuzz.child TARGET SEED FOLDER`, started by `runner.py`, which measures and kills.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path

from tests.fuzz.doors import ACTS_ON_A_TERMINAL
from tests.fuzz.targets import Tried
from tests.memory import peak_bytes

MOST_ADDRESS_SPACE = 6 * 10**9
"""A hard limit, so that a finding does not take the machine along; a GB is one already."""

ROOT = str(Path(__file__).resolve().parents[2])


def main() -> None:
    name, seed, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_SPACE,) * 2)
    # What the code under test, or its children, print past Python must not mix with outcomes.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    printed = folder / "printed"
    for number in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    tried = Tried(name, folder, seed)
    answers.write("ready\n")
    for line in sys.stdin:
        answers.write(json.dumps(outcome(tried, int(line), printed)) + "\n")


def outcome(tried: Tried, number: int, printed: Path) -> dict[str, object]:
    """What came of one input: nothing, or a kind of finding with its story."""
    found: dict[str, object] = {"number": number}
    try:
        tried.try_number(number)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Also a panic of Rust and SystemExit: no input may raise either.
        found |= {
            "kind": kind_of(error),
            "story": "".join(traceback.format_exception(error))[-4000:],
        }
    text = printed.read_bytes().decode("utf-8", "replace")
    os.truncate(printed, 0)
    if set(text) & set(ACTS_ON_A_TERMINAL):
        found |= {"kind": "printed past Python", "story": repr(text[-1000:])}
    return found | {"peak": peak_bytes()}


def kind_of(error: BaseException) -> str:
    """The error's name and the last line of our code that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(ROOT) and "/tests/" not in f.filename]
    where = f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}" if ours else "?"
    return f"{type(error).__name__} at {where}: {str(error)[:80]!r}"


if __name__ == "__main__":
    main()
