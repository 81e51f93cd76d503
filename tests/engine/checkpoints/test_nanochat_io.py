"""Checkpoints come in and go out as nanochat keeps them, and strangers' files run nothing."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.checkpoints import nanochat_io
from engine.checkpoints.nanochat_io import export, load_weights
from engine.checkpoints.nanochat_paths import NanochatCheckpoint, export_folder, find_checkpoint
from engine.errors import CheckpointError
from engine.model.nanochat.gpt import GPT, GPTConfig
from tests.conftest import SHARED, needs_shared

TINY = GPTConfig(sequence_len=8, vocab_size=20, n_layer=2, n_head=2, n_kv_head=1, n_embd=8)


def tiny_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(shape) for name, shape in TINY.parameter_shapes().items()}


def saved(base: Path, content: object) -> NanochatCheckpoint:
    """`content` as a checkpoint file of a cache at `base`, found."""
    folder = base / "mid_checkpoints" / "d2"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / "model_000001.pt")
    meta = {"step": 1, "model_config": TINY.to_dict()}
    (folder / "meta_000001.json").write_text(json.dumps(meta))
    return find_checkpoint("mid", base=base)


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_a_checkpoint_loads(tmp_path: Path) -> None:
    """Every tensor comes back to the bit, with the shape of the meta file."""
    state = tiny_state()
    config, found = load_weights(saved(tmp_path, state))
    assert config == TINY
    assert_equal(found, state)


def test_a_gpus_bf16_embedding_is_widened(tmp_path: Path) -> None:
    """bf16 of a CUDA run becomes fp32 exactly, or stays when asked; the rest is fp32."""
    state = tiny_state()
    state["transformer.wte.weight"] = state["transformer.wte.weight"].bfloat16()
    ref = saved(tmp_path, state)
    wide = load_weights(ref)[1]
    assert {tensor.dtype for tensor in wide.values()} == {torch.float32}
    assert torch.equal(
        wide["transformer.wte.weight"], state["transformer.wte.weight"].to(torch.float32)
    )
    narrow = load_weights(ref, embedding_dtype=torch.bfloat16)[1]
    assert torch.equal(narrow["transformer.wte.weight"], state["transformer.wte.weight"])


def test_only_the_exact_compile_prefix_is_cut(tmp_path: Path) -> None:
    """`_orig_mod.` in front goes; other letters in front stay, and the tensor is named."""
    state = tiny_state()
    _, found = load_weights(saved(tmp_path, {f"_orig_mod.{k}": v for k, v in state.items()}))
    assert_equal(found, state)
    with pytest.raises(CheckpointError, match=r"tensor midtransformer\.wte\.weight"):
        load_weights(saved(tmp_path, {f"mid{k}": v for k, v in state.items()}))


class Exploit:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    """Code hidden in a checkpoint is refused and does not run."""
    marker = tmp_path / "ran"
    ref = saved(tmp_path, tiny_state() | {"lm_head.weight": Exploit(marker)})
    with pytest.raises(CheckpointError, match=r"model_000001\.pt: holds more than tensors"):
        load_weights(ref)
    ref.model_path.write_bytes(pickle.dumps(Exploit(marker)))
    with pytest.raises(CheckpointError, match="not a whole torch"):
        load_weights(ref)
    assert not marker.exists()


def test_every_cut_of_the_file_is_one_sentence(tmp_path: Path) -> None:
    """A checkpoint cut anywhere is a CheckpointError that names the file."""
    ref = saved(tmp_path, tiny_state())
    whole = ref.model_path.read_bytes()
    for cut in [0, 1, 100, *range(500, len(whole), len(whole) // 10)]:
        ref.model_path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=r"model_000001\.pt"):
            load_weights(ref)
    ref.model_path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_weights(ref)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([torch.zeros(2)], "not a table of tensors"),
        ({"lm_head.weight": 3}, "not a table of tensors"),
        ({}, "lacks the tensor"),
    ],
)
def test_something_else_in_the_file_is_refused(tmp_path: Path, content: object, match: str) -> None:
    """A file that is not a state dict of this model is refused."""
    with pytest.raises(CheckpointError, match=match):
        load_weights(saved(tmp_path, content))


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    """A checkpoint with a NaN, or of whole numbers, is refused before a run starts from it."""
    for damage in (torch.full((20, 8), float("nan")), torch.zeros(20, 8, dtype=torch.int64)):
        with pytest.raises(CheckpointError, match=r"lm_head\.weight holds numbers"):
            load_weights(saved(tmp_path, tiny_state() | {"lm_head.weight": damage}))


def test_an_export_is_found_and_loaded_again(tmp_path: Path) -> None:
    """What is exported is the newest `sft` checkpoint of the cache, equal to the bit."""
    state = tiny_state()
    meta = {"val_loss": 1.5, "mmlu_acc": 0.25, "arc_easy_acc": 0.5}
    model_path, meta_path = export(export_folder("d2", tmp_path), 224, TINY, state, meta)
    assert model_path == tmp_path / "chatsft_checkpoints/d2/model_000224.pt"
    assert json.loads(meta_path.read_text()) == {
        "step": 224,
        "val_loss": 1.5,
        "mmlu_acc": 0.25,
        "arc_easy_acc": 0.5,
        "model_config": TINY.to_dict(),
    }
    assert_equal(load_weights(find_checkpoint("sft", base=tmp_path))[1], state)
    assert sorted(path.name for path in model_path.parent.iterdir()) == [
        "meta_000224.json",
        "model_000224.pt",
    ]


def test_an_export_is_plain_tensors_without_storage_behind_them(tmp_path: Path) -> None:
    """Views and parameters are written as plain tensors of their own size."""
    state = tiny_state()
    state["lm_head.weight"] = torch.nn.Parameter(torch.randn(1000, 8))[:20]
    model_path, _ = export(tmp_path, 1, TINY, state, {})
    found = torch.load(model_path, weights_only=True)
    assert type(found) is dict
    assert {type(tensor) for tensor in found.values()} == {Tensor}
    assert found["lm_head.weight"].untyped_storage().nbytes() == 20 * 8 * 4
    assert not any(tensor.requires_grad for tensor in found.values())


def test_an_export_can_carry_nanochats_cuda_embedding(tmp_path: Path) -> None:
    """Asked for bf16, the embedding alone is written so, as nanochat keeps it on CUDA."""
    model_path, _ = export(tmp_path, 1, TINY, tiny_state(), {}, embedding_dtype=torch.bfloat16)
    found = torch.load(model_path, weights_only=True)
    assert found["transformer.wte.weight"].dtype == torch.bfloat16
    assert found["lm_head.weight"].dtype == torch.float32


def test_a_failed_export_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When writing breaks half-way the good file is still there, and no rest beside it."""
    old, _ = export(tmp_path, 1, TINY, tiny_state(), {})
    before = old.read_bytes()

    def break_half_way(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nanochat_io.torch, "save", break_half_way)
    with pytest.raises(CheckpointError, match="could not be written"):
        export(tmp_path, 1, TINY, tiny_state(), {})
    assert old.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_wrong_state_is_not_exported(tmp_path: Path) -> None:
    """A state that lacks a tensor is refused before anything is written."""
    state = tiny_state()
    del state["lm_head.weight"]
    with pytest.raises(CheckpointError, match="lacks the tensor"):
        export(tmp_path / "new", 1, TINY, state, {})
    assert not (tmp_path / "new").exists()


@needs_shared
def test_genuine_checkpoints_survive_a_round_trip(tmp_path: Path) -> None:
    """nanochat's own file, loaded and exported, has the same names, order, dtypes and numbers."""
    ref = find_checkpoint("sft", base=SHARED / "nanochat/base")
    config, state = load_weights(ref)
    model = GPT.from_state(config, state)
    scores = {name: ref.meta[name] for name in ("val_loss", "mmlu_acc", "arc_easy_acc")}
    model_path, meta_path = export(tmp_path, ref.step, config, model.state_dict(), scores)
    genuine = torch.load(ref.model_path, weights_only=True)
    found = torch.load(model_path, weights_only=True)
    assert_equal(found, genuine)
    assert [t.dtype for t in found.values()] == [t.dtype for t in genuine.values()]
    assert meta_path.read_text() == ref.meta_path.read_text()
