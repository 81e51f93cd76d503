"""The chunked loss is plain cross entropy of softcapped logits, in value and in gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.model.nanochat.gpt_config import SOFTCAP
from engine.step.loss import default_chunk, weighted_loss
from tests.conftest import examples


def inputs(num_tokens: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(num_tokens)
    # Large enough that the softcap bends: logits of +-40 before it.
    hidden = torch.randn(num_tokens, 16, generator=generator, dtype=dtype)
    weight = 3 * torch.randn(50, 16, generator=generator, dtype=dtype)
    targets = torch.randint(0, 50, (num_tokens,), generator=generator)
    weights = torch.rand(num_tokens, generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), targets, weights


def plain(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    logits = SOFTCAP * torch.tanh((hidden @ weight.T).float() / SOFTCAP)
    nll = F.cross_entropy(logits, targets, reduction="none")
    return (nll * weights).sum(), nll


@examples(30)
@given(num_tokens=st.integers(1, 40), chunk=st.integers(1, 45), scale=st.sampled_from([1.0, -2.5]))
def test_loss_and_gradient_are_autograds(num_tokens: int, chunk: int, scale: float) -> None:
    """Any chunking gives the sum, the token losses and both gradients of plain autograd."""
    ours, reference = inputs(num_tokens), inputs(num_tokens)
    loss, nll = weighted_loss(*ours, chunk=chunk)
    expected, expected_nll = plain(*reference)
    (scale * loss).backward()
    (scale * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(nll, expected_nll, atol=2e-6, rtol=2e-6)
    for got, want in zip(ours[:2], reference[:2], strict=True):
        torch.testing.assert_close(got.grad, want.grad, atol=1e-5, rtol=1e-5)
    assert not nll.requires_grad


def test_the_gradient_is_as_exact_as_autograds() -> None:
    """Against fp64 the gradient's error is at most twice that of plain fp32 autograd."""
    exact = inputs(1000, torch.float64)
    values = [tensor.detach().float() for tensor in exact[:2]]

    def error(run: object) -> float:
        hidden, weight = (value.clone().requires_grad_() for value in values)
        run(hidden, weight, *exact[2:])[0].backward()  # type: ignore[operator]
        assert weight.grad is not None
        assert truth is not None
        return float((weight.grad - truth).norm())

    hidden, weight = (value.double().requires_grad_() for value in values)
    logits = SOFTCAP * torch.tanh((hidden @ weight.T) / SOFTCAP)
    (F.cross_entropy(logits, exact[2], reduction="none") * exact[3]).sum().backward()
    truth = weight.grad
    assert error(weighted_loss) <= 2 * error(plain)


def test_no_tokens_still_reach_both_inputs() -> None:
    """A rank without work gets a zero loss whose backward gives zero gradients, not none."""
    hidden, weight, targets, weights = inputs(0)
    loss, nll = weighted_loss(hidden, weight, targets, weights)
    loss.backward()
    assert loss.item() == 0.0
    assert nll.shape == (0,)
    assert weight.grad is not None
    assert not weight.grad.any()
    assert hidden.grad is not None


def test_weight_zero_gives_a_loss_and_no_gradient() -> None:
    """A token of weight 0 is measured but does not pull."""
    hidden, weight, targets, _ = inputs(5)
    loss, nll = weighted_loss(hidden, weight, targets, torch.zeros(5))
    loss.backward()
    assert loss.item() == 0.0
    assert (nll > 0).all()
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_without_gradients_nothing_is_kept() -> None:
    """Under no_grad the same numbers come out and no graph does."""
    tensors = inputs(7)
    with torch.no_grad():
        loss, nll = weighted_loss(*tensors, chunk=3)
    expected, expected_nll = plain(*tensors)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(nll, expected_nll.detach())
    assert not loss.requires_grad


def test_two_backward_passes_are_refused() -> None:
    """The gradient is scaled in place, so a second pass raises instead of scaling twice."""
    loss, _ = weighted_loss(*inputs(3))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_autocast_runs_the_head_in_bf16() -> None:
    """Under bf16 autocast the result is fp32, near fp32's, and the gradients keep their dtypes."""
    ours, reference = inputs(20), inputs(20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, nll = weighted_loss(*ours, chunk=8)
    loss.backward()
    expected, _ = plain(*reference)
    expected.backward()
    assert nll.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=0.0)
    assert loss.item() != expected.item()
    for got, want in zip(ours[:2], reference[:2], strict=True):
        assert got.grad is not None
        assert want.grad is not None
        assert got.grad.dtype == torch.float32
        cosine = F.cosine_similarity(got.grad.flatten(), want.grad.flatten(), dim=0)
        assert cosine > 0.999


def test_default_chunk_bounds_the_logits() -> None:
    """The chunk shrinks with the vocabulary, to no less than what keeps products efficient."""
    assert default_chunk(4096, torch.device("cpu")) == 256
    assert default_chunk(65536, torch.device("cpu")) == 128
    assert default_chunk(65536, torch.device("cuda")) == 1024
