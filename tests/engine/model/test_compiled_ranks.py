"""`--compile` on two ranks with inductor's own kernels: as few graphs, and the same training."""

from __future__ import annotations

import shutil
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor import metrics
from torch.multiprocessing.spawn import spawn

from engine.config import OptimConfig
from engine.model.compiled import try_out
from engine.model.nanochat.gpt import GPT, GPTConfig
from engine.optimizer.optim import build_optimizer
from engine.session import LossModule
from tests.engine.model.test_compiled import (
    PACKINGS,
    SHAPE,
    SHAPE_2026,
    loader,
    measure,
    model,
    num_graphs,
)

SHAPES = {"october": (SHAPE, 2), "2026": (SHAPE_2026, 3)}
"""Each with its graphs: of 2026's layers those with a value embedding begin in another way."""
RANKS = 2


def trained(rank: int, made: GPT) -> tuple[list[float], dict[str, Tensor]]:
    """Loss of a rank's share of every step, and the weights behind the last update."""
    optimizer = build_optimizer(made, OptimConfig(), rank=rank, world_size=RANKS)
    optimizer.set_lr(0.1)
    loss_module = LossModule(made)
    steps = loader("packed", rank=rank, world_size=RANKS)
    losses = []
    for step in range(PACKINGS):
        micro_steps = steps.load(step).micro_steps
        total = 0.0
        for i, micro in enumerate(micro_steps):
            loss, _ = loss_module(micro)
            last = i == len(micro_steps) - 1
            with optimizer.last_backward() if last else nullcontext():
                loss.backward()
            total += float(loss.detach())
        losses.append(total)
        optimizer.step()
        optimizer.zero_grad()
        if step == PACKINGS // 2:
            measure(made, loader("packed"))
            optimizer.zero_grad()
    return losses, {name: weight.clone() for name, weight in made.state_dict().items()}


def one_rank(rank: int, shape: GPTConfig, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS
    )
    plain_losses, plain = trained(rank, model(shape))
    counter = CompileCounterWithBackend("inductor")
    made = model(shape)
    made.compile_blocks(counter)
    with warnings.catch_warnings(), torch._dynamo.config.patch(error_on_recompile=True):
        warnings.simplefilter("ignore")
        try_out(made, mixed=False)
        graphs, kernels = num_graphs(counter), metrics.generated_kernel_count
        losses, weights = trained(rank, made)
    found: dict[str, Any] = {
        "graphs": (graphs, num_graphs(counter)),
        "kernels": (kernels, metrics.generated_kernel_count),
        "losses": (plain_losses, losses),
        "weights": (plain, weights),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
@pytest.mark.parametrize("generation", SHAPES)
def test_two_ranks_train_twenty_packings_with_the_kernels_of_the_trial(
    generation: str, tmp_path: Path
) -> None:
    """No graph and no kernel is made behind the trial, on either rank; gradients still leave layer
    by layer, so both ranks hold the same bits, and a plain training's weights within rounding."""
    shape, graphs = SHAPES[generation]
    spawn(one_rank, args=(shape, str(tmp_path)), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]
    for found in ranks:
        assert found["graphs"] == (graphs, graphs)
        assert found["kernels"][0] > 0, "inductor wrote no kernel"
        assert found["kernels"][1] == found["kernels"][0]
        plain, compiled = found["losses"]
        assert len(compiled) == PACKINGS
        assert compiled == pytest.approx(plain, rel=2e-5)
        assert compiled != plain, "the compiled kernels were not taken"
        for name, weight in found["weights"][1].items():
            assert torch.equal(weight, ranks[0]["weights"][1][name]), name
            torch.testing.assert_close(weight, found["weights"][0][name], atol=2e-5, rtol=2e-4)
    assert ranks[0]["losses"][1] != ranks[1]["losses"][1], "both ranks trained on the same rows"
