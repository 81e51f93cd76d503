"""A step's rows as tensors for one rank: tokenised, laid out, shifted, weighted.

The shift is made here and nowhere else: input t is a row's token t, its target
is token t+1, and the target is supervised if the mask says so of token t+1. Only
supervised targets are handed out, as places in the flattened hidden states, so
the head is never run where it earns nothing.
"""

# B rows, T tokens of the longest, N tokens of a micro-step, K of them supervised.

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.conversations.chat_format import (
    MAX_TOKENS,
    ChatTokenizer,
    check_ids,
    render_conversation,
)
from engine.conversations.conversation import Conversation, RowFault
from engine.errors import DataError
from engine.model.nanochat.attention import document_ends
from engine.step.packing import CPU_MAX_TOKENS, Layout, packed_layout, padded_layout
from engine.step.plan import LossNorm, MicroBatch, token_weights

PAD_TOKEN = "<|assistant_end|>"

CACHE_TOKENS = 100_000_000
"""Tokens of rows kept after tokenising (500 MB, at 4 bytes an id and 1 a mask entry); rows past
that are tokenised anew in every epoch."""

LATE_SECONDS = 5.0
"""Rows that take longer than this are told to be late: they take milliseconds, unless a disk or
a network is slow."""


class RowSource(Protocol):
    """What the loader needs of a mixture."""

    def __len__(self) -> int: ...

    def conversation(self, index: int, /) -> Conversation: ...

    def source_of(self, index: int, /) -> str: ...


class StepPlan(Protocol):
    """What the loader needs of a plan: training's or validation's."""

    def micro_batches(self, step: int, /) -> list[MicroBatch]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One row at one place of a step."""

    row: int
    """In the mixture."""
    source: str
    micro_batch: int
    """Of the step's micro-batches as the plan lists them."""
    num_tokens: int
    """Input tokens."""
    num_supervised: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroStep:
    """What one forward pass of one rank takes."""

    ids: Tensor
    """int64 [B, T] padded, or [N] packed."""
    spans: tuple[tuple[int, int], ...] | None
    """Documents of a packed row; None when padded."""
    positions: Tensor | None
    """int64 [N], restarting in each document; None when padded."""
    supervised: Tensor
    """int64 [K]: places in `hidden.flatten(0, -2)` whose loss is wanted."""
    targets: Tensor
    """int64 [K]: the token that should follow there."""
    weights: Tensor
    """fp32 [K]: `sum(weights * nll)` over all micro-steps of all ranks is the step's loss."""
    documents: Tensor
    """int64 [K]: index in `StepBatch.documents`."""
    num_tokens: int
    """Real input tokens, padding not counted."""
    ends: Tensor | None = None
    """int32 [documents + 1]: 0 and the spans' ends, as the kernel for packed rows wants them;
    None when padded."""

    def to(self, device: torch.device) -> MicroStep:
        """A copy on `device`."""

        def moved(tensor: Tensor) -> Tensor:
            if device.type == "cuda":
                # From pinned memory the copy overlaps with the work queued before it.
                return tensor.pin_memory().to(device, non_blocking=True)
            return tensor.to(device)

        return replace(
            self,
            ids=moved(self.ids),
            positions=None if self.positions is None else moved(self.positions),
            ends=None if self.ends is None else moved(self.ends),
            supervised=moved(self.supervised),
            targets=moved(self.targets),
            weights=moved(self.weights),
            documents=moved(self.documents),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatch:
    """One step: this rank's micro-steps, and what every rank knows of the whole."""

    step: int
    micro_steps: tuple[MicroStep, ...]
    """May be empty, and of another number on another rank, when packed."""
    documents: tuple[Document, ...]
    """Of all ranks, in the plan's order."""
    micro_batches: tuple[MicroBatch, ...]
    """The plan's, of all ranks."""
    num_tokens: int
    """Real input tokens, all ranks."""
    num_supervised: int
    """Supervised tokens, all ranks."""
    device: torch.device
    """Of the micro-steps, also when this rank has none: a reduction needs to know."""

    @property
    def num_empty_micro_batches(self) -> int:
        """Micro-batches without a supervised token: weight 0, and worth a warning."""
        filled = {found.micro_batch for found in self.documents if found.num_supervised}
        return len(self.micro_batches) - len(filled)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A rendered row: `ids[t]` is followed by `ids[t + 1]`, supervised if `mask[t + 1]`."""

    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.bool_]

    @property
    def num_tokens(self) -> int:
        # The last token is a target only: nothing follows it.
        return len(self.ids) - 1

    @property
    def num_supervised(self) -> int:
        # The first token is never a target: nothing predicts it.
        return int(self.mask[1:].sum())

    def digest(self) -> int:
        """64 bits over tokens and mask: rows of two runs are one row where they agree in it."""
        found = hashlib.blake2b(self.ids.tobytes(), digest_size=8)
        found.update(np.packbits(self.mask).tobytes())
        return int.from_bytes(found.digest(), "little")


class TokenRows:
    """Rows of a mixture, rendered and encoded when first asked for."""

    def __init__(
        self,
        rows: RowSource,
        tokenizer: ChatTokenizer,
        max_tokens: int = MAX_TOKENS,
        vocab_size: int | None = None,
    ) -> None:
        """With `vocab_size` a row with an id from there on is a `DataError` that names it."""
        self._rows = rows
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._vocab_size = vocab_size
        self._cache: dict[int, TokenRow] = {}
        self._room = CACHE_TOKENS
        self._cut: set[int] = set()

    def __getitem__(self, index: int) -> TokenRow:
        found = self._cache.get(index)
        if found is not None:
            return found
        conversation = self._rows.conversation(index)
        try:
            rendered = render_conversation(self._tokenizer, conversation, self._max_tokens)
        except RowFault as fault:
            # Of a chat template; the launcher looks at the first rows only.
            raise DataError(f"row {index} ({self._rows.source_of(index)}): {fault}.") from None
        if self._vocab_size is not None:
            # An id that the embedding lacks is an index error in the middle of a step, on CUDA
            # one that ends the process without naming the row.
            what = f"row {index} ({self._rows.source_of(index)})"
            check_ids(rendered.ids, self._vocab_size, what)
        if rendered.num_dropped:
            self._cut.add(index)
        # int32 halves the cache; `_micro_step` widens the few ids of a step to torch's int64.
        row = TokenRow(np.array(rendered.ids, np.int32), np.array(rendered.mask, np.bool_))
        if len(row.ids) <= self._room:
            self._room -= len(row.ids)
            self._cache[index] = row
        return row

    @property
    def num_cut(self) -> int:
        """Rows among those seen so far that lost their end at `max_tokens`."""
        return len(self._cut)

    def source_of(self, index: int) -> str:
        return self._rows.source_of(index)


class StepLoader:
    """Gives `StepBatch`es by step number, the next one made ready by a thread meanwhile.

    Every rank renders all rows of a step, not only its own: weights and layout
    depend on all of them, and no rank has to ask another.
    """

    def __init__(
        self,
        rows: TokenRows,
        plan: StepPlan,
        *,
        pad_id: int,
        rank: int = 0,
        world_size: int = 1,
        layout: Layout = "packed",
        loss_norm: LossNorm = "microbatch",
        max_tokens: int = CPU_MAX_TOKENS,
        device: torch.device | None = None,
        prefetch: bool = True,
    ) -> None:
        """`rank` and `world_size` are the running ones; the plan may be made for others.

        `max_tokens` bounds a packed micro-step; `pad_id` fills padded ones.
        """
        self._rows = rows
        self._plan = plan
        self._pad_id = pad_id
        self._rank = rank
        self._world_size = world_size
        self._layout = layout
        self._loss_norm = loss_norm
        self._max_tokens = max_tokens
        self._device = device or torch.device("cpu")
        self._pool = ThreadPoolExecutor(1, "step-loader") if prefetch else None
        self._next: tuple[int, Future[StepBatch]] | None = None

    @property
    def num_cut(self) -> int:
        """Rows among those seen so far that lost their end at the longest length."""
        return self._rows.num_cut

    def digests(self, rows: Sequence[int]) -> npt.NDArray[np.uint64]:
        """[len(rows)] what tells these rows from all others, as they were read by the model."""
        return np.array([self._rows[int(row)].digest() for row in rows], dtype=np.uint64)

    def load(self, step: int, *, on_wait: Callable[[float], None] | None = None) -> StepBatch:
        """The step's batch, its tensors on the device; any order of steps is allowed.

        `on_wait` is told once how long it has taken when the thread is late.
        """
        if self._next is not None and self._next[0] == step:
            future = self._next[1]
            if on_wait is not None and not wait([future], LATE_SECONDS).done:
                on_wait(LATE_SECONDS)
            batch = future.result()
        else:
            # The first step, or another than the one made ready (a resumed run).
            batch = self._build(step)
        # Tokenising the next step overlaps with training this one.
        if self._pool is not None:
            self._next = (step + 1, self._pool.submit(self._build, step + 1))
        # Here, not in the thread: the copies belong into the CUDA stream that computes.
        moved = tuple(micro.to(self._device) for micro in batch.micro_steps)
        return replace(batch, micro_steps=moved)

    def close(self) -> None:
        """Stop the thread."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _build(self, step: int) -> StepBatch:
        # Documents are numbered 0, 1, ... over all ranks, in the plan's order. The same on every
        # rank: these numbers index the sums that `step_losses` reduces.
        micro_batches = self._plan.micro_batches(step)
        by_micro: list[list[int]] = []
        documents: list[Document] = []
        token_rows: list[TokenRow] = []
        # What attention sees as one row: a document, or a pack of them.
        units: list[list[int]] = []
        units_by_micro: list[list[int]] = []
        for number, micro_batch in enumerate(micro_batches):
            by_micro.append([])
            units_by_micro.append([])
            for places in micro_batch.units():
                units_by_micro[-1].append(len(units))
                units.append([len(documents) + place for place in places])
            for row in micro_batch.rows:
                token_row = self._rows[row]
                by_micro[-1].append(len(documents))
                token_rows.append(token_row)
                documents.append(
                    Document(
                        row=row,
                        source=self._rows.source_of(row),
                        micro_batch=number,
                        num_tokens=token_row.num_tokens,
                        num_supervised=token_row.num_supervised,
                    )
                )
        # Weights need every micro-batch's tokens, also those of other ranks, and follow the plan's
        # micro-batches; only after them is decided where a document lies. So the loss does not
        # depend on layout or number of ranks.
        supervised = [
            sum(documents[document].num_supervised for document in members) for members in by_micro
        ]
        weights = token_weights(self._loss_norm, supervised)
        # shares[rank][micro-step]: numbers of units.
        if self._layout == "padded":
            shares = padded_layout(units_by_micro, self._world_size)
        else:
            # Where documents share a row, the last token of each but the last is an input too.
            lengths = [
                sum(documents[each].num_tokens + 1 for each in members) - 1 for members in units
            ]
            shares = packed_layout(lengths, self._world_size, self._max_tokens)
        return StepBatch(
            step=step,
            micro_steps=tuple(
                self._micro_step(
                    [units[unit] for unit in share],
                    token_rows,
                    [weights[each.micro_batch] for each in documents],
                )
                for share in shares[self._rank]
                if share
            ),
            documents=tuple(documents),
            micro_batches=tuple(micro_batches),
            num_tokens=sum(document.num_tokens for document in documents),
            num_supervised=sum(supervised),
            device=self._device,
        )

    def _micro_step(
        self,
        units: Sequence[Sequence[int]],
        rows: Sequence[TokenRow],
        weights: Sequence[float],
    ) -> MicroStep:
        """Tensors of some units of documents; `rows` and `weights` of a token are all documents'.

        Packed, units follow each other without a gap (N = sum of lengths); padded, each
        begins a row of T = the longest length, the rest of which holds `pad_id`.
        """
        lengths = [sum(len(rows[each].ids) for each in members) - 1 for members in units]
        packed = self._layout == "packed"
        width = max(lengths)
        # Place of each unit's first token in the flattened [B, T] or [N].
        ends = np.cumsum(lengths)
        starts = ends - lengths if packed else np.arange(len(units)) * width
        ids = np.full(int(ends[-1]) if packed else len(units) * width, self._pad_id, np.int64)
        places: list[npt.NDArray[np.int64]] = []
        targets: list[npt.NDArray[np.int32]] = []
        members = [each for unit in units for each in unit]
        for start, length, unit in zip(starts, lengths, units, strict=True):
            # The shift: place t holds token t, and is supervised where token t + 1 is. A row's
            # last token is a target only, and what a document begins with is nobody's target.
            whole = np.concatenate([rows[each].ids for each in unit])
            ids[start : start + length] = whole[:-1]
            for each in unit:
                wanted = np.flatnonzero(rows[each].mask[1:])
                places.append(wanted + start)
                targets.append(rows[each].ids[1:][wanted])
                start += len(rows[each].ids)
        # K supervised tokens, document by document; weight and document number repeat over each.
        counts = [len(found) for found in places]
        flat_ids = torch.from_numpy(ids)
        # Attention runs inside a span only: units in one packed row do not see each other.
        spans = tuple(
            (int(end - length), int(end)) for end, length in zip(ends, lengths, strict=True)
        )
        own_weights = np.array([weights[each] for each in members], np.float32)
        return MicroStep(
            ids=flat_ids if packed else flat_ids.view(len(units), width),
            spans=spans if packed else None,
            positions=torch.cat([torch.arange(length) for length in lengths]) if packed else None,
            ends=document_ends(lengths) if packed else None,
            supervised=torch.from_numpy(np.concatenate(places)),
            targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
            weights=torch.from_numpy(np.repeat(own_weights, counts)),
            documents=torch.from_numpy(np.repeat(np.array(members, np.int64), counts)),
            num_tokens=sum(lengths),
        )
