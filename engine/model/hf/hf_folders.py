"""Folders that others leave behind: checkpoints of a trainer, and adapters beside a base.

transformers' Trainer (and TRL's) writes `OUTPUT/checkpoint-N`, with the tokenizer in it or only
in `OUTPUT`. peft writes adapters alone, and the name of their base: a path on the machine they
were trained on, or an id on the hub. No torch in here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.files import checked
from engine.model.hf.hf_config import CONFIG, HfConfig, Lora, read_folder
from engine.model.hf.tokenizer_files import TOKENIZER

ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
BASE_NAME = "base_model_name_or_path"
MAX_BYTES = 2**22

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_HUB_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFolder:
    """A folder that holds a model or adapters of one."""

    path: Path
    """As it was named, or the newest checkpoint in it."""
    model: Path
    """Folder of the whole model: `path`, or the base of the adapters in it."""
    tokenizer: Path
    adapter: Path | None = None
    step: int | None = None
    """Of a trainer's checkpoint."""

    @property
    def label(self) -> str:
        name = self.path.name if self.step is None else f"{self.path.parent.name}/{self.path.name}"
        if self.adapter is not None:
            return f"{name} (adapters on {self.model.name})"
        return f"{name} (transformers)"

    def shape(self) -> HfConfig:
        """The model's shape; adapters are merged when its tensors are loaded.

        Raises:
            CheckpointError: as `hf_config.read_folder`.
        """
        return read_folder(self.model, adapter=self.adapter)


def is_one(folder: Path) -> bool:
    """Whether a folder is of this kind."""
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER)) or bool(
        _checkpoints(folder)
    )


def find(folder: Path, step: int | None = None) -> ForeignFolder:
    """The model or adapters in a folder, or in its newest `checkpoint-N` (of `step`: that one).

    Raises:
        CheckpointError: there is no such checkpoint, or the base of adapters is not here; what
            to type is said.
    """
    path = folder.absolute()
    inner = _checkpoints(path)
    if inner and (step is not None or not is_model(path)):
        if step is not None and step not in inner:
            there = ", ".join(map(str, inner))
            raise CheckpointError(f"{path} has no checkpoint-{step}; there are {there}.")
        path = inner[max(inner) if step is None else step]
    number = _CHECKPOINT.fullmatch(path.name)
    adapter = path if (path / ADAPTER).is_file() else None
    model = path if adapter is None else _base(adapter)
    return ForeignFolder(
        path=path,
        model=model,
        tokenizer=_tokenizer(path, model),
        adapter=adapter,
        step=int(number[1]) if number else None,
    )


def is_model(folder: Path) -> bool:
    """Whether the folder itself holds a model or adapters, not only checkpoints of one."""
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER))


def lora_of(adapter: Path) -> Lora:
    """Rank and places of adapters, as far as their memory depends on them.

    Raises:
        CheckpointError: they are of another kind than low-rank ones.
    """
    told = _told(adapter)
    rank = told.get("r")
    if told.get("peft_type", "LORA") != "LORA" or not isinstance(rank, int) or rank < 1:
        raise CheckpointError(
            f"{adapter / ADAPTER}: {told.get('peft_type')} of rank {rank}; expected LORA adapters."
        )
    targets = told.get("target_modules")
    return Lora(
        rank=rank,
        alpha=float(told.get("lora_alpha") or rank),
        # A regular expression names modules that cannot be told without the model.
        targets=tuple(map(str, targets)) if isinstance(targets, list) else ("all-linear",),
        rslora=bool(told.get("use_rslora")),
    )


def _checkpoints(folder: Path) -> dict[int, Path]:
    """A trainer's checkpoints in a folder, by step, that hold a model or adapters."""
    if not folder.is_dir():
        return {}
    named = ((_CHECKPOINT.fullmatch(each.name), each) for each in folder.iterdir())
    found = {int(match[1]): each for match, each in named if match and is_model(each)}
    return dict(sorted(found.items()))


def _tokenizer(path: Path, model: Path) -> Path:
    """Where the tokenizer lies: beside the weights, above a checkpoint, or with the base."""
    above = [path.parent] if _CHECKPOINT.fullmatch(path.name) else []
    return next((each for each in (path, *above, model) if (each / TOKENIZER).is_file()), path)


def _base(adapter: Path) -> Path:
    """The folder of the model that adapters belong to.

    Raises:
        CheckpointError: it is not on this machine, or is not named.
    """
    where = adapter / ADAPTER
    if not any((adapter / name).is_file() for name in ADAPTER_WEIGHTS):
        raise CheckpointError(
            f"{adapter} has {ADAPTER} and no {ADAPTER_WEIGHTS[0]}; expected both. Copy it again."
        )
    told = _told(adapter)
    name = told.get(BASE_NAME)
    if not isinstance(name, str) or not name:
        raise CheckpointError(
            f"{where} does not name the model that the adapters belong to; expected its folder "
            f"as {BASE_NAME}. Write it there."
        )
    plain = Path(os.path.expanduser(name))  # noqa: PTH111  which takes any name
    here = plain if plain.is_absolute() else Path.cwd() / plain
    beside: tuple[Path, ...] = (
        () if plain.is_absolute() else (adapter / plain, adapter.parent / plain)
    )
    for folder in (here, *beside, *_cached(name, told.get("revision"))):
        if _is_file(folder / CONFIG):
            return folder.absolute()
    advice = f"write the place of its folder into {where}"
    if _HUB_ID.fullmatch(name):
        advice = f"type: hf download {name}   (its cache is looked into), or {advice}"
    raise CheckpointError(
        f"{adapter} holds adapters of {name}, which is not on this machine; expected a folder "
        f"with {CONFIG}. To go on, {advice}."
    )


def _is_file(path: Path) -> bool:
    """Whether a path that somebody else wrote is a file; `Path.is_file` raises where a name is too
    long for a file system."""
    return os.path.isfile(path)  # noqa: PTH113


def _cached(name: str, revision: object) -> Iterator[Path]:
    """The snapshot of a model in the hub's cache: of the revision that is named, else of main."""
    if not _HUB_ID.fullmatch(name):
        return
    folder = _hub_cache() / f"models--{name.replace('/', '--')}"
    wanted = revision if isinstance(revision, str) and revision else "main"
    ref = folder / "refs" / wanted
    if ".." not in ref.parts and _is_file(ref):
        wanted = str(checked.read_typed(ref, 200).decode("ascii", "replace")).strip()
    yield folder / "snapshots" / wanted


def _hub_cache() -> Path:
    """Where huggingface_hub keeps models, by its own rules."""
    if found := os.environ.get("HF_HUB_CACHE"):
        return Path(found).expanduser()
    if found := os.environ.get("HF_HOME"):
        return Path(found).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def _told(adapter: Path) -> Mapping[str, Any]:
    """The table in `adapter_config.json`."""
    path = adapter / ADAPTER
    try:
        found = checked.parse_json(checked.read_typed(path, MAX_BYTES))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a JSON object.")
    return found
