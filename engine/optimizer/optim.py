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
from engine.model.family import Decoder, ParameterGroup
from engine.model.nanochat.names import EMBEDDING as EMBEDDING
from engine.model.nanochat.names import HEAD as HEAD
from engine.model.nanochat.parameter_groups import ADAM_BETAS as ADAM_BETAS
from engine.model.nanochat.parameter_groups import ADAM_EPS as ADAM_EPS
from engine.model.nanochat.parameter_groups import group_of as group_of
from engine.model.nanochat.parameter_groups import initial_lrs as initial_lrs
from engine.optimizer import kernels
from engine.optimizer.exchange import GradientExchange, rows_of_share
from engine.optimizer.kernels import NEWTON_SCHULZ as NEWTON_SCHULZ
from engine.optimizer.kernels import orthogonalize as orthogonalize

MAX_STACK_ELEMENTS = 2**25
"""Matrices of one shape are orthogonalised together, in stacks up to this size (128 MiB in fp32):
many small products cost more in launches than in arithmetic, large ones only cost memory."""


def build_optimizer(
    model: Decoder,
    settings: OptimConfig,
    *,
    rank: int = 0,
    world_size: int = 1,
    group: dist.ProcessGroup | None = None,
) -> ShardedOptimizer:
    """The optimizer of a decoder, which must already be on its device.

    With `world_size` above 1 a process group must exist; `group` None is the default one.
    """
    return ShardedOptimizer(
        dict(model.named_parameters()),
        model.optimizer_groups(settings),
        rank=rank,
        world_size=world_size,
        group=group,
    )


class ShardedOptimizer:
    """AdamW on tables and small parameters, Muon on matrices, for one rank of `world_size`.

    A parameter without a gradient is updated as if its gradient were zero
    (momentum and weight decay go on), so that every rank does the same.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        groups: Sequence[ParameterGroup],
        *,
        rank: int = 0,
        world_size: int = 1,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self._group = group
        self._parameters = dict(parameters)
        self._groups = {each.name: each for each in groups}
        self._group_of = {name: each for each in groups for name in each.parameters}
        self._multiplier = 1.0
        self._momentum_now: float | None = None
        adamw = [each for each in groups if each.kernel == "adamw"]
        tables = [name for each in adamw if each.shared_by_rows for name in each.parameters]
        small = [name for each in adamw if not each.shared_by_rows for name in each.parameters]
        self._tables = frozenset(tables)
        spread = [name for name in small if self._group_of[name].spread]
        self._small_owners = dict.fromkeys(small, 0) | spread_owners(
            {name: parameters[name].numel() for name in spread}, world_size
        )
        """Rank that updates each parameter of AdamW's that is no table."""
        self.owners = matrix_owners(
            {
                name: tuple(parameter.shape)
                for name, parameter in parameters.items()
                if self._group_of[name].kernel != "adamw"
            },
            world_size,
        )
        """Rank that updates each block matrix."""
        # Before anything takes a view of a parameter: with several ranks their storage moves.
        self._exchange = (
            GradientExchange(
                self._parameters,
                self.owners,
                # Backward passes reach the head first and the embedding last.
                (*tables[:1], *reversed(tables[1:])),
                small=[name for name in small if name not in spread],
                spread={name: self._small_owners[name] for name in spread},
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
        self._second_momentum = {
            name: kernels.second_moment_of(parameters[name].detach())
            for name in self._momentum
            if self._group_of[name].kernel == "normuon"
        }
        self._stacks = _stacks(
            {name: parameters[name] for name in self._momentum},
            {name: self._group_of[name].name for name in self._momentum},
        )
        # Slices share storage with the parameters: stepping them steps the model.
        self._slices = {
            name: nn.Parameter(_rows_of(parameters[name].detach(), *self._rows(name, rank)))
            for name in [*tables, *(n for n, owner in self._small_owners.items() if owner == rank)]
        }
        device_type = next(iter(parameters.values())).device.type
        self._adamw = torch.optim.AdamW(
            [
                {
                    "params": [self._slices[name] for name in mine],
                    "lr": each.lr,
                    "betas": each.betas,
                    "eps": each.eps,
                    "weight_decay": each.weight_decay,
                    "group": each.name,
                }
                for each in adamw
                if (mine := [name for name in each.parameters if name in self._slices])
            ],
            # One kernel for all elements; torch has it for these two device types.
            fused=device_type in ("cpu", "cuda"),
        )
        self._decay = {each.name: each.weight_decay for each in groups}
        """Of the Muons: a warm start may replace it."""
        self._half = any(parameter.dtype == torch.bfloat16 for parameter in parameters.values())

    def group_of(self, name: str) -> str:
        """Name of the group of a parameter."""
        return self._group_of[name].name

    def set_lr(self, multiplier: float) -> None:
        """Use the initial learning rates times `multiplier` from the next step on."""
        self._multiplier = multiplier
        for group in self._adamw.param_groups:
            group["lr"] = self._groups[group["group"]].lr * multiplier

    def set_momentum(self, momentum: float | None) -> None:
        """Muon's momentum from the next step on; None: each group's own."""
        self._momentum_now = momentum

    def lrs(self) -> dict[str, float]:
        """Learning rates of the next step, by group."""
        return {name: group.lr * self._multiplier for name, group in self._groups.items()}

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

    @torch.no_grad()
    def clip(self, norm: float, longest: float) -> None:
        """Scale the gradients so that their `norm`, as `grad_norm` gave it, is at most `longest`.

        By `longest / (norm + 1e-6)`, as `torch.nn.utils.clip_grad_norm_`; each rank its own part.
        """
        # In fp32, as torch works it out.
        share = float(longest / (torch.tensor(norm, dtype=torch.float32) + 1e-6))
        # Also when it is no number: then no update is right, and none may look so.
        if not share >= 1.0:
            torch._foreach_mul_(self._own_gradients(), share)

    def _own_gradients(self) -> list[Tensor]:
        """Of what this rank updates."""
        found = [_gradient(self._parameters[name]) for name in self._momentum]
        for name in self._slices:
            found.append(_rows_of(_gradient(self._parameters[name]), *self._rows(name, self.rank)))
        return found

    def parts(self) -> dict[str, Tensor]:
        """What this rank updates, by name: the live weights, each element on one rank only."""
        return self.parts_of(self._parameters)

    def parts_of(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This rank's part of any weights of the model's names and shapes; views, not copies."""
        found = {name: weights[name].detach() for name in self._momentum}
        for name in self._slices:
            found[name] = _rows_of(weights[name].detach(), *self._rows(name, self.rank))
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
            part.grad = _rows_of(_gradient(self._parameters[name]), *self._rows(name, self.rank))
        self._adamw.step()
        for name, part in self._slices.items():
            # A view of the model's gradient: kept, it would keep that alive past `zero_grad`.
            part.grad = None
            if measure:
                change = part.detach().float() - before.pop(name).float()
                group = self.group_of(name)
                moved = torch.linalg.vector_norm(change).square()
                squares[group] = squares[group] + moved if group in squares else moved
        # Rows are done: they travel (*) while the matrices are still being worked on.
        travelling = []
        if self._exchange is not None:
            travelling = [self._exchange.share(number) for number in self._exchange.adamw_buckets]
        # Muon on the matrices this rank owns, a stack of one shape at a time. Before they are
        # sent: until then the ranks' weights differ.
        if measure:
            device = next(iter(self._parameters.values())).device
            for each in self._groups.values():
                squares.setdefault(each.name, torch.zeros((), device=device))
        for names in self._stacks:
            # Only the sizes come back: a copy of all matrices would cost the memory they do.
            size = self._step_matrices(names, measure=measure)
            if measure:
                squares[self.group_of(names[0])] += size
        # The matrices to all (*), also from a rank that owns nothing. Without the wait the next
        # forward pass would read weights that are still being written.
        if self._exchange is not None:
            travelling += [self._exchange.share(number) for number in self._exchange.muon_buckets]
        for handle in travelling:
            if handle is not None:
                handle.wait()
        return squares

    def state_dict(self) -> dict[str, Tensor]:
        """This rank's shard, flat, by parameter name; the tensors are the live ones, not copies.

        Keys: `{name}/momentum` (and `{name}/second_momentum`) for a matrix; `{name}/exp_avg`,
        `{name}/exp_avg_sq`, `{name}/step` and `{name}/first_row` for this rank's rows of what
        AdamW updates; where a warm start may have replaced them, `groups/{group}`: beta 1,
        beta 2, eps and weight decay. Learning rates are not state: they follow from the step.
        """
        state = {f"{name}/momentum": buffer for name, buffer in self._momentum.items()}
        for name, buffer in self._second_momentum.items():
            state[f"{name}/second_momentum"] = buffer
        for name, part in self._slices.items():
            moments = self._adamw.state.get(part)
            if moments:
                state[f"{name}/exp_avg"] = moments["exp_avg"]
                state[f"{name}/exp_avg_sq"] = moments["exp_avg_sq"]
                state[f"{name}/step"] = moments["step"]
                state[f"{name}/first_row"] = torch.tensor(self._rows(name, self.rank)[0])
        if any(each.kernel == "normuon" for each in self._groups.values()):
            for each in self._groups.values():
                state[f"groups/{each.name}"] = self._constants(each)
        return state

    def _constants(self, group: ParameterGroup) -> Tensor:
        found = {each["group"]: each for each in self._adamw.param_groups}.get(group.name)
        (beta1, beta2), eps, decay = group.betas, group.eps, self._decay[group.name]
        if found is not None:
            (beta1, beta2), eps, decay = found["betas"], found["eps"], found["weight_decay"]
        return torch.tensor([beta1, beta2, eps, decay], dtype=torch.float64)

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
        for name, buffer in self._second_momentum.items():
            key = f"{name}/second_momentum"
            found = [piece[key] for piece in pieces if key in piece]
            if len(found) != 1 or found[0].shape != buffer.shape:
                raise _incomplete(name)
            buffer.copy_(found[0])
        self._load_constants(pieces)
        for name, part in self._slices.items():
            self._load_rows(name, part, [p for p in pieces if f"{name}/exp_avg" in p])

    def _load_constants(self, pieces: Sequence[Mapping[str, Tensor]]) -> None:
        by_group = {each["group"]: each for each in self._adamw.param_groups}
        for name in self._groups:
            kept = next((p[f"groups/{name}"] for p in pieces if f"groups/{name}" in p), None)
            if kept is None:
                continue
            beta1, beta2, eps, decay = kept.tolist()
            self._decay[name] = decay
            if name in by_group:
                by_group[name] |= {"betas": (beta1, beta2), "eps": eps, "weight_decay": decay}

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
        """Muon on matrices of one shape and group.

        With `measure`, the sum of squares of what was added; 0 without.
        """
        group = self._group_of[names[0]]
        momentum = group.momentum if self._momentum_now is None else self._momentum_now
        gradients = [_gradient(self._parameters[name]) for name in names]
        buffers = [self._momentum[name] for name in names]
        weights = [self._parameters[name] for name in names]
        lr = group.lr * self._multiplier
        decay = lr * self._decay[group.name]
        # Keller Jordan's factor by shape: outputs over inputs, where there are more outputs.
        rows, columns = weights[0].shape
        lr *= max(1.0, rows / columns) ** 0.5
        updates = kernels.nesterov(gradients, buffers, momentum)
        if group.kernel == "muon":
            orthogonal = orthogonalize(updates)
            change = orthogonal * lr if measure else orthogonal
            for place, (weight, update) in enumerate(zip(weights, orthogonal, strict=True)):
                if measure and decay:
                    change[place].add_(weight, alpha=decay)
                if decay:
                    # Decoupled, and at the rate without the factor by shape, as torch.optim.Muon.
                    weight.mul_(1 - decay)
                weight.add_(update, alpha=-lr)
            if not measure:
                return 0.0
            size: Tensor = torch.linalg.vector_norm(change, dtype=torch.float32)
            return size.square()
        second = [self._second_momentum[name] for name in names]
        directions = kernels.normuon(updates, second, group.betas[1], half=self._half)
        return kernels.cautious_step(
            weights, directions, lr, self._decay[group.name], measure=measure
        )

    def _rows(self, name: str, rank: int) -> tuple[int, int]:
        """First and last (not included) row of this parameter that `rank` updates."""
        rows = self._parameters[name].shape[0]
        if name not in self._tables:
            return (0, rows) if rank == self._small_owners[name] else (rows, rows)
        return row_range(rows, rank, self.world_size)


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


def spread_owners(sizes: Mapping[str, int], world_size: int) -> dict[str, int]:
    """Rank that updates each parameter: the largest first, to the rank with the fewest elements.

    Depends on names and sizes only, so all ranks agree without talking.
    """
    load = [0] * world_size
    owners: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], _natural(name))):
        owner = load.index(min(load))
        owners[name] = owner
        load[owner] += sizes[name]
    # In the parameters' own order, which is the reverse of the backward pass's.
    return {name: owners[name] for name in sizes}


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


def _rows_of(table: Tensor, first: int, end: int) -> Tensor:
    """A view of rows, `end` not included."""
    return table.narrow(0, first, end - first)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _stacks(matrices: Mapping[str, Tensor], groups: Mapping[str, str]) -> list[list[str]]:
    """Names of equal shape and group, in stacks of at most MAX_STACK_ELEMENTS elements."""
    by_shape: dict[tuple[str, int, int], list[str]] = {}
    for name, matrix in matrices.items():
        rows, columns = matrix.shape
        by_shape.setdefault((groups[name], rows, columns), []).append(name)
    stacks = []
    for (_, rows, columns), names in by_shape.items():
        size = max(1, MAX_STACK_ELEMENTS // (rows * columns))
        stacks += [names[i : i + size] for i in range(0, len(names), size)]
    return stacks


def _natural(name: str) -> list[int | str]:
    """`h.10` after `h.9`."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _incomplete(name: str) -> CheckpointError:
    return CheckpointError(
        f"The optimizer state of {name} is missing or does not fit; expected the shards of every "
        "rank that wrote this checkpoint. Resume from another checkpoint of the run."
    )
