"""The files of a tokenizer in a model's folder, read as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import CheckpointError
from engine.files import checked

TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
SPECIAL_MAP = "special_tokens_map.json"
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
MAX_FILE_BYTES = 2**27
"""128 MiB: ten times the largest tokenizer.json there is."""


def named_tokens(config: Mapping[str, Any], special_map: Mapping[str, Any]) -> dict[str, str]:
    """Tokens by transformers' names, of a tokenizer's two files."""
    found: dict[str, str] = {}
    for name in NAMED:
        token = config.get(name)
        token = special_map.get(name) if token is None else token
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            found[name] = token
    return found


def chat_template(folder: Path, config: Mapping[str, Any], named: Path | None) -> str:
    """The chat template: a file that was named, else the folder's own."""
    if named is not None:
        return read_text(named)
    if (folder / TEMPLATE).is_file():
        return read_text(folder / TEMPLATE)
    found = config.get("chat_template")
    if isinstance(found, list):
        # Several, by name.
        by_name = {each.get("name"): each.get("template") for each in found if each}
        found = by_name.get("default")
    if isinstance(found, str) and found:
        return found
    raise CheckpointError(
        f"{folder}: the tokenizer has no chat template, so there is no telling how a "
        f"conversation becomes tokens; expected {TEMPLATE}, or chat_template in {CONFIG}. Base "
        "models have none: take the tokenizer of the instruct model, or name a template file "
        "with --chat-template."
    )


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        CheckpointError: it cannot be read, or is no UTF-8.
    """
    try:
        return checked.read_typed(path, MAX_FILE_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}).") from None


def read_table(path: Path) -> dict[str, Any]:
    """The table in a file; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = checked.parse_json(checked.read_typed(path, MAX_FILE_BYTES))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}).") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: is not a JSON object.")
    return found
