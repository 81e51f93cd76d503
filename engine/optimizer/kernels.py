"""What turns a stack of gradients into the directions matrices move in: two generations of Muon.

All matrices of a stack have one shape; they are stacked for speed alone, nothing couples them.
"""

# n matrices of a stack, r rows, c columns.

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

NEWTON_SCHULZ_STEPS = 5
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Quintic of Keller Jordan's Muon: steep at 0, so five steps bring singular values near 1."""

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""Quintics of the Polar Express (Amsel et al. 2025), each the best one after those before it."""


def nesterov(gradients: Sequence[Tensor], buffers: Sequence[Tensor], momentum: float) -> Tensor:
    """[n, r, c] updates; the momentum buffers are brought up to date.

    With gradient g, buffer m and momentum b, in nanochat's order:
    1. m becomes m + (1 - b) (g - m), a running mean of the gradients and not Muon's first sum;
    2. the update is g + b (m - g), Nesterov's look one step ahead of that mean.
    """
    torch._foreach_lerp_(list(buffers), list(gradients), 1 - momentum)
    # A stack is a copy, so the gradients themselves stay as they are.
    return torch.stack(list(gradients)).lerp_(torch.stack(list(buffers)), momentum)


def orthogonalize(matrices: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """Nearest (semi-)orthogonal matrices of [n, rows, columns], roughly, by Newton-Schulz.

    Singular values end between about 0.7 and 1.2. In bf16 on CUDA as nanochat
    does; in fp32 elsewhere, because a CPU without bf16 units multiplies bf16 20
    to 30 times slower, and a run of 224 updates ends within 4e-6 in validation loss.
    Source: Keller Jordan's Muon, in nanochat's order of operations.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16() if matrices.device.type == "cuda" else matrices.float()
    # X @ X.T is rows x rows: the wide form has the smaller product.
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.transpose(-2, -1)
    # Frobenius norm 1 bounds the largest singular value by 1, where the quintic converges.
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        # X <- a X + (b A + c A A) X with A = X X^T: each singular value s becomes
        # a s + b s^3 + c s^5. `baddbmm` adds and multiplies in one kernel.
        gram = x @ x.transpose(-2, -1)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.transpose(-2, -1) if tall else x).to(matrices.dtype)


def second_moment_of(matrix: Tensor) -> Tensor:
    """A fresh second moment of a matrix: [r, 1] where it is tall or square, else [1, c]."""
    rows, columns = matrix.shape
    shape = (rows, 1) if rows >= columns else (1, columns)
    return torch.zeros(shape, dtype=torch.float32, device=matrix.device)


def normuon(
    updates: Tensor, second_moments: Sequence[Tensor], beta2: float, *, half: bool
) -> Tensor:
    """fp32 directions [n, r, c] of the Muon of 2026; the second moments are brought up to date.

    Rows are made equally long, the Polar Express brings singular values near 1, and NorMuon
    spreads the length evenly over rows (tall) or columns (wide) by a running second moment.
    `half`: the products in bf16.
    """
    rows, columns = updates.shape[-2:]
    x = updates.bfloat16() if half else updates.float()
    norm = torch.linalg.matrix_norm(x.float(), keepdim=True)
    lengths = torch.linalg.vector_norm(x.float(), dim=-1, keepdim=True)
    x = x * (norm / rows**0.5 / lengths.clamp_min(1e-6)).to(x.dtype)
    # A little below norm 1, where the first quintic is still good.
    norm = torch.linalg.matrix_norm(x.float(), keepdim=True)
    x = x / (norm * 1.01 + 1e-6).to(x.dtype)
    tall = rows > columns
    if tall:
        x = x.transpose(-2, -1)
    for a, b, c in POLAR_EXPRESS:
        # X <- a X + (b A + c A A) X with A = X X^T; of a tall matrix the same from its right.
        gram = x @ x.transpose(-2, -1)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = (x.transpose(-2, -1) if tall else x).float()
    # The Frobenius norm of an orthogonal matrix of this shape.
    x = x * (min(rows, columns) ** 0.5 / torch.linalg.matrix_norm(x, keepdim=True))
    dim = -1 if rows >= columns else -2
    length = x.shape[dim]
    mean = x.square().mean(dim=dim, keepdim=True)
    before = (mean.sum(dim=(-2, -1), keepdim=True) * length).sqrt()
    moments = torch.stack(list(second_moments)).lerp_(mean, 1 - beta2)
    torch._foreach_copy_(list(second_moments), list(moments))
    factor = moments.clamp_min(1e-10).rsqrt()
    # The norm stays what it was: only its distribution over rows or columns changes.
    after = (mean * length * factor.square()).sum(dim=(-2, -1), keepdim=True).sqrt()
    directions: Tensor = x.mul_(factor * (before / after.clamp_min(1e-10)))
    return directions


def cautious_step(
    weights: Sequence[Tensor], directions: Tensor, lr: float, decay: float, *, measure: bool
) -> Tensor | float:
    """Move the weights by `-lr` times the directions, and decay them where both agree in sign.

    With `measure`, the sum of squares of what was added; 0 without.
    """
    total: Tensor | float = 0.0
    for weight, direction in zip(weights, directions, strict=True):
        change = direction * lr
        if decay:
            # A weight that the update makes smaller anyway is not held back: it decays as well.
            agrees = (direction * weight) >= 0
            change = torch.where(agrees, change + weight * (lr * decay), change)
        weight.sub_(change)
        if measure:
            norm = cast(Tensor, torch.linalg.vector_norm(change, dtype=torch.float32))
            total = total + norm.square()
    return total
