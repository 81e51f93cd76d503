"""`sftui export`: a checkpoint in nanochat's layout, or as transformers loads it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from engine.checkpoints import checkpoint_target
from engine.errors import UsageError
from engine.processes import child
from engine.run import run_dir
from sftui.text import format as fmt


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFlags:
    """Write a checkpoint so that another program can load it.

    nanochat: a folder to set NANOCHAT_BASE_DIR to, checkpoint and tokenizer in it. hf: a folder
    for transformers' from_pretrained (model type nanochat), with tokenizer and chat template.

    Examples:
      sftui export 20260102-030405-starter --format hf -o my-model
      sftui export sft:d16:1952 --format hf
    """

    checkpoint: tyro.conf.Positional[str | None] = None
    """A run, RUN:STEP, a ckpt/step-N folder, sft:d16:700, or an exported folder."""
    format: Literal["nanochat", "hf"] = "nanochat"
    """Whose layout."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder to write (default: named after checkpoint and format, here)."""
    source: str | None = None
    """nanochat's checkpoint by names: base, mid, sft or rl."""
    model_tag: str | None = None
    """Model folder of --source, e.g. d16 (default: the deepest)."""
    step: int | None = None
    """Step of the checkpoint (default: the last)."""
    tag: str | None = None
    """Model folder to write in nanochat's layout (default: d and the number of layers)."""
    runs_dir: Path | None = None
    """Where run directories lie (default: SFTUI_RUNS, else runs/)."""


def export(flags: ExportFlags) -> str:
    """Write the export; what was done, in one line.

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
        },
    )
    return f"{done['label']} exported to {done['path']} ({fmt.size(done['size_bytes'])})"


def hub_cache() -> Path:
    """Where huggingface_hub keeps what it downloaded."""
    home = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or Path(home, "hub")).expanduser()


def _refuse_hub_cache(output: Path) -> None:
    """Its folders are what was downloaded, by commit: a model of one's own would pass for it.

    Raises:
        UsageError: `output` lies in it.
    """
    place, cache = output.expanduser().resolve(), hub_cache().resolve()
    if place == cache or cache in place.parents:
        raise UsageError(
            f"{output} is in the cache of the Hugging Face hub ({cache}), which holds downloads "
            "only and may be emptied at any time. Name another folder with -o."
        )
