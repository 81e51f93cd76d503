"""Loss numbers of a step."""

from __future__ import annotations

import math

import pytest
import torch

from engine.step.dataloader import Document, MicroStep, StepBatch
from engine.step.plan import MicroBatch
from engine.step.step_losses import document_sums, step_losses


def micro_step(documents: list[int]) -> MicroStep:
    empty = torch.zeros(0, dtype=torch.int64)
    return MicroStep(
        ids=empty,
        spans=(),
        positions=empty,
        supervised=empty,
        targets=empty,
        weights=torch.zeros(0),
        documents=torch.tensor(documents, dtype=torch.int64),
        num_tokens=5,
    )


def batch(micro_steps: list[MicroStep], supervised: list[int], device: str = "cpu") -> StepBatch:
    """Documents 0 and 1 are rank 0's micro-batch, 2 and 3 rank 1's, 4 rank 0's last."""
    micro = [0, 0, 1, 1, 2]
    sources = ["a", "b", "a", "b", "c"]
    documents = tuple(
        Document(row=i, source=sources[i], micro_batch=micro[i], num_tokens=9, num_supervised=n)
        for i, n in enumerate(supervised)
    )
    return StepBatch(
        step=0,
        micro_steps=tuple(micro_steps),
        documents=documents,
        micro_batches=(
            MicroBatch(0, 0, (0, 1)),
            MicroBatch(1, 0, (2, 3)),
            MicroBatch(0, 1, (4,)),
        ),
        num_tokens=45,
        num_supervised=sum(supervised),
        device=torch.device(device),
    )


def test_losses_are_means_over_the_right_tokens() -> None:
    """By token, by micro-batch, by source, by row; nanochat's is rank 0's last micro-batch."""
    steps = [micro_step([4, 0, 0]), micro_step([1, 2, 3, 3])]
    nlls = [torch.tensor([6.0, 1.0, 2.0]), torch.tensor([3.0, 4.0, 5.0, 7.0])]

    found = step_losses(batch(steps, [2, 1, 1, 2, 1]), nlls)

    assert found.loss == pytest.approx(28 / 7)
    assert found.micro_losses.tolist() == pytest.approx([2.0, 16 / 3, 6.0])
    assert found.loss_rows_mean == pytest.approx((2 + 16 / 3 + 6) / 3)
    assert found.loss_micro_last == 6.0
    assert found.loss_by_source == pytest.approx({"a": 7 / 3, "b": 15 / 3, "c": 6.0})
    assert found.document_losses.tolist() == pytest.approx([1.5, 3.0, 4.0, 6.0, 6.0])
    assert (found.supervised_tokens, found.tokens) == (7, 45)


def test_a_micro_batch_without_targets_is_nan_only_where_nanochat_prints_it() -> None:
    """The means leave it out."""
    steps = [micro_step([0, 1, 2])]

    found = step_losses(batch(steps, [1, 1, 1, 0, 0]), [torch.tensor([1.0, 2.0, 4.5])])

    assert math.isnan(found.loss_micro_last)
    assert found.loss == pytest.approx(2.5)
    assert found.loss_rows_mean == pytest.approx((1.5 + 4.5) / 2)
    assert set(found.loss_by_source) == {"a", "b"}


def test_nothing_supervised_is_no_loss_at_all() -> None:
    """A step without any target reports NaN and divides by nothing."""
    found = step_losses(batch([], [0, 0, 0, 0, 0]), [])

    assert math.isnan(found.loss)
    assert math.isnan(found.loss_rows_mean)
    assert found.loss_by_source == {}


def test_a_diverged_loss_is_not_hidden() -> None:
    """NaN and infinity of a token reach every number it is part of."""
    steps = [micro_step([0, 2])]

    found = step_losses(batch(steps, [1, 0, 1, 0, 0]), [torch.tensor([math.nan, 2.0])])

    assert math.isnan(found.loss)
    assert math.isnan(found.loss_by_source["a"])
    assert found.micro_losses[1] == 2.0


def test_ranks_are_summed_before_anything_is_divided() -> None:
    """The reduction is called once, with document sums, and its result is what counts."""
    calls: list[torch.Tensor] = []

    def reduce(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(tensor.clone())
        return tensor + torch.tensor([0.0, 3.0, 4.0, 12.0, 6.0])

    found = step_losses(
        batch([micro_step([0, 0])], [2, 1, 1, 2, 1]), [torch.tensor([1.0, 2.0])], reduce
    )

    assert [call.tolist() for call in calls] == [[3.0, 0.0, 0.0, 0.0, 0.0]]
    assert found.loss == pytest.approx(28 / 7)


def test_a_rank_without_work_reduces_where_the_others_do() -> None:
    """Its sums lie on the batch's device: a reduction over two devices would hang."""
    assert document_sums(batch([], [1, 1, 1, 1, 1], device="meta"), []).device.type == "meta"
