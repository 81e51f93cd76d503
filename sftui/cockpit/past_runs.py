"""Which earlier run the one that is shown may be held against, and how it is read.

Comparable are runs of the same kind of model and data: their losses are of the same scale. What
else differs between them is said beside their curves.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import SftuiError, UsageError
from engine.run import foreign, run_dir
from engine.run.run_dir import RunDir
from sftui.text.clean import clean
from sftui.view.past_run import PastRun

MOST_LOOKED_AT = 30
"""Runs before the one that is shown whose manifests `is_any` reads."""
_SHAPE = ("n_layer", "n_embd", "vocab_size")


def kind_of(manifest: Mapping[str, Any]) -> Hashable:
    """What two runs have in common whose losses may be held against each other: where they start
    from, size and vocabulary of the model, and the names of the training sources. Of another
    trainer, its script."""
    if foreign.is_foreign(manifest):
        words = manifest.get("command")
        texts = map(str, words if isinstance(words, list) else ())
        return "foreign", tuple(word for word in texts if word.endswith((".py", ".sh")))
    config, start = manifest.get("config") or {}, manifest.get("start") or {}
    shape = start.get("model_config")
    shape = shape if isinstance(shape, dict) else {}
    sources = [name for name in manifest.get("row_digests") or {} if name.startswith("training ")]
    return (
        str(config.get("source")),
        str(config.get("model")),
        str(manifest.get("tokenizer_sha256")),
        tuple(str(shape.get(name)) for name in _SHAPE),
        tuple(sorted(sources)),
    )


def comparable(run: RunDir, root: Path) -> Iterator[RunDir]:
    """The runs before this one that are of its kind, newest first.

    Raises:
        RunDirError: its own manifest cannot be read.
    """
    return _alike(kind_of(run.read_manifest()), _before(run, root))


def is_any(run: RunDir, root: Path) -> bool | None:
    """Whether there is a run of its kind before this one; None where none is among the newest
    MOST_LOOKED_AT and there are more: every screen asks this once."""
    try:
        kind = kind_of(run.read_manifest())
    except SftuiError:
        return None
    before = list(_before(run, root))
    found = any(True for _ in _alike(kind, iter(before[:MOST_LOOKED_AT])))
    return found or (False if len(before) <= MOST_LOOKED_AT else None)


class LookBack:
    """`is_any`, asked on a thread: thirty manifests on a slow disk would hold the screen."""

    def __init__(self, run: RunDir, root: Path) -> None:
        self.done = False
        self.found: bool | None = None
        """As `is_any`; None until `done`."""
        threading.Thread(target=self._look, args=(run, root), name="past-runs", daemon=True).start()

    def _look(self, run: RunDir, root: Path) -> None:
        try:
            with contextlib.suppress(OSError):
                self.found = is_any(run, root)
        finally:
            self.done = True


def _before(run: RunDir, root: Path) -> Iterator[RunDir]:
    return (other for other in run_dir.list_runs(root) if other.id < run.id)


def _alike(kind: Hashable, runs: Iterator[RunDir]) -> Iterator[RunDir]:
    for other in runs:
        try:
            manifest = other.read_manifest()
        except SftuiError:
            continue  # whatever is wrong with one run must not hide the others
        if kind_of(manifest) == kind:
            yield other


def read(target: str | None, folder: Path | None, root: Path) -> PastRun:
    """Read an earlier run with a training loss.

    Args:
        target: a run or log; None for the last comparable run.
        folder: of the run that is shown; None over another program's log.
        root: where the runs lie.

    Raises:
        UsageError: there is none.
    """
    from sftui.sources import snapshot  # noqa: PLC0415  all readers of logs

    if target is not None:
        shot = snapshot.read(target, root)
        past = PastRun(clean(shot.title, 80), shot.state)
        if not len(past.raw):
            raise UsageError(f"{past.name} has no training loss to draw.")
        return past
    if folder is None:
        raise UsageError("a log has no run before it; `past RUN` takes any run or log.")
    for run in comparable(RunDir(folder), root):
        past = PastRun(clean(run.id, 80), snapshot.read_run(run).state)
        if len(past.raw):
            return past
    raise UsageError(
        "there is no earlier run of the same model and data; `past RUN` takes any run or log."
    )
