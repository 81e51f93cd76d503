"""`sftui.LightningCallback` on a real Lightning Trainer; `make trainers-matrix` runs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.control import Command
from engine.events import (
    CheckpointSaved,
    EvalFinished,
    RunFinished,
    StepFinished,
    ValidationFinished,
)
from engine.run.run_dir import RunDir
from tests.engine.attach import small_trainer
from tests.engine.attach.steered import answers, ask, events, in_a_pause, losses
from tests.engine.attach.test_questions import question_rows

if importlib.util.find_spec("lightning") is None:
    # Not in the environment of `make test`: 30 MB that only this page needs.
    pytest.skip("Lightning is tested by `make trainers-matrix`", allow_module_level=True)

import lightning as L

import sftui


class Line(L.LightningModule):
    """Learns a line with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
        )

    def training_step(self, batch: Any, index: int) -> Any:
        loss = (self.net(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", (self.net(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=12)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Losses(L.Callback):
    """Loss of every micro-batch, and what is done before our own boundary."""

    def __init__(self, callback: Any = None, plan: dict[int, Any] | None = None) -> None:
        self.losses: list[float] = []
        self._callback, self._plan, self._done = callback, plan or {}, 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *rest: Any) -> None:
        self.losses.append(float(outputs["loss"]))
        if trainer.global_step != self._done:
            self._done = trainer.global_step
            if act := self._plan.get(trainer.global_step):
                act(RunDir(self._callback.attachment.run.path))


def fit(folder: Path, *callbacks: Any, checkpoints: bool = False, **options: Any) -> L.Trainer:
    L.seed_everything(0)
    x = torch.randn(48, 4)
    data = torch.utils.data.TensorDataset(x)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=checkpoints,
        default_root_dir=folder,
        val_check_interval=6,
        callbacks=list(callbacks),
        **options,
    )
    loader = torch.utils.data.DataLoader(data, 4, shuffle=True)
    held_out = torch.utils.data.DataLoader(torch.utils.data.Subset(data, range(8)), 4)
    trainer.fit(Line(), loader, held_out)
    return trainer


@pytest.mark.slow
def test_a_steered_module_has_the_losses_of_a_plain_one(tmp_path: Path) -> None:
    plain = Losses()
    fit(tmp_path / "plain", plain)

    def several(run: RunDir) -> None:
        ask(run, "eval", Command.EVALUATE)
        ask(run, "save", Command.CHECKPOINT)

    callback = sftui.LightningCallback("line")
    plan = {2: several, 4: lambda run: in_a_pause(run, ("eval-2", Command.EVALUATE))}
    steered = Losses(callback, plan)
    fit(tmp_path / "steered", steered, callback)
    assert steered.losses == plain.losses
    run = callback.attachment.run.path
    assert list(losses(run).values()) == plain.losses
    found = {name: (a.outcome, a.step) for name, a in answers(run).items()}
    assert found == {
        "eval": ("applied", 2),
        "save": ("applied", 2),
        "pause": ("applied", 4),
        "eval-2": ("applied", 4),
        "resume": ("applied", 4),
    }
    assert [e.step for e in events(run, ValidationFinished)] == [0, 2, 4, 6, 12]
    (saved,) = events(run, CheckpointSaved)
    assert saved.kind == "lightning"
    assert Path(saved.path).is_file()
    (end,) = events(run, RunFinished)
    assert (end.status, end.updates) == ("finished", 12)


@pytest.mark.slow
def test_a_factor_under_onecycle_and_a_stop_with_a_checkpoint(tmp_path: Path) -> None:
    plain_callback = sftui.LightningCallback("plain", baseline=False)
    fit(tmp_path / "plain", plain_callback)
    plain = {e.step: e.lrs["lr"] for e in events(plain_callback.attachment.run.path, StepFinished)}
    callback = sftui.LightningCallback("line")
    plan = {
        3: lambda run: ask(run, "lr", Command.LR_FACTOR, 0.5),
        6: lambda run: ask(run, "stop", Command.STOP),
    }
    # What its owner asked for at least does not hold back who stops it.
    least: dict[str, Any] = {"min_steps": 10, "min_epochs": 1}
    trainer = fit(tmp_path / "out", Losses(callback, plan), callback, **least)
    assert trainer.global_step == 6
    assert callback.stopped
    assert not callback.attachment.dark
    run = callback.attachment.run.path
    (end,) = events(run, RunFinished)
    assert (end.status, end.updates) == ("stopped", 6)
    rates = {e.step: e.lrs["lr"] for e in events(run, StepFinished)}
    assert rates == pytest.approx({s: plain[s] * (0.5 if s >= 3 else 1.0) for s in range(6)})
    (saved,) = events(run, CheckpointSaved)
    assert (saved.reason, saved.step) == ("stop", 6)
    state = torch.load(saved.path, weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(plain[6])


@pytest.mark.slow
def test_checkpoints_of_the_trainer_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    callback = sftui.LightningCallback("line")
    keep = L.pytorch.callbacks.ModelCheckpoint(every_n_train_steps=4, save_top_k=1, monitor=None)
    fit(Path("out"), keep, callback, checkpoints=True)
    saved = events(callback.attachment.run.path, CheckpointSaved)
    assert [e.step for e in saved] == [4, 8, 12]
    assert all(e.kind == "lightning" and e.size_bytes > 100 for e in saved)
    # Whole paths: the screen runs in another folder.
    assert all(Path(e.path).is_relative_to(tmp_path / "out") for e in saved)


@pytest.mark.slow
def test_a_version_without_a_private_name_refuses_that_one_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.attach import lightning as ours

    monkeypatch.setattr(ours, "_PRIVATE", ("_logger_connector.no_such_name",))
    callback = sftui.LightningCallback("line")

    def several(run: RunDir) -> None:
        ask(run, "eval", Command.EVALUATE)
        ask(run, "save", Command.CHECKPOINT)

    fit(tmp_path / "out", Losses(callback, {2: several}), callback)
    found = answers(callback.attachment.run.path)
    assert found["eval"].outcome == "rejected"
    assert "no_such_name" in found["eval"].reason
    assert found["save"].outcome == "applied"


class Chat(L.LightningModule):
    """A transformers model inside a module, with its tokenizer."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = small_trainer.tokenizer()
        self.lm = small_trainer.model(self.tokenizer)

    def training_step(self, batch: Any, index: int) -> Any:
        return self.lm(input_ids=batch[0], labels=batch[0]).loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def fit_chat(folder: Path, *callbacks: Any) -> None:
    L.seed_everything(0)
    rows = torch.utils.data.TensorDataset(torch.randint(3, 300, (8, 12)))
    trainer = L.Trainer(
        max_steps=4,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )
    trainer.fit(Chat(), torch.utils.data.DataLoader(rows, 2, shuffle=True))


@pytest.mark.slow
def test_a_module_without_a_validation_is_asked_letter_questions(tmp_path: Path) -> None:
    plain = Losses()
    fit_chat(tmp_path / "plain", plain)
    callback = sftui.LightningCallback("chat", questions={"Sums": question_rows(10)})
    asked = Losses(callback, {2: lambda run: ask(run, "eval", Command.EVALUATE)})
    fit_chat(tmp_path / "asked", asked, callback)
    assert asked.losses == plain.losses
    run = callback.attachment.run.path
    told = [(e.step, e.task, e.total) for e in events(run, EvalFinished)]
    assert told == [(step, "Sums", 10) for step in (0, 2, 4)]
    assert answers(run)["eval"].outcome == "applied"
