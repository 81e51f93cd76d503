"""Which earlier run the one that is shown may be held against, and how it is read.

Comparable are runs of the same kind of model and data: their losses are of the same scale. What
else differs between them is said beside their curves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import SftuiError, UsageError
from engine.run import foreign, run_dir
from engine.run.run_dir import RunDir
from sftui.sources import snapshot
from sftui.text.clean import clean
from sftui.view.past_run import PastRun

_SHAPE = ("n_layer", "n_embd", "vocab_size")


def kind_of(manifest: Mapping[str, Any]) -> Hashable:
    """What two runs have in common whose losses may be held against each other: where they start
    from, size and vocabulary of the model, and the names of the training sources. Of another
    trainer, its script."""
    if foreign.is_foreign(manifest):
        words = manifest.get("command") or []
        return "foreign", tuple(str(word) for word in words if str(word).endswith((".py", ".sh")))
    config, start = manifest.get("config") or {}, manifest.get("start") or {}
    shape = start.get("model_config") or {}
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
    kind = kind_of(run.read_manifest())
    for other in run_dir.list_runs(root):
        if other.id >= run.id:
            continue
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
