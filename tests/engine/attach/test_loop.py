"""`sftui.attach_loop`: a plain loop is shown, steered and otherwise left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sftui
from engine.control import Command
from engine.events import (
    CheckpointSaved,
    MetricLogged,
    RunFinished,
    RunStarted,
    StepFinished,
    ValidationFinished,
)
from engine.run.run_dir import RunDir
from tests.engine.attach.steered import answers, ask, events, in_a_pause, losses


class Loop:
    """Learns a line with dropout; `at` maps updates done to what is done before the boundary."""

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        torch.manual_seed(3)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.05)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 20)
        self.folder, self.options = tmp_path, options
        self.losses: dict[int, float] = {}

    def evaluate(self) -> dict[str, float]:
        self.model.eval()
        seed = torch.randint(1000, (1,))  # as a data loader draws one
        x = torch.ones(2, 4) * seed
        return {"ones": float(self.model(x).abs().mean() * 0 + 1), "twos": 2.0}

    def save(self, step: int) -> Path:
        path = self.folder / f"weights-{step}.pt"
        torch.save(self.model.state_dict(), path)
        return path

    def train(
        self, *, attach: bool, at: dict[int, Callable[[RunDir], None]] | None = None, steps: int = 8
    ) -> Any:
        run = None
        if attach:
            given = {"evaluate": self.evaluate, "save": self.save} | self.options
            run = sftui.attach_loop(
                self.optimizer, updates=steps, model=self.model, name="line", **given
            )
        for step in range(steps):
            x = torch.randn(16, 4)
            loss = (self.model(x) - x.sum(1, keepdim=True)).square().mean()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            self.losses[step] = float(loss)
            if run is not None:
                if at and step + 1 in at:
                    at[step + 1](RunDir(run.run))
                run.step(loss, tokens=16, supervised_tokens=8, margin=step / 10)
        if run is not None:
            run.finish()
        return run


def test_a_steered_loop_has_the_losses_of_a_plain_one(tmp_path: Path) -> None:
    plain = Loop(tmp_path)
    plain.train(attach=False)

    def several(run: RunDir) -> None:
        ask(run, "eval", Command.EVALUATE)
        ask(run, "save", Command.CHECKPOINT)
        ask(run, "lr", Command.LR_FACTOR, 1.0)

    steered = Loop(tmp_path)
    plan = {2: several, 4: lambda run: in_a_pause(run, ("eval-2", Command.EVALUATE))}
    run = steered.train(attach=True, at=plan)
    assert steered.losses == plain.losses
    assert losses(run.run) == pytest.approx(plain.losses, rel=0, abs=0)
    found = answers(run.run)
    steps = {name: (a.outcome, a.step) for name, a in found.items()}
    assert steps == {
        "eval": ("applied", 2),
        "save": ("applied", 2),
        "lr": ("applied", 2),
        "pause": ("applied", 4),
        "eval-2": ("applied", 4),
        "resume": ("applied", 4),
    }
    sets = [(e.step, e.set_name, e.loss) for e in events(run.run, ValidationFinished)]
    assert sets == [(s, n, v) for s in (0, 2, 4) for n, v in (("ones", 1.0), ("twos", 2.0))]
    (saved,) = events(run.run, CheckpointSaved)
    assert saved.kind == "foreign"
    assert saved.size_bytes > 100
    (start,) = events(run.run, RunStarted)
    assert start.num_parameters == 4 * 8 + 8 + 8 + 1
    assert all(e.tokens == 16 and e.supervised_tokens == 8 for e in events(run.run, StepFinished))
    assert [e.values["margin"] for e in events(run.run, MetricLogged)] == [s / 10 for s in range(8)]


def test_half_the_rate_halves_the_updates_and_leaves_the_schedule(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    run = loop.train(attach=True, at={3: lambda run: ask(run, "lr", Command.LR_FACTOR, 0.5)})
    rates = {e.step: e.lrs["lr"] for e in events(run.run, StepFinished)}
    cosine = [0.05 * 0.5 * (1 + math.cos(math.pi * s / 20)) for s in range(8)]
    assert list(rates.values()) == pytest.approx(
        [*cosine[:3], *(0.5 * rate for rate in cosine[3:])]
    )
    assert loop.optimizer.param_groups[0]["lr"] == pytest.approx(
        0.05 * 0.5 * (1 + math.cos(math.pi * 8 / 20))
    )


def test_a_stop_saves_and_leaves_the_loop(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    with pytest.raises(sftui.RunStopped) as left:
        loop.train(attach=True, at={3: lambda run: ask(run, "stop", Command.STOP)})
    assert left.value.step == 3
    assert left.value.code == 0  # uncaught, the process ends well
    assert sorted(loop.losses) == [0, 1, 2]
    assert (tmp_path / "weights-3.pt").is_file()
    (run,) = (Path("runs")).iterdir()
    (end,) = events(run, RunFinished)
    assert (end.status, end.step) == ("stopped", 3)


def test_what_the_loop_cannot_do_is_refused_with_what_to_pass(tmp_path: Path) -> None:
    def several(run: RunDir) -> None:
        ask(run, "eval", Command.EVALUATE)
        ask(run, "save", Command.CHECKPOINT)

    loop = Loop(tmp_path, evaluate=None, save=None)
    run = loop.train(attach=True, at={2: several}, steps=3)
    found = answers(run.run)
    assert found["eval"].reason == "no evaluate= was given to sftui.attach_loop"
    assert found["save"].reason == "no save= was given to sftui.attach_loop"
    (start,) = events(run.run, RunStarted)
    assert set(start.unavailable) == {"eval", "checkpoint"}


def test_functions_of_theirs_that_fail_are_refusals_and_no_end(tmp_path: Path) -> None:
    def broken(*args: Any) -> float:
        raise OSError(28, "No space left on device")

    def several(run: RunDir) -> None:
        ask(run, "eval", Command.EVALUATE)
        ask(run, "save", Command.CHECKPOINT)

    loop = Loop(tmp_path, evaluate=broken, save=broken)
    run = loop.train(attach=True, at={2: several}, steps=3)
    found = answers(run.run)
    assert "No space left" in found["eval"].reason
    assert "No space left" in found["save"].reason
    (end,) = events(run.run, RunFinished)
    assert end.status == "finished"


def test_an_exception_in_the_block_is_the_runs_end(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = sftui.attach_loop(optimizer, updates=5)

    def train() -> None:
        with run:
            run.step(1.0)
            raise KeyError("theirs")

    with pytest.raises(KeyError):
        train()
    (end,) = events(run.run, RunFinished)
    assert (end.status, end.reason) == ("failed", "KeyError: 'theirs'")


def test_no_attach_holds_for_a_loop_that_asks_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFTUI_ATTACH", "0")
    loop = Loop(tmp_path)
    assert loop.train(attach=True, steps=2).run is None
    assert "told so by --no-attach" in capfd.readouterr().err
    assert not Path("runs").exists()


def test_secrets_stay_out_of_the_settings(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    settings = {"hub_token": "hf_x", "api_key": "k", "max_tokens": 3, "depth": [1, 2], "lr": 0.1}
    run = sftui.attach_loop(optimizer, updates=1, settings=settings)
    run.finish()
    (start,) = events(run.run, RunStarted)
    assert start.settings == {"max_tokens": 3, "depth": "[1, 2]", "lr": 0.1}
