"""What the micro-batches of one update come to: loss and tokens, before any rank adds them up."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class MicroBatches:
    """Sums over the micro-batches of one update, kept on the device until they are asked for."""

    def __init__(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._tokens: list[torch.Tensor | int] = []
        self._supervised: list[torch.Tensor | int] = []

    def see_inputs(self, inputs: object) -> None:
        """Count the tokens of a batch: input ids, and those that carry a loss.

        Padding is told by the attention mask; packed batches have none, so all their ids count.
        """
        if not isinstance(inputs, Mapping):
            return
        for name, ids in inputs.items():
            if not (str(name).endswith("input_ids") and isinstance(ids, torch.Tensor)):
                continue
            mask = inputs.get(str(name).removesuffix("input_ids") + "attention_mask")
            is_padding = isinstance(mask, torch.Tensor) and mask.shape == ids.shape
            self._tokens.append(mask.sum() if is_padding else ids.numel())  # type: ignore[union-attr]
        labels = inputs.get("labels")
        if isinstance(labels, torch.Tensor) and labels.dim() > 1:
            # The model shifts them: the first label of a row is never asked for.
            self._supervised.append((labels[..., 1:] != -100).sum())
        elif isinstance(completion := inputs.get("completion_mask"), torch.Tensor):
            self._supervised.append(completion.sum())

    def see_loss(self, loss: object) -> None:
        """Add a micro-batch's share of the loss, as the trainer's `training_step` returns it."""
        if isinstance(loss, torch.Tensor):
            self._losses.append(loss.detach())

    def take(self) -> tuple[float, float, float]:
        """Loss (NaN without one), tokens and supervised tokens of the update; begins the next."""
        loss = float(sum(self._losses)) if self._losses else float("nan")
        tokens, supervised = float(sum(self._tokens)), float(sum(self._supervised))
        self._losses, self._tokens, self._supervised = [], [], []
        return loss, tokens, supervised
