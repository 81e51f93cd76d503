"""Decoders of transformers as a family: what `engine/model/family.py` asks for.

Imported by the launcher too: transformers and torch come only with the methods that need
them. Under LoRA what is trained, kept in a checkpoint and given to the optimizer are the
adapters alone; the base is read from its folder, which must not have changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import OptimConfig
from engine.errors import CheckpointError
from engine.model.family import Decoder, ModelShape, RunTokenizer, Shapes
from engine.model.hf.adamw_groups import initial_lrs
from engine.model.hf.hf_config import KEY, HfConfig
from engine.model.hf.hf_tokenizer import HfTokenizer

if TYPE_CHECKING:
    from torch import Tensor


class HfFamily:
    """See `family.Family`."""

    name = "hf"
    in_folders = True

    def read_tokenizer(self, path: Path) -> RunTokenizer:
        return HfTokenizer.read(path)

    def recognises(self, described: Mapping[str, Any]) -> bool:
        return KEY in described

    def read_config(self, described: Mapping[str, Any], tensors: Shapes | None) -> HfConfig:
        return HfConfig.from_dict(described)

    def check_shapes(self, shape: ModelShape, found: Shapes) -> None:
        """Whole models only: the names of adapters are peft's, which looks for itself."""
        own = _own(shape)
        if own.lora is None:
            missing = [name for name in found if name not in own.shapes]
            if missing:
                raise CheckpointError(
                    f"tensor {missing[0]} is none of the model's; expected those of its files."
                )

    def initial_lrs(self, shape: ModelShape, settings: OptimConfig) -> dict[str, float]:
        return initial_lrs(settings)

    def build(self, shape: ModelShape, state: Mapping[str, Tensor]) -> Decoder:
        from engine.model.hf import hf_weights  # noqa: PLC0415 (torch)

        return hf_weights.build(_own(shape), state)

    def check_tokenizer(self, shape: ModelShape, tokenizer: RunTokenizer) -> None:
        from engine.model.hf import hf_weights  # noqa: PLC0415 (torch)

        assert isinstance(tokenizer, HfTokenizer)
        hf_weights.check_tokenizer(_own(shape), tokenizer)

    def start_state(self, shape: ModelShape) -> dict[str, Tensor]:
        """What is trained, as a run begins with it: the files' tensors, or fresh adapters.

        Raises:
            CheckpointError: the folder has changed, or cannot be read.
        """
        from engine.model.hf import hf_weights  # noqa: PLC0415 (torch)

        return hf_weights.start_state(_own(shape))

    def as_trained(
        self, shape: ModelShape, state: Mapping[str, Tensor], *, mixed: bool
    ) -> dict[str, Tensor]:
        """fp32 in either case: autocast narrows what is multiplied."""
        return {name: tensor.float() for name, tensor in state.items()}

    def as_exported(
        self, shape: ModelShape, state: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return dict(state), dict(_own(shape).config)

    def export(
        self,
        folder: Path,
        shape: ModelShape,
        state: Mapping[str, Tensor],
        tokenizer: RunTokenizer,
        *,
        adapter: bool = False,
    ) -> int:
        from engine.model.hf import hf_save  # noqa: PLC0415 (torch)

        assert isinstance(tokenizer, HfTokenizer)
        return hf_save.save(folder, _own(shape), state, tokenizer, adapter=adapter)

    def optimizer_file(
        self,
        shape: ModelShape,
        settings: OptimConfig,
        shards: Sequence[Mapping[str, Tensor]],
        *,
        multiplier: float,
        momentum: float | None,
    ) -> dict[str, Any] | None:
        return None

    def read_optimizer(
        self, shape: ModelShape, settings: OptimConfig, files: Sequence[Path]
    ) -> dict[str, Tensor]:
        raise CheckpointError(
            "a transformers model brings no optimizer state that can be taken up; expected none. "
            "Pass --no-load-optimizer."
        )


def _own(shape: ModelShape) -> HfConfig:
    assert isinstance(shape, HfConfig)
    return shape


FAMILY = HfFamily()
