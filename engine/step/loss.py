"""Weighted token loss from hidden states, without ever holding all logits.

The weights decide everything: the plan gives each supervised token the share of
the step's loss it stands for, so a plain weighted sum is the loss and no mean is
taken here. Loss and gradient come out of one pass per chunk of tokens; the
backward pass only multiplies.
"""

# N tokens, C tokens of a chunk, D width, V vocabulary.

from __future__ import annotations

import functools
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.model.nanochat.gpt_config import SOFTCAP
from engine.step import fused_loss

CHUNK_ELEMENTS = 2**20
"""Logits held at a time on a CPU: 256 tokens at V = 4,096. Measured on one core at V = 4,096 and
65,536 and D = 64 and 256: 128 tokens or more are within 3 % of each other, 16 are 60 % slower."""

CHUNK_ELEMENTS_CUDA = 2**26
"""1,024 tokens at V = 65,536: buffers of 256 MiB in fp32. Not measured on a GPU."""

MIN_CHUNK = 128


def default_chunk(vocab_size: int, device: torch.device) -> int:
    """Tokens a chunk should have."""
    elements = CHUNK_ELEMENTS_CUDA if device.type == "cuda" else CHUNK_ELEMENTS
    return max(MIN_CHUNK, elements // vocab_size)


def weighted_loss(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    weights_N: Tensor,
    chunk: int | None = None,
    *,
    softcap: float | None = SOFTCAP,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Sum of `weights * nll` (fp32 scalar with gradient), and each token's nll in nats (detached).

    With `smoothing` s the sum is of `weights * ((1 - s) * nll + s * mean over V of -log p)`, as
    in torch's `cross_entropy(label_smoothing=s)`; the single nll stay without it.

    `nll` is the cross entropy of logits capped as `Decoder.softcap` says (None: not), in fp32.
    Hand in only tokens whose loss is wanted: every one costs a row of logits. A
    weight of 0 gives an nll and no gradient. No tokens at all give a sum of 0
    whose backward pass still reaches both inputs, as a rank without work needs it.
    """
    if chunk is None:
        chunk = default_chunk(weight_VD.shape[0], hidden_ND.device)
    if torch.is_grad_enabled() and (hidden_ND.requires_grad or weight_VD.requires_grad):
        found = _WeightedLoss.apply(  # type: ignore[no-untyped-call]
            hidden_ND, weight_VD, targets_N, weights_N, chunk, softcap, smoothing
        )
        return cast(tuple[Tensor, Tensor], found)
    with torch.no_grad():
        nll, spread, _, _ = _run(
            hidden_ND,
            weight_VD,
            targets_N,
            weights_N,
            chunk,
            softcap,
            smoothing=smoothing,
            gradient=False,
        )
        return _total(nll, spread, weights_N), nll


def _total(nll_N: Tensor, spread_N: Tensor | None, weights_N: Tensor) -> Tensor:
    """The loss: each token's nll, and what smoothing adds to it, by its weight."""
    return ((nll_N if spread_N is None else nll_N + spread_N) * weights_N).sum()


class _WeightedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        weights_N: Tensor,
        chunk: int,
        softcap: float | None,
        smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        nll, spread, grad_hidden, grad_weight = _run(
            hidden_ND,
            weight_VD,
            targets_N,
            weights_N,
            chunk,
            softcap,
            smoothing=smoothing,
            gradient=True,
            # Adapters beside a frozen head: a product as large as the logits', for nothing.
            of_weight=ctx.needs_input_grad[1],
        )
        ctx.gradients = (grad_hidden, grad_weight)
        ctx.mark_non_differentiable(nll)
        return _total(nll, spread, weights_N), nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _grad_nll: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("weighted_loss was sent backward a second time")
        # Scaled in place: a second [V, D] buffer would be the largest of the whole step.
        grad_hidden, grad_weight = ctx.gradients
        ctx.gradients = None
        of_weight = grad_weight.mul_(grad_loss) if ctx.needs_input_grad[1] else None
        return grad_hidden.mul_(grad_loss), of_weight, None, None, None, None, None


def _run(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    weights_N: Tensor,
    chunk: int,
    softcap: float | None = SOFTCAP,
    *,
    gradient: bool,
    of_weight: bool = True,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """nll [N], what smoothing adds to it [N] (None: nothing) and, if asked for, the gradients
    [N, D] and [V, D] of the weighted sum; the second one empty without `of_weight`."""
    device_type = hidden_ND.device.type
    dtype = hidden_ND.dtype
    if torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
    # The kernel is without smoothing, which needs one more sum over the vocabulary.
    fused = fused_loss.usable(hidden_ND.device, dtype) and not smoothing
    if device_type == "cuda" and not fused:
        chunk = max(1, chunk // fused_loss.EAGER_SHARE)
    middle = fused_loss.loss_middle if fused else functools.partial(_middle, smoothing=smoothing)
    # One entry a chunk; with no token at all, one empty entry.
    nlls = [torch.empty(0, dtype=torch.float32, device=hidden_ND.device)]
    spreads = nlls[:]
    grad_hiddens = [hidden_ND.narrow(0, 0, 0)]
    of_weight = gradient and of_weight
    grad_weight = torch.zeros_like(weight_VD) if of_weight else weight_VD.new_empty(0)
    with torch.autocast(device_type, enabled=False):
        head_VD = weight_VD.to(dtype)
        for start in range(0, len(targets_N), chunk):
            size = min(chunk, len(targets_N) - start)
            hidden_CD = hidden_ND.narrow(0, start, size).to(dtype)
            targets_C = targets_N.narrow(0, start, size)
            weights_C = weights_N.narrow(0, start, size).float()
            logits_CV = hidden_CD @ head_VD.T
            if smoothing:
                spreads.append(_spread(logits_CV, targets_C, softcap) * smoothing)
            if not gradient and not fused:
                nlls.append(_softmax(logits_CV, targets_C, softcap)[2])
                continue
            nll_C, grad_CV = middle(logits_CV, targets_C, weights_C, softcap or 0.0)
            # Gone before the next chunk's are made: the two would be held at a time.
            del logits_CV
            nlls.append(nll_C)
            if not gradient:
                continue
            grad_hiddens.append((grad_CV @ head_VD).to(hidden_ND.dtype))
            # Summed over chunks in the parameter's own precision, whatever the product's.
            if of_weight and dtype == grad_weight.dtype:
                grad_weight.addmm_(grad_CV.T, hidden_CD)
            elif of_weight:
                grad_weight += grad_CV.T @ hidden_CD
            del grad_CV
    added = torch.cat(spreads) if smoothing else None
    return torch.cat(nlls), added, torch.cat(grad_hiddens), grad_weight


def _spread(logits_CV: Tensor, targets_C: Tensor, softcap: float | None) -> Tensor:
    """[C]: mean over V of -log p, less the target's: of capped logits z, z[target] - mean(z)."""
    z_CV = logits_CV.float()
    if softcap:
        z_CV = torch.tanh(z_CV / softcap) * softcap
    return z_CV.gather(-1, targets_C.unsqueeze(-1)).squeeze(-1) - z_CV.mean(dim=-1)


def _softmax(
    logits_CV: Tensor, targets_C: Tensor, softcap: float | None
) -> tuple[Tensor | None, Tensor, Tensor]:
    """tanh(z / cap) (None without a cap), softmax of the capped logits, and nll [C]; fp32."""
    targets_C1 = targets_C.unsqueeze(-1)
    if not softcap:
        z_CV = logits_CV.float()
        nll_C = torch.logsumexp(z_CV, dim=-1) - z_CV.gather(-1, targets_C1).squeeze(-1)
        return None, torch.softmax(z_CV, dim=-1), nll_C
    tanh_CV = logits_CV.float().div_(softcap).tanh_()
    # torch.softmax and log_softmax share one fast exponential, so the gradient is rounded
    # as nanochat's. exp() and a sum are 20 times more exact, but AdamW's first steps follow
    # the sign of a gradient that is mere rounding, and the embedding would part from
    # nanochat's by 1.8e-2 in projection instead of 1e-3.
    p_CV = torch.softmax(tanh_CV * softcap, dim=-1)
    # The softcap keeps every p above e^-30 / V, so its logarithm is exact enough.
    return tanh_CV, p_CV, -p_CV.gather(-1, targets_C1).squeeze(-1).log()


def _middle(
    logits_CV: Tensor,
    targets_C: Tensor,
    weights_C: Tensor,
    softcap: float = SOFTCAP,
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """`fused_loss.middle` pass by pass, for the CPU: [C, V] tensors are worked on in place.

    The gradient with respect to the logits z, with p = softmax(c t) and t = tanh(z / c), is
    `w * (p - q) * (1 - t ** 2)`; without a cap (0) the last factor is 1. The wanted q is one-hot,
    or with smoothing s `(1 - s) * onehot + s / V`. nll is without smoothing.
    """
    targets_C1 = targets_C.unsqueeze(-1)
    tanh_CV, p_CV, nll_C = _softmax(logits_CV, targets_C, softcap)
    p_CV.scatter_add_(-1, targets_C1, p_CV.new_full(targets_C1.shape, smoothing - 1.0))
    if smoothing:
        p_CV.sub_(smoothing / p_CV.shape[-1])
    p_CV.mul_(weights_C.unsqueeze(-1))
    if tanh_CV is not None:
        p_CV.mul_(tanh_CV.square_().neg_().add_(1.0))
    return nll_C, p_CV.to(logits_CV.dtype)
