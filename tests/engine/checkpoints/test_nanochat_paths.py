"""nanochat's checkpoints are found as nanochat finds them, and faults are one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoints.nanochat_paths import (
    base_dir,
    check_vocabulary,
    checkpoint_paths,
    export_folder,
    find_checkpoint,
    newest_start,
)
from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError
from tests.conftest import SHARED, needs_shared

CONFIG = {
    "sequence_len": 8,
    "vocab_size": 265,
    "n_layer": 1,
    "n_head": 1,
    "n_kv_head": 1,
    "n_embd": 4,
}


def make(base: Path, folder: str, tag: str, *steps: int, meta: object = None) -> Path:
    """Empty model files with good meta files beside them."""
    place = base / folder / tag
    place.mkdir(parents=True, exist_ok=True)
    for step in steps:
        model, described = checkpoint_paths(place, step)
        model.touch()
        described.write_text(json.dumps(meta or {"step": step, "model_config": CONFIG}))
    return place


def test_the_base_folder_is_nanochats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NANOCHAT_BASE_DIR wins; without it the cache lies in the home folder."""
    assert base_dir({"NANOCHAT_BASE_DIR": "/x/y"}) == Path("/x/y")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert base_dir({}) == tmp_path / ".cache/nanochat"
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "z"))
    assert base_dir() == tmp_path / "z"


def test_the_deepest_tag_and_last_step_win(tmp_path: Path) -> None:
    """Without names: the largest d<number> as a number, and the largest step as a number."""
    make(tmp_path, "mid_checkpoints", "d4", 900_000)
    make(tmp_path, "mid_checkpoints", "d20", 5)
    make(tmp_path, "mid_checkpoints", "d16", 999_999, 1_000_000)
    make(tmp_path, "mid_checkpoints", "zoo", 7)
    assert find_checkpoint("mid", base=tmp_path).label == "mid d20 step 5"
    assert find_checkpoint("mid", "d16", base=tmp_path).step == 1_000_000
    assert find_checkpoint("mid", "d16", 999_999, base=tmp_path).step == 999_999
    assert find_checkpoint("mid", "zoo", base=tmp_path).model_tag == "zoo"


def test_without_a_depth_tag_the_newest_folder_wins(tmp_path: Path) -> None:
    """Folders of other names go by when they were changed."""
    for age, tag in enumerate(["aaa", "bbb", "ccc"]):
        place = make(tmp_path, "base_checkpoints", tag, 1)
        os.utime(place, (1000, 1000 if tag != "bbb" else 5000 + age))
    assert find_checkpoint("base", base=tmp_path).model_tag == "bbb"


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("base", "base_checkpoints"),
        ("mid", "mid_checkpoints"),
        ("sft", "chatsft_checkpoints"),
        ("rl", "chatrl_checkpoints"),
    ],
)
def test_every_source_has_its_folder(tmp_path: Path, source: str, folder: str) -> None:
    """base, mid, sft and rl lie where nanochat writes them."""
    place = make(tmp_path, folder, "d2", 3)
    found = find_checkpoint(source, base=tmp_path)
    assert found.model_path == place / "model_000003.pt"
    assert found.meta_path == place / "meta_000003.json"
    assert found.tokenizer_path == tmp_path / "tokenizer" / "tokenizer.pkl"
    assert found.config.to_dict() == CONFIG


def test_the_start_is_mid_else_base(tmp_path: Path) -> None:
    """Nothing named: a mid checkpoint, else a base one; an empty folder does not count."""
    assert newest_start(tmp_path / "missing") is None
    make(tmp_path, "base_checkpoints", "d2", 1)
    make(tmp_path, "mid_checkpoints", "d2")
    assert newest_start(tmp_path) == "base"
    make(tmp_path, "mid_checkpoints", "d2", 1)
    assert newest_start(tmp_path) == "mid"


def test_each_missing_thing_is_named(tmp_path: Path) -> None:
    """What was looked for, what there is, and what to type."""
    with pytest.raises(CheckpointError, match=r"source is 'middle'.*base, mid, sft, rl"):
        find_checkpoint("middle", base=tmp_path)
    with pytest.raises(CheckpointError, match=r"mid_checkpoints.*NANOCHAT_BASE_DIR"):
        find_checkpoint("mid", base=tmp_path)
    make(tmp_path, "mid_checkpoints", "d2", *range(1, 9))
    with pytest.raises(CheckpointError, match=r"no folder d3; expected one of d2\..*--model-tag"):
        find_checkpoint("mid", "d3", base=tmp_path)
    with pytest.raises(CheckpointError, match=r"no step 11; expected one of .*7, 8.*--step"):
        find_checkpoint("mid", "d2", 11, base=tmp_path)
    make(tmp_path, "mid_checkpoints", "d9")
    with pytest.raises(CheckpointError, match=r"d9 holds no model_\*\.pt"):
        find_checkpoint("mid", base=tmp_path)


@pytest.mark.parametrize("tag", ["", ".", "..", "../d2", "/etc", "a\\b", "a\0b"])
def test_a_tag_cannot_leave_the_folder(tmp_path: Path, tag: str) -> None:
    """A tag is one folder name, for reading and for writing."""
    make(tmp_path, "mid_checkpoints", "d2", 1)
    with pytest.raises(CheckpointError, match="one folder name"):
        find_checkpoint("mid", tag, base=tmp_path)
    with pytest.raises(CheckpointError, match="one folder name"):
        export_folder(tag, tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", '{"step": 1}', '{"model_config": []}', "[" * 100_000, "\udc80"],
)
def test_a_damaged_meta_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    """Whatever the meta file holds, the answer names the file."""
    place = make(tmp_path, "mid_checkpoints", "d2", 1)
    (place / "meta_000001.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"meta_000001\.json"):
        find_checkpoint("mid", base=tmp_path)


def test_a_missing_meta_file_is_named(tmp_path: Path) -> None:
    """A model without its meta file cannot be described."""
    place = make(tmp_path, "mid_checkpoints", "d2", 1)
    (place / "meta_000001.json").unlink()
    with pytest.raises(CheckpointError, match=r"meta_000001\.json: cannot be read"):
        find_checkpoint("mid", base=tmp_path)


@pytest.mark.parametrize(
    ("pattern", "newer", "start"),
    [
        ("SSSL", "base_checkpoints", "base"),
        ("SSSL", "mid_checkpoints", "mid"),
        ("", "base_checkpoints", "mid"),
        ("", "mid_checkpoints", "mid"),
    ],
)
def test_the_start_is_the_newest_of_either_generation(
    tmp_path: Path, pattern: str, newer: str, start: str
) -> None:
    """A base of 2026 that was written after a mid of October 2025; a base of October never."""
    wide = CONFIG | {"n_embd": 48, "n_head": 2, "n_kv_head": 2}
    config = wide | ({"window_pattern": pattern} if pattern else {})
    make(tmp_path, "mid_checkpoints", "d2", 1)
    make(tmp_path, "base_checkpoints", "d2", 1, meta={"step": 1, "model_config": config})
    for folder in ("mid_checkpoints", "base_checkpoints"):
        when = 2_000.0 if folder == newer else 1_000.0
        os.utime(tmp_path / folder / "d2" / "model_000001.pt", (when, when))
    assert newest_start(tmp_path) == start


def test_the_2026_generation_is_known_from_its_meta_file(tmp_path: Path) -> None:
    """Where the weights cannot be looked at (they are an empty file here), and says so later."""
    wide = CONFIG | {"n_embd": 48, "n_head": 2, "n_kv_head": 2, "window_pattern": "SSSL"}
    meta: dict[str, Any] = {"step": 1, "model_config": wide}
    make(tmp_path, "base_checkpoints", "d2", 1, meta=meta)
    assert find_checkpoint("base", base=tmp_path).config.generation == "2026"


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    """A tokenizer of another size than the model's vocabulary is refused with both numbers."""
    make(tmp_path, "mid_checkpoints", "d2", 1)
    ref = find_checkpoint("mid", base=tmp_path)
    merges = [bytes([value]) for value in range(256)]
    check_vocabulary(ref, Tokenizer.from_merges(r"\w+|\W+", merges))
    with pytest.raises(CheckpointError, match=r"266 tokens.*265"):
        check_vocabulary(ref, Tokenizer.from_merges(r"\w+|\W+", [*merges, b"ab"]))


@needs_shared
def test_the_genuine_cache_is_read() -> None:
    """The reference cache's checkpoints and tokenizer are found, described and agree."""
    base = SHARED / "nanochat/base"
    ref = find_checkpoint("mid", base=base)
    assert ref.label == "mid d4 step 770"
    assert ref.meta["val_bpb"] == pytest.approx(0.36303, abs=1e-5)
    assert find_checkpoint("sft", base=base).step == 224
    check_vocabulary(ref, Tokenizer.load(ref.tokenizer_path))


def test_searching_needs_no_torch() -> None:
    """The launcher can look for a checkpoint without paying for torch."""
    program = "import sys, engine.checkpoints.nanochat_paths; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
