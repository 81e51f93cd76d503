"""Where the files of a run lie, and which runs exist. All file names stand here.

runs/<id>/
  run.json           what was asked for; written once, never changed
  resume.json        what changed when the run was taken up again (only then)
  config.toml        every setting, resolved
  lock               held by the supervisor (or a trainer's keeper) while the run lives
  events.jsonl       every event (rank 0 alone writes); all else derives from it
  control.jsonl      requests to the run (any process may append)
  run.log            the same events in nanochat's line format
  attach.json        whether another's trainer is attached, as it says (only then)
  live.json          where a screen listens for live events (address and key)
  heartbeat/         one small file a rank, rewritten every second
  evals/             per-item and per-row results
  ckpt/step-N/       resumable checkpoints
  logs/              output of supervisor and ranks, by attempt
  report.md
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.errors import RunDirError
from engine.files import checked, written
from engine.run.owners import owner

SCHEMA = 1

_MANIFEST_FIELDS: dict[str, Callable[[object], object]] = {
    "schema": checked.whole,
    "recipe": checked.text,
    "world_size": checked.whole,
    "device_type": checked.text,
    "max_restarts": checked.whole,
    "nodes": checked.whole,
    "rendezvous": checked.text,
    "config": checked.table,
    "start": checked.table,
    "tokenizer_sha256": checked.text,
    "rows": checked.whole,
    "row_digests": checked.table,
    "versions": checked.table,
}
"""What a manifest says of these has these types; a run of an older version may lack some."""

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
    def mixture(self) -> Path:
        """Rows of every training source in an epoch, as they were planned."""
        return self.path / "mixture.json"

    @property
    def packing(self) -> Path:
        """Which conversations share a row in every step, where rows are packed best-fit."""
        return self.path / "packing.npz"

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
        """The manifest; a field of it that is missing is a `RunDirError` where it is asked for.

        Raises:
            RunDirError: this is no run directory, or its manifest is damaged.
        """
        try:
            raw = checked.read_json(self.manifest)
        except FileNotFoundError:
            raise RunDirError(
                f"{self.path} is no run directory: it has no run.json. "
                "`sftui runs` lists the runs there are."
            ) from None
        except (OSError, ValueError) as error:
            raise RunDirError(f"{self.manifest} cannot be read: {error}.") from None
        if not isinstance(raw, dict):
            raise RunDirError(f"{self.manifest} is not a JSON object.")
        self._check_manifest(raw)
        return Manifest(raw, self.manifest)

    def _check_manifest(self, raw: dict[str, Any]) -> None:
        """Refuse a manifest of a newer version, and one whose fields have other types."""
        schema = raw.get("schema", SCHEMA)
        if type(schema) is int and schema > SCHEMA:
            versions = raw.get("versions")
            made_by = versions.get("sftui") if isinstance(versions, dict) else None
            wanted = f"sftui {checked.short(made_by)}" if made_by else "a newer sftui"
            raise RunDirError(
                f"{self.path} was made by {wanted} (schema {schema}; this sftui reads up to "
                f"{SCHEMA}). Install that version or a newer one to open it."
            )
        for name, check in _MANIFEST_FIELDS.items():
            try:
                if raw.get(name) is not None:
                    check(raw[name])
            except ValueError as error:
                raise RunDirError(f"{self.manifest}: {name} is {error}.") from None


class Manifest(dict[str, Any]):
    """The fields of a `run.json`, or of a table in it.

    Those of a trainer of another program's are few, and a damaged one may lack any.
    """

    def __init__(self, fields: Mapping[str, Any], path: Path) -> None:
        super().__init__(fields)
        self._path = path
        if isinstance(start := fields.get("start"), dict):
            self["start"] = Manifest(start, path)

    def __missing__(self, name: str) -> Any:
        raise RunDirError(
            f"{self._path} has no {name!r}, which the run.json of every run that `sftui run` "
            "begins has. Name such a run, or copy the file again."
        )


_FOLDERS = ("heartbeat", "evals", "ckpt", "logs", "export")


def refuse_links(run: RunDir) -> None:
    """Refuse to drive a run whose folder leads out of itself.

    A run that is taken up is written to. Where the folder came from another person, a link in it
    would make that a write to a file of one's own, and a pipe would make it wait for ever. A copy
    of hard links (`cp -al`) would write into the run it was made of.

    Raises:
        RunDirError: naming what is neither a folder nor a file of this run alone.
    """
    found = sorted(_foreign(run))
    if found:
        names = ", ".join(f"{name} ({kind})" for name, kind in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise RunDirError(
            f"{run.path} holds what is no file of a run: {names}{more}. A run is written to, so "
            "nothing in it may lead elsewhere. Put the files themselves there (`cp -rL` copies "
            "them), or remove these."
        )


def _foreign(run: RunDir) -> Iterator[tuple[str, str]]:
    """Entries that are neither files nor folders: their names in the run, and what they are."""
    waiting = [run.path]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = str(Path(entry.path).relative_to(run.path))
                    is_folder = entry.is_dir(follow_symlinks=False)
                    # Others are written anew and renamed: another name keeps the old bytes.
                    written_in_place = folder in (run.path, run.heartbeats, run.logs)
                    if is_folder and (folder != run.path or entry.name in _FOLDERS):
                        waiting.append(Path(entry.path))
                    elif not is_folder and (kind := _leads_elsewhere(entry, written_in_place)):
                        yield name, kind
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RunDirError(f"{folder} cannot be looked through: {error.strerror}.") from None


def _leads_elsewhere(entry: os.DirEntry[str], written_in_place: bool) -> str:
    """What an entry that is no folder is, where writing to it would not stay in the run."""
    if not entry.is_file(follow_symlinks=False):
        return checked.kind_of(entry.stat(follow_symlinks=False).st_mode)
    if written_in_place and entry.stat(follow_symlinks=False).st_nlink > 1:
        return "a hard link: its bytes have another name as well"
    return ""


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
    return runs_and_private(root)[0]


def runs_and_private(root: Path) -> tuple[list[RunDir], list[RunDir]]:
    """Runs under `root`, and folders that look like runs and may not be looked into, newest first.

    In a folder that several people share, each sees that the others have runs, and no more.

    Raises:
        RunDirError: the folder cannot be listed.
    """
    readable: list[RunDir] = []
    private: list[RunDir] = []
    user = os.geteuid()
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                path = Path(entry.path)
                try:
                    found = os.lstat(path / "run.json")
                    if stat.S_ISREG(found.st_mode):
                        run = RunDir(path)
                        # Of one's own nothing more is asked: there may be thousands.
                        opens = found.st_uid == user or _may_be_read(run)
                        (readable if opens else private).append(run)
                except PermissionError:
                    if _IS_RUN_ID.match(entry.name):
                        private.append(RunDir(path))
                except OSError:
                    continue
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise RunDirError(
            f"{root} cannot be listed: {error.strerror}. Name another place with --runs-dir."
        ) from None
    for runs in (readable, private):
        runs.sort(key=lambda run: run.id, reverse=True)
    return readable, private


_IS_RUN_ID = re.compile(r"\d{8}-\d{6}-")


def _may_be_read(run: RunDir) -> bool:
    """Whether its files may be: a folder can be open to all, and what lies in it to nobody."""
    return all(
        os.access(path, os.R_OK) or not os.access(path, os.F_OK)
        for path in (run.manifest, run.events)
    )


# What to type where no run is.
_FIRST_RUN = "`sftui run` starts one, `sftui demo` shows one."


def none_under(root: Path, private: Sequence[RunDir]) -> str:
    """The sentence about a folder without a run one may read, of which `private` are others'."""
    if not private:
        return f"no runs under {root}. {_FIRST_RUN}"
    owners = sorted({owner(run.path) for run in private})
    whose = ", ".join(owners[:5]) + (", …" if len(owners) > 5 else "")
    one = len(private) == 1
    return (
        f"no runs under {root} that you may read; {len(private)} belong{'s' * one} to {whose}. "
        "Ask for the right to read, or start one with `sftui run`."
    )


def find(target: str | None, root: Path) -> RunDir:
    """The run that `target` names: a path, an id, its beginning or its name; else the newest.

    The name is the id without the time before it, as typed with `--run`.

    Raises:
        RunDirError: nothing or several match; the message lists what there is.
    """
    if target:
        try:
            there = RunDir(Path(target).absolute())
            if there.manifest.is_file():
                if not _may_be_read(there):
                    raise _private(there)
                return there
        except PermissionError:
            raise _private(there) from None
        except (OSError, ValueError):
            # Longer than a name may be, or with a byte of zero: no path, and no run either.
            pass
    runs, private = runs_and_private(root)
    if not target:
        if not runs:
            raise RunDirError(none_under(root, private))
        return runs[0]
    exact = [run for run in runs if run.id == target]
    if exact:
        return exact[0]
    named = [run for run in runs if _name_of(run) == target]
    matching = named or [run for run in runs if run.id.startswith(target)]
    if len(matching) == 1:
        return matching[0]
    hidden = [run for run in private if target in (run.id, _name_of(run))]
    if hidden and not matching:
        raise _private(hidden[0])
    if not runs:
        raise RunDirError(
            f"no run is called {target[:120]!r} under {root}, where there is none yet. {_FIRST_RUN}"
        )
    names = ", ".join(run.id for run in (matching or runs)[:5])
    what = "no run is called"
    if matching:
        what = "several runs are called" if named else "several runs start with"
    raise RunDirError(f"{what} {target[:120]!r} under {root}. There: {names}.")


def _private(run: RunDir) -> RunDirError:
    return RunDirError(
        f"{run.path} is a run of {owner(run.path)}, and may not be read by you. Ask its owner for "
        "the right to read it."
    )


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
    with written.replacing(path, private=True) as fresh:
        fresh.write_bytes(data)
