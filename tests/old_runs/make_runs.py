"""Make the three runs of `runs.tar.xz` with the code of some commit, and what it shows of them.

    PYTHONPATH=CHECKOUT ATEN_CPU_CAPABILITY=avx2 python tests/old_runs/make_runs.py FOLDER

CHECKOUT is a clone at that commit; its own `tests.place` is used, so this file imports
nothing that has moved since. `runs.tar.xz` and `shown.json` were made at 467faf8, the last
commit before the modules went into folders, and are not made anew: the point is that they are old.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
from pathlib import Path

from engine.events import StepFinished
from tests.place import Place, finish, of
from tests.processes import children, wait_for

NAMES = ("finished", "stopped", "killed")
FLAGS = (
    "--gpus=2",
    "--num-iterations=25",
    "--keep=2",
    "--eval-metrics-every=8",
    "--sample-every=12",
    "--sample-prompts=Say 7.",
)
PLACEHOLDER = b"/old-runs"
"""Stands in the archive for the folder the runs were made in."""


def make(folder: Path) -> dict[str, object]:
    """A run that finished, one that was stopped, and one whose processes were all killed.

    Returns what `sftui show --json` prints of each.
    """
    with children() as started:
        place = Place(folder, started)
        finish(place, *place.start("--run=finished", *FLAGS))

        run, process = place.start("--run=stopped", *FLAGS)
        wait_for(lambda: any(event.step >= 9 for event in of(run, StepFinished)))
        place.ctl(run, "stop")
        finish(place, run, process)

        run, process = place.start("--run=killed", *FLAGS, "--max-restarts=0")
        wait_for(lambda: any(event.step >= 14 for event in of(run, StepFinished)))
        started.note_descendants()
        for pid in [*started.left(), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        return {name: json.loads(place.sftui("show", "--json", name)[1]) for name in NAMES}


def pack(folder: Path, archive: Path) -> None:
    """Cache, data and run directories, without logs and exports, under neutral names."""
    with tarfile.open(archive, "w:xz", preset=9) as out:
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder)).removeprefix("work/")
            left_out = "logs" in Path(name).parts or "chatsft_checkpoints" in Path(name).parts
            if left_out or path.is_symlink() or not path.is_file():
                continue
            content = path.read_bytes()
            if path.suffix in ("", ".json", ".jsonl", ".log", ".toml"):
                content = content.replace(str(folder).encode(), PLACEHOLDER)
            info = tarfile.TarInfo(name)
            # Long ago: a fresh heartbeat would make the killed run look alive.
            info.size, info.mtime, info.mode = len(content), 1_761_955_200, 0o600
            out.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    top = Path(sys.argv[1]).absolute()
    shown = make(top)
    pack(top, top / "runs.tar.xz")
    text = json.dumps(shown, indent=1).replace(str(top), PLACEHOLDER.decode())
    (top / "shown.json").write_text(text + "\n")
