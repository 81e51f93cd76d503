"""How far the weights go, against the differences of whole copies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.config import OptimConfig
from engine.model.nanochat.gpt import GPT
from engine.optimizer.optim import ShardedOptimizer, build_optimizer, group_of
from engine.optimizer.weight_distance import WeightTravel
from tests.engine.small import tiny_model

SETTINGS = OptimConfig(weight_decay=0.1)
GROUPS = ("lm_head", "wte", "matrices")


def one_rank(tensor: Tensor) -> Tensor:
    return tensor


def update(model: GPT, optimizer: ShardedOptimizer, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    return optimizer.step(measure=True)


def copies(model: GPT) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def norm(weights: dict[str, Tensor], group: str) -> float:
    """L2 norm of all of a group's elements, in fp64."""
    members = [w.double().flatten() for name, w in weights.items() if group_of(name) == group]
    return float(torch.cat(members).norm())


def minus(a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: a[name].double() - b[name].double() for name in a}


def test_ratio_and_distance_are_those_of_whole_copies() -> None:
    """||step|| / ||W|| of the last update alone, ||W - W0|| / ||W0|| over all of them."""
    model = tiny_model()
    optimizer = build_optimizer(model, SETTINGS)
    start = copies(model)
    travel = WeightTravel(optimizer, last_update=9)
    for seed in range(2):
        update(model, optimizer, seed)
    before = copies(model)

    values = travel.measure(update(model, optimizer, 2), one_rank)

    after = copies(model)
    expected = {}
    for group in GROUPS:
        expected[f"train/update_ratio/{group}"] = norm(minus(after, before), group) / norm(
            after, group
        )
        expected[f"train/distance/{group}"] = norm(minus(after, start), group) / norm(start, group)
    assert values == pytest.approx(expected, rel=1e-4)


def test_measuring_changes_no_bit() -> None:
    """The same update, looked at or not."""
    looked, blind = tiny_model(), tiny_model()
    generator = torch.Generator().manual_seed(0)
    for one, other in zip(looked.parameters(), blind.parameters(), strict=True):
        one.grad = torch.randn(one.shape, generator=generator)
        other.grad = one.grad.clone()
    assert build_optimizer(blind, SETTINGS).step() == {}
    assert set(build_optimizer(looked, SETTINGS).step(measure=True)) == set(GROUPS)
    for one, other in zip(looked.parameters(), blind.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_resumed_run_measures_from_its_start_not_from_where_it_resumed() -> None:
    """The start is read when it is first needed."""
    model = tiny_model()
    start = copies(model)
    first = build_optimizer(model, SETTINGS)
    unbroken = WeightTravel(first, last_update=9)
    update(model, first, 0)
    optimizer = build_optimizer(model, SETTINGS)
    optimizer.load_state_dict(first.state_dict())
    resumed = WeightTravel(optimizer, last_update=9, load_start=lambda: start)

    squares = update(model, optimizer, 1)

    assert resumed.measure(squares, one_rank) == unbroken.measure(squares, one_rank)


def test_an_unreadable_start_costs_the_distance_alone() -> None:
    """The ratio is still told, and why the distance is not; it is tried once."""
    tries = []

    def gone() -> dict[str, Tensor]:
        tries.append(1)
        raise OSError("no such file")

    model = tiny_model()
    optimizer = build_optimizer(model, SETTINGS)
    travel = WeightTravel(optimizer, last_update=9, load_start=gone)
    for seed in range(2):
        values = travel.measure(update(model, optimizer, seed), one_rank)
        assert set(values) == {f"train/update_ratio/{group}" for group in GROUPS}
    assert tries == [1]
    assert "no such file" in travel.failure


def test_a_distance_is_told_only_if_every_rank_knows_the_start() -> None:
    """One rank that cannot read the start must not make the distance look shorter."""
    model = tiny_model()
    optimizer = build_optimizer(model, SETTINGS)
    travel = WeightTravel(optimizer, last_update=9)

    def peer_knows_nothing(sums: Tensor) -> Tensor:
        sums[-1] += 1
        return sums

    values = travel.measure(update(model, optimizer, 0), peer_knows_nothing)
    assert set(values) == {f"train/update_ratio/{group}" for group in GROUPS}


def test_the_first_every_fiftieth_and_the_last_update_are_measured() -> None:
    """A run shorter than fifty updates has two points."""
    travel = WeightTravel(build_optimizer(tiny_model(), SETTINGS), last_update=117)
    assert [step for step in range(118) if travel.due(step)] == [0, 50, 100, 117]
