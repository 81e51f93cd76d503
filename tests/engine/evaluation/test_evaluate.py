"""Validation loss and letter accuracy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.conversations.letter_questions import Question, with_ids
from engine.errors import DataError
from engine.evaluation.eval_items import EvalResult
from engine.evaluation.evaluate import (
    PreparedQuestions,
    evaluate_letters,
    prepare_questions,
    validate,
)
from engine.model.nanochat.gpt import GPT
from engine.step.dataloader import PAD_TOKEN, StepBatch, StepLoader, TokenRows
from engine.step.packing import Layout
from engine.step.plan import ValidationPlan
from tests.engine.small import BYTES, ListSource, tiny_model

ROWS = [("c", f"question {'?' * i}", f"answer {i}") for i in range(7)] + [("c", "no answer", "")]


def questions() -> list[Question]:
    """Prompts of all lengths, three to five choices, letters and digits."""
    made: list[Question] = []
    for number in range(23):
        letters = ("1", "2", "3") if number % 5 == 0 else tuple("ABCDE"[: 3 + number % 3])
        made.append(
            Question(
                question="why " * (number * 7 % 11),
                choices=tuple(f"because {letter}" for letter in letters),
                letters=letters,
                gold=letters[number % 3],
                subject="s",
            )
        )
    return with_ids(made)


def prepared() -> PreparedQuestions:
    return prepare_questions(BYTES, "t", questions())


def on_ranks(model: GPT, world_size: int, batch_tokens: int) -> list[EvalResult]:
    """Each rank's result: first every rank's part is recorded, then all see the sum."""
    parts: list[Tensor] = []

    def record(tensor: Tensor) -> Tensor:
        parts.append(tensor.clone())
        return tensor

    def total(_: Tensor) -> Tensor:
        return torch.stack(parts).sum(0)

    def evaluate(rank: int, reduce: object) -> EvalResult:
        return evaluate_letters(
            model,
            prepared(),
            rank=rank,
            world_size=world_size,
            all_reduce_sum=reduce,  # type: ignore[arg-type]
            batch_tokens=batch_tokens,
        )

    for rank in range(world_size):
        evaluate(rank, record)
    return [evaluate(rank, total) for rank in range(world_size)]


def test_letters_are_those_of_one_prompt_at_a_time() -> None:
    """Batches, padding and order change no answer and no probability."""
    model, items = tiny_model(), prepared()
    result = evaluate_letters(model, items)

    for place, question in enumerate(items.questions):
        with torch.no_grad():
            ids = torch.from_numpy(items.prompts[place].astype(np.int64))[None]
            logits = model.logits(model(ids))[0, -1]
        own = logits[[BYTES.encode_ordinary(letter)[0] for letter in question.letters]]
        assert result.predicted[place] == question.letters[int(own.argmax())]
        width = len(question.letters)
        wanted = own.log_softmax(0).tolist()
        assert result.letter_logprobs[place, :width].tolist() == pytest.approx(wanted, abs=1e-5)
        assert np.isneginf(result.letter_logprobs[place, width:]).all()
    assert result.item_ids == tuple(question.id for question in items.questions)
    assert result.item_set == items.item_set


@pytest.mark.parametrize("world_size", [2, 3, 30])
@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_any_ranks_and_batches_give_the_same_result(world_size: int, batch_tokens: int) -> None:
    """Every rank ends with all answers, also when it had no question of its own."""
    model = tiny_model()
    alone = evaluate_letters(model, prepared())

    for result in on_ranks(model, world_size, batch_tokens):
        assert result.predicted == alone.predicted
        np.testing.assert_allclose(result.letter_logprobs, alone.letter_logprobs, atol=1e-5)


def test_the_first_letter_wins_a_tie() -> None:
    """A head of zeros answers the first letter everywhere."""
    model = tiny_model()
    torch.nn.init.zeros_(model.lm_head.weight)

    result = evaluate_letters(model, prepared())

    assert result.predicted == tuple(q.letters[0] for q in questions())
    assert result.letters["A"] == sum(q.letters[0] == "A" for q in questions())


def test_a_letter_of_several_tokens_is_refused() -> None:
    """There is no single logit to compare."""
    wide = Question(question="q", choices=("a", "b"), letters=("A", "é"), gold="A")
    with pytest.raises(DataError, match='the letter "é" is 2 tokens'):
        prepare_questions(BYTES, "t", [wide])


def test_no_questions_are_no_result() -> None:
    """An empty task has no accuracy, and no crash."""
    result = evaluate_letters(tiny_model(), prepare_questions(BYTES, "t", []))

    assert (result.total, result.correct) == (0, 0)
    assert math.isnan(result.accuracy)


def validation(layout: Layout = "packed", *, rank: int = 0, ranks: int = 1) -> StepBatch:
    plan = ValidationPlan(num_rows=len(ROWS), world_size=1, device_batch_size=1, eval_steps=100)
    return StepLoader(
        TokenRows(ListSource(ROWS), BYTES),
        plan,
        pad_id=BYTES.special(PAD_TOKEN),
        rank=rank,
        world_size=ranks,
        layout=layout,
        max_tokens=60,
        prefetch=False,
    ).load(0)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_validation_is_the_mean_of_micro_batches_and_keeps_every_row(layout: Layout) -> None:
    """A micro-batch without a target is left out and counted instead of making all NaN."""
    model = tiny_model()
    result = validate(model, validation(layout))

    tokens = TokenRows(ListSource(ROWS), BYTES)
    wanted: list[float] = []
    for row in (tokens[index] for index in range(7)):
        with torch.no_grad():
            logits = model.logits(model(torch.from_numpy(row.ids[:-1].astype(np.int64))[None]))[0]
        target = torch.from_numpy(row.ids[1:].astype(np.int64))
        nll = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        wanted.append(float(nll[torch.from_numpy(row.mask[1:])].mean()))
    assert result.row_losses[:7].tolist() == pytest.approx(wanted, rel=1e-5)
    assert math.isnan(result.row_losses[7])
    assert result.loss == pytest.approx(sum(wanted) / 7, rel=1e-5)
    assert (result.rows, result.skipped, result.row_ids.tolist()) == (8, 1, list(range(8)))


def test_validation_on_two_ranks_is_the_same() -> None:
    """The loss does not depend on which rank ran which row."""
    model = tiny_model()
    parts: list[Tensor] = []

    def record(tensor: Tensor) -> Tensor:
        parts.append(tensor.clone())
        return tensor

    for rank in range(2):
        validate(model, validation(rank=rank, ranks=2), all_reduce_sum=record)
    both = validate(
        model, validation(rank=0, ranks=2), all_reduce_sum=lambda _: parts[0] + parts[1]
    )

    assert both.loss == pytest.approx(validate(model, validation()).loss, rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_no_trace(training: bool) -> None:
    """Mode, gradients and random state are what they were, so training goes on unchanged."""
    model = tiny_model()
    model.train(training)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    state = torch.random.get_rng_state()
    answered: list[int] = []
    steps: list[None] = []

    evaluate_letters(model, prepared(), on_batch=answered.append, batch_tokens=300)
    validate(model, validation(), on_micro_step=lambda: steps.append(None))

    assert model.training is training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(w.grad, torch.ones_like(w)) for w in model.parameters())  # type: ignore[arg-type]
    assert answered[-1] == 23
    assert answered == sorted(answered)
    assert len(steps) == len(validation().micro_steps)
