"""The tasks of four people, done in tmux: `python -m tests.walks`, or `make walks`.

A newcomer, one who trains, one who reads logs and one who decides do their work on real screens
at 160x48 and 80x24: first by keys and typed verbs alone, then by the mouse alone where a mouse
can do it. After each step the screen must say what happened; pictures of the screens are kept for
looking at (SVG, and PNG where there is a Chromium). Runs train on CPU ranks: with real task data
and a nanochat checkpoint where `../shared` is, else the starter recipe.

    python -m tests.walks                              all of it, about ten minutes
    python -m tests.walks --only reader --way keys     one person, one way
    python -m tests.walks --size 80x24 --pictures DIR
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.walks import chooser, newcomer, reader, trainer, world
from tests.walks.terminal import Terminal, WalkError

PEOPLE = {"newcomer": newcomer, "trainer": trainer, "reader": reader, "chooser": chooser}
WAYS = ("keys", "mouse")
SIZES = ("160x48", "80x24")


def _folder(prefix: str) -> tempfile.TemporaryDirectory[str]:
    # A run that is being stopped writes its last files while the folder goes.
    return tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)


def walk(there: world.World, name: str, way: str, size: str, args: argparse.Namespace) -> str:
    """One person's tasks in a copy of the world. Empty, or what went wrong."""
    with _folder(f"sftui-{name}-") as folder:
        place = Path(folder) / "home"
        world.copy(there.place, place)
        if name == "newcomer":
            shutil.rmtree(place / "runs")
        columns, rows = (int(n) for n in size.split("x"))
        person = PEOPLE[name]
        task = person.by_keys if way == "keys" else person.by_mouse
        title = f"{name}-{way}"
        with Terminal(place, title, (columns, rows), args.pictures, args.chromium) as terminal:
            try:
                task(terminal, world.World(place))
            except (AssertionError, ValueError) as error:
                terminal.picture("FAILED")
                return f"{error}" if isinstance(error, WalkError) else f"{title}: {error!r}"
            finally:
                if args.steps:
                    print(*terminal.said, sep="\n")
    return ""


def main() -> int:
    """Walk all that was asked for; 1 when something on a screen was not so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PEOPLE, action="append", help="people (default: all)")
    parser.add_argument("--way", choices=WAYS, action="append", help="default: keys, then mouse")
    parser.add_argument("--size", action="append", help=f"default: {' and '.join(SIZES)}")
    parser.add_argument("--pictures", type=Path, default=Path("walks"), help="where screens go")
    parser.add_argument("--world", type=Path, help="keep what the people find here, and reuse it")
    parser.add_argument("--steps", action="store_true", help="print every step")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "")
    args = parser.parse_args()
    args.pictures.mkdir(parents=True, exist_ok=True)
    failures = []
    with _folder("sftui-walks-") as folder:
        place = (args.world or Path(folder)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        there = world.World(place) if (place / "runs").is_dir() else world.build(place)
        chosen = itertools.product(args.way or WAYS, args.only or PEOPLE, args.size or SIZES)
        for way, name, size in chosen:
            start = time.monotonic()
            failed = walk(there, name, way, size, args)
            failures += [failed] if failed else []
            print(f"{name:9} {way:6} {size:7} {time.monotonic() - start:4.0f} s  ", end="")
            print("FAILED" if failed else "as it should be", flush=True)
    for failed in failures:
        print(failed, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
