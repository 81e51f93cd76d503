"""The factor on the learning rate: schedulers, checkpoints and group ratios never see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedules

from engine.attach.lr_factor import LrFactor, unwrapped

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "linear": lambda o: schedules.LinearLR(o, 1.0, 0.1, total_iters=20),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 20),
    "constant": lambda o: schedules.ConstantLR(o, 1.0),
    "lambda": lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
    "onecycle": lambda o: schedules.OneCycleLR(o, [0.1, 0.02], total_steps=30),
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
}


def build(schedule: str) -> tuple[Any, Any, list[torch.nn.Parameter]]:
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(4)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": parameters[:1], "lr": 0.1}, {"params": parameters[1:], "lr": 0.02}]
    )
    return optimizer, SCHEDULES[schedule](optimizer), parameters


def advance(optimizer: Any, scheduler: Any, parameters: list[torch.nn.Parameter]) -> list[float]:
    """One update with gradients of one: the change of each group is minus its rate."""
    before = [p.detach().clone() for p in parameters]
    for parameter in parameters:
        parameter.grad = torch.ones(4)
    optimizer.step()
    scheduler.step(1.0) if isinstance(scheduler, schedules.ReduceLROnPlateau) else scheduler.step()
    return [float((b - p.detach())[0]) for b, p in zip(before, parameters, strict=True)]


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_every_group_moves_by_the_factor_and_the_schedule_knows_nothing(schedule: str) -> None:
    plain, plain_schedule, plain_parameters = build(schedule)
    optimizer, scheduler, parameters = build(schedule)
    factor = LrFactor(optimizer)
    for step in range(12):
        factor.factor = 0.5 if 4 <= step < 8 else 1.0
        rates = [group["lr"] for group in plain.param_groups]
        moved = advance(plain, plain_schedule, plain_parameters)
        ours = advance(optimizer, scheduler, parameters)
        assert ours == pytest.approx([factor.factor * m for m in moved], rel=1e-4, abs=1e-6)
        assert list(factor.used.values()) == pytest.approx([factor.factor * r for r in rates])
        assert scheduler.state_dict() == plain_schedule.state_dict()
        assert [g["lr"] for g in optimizer.param_groups] == [g["lr"] for g in plain.param_groups]
    assert factor.steps == 12


def test_a_rate_that_is_a_tensor_changes_in_place_and_comes_back() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    rate = torch.tensor(0.1)
    optimizer = torch.optim.Adam([parameter], lr=rate, capturable=False, foreach=False)
    held = optimizer.param_groups[0]["lr"]
    factor = LrFactor(optimizer)
    factor.factor = 0.25
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] is held
    assert float(held) == pytest.approx(0.1)
    assert factor.used == {"lr": pytest.approx(0.025)}


def test_a_factor_of_one_touches_nothing() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    LrFactor(optimizer)
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.full((2,), -0.1))
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_wrappers_of_an_optimizer_are_looked_through() -> None:
    class Wrapper:
        def __init__(self, optimizer: Any) -> None:
            self.optimizer = optimizer

    inner = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert unwrapped(Wrapper(Wrapper(inner))) is inner
    with pytest.raises(TypeError, match="no torch optimizer"):
        unwrapped(object())


def test_removed_hooks_see_no_step() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    factor = LrFactor(optimizer)
    factor.remove()
    parameter.grad = torch.ones(1)
    optimizer.step()
    assert factor.steps == 0
