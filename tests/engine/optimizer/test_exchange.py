"""Gradients reach their owners and weights reach everybody, whichever collective carries them."""

from __future__ import annotations

import math
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from engine.config import OptimConfig
from engine.model.compiled import try_out
from engine.model.nanochat.gpt import GPT, GPTConfig
from engine.optimizer import exchange
from engine.optimizer.exchange import GradientExchange
from engine.optimizer.optim import EMBEDDING, HEAD, ShardedOptimizer, build_optimizer
from engine.session import LossModule
from engine.step.dataloader import MicroStep
from tests.fake_cuda import D16

# Neither the vocabulary nor the matrices divide by three ranks.
TINY = GPTConfig(sequence_len=64, vocab_size=127, n_layer=3, n_head=2, n_kv_head=2, n_embd=32)
STEPS = 4


def tiny_model() -> GPT:
    model = GPT(TINY)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.05, generator=generator)
    return model


def micro(seed: int) -> MicroStep:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, TINY.vocab_size, (20,), generator=generator)
    places = torch.arange(19)
    return MicroStep(
        ids=ids,
        spans=((0, 8), (8, 20)),
        positions=torch.cat([torch.arange(8), torch.arange(12)]),
        supervised=places,
        targets=ids[1:],
        weights=torch.full((19,), 0.01),
        documents=places,
        num_tokens=20,
    )


def seeds(rank: int, step: int) -> list[int]:
    """Micro-steps of a rank: as many as its number and two, so ranks have unequally many."""
    return [1000 * step + 10 * rank + i for i in range(rank + 2)]


LONGEST = {2: 0.78, 3: 1.03}
"""By ranks, the norm that gradients are clipped to: some steps' are, some are not."""


def train(
    model: GPT, optimizer: ShardedOptimizer, rank: int, *, longest: float = math.inf
) -> list[float]:
    loss_module = LossModule(model)
    norms = []
    for step in range(STEPS):
        found = seeds(rank, step)
        for i, seed in enumerate(found):
            loss, _ = loss_module(micro(seed))
            if i == len(found) - 1:
                with optimizer.last_backward():
                    loss.backward()
            else:
                loss.backward()
        norms.append(optimizer.grad_norm(all_reduce_sum))
        optimizer.clip(norms[-1], longest)
        optimizer.step()
        optimizer.zero_grad()
    return norms


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def summed_everywhere(
    model: GPT, optimizer: ShardedOptimizer, rank: int, *, longest: float = math.inf
) -> list[float]:
    """What DistributedDataParallel did: every gradient summed on every rank, from copies."""
    loss_module = LossModule(model)
    for step in range(STEPS):
        for seed in seeds(rank, step):
            loss_module(micro(seed))[0].backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            everywhere = parameter.grad.clone()
            dist.all_reduce(everywhere)
            parameter.grad = everywhere
        if longest < math.inf:
            torch.nn.utils.clip_grad_norm_(model.parameters(), longest)
        optimizer.step()
        optimizer.zero_grad()
    return []


def train_compiled(model: GPT, optimizer: ShardedOptimizer, rank: int) -> list[float]:
    """Layers as graphs with torch's own autograd, as `--compile` has them but for the kernels."""
    model.compile_blocks("aot_eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try_out(model, mixed=False)
        return train(model, optimizer, rank)


def _rank_main(rank: int, world_size: int, folder: str) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    settings = OptimConfig(weight_decay=0.1)
    found: dict[str, Any] = {}
    for name, run, scatters in (
        ("reference", summed_everywhere, False),
        ("reduced", train, False),
        ("scattered", train, True),
        ("clipped reference", partial(summed_everywhere, longest=LONGEST[world_size]), False),
        ("clipped", partial(train, longest=LONGEST[world_size]), True),
        ("compiled", train_compiled, True),
    ):
        if name == "compiled" and world_size > 2:
            continue
        cls: Any = GradientExchange
        cls._scatters = lambda self, flat, scatters=scatters: scatters
        model = tiny_model()
        optimizer = build_optimizer(model, settings, rank=rank, world_size=world_size)
        norms = run(model, optimizer, rank)
        weights = {key: value.clone() for key, value in model.state_dict().items()}
        found[name] = {"weights": weights, "norms": norms}
        found["in buckets"] = all(in_bucket(optimizer, key) for key, _ in model.named_parameters())
    torch.save(found, f"{folder}/{world_size}.{rank}.pt")
    dist.destroy_process_group()


def in_bucket(optimizer: ShardedOptimizer, name: str) -> bool:
    """Whether a parameter and its gradient are windows into what is sent."""
    assert optimizer._exchange is not None
    parameter = optimizer._parameters[name]
    assert parameter.grad is not None
    return any(
        name in bucket.names
        and parameter.untyped_storage().data_ptr() == bucket.weights.data_ptr()
        and parameter.grad.untyped_storage().data_ptr() == bucket.gradients.data_ptr()
        for bucket in optimizer._exchange.buckets
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("world_size", [2, 3])
def test_summing_at_the_owner_trains_as_summing_everywhere(world_size: int, tmp_path: Path) -> None:
    """Unequal micro-steps, rows and matrices that do not divide: the same weights on all ranks.

    On two ranks to the last bit, since a sum of two has one order; on three a collective may
    add in another.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn(_rank_main, args=(world_size, str(tmp_path)), nprocs=world_size)
    ranks = [torch.load(tmp_path / f"{world_size}.{rank}.pt") for rank in range(world_size)]
    reference = ranks[0]["reference"]["weights"]
    for way in ("reduced", "scattered"):
        for found in ranks:
            assert found[way]["norms"] == pytest.approx(ranks[0][way]["norms"], rel=0)
            for name, weight in found[way]["weights"].items():
                assert torch.equal(weight, ranks[0][way]["weights"][name]), (way, name)
                tolerance = 0.0 if world_size == 2 else 2e-6
                torch.testing.assert_close(weight, reference[name], atol=tolerance, rtol=0.0)
    assert all(found["in buckets"] for found in ranks)
    # Clipped by the norm over all ranks, as torch clips the whole; shown is the one before.
    norms = ranks[0]["clipped"]["norms"]
    assert min(norms) < LONGEST[world_size] < max(norms)
    assert norms[0] == ranks[0]["reduced"]["norms"][0]
    for found in ranks:
        for name, weight in found["clipped"]["weights"].items():
            wanted = ranks[0]["clipped reference"]["weights"][name]
            torch.testing.assert_close(weight, wanted, atol=2e-6, rtol=0.0)
    for found in ranks[: 2 if world_size == 2 else 0]:
        # The layers compiled: torch's autograd of a graph adds in another order.
        assert found["compiled"]["norms"] == pytest.approx(found["reduced"]["norms"], rel=1e-6)
        for name, weight in found["compiled"]["weights"].items():
            assert torch.equal(weight, ranks[0]["compiled"]["weights"][name]), name
            torch.testing.assert_close(weight, reference[name], atol=2e-5, rtol=0.0)
    # The norm is that of the whole gradient, as one process has it.
    alone = tiny_model()
    loss_module = LossModule(alone)
    for rank in range(world_size):
        for seed in seeds(rank, 0):
            loss_module(micro(seed))[0].backward()
    whole = torch.cat([weight.grad.flatten() for weight in alone.parameters()])
    assert ranks[0]["reduced"]["norms"][0] == pytest.approx(float(whole.norm()), rel=1e-5)


class Collectives:
    """Stands in for torch.distributed: what would be sent, in order, in bytes of one rank."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def reduce_scatter_single(self, share: Any, flat: Any, **_: Any) -> None:
        self.sent.append(("reduce-scatter", flat.nbytes - share.nbytes))

    def all_gather_single(self, flat: Any, share: Any, **_: Any) -> None:
        self.sent.append(("all-gather", flat.nbytes - share.nbytes))


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_a_step_sends_half_of_summing_everywhere(
    world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six messages each way for the reference run's 98 parameters; 2 (W-1)/W of them in all.

    Summing everywhere takes that much for the gradients alone; then the weights were sent
    whole, one owner after the other.
    """
    sent = Collectives()
    monkeypatch.setattr(exchange, "dist", sent)
    monkeypatch.setattr(GradientExchange, "_scatters", lambda *_: True)
    with torch.device("meta"):
        model = GPT(D16)
    optimizer = build_optimizer(model, OptimConfig(), rank=0, world_size=world_size)
    with optimizer.last_backward():
        pass  # Nothing has arrived, so everything leaves at the end.
    assert optimizer._exchange is not None
    for number in range(len(optimizer._exchange.buckets)):
        optimizer._exchange.share(number)
    assert [kind for kind, _ in sent.sent] == ["reduce-scatter"] * 6 + ["all-gather"] * 6
    size = sum(weight.nbytes for weight in model.parameters())
    assert size == 4 * D16.num_parameters
    total = sum(found for _, found in sent.sent)
    # Shares are filled up to equal size: by nothing here.
    assert total == 2 * size * (world_size - 1) // world_size


def test_buckets_leave_while_the_backward_pass_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head's gradient is under way before the embedding's is there; the order is fixed."""
    monkeypatch.setattr(exchange, "dist", sent := Collectives())
    monkeypatch.setattr(GradientExchange, "_scatters", lambda *_: True)
    model = tiny_model()
    optimizer = build_optimizer(model, OptimConfig(), rank=0, world_size=2)
    at_embedding: list[int] = []
    named = dict(model.named_parameters())
    named[EMBEDDING].register_hook(lambda _: at_embedding.append(len(sent.sent)))
    with optimizer.last_backward():
        LossModule(model)(micro(1))[0].backward()
    assert at_embedding == [5]
    assert optimizer._exchange is not None
    buckets = optimizer._exchange.buckets
    assert (buckets[0].names, buckets[-1].names) == ((HEAD,), (EMBEDDING,))
    assert [name for bucket in buckets for name in bucket.names].count(HEAD) == 1


def test_a_gradient_that_never_came_is_sent_as_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that somebody replaced by a tensor of their own is what is sent."""
    monkeypatch.setattr(exchange, "dist", Collectives())
    monkeypatch.setattr(GradientExchange, "_scatters", lambda *_: True)
    model = tiny_model()
    optimizer = build_optimizer(model, OptimConfig(), rank=0, world_size=2)
    LossModule(model)(micro(1))[0].backward()
    model.lm_head.weight.grad = None
    model.transformer["wte"].weight.grad = torch.ones(127, 32)
    with optimizer.last_backward():
        pass
    found = {name: weight.grad for name, weight in model.named_parameters()}
    assert torch.equal(found[HEAD] + 0, torch.zeros(127, 32))
    assert torch.equal(found[EMBEDDING] + 0, torch.ones(127, 32))
    assert in_bucket(optimizer, EMBEDDING)
    assert in_bucket(optimizer, HEAD)
