"""nanochat's checkpoint files: load one to start from, write one that nanochat can load.

Files of strangers are read with `weights_only`, so nothing in them can run. A
model trained on a GPU has its embedding in bfloat16; it is widened to fp32 on
loading (exact), because a CPU cannot mix the two and because bf16 weights round
away part of AdamW's smaller updates.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.nanochat_paths import NanochatCheckpoint, checkpoint_paths, export_folder
from engine.checkpoints.weights_header import COMPILE_PREFIX
from engine.config import OptimConfig
from engine.errors import CheckpointError
from engine.files import written
from engine.files.lfs import pointer_fault
from engine.journal.run_log import metric_name
from engine.model import family
from engine.model.family import ModelShape
from engine.model.nanochat.gpt import as_exported, as_loaded, check_state
from engine.model.nanochat.gpt_config import GPTConfig


def load_weights(
    ref: NanochatCheckpoint, *, embedding_dtype: torch.dtype = torch.float32
) -> tuple[GPTConfig, dict[str, Tensor]]:
    """Shape and tensors of a checkpoint, on the CPU, in fp32.

    `embedding_dtype` is of the embedding alone; bfloat16 is what nanochat trains with on CUDA.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or holds a number that
            is not finite.
    """
    found = _read_tensors(ref.model_path)
    state = {name.removeprefix(COMPILE_PREFIX): tensor for name, tensor in found.items()}
    try:
        check_state(ref.config, state)
    except CheckpointError as error:
        raise CheckpointError(f"{ref.model_path}: {error}") from error
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{ref.model_path}: tensor {name} holds numbers that are not finite; expected a "
                "usable model. Start from an earlier --step."
            )
    return ref.config, as_loaded(state, embedding_dtype)


def export_sft_result(
    base: Path,
    model_tag: str,
    step: int,
    config: ModelShape,
    state: Mapping[str, Tensor],
    *,
    val_loss: float | None,
    accuracies: Mapping[str, float],
    user_config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model and what was measured of it where nanochat looks for SFT results in `base`.

    `accuracies` are by task. Replaces a result of the same tag and step: ask
    `nanochat_paths.sft_result` first. Returns the path of the weights.

    Raises:
        CheckpointError: the tag is not a folder name, or the folder cannot be written.
    """
    meta: dict[str, Any] = {"val_loss": val_loss}
    for task, accuracy in accuracies.items():
        meta[metric_name(task)] = accuracy
    if config.generation != "2025":
        # nanochat's meta of 2026: bits a byte, what was typed, and no accuracies.
        meta = {"val_bpb": val_loss, "user_config": dict(user_config or {})}
    return export(export_folder(model_tag, base), step, config, state, meta)[0]


def export_optimizer(
    model_path: Path,
    config: ModelShape,
    settings: OptimConfig,
    shards: Sequence[Mapping[str, Tensor]],
    *,
    multiplier: float = 1.0,
    momentum: float | None = None,
) -> Path | None:
    """Write the optimizer file of one rank beside an exported model, as nanochat does since 2026.

    `shards` are those of all ranks that saved the checkpoint. None for October's models, which
    have no such file.

    Raises:
        CheckpointError: a part of the state is missing, or the folder cannot be written.
    """
    content = family.of(config).optimizer_file(
        config, settings, shards, multiplier=multiplier, momentum=momentum
    )
    if content is None:
        return None
    step = model_path.stem.removeprefix("model_")
    path = model_path.with_name(f"optim_{step}_rank0.pt")
    try:
        _write(path, lambda aside: torch.save(content, aside))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} could not be written ({error}). Free some space.") from error
    return path


def export(
    folder: Path,
    step: int,
    config: ModelShape,
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    *,
    embedding_dtype: torch.dtype | None = None,
) -> tuple[Path, Path]:
    """Write `model_{step}.pt` and `meta_{step}.json` as nanochat's loader expects them.

    `folder` is `nanochat_paths.export_folder(...)` or any other. `meta` holds what is known of
    `val_loss`, `mmlu_acc`, `arc_easy_acc`; step and shape are added. Each file appears whole or
    not at all, the model last: nanochat looks for the largest `model_*.pt`, and a kill between
    the two must not leave it one that it cannot load. The embedding keeps its
    dtype (bfloat16 on CUDA, as in nanochat) unless `embedding_dtype` names another.

    Returns the two paths.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    check_state(config, state)
    plain = as_exported(state, embedding_dtype)
    # In the order of nanochat's own files.
    plain = {name: plain[name] for name in config.parameter_shapes()}
    model_config = family.of(config).as_exported(config, {})[1]
    described = {"step": step, **meta, "model_config": model_config}
    if "user_config" in described:
        described["user_config"] = described.pop("user_config")
    model_path, meta_path = checkpoint_paths(folder, step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(described, indent=2)
        _write(meta_path, lambda path: path.write_text(text, encoding="utf-8"))
        _write(model_path, lambda path: torch.save(plain, path))
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError.
        raise CheckpointError(
            f"{folder}: the checkpoint could not be written ({error}); expected a folder with "
            "enough room. Free some space, or set NANOCHAT_BASE_DIR."
        ) from error
    return model_path, meta_path


def _read_tensors(path: Path) -> dict[str, Tensor]:
    advice = (
        "Expected a model_*.pt of nanochat's: copy it again, or name another with --model-tag and "
        "--step."
    )
    if fault := pointer_fault(path):
        raise CheckpointError(f"{fault}.")
    try:
        # Only the zip form: torch's older one goes through another reader, with warnings.
        if path.stat().st_size and not zipfile.is_zipfile(path):
            raise CheckpointError(f"{path}: not a whole torch.save file. {advice}")
        # torch.save packs nothing: what unpacks to more than the file holds was not written by it.
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > path.stat().st_size:
            raise CheckpointError(
                f"{path}: its entries unpack to {unpacked:,} bytes, more than it has. {advice}"
            )
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, so it is not loaded. {advice}"
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}). {advice}") from error
    except (zipfile.BadZipFile, IndexError, MemoryError, AssertionError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}). {advice}") from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()
    ):
        raise CheckpointError(f"{path}: is not a table of tensors. {advice}")
    return dict(found)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    with written.replacing(path, sync=True) as fresh:
        write(fresh)
