"""`questions=`: letter questions asked of the model in training, by the model's own forward.

The same prompts, letters, item sets and files as an evaluation of our own engine, so what is said
of two evaluations (paired tests, the common exam) holds for these. A question is one forward pass
over its prompt; nothing is generated. The model's mode and the random state stay as they were, and
no hook of the trainer hears of it.

Asked before the first update, with every evaluation of the trainer's schedule, when a person asks
for an evaluation, and behind the last update.
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from engine.attach.attachment import Attachment
from engine.attach.kept_state import kept_modes, kept_random_state
from engine.conversations.chat_format import ChatTokenizer
from engine.data.letter_exam import QuestionSource, letter_exam
from engine.errors import SftuiError
from engine.evaluation.eval_items import EvalResult, save_items
from engine.evaluation.eval_meetings import EvalMeetings, EvaluationCancelled, Meeting, PeerFailed
from engine.evaluation.evaluate import (
    PreparedQuestions,
    answer_letters,
    batch_tokens_for,
    prepare_questions,
)
from engine.events import EvalProgress, EvalStarted, LogLine, PhaseStarted
from engine.model.hf.hf_tokenizer import HfTokenizer
from engine.steering.steering import EvalMeeting, Failure, OwnProgress

Forward = Callable[[Tensor], Any]
"""Token ids [B, T], padded on the right, to logits [B, T, V] (or an output that has `.logits`)."""

MOST_LOGITS_BYTES = 2**29
"""Of one batch whose forward gives the logits of every position: 512 MiB in fp32."""


@dataclass(frozen=True, slots=True)
class ModelAtHand:
    """A model and how to call it."""

    model: torch.nn.Module
    forward: Forward | None = None
    """None: the model's own call."""
    shares_forward: bool = False
    """A forward pass needs all ranks (sharded weights): then each of them asks everything."""
    context: Callable[[], AbstractContextManager[Any]] = field(default=contextlib.nullcontext)
    """The precision that the trainer evaluates in."""


class Questions:
    """The letter questions of a training, prepared once.

    Args:
        source: a file, a name of the hub (`ARC-Easy`), rows, or a mapping of task names to such.
        limit: most questions of a task, the first in the exam's order; None asks all.
    """

    def __init__(self, source: QuestionSource, *, limit: int | None = None) -> None:
        self._source, self._limit = source, limit
        self._prepared: list[PreparedQuestions] = []
        self.refusal = ""
        """Why they cannot be asked; empty while they can."""
        self.asked_at: int | None = None
        """Updates done when they were asked last."""
        self.cut_short = False
        """A request to stop ended them: to be agreed on before anything else."""

    def prepare(self, tokenizer: Any, name: str, vocab_size: int | None = None) -> None:
        """Read and encode them; what stands in the way becomes `refusal`, in words."""
        self.asked_at = None
        if self._prepared or self.refusal:
            return
        try:
            chat = chat_tokenizer(tokenizer, name)
            self._prepared = [
                prepare_questions(chat, task, questions, vocab_size=vocab_size)
                for task, questions in letter_exam(self._source, limit=self._limit).items()
            ]
        except SftuiError as error:
            self.refusal = str(error)
        except Exception as error:
            self.refusal = f"{type(error).__name__}: {error}"

    @property
    def words(self) -> str:
        """What is asked, for people: `ARC-Easy (200), MMLU (500)`."""
        return ", ".join(f"{each.task} ({each.total:,})" for each in self._prepared)

    def ask(self, attachment: Attachment, step: int, at_hand: ModelAtHand) -> str:
        """Ask all of them before the update of `step`; what went wrong, in words. A collective."""
        if self.refusal:
            return f"the questions cannot be asked: {self.refusal}"
        self.asked_at, self.cut_short = step, False
        attachment.meet_next()  # for what was asked meanwhile
        failures = []
        with (
            kept_random_state(),
            kept_modes(at_hand.model),
            torch.no_grad(),
            at_hand.context(),
        ):
            at_hand.model.eval()
            for prepared in self._prepared:
                try:
                    failures.append(_ask(attachment, step, prepared, at_hand))
                except EvaluationCancelled as cancelled:
                    failures.append(_given_up(attachment, step, prepared, cancelled))
                    self.cut_short = cancelled.stopped
                    break
        attachment.emit(PhaseStarted(phase="train", step=step))
        return "; ".join(filter(None, failures))


def _ask(
    attachment: Attachment, step: int, prepared: PreparedQuestions, at_hand: ModelAtHand
) -> str:
    """The answers of one task, told; or why there are none."""
    attachment.emit(EvalStarted(task=prepared.task, total=prepared.total, step=step))
    began = time.monotonic()
    result, failure = _answered(attachment, step, prepared, at_hand)
    if result is None:
        text = f"the questions of {prepared.task} at step {step} {failure}"
        attachment.emit(LogLine(step=step, text=text, level="error"))
        return text
    if attachment.ranks.is_main:
        _tell(attachment, step, result, time.monotonic() - began)
    return ""


def _answered(
    attachment: Attachment, step: int, prepared: PreparedQuestions, at_hand: ModelAtHand
) -> tuple[EvalResult | None, str]:
    ranks = attachment.ranks
    alone = at_hand.shares_forward

    def meet(*, done: int, tokens: int, finished: bool, failure: Failure) -> Meeting:
        own = OwnProgress(done=done, tokens=tokens, finished=finished, failure=failure)
        if alone and not finished:
            # Ranks that share every forward pass may not leave it one by one.
            return _going_on(own)
        return attachment.steering.during_evaluation(step, own)

    def tell(done: int, tokens: int) -> None:
        attachment.emit(
            EvalProgress(
                step=step,
                task=prepared.task,
                done=done // ranks.world_size if alone else done,
                total=prepared.total,
            )
        )

    meetings = EvalMeetings(meet, tell)

    def reduce(logits: Tensor) -> Tensor:
        meetings.finish()
        return logits if alone else attachment.sum(logits)

    call = LastLogits(at_hand, prepared.pad_id)
    try:
        return answer_letters(
            call,
            prepared,
            device=torch.device("cpu"),
            rank=0 if alone else ranks.rank,
            world_size=1 if alone else ranks.world_size,
            all_reduce_sum=reduce,
            batch_tokens=call.batch_tokens,
            on_batch=meetings.work,
        ), ""
    except PeerFailed as peer:
        return None, peer.failure
    except EvaluationCancelled:
        raise
    except Exception as error:
        meetings.fail("error")
        return None, f"failed: {type(error).__name__}: {str(error)[:500]}"


def _going_on(own: OwnProgress) -> EvalMeeting:
    return EvalMeeting(
        stopped=False,
        cancelled=False,
        finished=own.finished,
        failure="",
        done=own.done,
        tokens=own.tokens,
    )


def _given_up(
    attachment: Attachment,
    step: int,
    prepared: PreparedQuestions,
    cancelled: EvaluationCancelled,
) -> str:
    why = "the run is to stop" if cancelled.stopped else "as was asked"
    text = f"the questions of {prepared.task} at step {step} were given up: {why}"
    attachment.emit(LogLine(step=step, text=text, level="warn"))
    return text


def _tell(attachment: Attachment, step: int, result: EvalResult, seconds: float) -> None:
    """Rank 0: the items in their file, the counts in the log."""
    path = attachment.run.eval_items(step, result.task)
    kept = True
    try:
        attachment.refuse_moved()
        save_items(path, result)
    except OSError as error:
        kept = False
        text = f"the answers at step {step} could not be kept, so no paired test: {error}"
        attachment.emit(LogLine(step=step, text=text, level="warn"))
    items_file = attachment.run.relative(path) if kept else None
    attachment.emit(result.finished(step, seconds=seconds, items_file=items_file))


class LastLogits:
    """fp32 logits [B, V] behind each prompt's last token, by the model's own forward.

    Transformers' models are asked for those positions alone where their forward can be
    (`logits_to_keep`): the whole vocabulary at every position is gigabytes for a large one.
    """

    def __init__(self, at_hand: ModelAtHand, pad_id: int) -> None:
        self._at_hand, self._pad_id = at_hand, pad_id
        names = _names_of_forward(at_hand.model) if at_hand.forward is None else frozenset()
        self._keeps = "logits_to_keep" in names
        self._more: dict[str, Any] = {"use_cache": False} if "use_cache" in names else {}
        self._takes_ids = "input_ids" in names
        first = next(iter(at_hand.model.parameters()), None)
        self._device = torch.device("cpu") if first is None else first.device

    @property
    def batch_tokens(self) -> int:
        """Of one batch, padding included."""
        most = batch_tokens_for(self._device)
        config = getattr(self._at_hand.model, "config", None)
        words = int(getattr(config, "vocab_size", 0) or 0)
        return most if self._keeps or not words else min(most, MOST_LOGITS_BYTES // (4 * words))

    def __call__(self, prompts: Sequence[Any]) -> Tensor:
        """Logits [B, V] of prompts of token ids [T]."""
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), self._pad_id, dtype=torch.int64)
        mask = torch.zeros(len(prompts), width, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.from_numpy(prompt)
            mask[row, : len(prompt)] = 1
        last = mask.sum(1) - 1
        # Several prompts of one length share a column.
        columns, places = last.unique(return_inverse=True)
        logits = self._logits(ids.to(self._device), mask.to(self._device), columns)
        if logits.shape[1] == width:
            # Of every position, asked for or not.
            places = last
        rows = torch.arange(len(prompts), device=logits.device)
        return logits[rows, places.to(logits.device)].float().cpu()

    def _logits(self, ids: Tensor, mask: Tensor, columns: Tensor) -> Tensor:
        if self._at_hand.forward is not None:
            found = self._at_hand.forward(ids)
        elif self._takes_ids:
            if self._keeps:
                self._more["logits_to_keep"] = columns.to(self._device)
            found = self._at_hand.model(input_ids=ids, attention_mask=mask, **self._more)
        else:
            found = self._at_hand.model(ids)
        logits = getattr(found, "logits", found)
        if not isinstance(logits, Tensor) or logits.dim() != 3 or len(logits) != len(ids):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise TypeError(
                f"the forward gave {shape} for ids {tuple(ids.shape)}; expected logits [B, T, V]"
            )
        return logits


def _names_of_forward(model: Any) -> frozenset[str]:
    """Names of what a model's forward takes; through peft's wrapper, which passes all on."""
    base = getattr(model, "get_base_model", None)
    inner = base() if callable(base) else model
    with contextlib.suppress(TypeError, ValueError):
        return frozenset(inspect.signature(type(inner).forward).parameters)
    return frozenset()


def plain_model(model: Any) -> tuple[Any, bool]:
    """(the module inside DDP's wrapper, whether its weights are sharded over ranks)."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return inner, any("FullyShardedDataParallel" in c.__name__ for c in type(inner).__mro__) or any(
        type(each).__name__ == "DTensor" for each in inner.parameters()
    )


def chat_tokenizer(tokenizer: Any, name: str) -> ChatTokenizer:
    """A tokenizer of the trainer's as our prompts need it.

    Raises:
        SftuiError: it has no chat template or no fast form, or cannot be read alike.
    """
    inner = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor
    if inner is None:
        raise SftuiError("the trainer has no tokenizer; pass its processing_class")
    if hasattr(inner, "encode_ordinary") and hasattr(inner, "special"):
        ours: ChatTokenizer = inner
        return ours
    return _of_transformers(inner, name)


def _of_transformers(tokenizer: Any, name: str) -> HfTokenizer:
    from engine.model.hf.hf_tokenizer import same_as_transformers  # noqa: PLC0415
    from engine.model.hf.tokenizer_files import NAMED  # noqa: PLC0415

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise SftuiError(
            f"{type(tokenizer).__name__} is no fast tokenizer; expected one with a tokenizer.json"
        )
    if not getattr(tokenizer, "chat_template", None):
        raise SftuiError(
            "the tokenizer has no chat template, so there is no telling how a question is put; "
            "set tokenizer.chat_template"
        )
    named = {each: str(token) for each in NAMED if (token := getattr(tokenizer, each, None))}
    made = HfTokenizer(
        {
            "tokenizer": backend.to_str(),
            "named": named,
            "template": tokenizer.get_chat_template(),
        },
        name,
    )
    if fault := same_as_transformers(made, tokenizer):
        raise SftuiError(f"the tokenizer reads a conversation in another way than ours: {fault}")
    return made
