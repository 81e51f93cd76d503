"""Runs of somebody else's trainer: their manifest, and how keeper and trainer find each other.

A keeper (`sftui run -- CMD`) makes the run directory and hands its path down in
`RUN_DIR_VARIABLE`; a trainer that was started by hand makes one itself. Either way the
trainer says in `attach.json` whether it is attached, and if not, why. No torch in here.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from engine.errors import RunDirError
from engine.files import checked
from engine.run import run_dir, seal
from engine.run.run_dir import RunDir

RUN_DIR_VARIABLE = "SFTUI_RUN_DIR"
"""The run directory that a keeper made; set in the environment of the command it keeps."""

ATTEMPT_VARIABLE = "SFTUI_ATTEMPT"
"""Which start of the command this is, counted from 1; beyond 1 it goes on from a checkpoint."""

ATTACH_VARIABLE = "SFTUI_ATTACH"
"""`0` keeps a script from attaching, even one that asks to be (`--no-attach`)."""

OWNER = "trainer"
"""Key of the manifest that says whose trainer it is."""
FOREIGN = "foreign"

Answer = Literal["attached", "refused", "dark"]
"""`refused`: this process never attached; `dark`: it did, and an error of ours ended that."""

_MOST_NOTE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachNote:
    """What the trainer's process says about being attached."""

    answer: Answer
    reason: str = ""
    attempt: int = 1
    """The keeper's number of this start."""
    pid: int = 0


def is_foreign(manifest: Mapping[str, Any]) -> bool:
    """Whether a run was trained by another trainer than the engine's."""
    return manifest.get(OWNER) == FOREIGN


def create(
    root: Path,
    name: str,
    *,
    command: Sequence[str],
    cwd: Path,
    now: datetime,
    max_restarts: int,
    kept: bool,
    notes: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> RunDir:
    """Make the run directory of another trainer's run.

    Args:
        command: as a shell would be given it; `sftui run --resume` starts it again.
        kept: whether a keeper holds the run.
        more: further entries of the manifest.

    Raises:
        RunDirError: the place is not writable.
    """
    run = run_dir.create(root, name, now)
    manifest = {
        "schema": run_dir.SCHEMA,
        "id": run.id,
        "name": name,
        "recipe": None,
        "created": now.timestamp(),
        OWNER: FOREIGN,
        "kept": kept,
        "command": list(command),
        "cwd": str(cwd),
        "host": os.uname().nodename,
        "world_size": 1,
        "device_type": "cpu",
        "nodes": 1,
        "max_restarts": max_restarts,
        "config": {},
        "start": {"source": FOREIGN, "label": name},
        "notes": list(notes),
        "versions": {"sftui": version_of("sftui"), "python": platform.python_version()},
        **(more or {}),
    }
    try:
        run.control.touch(mode=0o600)
        # Last: a directory without a manifest is no run.
        run_dir.write_private(run.manifest, json.dumps(seal.sealed(manifest), indent=1).encode())
    except OSError as error:
        shutil.rmtree(run.path, ignore_errors=True)
        raise RunDirError(
            f"cannot write {run.path}: {error.strerror}. Choose another place with --runs-dir."
        ) from None
    run_dir.link_run_log(run, cwd)
    return run


def handed_down(environ: Mapping[str, str] = os.environ) -> RunDir | None:
    """The run that this process' keeper made for it; None without a keeper."""
    path = environ.get(RUN_DIR_VARIABLE, "")
    return RunDir(Path(path)) if path else None


def start_number(environ: Mapping[str, str] = os.environ) -> int:
    """Which start of the command this is; 1 without a keeper."""
    number = checked.digits(environ.get(ATTEMPT_VARIABLE, ""))
    return 1 if number is None else number


def told_not_to_attach(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `--no-attach` holds for this process."""
    return environ.get(ATTACH_VARIABLE, "1") == "0"


def script_name() -> str:
    """Name of the script of this process, for a run that nobody named."""
    return Path(sys.argv[0]).stem if sys.argv and sys.argv[0] not in ("", "-c") else "loop"


def note_path(run: RunDir) -> Path:
    return run.path / "attach.json"


def write_note(run: RunDir, answer: Answer, reason: str = "") -> None:
    """Tell the keeper whether this process is attached.

    Raises:
        OSError: the disk refused.
    """
    body = {"answer": answer, "reason": reason, "attempt": start_number(), "pid": os.getpid()}
    run_dir.write_private(note_path(run), json.dumps(body).encode())


def read_note(run: RunDir) -> AttachNote | None:
    """What the trainer said last; None when it has said nothing, or nothing readable."""
    try:
        raw = checked.table(checked.read_json(note_path(run), _MOST_NOTE_BYTES))
        answer = raw["answer"]
        if answer not in ("attached", "refused", "dark"):
            return None
        return AttachNote(
            answer=answer,
            reason=checked.text(raw.get("reason", "")),
            attempt=checked.whole(raw.get("attempt", 1)),
            pid=checked.whole(raw.get("pid", 0)),
        )
    except (OSError, ValueError, KeyError):
        return None


def version_of(package: str) -> str | None:
    """Version of an installed package; None when it is not there."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  the parser of
    # mails with it, which no command needs that only asks whose trainer a run is

    try:
        return version(package)
    except PackageNotFoundError:
        return None
