"""nanochat's optimizer alone: three recorded steps, and the files that 1, 2 and 3 ranks wrote."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoints import nanochat_paths, optimizer_header
from engine.config import OptimConfig
from engine.errors import CheckpointError
from engine.model.nanochat import optimizer_files
from engine.model.nanochat.gpt import GPT
from engine.model.nanochat.gpt_config import GPTConfig
from engine.model.nanochat.parameter_groups import groups_of
from engine.optimizer.optim import ShardedOptimizer, build_optimizer
from tests.conftest import SHARED, needs_shared

pytestmark = needs_shared

SHARDS = SHARED / "nanochat2026" / "optim_shards"
SETTINGS = OptimConfig(unembedding_lr=0.004, embedding_lr=0.2, matrix_lr=0.02, init_lr_frac=1.0)
SHAPE = {
    "sequence_len": 128,
    "vocab_size": 192,
    "n_layer": 3,
    "n_head": 4,
    "n_kv_head": 2,
    "n_embd": 48,
    "window_pattern": "L",
}
# Multiplier and momentum of the three steps; the decay of Muon is 0.1, as the files say.
STEPS = ((1.0, 0.85), (0.9, 0.86), (0.5, 0.87))


def load(name: str) -> Any:
    return torch.load(SHARDS / name, weights_only=True)


def config() -> GPTConfig:
    return GPTConfig.from_dict(SHAPE)


def files(world_size: int) -> list[Path]:
    return [SHARDS / f"optim_000003_rank{r}_of{world_size}.pt" for r in range(world_size)]


def with_decay(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    decay = torch.tensor([0.0, 0.9, 1e-10, 0.1], dtype=torch.float64)
    return state | {"groups/matrices": decay}


def begun() -> tuple[GPT, ShardedOptimizer]:
    model = GPT.from_state(config(), load("model_start.pt"))
    optimizer = build_optimizer(model, SETTINGS)
    optimizer.load_state_dict(with_decay(optimizer.state_dict()))
    return model, optimizer


def test_three_steps_move_every_parameter_as_nanochat_did() -> None:
    model, optimizer = begun()
    for number, (gradients, (multiplier, momentum)) in enumerate(
        zip(load("gradients.pt"), STEPS, strict=True), 1
    ):
        for name, weight in model.named_parameters():
            weight.grad = gradients[name].clone()
        optimizer.set_lr(multiplier)
        optimizer.set_momentum(momentum)
        optimizer.step()
        if number in (1, 3):
            for name, wanted in load(f"model_after{number}_w1.pt").items():
                found = dict(model.named_parameters())[name]
                torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0, msg=name)
    wanted = optimizer_files.read(config(), groups_of(config(), SETTINGS), files(1))
    state = optimizer.state_dict()
    assert set(state) == set(wanted)
    for name, tensor in state.items():
        torch.testing.assert_close(
            tensor.to(wanted[name].dtype), wanted[name], atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("world_size", [2, 3])
def test_shards_of_any_number_of_ranks_are_one_state(world_size: int) -> None:
    groups = groups_of(config(), SETTINGS)
    whole = optimizer_files.read(config(), groups, files(1))
    found = optimizer_files.read(config(), groups, files(world_size))
    assert set(found) == set(whole)
    for name, tensor in whole.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


def test_half_a_set_of_shards_is_refused(tmp_path: Path) -> None:
    groups = groups_of(config(), SETTINGS)
    with pytest.raises(CheckpointError, match="shards of every rank"):
        optimizer_files.read(config(), groups, files(2)[:1])
    with pytest.raises(CheckpointError, match="shards of every rank"):
        optimizer_files.read(config(), groups, files(3)[:2])
    for rank in (0, 2):
        (tmp_path / f"optim_000003_rank{rank}.pt").touch()
    with pytest.raises(CheckpointError, match="none of rank 1"):
        nanochat_paths.optimizer_shards(tmp_path, 3)
    assert nanochat_paths.optimizer_shards(tmp_path, 4) == []
    with pytest.raises(CheckpointError, match="cannot be read"):
        optimizer_files.read(config(), groups, [tmp_path / "optim_000003_rank0.pt"])


def named_as_in_a_cache(folder: Path, world_size: int, ranks: int) -> list[Path]:
    """The files of the first so many ranks, under the names they have in a cache."""
    folder.mkdir(exist_ok=True)
    for rank, path in enumerate(files(world_size)[:ranks]):
        shutil.copy(path, folder / f"optim_000003_rank{rank}.pt")
    return nanochat_paths.optimizer_shards(folder, 3)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_missing_and_cut_files_are_refused_before_anything_is_started(
    world_size: int, tmp_path: Path
) -> None:
    """Without torch, from the files' headers alone."""
    vocab_size = SHAPE["vocab_size"]
    assert isinstance(vocab_size, int)
    for ranks in range(1, world_size):
        some = named_as_in_a_cache(tmp_path / str(ranks), world_size, ranks)
        with pytest.raises(CheckpointError, match=f"of {ranks} ranks, which do not make one"):
            optimizer_header.check(some, vocab_size)
    whole = named_as_in_a_cache(tmp_path / "whole", world_size, world_size)
    optimizer_header.check(whole, vocab_size)
    content = whole[-1].read_bytes()
    for share in (0, 0.1, 0.5, 0.99):
        whole[-1].chmod(0o644)
        whole[-1].write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CheckpointError, match="--no-load-optimizer"):
            optimizer_header.check(whole, vocab_size)
    torch.save({"state": {}, "param_groups": [3]}, whole[-1])
    with pytest.raises(CheckpointError, match="no optimizer file of nanochat's"):
        optimizer_header.check(whole, vocab_size)


def test_state_of_another_model_is_refused() -> None:
    other = GPTConfig.from_dict(SHAPE | {"n_layer": 5})
    with pytest.raises(CheckpointError, match="do not hold the whole optimizer state"):
        optimizer_files.read(other, groups_of(other, SETTINGS), files(1))


def test_a_written_file_has_nanochats_keys_shapes_and_dtypes() -> None:
    """And the state comes back from it."""
    groups = groups_of(config(), SETTINGS)
    whole = optimizer_files.read(config(), groups, files(1))
    written = optimizer_files.written(config(), groups, [whole], multiplier=0.5, momentum=0.87)
    theirs = load(files(1)[0].name)
    assert described(written) == described(theirs)
    for ours, wanted in zip(written["param_groups"], theirs["param_groups"], strict=True):
        assert {k: v for k, v in ours.items() if k not in ("lr", "initial_lr")} == {
            k: v for k, v in wanted.items() if k not in ("lr", "initial_lr")
        }
        assert (ours["lr"], ours["initial_lr"]) == pytest.approx(
            (wanted["lr"], wanted["initial_lr"])
        )


def described(file: dict[str, Any]) -> Any:
    return {
        number: {
            key: (tuple(value.shape), value.dtype) if isinstance(value, torch.Tensor) else value
            for key, value in entry.items()
        }
        for number, entry in file["state"].items()
    }
