"""nanochat's models as a family: what `engine/model/family.py` asks for.

Imported by the launcher too: torch comes only with the methods that need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import OptimConfig
from engine.conversations.tokenizer import Tokenizer
from engine.errors import CheckpointError
from engine.model.family import Decoder, ModelShape, RunTokenizer, Shapes
from engine.model.nanochat import gpt_config
from engine.model.nanochat.gpt_config import GPTConfig
from engine.model.nanochat.parameter_groups import groups_of

if TYPE_CHECKING:
    from torch import Tensor


class NanochatFamily:
    """See `family.Family`."""

    name = "nanochat"
    in_folders = False

    def read_tokenizer(self, path: Path) -> RunTokenizer:
        return Tokenizer.load(path)

    def recognises(self, described: Mapping[str, Any]) -> bool:
        return "n_embd" in described

    def read_config(self, described: Mapping[str, Any], tensors: Shapes | None) -> GPTConfig:
        return GPTConfig.from_dict(described, tensors)

    def check_shapes(self, shape: ModelShape, found: Shapes) -> None:
        gpt_config.check_shapes(_own(shape), found)

    def initial_lrs(self, shape: ModelShape, settings: OptimConfig) -> dict[str, float]:
        own = _own(shape)
        return {group.name: group.lr for group in groups_of(own, settings)}

    def build(self, shape: ModelShape, state: Mapping[str, Tensor]) -> Decoder:
        from engine.model.nanochat.gpt import GPT  # noqa: PLC0415 (torch)

        return GPT.from_state(_own(shape), state)

    def check_tokenizer(self, shape: ModelShape, tokenizer: RunTokenizer) -> None:
        """tiktoken is nanochat's own library."""

    def start_state(self, shape: ModelShape) -> dict[str, Tensor]:
        raise NotImplementedError("nanochat's weights lie in files that `nanochat_io` reads")

    def as_trained(
        self, shape: ModelShape, state: Mapping[str, Tensor], *, mixed: bool
    ) -> dict[str, Tensor]:
        from engine.model.nanochat.gpt import as_trained  # noqa: PLC0415 (torch)

        return as_trained(state, mixed=mixed)

    def as_exported(
        self, shape: ModelShape, state: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from engine.model.nanochat.gpt import as_exported  # noqa: PLC0415 (torch)

        return as_exported(state), _own(shape).meta()

    def export(
        self,
        folder: Path,
        shape: ModelShape,
        state: Mapping[str, Tensor],
        tokenizer: RunTokenizer,
        *,
        adapter: bool = False,
    ) -> int:
        raise NotImplementedError("`engine.checkpoints.hf_export` writes nanochat's models")

    def read_optimizer(
        self, shape: ModelShape, settings: OptimConfig, files: Sequence[Path]
    ) -> dict[str, Tensor]:
        from engine.model.nanochat import optimizer_files  # noqa: PLC0415 (torch)

        own = _own(shape)
        if own.generation == "2025":
            raise CheckpointError(
                "the optimizer files of nanochat of October 2025 cannot be taken up; expected a "
                "checkpoint of 2026. Pass --no-load-optimizer."
            )
        return optimizer_files.read(own, groups_of(own, settings), files)

    def optimizer_file(
        self,
        shape: ModelShape,
        settings: OptimConfig,
        shards: Sequence[Mapping[str, Tensor]],
        *,
        multiplier: float,
        momentum: float | None,
    ) -> dict[str, Any] | None:
        from engine.model.nanochat import optimizer_files  # noqa: PLC0415 (torch)

        own = _own(shape)
        if own.generation == "2025":
            return None
        return optimizer_files.written(
            own,
            groups_of(own, settings),
            shards,
            multiplier=multiplier,
            momentum=MOMENTUM if momentum is None else momentum,
        )


MOMENTUM = 0.95
"""Muon's, after the first 300 updates of an SFT."""


def _own(shape: ModelShape) -> GPTConfig:
    assert isinstance(shape, GPTConfig)
    return shape


FAMILY = NanochatFamily()
