"""`sftui export`: a checkpoint in nanochat's layout, or as transformers loads it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.checkpoints import checkpoint_target
from engine.errors import UsageError
from engine.processes import child
from engine.run import run_dir
from sftui.commands.checkpoint_flags import ExportFlags
from sftui.text import format as fmt


def write_export(flags: ExportFlags) -> str:
    """Write the export; returns one line that says what was written.

    Raises:
        UsageError: the checkpoint cannot be read, or the place not be written.
    """
    if flags.output is not None:
        _refuse_hub_cache(flags.output)
    runs = run_dir.runs_root(flags.runs_dir)
    names = {"source": flags.source, "model_tag": flags.model_tag, "step": flags.step}
    target = checkpoint_target.find(flags.checkpoint, **names, runs=runs)  # type: ignore[arg-type]
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", target.label).strip("-.")
    output = flags.output or Path(f"{slug}-{flags.format}")
    done = child.run(
        "engine.commands.export_checkpoint",
        {
            "target": {"text": flags.checkpoint, **names, "runs": str(runs)},
            "format": flags.format,
            "output": str(output.expanduser().absolute()),
            "tag": flags.tag,
            "adapter": flags.adapter,
        },
    )
    return f"{done['label']} exported to {done['path']} ({fmt.size(done['size_bytes'])})"


def hub_cache() -> Path:
    """The folder in which huggingface_hub caches downloads."""
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or Path(home, "hub")).expanduser()


def _refuse_hub_cache(output: Path) -> None:
    """Refuse an output in the hub's cache, where an export would pass for a download.

    Raises:
        UsageError: `output` lies in it.
    """
    place, cache = output.expanduser().resolve(), hub_cache().resolve()
    if place == cache or cache in place.parents:
        raise UsageError(
            f"{output} is in the cache of the Hugging Face hub ({cache}), which holds downloads "
            "only and may be emptied at any time. Name another folder with -o."
        )
