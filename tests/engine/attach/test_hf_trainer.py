"""`sftui.attach` on real trainers of transformers and TRL: nothing changes, everything answers."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

import sftui
from engine.attach import hf_checkpoints
from engine.control import Command
from engine.events import (
    AttemptStarted,
    CheckpointRemoved,
    CheckpointSaved,
    EvalFinished,
    MetricLogged,
    RunFinished,
    RunStarted,
    StepFinished,
    ValidationFinished,
)
from engine.run.run_dir import RunDir
from tests.engine.attach.small_trainer import LossOfEveryStep, as_logged, sft_trainer
from tests.engine.attach.steered import (
    AtSteps,
    answers,
    ask,
    events,
    in_a_pause,
    losses,
    wait_for_answer,
)
from tests.faults.place import fill, small_disk

Plan = dict[int, Callable[[RunDir], None]]

STEPS = 8
IS_4 = transformers.__version__.startswith("4.")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain_losses(output: Path, **options: Any) -> dict[int, float]:
    log = LossOfEveryStep()
    sft_trainer(output, callbacks=(log,), **options).train()
    return log.losses


def busy_plan() -> dict[int, Any]:
    """A pause with work in it, an evaluation, a checkpoint and a factor of one, in one run."""

    def pause(run: RunDir) -> None:
        in_a_pause(run, ("eval-in-pause", Command.EVALUATE), ("save-in-pause", Command.CHECKPOINT))

    def several(run: RunDir) -> None:
        ask(run, "eval", Command.EVALUATE)
        ask(run, "save", Command.CHECKPOINT)
        ask(run, "lr", Command.LR_FACTOR, 1.0)

    def two_steps(run: RunDir) -> None:
        ask(run, "pause-2", Command.PAUSE)

        def go_on() -> None:
            wait_for_answer(run, "pause-2")
            ask(run, "two", Command.RESUME, 2.0)
            wait_for_answer(run, "two")
            time.sleep(0.5)
            ask(run, "on", Command.RESUME)

        import threading

        threading.Thread(target=go_on, daemon=True).start()

    return {2: pause, 3: several, 4: two_steps}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="dropout-and-accumulation"),
        pytest.param({"packing": True}, id="packing"),
        pytest.param({"lora": True}, id="lora"),
        pytest.param({"logging_steps": 1000}, id="a-log-line-a-thousand-steps"),
    ],
)
def test_a_steered_training_has_the_losses_of_a_plain_one_to_the_last_bit(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    wanted = plain_losses(
        tmp_path / "plain", steps=STEPS, **(options | {"logging_steps": 1}), eval_steps=3
    )
    attached: Any = None
    act = AtSteps(lambda: attached, busy_plan())
    trainer = sft_trainer(
        tmp_path / "steered", steps=STEPS, callbacks=(act,), eval_steps=3, **options
    )
    attached = sftui.attach(trainer)
    trainer.train()

    assert as_logged(losses(attached.run)) == wanted
    found = answers(attached.run)
    assert {name: (a.outcome, a.step) for name, a in found.items()} == {
        "pause": ("applied", 2),
        "eval-in-pause": ("applied", 2),
        "save-in-pause": ("applied", 2),
        "resume": ("applied", 2),
        "eval": ("applied", 3),
        "save": ("applied", 3),
        "lr": ("applied", 3),
        "pause-2": ("applied", 4),
        "two": ("applied", 4),
        "on": ("applied", 6),
    }
    (end,) = events(attached.run, RunFinished)
    assert (end.status, end.updates) == ("finished", STEPS)
    saved = {e.step: e for e in events(attached.run, CheckpointSaved)}
    assert set(saved) == {2, 3, 5, 8}
    assert all(e.kind == "hf" and e.size_bytes > 10_000 for e in saved.values())
    measured = [e.step for e in events(attached.run, ValidationFinished)]
    expected = [0, 2, 3, 6, 8]  # asked for and due at step 3: one evaluation serves both
    if IS_4 and "lora" in options:
        expected = []  # its evaluation of a peft model has no loss
    elif IS_4:
        expected.remove(8)  # it does not evaluate behind the last step
    assert measured == expected


@pytest.mark.slow
def test_a_checkpoint_saved_in_a_pause_goes_on_as_the_unbroken_run_did(tmp_path: Path) -> None:
    # Step 4 is the begin of the second epoch: the loader draws its seed there.
    wanted = plain_losses(tmp_path / "plain", steps=8, save_steps=100, train_rows=16)
    attached: Any = None
    plan = {4: lambda run: in_a_pause(run, ("save", Command.CHECKPOINT))}
    act = AtSteps(lambda: attached, plan)
    trainer = sft_trainer(tmp_path / "a", steps=8, save_steps=100, train_rows=16, callbacks=(act,))
    attached = sftui.attach(trainer)
    trainer.train()
    assert as_logged(losses(attached.run)) == wanted
    again = LossOfEveryStep()
    resumed = sft_trainer(
        tmp_path / "a", steps=8, save_steps=100, train_rows=16, callbacks=(again,)
    )
    with hf_checkpoints.loadable():
        resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-4"))
    assert again.losses == {step: loss for step, loss in wanted.items() if step >= 4}


@pytest.mark.slow
def test_half_the_rate_trains_as_a_schedule_that_is_halved_there(tmp_path: Path) -> None:
    class HalveTheSchedule(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            if state.global_step == 3:
                scheduler = kw["lr_scheduler"]
                inner = scheduler.lr_lambdas
                scheduler.lr_lambdas = [
                    lambda step, wrapped=each: 0.5 * wrapped(step) for each in inner
                ]
                for group, rate in zip(
                    scheduler.optimizer.param_groups, scheduler.get_lr(), strict=True
                ):
                    group["lr"] = rate

    log = LossOfEveryStep()
    reference = sft_trainer(tmp_path / "halved", steps=STEPS, callbacks=(log, HalveTheSchedule()))
    reference.train()
    attached: Any = None
    act = AtSteps(lambda: attached, {3: lambda run: ask(run, "lr", Command.LR_FACTOR, 0.5)})
    trainer = sft_trainer(tmp_path / "factor", steps=STEPS, callbacks=(act,))
    attached = sftui.attach(trainer)
    trainer.train()
    assert as_logged(losses(attached.run)) == log.losses
    # Nothing of the factor is in a checkpoint, and the trainer's own log says that it was there.
    state = torch.load(tmp_path / "factor/checkpoint-5/scheduler.pt")
    plain = torch.load(tmp_path / "halved/checkpoint-5/scheduler.pt")
    assert state["base_lrs"] == plain["base_lrs"]
    assert state["_last_lr"] == [2 * rate for rate in plain["_last_lr"]]
    logged = [
        entry.get("sftui/lr_factor") for entry in trainer.state.log_history if "loss" in entry
    ]
    assert logged == [None] * 3 + [0.5] * 5
    used = {e.step: e.lrs["group0"] for e in events(attached.run, StepFinished)}
    assert used[3] == pytest.approx(0.5 * 1e-3 * (0.5 + 0.5 * math.cos(math.pi * 1 / 6)))


@pytest.mark.skipif(IS_4, reason="TRL 0.12 has no assistant_only_loss")
@pytest.mark.slow
def test_every_number_is_there_with_a_log_line_a_thousand_steps(tmp_path: Path) -> None:
    trainer = sft_trainer(
        tmp_path / "out",
        steps=4,
        logging_steps=1000,
        eval_steps=2,
        eval_rows={"sums": 6, "sums_hard": 4},
        assistant_only_loss=True,
        save_strategy="no",
    )
    attached = sftui.attach(trainer, name="numbers")
    trainer.train()

    steps = events(attached.run, StepFinished)
    assert [e.step for e in steps] == [0, 1, 2, 3]
    for event in steps:
        assert event.loss > 0
        assert event.grad_norm > 0
        assert event.seconds > 0
        assert 0 < event.supervised_tokens < event.tokens
        assert set(event.lrs) == {"group0", "group1"}
    sets = [(e.step, e.set_name) for e in events(attached.run, ValidationFinished)]
    assert sets == [(step, name) for step in (0, 2, 4) for name in ("sums", "sums_hard")]
    names = set().union(*(e.values for e in events(attached.run, MetricLogged)))
    assert {"eval_sums_entropy", "eval_sums_hard_mean_token_accuracy"} <= names
    assert not events(attached.run, EvalFinished)  # a token accuracy is no benchmark
    (start,) = events(attached.run, RunStarted)
    assert start.name == "numbers"
    assert start.rows == 120
    assert start.num_iterations == 5
    assert start.settings["learning_rate"] == 1e-3
    assert start.effective["trainer"] == "trl.SFTTrainer"
    assert start.effective["supervised"] == "answers of the assistant"


@pytest.mark.slow
def test_a_stop_ends_at_its_step_with_a_checkpoint(tmp_path: Path) -> None:
    attached: Any = None
    act = AtSteps(lambda: attached, {3: lambda run: ask(run, "stop", Command.STOP)})
    trainer = sft_trainer(tmp_path / "out", steps=STEPS, callbacks=(act,), save_strategy="no")
    attached = sftui.attach(trainer)
    result = trainer.train()
    assert result.global_step == 3
    assert attached.stopped
    (end,) = events(attached.run, RunFinished)
    assert (end.status, end.step) == ("stopped", 3)
    assert get_last_checkpoint(str(tmp_path / "out")).endswith("checkpoint-3")
    assert [e.reason for e in events(attached.run, CheckpointSaved)] == ["stop"]


@pytest.mark.slow
def test_a_stop_in_a_pause_makes_no_further_update(tmp_path: Path) -> None:
    attached: Any = None
    act = AtSteps(lambda: attached, {2: lambda run: in_a_pause(run, ("stop", Command.STOP))})
    trainer = sft_trainer(tmp_path / "out", steps=STEPS, callbacks=(act,))
    attached = sftui.attach(trainer)
    result = trainer.train()
    assert result.global_step == 2
    assert attached.stopped
    assert (tmp_path / "out/checkpoint-2/trainer_state.json").is_file()
    assert sorted(losses(attached.run)) == [0, 1]
    found = answers(attached.run)
    assert found["stop"].outcome == "applied"
    assert found["stop"].step == 2


@pytest.mark.slow
def test_sigterm_in_an_evaluation_leaves_it_and_saves(tmp_path: Path) -> None:
    class KillInEvaluation(TrainerCallback):
        num_steps = 0

        def on_prediction_step(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            if state.global_step == 3:
                self.num_steps += 1
                if self.num_steps == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.2)

    kill = KillInEvaluation()
    trainer = sft_trainer(
        tmp_path / "out",
        steps=STEPS,
        eval_rows=40,
        eval_steps=3,
        per_device_eval_batch_size=1,
        callbacks=(kill,),
        save_strategy="no",
    )
    attached = sftui.attach(trainer, baseline=False)
    trainer.train()
    (end,) = events(attached.run, RunFinished)
    assert (end.status, end.step, end.reason) == ("stopped", 3, "a rank got SIGTERM")
    assert kill.num_steps < 30  # of 40: it was left, not waited for
    assert (tmp_path / "out/checkpoint-3/trainer_state.json").is_file()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # given back


@pytest.mark.slow
def test_requests_that_the_trainer_cannot_serve_are_refused_with_the_reason(tmp_path: Path) -> None:
    attached: Any = None
    act = AtSteps(lambda: attached, {1: lambda run: ask(run, "eval", Command.EVALUATE)})
    trainer = sft_trainer(tmp_path / "out", steps=3, eval_rows=None, callbacks=(act,))
    attached = sftui.attach(trainer)
    trainer.train()
    found = answers(attached.run)["eval"]
    assert (found.outcome, found.reason) == ("rejected", "the trainer has no eval_dataset")


@pytest.mark.slow
def test_a_look_at_the_evaluation_is_no_turn_of_early_stopping(tmp_path: Path) -> None:
    attached: Any = None

    def look(run: RunDir) -> None:
        ask(run, f"look-{time.time_ns()}", Command.EVALUATE)

    act = AtSteps(lambda: attached, dict.fromkeys(range(1, 6), look))
    # Learning at a rate of zero: no evaluation is better than the first.
    trainer = sft_trainer(
        tmp_path / "out",
        steps=6,
        learning_rate=0.0,
        eval_steps=3,
        save_steps=3,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        callbacks=(act, EarlyStoppingCallback(early_stopping_patience=2)),
    )
    attached = sftui.attach(trainer)
    assert trainer.train().global_step == 6
    assert len(answers(attached.run)) == 5
    evaluations = [e for e in trainer.state.log_history if "eval_loss" in e]
    assert [e["step"] for e in evaluations] == [3, 6]


@pytest.mark.slow
def test_pruned_checkpoints_are_followed(tmp_path: Path) -> None:
    trainer = sft_trainer(
        tmp_path / "out", steps=6, save_steps=2, save_total_limit=1, eval_rows=None
    )
    attached = sftui.attach(trainer)
    trainer.train()
    removed = [Path(e.path).name for e in events(attached.run, CheckpointRemoved)]
    assert removed == ["checkpoint-2", "checkpoint-4"]


@pytest.mark.slow
def test_a_full_disk_refuses_the_checkpoint_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: Any = None
    act = AtSteps(lambda: attached, {2: lambda run: ask(run, "save", Command.CHECKPOINT)})
    trainer = sft_trainer(
        tmp_path / "out", steps=4, save_strategy="no", eval_rows=None, callbacks=(act,)
    )

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", full)
    attached = sftui.attach(trainer)
    assert trainer.train().global_step == 4
    found = answers(attached.run)["save"]
    assert found.outcome == "rejected"
    assert "No space left" in found.reason
    assert not (tmp_path / "out/checkpoint-2").exists()
    assert not events(attached.run, CheckpointSaved)


def logged_by(trainer: Any) -> list[float]:
    """Loss of every step, as the trainer itself keeps it."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
def test_a_checkpoint_asked_for_on_a_disk_that_is_full_costs_that_checkpoint(
    tmp_path: Path,
) -> None:
    """On a small disk of its own, to the last byte: the answer names the reason, the training
    and what stood there before are as without it."""
    options: dict[str, Any] = {"steps": 5, "save_strategy": "no", "eval_rows": None}
    plain = sft_trainer(tmp_path / "plain", **options)
    plain.train()
    attached: Any = None

    def full(run: RunDir) -> None:
        fill(disk)
        ask(run, "second", Command.CHECKPOINT)

    plan: Plan = {2: lambda run: ask(run, "first", Command.CHECKPOINT), 4: full}
    with small_disk(tmp_path / "disk", "4m") as disk:
        act = AtSteps(lambda: attached, plan)
        trainer = sft_trainer(disk / "out", callbacks=(act,), **options)
        attached = sftui.attach(trainer, runs_dir=tmp_path / "runs")
        assert trainer.train().global_step == 5
        kept = sorted(path.name for path in (disk / "out").glob("checkpoint-*"))
    found = answers(attached.run)
    assert found["first"].outcome == "applied"
    assert found["second"].outcome == "rejected"
    assert "space" in found["second"].reason.lower()
    assert kept == ["checkpoint-2"]
    assert [Path(e.path).name for e in events(attached.run, CheckpointSaved)] == kept
    assert logged_by(trainer) == logged_by(plain)


@pytest.mark.slow
def test_checkpoints_of_the_model_alone_are_made_as_the_trainer_makes_them(tmp_path: Path) -> None:
    """`save_only_model`: those that are asked for hold no optimizer either."""
    options: dict[str, Any] = {
        "steps": 5, "save_steps": 4, "eval_rows": None, "save_only_model": True,
    }  # fmt: skip
    plain = sft_trainer(tmp_path / "plain", **options)
    plain.train()
    attached: Any = None
    plan: Plan = {2: lambda run: ask(run, "save", Command.CHECKPOINT)}
    act = AtSteps(lambda: attached, plan)
    trainer = sft_trainer(tmp_path / "out", callbacks=(act,), **options)
    attached = sftui.attach(trainer)
    trainer.train()
    saved = [Path(e.path) for e in events(attached.run, CheckpointSaved)]
    assert [path.name for path in saved] == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    assert answers(attached.run)["save"].outcome == "applied"
    for path in saved:
        folder = tmp_path / "out" / path.name
        assert (folder / "model.safetensors").exists()
        assert not (folder / "optimizer.pt").exists()
    assert logged_by(trainer) == logged_by(plain)


@pytest.mark.slow
def test_an_error_of_ours_costs_the_cockpit_and_never_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from engine.attach.attachment import Attachment

    boundary = Attachment.boundary

    def broken(self: Attachment, step: int) -> Any:
        if step == 2:
            raise ZeroDivisionError("planted")
        return boundary(self, step)

    wanted = plain_losses(tmp_path / "plain", steps=5)
    monkeypatch.setattr(Attachment, "boundary", broken)
    log = LossOfEveryStep()
    trainer = sft_trainer(tmp_path / "out", steps=5, callbacks=(log,))
    attached = sftui.attach(trainer)
    capfd.readouterr()
    assert trainer.train().global_step == 5
    assert log.losses == wanted
    warnings = [line for line in capfd.readouterr().err.splitlines() if "dark" in line]
    assert len(warnings) == 1
    assert "ZeroDivisionError: planted" in warnings[0]
    assert sorted(losses(attached.run)) == [0]


@pytest.mark.slow
def test_a_runs_folder_that_cannot_be_made_is_one_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    trainer = sft_trainer(tmp_path / "out", steps=2, eval_rows=None)
    attached = sftui.attach(trainer, runs_dir=tmp_path / "file" / "runs")
    assert trainer.train().global_step == 2
    assert attached.run is None
    warnings = [line for line in capfd.readouterr().err.splitlines() if "sftui" in line]
    assert len(warnings) == 1
    assert "not attached" in warnings[0]


@pytest.mark.slow
def test_an_exception_of_theirs_is_the_runs_end_and_is_raised(tmp_path: Path) -> None:
    class Fails(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            if state.global_step == 2:
                raise ValueError("a batch of theirs")

    trainer = sft_trainer(tmp_path / "out", steps=4, eval_rows=None, callbacks=(Fails(),))
    attached = sftui.attach(trainer)
    with pytest.raises(ValueError, match="a batch of theirs"):
        trainer.train()
    (end,) = events(attached.run, RunFinished)
    assert (end.status, end.reason) == ("failed", "ValueError: a batch of theirs")
    assert sorted(losses(attached.run)) == [0, 1]


@pytest.mark.slow
def test_a_training_that_goes_on_joins_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached: Any = None
    act = AtSteps(lambda: attached, {3: lambda run: ask(run, "stop", Command.STOP)})
    first = sft_trainer(tmp_path / "out", steps=6, callbacks=(act,))
    attached = sftui.attach(first)
    first.train()
    second = sft_trainer(tmp_path / "out", steps=6)
    again = sftui.attach(second)
    second.train(resume_from_checkpoint=True)
    assert again.run == attached.run
    starts = events(again.run, AttemptStarted)
    assert [(e.stamp.att, e.start_step) for e in starts] == [(1, 0), (2, 3)]
    assert sorted(losses(again.run)) == list(range(6))
    # Another folder is another run, and so is one that is asked for.
    third = sft_trainer(tmp_path / "out", steps=6)
    fresh = sftui.attach(third, resume="new")
    third.train(resume_from_checkpoint=True)
    assert fresh.run != attached.run


@pytest.mark.slow
def test_the_callback_alone_pauses_saves_and_stops(tmp_path: Path) -> None:
    callback = sftui.SftuiCallback("alone", baseline=False)

    class Attached:
        @property
        def run(self) -> Path:
            return callback.attachment.run.path

    def several(run: RunDir) -> None:
        ask(run, "save", Command.CHECKPOINT)
        ask(run, "eval", Command.EVALUATE)

    plan = {
        1: lambda run: in_a_pause(run, ("eval-in-pause", Command.EVALUATE)),
        2: several,
        4: lambda run: ask(run, "stop", Command.STOP),
    }
    log = LossOfEveryStep()
    trainer = sft_trainer(
        tmp_path / "out",
        steps=8,
        eval_steps=100,
        callbacks=(log, AtSteps(Attached, plan), callback),
    )
    assert trainer.train().global_step == 4
    found = answers(callback.attachment.run.path)
    assert found["eval-in-pause"].outcome == "rejected"
    assert [found[name].step for name in ("pause", "save", "eval", "stop")] == [1, 2, 2, 4]
    assert as_logged(losses(callback.attachment.run.path)) == log.losses
    wanted = plain_losses(tmp_path / "plain", steps=4, eval_steps=100, max_steps=8)
    assert log.losses == {step: loss for step, loss in wanted.items() if step < 4}


@pytest.mark.slow
def test_a_script_that_attaches_twice_has_one_callback(tmp_path: Path) -> None:
    trainer = sft_trainer(tmp_path / "out", steps=1, eval_rows=None)
    assert sftui.attach(trainer) is sftui.attach(trainer, name="mine")
    kinds = [type(each).__name__ for each in trainer.callback_handler.callbacks]
    assert kinds.count("SftuiCallback") == 1
    trainer.train()
    assert json.loads(next(Path("runs").glob("*/run.json")).read_text())["name"] == "mine"


def test_what_is_no_trainer_is_refused_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    attached = sftui.attach(object())
    assert "attach_loop" in attached.refusal
    assert capfd.readouterr().err.count("sftui: warning: not attached") == 1


@pytest.mark.slow
def test_a_preference_trainer_keeps_its_losses_and_shows_its_rewards(tmp_path: Path) -> None:
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from tests.engine.attach.small_trainer import model, tokenizer

    def train(folder: str, *callbacks: Any) -> DPOTrainer:
        words = tokenizer()
        rows = [
            {"prompt": f"What is {i}?", "chosen": f" It is {i}.", "rejected": " No idea."}
            for i in range(16)
        ]
        return DPOTrainer(
            model=model(words),
            ref_model=model(words),
            args=DPOConfig(
                output_dir=str(tmp_path / folder),
                use_cpu=True,
                bf16=False,
                per_device_train_batch_size=2,
                max_steps=4,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=1,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=words,
            callbacks=list(callbacks),
        )

    log = LossOfEveryStep()
    train("plain", log).train()
    trainer = train("attached")
    attached = sftui.attach(trainer)
    trainer.train()
    assert as_logged(losses(attached.run)) == log.losses
    names = set().union(*(e.values for e in events(attached.run, MetricLogged)))
    assert {"rewards/margins", "rewards/chosen", "rewards/accuracies"} <= names
    assert all(e.tokens for e in events(attached.run, StepFinished))
