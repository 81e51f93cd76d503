"""From a chunk's logits to its losses and their gradient in one kernel, on CUDA in 16 bit.

Eager torch makes about eleven passes over [C, V] in fp32 for it, a third of all bytes of a
micro-step. Here `torch.compile` writes one kernel that reads the 16-bit logits twice and
writes their gradient once. Where compiling fails the eager passes are taken, and it is said.
"""

# C tokens of a chunk, V vocabulary.

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.errors import slow_path
from engine.model.nanochat.gpt_config import SOFTCAP

Middle = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]

EAGER_SHARE = 4
"""The eager passes hold 16 bytes a logit and the kernel 4, so without it a chunk is cut into so
many: the memory that was promised stays the same."""

_broken = False


def middle(
    logits_CV: Tensor, targets_C: Tensor, weights_C: Tensor, softcap: float = SOFTCAP
) -> tuple[Tensor, Tensor]:
    """nll [C] in fp32 and the gradient [C, V], in the dtype of the uncapped logits.

    With t = tanh(z / c) and p = softmax(c t), nll is `-log p[target]` and the gradient of
    `weight * nll` with respect to z is `weight * (p - onehot) * (1 - t^2)`. A cap of 0 is none.
    """
    chosen_C1 = logits_CV.gather(-1, targets_C.unsqueeze(-1)).float()
    if softcap == 0.0:
        z_CV = logits_CV.float()
        highest_C1 = z_CV.amax(dim=-1, keepdim=True)
        terms_CV = torch.exp(z_CV - highest_C1)
        sums_C1 = terms_CV.sum(dim=-1, keepdim=True)
        nll_C = (sums_C1.log() + highest_C1 - chosen_C1).squeeze(-1)
        slope_CV = torch.ones_like(z_CV)
    else:
        tanh_CV = torch.tanh(logits_CV.float() / softcap)
        # c t never passes c: with that as the maximum one pass finds the sum. The smallest term
        # is e^-2c (e^-30 of nanochat's), far above fp32's smallest number.
        terms_CV = torch.exp(tanh_CV * softcap - softcap)
        sums_C1 = terms_CV.sum(dim=-1, keepdim=True)
        nll_C = (sums_C1.log() + softcap - torch.tanh(chosen_C1 / softcap) * softcap).squeeze(-1)
        slope_CV = 1.0 - tanh_CV * tanh_CV
    columns_V = torch.arange(logits_CV.shape[-1], device=logits_CV.device)
    onehot_CV = (columns_V == targets_C.unsqueeze(-1)).to(torch.float32)
    pull_CV = (terms_CV / sums_C1 - onehot_CV) * weights_C.unsqueeze(-1)
    return nll_C, (pull_CV * slope_CV).to(logits_CV.dtype)


@torch.library.custom_op("sftui::loss_middle", mutates_args=())
def loss_middle(
    logits_CV: Tensor, targets_C: Tensor, weights_C: Tensor, softcap: float = SOFTCAP
) -> tuple[Tensor, Tensor]:
    """`middle`, compiled. One operation to whoever counts kernels."""
    return compiled_middle()(logits_CV, targets_C, weights_C, softcap)


@loss_middle.register_fake
def _(
    logits_CV: Tensor, targets_C: Tensor, weights_C: Tensor, softcap: float = SOFTCAP
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(targets_C, dtype=torch.float32), torch.empty_like(logits_CV)


_compiled: Middle | None = None


def compiled_middle() -> Middle:
    """`middle` as one graph for every length of a chunk."""
    global _compiled
    if _compiled is None:
        # dynamic: a step's last chunk has another length each time, and must not compile anew.
        _compiled = torch.compile(middle, fullgraph=True, dynamic=True)
    return _compiled


def usable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether chunks on `device` go through the kernel."""
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16) and not _broken


def try_compile(
    device: torch.device, dtype: torch.dtype, vocab_size: int, softcap: float | None = SOFTCAP
) -> None:
    """Compile before the first step, or tell why the eager passes are taken from now on."""
    global _broken
    if not usable(device, dtype):
        return
    try:
        logits = torch.zeros(2, vocab_size, device=device, dtype=dtype)
        targets = torch.zeros(2, device=device, dtype=torch.int64)
        loss_middle(logits, targets, torch.ones(2, device=device), softcap or 0.0)
    # Whatever a compiler can do wrong: no Triton, no C compiler, no place for its cache.
    except Exception as error:
        _broken = True
        words = str(error).strip().splitlines() or [""]
        slow_path(
            "the loss takes eleven passes over the logits instead of one kernel: torch.compile "
            f"failed ({type(error).__name__}: {words[0][:200]})"
        )
