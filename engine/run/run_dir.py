"""Where the files of a run lie, and which runs exist. All file names stand here.

runs/<id>/
  run.json           what was asked for; written once, never changed
  resume.json        what changed when the run was taken up again (only then)
  config.toml        every setting, resolved
  lock               held by the supervisor while the run lives
  events.jsonl       every event (rank 0 alone writes); all else derives from it
  control.jsonl      requests to the run (any process may append)
  run.log            the same events in nanochat's line format
  live.json          where a screen listens for live events (address and key)
  heartbeat/         one small file a rank, rewritten every second
  evals/             per-item and per-row results
  ckpt/step-N/       resumable checkpoints
  logs/              output of supervisor and ranks, by attempt
  report.md
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.errors import RunDirError

SCHEMA = 1

MOST_RESULT_BYTES = 256 * 1024 * 1024
"""A thousand questions take 20 kB; a validation of a million rows 16 MB."""


@dataclass(frozen=True, slots=True)
class RunDir:
    """Paths of one run; makes nothing by itself."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def manifest(self) -> Path:
        return self.path / "run.json"

    @property
    def resume(self) -> Path:
        return self.path / "resume.json"

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def supervisor_events(self) -> Path:
        """What only the supervisor knows: ranks lost, restarts, the end of a run that crashed."""
        return self.path / "supervisor.jsonl"

    @property
    def control(self) -> Path:
        return self.path / "control.jsonl"

    @property
    def run_log(self) -> Path:
        return self.path / "run.log"

    @property
    def live(self) -> Path:
        return self.path / "live.json"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def rows(self) -> Path:
        """Digests of the hub's rows, as the ranks first read them."""
        return self.path / "rows.json"

    @property
    def heartbeats(self) -> Path:
        return self.path / "heartbeat"

    @property
    def evals(self) -> Path:
        return self.path / "evals"

    @property
    def checkpoints(self) -> Path:
        return self.path / "ckpt"

    @property
    def export(self) -> Path:
        """Base directory (in nanochat's layout) of the exported result."""
        return self.path / "export"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisor.log"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step}"

    def rank_log(self, attempt: int, rank: int) -> Path:
        """Folder of what a (local) rank printed: `stdout.log` and `stderr.log`."""
        return self.logs / f"attempt-{attempt}" / f"rank-{rank}"

    def heartbeat(self, rank: int) -> Path:
        return self.heartbeats / f"rank-{rank}.json"

    def eval_items(self, step: int, task: str) -> Path:
        return self.evals / f"step-{step}.{task}.npz"

    def relative(self, path: Path) -> str:
        """`path` as events name it: relative to the run directory when it lies inside."""
        try:
            return str(path.relative_to(self.path))
        except ValueError:
            return str(path)

    def read_manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            RunDirError: this is no run directory, or its manifest is damaged.
        """
        try:
            raw = json.loads(self.manifest.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunDirError(
                f"{self.path} is no run directory: it has no run.json. "
                "`sftui runs` lists the runs there are."
            ) from None
        except (OSError, ValueError) as error:
            raise RunDirError(f"{self.manifest} cannot be read: {error}.") from None
        if not isinstance(raw, dict):
            raise RunDirError(f"{self.manifest} is not a JSON object.")
        return raw


def runs_root(runs_dir: str | Path | None = None) -> Path:
    """`--runs-dir`, else `SFTUI_RUNS`, else `runs/` under the working directory."""
    return Path(runs_dir or os.environ.get("SFTUI_RUNS") or "runs").absolute()


def create(root: Path, name: str, now: datetime) -> RunDir:
    """Make a new, private run directory named after its time and recipe.

    Raises:
        RunDirError: the place is not writable.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    base = f"{now:%Y%m%d-%H%M%S}-{slug}"
    for suffix in ["", *(f"-{n}" for n in range(2, 100))]:
        path = root / f"{base}{suffix}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            # 0700: the key of the live socket and the user's data lie here.
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunDirError(
                f"cannot make the run directory {path}: {error.strerror}. "
                "Choose another place with --runs-dir."
            ) from None
        run = RunDir(path)
        for folder in (run.heartbeats, run.evals, run.checkpoints, run.logs):
            folder.mkdir()
        return run
    raise RunDirError(f"{root / base} and 98 more of that name exist. Remove some runs.")


def list_runs(root: Path) -> list[RunDir]:
    """Runs under `root`, newest first (by name, which starts with the time)."""
    if not root.is_dir():
        return []
    found = [RunDir(p) for p in root.iterdir() if (p / "run.json").is_file()]
    return sorted(found, key=lambda run: run.id, reverse=True)


def find(target: str | None, root: Path) -> RunDir:
    """The run that `target` names: a path, an id, its beginning or its name; else the newest.

    The name is the id without the time before it, as typed with `--run`.

    Raises:
        RunDirError: nothing or several match; the message lists what there is.
    """
    if target:
        as_path = Path(target)
        if (as_path / "run.json").is_file():
            return RunDir(as_path.absolute())
    runs = list_runs(root)
    if not target:
        if not runs:
            raise RunDirError(f"no runs under {root}. Start one with `sftui run`.")
        return runs[0]
    exact = [run for run in runs if run.id == target]
    if exact:
        return exact[0]
    named = [run for run in runs if _name_of(run) == target]
    matching = named or [run for run in runs if run.id.startswith(target)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(run.id for run in (matching or runs)[:5]) or "none"
    what = "no run is called"
    if matching:
        what = "several runs are called" if named else "several runs start with"
    raise RunDirError(f"{what} {target!r} under {root}. There: {names}.")


def _name_of(run: RunDir) -> str:
    """What follows the day and the time in its id."""
    return run.id.split("-", 2)[-1]


def link_run_log(run: RunDir, cwd: Path) -> Path | None:
    """Point `logs/run.log` of the working directory at this run's `run.log`.

    Only a link is replaced, never a regular file: `tee` may be writing to that name. Returns
    the link, or None when something else stands there.
    """
    link = cwd / "logs" / "run.log"
    if link.exists() and not link.is_symlink():
        return None
    try:
        link.parent.mkdir(exist_ok=True)
        fresh = link.with_name(f".run.log.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(run.run_log)
        fresh.replace(link)
    except OSError:
        return None
    return link


def named_file(folder: Path, name: str) -> Path | None:
    """The file that an event of this run directory names; None when it must not be opened.

    An event log may come from another person: a name that leads out of the folder (also through a
    link), is no name at all, or stands for something that would block (a pipe) or fill the
    memory is not followed.
    """
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return None
        found = path.stat()
    except (OSError, ValueError, RuntimeError):
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_RESULT_BYTES:
        return None
    return path


def write_private(path: Path, data: bytes) -> None:
    """Replace a small file atomically, readable by its owner alone."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    fresh.replace(path)
