"""The engine against genuine nanochat runs: same rows, losses, gradients and weights."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

import pytest
import torch

from engine.conversations.letter_questions import Question
from engine.data.tasks import DataEntry, DataSettings, Exam, load_questions
from engine.evaluation.evaluate import evaluate_letters, prepare_questions
from engine.step.packing import Layout
from engine.step.plan import Plan
from tests.conftest import SHARED, needs_shared
from tests.engine.nanochat_reference import (
    ReferenceRun,
    checksums,
    data_settings,
    gradient_norms,
    load_model,
    reference,
    tokenizer,
)

pytestmark = needs_shared

STEPS_FILES = {1: "steps_1rank.json", 2: "steps_2rank_first12.json"}


def assert_weights(run: ReferenceRun, expected: dict[str, Any], *, l2: float, proj: float) -> None:
    found = checksums(run.model)
    assert set(found) == set(expected)
    for name, sums in found.items():
        assert sums["l2"] == pytest.approx(expected[name]["l2"], rel=l2), name
        assert sums["proj"] == pytest.approx(expected[name]["proj"], abs=proj), name


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("world_size", [1, 2])
def test_twelve_updates_follow_nanochat(world_size: int, layout: Layout) -> None:
    """Losses, gradients, learning rates and weights of the first updates are nanochat's."""
    ref = reference(STEPS_FILES[world_size])
    run = ReferenceRun(world_size=world_size, layout=layout)
    weights = ref["checksums_by_updates_done"]
    gradients = ref["grad_l2_per_tensor_before_update"]

    assert run.plan.num_iterations == ref["hyper_parameters"]["num_iterations"]
    assert_weights(run, weights["0"], l2=1e-12, proj=1e-9)
    assert run.validate().loss == pytest.approx(ref["validation"]["0"], abs=5e-5)
    for expected in ref["steps"][:12]:
        step = expected["step"]
        losses, batches, norm = run.backward(step)

        assert run.optimizer.lrs() == pytest.approx(expected["lr_after_schedule"], rel=1e-12)
        assert losses.supervised_tokens == expected["num_tokens"]
        assert losses.loss == pytest.approx(expected["token_mean_loss"], abs=5e-5)
        assert losses.loss_rows_mean == pytest.approx(expected["mean_loss_all_micro"], abs=5e-5)
        assert losses.loss_micro_last == pytest.approx(expected["logged_train_loss"], abs=5e-5)
        for found, wanted in zip(
            run.micro_losses_by_rank(losses), expected["micro_losses_by_rank"], strict=True
        ):
            assert found == pytest.approx(wanted, abs=5e-5)
        if layout == "padded":
            shapes = [[list(micro.ids.shape) for micro in b.micro_steps] for b in batches]
            counts = [[len(micro.targets) for micro in b.micro_steps] for b in batches]
            assert shapes == expected["shapes_by_rank"]
            assert counts == expected["supervised_by_rank"]
        assert norm == pytest.approx(expected["grad_norm"], rel=1e-4)
        if str(step + 1) in gradients:
            assert gradient_norms(run.model) == pytest.approx(gradients[str(step + 1)], rel=1e-3)
        run.update(step)
        if str(step + 1) in weights:
            assert_weights(run, weights[str(step + 1)], l2=5e-6, proj=1e-2)


@pytest.mark.slow
@pytest.mark.timeout(600)  # 35 s alone on a core, several times that beside other work
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_whole_run_ends_where_nanochat_ends(layout: Layout) -> None:
    """After 224 updates losses, validation, accuracies and weights are still nanochat's."""
    ref = reference("steps_1rank.json")
    run = ReferenceRun(world_size=1, layout=layout)
    tasks = cast(dict[str, list[Question]], load_questions(data_settings(), 64))
    prepared = {name: prepare_questions(tokenizer(), name, tasks[name]) for name in tasks}

    def check_evaluations(step: int) -> None:
        if str(step) in ref["validation"]:
            assert run.validate().loss == pytest.approx(ref["validation"][str(step)], abs=5e-5)
        if str(step) in ref["metrics"]:
            accuracy = {n: evaluate_letters(run.model, p).accuracy for n, p in prepared.items()}
            assert accuracy == {
                "MMLU": ref["metrics"][str(step)]["mmlu_acc"],
                "ARC-Easy": ref["metrics"][str(step)]["arc_easy_acc"],
            }

    for expected in ref["steps"]:
        step = expected["step"]
        check_evaluations(step)
        losses, _, norm = run.backward(step)
        run.update(step)
        assert run.optimizer.lrs() == pytest.approx(expected["lr_after_schedule"], rel=1e-12)
        assert losses.supervised_tokens == expected["num_tokens"]
        assert losses.loss_rows_mean == pytest.approx(expected["mean_loss_all_micro"], abs=5e-4)
        assert losses.loss_micro_last == pytest.approx(expected["logged_train_loss"], abs=3e-3)
        assert norm == pytest.approx(expected["grad_norm"], rel=1e-3)
    check_evaluations(run.plan.num_updates)
    assert_weights(run, ref["checksums_by_updates_done"]["last"], l2=3e-5, proj=5e-2)


def assert_letters(source: str, key: str, tasks: dict[str, Exam]) -> None:
    ref = reference(f"render_and_eval_{source}.json")[key]
    model = load_model(source)
    for task, questions in cast(dict[str, list[Question]], tasks).items():
        prepared = prepare_questions(tokenizer(), task, questions)

        result = evaluate_letters(model, prepared)

        assert result.correct == ref[task]["correct"]
        assert result.total == ref[task]["n"]
        for item, expected in enumerate(ref[task]["problems"]):
            prompt = json.dumps([int(i) for i in prepared.prompts[item]])
            digest = hashlib.sha256(prompt.encode()).hexdigest()
            assert digest[:16] == expected["prompt_sha256"]
            assert result.gold[item] == expected["gold"]
            assert result.predicted[item] == expected["pred"]
            wanted = torch.tensor(expected["logits"]).log_softmax(0).tolist()
            found = result.letter_logprobs[item, : len(wanted)].tolist()
            assert found == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize("source", ["mid", "sft"])
def test_letters_are_answered_as_nanochat_answers_them(source: str) -> None:
    """Prompts, letter logits (to a constant) and predictions are nanochat's, one by one."""
    assert_letters(source, "eval", load_questions(data_settings(), 64))


@pytest.mark.parametrize("source", ["mid", "sft"])
def test_real_questions_are_answered_as_nanochat_answers_them(source: str) -> None:
    """The same on real MMLU and ARC rows in the plain form, in file order."""
    entries = [
        DataEntry(name=name, file=SHARED / "data" / f"{name}.test.jsonl", shuffle=False)
        for name in ("MMLU", "ARC-Easy")
    ]
    settings = DataSettings(questions=tuple(entries))

    assert_letters(source, "eval_real_rows", load_questions(settings, 64))


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_a_plan_for_two_ranks_runs_on_one(layout: Layout) -> None:
    """One rank executing a two-rank plan reports the two-rank run's losses and gradient."""
    ref = reference("steps_2rank_first12.json")
    run = ReferenceRun(world_size=2, layout=layout, running_ranks=1)
    for expected in ref["steps"][:2]:
        losses, _, norm = run.backward(expected["step"])
        run.update(expected["step"])

        for found, wanted in zip(
            run.micro_losses_by_rank(losses), expected["micro_losses_by_rank"], strict=True
        ):
            assert found == pytest.approx(wanted, abs=5e-5)
        assert losses.loss_micro_last == pytest.approx(expected["logged_train_loss"], abs=5e-5)
        assert norm == pytest.approx(expected["grad_norm"], rel=1e-4)


def test_the_reference_runs_length_is_planned() -> None:
    """20,843 rows in steps of 32 for three epochs are 1953 iterations, 1952 of them updates."""
    plan = Plan(
        num_rows=20_843,
        world_size=2,
        device_batch_size=2,
        target_examples_per_step=32,
        num_epochs=3,
    )

    assert (plan.num_iterations, plan.num_updates, plan.grad_accum_steps) == (1953, 1952, 8)
