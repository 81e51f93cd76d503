"""Write what a run trained as a folder that transformers loads: whole, merged, or adapters."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.errors import CheckpointError
from engine.model.hf import hf_weights, tokenizer_files
from engine.model.hf.hf_config import HfConfig
from engine.model.hf.hf_tokenizer import HfTokenizer

BESIDE = (
    tokenizer_files.TOKENIZER,
    tokenizer_files.CONFIG,
    tokenizer_files.SPECIAL_MAP,
    "generation_config.json",
)
"""Files of the base that belong to the result as they are."""


def save(
    folder: Path,
    shape: HfConfig,
    state: Mapping[str, Tensor],
    tokenizer: HfTokenizer,
    *,
    adapter: bool = False,
) -> int:
    """Write the model and its tokenizer; bytes written. The folder appears whole or not at all.

    `adapter`: of a run with adapters only these, for peft; otherwise they are merged into the
    base's matrices. Weights are written in fp32, as they were trained.

    Raises:
        CheckpointError: it exists and is not empty, or cannot be written; or there are no
            adapters to write.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists and is not empty; expected a new folder.")
    if adapter and shape.lora is None:
        raise CheckpointError(
            "the run trained the whole model, so there are no adapters to write; expected --lora "
            "in its settings. Leave --adapter out."
        )
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        aside.mkdir(parents=True)
        decoder = hf_weights.build(shape, state)
        model: Any = decoder.model
        if shape.lora is not None and not adapter:
            model = model.merge_and_unload()
        # Our way to attend is no business of whoever loads it.
        hf_weights.base_of(model).set_attn_implementation("sdpa")
        model.save_pretrained(aside, max_shard_size="4GB")
        # peft's page about a model that nobody has described.
        (aside / "README.md").unlink(missing_ok=True)
        # Adapters of others may bring a tokenizer of their own.
        places = [place for place in (Path(tokenizer.name), shape.folder) if place.is_dir()]
        for name in BESIDE:
            if (place := next((p for p in places if (p / name).is_file()), None)) is not None:
                shutil.copyfile(place / name, aside / name)
        (aside / tokenizer_files.TEMPLATE).write_text(tokenizer.template, encoding="utf-8")
        size = sum(path.stat().st_size for path in aside.iterdir())
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written ({error.strerror or error}); expected a folder with "
            "enough room. Free some space, or name another place."
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return size
