"""Which checkpoints of a run are whole: manifests, digests, pruning. No torch in here.

A directory without a valid MANIFEST.json does not exist as a checkpoint. It is
written under another name beside its place and renamed when everything in it is
on disk, so a kill at any moment leaves either the old state or the new one.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.files import checked
from engine.files.sizes import in_words
from engine.run.run_dir import RunDir

MANIFEST = "MANIFEST.json"
STATE = "state.json"
MODEL = "model.safetensors"
KEEP_SUFFIX = ".keep"
"""`ckpt/step-N.keep` beside a checkpoint marks it: never pruned."""


def optim_file(rank: int) -> str:
    """One rank's shard of the optimizer state."""
    return f"optim-rank-{rank}.safetensors"


def rng_file(rank: int) -> str:
    """One rank's random state."""
    return f"rng-rank-{rank}.safetensors"


ROOM_FACTOR = 1.2
"""Free space wanted for a checkpoint, in its own size: logs and results grow meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """A checkpoint whose manifest is valid (digests are checked by `verify`)."""

    path: Path
    step: int
    """Updates done; training goes on with this step."""
    size_bytes: int
    created: float
    """Wall clock of the manifest, seconds."""
    val_loss: float | None
    marked: bool
    state: dict[str, Any]
    files: frozenset[str] = frozenset()
    """Names in the manifest; nothing else in the folder belongs to the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """Size and digest of one file of a checkpoint."""

    name: str
    size_bytes: int
    sha256: str


def check_room(folder: Path, wanted_bytes: int, what: str) -> None:
    """Refuse what would not fit before a byte is written: a full disk hurts the event log too.

    Args:
        folder: of the disk that is meant; it need not exist yet.
        what: begins the message: `the checkpoint of step 5`.

    Raises:
        CheckpointError: naming both sizes.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < ROOM_FACTOR * wanted_bytes:
        raise CheckpointError(
            f"{what} takes about {in_words(wanted_bytes)} and the disk of {folder} has "
            f"{in_words(free)} left"
        )


def step_of(path: Path) -> int | None:
    """N of a directory named `step-N`; None for any other name."""
    prefix, _, number = path.name.partition("-")
    return checked.digits(number) if prefix == "step" else None


def partial_path(run: RunDir, step: int, attempt: int, save: int) -> Path:
    """The folder a checkpoint is written to before it is renamed; the same on every rank.

    `save` counts the saves of this attempt, so that a second try never meets the
    leftovers of the first.
    """
    return run.checkpoints / f".step-{step}.attempt-{attempt}.save-{save}.partial"


def digest_file(path: Path) -> FileRecord:
    """Size and SHA-256 of a file on disk."""
    import hashlib  # noqa: PLC0415  OpenSSL: a screen that lists checkpoints takes no digest

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(name=path.name, size_bytes=path.stat().st_size, sha256=digest)


def sync(path: Path) -> None:
    """Make a file or a directory entry durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Write and sync a small JSON file."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    sync(path)


def commit(
    run: RunDir, partial: Path, step: int, records: Sequence[FileRecord], created: float
) -> Path:
    """Give a finished partial directory its name; afterwards the checkpoint exists."""
    manifest = {
        "schema": 1,
        "step": step,
        "created": created,
        "files": {r.name: {"size": r.size_bytes, "sha256": r.sha256} for r in records},
    }
    write_json(partial / MANIFEST, manifest)
    sync(partial)
    target = run.checkpoint(step)
    if target.exists():
        # Only a damaged or half-deleted one can stand here: a valid one is never saved again.
        shutil.rmtree(target)
    partial.rename(target)
    sync(run.checkpoints)
    return target


def read(path: Path) -> CheckpointInfo:
    """What the manifest and the state of one checkpoint say.

    Raises:
        CheckpointError: no manifest, a malformed one, or a file missing or of another size.
    """
    try:
        if (path / MANIFEST).is_symlink():
            raise CheckpointError(f"{path / MANIFEST} is a link; expected a file")
        manifest = checked.table(checked.read_json(path / MANIFEST))
        files = {
            name: (checked.whole(entry["size"]), checked.text(entry["sha256"]))
            for name, entry in checked.table(manifest["files"]).items()
        }
        step, created = checked.whole(manifest["step"]), checked.number(manifest["created"])
        # The manifest has no digest of its own: what the folder's name says is compared.
        if step_of(path) not in (None, step):
            raise CheckpointError(f"{path}: its manifest is of step {step}")
        for name, (size, _) in files.items():
            if Path(name).name != name:
                raise CheckpointError(f"{path}: the manifest names a file outside: {name!r}")
            entry = (path / name).lstat()
            if not stat.S_ISREG(entry.st_mode):
                raise CheckpointError(f"{path / name} is a link or a folder; expected a file")
            if fault := checked.hollow_fault(path / name, entry):
                raise CheckpointError(fault)
            found = entry.st_size
            if found != size:
                raise CheckpointError(f"{path / name} has {found} bytes; expected {size}")
        state = checked.read_json(path / STATE)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise CheckpointError(f"{path} is incomplete: {missing} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path / STATE} is not a JSON object")
    return CheckpointInfo(
        path=path,
        step=step,
        size_bytes=sum(size for size, _ in files.values()),
        created=created,
        val_loss=_number_or_none(state.get("val_loss")),
        marked=is_marked(path),
        state=state,
        files=frozenset(files),
    )


def _number_or_none(value: object) -> float | None:
    try:
        # A state may hold a loss that is NaN; it is the best of nothing.
        return value if isinstance(value, float) else checked.number(value)
    except ValueError:
        return None


def verify(path: Path) -> CheckpointInfo:
    """`read`, and every byte compared with its digest.

    Flipped bytes load silently in every tensor format, so this is the only check
    that finds them.

    Raises:
        CheckpointError: as `read`, or a digest differs.
    """
    info = read(path)
    manifest = checked.read_json(path / MANIFEST)
    for name, entry in manifest["files"].items():
        if digest_file(path / name).sha256 != entry["sha256"]:
            raise CheckpointError(f"{path / name} does not match its checksum")
    return info


def list_checkpoints(run: RunDir) -> list[CheckpointInfo]:
    """Whole checkpoints of a run, oldest first; broken ones are left out."""
    found = []
    for path in _step_directories(run):
        try:
            found.append(read(path))
        except CheckpointError:
            continue
    return sorted(found, key=lambda info: info.step)


def newest_valid(run: RunDir) -> tuple[CheckpointInfo | None, list[str]]:
    """The newest checkpoint whose every byte is right, and what is wrong with newer ones.

    Raises:
        CheckpointError: there are checkpoints and none is valid: starting from zero would
            throw work away silently.
    """
    problems: list[str] = []
    for path in _newest_first(run):
        try:
            return verify(path), problems
        except CheckpointError as error:
            problems.append(str(error))
    if problems:
        raise CheckpointError(
            f"{_none_valid(run, problems)} "
            f"Move {run.checkpoints} away to start this run from its beginning."
        )
    return None, problems


def refuse_broken(run: RunDir) -> None:
    """Say what is wrong with the checkpoints of a run of which none is whole.

    Raises:
        CheckpointError: there are some.
    """
    problems = []
    for path in _newest_first(run):
        try:
            read(path)
        except CheckpointError as error:
            problems.append(str(error))
    if problems:
        raise CheckpointError(f"{_none_valid(run, problems)} Name another run or checkpoint.")


def _newest_first(run: RunDir) -> list[Path]:
    return sorted(_step_directories(run), key=lambda path: step_of(path) or 0, reverse=True)


def _none_valid(run: RunDir, problems: Sequence[str]) -> str:
    return f"none of the {len(problems)} checkpoints of {run.id} is valid: {problems[0]}."


def to_prune(
    infos: Sequence[CheckpointInfo], keep: int, protected: Iterable[int] = ()
) -> list[CheckpointInfo]:
    """Which checkpoints may go: all but the newest `keep`, the best, the marked, the protected."""
    ordered = sorted(infos, key=lambda info: info.step)
    stay = {info.step for info in ordered[-keep:]} | set(protected)
    stay |= {info.step for info in ordered if info.marked}
    # A NaN compares with nothing, so it would be the best by standing first.
    scored = [(info.val_loss, info.step) for info in ordered if info.val_loss is not None]
    finite = [entry for entry in scored if math.isfinite(entry[0])]
    if finite:
        stay.add(min(finite)[1])
    return [info for info in ordered if info.step not in stay]


def is_marked(path: Path) -> bool:
    """Whether a checkpoint is marked to be kept; a link is no mark."""
    try:
        return stat.S_ISREG(_mark_of(path).lstat().st_mode)
    except OSError:
        return False


def mark(path: Path) -> None:
    """Mark a checkpoint: it is never pruned.

    Raises:
        OSError: the mark cannot be written, or something else stands in its place.
    """
    _refuse_links(path)
    if not is_marked(path):
        # Nothing is made where a link of that name leads.
        os.close(os.open(_mark_of(path), os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def unmark(path: Path) -> None:
    """Take the mark of a checkpoint away.

    Raises:
        OSError: it cannot be removed.
    """
    _refuse_links(path)
    _mark_of(path).unlink(missing_ok=True)


def _mark_of(path: Path) -> Path:
    return path.with_name(path.name + KEEP_SUFFIX)


def _refuse_links(path: Path) -> None:
    """A checkpoint or its folder that is a link: another run's lie there."""
    for place in (path, path.parent):
        if place.is_symlink():
            raise OSError(errno.ELOOP, f"{place.name} is a link", str(place))


def remove(path: Path) -> None:
    """Delete one checkpoint: renamed first, so that a kill leaves no half one under its name.

    Raises:
        OSError: it cannot be renamed, or it or its folder is a link (another run's lie there).
    """
    _refuse_links(path)
    leftover = path.with_name(f".{path.name}.removed.partial")
    path.rename(leftover)
    shutil.rmtree(leftover, ignore_errors=True)


def remove_partials(run: RunDir, but: Path | None = None) -> list[Path]:
    """Delete the folders of saves that were killed or failed; `but` is being written now."""
    if run.checkpoints.is_symlink():
        return []
    found = [path for path in run.checkpoints.glob(".step-*.partial") if path != but]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return found


def _step_directories(run: RunDir) -> list[Path]:
    """Their folders, never through a link: what lies behind one is another run's."""
    if run.checkpoints.is_symlink():
        return []
    try:
        with os.scandir(run.checkpoints) as entries:
            return [
                path
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
                and step_of(path := Path(entry.path)) is not None
            ]
    except OSError:
        return []
