"""Tasks whose answers are written out: GSM8K, with the calculator, and HumanEval, in the sandbox.

Greedy and at most 512 tokens an answer, as nanochat evaluates them. Every answer is kept beside
its verdict: a right one can be read, and a wrong one too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engine.conversations.chat_format import (
    MAX_TOKENS,
    check_ids,
    format_of,
    render_for_completion,
)
from engine.conversations.problems import Problem, free_number, number_of, problem_set
from engine.errors import DataError
from engine.evaluation.eval_items import EvalResult
from engine.files import checked
from engine.model.batch_generate import generate
from engine.model.family import Decoder, RunTokenizer
from engine.sandbox.program_sandbox import Sandbox
from engine.step.step_losses import AllReduceSum, one_rank

MAX_NEW_TOKENS = 512
"""Of one answer, as in nanochat."""

CPU_ROWS, CUDA_ROWS = 8, 16
"""Prompts answered at once. On a card their keys and values lie beside the training's memory."""

_ANSWER_BYTES = 2048
"""Kept of one answer and its verdict, in the sum over ranks and in the file of items."""
_MOST_ANSWER, _MOST_PREDICTED = 1200, 80

OnToken = Callable[[int, int], None]
"""Called with the answers that are done and the tokens made so far; may raise to end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedProblems:
    """A task's problems with their prompts encoded, once for the whole run."""

    task: str
    problems: tuple[Problem, ...]
    prompts: tuple[tuple[int, ...], ...]
    item_set: str

    @property
    def total(self) -> int:
        return len(self.problems)


def prepare_problems(
    tokenizer: RunTokenizer,
    task: str,
    problems: Sequence[Problem],
    max_tokens: int = MAX_TOKENS,
    vocab_size: int | None = None,
) -> PreparedProblems:
    """Encode the prompts.

    Raises:
        DataError: an id is not among the model's `vocab_size`.
    """
    prompts = [
        render_for_completion(tokenizer, problem.conversation(), max_tokens) for problem in problems
    ]
    if vocab_size is not None:
        for problem, prompt in zip(problems, prompts, strict=True):
            check_ids(prompt, vocab_size, f"problem {problem.id} ({task})")
    return PreparedProblems(
        task=task,
        problems=tuple(problems),
        prompts=tuple(map(tuple, prompts)),
        item_set=problem_set(problems, MAX_NEW_TOKENS, free=_answers_freely(tokenizer)),
    )


def _answers_freely(tokenizer: RunTokenizer) -> bool:
    """Whether the model has a form of its own: nanochat's was taught `#### 24` and one fence."""
    return not format_of(tokenizer).calls_calculator


def rows_for(device: torch.device) -> int:
    """Prompts answered at once on such a device."""
    return CUDA_ROWS if device.type == "cuda" else CPU_ROWS


def evaluate_generated(
    model: Decoder,
    tokenizer: RunTokenizer,
    prepared: PreparedProblems,
    *,
    sandbox: Sandbox | None = None,
    rank: int = 0,
    world_size: int = 1,
    all_reduce_sum: AllReduceSum = one_rank,
    on_token: OnToken = lambda done, tokens: None,
) -> EvalResult:
    """Answer every problem and check the answers; the same on every rank.

    `sandbox` is needed where a problem's answer is a program. The caller sets up autocast.

    Raises:
        CheckpointError: the model's logits are no numbers.
    """
    mine = range(rank, prepared.total, world_size)
    was_training = model.training
    model.eval()
    try:
        answers = generate(
            model,
            tokenizer,
            [prepared.prompts[item] for item in mine],
            max_tokens=MAX_NEW_TOKENS,
            rows=rows_for(model.head_weight.device),
            on_token=on_token,
        )
    finally:
        model.train(was_training)
    tokens = sum(map(len, answers))
    table = np.zeros((prepared.total, _ANSWER_BYTES), np.uint8)
    for item, ids in zip(mine, answers, strict=True):
        text = tokenizer.decode(ids)
        predicted = _predicted(
            prepared.problems[item],
            text,
            sandbox,
            lambda: on_token(len(mine), tokens),
            free=_answers_freely(tokenizer),
        )
        packed = _packed(predicted, text)
        table[item, : len(packed)] = np.frombuffer(packed, np.uint8)
    # Each row is one rank's; the others hold zeros there.
    summed = all_reduce_sum(torch.from_numpy(table))
    return _result(prepared, summed.numpy())


def _predicted(
    problem: Problem,
    text: str,
    sandbox: Sandbox | None,
    alive: Callable[[], None],
    *,
    free: bool,
) -> str:
    """What the answer comes to, to be compared with the gold one."""
    if problem.kind == "number":
        return (free_number(text) if free else number_of(text)) or ""
    if sandbox is None:
        raise DataError(f"{problem.id}: its answer is a program, and there is no sandbox for it.")

    def interrupted() -> bool:
        alive()  # raises where somebody asked to stop: the program is killed on the way out
        return False

    return sandbox.run(problem.program(text, free=free), interrupted=interrupted).reason


def _packed(predicted: str, answer: str) -> bytes:
    """Both as JSON of at most `_ANSWER_BYTES`, cut where they are long."""
    cut = answer[:_MOST_ANSWER]
    while True:
        data = json.dumps([predicted[:_MOST_PREDICTED], cut], ensure_ascii=False)
        packed = data.encode("utf-8", "replace")
        if len(packed) <= _ANSWER_BYTES:
            return packed
        cut = cut[: len(cut) * 2 // 3]


def _result(prepared: PreparedProblems, table: npt.NDArray[np.uint8]) -> EvalResult:
    told = [checked.parse_json(row.tobytes().rstrip(b"\0").decode("utf-8")) for row in table]
    problems = prepared.problems
    return EvalResult(
        task=prepared.task,
        item_set=prepared.item_set,
        item_ids=tuple(problem.id for problem in problems),
        subjects=tuple(problem.subject for problem in problems),
        gold=tuple(problem.gold for problem in problems),
        predicted=tuple(str(predicted) for predicted, _ in told),
        letter_logprobs=np.zeros((len(problems), 0), np.float32),
        item_letters=tuple(() for _ in problems),
        chance=0.0,
        one_letter=0.0,
        answers=tuple(str(answer) for _, answer in told),
    )
