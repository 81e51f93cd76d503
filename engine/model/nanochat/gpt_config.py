"""The shape of a nanochat model, and the numbers that follow from it.

Kept apart from `model.py` because the launcher, the memory estimate and the
checkpoint search need the shape but must not pay for importing torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import CheckpointError
from engine.files import checked
from engine.model.family import ModelShape, Shapes, WeightCounts
from engine.model.nanochat import names, parts
from engine.model.nanochat.names import EMBEDDING, HEAD
from engine.model.nanochat.parts import SOFTCAP as SOFTCAP
from engine.model.nanochat.parts import Parts

ROTARY_BASE = parts.OCTOBER.rotary_base

ROTARY_LENGTHS = 10
"""Rotary tables hold this many times `sequence_len` positions; longer rows are refused."""


LARGEST = {
    "sequence_len": 2**24,
    "vocab_size": 2**24,
    "n_layer": 4096,
    "n_head": 65_536,
    "n_kv_head": 65_536,
    "n_embd": 2**20,
}
"""Beyond every model there is: what a meta file says is believed up to here before anything of that
size is made or counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTConfig:
    """`model_config` of nanochat's `meta_*.json`, and the parts the model is made of.

    Raises:
        CheckpointError: a number is not positive, or the heads do not divide the width.
    """

    sequence_len: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_kv_head: int
    n_embd: int
    window_pattern: str = ""
    """A letter a layer, repeated: S short, L long; empty where no layer has a window."""
    parts: Parts = parts.OCTOBER

    def __post_init__(self) -> None:
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise CheckpointError(
                    f"model_config.{name} is {checked.short(value)}; expected a whole number "
                    f"from 1 to {most:,}. Name another checkpoint, or repair its meta file."
                )
        if self.n_embd % self.n_head or self.head_dim % 2:
            raise CheckpointError(
                f"model_config has n_embd {self.n_embd} and n_head {self.n_head}; expected n_embd "
                "to be an even multiple of n_head. Name another checkpoint."
            )
        if self.n_head % self.n_kv_head:
            raise CheckpointError(
                f"model_config has n_head {self.n_head} and n_kv_head {self.n_kv_head}; expected "
                "n_kv_head to divide n_head. Name another checkpoint."
            )
        self._check_parts()

    def _check_parts(self) -> None:
        least = parts.SMEAR_CHANNELS if self.parts.smear else parts.VALUE_GATE_CHANNELS
        if (self.parts.smear or self.parts.value_embeddings) and self.n_embd < least:
            raise CheckpointError(
                f"model_config.n_embd is {self.n_embd}; expected at least {least} for the gates of "
                "this model. Name another checkpoint."
            )
        wanted = self.parts.windows
        pattern = self.window_pattern
        if wanted != bool(pattern) or (pattern and not parts.PATTERN.fullmatch(pattern)):
            raise CheckpointError(
                f"model_config.window_pattern is {checked.short(pattern)}; expected letters S and "
                "L. Name another checkpoint, or repair its meta file."
            )

    @property
    def family(self) -> str:
        return "nanochat"

    @property
    def generation(self) -> str:
        return "2025" if self.parts == parts.OCTOBER else "2026"

    @property
    def table_rows(self) -> int:
        """Rows of embeddings and head: the vocabulary, padded."""
        return -(-self.vocab_size // self.parts.padded_to) * self.parts.padded_to

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How many tokens back each layer sees; None: all."""
        if not self.parts.windows:
            return (None,) * self.n_layer
        return parts.windows(self.window_pattern, self.n_layer, self.sequence_len)

    def has_value_embedding(self, layer: int) -> bool:
        """Every second layer, counted from the last."""
        return self.parts.value_embeddings and layer % 2 == (self.n_layer - 1) % 2

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_dim(self) -> int:
        """Width of the keys and of the values."""
        return self.n_kv_head * self.head_dim

    @property
    def max_positions(self) -> int:
        """Longest document the rotary tables can place."""
        return ROTARY_LENGTHS * self.sequence_len

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor in a checkpoint, by its name there, in file order."""
        wide, kv, rows, has = self.n_embd, self.kv_dim, self.table_rows, self.parts
        shapes: dict[str, tuple[int, ...]] = {}
        if has.residual_mix:
            shapes |= dict.fromkeys(names.RESIDUAL_MIX, (self.n_layer,))
        if has.smear:
            shapes[names.SMEAR_LAMBDA] = (1,)
        if has.backout:
            shapes[names.BACKOUT] = (1,)
        shapes[EMBEDDING] = (rows, wide)
        for layer in range(self.n_layer):
            block = f"transformer.h.{layer}"
            shapes[f"{block}.attn.c_q.weight"] = (wide, wide)
            shapes[f"{block}.attn.c_k.weight"] = (kv, wide)
            shapes[f"{block}.attn.c_v.weight"] = (kv, wide)
            shapes[f"{block}.attn.c_proj.weight"] = (wide, wide)
            if self.has_value_embedding(layer):
                gate = (self.n_kv_head, parts.VALUE_GATE_CHANNELS)
                shapes[f"{block}.attn.ve_gate.weight"] = gate
            shapes[f"{block}.mlp.c_fc.weight"] = (4 * wide, wide)
            shapes[f"{block}.mlp.c_proj.weight"] = (wide, 4 * wide)
        shapes[HEAD] = (rows, wide)
        if has.smear:
            shapes[names.SMEAR_GATE] = (1, parts.SMEAR_CHANNELS)
        for layer in filter(self.has_value_embedding, range(self.n_layer)):
            shapes[f"value_embeds.{layer}.weight"] = (rows, kv)
        return shapes

    def weight_counts(self) -> WeightCounts:
        """Elements by the way they are kept and updated."""
        sizes = {name: math.prod(shape) for name, shape in self.parameter_shapes().items()}
        tables = sum(size for name, size in sizes.items() if names.is_embedding(name))
        blocks = sum(size for name, size in sizes.items() if name.startswith("transformer.h."))
        return WeightCounts(
            matrices=blocks, head=self.num_parameters - blocks - tables, tables=tables
        )

    @property
    def kept_per_layer(self) -> float:
        """Of [N, D]: the inputs of two norms, four products and the attention (block input 1,
        normed 1, q k v 3, rotated 2, normed 2, attention out 1; block middle 1, normed 1, MLP 4
        and its square 4), less what two of them share. With the parts of 2026 also the input
        before its mix 1, the value embedding, and once the embedding before its smear and the
        middle layer's output. Gaining q and k keeps nothing: the gained take the normed's place.
        """
        once = self.parts.smear + self.parts.backout
        return 18 + self.parts.residual_mix + self._values_per_layer + once / self.n_layer

    @property
    def kept_by_recomputing(self) -> float:
        """The same when blocks are computed again: the block's input, and the value embedding."""
        return 1 + self._values_per_layer

    @property
    def _values_per_layer(self) -> float:
        number = sum(map(self.has_value_embedding, range(self.n_layer)))
        return number * self.kv_dim / (self.n_layer * self.n_embd)

    def meta(self) -> dict[str, Any]:
        """`model_config` as nanochat's own `meta_*.json` holds it."""
        found: dict[str, Any] = {name: getattr(self, name) for name in LARGEST}
        return found | ({"window_pattern": self.window_pattern} if self.parts.windows else {})

    def to_dict(self) -> dict[str, Any]:
        """`meta`, and the parts where it alone does not tell them."""
        told = self.parts in (parts.OCTOBER, parts.NEWEST)
        return self.meta() | ({} if told else {"parts": self.parts.to_dict()})

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], tensors: Shapes | None = None) -> GPTConfig:
        """From `meta_*.json` or `to_dict`, and from the checkpoint's tensors where they are known.

        Without tensors a description with `window_pattern` is of the newest generation.

        Raises:
            CheckpointError: a key is missing or unknown, or the tensors are of an era that
                cannot be trained.
        """
        missing = [name for name in LARGEST if name not in found]
        unknown = sorted(set(found) - {*LARGEST, "window_pattern", "parts"})
        if missing or unknown:
            raise CheckpointError(
                f"model_config has keys {', '.join(sorted(found)[:40]) or 'none'}; expected "
                f"exactly {', '.join(LARGEST)} (and window_pattern since 2026). Name another "
                "checkpoint, or repair its meta file."
            )
        numbers = {name: found[name] for name in LARGEST}
        cls(**numbers)
        has_pattern = "window_pattern" in found
        if isinstance(found.get("parts"), Mapping):
            has = Parts.from_dict(found["parts"])
        elif tensors is not None:
            has = parts.of_tensors(tensors, found["vocab_size"], has_pattern=has_pattern)
        else:
            has = parts.NEWEST if has_pattern else parts.OCTOBER
        # As nanochat reads it: a meta file without the key is of a model with full attention.
        pattern = found.get("window_pattern", "L") if has.windows else ""
        pattern = pattern.upper() if isinstance(pattern, str) else pattern
        return cls(**numbers, window_pattern=pattern, parts=has)


def check_shapes(config: ModelShape, found: Mapping[str, tuple[int, ...]]) -> None:
    """Names and shapes of the tensors that were found are exactly those of `config`.

    Raises:
        CheckpointError: naming the first tensor that is missing, unknown or of another shape.
    """
    wanted = config.parameter_shapes()
    for name in found:
        if name not in wanted and config.generation == "2025" and names.is_newer(name):
            raise CheckpointError(
                f"The checkpoint holds {name}, of nanochat's 2026 generation, and its description "
                "is of October 2025; expected both of one. Name another with --source, "
                "--model-tag and --step."
            )
        if name not in wanted:
            raise CheckpointError(
                f"The checkpoint holds a tensor {name}; expected only those of a "
                f"{config.n_layer}-layer nanochat model. Name another checkpoint."
            )
    for name, shape in wanted.items():
        if name not in found:
            raise CheckpointError(
                f"The checkpoint lacks the tensor {name}; expected it with shape {shape}. "
                "Name another checkpoint."
            )
        if found[name] != shape:
            raise CheckpointError(
                f"Tensor {name} has shape {found[name]}; expected {shape} from the "
                "meta file. Name another checkpoint."
            )
