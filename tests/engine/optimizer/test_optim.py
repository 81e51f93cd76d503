"""The optimizers are nanochat's, whoever owns which part."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from engine.config import OptimConfig
from engine.errors import CheckpointError
from engine.model.nanochat.gpt import GPT, GPTConfig
from engine.optimizer import optim
from engine.optimizer.optim import (
    ShardedOptimizer,
    build_optimizer,
    grad_norm,
    initial_lrs,
    matrix_owners,
    orthogonalize,
    row_range,
)
from engine.optimizer.weight_distance import WeightTravel
from tests.conftest import SHARED, needs_shared

# An odd vocabulary: the rows do not divide by the ranks.
TINY = GPTConfig(sequence_len=8, vocab_size=41, n_layer=2, n_head=2, n_kv_head=1, n_embd=16)
SETTINGS = OptimConfig(
    unembedding_lr=0.3, embedding_lr=0.5, matrix_lr=0.2, weight_decay=0.1, init_lr_frac=0.5
)
MULTIPLIERS = (1.0, 0.5, 0.25)


def tiny_model() -> GPT:
    model = GPT(TINY)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 1.0, generator=generator)
    return model


def set_gradients(model: GPT, step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
        # Entries as small as AdamW's eps, where its place and size show.
        weight.grad[0, 0] *= 1e-10


def train(model: GPT, optimizer: ShardedOptimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        set_gradients(model, step)
        optimizer.set_lr(MULTIPLIERS[step])
        optimizer.step()


def update_once(model: GPT, optimizer: ShardedOptimizer) -> dict[str, Tensor]:
    """A fourth update, measured."""
    optimizer.zero_grad()
    set_gradients(model, 3)
    return optimizer.step(measure=True)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    dist.all_reduce(tensor)
    return tensor


def newton_schulz(matrix: Tensor) -> Tensor:
    """The fact sheet's iteration, one matrix at a time, term by term."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def by_the_book(steps: int) -> dict[str, Tensor]:
    """Weights after `steps` updates, from the fact sheet's formulas in fp64."""
    model = tiny_model()
    weights = {name: weight.detach().double() for name, weight in model.named_parameters()}
    first = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    second = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    scale = (16 / 768) ** -0.5
    for step in range(steps):
        set_gradients(model, step)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            g, weight = parameter.grad.double(), weights[name]
            if name in ("lm_head.weight", "transformer.wte.weight"):
                lr = (0.3 if name == "lm_head.weight" else 0.5) * scale * 0.5 * MULTIPLIERS[step]
                weight *= 1 - lr * 0.1
                first[name] = 0.8 * first[name] + 0.2 * g
                second[name] = 0.95 * second[name] + 0.05 * g * g
                mean = first[name] / (1 - 0.8 ** (step + 1))
                root = (second[name] / (1 - 0.95 ** (step + 1))).sqrt() + 1e-10
                weight -= lr * mean / root
            else:
                first[name] = 0.95 * first[name] + 0.05 * g
                update = newton_schulz(0.05 * g + 0.95 * first[name])
                factor = max(1, g.shape[0] / g.shape[1]) ** 0.5
                weight -= 0.2 * 0.5 * MULTIPLIERS[step] * factor * update
    return weights


def assert_same_weights(model: GPT, expected: dict[str, Tensor], atol: float) -> None:
    for name, weight in model.named_parameters():
        torch.testing.assert_close(
            weight.detach().double(), expected[name].double(), atol=atol, rtol=0.0, msg=name
        )


def test_updates_are_the_fact_sheets() -> None:
    """Three updates equal the written-out formulas of AdamW and Muon."""
    model = tiny_model()
    train(model, build_optimizer(model, SETTINGS), range(3))
    assert_same_weights(model, by_the_book(3), atol=2e-5)


@needs_shared
def test_learning_rates_are_nanochats() -> None:
    """Every group's learning rate at every step of the recorded run is met exactly."""
    reference = json.loads((SHARED / "nanochat/ref/steps_1rank.json").read_text())
    hyper = reference["hyper_parameters"]
    settings = OptimConfig(
        **{
            name: hyper[name]
            for name in (
                *("unembedding_lr", "embedding_lr", "matrix_lr"),
                *("weight_decay", "init_lr_frac"),
            )
        }
    )
    config = GPTConfig(sequence_len=8, vocab_size=8, n_layer=1, n_head=2, n_kv_head=2, n_embd=64)
    optimizer = build_optimizer(GPT(config), settings)
    for step in reference["steps"]:
        optimizer.set_lr(step["lrm"])
        assert optimizer.lrs() == step["lr_after_schedule"]


def test_learning_rates_of_the_d16_run() -> None:
    """The rates the fact sheet gives for the 335 M reference run."""
    settings = OptimConfig(
        unembedding_lr=0.008, embedding_lr=0.4, matrix_lr=0.04, init_lr_frac=0.02
    )
    lrs = initial_lrs(settings, 1024)
    assert lrs["lm_head"] == pytest.approx(1.38564e-4, rel=1e-5)
    assert lrs["wte"] == pytest.approx(6.9282e-3, rel=1e-5)
    assert lrs["matrices"] == pytest.approx(8e-4)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 32, 8), (2, 8, 32), (1, 1, 5)])
def test_orthogonalize_is_newton_schulz(shape: tuple[int, int, int]) -> None:
    """A stack gives each matrix what the plain iteration gives it alone; the input is kept."""
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    before = matrices.clone()
    out = orthogonalize(matrices)
    expected = torch.stack([newton_schulz(matrix.double()) for matrix in matrices])
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(matrices, before)
    singular = torch.linalg.svdvals(out)
    assert singular.max() < 1.3


def test_stacking_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices updated one by one end where matrices updated in stacks end."""
    together, alone = tiny_model(), tiny_model()
    train(together, build_optimizer(together, SETTINGS), range(2))
    monkeypatch.setattr(optim, "MAX_STACK_ELEMENTS", 1)
    train(alone, build_optimizer(alone, SETTINGS), range(2))
    assert_same_weights(alone, dict(together.named_parameters()), atol=1e-6)


def test_no_gradient_counts_as_zero() -> None:
    """A parameter without a gradient moves as with a zero one: decay and momentum go on."""
    absent, zero = tiny_model(), tiny_model()
    for model in (absent, zero):
        optimizer = build_optimizer(model, SETTINGS)
        train(model, optimizer, range(1))
        for weight in model.parameters():
            weight.grad = None if model is absent else torch.zeros_like(weight)
        optimizer.step()
    assert_same_weights(absent, dict(zero.named_parameters()), atol=0.0)
    assert not torch.equal(absent.lm_head.weight, tiny_model().lm_head.weight)


def test_gradients_are_left_as_they_were() -> None:
    """The step changes no gradient, so the norm may be taken before or after."""
    model = tiny_model()
    set_gradients(model, 0)
    before = grad_norm(model.parameters())
    build_optimizer(model, SETTINGS).step()
    expected = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
    torch.testing.assert_close(before, expected.norm())
    torch.testing.assert_close(grad_norm(model.parameters()), before, atol=0.0, rtol=0.0)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 16])
def test_owners_and_rows_cover_everything_once(world_size: int) -> None:
    """Every matrix has one owner, every row one rank, and the work is spread evenly."""
    shapes = {
        name: shape
        for name, shape in GPTConfig(
            sequence_len=8, vocab_size=41, n_layer=12, n_head=2, n_kv_head=2, n_embd=16
        )
        .parameter_shapes()
        .items()
        if ".h." in name
    }
    owners = matrix_owners(shapes, world_size)
    assert owners.keys() == shapes.keys()
    cost = [0] * world_size
    for name, owner in owners.items():
        cost[owner] += max(shapes[name]) * min(shapes[name]) ** 2
    assert max(cost) - min(cost) <= 4 * 16**3
    rows = [range(*row_range(41, rank, world_size)) for rank in range(world_size)]
    assert [row for part in rows for row in part] == list(range(41))


def test_a_resumed_optimizer_goes_on_as_if_never_stopped() -> None:
    """State saved after one update and loaded into a fresh optimizer gives bit-equal weights."""
    straight, resumed = tiny_model(), tiny_model()
    train(straight, build_optimizer(straight, SETTINGS), range(3))
    first = build_optimizer(resumed, SETTINGS)
    train(resumed, first, range(1))
    second = build_optimizer(resumed, SETTINGS)
    second.load_state_dict(first.state_dict())
    train(resumed, second, range(1, 3))
    assert_same_weights(resumed, dict(straight.named_parameters()), atol=0.0)


def test_state_before_the_first_update_can_be_loaded() -> None:
    """A checkpoint of step 0 has no AdamW state; loading it starts from nothing."""
    model, other = tiny_model(), tiny_model()
    fresh = build_optimizer(model, SETTINGS)
    again = build_optimizer(other, SETTINGS)
    train(other, again, range(1))
    other.load_state_dict(tiny_model().state_dict())
    again.load_state_dict(fresh.state_dict())
    train(model, fresh, range(2))
    train(other, again, range(2))
    assert_same_weights(other, dict(model.named_parameters()), atol=0.0)


def test_a_missing_shard_is_refused() -> None:
    """State of a part of the ranks is a CheckpointError, not a silent restart of the moments."""
    model = tiny_model()
    optimizer = build_optimizer(model, SETTINGS)
    train(model, optimizer, range(1))
    state = optimizer.state_dict()
    for lost in ("lm_head.weight/exp_avg", "transformer.h.1.mlp.c_fc.weight/momentum"):
        broken = {key: tensor for key, tensor in state.items() if key != lost}
        if "exp_avg" in lost:
            broken["lm_head.weight/exp_avg"] = state[lost][:-1]
        with pytest.raises(CheckpointError, match="shards of every rank"):
            build_optimizer(tiny_model(), SETTINGS).load_state_dict(broken)


# ---- two ranks -------------------------------------------------------------------------------


def _rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    model = tiny_model()
    optimizer = build_optimizer(model, SETTINGS, rank=rank, world_size=2)
    train(model, optimizer, range(1))
    torch.save(optimizer.state_dict(), f"{folder}/shard{rank}.pt")
    torch.save(model.state_dict(), f"{folder}/after1.{rank}.pt")
    train(model, optimizer, range(1, 3))
    torch.save(model.state_dict(), f"{folder}/after3.{rank}.pt")
    travel = WeightTravel(optimizer, last_update=0, load_start=lambda: tiny_model().state_dict())
    values = travel.measure(update_once(model, optimizer), all_reduce_sum)
    torch.save(values, f"{folder}/travel.{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_update_like_one_and_change_their_number(tmp_path: Path) -> None:
    """Two ranks end bit-equal to each other and near one; their shards resume on one and on three.

    Each rank keeps about half of the state.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mp.spawn(_rank_main, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    alone = tiny_model()
    train(alone, build_optimizer(alone, SETTINGS), range(3))
    ends = [torch.load(tmp_path / f"after3.{rank}.pt") for rank in range(2)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    # Not to the bit: each rank stacks fewer matrices, and a product may be rounded otherwise.
    assert_same_weights(alone, ends[0], atol=1e-6)

    # How far the weights went is one number for all ranks, whoever measured which part.
    optimizer = build_optimizer(alone := tiny_model(), SETTINGS)
    travel = WeightTravel(optimizer, last_update=0)
    train(alone, optimizer, range(3))
    expected = travel.measure(update_once(alone, optimizer), lambda tensor: tensor)
    assert len(expected) == 6
    for rank in range(2):
        assert torch.load(tmp_path / f"travel.{rank}.pt") == pytest.approx(expected, rel=1e-5)

    shards = [torch.load(tmp_path / f"shard{rank}.pt") for rank in range(2)]
    sizes = [sum(tensor.numel() for tensor in shard.values()) for shard in shards]
    assert max(sizes) < 0.6 * sum(sizes)
    resumed = tiny_model()
    resumed.load_state_dict(torch.load(tmp_path / "after1.0.pt"))
    optimizer = build_optimizer(resumed, SETTINGS)
    optimizer.load_state_dict(shards)
    train(resumed, optimizer, range(1, 3))
    assert_same_weights(resumed, ends[0], atol=1e-6)

    thirds = [build_optimizer(tiny_model(), SETTINGS, rank=r, world_size=3) for r in range(3)]
    for third in thirds:
        third.load_state_dict(shards)
    again = build_optimizer(tiny_model(), SETTINGS)
    again.load_state_dict([third.state_dict() for third in thirds])
    whole = build_optimizer(tiny_model(), SETTINGS)
    whole.load_state_dict(shards)
    for key, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], tensor, atol=0.0, rtol=0.0)
