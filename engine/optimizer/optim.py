"""nanochat's two optimizers, Muon and AdamW, with their state shared out over the ranks.

Each block matrix has one owner, the embedding and the head are cut by rows. The ranks'
gradients are summed at the owner alone, the owner updates its part, and every rank is sent
the new weights (`exchange`). State is keyed by parameter name, so shards written by two
ranks load on one.

A step with several ranks, in the order every rank must keep (collectives marked with *):
    zero_grad
    backward of every micro-step but the last    adds into the gradients
    last_backward *                              sums each bucket at its owner as it fills
    grad_norm *                                  owned parts, then one scalar
    step *                                       own part, then the new weights to all
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.config import OptimConfig
from engine.errors import CheckpointError
from engine.optimizer.exchange import GradientExchange, rows_of_share
from engine.optimizer.lr_schedule import width_scale

HEAD = "lm_head.weight"
EMBEDDING = "transformer.wte.weight"
MATRICES = "matrices"
"""Group of every other parameter; the two above are groups of their own, `lm_head` and `wte`."""

ADAM_BETAS = (0.8, 0.95)
ADAM_EPS = 1e-10
MUON_MOMENTUM = 0.95
NEWTON_SCHULZ_STEPS = 5
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Quintic of Keller Jordan's Muon: steep at 0, so five steps bring singular values near 1."""

MAX_STACK_ELEMENTS = 2**25
"""Matrices of one shape are orthogonalised together, in stacks up to this size (128 MiB in fp32):
many small products cost more in launches than in arithmetic, large ones only cost memory."""


def initial_lrs(settings: OptimConfig, n_embd: int) -> dict[str, float]:
    """Learning rates at multiplier 1, by group: `lm_head`, `wte`, `matrices`.

    The two AdamW rates scale with the model's width (`lr_schedule.width_scale`); Muon's update
    does not depend on it.
    """
    scale = width_scale(n_embd)
    return {
        "lm_head": settings.unembedding_lr * scale * settings.init_lr_frac,
        "wte": settings.embedding_lr * scale * settings.init_lr_frac,
        "matrices": settings.matrix_lr * settings.init_lr_frac,
    }


def group_of(name: str) -> str:
    """Parameter group of a parameter, as in `initial_lrs`."""
    return {HEAD: "lm_head", EMBEDDING: "wte"}.get(name, MATRICES)


def build_optimizer(
    model: nn.Module,
    settings: OptimConfig,
    *,
    rank: int = 0,
    world_size: int = 1,
    group: dist.ProcessGroup | None = None,
) -> ShardedOptimizer:
    """The optimizer of a `GPT`; `model` must already be on its device.

    With `world_size` above 1 a process group must exist; `group` None is the default one.
    """
    parameters = dict(model.named_parameters())
    lrs = initial_lrs(settings, parameters[EMBEDDING].shape[1])
    return ShardedOptimizer(
        parameters,
        lrs=lrs,
        weight_decay=settings.weight_decay,
        rank=rank,
        world_size=world_size,
        group=group,
    )


class ShardedOptimizer:
    """AdamW on embedding and head, Muon on the matrices, for one rank of `world_size`.

    A parameter without a gradient is updated as if its gradient were zero
    (momentum and weight decay go on), so that every rank does the same.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        lrs: Mapping[str, float],
        weight_decay: float,
        rank: int = 0,
        world_size: int = 1,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self._group = group
        self._parameters = dict(parameters)
        self._initial_lrs = dict(lrs)
        self._multiplier = 1.0
        self.owners = matrix_owners(
            {
                name: tuple(parameter.shape)
                for name, parameter in parameters.items()
                if name not in (HEAD, EMBEDDING)
            },
            world_size,
        )
        """Rank that updates each block matrix."""
        # Before anything takes a view of a parameter: with several ranks their storage moves.
        self._exchange = (
            GradientExchange(
                self._parameters,
                self.owners,
                (HEAD, EMBEDDING),
                rank=rank,
                world_size=world_size,
                group=group,
            )
            if world_size > 1
            else None
        )
        # Muon's state exists on the owner alone: that is what makes the optimizer sharded.
        self._momentum = {
            name: torch.zeros_like(parameters[name], requires_grad=False)
            for name, owner in self.owners.items()
            if owner == rank
        }
        self._stacks = _stacks({name: parameters[name] for name in self._momentum})
        # Row slices share storage with the parameters: stepping them steps the model.
        self._slices = {
            name: nn.Parameter(parameters[name].detach()[slice(*self._rows(name, rank))])
            for name in (HEAD, EMBEDDING)
        }
        self._adamw = torch.optim.AdamW(
            [
                {"params": [self._slices[HEAD]], "lr": lrs["lm_head"]},
                {"params": [self._slices[EMBEDDING]], "lr": lrs["wte"]},
            ],
            # nanochat's: betas (0.8, 0.95) and an eps of 1e-10, far below torch's 1e-8.
            betas=ADAM_BETAS,
            eps=ADAM_EPS,
            weight_decay=weight_decay,
            # One kernel for all elements; torch has it for these two device types.
            fused=parameters[HEAD].device.type in ("cpu", "cuda"),
        )

    def set_lr(self, multiplier: float) -> None:
        """Use the initial learning rates times `multiplier` from the next step on."""
        self._multiplier = multiplier
        for group, name in zip(self._adamw.param_groups, ("lm_head", "wte"), strict=True):
            group["lr"] = self._initial_lrs[name] * multiplier

    def lrs(self) -> dict[str, float]:
        """Learning rates of the next step, by group."""
        return {name: lr * self._multiplier for name, lr in self._initial_lrs.items()}

    def zero_grad(self) -> None:
        """Forget every gradient; with several ranks they stay in place, as zeros."""
        if self._exchange is not None:
            self._exchange.zero()
            return
        # Dropped, not zeroed: the first micro-step's gradient is then taken over, not added.
        for parameter in self._parameters.values():
            parameter.grad = None

    def last_backward(self) -> contextlib.AbstractContextManager[None]:
        """Around a step's last backward pass: at its end gradients are sums over the ranks.

        A collective. With several ranks, of each gradient only this rank's part is right then.
        """
        if self._exchange is None:
            return contextlib.nullcontext()
        return self._exchange.last_backward()

    @torch.no_grad()
    def grad_norm(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> float:
        """Global L2 norm of the step's gradient, the same number on every rank.

        A collective, after `last_backward` and before `step`. NaN or infinity anywhere
        makes it so everywhere: all ranks then decide alike.
        """
        if self._exchange is None:
            return float(grad_norm(self._parameters.values()))
        squares = [
            torch.linalg.vector_norm(part, dtype=torch.float32).double().square()
            for part in self._own_gradients()
        ]
        # Each element belongs to one rank, so squares of the parts add up to the whole's.
        return float(all_reduce_sum(torch.stack(squares).sum()).sqrt())

    def _own_gradients(self) -> list[Tensor]:
        """Of what this rank updates."""
        found = [_gradient(self._parameters[name]) for name in self._momentum]
        for name in self._slices:
            found.append(_gradient(self._parameters[name])[slice(*self._rows(name, self.rank))])
        return found

    def parts(self) -> dict[str, Tensor]:
        """What this rank updates, by name: the live weights, each element on one rank only."""
        return self.parts_of(self._parameters)

    def parts_of(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This rank's part of any weights of the model's names and shapes; views, not copies."""
        found = {name: weights[name].detach() for name in self._momentum}
        for name in self._slices:
            found[name] = weights[name].detach()[slice(*self._rows(name, self.rank))]
        return found

    @torch.no_grad()
    def step(self, *, measure: bool = False) -> dict[str, Tensor]:
        """Update this rank's share, then make all ranks' weights equal.

        With `measure`: sum of squares of this rank's part of the update, by group (a scalar on
        the weights' device); empty without.
        """
        squares: dict[str, Tensor] = {}
        # Of this rank's rows only, and only when measured: AdamW does not say how far it went.
        before = {name: part.detach().clone() for name, part in self._slices.items() if measure}
        # AdamW on this rank's rows of embedding and head. Their slices are parameters of their own
        # that share storage with the model's, so they get the gradient's rows by hand.
        for name, part in self._slices.items():
            start, end = self._rows(name, self.rank)
            part.grad = _gradient(self._parameters[name])[start:end]
        self._adamw.step()
        for name, part in self._slices.items():
            # A view of the model's gradient: kept, it would keep that alive past `zero_grad`.
            part.grad = None
            if measure:
                change = part.detach().float() - before.pop(name).float()
                squares[group_of(name)] = torch.linalg.vector_norm(change).square()
        # Rows are done: they travel (*) while the matrices are still being worked on.
        travelling = []
        if self._exchange is not None:
            last = len(self._exchange.buckets) - 1
            travelling = [self._exchange.share(number) for number in (0, last)]
        # Muon on the matrices this rank owns, a stack of one shape at a time. Before they are
        # sent: until then the ranks' weights differ.
        total = torch.zeros((), device=self._parameters[HEAD].device)
        for names in self._stacks:
            # Only the sizes come back: a copy of all matrices would cost the memory they do.
            total += self._step_matrices(names, measure=measure)
        if measure:
            squares[MATRICES] = total
        # The matrices to all (*), also from a rank that owns nothing. Without the wait the next
        # forward pass would read weights that are still being written.
        if self._exchange is not None:
            travelling += [self._exchange.share(number) for number in range(1, last)]
        for handle in travelling:
            if handle is not None:
                handle.wait()
        return squares

    def state_dict(self) -> dict[str, Tensor]:
        """This rank's shard, flat, by parameter name; the tensors are the live ones, not copies.

        Keys: `{name}/momentum` for a matrix; `{name}/exp_avg`, `{name}/exp_avg_sq`,
        `{name}/step` and `{name}/first_row` for this rank's rows of embedding
        and head. Learning rates are not state: they follow from the step.
        """
        state = {f"{name}/momentum": buffer for name, buffer in self._momentum.items()}
        for name, part in self._slices.items():
            moments = self._adamw.state.get(part)
            if moments:
                state[f"{name}/exp_avg"] = moments["exp_avg"]
                state[f"{name}/exp_avg_sq"] = moments["exp_avg_sq"]
                state[f"{name}/step"] = moments["step"]
                state[f"{name}/first_row"] = torch.tensor(self._rows(name, self.rank)[0])
        return state

    @torch.no_grad()
    def load_state_dict(
        self, shards: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]
    ) -> None:
        """Take this rank's part out of the shards of all ranks of any earlier world size.

        One shard may be given alone when it was the only one. Tensors are copied.

        Raises:
            CheckpointError: a shard is missing or does not fit this model.
        """
        pieces = [shards] if isinstance(shards, Mapping) else list(shards)
        for name, buffer in self._momentum.items():
            found = [piece[f"{name}/momentum"] for piece in pieces if f"{name}/momentum" in piece]
            if len(found) != 1 or found[0].shape != buffer.shape:
                raise _incomplete(name)
            buffer.copy_(found[0])
        for name, part in self._slices.items():
            self._load_rows(name, part, [p for p in pieces if f"{name}/exp_avg" in p])

    def _load_rows(
        self, name: str, part: nn.Parameter, pieces: Sequence[Mapping[str, Tensor]]
    ) -> None:
        if not pieces:
            # Shards of a run that has not made an update yet.
            self._adamw.state.pop(part, None)
            return
        # Joined to whole tables and cut anew: the world size may have changed between.
        ordered = sorted(pieces, key=lambda piece: int(piece[f"{name}/first_row"]))
        moments: dict[str, Tensor] = {"step": ordered[0][f"{name}/step"].clone()}
        start, end = self._rows(name, self.rank)
        for moment in ("exp_avg", "exp_avg_sq"):
            rows = [piece[f"{name}/{moment}"] for piece in ordered]
            expected_first = 0
            for piece, tensor in zip(ordered, rows, strict=True):
                if int(piece[f"{name}/first_row"]) != expected_first:
                    raise _incomplete(name)
                expected_first += len(tensor)
            whole = torch.cat(rows)
            if whole.shape != self._parameters[name].shape:
                raise _incomplete(name)
            moments[moment] = whole[start:end].to(part.device, part.dtype, copy=True)
        if self._adamw.defaults["fused"]:
            moments["step"] = moments["step"].to(part.device)
        self._adamw.state[part] = moments

    def _step_matrices(self, names: Sequence[str], *, measure: bool) -> Tensor | float:
        """Muon on matrices of one shape: momentum, Nesterov, orthogonalise, scale.

        With `measure`, the sum of squares of what was added; 0 without.
        """
        # With gradient g, momentum m and beta = 0.95, in nanochat's order:
        # 1. m becomes m + (1 - beta) (g - m), a running mean of the gradients;
        # 2. the update is g + beta (m - g), Nesterov's look one step ahead of that mean;
        # 3. the update is orthogonalised, scaled by shape and rate, and subtracted.
        gradients = [_gradient(self._parameters[name]) for name in names]
        buffers = [self._momentum[name] for name in names]
        # momentum = 0.95 momentum + 0.05 gradient, nanochat's average and not Muon's first sum.
        torch._foreach_lerp_(buffers, gradients, 1 - MUON_MOMENTUM)
        # A stack is a copy, so the gradients themselves stay as they are.
        updates = torch.stack(gradients).lerp_(torch.stack(buffers), MUON_MOMENTUM)
        rows, columns = updates.shape[-2:]
        orthogonal = orthogonalize(updates)
        lr = self._initial_lrs["matrices"] * self._multiplier
        # Keller Jordan's factor by shape: outputs over inputs, where there are more outputs.
        scale = max(1.0, rows / columns) ** 0.5
        for name, update in zip(names, orthogonal, strict=True):
            self._parameters[name].add_(update, alpha=-lr * scale)
        if not measure:
            return 0.0
        size: Tensor = torch.linalg.vector_norm(orthogonal, dtype=torch.float32) * (lr * scale)
        return size.square()

    def _rows(self, name: str, rank: int) -> tuple[int, int]:
        return row_range(self._parameters[name].shape[0], rank, self.world_size)


def row_range(num_rows: int, rank: int, world_size: int) -> tuple[int, int]:
    """First and last (not included) row of a rank: equal shares, the last ones may be shorter.

    Equal, since a collective of one message sends as much from every rank.
    """
    share = rows_of_share(num_rows, world_size)
    return min(rank * share, num_rows), min((rank + 1) * share, num_rows)


def matrix_owners(shapes: Mapping[str, tuple[int, ...]], world_size: int) -> dict[str, int]:
    """Rank that updates each matrix: the most expensive first, to the least loaded rank.

    The cost of Newton-Schulz is `long side * short side ** 2`. Depends on names and
    shapes only, so all ranks agree without talking.
    """
    load = [0] * world_size
    owners: dict[str, int] = {}

    def cost(name: str) -> int:
        short, long = sorted(shapes[name])
        return long * short * short

    # Names break ties, by number and not by letter, so the order does not depend on a dict's.
    for name in sorted(shapes, key=lambda name: (-cost(name), _natural(name))):
        owner = load.index(min(load))
        owners[name] = owner
        load[owner] += cost(name)
    return owners


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


@torch.no_grad()
def grad_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Global L2 norm of the gradients, a scalar on their device; no gradient counts as zero."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    # The embedding's may be bf16, and a norm in bf16 is right to 1 in 256 only.
    wide = [gradient for gradient in gradients if gradient.dtype == torch.float32]
    narrow = [
        torch.linalg.vector_norm(gradient, dtype=torch.float32)
        for gradient in gradients
        if gradient.dtype != torch.float32
    ]
    norm = nn.utils.get_total_norm(wide)
    return torch.linalg.vector_norm(torch.stack([norm, *narrow])) if narrow else norm


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _stacks(matrices: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of equal shape in groups of at most MAX_STACK_ELEMENTS elements."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, matrix in matrices.items():
        by_shape.setdefault(tuple(matrix.shape), []).append(name)
    stacks = []
    for (rows, columns), names in by_shape.items():
        size = max(1, MAX_STACK_ELEMENTS // (rows * columns))
        stacks += [names[i : i + size] for i in range(0, len(names), size)]
    return stacks


def _natural(name: str) -> list[int | str]:
    """`h.10` after `h.9`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _incomplete(name: str) -> CheckpointError:
    return CheckpointError(
        f"The optimizer state of {name} is missing or does not fit; expected the shards of every "
        "rank that wrote this checkpoint. Resume from another checkpoint of the run."
    )
