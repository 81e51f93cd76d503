"""Gradients to the rank that needs them and new weights back: what the ranks send each other.

A rank updates only its own part, so it needs only that part of the gradient: each gradient is
summed at its owner (reduce-scatter) instead of everywhere (all-reduce), and what was updated is
sent to all (all-gather). That is half of what summing everywhere and broadcasting sends, in a
few large messages, both directions of a link at once. Gradients live where they are sent
from, so no second copy of them exists.
"""

# W ranks, S elements of the largest share of a bucket.

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

NUM_MATRIX_BUCKETS = 4
"""The matrices go in so many messages, the last layers' first: a message travels while the
layers before it are still going backward. More messages overlap better and cost launches."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Parameters that travel together, as W shares of equal size, rank after rank."""

    names: tuple[str, ...]
    weights: Tensor
    """[W * S]: storage of the parameters, a view each; what fills up a share is never read."""
    gradients: Tensor
    """[W * S]: storage of their gradients."""
    starts: tuple[int, ...]
    """Where each of `names` begins."""

    def view(self, flat: Tensor, place: int, like: Tensor) -> Tensor:
        """The part of `weights` or `gradients` that belongs to the parameter at `place`."""
        start = self.starts[place]
        return flat[start : start + like.numel()].view(like.shape)


class GradientExchange:
    """Sums gradients at their owners and hands out updated weights, for one rank of W.

    Parameters become views of its buckets; their values stay. Every rank must hold the same
    parameters and call the same methods in the same order: all of them are collectives
    except `zero`.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        owners: Mapping[str, int],
        tables: Sequence[str],
        *,
        small: Sequence[str] = (),
        spread: Mapping[str, int] | None = None,
        rank: int,
        world_size: int,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        """`owners` of the matrices, in model order; `tables` are cut by rows, a part a rank.

        Backward passes reach the first table before the matrices, the last one after all else.
        The number of rows of a table need not divide by W: its shares are then padded. What is
        in `small` belongs to rank 0; `spread` are further parameters of AdamW's and their owners.
        """
        self.rank = rank
        self.world_size = world_size
        self._group = group
        self._parameters = dict(parameters)
        # Backward passes reach the head first, then the last layer, at last the embedding.
        head, others = tables[:1], tables[1:]
        matrices = [
            self._matrix_bucket(names, owners) for names in reversed(_in_runs(list(owners)))
        ]
        smalls = [self._matrix_bucket(small, dict.fromkeys(small, 0))] if small else []
        shared = [
            self._matrix_bucket(names, spread or {})
            for names in reversed(_in_runs(list(spread or {})))
        ]
        heads = [self._table_bucket(name) for name in head]
        rest = [self._table_bucket(name) for name in others]
        self.buckets = [*heads, *matrices, *shared, *rest[:-1], *smalls, *rest[-1:]]
        self.muon_buckets = range(len(heads), len(heads) + len(matrices))
        """Numbers of the buckets that hold matrices; AdamW updates the others."""
        self.adamw_buckets = [
            number for number in range(len(self.buckets)) if number not in self.muon_buckets
        ]
        self._bucket_of = {
            name: number for number, bucket in enumerate(self.buckets) for name in bucket.names
        }
        self._waiting: list[int] = []
        """Gradients of each bucket that the last backward pass has not reached yet."""
        self._sent: list[Any] = []
        """One handle a bucket whose reduction is under way, in order."""
        self._last = False
        for name, parameter in self._parameters.items():
            parameter.register_post_accumulate_grad_hook(self._arrived(name))
        self.zero()

    def zero(self) -> None:
        """Set every gradient to zero, in place: autograd then adds into the buckets."""
        torch._foreach_zero_([bucket.gradients for bucket in self.buckets])
        for bucket in self.buckets:
            for place, name in enumerate(bucket.names):
                parameter = self._parameters[name]
                parameter.grad = bucket.view(bucket.gradients, place, parameter)

    @contextlib.contextmanager
    def last_backward(self) -> Iterator[None]:
        """The step's last backward pass: inside, buckets leave as they are complete.

        A collective: at the end every bucket is summed at its owners on every rank.
        """
        self._waiting = [len(bucket.names) for bucket in self.buckets]
        self._sent = []
        self._last = True
        try:
            yield
        finally:
            self._last = False
        self.reduce()

    def reduce(self) -> None:
        """Sum what `last_backward` has not sent, and wait for all; other parts become rubbish."""
        while len(self._sent) < len(self.buckets):
            self._send(self.buckets[len(self._sent)])
        for handle in self._sent:
            if handle is not None:
                handle.wait()
        self._sent = []

    def share(self, number: int) -> Any:
        """Start sending this rank's updated share of a bucket to all; a handle to wait for."""
        bucket = self.buckets[number]
        if self._scatters(bucket.weights):
            return _all_gather(bucket.weights, self._share(bucket.weights), self._group)
        # gloo between processes of one machine: a broadcast from every owner is the fastest.
        handles = [
            dist.broadcast(share, group_src=owner, group=self._group, async_op=True)
            for owner, share in enumerate(bucket.weights.chunk(self.world_size))
        ]
        return _All(handles)

    def _scatters(self, flat: Tensor) -> bool:
        return flat.device.type == "cuda"

    def _send(self, bucket: Bucket) -> None:
        flat = bucket.gradients
        for place, name in enumerate(bucket.names):
            # Somebody may have put another tensor there; None counts as zero.
            gradient = self._parameters[name].grad
            home = bucket.view(flat, place, self._parameters[name])
            if gradient is None:
                home.zero_()
            elif gradient.data_ptr() != home.data_ptr():
                home.copy_(gradient)
            self._parameters[name].grad = home
        if self._scatters(flat):
            handle = _reduce_scatter(self._share(flat), flat, self._group)
        else:
            # gloo has no reduce-scatter of its own: it sums everything and throws most away.
            handle = dist.all_reduce(flat, group=self._group, async_op=True)
        self._sent.append(handle)

    def _share(self, flat: Tensor) -> Tensor:
        return flat.chunk(self.world_size)[self.rank]

    def _arrived(self, name: str) -> Callable[[Tensor], None]:
        def arrived(_parameter: Tensor) -> None:
            if not self._last:
                return
            self._waiting[self._bucket_of[name]] -= 1
            # In the order of the buckets, which is the same on every rank: a collective that one
            # rank starts before another would meet the wrong one there, and hang.
            while len(self._sent) < len(self.buckets) and not self._waiting[len(self._sent)]:
                self._send(self.buckets[len(self._sent)])

        return arrived

    def _matrix_bucket(self, names: Sequence[str], owners: Mapping[str, int]) -> Bucket:
        """Matrices of some layers, each whole in its owner's share."""
        sizes = [0] * self.world_size
        offsets = {}
        for name in names:
            offsets[name] = sizes[owners[name]]
            sizes[owners[name]] += self._parameters[name].numel()
        share = max(sizes)
        starts = [owners[name] * share + offsets[name] for name in names]
        return self._filled(names, starts, share * self.world_size)

    def _table_bucket(self, name: str) -> Bucket:
        """A table whose rows are shared out: the first ceil(V / W) to rank 0, and so on."""
        rows, width = self._parameters[name].shape
        share = rows_of_share(rows, self.world_size) * width
        return self._filled([name], [0], share * self.world_size)

    @torch.no_grad()
    def _filled(self, names: Sequence[str], starts: Sequence[int], size: int) -> Bucket:
        first = self._parameters[names[0]]
        weights = torch.zeros(size, dtype=first.dtype, device=first.device)
        bucket = Bucket(tuple(names), weights, torch.zeros_like(weights), tuple(starts))
        for place, name in enumerate(names):
            parameter = self._parameters[name]
            view = bucket.view(weights, place, parameter)
            view.copy_(parameter)
            # From here on the parameter is a window into the bucket; its old storage is freed.
            parameter.data = view
        return bucket


class _All:
    """Several handles as one."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self._handles = handles

    def wait(self) -> None:
        for handle in self._handles:
            if handle is not None:
                handle.wait()


def rows_of_share(num_rows: int, world_size: int) -> int:
    """Rows of a table in each rank's share, the last one's padding included."""
    return -(-num_rows // world_size)


def _in_runs(names: list[str]) -> list[list[str]]:
    """Consecutive names in NUM_MATRIX_BUCKETS runs of about equal length."""
    number = max(1, min(NUM_MATRIX_BUCKETS, len(names)))
    edges = [len(names) * i // number for i in range(number + 1)]
    return [names[a:b] for a, b in itertools.pairwise(edges) if b > a]


def _reduce_scatter(share: Tensor, flat: Tensor, group: dist.ProcessGroup | None) -> Any:
    # torch 2.13 has a new name for it and warns at the old one.
    scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    return scatter(share, flat, group=group, async_op=True)


def _all_gather(flat: Tensor, share: Tensor, group: dist.ProcessGroup | None) -> Any:
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    return gather(flat, share, group=group, async_op=True)
