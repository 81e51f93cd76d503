"""Validation loss and letter accuracy; the model, its mode and the random state stay as they were.

Nothing is generated. A question is one forward pass over its prompt, and the
head is run at the last position only: the whole vocabulary at every position
would cost more than the model at a vocabulary of 65,536.
"""

# B prompts, T tokens of the longest, D width, V vocabulary, L letters at most.

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.conversations import chat_format
from engine.conversations.chat_format import (
    MAX_TOKENS,
    ChatTokenizer,
    check_ids,
    render_for_completion,
)
from engine.conversations.letter_questions import Question, chance, item_set, one_letter
from engine.errors import DataError
from engine.evaluation.eval_items import EvalResult
from engine.model.family import Decoder
from engine.step.dataloader import StepBatch
from engine.step.loss import weighted_loss
from engine.step.step_losses import AllReduceSum, one_rank, step_losses

PAD_TOKEN = "<|bos|>"

CPU_BATCH_TOKENS = 1024
"""As in training, larger batches leave the cache: 2,048 are 5 to 10 % slower, 4,096 20 %."""

CUDA_BATCH_TOKENS = 16_384
"""No gradients and no full logits: far less memory a token than in training."""


def batch_tokens_for(device: torch.device) -> int:
    """Tokens of one batch of prompts, padding included."""
    return CUDA_BATCH_TOKENS if device.type == "cuda" else CPU_BATCH_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationResult:
    """Validation loss by nanochat's rule: the mean over micro-batches of their means."""

    loss: float
    rows: int
    row_losses: npt.NDArray[np.float64]
    """Mean of each row in nats a token, in the plan's order; NaN without a supervised token."""
    row_ids: npt.NDArray[np.int64]
    """Index of each row in the validation rows."""
    row_weights: npt.NDArray[np.float64]
    """Each row's part in `loss`, in sum 1: its share of its micro-batch's supervised tokens, over
    the number of micro-batches that have any."""
    loss_by_source: dict[str, float]
    """Mean over the supervised tokens of each source."""
    skipped: int
    """Micro-batches without a supervised token, left out of the mean (nanochat's becomes NaN)."""
    metric: Literal["loss", "bpb"] = "loss"
    """Nats a token, or bits a byte; of `loss`, `row_losses` and `loss_by_source` alike."""


@torch.no_grad()
def validate(
    model: Decoder,
    batch: StepBatch,
    *,
    all_reduce_sum: AllReduceSum = one_rank,
    on_micro_step: Callable[[], None] | None = None,
    token_bytes: Tensor | None = None,
) -> ValidationResult:
    """Loss on the rows of `batch`, the one step of a `ValidationPlan`; the same on every rank.

    The caller sets up autocast. `on_micro_step` is called after each forward
    pass: a place for a heartbeat. With `token_bytes` (int64 [V], 0 of special tokens) the loss
    is in bits a byte over the supervised tokens that have bytes, as nanochat counts since 2026.
    """
    with _eval_mode(model):
        nlls: list[Tensor] = []
        for micro in batch.micro_steps:
            hidden = model(micro.ids, spans=micro.spans, positions=micro.positions, ends=micro.ends)
            _, nll = weighted_loss(
                hidden.flatten(0, -2).index_select(0, micro.supervised),
                model.head_weight,
                micro.targets,
                micro.weights,
                softcap=model.softcap,
            )
            nlls.append(nll)
            if on_micro_step is not None:
                on_micro_step()
    if token_bytes is not None:
        return _bits_a_byte(batch, nlls, token_bytes, all_reduce_sum)
    losses = step_losses(batch, nlls, all_reduce_sum)
    return ValidationResult(
        loss=losses.loss_rows_mean,
        rows=len(batch.documents),
        row_losses=losses.document_losses,
        row_ids=np.array([document.row for document in batch.documents], np.int64),
        row_weights=_row_weights(batch),
        loss_by_source=losses.loss_by_source,
        skipped=batch.num_empty_micro_batches,
    )


def _bits_a_byte(
    batch: StepBatch, nlls: Sequence[Tensor], token_bytes: Tensor, all_reduce_sum: AllReduceSum
) -> ValidationResult:
    """Each document's bits a byte, and their mean by bytes: that of the whole."""
    number = len(batch.documents)
    dtype = torch.float32 if batch.device.type == "mps" else torch.float64
    sums = torch.zeros(2, number, dtype=dtype, device=batch.device)
    for micro, nll in zip(batch.micro_steps, nlls, strict=True):
        size = token_bytes[micro.targets].to(dtype)
        sums[0].index_add_(0, micro.documents, nll.to(dtype) * (size > 0))
        sums[1].index_add_(0, micro.documents, size)
    nats, size = np.array(all_reduce_sum(sums).tolist(), np.float64)
    bits = nats / math.log(2)
    rows = np.full(number, np.nan)
    np.divide(bits, size, out=rows, where=size > 0)
    by_source: dict[str, float] = {}
    sources = np.array([document.source for document in batch.documents])
    for source in dict.fromkeys(document.source for document in batch.documents):
        own = sources == source
        if size[own].sum():
            by_source[source] = float(bits[own].sum() / size[own].sum())
    total = float(size.sum())
    return ValidationResult(
        loss=float(bits.sum()) / total if total else math.inf,
        rows=number,
        row_losses=rows,
        row_ids=np.array([document.row for document in batch.documents], np.int64),
        row_weights=size / total if total else np.zeros(number),
        loss_by_source=by_source,
        skipped=batch.num_empty_micro_batches,
        metric="bpb",
    )


def _row_weights(batch: StepBatch) -> npt.NDArray[np.float64]:
    """[rows] each row's part in the mean over micro-batches of their means; in sum 1."""
    tokens = np.array([document.num_supervised for document in batch.documents], np.float64)
    micro = np.array([document.micro_batch for document in batch.documents], np.int64)
    of_micro = np.bincount(micro, weights=tokens)
    filled = np.count_nonzero(of_micro)
    weights = np.zeros(len(tokens))
    np.divide(tokens, of_micro[micro] * filled, out=weights, where=of_micro[micro] > 0)
    return weights


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedQuestions:
    """A task's questions with their prompts encoded, once for the whole run."""

    task: str
    questions: tuple[Question, ...]
    prompts: tuple[npt.NDArray[np.int32], ...]
    letter_ids: tuple[tuple[int, ...], ...]
    pad_id: int
    item_set: str

    @property
    def total(self) -> int:
        return len(self.questions)


def prepare_questions(
    tokenizer: ChatTokenizer,
    task: str,
    questions: Sequence[Question],
    max_tokens: int = MAX_TOKENS,
    vocab_size: int | None = None,
) -> PreparedQuestions:
    """Encode the prompts of a task's questions, once for the whole run.

    Raises:
        DataError: a letter is not one token of this tokenizer, so no logit stands for it; or an
            id is not among the model's `vocab_size`.
    """
    letter_ids: dict[str, int] = {}
    for letter in sorted({letter for question in questions for letter in question.letters}):
        ids = chat_format.format_of(tokenizer).letter_ids(letter)
        if len(ids) != 1:
            raise DataError(
                f'{task}: the letter "{letter}" is {len(ids)} tokens of this tokenizer; expected '
                "one. Use letters that are single tokens, such as A to D."
            )
        letter_ids[letter] = ids[0]
    prompts = [
        render_for_completion(tokenizer, question.conversation(), max_tokens)
        for question in questions
    ]
    if vocab_size is not None:
        check_ids(list(letter_ids.values()), vocab_size, f"a letter of {task}")
        for question, prompt in zip(questions, prompts, strict=True):
            check_ids(prompt, vocab_size, f"question {question.id} ({task})")
    return PreparedQuestions(
        task=task,
        questions=tuple(questions),
        prompts=tuple(np.array(prompt, np.int32) for prompt in prompts),
        letter_ids=tuple(
            tuple(letter_ids[letter] for letter in question.letters) for question in questions
        ),
        pad_id=chat_format.format_of(tokenizer).pad(PAD_TOKEN),
        item_set=item_set(questions),
    )


@torch.no_grad()
def evaluate_letters(
    model: Decoder,
    prepared: PreparedQuestions,
    *,
    rank: int = 0,
    world_size: int = 1,
    all_reduce_sum: AllReduceSum = one_rank,
    batch_tokens: int = CPU_BATCH_TOKENS,
    on_batch: Callable[[int], None] | None = None,
) -> EvalResult:
    """Answer every question with the likeliest of its own letters; the same on every rank.

    Logits are compared in fp32 (in bf16 letters tie), the first letter winning
    ties. `on_batch` is told how many questions this rank has answered. The
    caller sets up autocast.
    """
    with _eval_mode(model):
        return answer_letters(
            lambda prompts: _answer_logits(model, prompts, prepared.pad_id),
            prepared,
            device=model.head_weight.device,
            rank=rank,
            world_size=world_size,
            all_reduce_sum=all_reduce_sum,
            batch_tokens=batch_tokens,
            on_batch=on_batch,
        )


def answer_letters(
    last_logits: Callable[[Sequence[npt.NDArray[np.int32]]], Tensor],
    prepared: PreparedQuestions,
    *,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    all_reduce_sum: AllReduceSum = one_rank,
    batch_tokens: int = CPU_BATCH_TOKENS,
    on_batch: Callable[[int], None] | None = None,
) -> EvalResult:
    """`evaluate_letters` of any model, by what gives its logits; the caller sets its mode.

    Args:
        last_logits: prompts of token ids [T] to fp32 logits [B, V] behind each one's last token,
            on `device`.
        device: where the letters' logits are gathered and reduced.
    """
    most = max((len(ids) for ids in prepared.letter_ids), default=1)
    # Float64 holds an fp32 logit exactly, and a sum of one number and zeros gives it back.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    logits_IL = torch.zeros(prepared.total, most, dtype=dtype, device=device)
    done = 0
    for batch in _batches(prepared, rank, world_size, batch_tokens):
        logits_BV = last_logits([prepared.prompts[item] for item in batch])
        columns = [prepared.letter_ids[item] for item in batch]
        padded = torch.tensor([ids + ids[:1] * (most - len(ids)) for ids in columns])
        items = torch.tensor(batch, device=device)
        logits_IL[items] = logits_BV.gather(1, padded.to(device)).to(dtype)
        done += len(batch)
        if on_batch is not None:
            on_batch(done)
    letter_logits = np.array(all_reduce_sum(logits_IL).tolist(), np.float64).reshape(-1, most)
    return _result(prepared, letter_logits)


def _result(prepared: PreparedQuestions, logits_IL: npt.NDArray[np.float64]) -> EvalResult:
    logits = logits_IL.copy()
    for item, ids in enumerate(prepared.letter_ids):
        logits[item, len(ids) :] = -np.inf
    peak = logits.max(axis=1, keepdims=True)
    logprobs = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
    questions = prepared.questions
    return EvalResult(
        task=prepared.task,
        item_set=prepared.item_set,
        item_ids=tuple(question.id for question in questions),
        subjects=tuple(question.subject for question in questions),
        gold=tuple(question.gold for question in questions),
        predicted=tuple(
            question.letters[int(best)]
            for question, best in zip(questions, logits.argmax(axis=1), strict=True)
        ),
        letter_logprobs=logprobs.astype(np.float32),
        item_letters=tuple(question.letters for question in questions),
        chance=chance(questions),
        one_letter=one_letter(questions),
    )


def _batches(
    prepared: PreparedQuestions, rank: int, world_size: int, batch_tokens: int
) -> Iterator[list[int]]:
    """This rank's items in batches of like length, each at most `batch_tokens` with padding.

    Sorted longest first and dealt out in turn: the ranks get the same work to
    within one prompt, and the largest batch comes first, where running out of
    memory costs least.
    """
    lengths = [len(prompt) for prompt in prepared.prompts]
    mine = sorted(range(len(lengths)), key=lambda item: -lengths[item])[rank::world_size]
    batch: list[int] = []
    for item in mine:
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _answer_logits(model: Decoder, prompts: Sequence[npt.NDArray[np.int32]], pad_id: int) -> Tensor:
    """fp32 logits [B, V] after each prompt's last token. Padding on the right changes nothing."""
    device = model.head_weight.device
    width = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), width), pad_id, np.int64)
    for place, prompt in enumerate(prompts):
        ids[place, : len(prompt)] = prompt
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
    hidden_BTD = model(torch.from_numpy(ids).to(device))
    hidden_BD = hidden_BTD[torch.arange(len(prompts), device=device), last]
    with torch.autocast(device.type, enabled=False):
        return model.logits(hidden_BD.float())


@contextlib.contextmanager
def _eval_mode(model: Decoder) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
