"""Steps as tensors; and the promise that the layout is only speed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.model.nanochat.gpt import GPT
from engine.step.dataloader import PAD_TOKEN, StepBatch, StepLoader, TokenRows
from engine.step.loss import weighted_loss
from engine.step.packing import Layout
from engine.step.plan import LossNorm, Plan
from engine.step.step_losses import StepLosses, document_sums, losses_of
from tests.conftest import examples
from tests.engine.small import BYTES, ListSource, tiny_model

ROWS = [
    ("chat", "hi", "hello you"),
    ("sum", "1+1", "2"),
    ("chat", "a longer one", "ok"),
    ("x", "?", ""),
]


def plan_of(num_rows: int, world_size: int, batch: int, accumulation: int) -> Plan:
    return Plan(
        num_rows=num_rows,
        world_size=world_size,
        device_batch_size=batch,
        target_examples_per_step=batch * world_size * accumulation,
        requested_iterations=100,
    )


def loader(
    plan: Plan,
    *,
    rows: list[tuple[str, str, str]] | None = None,
    layout: Layout = "packed",
    loss_norm: LossNorm = "microbatch",
    rank: int = 0,
    ranks: int = 1,
    max_tokens: int = 100,
    prefetch: bool = False,
) -> StepLoader:
    return StepLoader(
        TokenRows(ListSource(rows or ROWS), BYTES),
        plan,
        pad_id=BYTES.special(PAD_TOKEN),
        rank=rank,
        world_size=ranks,
        layout=layout,
        loss_norm=loss_norm,
        max_tokens=max_tokens,
        prefetch=prefetch,
    )


def text_of(ids: Tensor) -> str:
    return BYTES.decode(ids.tolist())


def test_inputs_and_targets_are_shifted_once() -> None:
    """Every supervised target is the token after the place it is predicted from."""
    plan = plan_of(4, 1, 2, 1)
    (padded,) = loader(plan, layout="padded").load(0).micro_steps
    (packed,) = loader(plan).load(0).micro_steps

    for micro in (padded, packed):
        assert text_of(micro.targets) in (
            "hello you<|assistant_end|>2<|assistant_end|>",
            "2<|assistant_end|>hello you<|assistant_end|>",
        )
        before = micro.ids.flatten()[micro.supervised]
        assert text_of(before) in (
            "<|assistant_start|>hello you<|assistant_start|>2",
            "<|assistant_start|>2<|assistant_start|>hello you",
        )
    end = BYTES.special("<|assistant_end|>")
    assert padded.ids.shape == (2, 15)
    assert padded.ids[1, 8:].tolist() == [end] * 7
    assert padded.num_tokens == packed.num_tokens == packed.ids.numel() == 15 + 8
    assert packed.spans == ((0, 15), (15, 23))
    assert packed.positions is not None
    assert packed.positions.tolist() == [*range(15), *range(8)]


def test_a_row_without_answer_weighs_nothing_and_is_counted() -> None:
    """A micro-batch without a supervised token has no weight, and the step says so."""
    batch = loader(plan_of(4, 1, 1, 4)).load(0)

    assert batch.num_empty_micro_batches == 1
    assert batch.num_supervised == 10 + 2 + 3
    weights = torch.cat([micro.weights for micro in batch.micro_steps])
    assert float(weights.sum()) == pytest.approx(3 / 4)


def test_every_supervised_token_knows_its_document_and_source() -> None:
    """Losses can be told apart by row and by task, wherever the row lies."""
    batch = loader(plan_of(4, 1, 2, 2), max_tokens=20).load(0)
    counts = torch.zeros(len(batch.documents), dtype=torch.int64)
    for micro in batch.micro_steps:
        counts += torch.bincount(micro.documents, minlength=len(batch.documents))

    assert counts.tolist() == [document.num_supervised for document in batch.documents]
    assert [document.source for document in batch.documents] == ["chat", "sum", "chat", "x"]
    assert [document.micro_batch for document in batch.documents] == [0, 0, 1, 1]


def test_prefetched_steps_are_the_steps_asked_for() -> None:
    """The thread only works ahead: any order of steps gives what building on the spot gives."""
    plan = plan_of(4, 1, 2, 1)
    ahead, direct = loader(plan, prefetch=True), loader(plan)
    try:
        for step in (0, 1, 5, 6, 2):
            wanted, found = direct.load(step), ahead.load(step)
            assert found.documents == wanted.documents
            for a, b in zip(found.micro_steps, wanted.micro_steps, strict=True):
                assert torch.equal(a.ids, b.ids)
                assert torch.equal(a.weights, b.weights)
    finally:
        ahead.close()


def test_a_fault_in_the_thread_reaches_the_loop() -> None:
    """A row that cannot be rendered stops the step that needs it, not silently the thread."""

    class Broken(ListSource):
        def conversation(self, index: int):  # type: ignore[no-untyped-def]
            if index == 1:
                raise RuntimeError("row 1 is gone")
            return super().conversation(index)

    broken = StepLoader(TokenRows(Broken(ROWS), BYTES), plan_of(4, 1, 1, 1), pad_id=0)
    try:
        broken.load(0)
        with pytest.raises(RuntimeError, match="row 1 is gone"):
            broken.load(1)
    finally:
        broken.close()


def test_cut_rows_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row longer than the limit loses its end, and a full cache changes no row."""
    monkeypatch.setattr("engine.step.token_rows.CACHE_TOKENS", 20)
    rows = TokenRows(ListSource(ROWS), BYTES, max_tokens=10)
    whole = TokenRows(ListSource(ROWS), BYTES)

    for index in (0, 1, 2, 0, 1, 2):
        assert rows[index].ids.tolist() == whole[index].ids[:10].tolist()
    assert (rows.num_cut, whole.num_cut) == (2, 0)


def run(
    model: GPT,
    plan: Plan,
    step: int,
    layout: Layout,
    loss_norm: LossNorm,
    ranks: int,
    room: int,
    rows: list[tuple[str, str, str]],
) -> tuple[StepLosses, dict[str, Tensor], list[StepBatch]]:
    """One step on all ranks: its losses, the summed gradient, and every rank's batch."""
    model.zero_grad(set_to_none=True)
    batches = [
        loader(
            plan,
            rows=rows,
            layout=layout,
            loss_norm=loss_norm,
            rank=rank,
            ranks=ranks,
            max_tokens=room,
        ).load(step)
        for rank in range(ranks)
    ]
    sums = torch.zeros(len(batches[0].documents), dtype=torch.float64)
    total = torch.zeros(())
    for batch in batches:
        nlls: list[Tensor] = []
        for micro in batch.micro_steps:
            hidden = model(micro.ids, spans=micro.spans, positions=micro.positions)
            loss, nll = weighted_loss(
                hidden.flatten(0, -2)[micro.supervised],
                model.lm_head.weight,
                micro.targets,
                micro.weights,
            )
            total = total + loss
            nlls.append(nll)
        sums += document_sums(batch, nlls)
    if total.requires_grad:
        total.backward()
    gradient = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in model.named_parameters()
    }
    return losses_of(batches[0], sums), gradient, batches


WORDS = st.text("ab c", max_size=12)


@examples(40)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["p", "q"]), WORDS, WORDS), min_size=4, max_size=10),
    plan_ranks=st.integers(1, 3),
    batch=st.integers(1, 3),
    accumulation=st.integers(1, 3),
    step=st.integers(0, 5),
    loss_norm=st.sampled_from(["microbatch", "tokens"]),
    ranks=st.integers(1, 4),
    room=st.integers(5, 120),
)
def test_both_layouts_on_any_ranks_give_one_loss_and_one_gradient(
    rows: list[tuple[str, str, str]],
    plan_ranks: int,
    batch: int,
    accumulation: int,
    step: int,
    loss_norm: LossNorm,
    ranks: int,
    room: int,
) -> None:
    """Packing, and the number of ranks that execute a plan, change speed and nothing else."""
    model = tiny_model()
    plan = plan_of(len(rows), plan_ranks, batch, accumulation)
    padded, wanted, _ = run(model, plan, step, "padded", loss_norm, plan_ranks, room, rows)
    packed, found, batches = run(model, plan, step, "packed", loss_norm, ranks, room, rows)

    np.testing.assert_allclose(packed.micro_losses, padded.micro_losses, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(packed.document_losses, padded.document_losses, rtol=2e-5)
    np.testing.assert_allclose(packed.loss, padded.loss, rtol=1e-5)
    np.testing.assert_allclose(packed.loss_micro_last, padded.loss_micro_last, rtol=2e-5)
    assert packed.loss_by_source == pytest.approx(padded.loss_by_source, rel=1e-5)
    assert (packed.tokens, packed.supervised_tokens) == (padded.tokens, padded.supervised_tokens)
    assert packed.tokens == sum(m.num_tokens for b in batches for m in b.micro_steps)
    for name, gradient in wanted.items():
        scale = float(gradient.abs().max()) + 1e-6
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=2e-5 * scale)


def test_the_gradient_is_the_mean_over_micro_batches_of_their_means() -> None:
    """With plain torch: every micro-batch's mean cross entropy, averaged."""
    rows = [*ROWS[:3], ("sum", "2+2", "4")]
    model, plan = tiny_model(), plan_of(4, 1, 2, 2)
    losses, found, _ = run(model, plan, 0, "packed", "microbatch", 1, 100, rows)

    model.zero_grad(set_to_none=True)
    tokens = TokenRows(ListSource(rows), BYTES)
    means: list[Tensor] = []
    for micro in plan.micro_batches(0):
        nll: list[Tensor] = []
        for row in (tokens[index] for index in micro.rows):
            logits = model.logits(model(torch.from_numpy(row.ids[:-1].astype(np.int64))[None]))[0]
            targets = torch.from_numpy(row.ids[1:].astype(np.int64))
            each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
            nll.append(each[torch.from_numpy(row.mask[1:])])
        means.append(torch.cat(nll).mean())
    loss = torch.stack(means).mean()
    loss.backward()

    assert losses.loss_rows_mean == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-4, atol=1e-6)
