"""The small pretrained model that ships with the package: what it is, without torch.

`build_base` made the files and wrote their digests into `base.json`; what is
loaded here is checked against them, so a damaged install is told from a bad run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from engine.errors import CheckpointError
from engine.files import checked
from engine.model.nanochat.gpt_config import GPTConfig

ASSETS = Path(__file__).parent / "assets"
WEIGHTS = "base.safetensors"
TOKENIZER = "tokenizer.json"
INFO = "base.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseInfo:
    """Shape, files and digests of the base, known without loading it."""

    config: GPTConfig
    tokenizer_path: Path
    weights_path: Path
    digest: str
    """SHA-256 of the weights file."""
    tokenizer_digest: str
    """SHA-256 of the tokenizer file."""


def base_info(assets: Path = ASSETS) -> BaseInfo:
    """Shape, files and digests; no torch, no weights read.

    Raises:
        CheckpointError: a file is missing or `base.json` cannot be read.
    """
    try:
        found = checked.parse_json((assets / INFO).read_text(encoding="utf-8"))
        info = BaseInfo(
            config=GPTConfig.from_dict(found["model_config"]),
            tokenizer_path=assets / TOKENIZER,
            weights_path=assets / WEIGHTS,
            digest=found["sha256"][WEIGHTS],
            tokenizer_digest=found["sha256"][TOKENIZER],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(assets / INFO, str(error)) from error
    for path in (info.tokenizer_path, info.weights_path):
        if not path.is_file():
            raise _damaged(path, "the file is missing")
    return info


def checked_weights(assets: Path = ASSETS) -> tuple[BaseInfo, bytes]:
    """The weights file's content, compared with its digest.

    Raises:
        CheckpointError: a file is missing or is not the one that was shipped.
    """
    info = base_info(assets)
    content = info.weights_path.read_bytes()
    if hashlib.sha256(content).hexdigest() != info.digest:
        raise _damaged(info.weights_path, "its SHA-256 is not the one in base.json")
    return info, content


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: {what}; expected the starter model as it ships with sftui. Install sftui again, "
        "or make it anew with `python -m engine.starter.build_base`."
    )
