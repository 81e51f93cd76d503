"""The parts nanochat's models are made of, and which of them a checkpoint has; no torch.

One switch a part, read from the meta file and the names and shapes of the tensors. What cannot
be seen there (constants of the program that trained the model) follows from the era, which
the tensors tell; an era whose constants cannot be told or were never checked is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from engine.errors import CheckpointError
from engine.model.family import Shapes
from engine.model.nanochat.names import (
    BACKOUT,
    EMBEDDING,
    RESIDUAL_MIX,
    SMEAR,
    VALUE_EMBEDDING,
    VALUE_GATE,
)

SOFTCAP = 15.0
"""Logits are squashed to (-15, 15) by `15 * tanh(z / 15)`."""

VALUE_GATE_CHANNELS = 12
"""Channels of the normed input that a value gate looks at."""

SMEAR_CHANNELS = 24
"""Channels of a token's own embedding that the smear gate looks at."""

PADDED_TO = 64
"""Rows of the tables of 2026 are a multiple of this."""

WINDOW_MULTIPLE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a model is made of. The defaults are October 2025's: every part absent."""

    rotary_base: float = 10_000.0
    rotary_dtype: Literal["bfloat16", "compute"] = "bfloat16"
    """The tables' precision: rounded to bfloat16, or that of the activations."""
    qk_gain: float = 1.0
    """Of queries and keys, after their norm."""
    windows: bool = False
    """Layers see as far back as `window_pattern` says."""
    value_embeddings: bool = False
    """Every second layer, the last always, adds a gated embedding of the token to its values."""
    smear: bool = False
    """Each token's embedding takes in a gated share of the one before."""
    backout: bool = False
    """A share of the middle layer's output is taken out before the last norm."""
    residual_mix: bool = False
    """Each layer begins with a mix of its input and the first layer's."""
    padded_to: int = 1
    """The tables' rows are a multiple of this."""
    softcap: float | None = SOFTCAP

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Parts:
        """As `to_dict` wrote it.

        Raises:
            CheckpointError: a part is unknown, or not of its type.
        """
        known = {f.name: type(getattr(OCTOBER, f.name)) for f in fields(cls)}
        for name, value in found.items():
            if name not in known or type(value) not in (known[name], int, type(None)):
                raise CheckpointError(
                    f"model_config.parts.{name} is {value!r}; expected one of {', '.join(known)}. "
                    "Name another checkpoint."
                )
        return cls(**found)


OCTOBER = Parts()

NEWEST = Parts(
    rotary_base=100_000.0,
    rotary_dtype="compute",
    qk_gain=1.2,
    windows=True,
    value_embeddings=True,
    smear=True,
    backout=True,
    residual_mix=True,
    padded_to=PADDED_TO,
)
"""Since 14 March 2026."""


def of_tensors(tensors: Shapes, vocab_size: int, *, has_pattern: bool) -> Parts:
    """The parts of the model whose tensors these are.

    Raises:
        CheckpointError: they are of an era between October 2025 and March 2026.
    """
    gates = [shape for name, shape in tensors.items() if VALUE_GATE.fullmatch(name)]
    mixed = any(name in tensors for name in RESIDUAL_MIX)
    values = any(VALUE_EMBEDDING.fullmatch(name) for name in tensors)
    smear = any(name in tensors for name in SMEAR)
    backout = BACKOUT in tensors
    if smear or backout:
        # The formulas of the newest generation; each part that is not there is left out.
        return Parts(
            rotary_base=NEWEST.rotary_base,
            rotary_dtype=NEWEST.rotary_dtype,
            qk_gain=NEWEST.qk_gain,
            windows=True,
            value_embeddings=values or bool(gates),
            smear=smear,
            backout=backout,
            residual_mix=mixed,
            padded_to=PADDED_TO,
        )
    if gates and gates[0][-1:] == (VALUE_GATE_CHANNELS,):
        raise _era("9 to 13 March 2026", "value gates of 12 channels, and no smear")
    if gates or values:
        raise _era("16 January to 8 March 2026", "value embeddings with gates of 32 channels")
    if mixed or has_pattern:
        raise _era("11 to 15 January 2026", "resid_lambdas or windows, and no value embeddings")
    rows = tensors.get(EMBEDDING, (vocab_size,))[0]
    if rows != vocab_size and rows == -(-vocab_size // PADDED_TO) * PADDED_TO:
        raise _era("9 December 2025 to 10 January 2026", f"tables padded to {rows} rows")
    return OCTOBER


def _era(dates: str, seen: str) -> CheckpointError:
    return CheckpointError(
        "This checkpoint is of nanochat between October 2025 and the 2026 generation "
        f"({dates}: {seen}), whose constants differ from both; expected a checkpoint of October "
        "2025, or of 14 March 2026 and later. Name another with --source, --model-tag and --step."
    )


def windows(pattern: str, n_layer: int, sequence_len: int) -> tuple[int, ...]:
    """How many tokens back each layer sees; the last one always sees `sequence_len`."""
    quarter = -(-sequence_len // 4)
    short = -(-quarter // WINDOW_MULTIPLE) * WINDOW_MULTIPLE
    found = [
        short if pattern[layer % len(pattern)] == "S" else sequence_len for layer in range(n_layer)
    ]
    return (*found[:-1], sequence_len)


PATTERN = re.compile(r"[SL]+")
