"""What `make gpu-count` wrote: the promised numbers, from both ends of the allowed range."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests import fake_cuda, gpu_count
from tests.benchmarks import counted_work

COUNTED: dict[str, Any] = json.loads(counted_work.COUNTED.read_text())["torch"]


def test_the_oldest_and_the_newest_torch_were_counted() -> None:
    """Autocast's lists changed in between: 2.12 widened the norm."""
    versions = [version.partition("+")[0] for version in COUNTED]
    assert versions == list(gpu_count.VERSIONS)
    assert all("+cu" in version for version in COUNTED)


@pytest.mark.parametrize("version", COUNTED)
def test_a_micro_step_stays_within_its_budget(version: str) -> None:
    """At most 1,550 kernels and 38 GiB, and the flash kernel once a layer each way."""
    ours = COUNTED[version]["work"]["sftui"]
    assert ours["kernels"] <= counted_work.MOST_KERNELS
    assert ours["gib"] <= counted_work.MOST_GIB
    assert sorted(ours["attention"].values()) == [16, 16]
    assert all("varlen" in name for name in ours["attention"])
    plain = COUNTED[version]["work"]["padded loop"]
    assert plain["kernels"] >= 3 * ours["kernels"]
    assert plain["gib"] >= 1.4 * ours["gib"]


@pytest.mark.parametrize("version", COUNTED)
def test_the_parts_of_2026_cost_a_third_of_the_kernels_and_no_call_per_document(
    version: str,
) -> None:
    """Windows, value embeddings, smear, mix and backout: the flash kernel still once a layer."""
    work = COUNTED[version]["work_2026"]
    ours, october = work["sftui"], COUNTED[version]["work"]["sftui"]
    assert sorted(ours["attention"].values()) == [16, 16]
    assert all("varlen" in name for name in ours["attention"])
    assert ours["kernels"] <= 1.34 * october["kernels"]
    plain = work["padded loop"]
    assert plain["kernels"] >= 3 * ours["kernels"]
    assert plain["gib"] >= 1.4 * ours["gib"]


@pytest.mark.parametrize("version", COUNTED)
def test_the_loss_is_one_kernel_that_every_card_can_take(version: str) -> None:
    """As inductor writes it for CUDA and Triton assembles it: nothing spilled on any card."""
    loss = COUNTED[version]["generated"]["loss"]
    assert (loss["kernels"], loss["products"]) == (1, 0)
    assert set(loss["assembled"]) == {"sm_80", "sm_86", "sm_89", "sm_90"}
    for usage in loss["assembled"].values():
        assert usage["spilled"] == 0
        # 16 warps of a row each: more registers and a block of them would not fit.
        assert usage["registers"] <= 128


@pytest.mark.parametrize("version", COUNTED)
def test_compiled_layers_launch_about_half(version: str) -> None:
    """Six products forward, twice that backward; everything else in a few written kernels."""
    halves = COUNTED[version]["generated"]["halves"]
    assert sum(half["products"] for half in halves.values()) == 3 * 6
    written = sum(half["kernels"] for half in halves.values())
    # With the attention both ways, and six gradients that are added to what is there.
    layer = written + 18 + 2 + 6
    assert layer * fake_cuda.D16.n_layer <= 0.6 * COUNTED[version]["work"]["sftui"]["kernels"]
    for usage in COUNTED[version]["generated"]["halves_assembled"].values():
        assert all(card["spilled"] == 0 for card in usage.values())


def test_the_forward_pass_counts_here_what_was_counted_there() -> None:
    """On this build of torch, d16 without gradients: the norm apart, kernel by kernel.

    So the committed numbers cannot belong to code of long ago.
    """
    with FakeTensorMode(), fake_cuda.Counter() as counter, torch.no_grad():
        model = fake_cuda.model().requires_grad_(False)
        micro = fake_cuda.micro_step()
        counter.clear()
        with fake_cuda.autocast():
            model(micro.ids, spans=micro.spans, positions=micro.positions, ends=micro.ends)
    layers = fake_cuda.D16.n_layer
    assert counter.kernels["aten.mm.default"] == 6 * layers
    assert counter.kernels["aten.relu.default"] == layers
    assert sum(n for name, n in counter.kernels.items() if "varlen_attn" in name) == layers


def test_the_benchmark_prints_both_side_by_side() -> None:
    """A line for us, a line for the plain loop, and the ratio."""
    path = Path(counted_work.__file__)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    tables = len(COUNTED) * len(counted_work.FAMILIES)
    assert done.stdout.count("sftui ") == done.stdout.count("padded loop") == tables
    assert done.stdout.count("ratio: kernels") == tables
    assert done.stdout.count("nanochat to nanochat-2025, ours: ") == len(COUNTED)
