"""Where nanochat keeps its checkpoints, and what can be known of one without torch.

The launcher checks everything here before any process starts: that the
checkpoint exists, that its meta file describes a model we can train, and that
the tokenizer has the model's vocabulary. Tensors are `nanochat_io`'s.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoints import weights_header
from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError
from engine.files import checked
from engine.files.lfs import pointer_fault
from engine.model.family import ModelShape
from engine.model.nanochat.gpt_config import GPTConfig

SOURCE_FOLDERS = {
    "base": "base_checkpoints",
    "mid": "mid_checkpoints",
    "sft": "chatsft_checkpoints",
    "rl": "chatrl_checkpoints",
}

MAX_META_BYTES = 2**20

_MODEL_FILE = re.compile(r"model_(\d+)\.pt")
_DEPTH_TAG = re.compile(r"d(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NanochatCheckpoint:
    """A checkpoint in nanochat's cache: its files and shape; the tensors are not loaded."""

    source: str
    """base, mid, sft or rl."""
    model_tag: str
    step: int
    model_path: Path
    meta_path: Path
    tokenizer_path: Path
    config: GPTConfig
    meta: Mapping[str, Any]
    """The whole meta file."""

    @property
    def label(self) -> str:
        """In words, e.g. `mid d16 step 770`."""
        return f"{self.source} {self.model_tag} step {self.step}"


def base_dir(environ: Mapping[str, str] | None = None) -> Path:
    """nanochat's cache folder: `$NANOCHAT_BASE_DIR`, else `~/.cache/nanochat`. May not exist."""
    environ = os.environ if environ is None else environ
    named = environ.get("NANOCHAT_BASE_DIR")
    return Path(named) if named else Path.home() / ".cache" / "nanochat"


def newest_start(base: Path | None = None) -> str | None:
    """The source a run starts from when none is named; None without a checkpoint.

    Of `mid` (October 2025, which trained on from it) and `base` (since 2026, which has no mid
    stage) the one whose weights were written last; a base of October only without a mid.
    """
    base = base_dir() if base is None else base
    written = {
        source: max(times)
        for source in ("mid", "base")
        if (
            times := [
                path.stat().st_mtime
                for folder in _tags(base / SOURCE_FOLDERS[source])
                for path in _steps(folder).values()
            ]
        )
    }
    if len(written) == 2:
        try:
            generation = find_checkpoint("base", base=base).config.generation
        except CheckpointError:
            return "mid"
        return "base" if generation != "2025" and written["base"] > written["mid"] else "mid"
    return next(iter(written), None)


_SHARD = re.compile(r"optim_(\d+)_rank(\d+)\.pt")


def optimizer_shards(folder: Path, step: int) -> list[Path]:
    """The optimizer files beside a checkpoint, by rank; empty where there are none.

    Raises:
        CheckpointError: a rank's is missing among them.
    """
    by_rank = {
        int(match[2]): path
        for path in folder.iterdir()
        if (match := _SHARD.fullmatch(path.name)) and int(match[1]) == step
    }
    for rank in range(max(by_rank, default=-1) + 1):
        if rank not in by_rank:
            raise CheckpointError(
                f"{folder} has optimizer files of {len(by_rank)} ranks and none of rank {rank}; "
                "expected those of every rank that wrote them. Copy the missing one, or pass "
                "--no-load-optimizer to begin with a fresh optimizer."
            )
    return [by_rank[rank] for rank in sorted(by_rank)]


def find_checkpoint(
    source: str,
    model_tag: str | None = None,
    step: int | None = None,
    *,
    base: Path | None = None,
) -> NanochatCheckpoint:
    """The checkpoint nanochat itself would load for these three names.

    No tag: the folder `d<number>` of the largest number, else the folder changed
    last. No step: the largest.

    Raises:
        CheckpointError: there is none, or its meta file cannot be used.
    """
    base = base_dir() if base is None else base
    if source not in SOURCE_FOLDERS:
        raise CheckpointError(
            f"source is {source!r}; expected one of {', '.join(SOURCE_FOLDERS)}. Type --source mid."
        )
    root = base / SOURCE_FOLDERS[source]
    folder = _tag_folder(root, source, model_tag)
    steps = _steps(folder)
    if not steps:
        raise CheckpointError(
            f"{folder} holds no model_*.pt; expected a finished nanochat training. Name another "
            "folder with --model-tag, or another --source."
        )
    if step is None:
        step = max(steps)
    if step not in steps:
        raise CheckpointError(
            f"{folder} has no step {step}; expected one of {_some(sorted(steps))}. Type one of "
            "them after --step."
        )
    model_path = steps[step]
    meta_path = model_path.with_name(model_path.name.replace("model_", "meta_")).with_suffix(
        ".json"
    )
    meta = read_meta(meta_path)
    try:
        config = GPTConfig.from_dict(meta["model_config"], weights_header.shapes(model_path))
    except CheckpointError as error:
        raise CheckpointError(f"{meta_path}: {error}") from error
    return NanochatCheckpoint(
        source=source,
        model_tag=folder.name,
        step=step,
        model_path=model_path,
        meta_path=meta_path,
        tokenizer_path=base / "tokenizer" / "tokenizer.pkl",
        config=config,
        meta=meta,
    )


def read_meta(path: Path) -> dict[str, Any]:
    """The meta file of a checkpoint; `model_config` in it is a table.

    Raises:
        CheckpointError: it is missing, too large, or not such a JSON object.
    """
    advice = (
        "Expected the meta_*.json that nanochat writes beside model_*.pt; copy it from where the "
        "checkpoint was trained."
    )
    if fault := pointer_fault(path):
        raise CheckpointError(f"{fault}.")
    try:
        if path.stat().st_size > MAX_META_BYTES:
            raise CheckpointError(f"{path}: too large for a meta file. {advice}")
        found = checked.parse_json(checked.read_typed(path, MAX_META_BYTES))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error}). {advice}") from error
    if not isinstance(found, dict) or not isinstance(found.get("model_config"), dict):
        raise CheckpointError(f"{path}: holds no model_config. {advice}")
    return found


def check_vocabulary(ref: NanochatCheckpoint, tokenizer: Tokenizer) -> None:
    """The tokenizer has exactly the ids the model has.

    Raises:
        CheckpointError: naming both sizes.
    """
    if tokenizer.vocab_size != ref.config.vocab_size:
        raise CheckpointError(
            f"{ref.tokenizer_path} has {tokenizer.vocab_size:,} tokens, the model "
            f"({ref.label}) {ref.config.vocab_size:,}; expected the same. Copy the tokenizer the "
            "model was trained with."
        )


def checkpoint_paths(folder: Path, step: int) -> tuple[Path, Path]:
    """(model, meta) paths of a step, named as nanochat names them."""
    return folder / f"model_{step:06d}.pt", folder / f"meta_{step:06d}.json"


def export_folder(model_tag: str, base: Path | None = None) -> Path:
    """Folder in which nanochat looks for SFT results: `chatsft_checkpoints/<tag>`.

    Raises:
        CheckpointError: the tag is not one plain folder name.
    """
    base = base_dir() if base is None else base
    return base / SOURCE_FOLDERS["sft"] / _plain_tag(model_tag)


def default_tag(config: ModelShape) -> str:
    """nanochat's name of a model folder: `d` and the number of layers."""
    return f"d{config.n_layer}"


def sft_result(base: Path, model_tag: str, step: int) -> Path:
    """Weights file of an SFT result in the cache `base`; it may not exist.

    Raises:
        CheckpointError: the tag is not one plain folder name.
    """
    return checkpoint_paths(export_folder(model_tag, base), step)[0]


def _tag_folder(root: Path, source: str, model_tag: str | None) -> Path:
    folders = _tags(root)
    if not folders:
        others = [name for name, under in SOURCE_FOLDERS.items() if _tags(root.parent / under)]
        here = f" (there is {', '.join(others)})" if others else ""
        raise CheckpointError(
            f"{root} holds no checkpoint folder; expected one per model, e.g. d16. Set "
            f"NANOCHAT_BASE_DIR to nanochat's cache, or name another --source than {source}{here}."
        )
    if model_tag is not None:
        folder = root / _plain_tag(model_tag)
        if not folder.is_dir():
            raise CheckpointError(
                f"{root} has no folder {model_tag}; expected one of "
                f"{_some([found.name for found in folders])}. Type --model-tag with one of them, "
                "or another --source."
            )
        return folder
    deep = [
        (int(match[1]), folder) for folder in folders if (match := _DEPTH_TAG.match(folder.name))
    ]
    if deep:
        return max(deep)[1]
    return max(folders, key=lambda folder: folder.stat().st_mtime)


def _plain_tag(model_tag: str) -> str:
    if not model_tag or model_tag in (".", "..") or any(c in model_tag for c in "/\\\0"):
        raise CheckpointError(
            f"model_tag is {model_tag!r}; expected one folder name, e.g. d16. Type --model-tag d16."
        )
    return model_tag


def _tags(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(folder for folder in root.iterdir() if folder.is_dir())


def _steps(folder: Path) -> dict[int, Path]:
    found = {}
    for path in folder.iterdir():
        match = _MODEL_FILE.fullmatch(path.name)
        if match:
            found[int(match[1])] = path
    return found


def _some(names: list[Any]) -> str:
    """The last few names, for a message."""
    if not names:
        return "none"
    shown = ", ".join(str(name) for name in names[-5:])
    return f"... {shown}" if len(names) > 5 else shown
