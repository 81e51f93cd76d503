"""What a GPU would be asked to do, seen on fake CUDA tensors: the fast path, or a warning."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from engine import errors
from engine.config import OptimConfig
from engine.errors import SlowPathWarning
from engine.model.nanochat import attention, gpt, parts
from engine.model.nanochat.gpt_config import GPTConfig
from engine.optimizer.optim import build_optimizer
from engine.session import LossModule
from tests import fake_cuda
from tests.conftest import examples

SMALL = GPTConfig(sequence_len=64, vocab_size=128, n_layer=2, n_head=4, n_kv_head=2, n_embd=32)
SMALL_2026 = dataclasses.replace(
    SMALL, sequence_len=512, n_layer=4, window_pattern="SL", parts=parts.NEWEST
)
"""Two layers look back 128 tokens, two see all; two have value embeddings."""
either = pytest.mark.parametrize("shape", [SMALL, SMALL_2026], ids=["october", "2026"])


@contextlib.contextmanager
def counted() -> Iterator[fake_cuda.Counter]:
    with FakeTensorMode(), fake_cuda.Counter() as counter, torch.no_grad():
        yield counter


def small_model(shape: GPTConfig = SMALL) -> Any:
    # Without it autocast's cache asks for the gradient's place, which a CPU build does not have.
    return fake_cuda.model(shape).requires_grad_(False)


@either
@examples(10)
@given(lengths=st.lists(st.integers(1, 40) | st.just(300), min_size=1, max_size=12))
def test_a_packed_row_is_one_flash_kernel_a_layer_under_autocast(
    shape: GPTConfig, lengths: list[int]
) -> None:
    """Whatever the documents: bf16 from embedding to hidden states, and no call per document."""
    lengths = [min(length, shape.sequence_len) for length in lengths]
    dtypes = []
    with counted() as counter:
        model = small_model(shape)
        for module in model.transformer["h"]:
            module.register_forward_hook(lambda _m, _i, out: dtypes.append(out.dtype))
        micro = fake_cuda.micro_step(lengths)
        # A CPU build stops in the loop over documents, which is a failure of its own below.
        with fake_cuda.autocast(), contextlib.suppress(RuntimeError):
            hidden = model(micro.ids, spans=micro.spans, positions=micro.positions, ends=micro.ends)
            dtypes.append(hidden.dtype)
    assert dtypes == [torch.bfloat16] * (shape.n_layer + 1)
    varlen = [name for name in counter.kernels if "varlen_attn" in name]
    assert sum(counter.kernels[name] for name in varlen) == shape.n_layer
    taken = {
        dtypes[:3]
        for name in counter.dtypes
        if "varlen_attn" in name
        for dtypes in counter.dtypes[name]
    }
    assert taken == {(torch.bfloat16,) * 3}
    assert not any("scaled_dot_product" in name or "softmax" in name for name in counter.kernels)


@either
def test_nothing_is_copied_from_the_host_inside_a_micro_step(shape: GPTConfig) -> None:
    """Loss included: a copy from ordinary memory makes the host wait for the card. And what is
    launched is the same for three documents and for thirty: none has a kernel of its own."""
    launched = []
    for lengths in ((40, 200, 60), (10,) * 30):
        with counted() as counter:
            module = LossModule(small_model(shape))
            micro = fake_cuda.micro_step([min(length, shape.sequence_len) for length in lengths])
            counter.clear()
            with fake_cuda.autocast():
                module(micro)
        assert counter.host_copies == []
        launched.append(dict(counter.kernels))
    assert launched[0] == launched[1]


@either
def test_an_update_never_waits_for_the_card(shape: GPTConfig) -> None:
    """What it launches depends on no number that lies there.

    A fake tensor has none to give: reading one raises.
    """
    with counted() as counter:
        model = fake_cuda.model(shape)
        optimizer = build_optimizer(model, OptimConfig(weight_decay=0.1))
        for weight in model.parameters():
            weight.grad = torch.empty_like(weight)
        # The state is made by the first update.
        optimizer.step()
        counter.clear()
        optimizer.set_lr(0.5)
        optimizer.set_momentum(0.9)
        optimizer.step()
        optimizer.step(measure=True)
    assert counter.num_kernels
    assert counter.host_copies == []


def test_the_norm_and_the_square_stay_in_bf16() -> None:
    """Autocast widens neither: not the norm (torch 2.12 and later) nor the MLP's square."""
    with counted() as counter:
        model = small_model()
        x = torch.empty(9, 32, device="cuda", dtype=torch.bfloat16)
        with fake_cuda.autocast():
            assert gpt._norm(x).dtype == torch.bfloat16
            counter.clear()
            model.transformer["h"][0].mlp(x)
    given_ = {
        name: dtypes
        for name, found in counter.dtypes.items()
        for dtypes in found
        if torch.float32 in dtypes
    }
    # The weights alone are fp32, and autocast casts each of the two once.
    assert set(given_) == {"_to_copy"}
    assert counter.kernels["aten._to_copy.default"] == 2


@pytest.mark.parametrize(
    ("query", "value", "heads", "why"),
    [
        (torch.float32, torch.bfloat16, 8, "queries and keys are float32 and values bfloat16"),
        (torch.float32, torch.float32, 8, "16-bit numbers only, and these are float32"),
        (torch.bfloat16, torch.bfloat16, 12, "this model's have 12"),
        (torch.bfloat16, torch.bfloat16, 264, "this model's have 264"),
    ],
)
def test_the_slow_path_says_why(
    query: torch.dtype, value: torch.dtype, heads: int, why: str
) -> None:
    """Document by document still gives numbers, and a warning with the reason, once."""
    errors._told.clear()
    with counted():
        q = torch.empty(9, 2, heads, device="cuda", dtype=query)
        v = torch.empty(9, 2, heads, device="cuda", dtype=value)
        attend = attention.packed_attention(((0, 4), (4, 9)), q.device)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with contextlib.suppress(RuntimeError):  # SDPA wants equal dtypes
                attend(q, q, v)
            with contextlib.suppress(RuntimeError):
                attend(q, q, v)
    assert [why in str(warning.message) for warning in caught] == [True]
    assert issubclass(caught[0].category, SlowPathWarning)
    errors._told.clear()


def test_the_slow_path_is_an_error_in_tests() -> None:
    """A test that takes it unasked fails, the second time too."""
    with counted():
        q = torch.empty(9, 2, 8, device="cuda")
        attend = attention.packed_attention(((0, 4), (4, 9)), q.device)
        for _ in range(2):
            with pytest.raises(SlowPathWarning, match="document by document"):
                attend(q, q, q)


def test_an_old_card_has_no_flash_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A T4 or 2080 Ti would raise in the first forward pass."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    assert "compute capability is 7.5" in attention.card_obstacle(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    assert attention.card_obstacle(torch.device("cuda")) == ""


@examples(20)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 6))
def test_the_squared_relu_is_autograds_to_the_last_bit(seed: int, rows: int) -> None:
    """Value and gradient, in fp32 and in bf16, against `relu(x).square()` computed in fp32."""
    generator = torch.Generator().manual_seed(seed)
    for dtype in (torch.float32, torch.bfloat16):
        start = torch.randn(rows, 33, generator=generator).to(dtype)
        pull = torch.randn(rows, 33, generator=generator).to(dtype)
        ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
        value = gpt._relu_squared(ours)
        wanted = torch.relu(theirs).float().square().to(dtype)
        value.backward(pull)
        wanted.backward(pull)
        assert torch.equal(value, wanted)
        assert _same(ours.grad, theirs.grad)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    assert a is not None
    assert b is not None
    return torch.equal(a, b)


def test_recomputed_blocks_draw_no_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving the generators' state for every block costs a copy from the card each."""
    from tests.engine.small import tiny_model

    model = tiny_model()
    model.checkpoint_blocks = True
    saved = []
    monkeypatch.setattr(torch, "get_rng_state", lambda: saved.append(1))
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    assert saved == []
