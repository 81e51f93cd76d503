"""Parts of a training pass through `torch.compile`: few fused kernels instead of a hundred.

Nothing falls back to eager by itself: a graph that breaks, or that would be compiled again and
again for other sizes, is an error with its reason.
"""

# N tokens of a packed row, B rows of T tokens of a padded batch.

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from engine.errors import ConfigError
from engine.model.family import Decoder, ModelShape

Made = TypeVar("Made")


def compiled(part: Callable[..., Made], backend: Any) -> Callable[..., Made]:
    """`part` as one graph for all sizes of its inputs' first dimensions.

    What it is called with raises ConfigError where the compiler fails. `backend` is
    torch.compile's.
    """
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415  seconds to import

    # fullgraph makes an error of what torch would else run eagerly and mention in a log.
    graph = torch.compile(part, fullgraph=True, dynamic=True, backend=backend)

    def run(*arguments: Any) -> Made:
        try:
            return graph(*arguments)
        except TorchDynamoException as error:
            raise _failed(error) from error

    return run


def try_out(model: Decoder, *, mixed: bool, padded_rows: int | None = None) -> None:
    """Compile both ways now, with a pass over a few tokens that leaves no gradient.

    `padded_rows` is B of a padded layout; None when rows are packed.

    Raises:
        ConfigError: torch.compile does not work here, with its reason.
    """
    from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415  as above

    first = next(model.parameters())
    kind = first.device.type
    keep_apart_by_cpu()
    tokens = _unlike_any_size(model.config, padded_rows or 1)
    ids = torch.zeros(tokens, dtype=torch.int64, device=first.device)
    autocast = torch.autocast(
        kind, dtype=torch.bfloat16, enabled=mixed, cache_enabled=not model.checkpoint_blocks
    )
    with warnings.catch_warnings(), autocast:
        # Of the compiler's own doing: it looks at `.grad` of what it is given.
        warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        if padded_rows is None:
            hidden = model(ids, spans=((0, 2), (2, tokens)))
        else:
            hidden = model(ids.expand(padded_rows, -1).contiguous())
        try:
            # Of the embedding, behind all layers; and not into `.grad`, whose hooks would send it
            # to the other ranks.
            torch.autograd.grad(hidden.sum(), first)
        except TorchDynamoException as error:
            raise _failed(error) from error


def keep_apart_by_cpu() -> None:
    """Have torch's cache of compiled graphs hold one of each vector width.

    A graph's C++ steps by the width of the CPU that it was written for, and torch (2.10 to 2.13)
    takes it from the cache for any: compiled for a wider one it writes behind its buffers, for a
    narrower one half of a result is never written. A home directory that several machines share
    is enough, and so is ATEN_CPU_CAPABILITY in one process of two.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    tags = [tag for tag in torch.compiler.config.cache_key_tag.split("+") if tag]
    if capability not in tags:
        torch.compiler.config.cache_key_tag = "+".join([*tags, capability])


def _unlike_any_size(shape: ModelShape, rows: int) -> int:
    """A number of tokens that is none of the model's own sizes.

    Sizes that are equal when a graph is made are one symbol in it: the tokens would be taken
    for the width, and the graph for this number of tokens only.
    """
    half = shape.head_dim // 2
    heads = {shape.n_head, shape.n_kv_head}
    taken = {rows, half, shape.head_dim, shape.kv_dim, shape.n_embd, 4 * shape.n_embd, *heads}
    return next(number for number in itertools.count(5) if number not in taken)


def _failed(error: Exception) -> ConfigError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = " ".join(lines[:2])
    return ConfigError(
        f"--compile: torch.compile failed ({type(error).__name__}: {words[:300]}). The rest of "
        "its report is in the log of the rank. Mend that, or run without --compile: the numbers "
        "are the same within rounding."
    )
