"""A person's factor on the learning rate, laid over whatever scheduler there is.

The rate is multiplied when `optimizer.step()` begins and put back when it ends, so no
scheduler, no checkpoint and no log of the trainer ever sees the factor. Setting `base_lrs`
instead does nothing under OneCycleLR and recursive schedules, and a rate that is read back by
a scheduler would be multiplied again and again.
"""

from __future__ import annotations

from typing import Any

import torch


class LrFactor:
    """Hooks on one optimizer; `factor` is in force from its next step on.

    Args:
        optimizer: a torch optimizer, or accelerate's wrapper of one.
    """

    def __init__(self, optimizer: Any) -> None:
        self.factor = 1.0
        self.last_factor = 1.0
        """In force in the newest step."""
        self.steps = 0
        """Steps of the optimizer that the hooks have seen."""
        self.used: dict[str, float] = {}
        """Rates of the newest step, by group."""
        self._kept: list[float | torch.Tensor] = []
        self._optimizer = unwrapped(optimizer)
        self._hooks = [
            self._optimizer.register_step_pre_hook(self._multiply),
            self._optimizer.register_step_post_hook(self._put_back),
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _multiply(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        groups = optimizer.param_groups
        self._kept = []
        self.steps += 1
        self.last_factor = self.factor
        for group, name in zip(groups, group_names(groups), strict=True):
            rate = group["lr"]
            if isinstance(rate, torch.Tensor):
                # A captured graph holds this very tensor: it has to change in place.
                self._kept.append(rate.clone())
                if self.factor != 1.0:
                    rate.mul_(self.factor)
            else:
                self._kept.append(rate)
                if self.factor != 1.0:
                    group["lr"] = rate * self.factor
            self.used[name] = float(group["lr"])

    def _put_back(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        for group, kept in zip(optimizer.param_groups, self._kept, strict=True):
            if isinstance(kept, torch.Tensor) and isinstance(group["lr"], torch.Tensor):
                group["lr"].copy_(kept)
            else:
                group["lr"] = kept


def unwrapped(optimizer: Any) -> torch.optim.Optimizer:
    """The torch optimizer behind wrappers that keep it as `.optimizer`.

    Raises:
        TypeError: there is none (DeepSpeed's engine steps by itself).
    """
    inner = optimizer
    for _ in range(8):
        deeper = getattr(inner, "optimizer", None)
        if deeper is None or deeper is inner:
            break
        inner = deeper
    if not isinstance(inner, torch.optim.Optimizer):
        raise TypeError(f"{type(inner).__name__} is no torch optimizer")
    return inner


MOST_GROUPS = 16
"""Rates that are told by name; a rate for each of a hundred layers is told by the first ones."""


def group_names(groups: list[dict[str, Any]]) -> list[str]:
    """A name for each parameter group: its own, if it has one, else its number."""
    if len(groups) == 1:
        return [str(groups[0].get("name") or "lr")]
    return [str(group.get("name") or f"group{i}") for i, group in enumerate(groups)]
