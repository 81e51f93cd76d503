"""The loss's one kernel gives what the eager passes give; without a compiler they take over."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch._dynamo.testing
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from engine import errors
from engine.errors import SlowPathWarning
from engine.step import fused_loss, loss
from tests import fake_cuda
from tests.conftest import examples


def inputs(num_tokens: int, vocab: int, dtype: torch.dtype, spread: float) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(num_tokens * 1000 + vocab)
    logits = spread * torch.randn(num_tokens, vocab, generator=generator)
    targets = torch.randint(0, vocab, (num_tokens,), generator=generator)
    weights = torch.rand(num_tokens, generator=generator)
    return logits.to(dtype), targets, weights


@examples(40)
@given(
    num_tokens=st.integers(1, 9),
    vocab=st.integers(2, 300),
    spread=st.sampled_from([0.01, 1.0, 40.0, 1e4]),
)
def test_the_kernel_is_as_exact_as_the_eager_passes(
    num_tokens: int, vocab: int, spread: float
) -> None:
    """Against fp64: losses within 1e-5 and gradients within a rounding, saturated ones too."""
    logits, targets, weights = inputs(num_tokens, vocab, torch.float32, spread)
    nll, gradient = fused_loss.middle(logits, targets, weights)
    exact = logits.double().requires_grad_()
    wanted = torch.nn.functional.cross_entropy(
        15 * torch.tanh(exact / 15), targets, reduction="none"
    )
    (wanted * weights.double()).sum().backward()
    torch.testing.assert_close(nll.double(), wanted.detach(), atol=1e-5, rtol=1e-5)
    assert exact.grad is not None
    torch.testing.assert_close(gradient.double(), exact.grad, atol=1e-6, rtol=1e-4)


def test_the_kernel_and_the_passes_agree_in_bf16() -> None:
    """Both round once, at the end: the same bf16 number or its neighbour."""
    logits, targets, weights = inputs(50, 500, torch.bfloat16, 3.0)
    nll, gradient = fused_loss.middle(logits, targets, weights)
    nll_eager, gradient_eager = loss._middle(logits.clone(), targets, weights)
    assert gradient.dtype == gradient_eager.dtype == torch.bfloat16
    torch.testing.assert_close(nll, nll_eager, atol=2e-6, rtol=2e-6)
    torch.testing.assert_close(gradient, gradient_eager, atol=1e-9, rtol=2**-7)


def test_any_number_of_tokens_is_one_graph() -> None:
    """Twenty last chunks of as many lengths: compiled once whole, never again."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(fused_loss.middle, fullgraph=True, dynamic=True, backend=counter)
    for num_tokens in range(2, 22):
        logits, targets, weights = inputs(num_tokens, 40, torch.float32, 1.0)
        compiled(logits, targets, weights)
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_without_a_compiler_the_eager_passes_are_taken_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reason is in the warning, and the memory that was promised stays the same."""

    def broken() -> fused_loss.Middle:
        raise RuntimeError("Cannot find a working triton installation.\nmore lines")

    monkeypatch.setattr(fused_loss, "_broken", False)
    monkeypatch.setattr(fused_loss, "usable", lambda *_: True)
    monkeypatch.setattr(fused_loss, "compiled_middle", broken)
    errors._told.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fused_loss.try_compile(torch.device("cpu"), torch.bfloat16, 10)
    assert "working triton installation" in str(caught[0].message)
    assert issubclass(caught[0].category, SlowPathWarning)
    assert fused_loss._broken
    errors._told.clear()


@pytest.mark.parametrize("broken", [False, True])
def test_the_peak_of_the_loss_is_the_same_with_and_without_the_kernel(
    broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the fake card, 512 tokens of a vocabulary of 65,536: 4 bytes a logit of a chunk."""
    monkeypatch.setattr(fused_loss, "_broken", broken)
    with FakeTensorMode(), fake_cuda.Counter() as counter, torch.no_grad():
        hidden = torch.empty(512, 32, device="cuda", dtype=torch.bfloat16)
        weight = torch.empty(65_536, 32, device="cuda")
        targets = torch.empty(512, device="cuda", dtype=torch.int64)
        weights = torch.empty(512, device="cuda")
        before = counter.live
        counter.reset_peak()
        loss._run(hidden, weight, targets, weights, 256, gradient=True)
    head = 65_536 * 32
    # The head's copy, its gradient, and the product that is added to it.
    fixed = 2 * head + 4 * head + 2 * head
    # 13 bytes of a quarter of the tokens, or 4 of all of them.
    assert 0.75 < (counter.peak - before - fixed) / (4 * 256 * 65_536) < 1.08
    assert any("loss_middle" in name for name in counter.kernels) != broken
