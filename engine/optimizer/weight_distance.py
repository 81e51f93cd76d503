"""How far one update moves the weights, and how far they are from where the run began.

Both are relative and by parameter group, since a learning rate says little by itself:
an update of 0.1 % of the weights a step is a strong one, and weights that ended within
a thousandth of their start were hardly trained. Each rank measures what it updates;
one small reduction puts the parts together, so it costs the same however many ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from engine.optimizer.optim import ShardedOptimizer

EVERY = 50
"""Updates between two measurements on a CPU: 0.3 % of the step time at most."""
EVERY_CUDA = 200
"""On a card: the start comes over its link each time, half a GiB, for 0.05 to 0.1 s."""

Weights = Mapping[str, Tensor]


class WeightTravel:
    """This rank's part of the starting weights, on the host, and what is measured with them."""

    def __init__(
        self,
        optimizer: ShardedOptimizer,
        *,
        last_update: int,
        load_start: Callable[[], Weights] | None = None,
    ) -> None:
        """The weights as they are now are the start, unless `load_start` knows it.

        `load_start` gives the weights the run began with, by name; it is called at the first
        measurement, and may raise. `last_update` is measured whatever its number.
        """
        self._optimizer = optimizer
        self._last_update = last_update
        on_card = next(iter(optimizer.parts().values())).device.type == "cuda"
        self._every = EVERY_CUDA if on_card else EVERY
        self._load_start = load_start
        self._start: dict[str, Tensor] | None = None
        if load_start is None:
            self._start = _on_host(optimizer.parts())
        self.failure = ""
        """Why the start is not known to this rank."""

    def due(self, step: int) -> bool:
        """Whether the update of `step` is measured; the same on every rank."""
        return step % self._every == 0 or step == self._last_update

    @torch.no_grad()
    def measure(
        self, update_squares: Mapping[str, Tensor], all_reduce_sum: Callable[[Tensor], Tensor]
    ) -> dict[str, float]:
        """`train/update_ratio/<group>` and `train/distance/<group>`, after an update.

        The first is ||last update|| / ||weights||, the second ||weights - start|| / ||start||;
        both are L2 norms over all the group's elements. `update_squares` is what
        `ShardedOptimizer.step` gave for that update. A group without weights (all zero), and
        every distance when some rank does not know the start, is left out.
        """
        parts, start = self._optimizer.parts(), self._known_start()
        groups = list(update_squares)
        device = next(iter(update_squares.values())).device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        # Rows: update, weights, distance, start; then whether every rank knows the start.
        sums = torch.zeros(len(groups) * 4 + 1, dtype=dtype, device=device)
        table = sums[:-1].view(len(groups), 4)
        for row, group in enumerate(groups):
            table[row, 0] += update_squares[group]
        for name, part in parts.items():
            row = groups.index(self._optimizer.group_of(name))
            table[row, 1] += square(part)
            if start is not None:
                # One parameter at a time: the whole start need not fit beside the model.
                origin = start[name].to(part.device, non_blocking=True)
                table[row, 2] += square(part.float() - origin.float())
                table[row, 3] += square(origin)
        sums[-1] += 0.0 if start is not None else 1.0
        found = all_reduce_sum(sums).tolist()
        all_known = found.pop() == 0.0
        values: dict[str, float] = {}
        for row, group in enumerate(groups):
            update, weights, distance, origin_square = found[4 * row : 4 * row + 4]
            if weights:
                values[f"train/update_ratio/{group}"] = (update / weights) ** 0.5
            if all_known and origin_square:
                values[f"train/distance/{group}"] = (distance / origin_square) ** 0.5
        return values

    def _known_start(self) -> dict[str, Tensor] | None:
        if self._start is None and self._load_start is not None and not self.failure:
            try:
                whole = self._load_start()
                self._start = _on_host(self._optimizer.parts_of(whole))
                if self._every == EVERY_CUDA:
                    self._start = {name: part.pin_memory() for name, part in self._start.items()}
            # Whatever a file can do wrong: the run does not end for want of this number.
            except Exception as error:
                self.failure = f"{type(error).__name__}: {error}"
        return self._start


def _on_host(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in host memory; of a card's tensors pinned, to go back without a wait each."""
    return {
        name: part.to("cpu", copy=True).pin_memory()
        if part.device.type == "cuda"
        else part.to("cpu", copy=True)
        for name, part in parts.items()
    }


def square(tensor: Tensor) -> Tensor:
    """Sum of the squares, a scalar on the tensor's device; fp32 inside."""
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=torch.float32)
    return norm.square()
