"""The loss numbers of a step, from per-token losses spread over micro-steps and ranks.

Losses are summed per document first and only then over ranks: document sums do
not know about the layout, so nanochat's micro-batch losses can be printed also
when its micro-batches were packed together or torn apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.step.dataloader import StepBatch

AllReduceSum = Callable[[Tensor], Tensor]
"""Gives the sum over ranks, in place or not; with one rank, its argument."""


def one_rank(tensor: Tensor) -> Tensor:
    """The reduction of a run with a single rank."""
    return tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLosses:
    """Losses in nats a token, over all ranks; the fields of `StepFinished` of the same names."""

    loss: float
    loss_rows_mean: float
    loss_micro_last: float
    """NaN when that micro-batch has no supervised token: nanochat prints it so."""
    loss_by_source: dict[str, float]
    supervised_tokens: int
    tokens: int
    micro_losses: npt.NDArray[np.float64]
    """Mean of every micro-batch in the plan's order; NaN without a supervised token."""
    document_losses: npt.NDArray[np.float64]
    """Mean of every document; NaN without a supervised token."""


def step_losses(
    batch: StepBatch, nlls: Sequence[Tensor], all_reduce_sum: AllReduceSum = one_rank
) -> StepLosses:
    """Loss numbers of a step; every rank calls it and every rank gets the same.

    `nlls` are the per-token losses [K] that `weighted_loss` gave for each of this
    rank's micro-steps, in order. One small reduction, one wait for the device.
    """
    return losses_of(batch, document_sums(batch, nlls), all_reduce_sum)


def document_sums(batch: StepBatch, nlls: Sequence[Tensor]) -> Tensor:
    """This rank's sum of token losses of each of the step's documents, on the batch's device."""
    device = batch.device
    # float64: a mean of 10,000 fp32 losses must not depend on how they were added up.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    sums = torch.zeros(len(batch.documents), dtype=dtype, device=device)
    for micro, nll in zip(batch.micro_steps, nlls, strict=True):
        sums.index_add_(0, micro.documents, nll.detach().to(dtype))
    return sums


def losses_of(
    batch: StepBatch, sums: Tensor, all_reduce_sum: AllReduceSum = one_rank
) -> StepLosses:
    """Loss numbers from this rank's `document_sums`."""
    by_document = np.array(all_reduce_sum(sums).tolist(), np.float64)
    tokens = np.array([document.num_supervised for document in batch.documents], np.float64)
    micro = np.array([document.micro_batch for document in batch.documents], np.int64)
    number = len(batch.micro_batches)
    micro_losses = _ratio(_sum_by(micro, by_document, number), _sum_by(micro, tokens, number))
    filled = micro_losses[~np.isnan(micro_losses)]
    total = float(tokens.sum())
    last = max(i for i, found in enumerate(batch.micro_batches) if found.rank == 0)
    by_source: dict[str, list[float]] = {}
    for document, nll_sum in zip(batch.documents, by_document, strict=True):
        entry = by_source.setdefault(document.source, [0.0, 0.0])
        entry[0] += float(nll_sum)
        entry[1] += document.num_supervised
    return StepLosses(
        loss=float(by_document.sum()) / total if total else math.nan,
        loss_rows_mean=float(filled.mean()) if len(filled) else math.nan,
        loss_micro_last=float(micro_losses[last]),
        loss_by_source={
            source: nll_sum / count for source, (nll_sum, count) in by_source.items() if count
        },
        supervised_tokens=batch.num_supervised,
        tokens=batch.num_tokens,
        micro_losses=micro_losses,
        document_losses=_ratio(by_document, tokens),
    )


def _sum_by(
    groups: npt.NDArray[np.int64], values: npt.NDArray[np.float64], number: int
) -> npt.NDArray[np.float64]:
    sums = np.zeros(number)
    np.add.at(sums, groups, values)
    return sums


def _ratio(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Element-wise mean, NaN where nothing was counted. A NaN sum stays NaN."""
    means = np.full(len(sums), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means
