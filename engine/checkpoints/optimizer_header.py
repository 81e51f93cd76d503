"""Whether nanochat's optimizer files are whole and all there, read without torch or their numbers.

`engine/model/nanochat/optimizer_files.py` puts their numbers together when the ranks load them;
a plan needs to know before anything is started. Nothing of the model is needed for it: a file
says itself how many matrices each of Muon's groups has, and the first parameter is a table with
a row for every token at least.
"""

# W files there are, one a rank; n matrices of a group.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.checkpoints import weights_header
from engine.checkpoints.weights_header import TensorHeader
from engine.errors import CheckpointError

_ADVICE = (
    "Expected the optim_*.pt of every rank that wrote them: copy them again, or pass "
    "--no-load-optimizer to begin with a fresh optimizer."
)


def check(files: Sequence[Path], vocab_size: int) -> None:
    """Look into the files of all ranks, which stand in the order of the ranks.

    Raises:
        CheckpointError: one is cut off or of another kind, or the last ones are missing.
    """
    found = [weights_header.content(path, _ADVICE) for path in files]
    try:
        whole = all(_is_whole(each, found, vocab_size) for each in found)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{files[0]}: no optimizer file of nanochat's ({type(error).__name__}). {_ADVICE}"
        ) from None
    if not whole:
        raise CheckpointError(
            f"{files[0].parent} has optimizer files of {len(files)} ranks, which do not make one "
            f"state: more ranks wrote it. {_ADVICE}"
        )


def _is_whole(one: Any, found: Sequence[Any], vocab_size: int) -> bool:
    number = 0
    for group in one["param_groups"]:
        members = len(group["params"])
        if group["kind"] != "adamw":
            # Chunks of n / W matrices, rounded up.
            chunk = _shape(one, number, "momentum_buffer")[0]
            if chunk != -(-members // len(found)):
                return False
        elif number == 0:
            rows = sum(_shape(each, 0, "exp_avg")[0] for each in found)
            if rows < vocab_size:
                return False
        number += members
    return True


def _shape(one: Any, number: int, name: str) -> tuple[int, ...]:
    tensor: TensorHeader = one["state"][number][name]
    return tensor.shape
