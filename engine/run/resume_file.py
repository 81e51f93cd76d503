"""What changed when a run was taken up again: `resume.json`, laid over the immutable manifest.

`run.json` says what was first asked for and is never rewritten. Each `--resume`
appends one entry here: how many ranks run now, and which settings a person
changed on purpose. The plan's number of ranks stays the manifest's: two ranks' rows
are executed by one, not planned anew. No torch in here: launcher, supervisor and
ranks all read it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import RunDirError
from engine.files import checked
from engine.run import run_dir
from engine.run.run_dir import RunDir

SCHEMA = 1

MOMENT_SECONDS = 60.0
"""Commands within that time may have been typed without knowing of each other."""

ID_VARIABLE = "SFTUI_RESUMPTION"
"""Tells the supervisor which entry its command wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """One time that a run was taken up again."""

    created: float
    """Wall clock, seconds since the epoch."""
    attempt: int
    """First attempt that belongs to it."""
    world_size: int
    """Ranks that run, whatever number the plan was made for."""
    device_type: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Settings laid over those before, by flat name."""
    command: tuple[str, ...] = ()
    rows: int | None = None
    """Training rows, where the run goes on with others than it had; None for the same."""
    row_digests: Mapping[str, str] | None = None
    """Of the rows it goes on with; None for the same as before."""
    id: str = ""
    """Of the command that wrote it; empty for one from before there were any."""
    held: bool = True
    """Whether a supervisor has had the lock of the run with it; true for one from before."""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def read(run: RunDir) -> list[Resumption]:
    """Every resumption of a run, oldest first; none when it was never taken up again.

    Raises:
        RunDirError: the file is damaged.
    """
    try:
        raw = checked.read_json(run.resume)
        return [
            Resumption(
                created=checked.number(entry["created"]),
                attempt=checked.whole(entry["attempt"]),
                world_size=checked.whole(entry["world_size"]),
                device_type=checked.text(entry["device_type"]),
                changed=checked.table(entry["changed"]),
                command=tuple(checked.text(word) for word in entry["command"]),
                rows=None if entry.get("rows") is None else checked.whole(entry["rows"]),
                row_digests=_digests(entry.get("row_digests")),
                id=checked.text(entry.get("id", "")),
                held=entry.get("held") is not False,
            )
            for entry in raw["resumptions"]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirError(
            f"{run.resume} cannot be read ({error}); expected what `sftui run --resume` wrote. "
            "Move it away to go on with the settings in run.json."
        ) from None


def _digests(found: object) -> dict[str, str] | None:
    if found is None:
        return None
    return {name: checked.text(digest) for name, digest in checked.table(found).items()}


def append(run: RunDir, resumption: Resumption) -> None:
    """Add one entry, durable under its name or not there at all; the caller is `alone`."""
    _write(run, [*read(run), resumption])


def settle(run: RunDir, own: str) -> list[Resumption]:
    """Note that the entry `own` has the lock of the run, and drop what lost; the entries that went.

    Several commands may write one at the same moment, and one of their supervisors gets the lock.
    The settings of the others would hold from the next restart on. An entry that had the lock
    stays, also where its ranks died before their attempt began. The caller holds the lock.
    """
    with alone(run):
        entries = read(run)
        mine = next((entry for entry in entries if own and entry.id == own), None)
        if mine is None:
            return []
        lost = [entry for entry in entries if entry != mine and _are_rivals(entry, mine)]
        kept = [entry for entry in entries if entry not in lost]
        held = dataclasses.replace(mine, held=True)
        # A full disk must not keep a run from going on; then it stays as it was.
        with contextlib.suppress(OSError):
            _write(run, [held if entry == mine else entry for entry in kept])
        return lost


def _are_rivals(entry: Resumption, mine: Resumption) -> bool:
    return not entry.held and abs(entry.created - mine.created) < MOMENT_SECONDS


@contextlib.contextmanager
def alone(run: RunDir) -> Iterator[None]:
    """The only process of this machine that changes `resume.json` while the block lasts."""
    descriptor = os.open(run.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A network disk may lock no folders; two commands at one instant are rarer still there.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(run: RunDir, entries: list[Resumption]) -> None:
    body = {"schema": SCHEMA, "resumptions": [entry.to_dict() for entry in entries]}
    run_dir.write_private(run.resume, json.dumps(body, indent=1).encode())


def manifest_now(run: RunDir) -> dict[str, Any]:
    """The manifest as it holds today: `run.json` with every resumption laid over it.

    `world_size` is the number of ranks that run; `config["gpus"]` stays the plan's.

    Raises:
        RunDirError: one of the two files cannot be read.
    """
    manifest = run.read_manifest()
    if "config" in manifest:
        manifest["config"] = _with_auto_dtype(manifest["config"])
    for entry in read(run):
        manifest["world_size"] = entry.world_size
        manifest["device_type"] = entry.device_type
        if entry.rows is not None:
            manifest["rows"] = entry.rows
        if entry.row_digests is not None:
            manifest["row_digests"] = dict(entry.row_digests)
        if entry.changed:
            manifest["config"] = dict(manifest["config"]) | dict(entry.changed)
            for name in ("max_restarts", "nodes", "rendezvous"):
                manifest[name] = manifest["config"].get(name, manifest.get(name))
            manifest["config_sha256"] = config_digest(manifest["config"])
    return manifest


def _with_auto_dtype(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run from before `dtype = auto`, in today's words.

    `bfloat16` was the default then and meant CUDA alone; today it would train a CPU run in
    bf16. Such runs are known by a setting that came with the new meaning.
    """
    old = "micro_tokens" not in flat and flat.get("dtype") == "bfloat16"
    return dict(flat) | ({"dtype": "auto"} if old else {})


def newest(run: RunDir, attempt: int) -> Resumption | None:
    """The resumption that begins with this attempt; None for a restart or a first start."""
    found = read(run)
    return found[-1] if found and found[-1].attempt == attempt else None


def config_digest(flat: Mapping[str, Any]) -> str:
    """SHA-256 of all settings; two runs with the same one asked for the same."""
    import hashlib  # noqa: PLC0415  OpenSSL's, which no screen needs

    return hashlib.sha256(json.dumps(flat, sort_keys=True, default=list).encode()).hexdigest()
