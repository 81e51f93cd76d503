"""Write a checkpoint in another program's layout.

`python -P -m engine.commands.export_checkpoint`, the job as JSON on stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from engine.checkpoints import checkpoint_dir, checkpoint_target, nanochat_paths
from engine.config import from_flat
from engine.errors import CheckpointError
from engine.files import written
from engine.model import family
from engine.processes import child


def main() -> int:
    return child.serve(export)


def export(job: dict[str, Any]) -> dict[str, Any]:
    """Export for nanochat's loader or for transformers; returns what was written.

    Job: `target` (arguments of `checkpoint_target.find`), `format` (`nanochat` or `hf`),
    `output` (folder), `tag` (model folder of nanochat's, or None for `d<layers>`).

    Raises:
        UsageError: the checkpoint cannot be read, or the place not be written.
    """
    target = checkpoint_target.find(**job["target"] | {"runs": Path(job["target"]["runs"])})
    folder = Path(job["output"])
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; expected a new one. Name another with -o.")
    if job["format"] == "hf" and folder.exists() and any(folder.iterdir()):
        raise CheckpointError(
            f"{folder} exists and is not empty; expected a new folder. Name another with -o."
        )

    # torch: seconds, which a missing checkpoint must not cost.
    from engine.checkpoints import (  # noqa: PLC0415
        checkpointer,
        hf_export,
        load_target,
        nanochat_io,
    )

    tokenizer: Any = load_target.load_tokenizer(target)
    state = load_target.load_state(target)
    own = family.of(target.config)
    if own.in_folders:
        if job["format"] != "hf":
            raise CheckpointError(
                f"{target.label} is no nanochat model, so it cannot be written in nanochat's "
                "layout. Type --format hf."
            )
        size = own.export(folder, target.config, state, tokenizer, adapter=bool(job.get("adapter")))
        return {"path": str(folder), "size_bytes": size, "label": target.label}
    if job["format"] == "hf":
        size = hf_export.export(folder, target.config, state, tokenizer)
        return {"path": str(folder), "size_bytes": size, "label": target.label}

    tag = job["tag"] or nanochat_paths.default_tag(target.config)
    step = target.step or 0
    existing = nanochat_paths.sft_result(folder, tag, step)
    if existing.exists():
        raise CheckpointError(
            f"{existing} exists; expected a place of its own. Name another folder with -o, or "
            "another tag with --tag."
        )
    _write_tokenizer(folder / "tokenizer" / "tokenizer.pkl", tokenizer)
    model_path = nanochat_io.export_sft_result(
        folder,
        tag,
        step,
        target.config,
        state,
        val_loss=target.val_loss,
        accuracies=target.accuracies or {},
        user_config=target.run.read_manifest()["config"] if target.run else None,
    )
    if target.run is not None:
        settings = from_flat(target.run.read_manifest()["config"], None)
        shards = checkpointer.load_optimizer_states(checkpoint_dir.read(target.path))
        nanochat_io.export_optimizer(model_path, target.config, settings.optim, shards)
    return {
        "path": str(model_path),
        "size_bytes": model_path.stat().st_size,
        "label": target.label,
    }


def _write_tokenizer(path: Path, tokenizer: Any) -> None:
    """Write nanochat's form of the tokenizer, unless an equal one is there already.

    Raises:
        CheckpointError: another tokenizer stands there, or it cannot be written.
    """
    try:
        written.refuse_place(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}.") from None
    if path.exists():
        if type(tokenizer).load(path).digest != tokenizer.digest:
            raise CheckpointError(
                f"{path} is another tokenizer than the checkpoint's; a cache can hold one. Name "
                "another folder with -o."
            )
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written.replacing(path) as fresh:
            tokenizer.save_pickle(fresh)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror}.") from None


if __name__ == "__main__":
    sys.exit(main())
