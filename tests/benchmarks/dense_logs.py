"""CPU seconds of the commands that read a log, over 8 MB of each kind of dense log.

    python tests/benchmarks/dense_logs.py [--kind KIND] [--size BYTES] [--log FILE] [--against DIR]

No command may take more than 5 s for 8 MB. Machines differ: the last column is one over a plain
pass of the same bytes in the same run, splitting and searching their lines for a number.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.dense_logs import KINDS, dense
from tests.processes import environment

HERE = Path(__file__).resolve().parents[2]
COMMANDS = {
    "show": ("show", "LOG"),
    "show --json": ("show", "LOG", "--json"),
    "replay": ("replay", "--headless", "LOG"),
    "report": ("report", "LOG", "-o", "report.md"),
    "compare": ("compare", "LOG", "LOG"),
    "compare --json": ("compare", "LOG", "LOG", "--json"),
}
_NUMBER = re.compile(r"[-+]?\d+\.?\d*")
MOST_SECONDS = 5.0


def plain_pass(data: bytes) -> float:
    """CPU seconds of looking for numbers in every line."""
    begin = time.process_time()
    for line in data.decode("utf-8", "replace").split("\n"):
        _NUMBER.findall(line)
    return time.process_time() - begin


def seconds_of(tree: Path, words: tuple[str, ...], log: Path) -> float:
    """CPU seconds of one command of a checkout."""
    env = environment(
        PYTHONPATH=str(tree),
        PYTHONPYCACHEPREFIX=str(log.parent / "code"),
        SFTUI_CONFIG=str(log.parent / "config.toml"),
    )
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its byte code
    command = [sys.executable, "-m", "sftui", *(str(log) if w == "LOG" else w for w in words)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=env, cwd=log.parent, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 2):
        print(done.stderr.decode()[-2000:])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only this one")
    parser.add_argument("--size", type=int, default=8_000_000, help="bytes of each")
    parser.add_argument("--log", type=Path, action="append", help="a file instead of the kinds")
    parser.add_argument("--command", action="append", choices=COMMANDS, help="only this one")
    parser.add_argument("--against", type=Path, default=HERE, help="another checkout instead")
    options = parser.parse_args()
    commands = options.command or list(COMMANDS)
    logs = {path.name: path.read_bytes() for path in options.log or ()}
    names = list(logs) or options.kind or list(KINDS)
    print(f"{'':<22}" + "".join(f"{name:>16}" for name in (*commands, "plain pass", "most / it")))
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            data = logs.get(name) or dense(name, options.size)
            log = Path(folder) / "train.log"
            log.write_bytes(data)
            plain = plain_pass(data)
            spent = [seconds_of(options.against.resolve(), COMMANDS[c], log) for c in commands]
            row = [*(f"{s:.1f}{'!' if s > MOST_SECONDS else ''}" for s in spent), f"{plain:.2f}"]
            print(
                f"{name:<22}"
                + "".join(f"{each:>16}" for each in (*row, f"{max(spent) / plain:.0f}")),
                flush=True,
            )


if __name__ == "__main__":
    main()
