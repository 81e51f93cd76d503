"""One task of either kind, prepared once and answered on every rank: by letter, or at length."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch

from engine.conversations.letter_questions import Question
from engine.conversations.problems import Problem
from engine.data.tasks import Exam
from engine.evaluation.eval_items import EvalResult
from engine.evaluation.evaluate import (
    PreparedQuestions,
    batch_tokens_for,
    evaluate_letters,
    prepare_questions,
)
from engine.evaluation.generated import PreparedProblems, evaluate_generated, prepare_problems
from engine.model.family import Decoder, RunTokenizer
from engine.sandbox.program_sandbox import Sandbox, open_sandbox
from engine.step.step_losses import AllReduceSum, one_rank

Prepared = PreparedQuestions | PreparedProblems


def prepare(
    tokenizer: RunTokenizer, task: str, asked: Exam, *, max_tokens: int, vocab_size: int
) -> Prepared:
    """Encode the prompts of a task, once for the whole run.

    Raises:
        DataError: a letter is not one token, or an id is not among the model's `vocab_size`.
    """
    if asked and isinstance(asked[0], Problem):
        return prepare_problems(tokenizer, task, asked, max_tokens, vocab_size)
    questions = cast(list[Question], asked)
    return prepare_questions(tokenizer, task, questions, max_tokens, vocab_size)


def sandbox_for(prepared: dict[str, Prepared], *, unsafe: bool) -> Sandbox | None:
    """The sandbox that these tasks need; None where no answer is a program.

    Raises:
        UsageError: it cannot be had: why, and what to type.
    """
    problems = (each for each in prepared.values() if isinstance(each, PreparedProblems))
    if any(problem.kind == "program" for each in problems for problem in each.problems):
        return open_sandbox(unsafe=unsafe)
    return None


def answer_task(
    model: Decoder,
    tokenizer: RunTokenizer,
    prepared: Prepared,
    *,
    sandbox: Sandbox | None = None,
    rank: int = 0,
    world_size: int = 1,
    all_reduce_sum: AllReduceSum = one_rank,
    on_work: Callable[[int, int], None] = lambda done, tokens: None,
) -> EvalResult:
    """The answers of one task; the same on every rank. The caller sets up autocast.

    `on_work` is called after each batch of letters or each token of a batch of answers, with the
    questions that are done and the tokens written; what it raises ends the work.
    """
    if isinstance(prepared, PreparedProblems):
        return evaluate_generated(
            model,
            tokenizer,
            prepared,
            sandbox=sandbox,
            rank=rank,
            world_size=world_size,
            all_reduce_sum=all_reduce_sum,
            on_token=on_work,
        )
    device: torch.device = model.head_weight.device
    return evaluate_letters(
        model,
        prepared,
        rank=rank,
        world_size=world_size,
        all_reduce_sum=all_reduce_sum,
        batch_tokens=batch_tokens_for(device),
        on_batch=lambda done: on_work(done, 0),
    )
