"""Settings that a run takes from its base checkpoint where nobody typed them, as nanochat does.

nanochat inherits the rates that were typed for the base; the base itself multiplied them by the
root of its batch over 524,288 places, which nanochat's SFT leaves out (its issue 848).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.checkpoints.nanochat_paths import NanochatCheckpoint
from engine.config import RunConfig
from engine.errors import CheckpointError
from engine.files import checked

SIZES = {"max_seq_len": 2048, "device_batch_size": 32, "total_batch_size": 524_288}
"""From the top of the meta file, and what nanochat takes where it says nothing."""

RATES = {"embedding_lr": 0.3, "unembedding_lr": 0.004, "matrix_lr": 0.02}
"""From its `user_config`."""

SCALAR_LR = 0.5
"""Of the base's residual mix where its `user_config` says nothing. nanochat's SFT always takes this
number: it does not inherit the base's, nor the factor of its batch."""

TUNED_BATCH = 524_288
"""Token places of the batch that nanochat's rates were tuned at."""


def settings(
    config: RunConfig, ref: NanochatCheckpoint | None, typed: frozenset[str]
) -> tuple[RunConfig, list[str]]:
    """`config` with what it inherits, and a note for each rate and size.

    Raises:
        CheckpointError: the meta file holds something that is no such number.
    """
    if not config.start.inherit or ref is None:
        return config, []
    where = str(ref.meta_path)
    user = ref.meta.get("user_config")
    rates = user if isinstance(user, Mapping) else {}
    sizes = {name: _size(where, ref.meta, name) for name in SIZES}
    factor = float((sizes["total_batch_size"] / TUNED_BATCH) ** 0.5)
    taken: dict[str, Any] = {name: size for name, size in sizes.items() if name not in typed}
    told = [f"{name} {size:,}" for name, size in taken.items()]
    notes = [f"inherited from the base: {', '.join(told)}"] if told else []
    taken, fitted = _fitted(config, taken)
    notes += fitted
    missing = [name for name in SIZES if ref.meta.get(name) is None]
    missing += [name for name in RATES if rates.get(name) is None]
    if missing:
        names = ", ".join(missing)
        notes.append(f"{where} says nothing of {names}: nanochat's own defaults are taken")
    sound = config.batch.compat == "sound"
    for name in (*RATES, *(("scalar_lr",) if sound else ())):
        if name in typed:
            continue
        theirs = _rate(where, rates, name)
        taken[name] = theirs * factor if sound else theirs
        starts = taken[name] * config.optim.init_lr_frac
        notes.append(
            f"{name}: {theirs:g} typed for the base, {theirs * factor:g} in it (x "
            f"{factor:.4g} for its batch), {starts:g} here (x init_lr_frac "
            f"{config.optim.init_lr_frac:g}"
            + (")" if sound else "; nanochat leaves the batch factor out)")
        )
    return config.replace(**taken), notes


def _fitted(config: RunConfig, taken: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Inherited sizes for this number of ranks, and a note of what was changed.

    The base may have been trained on fewer ranks than this run, so that one micro-batch of all
    of them is more than its whole batch. The rows of a micro-batch then give way, for the batch
    is what the rates were chosen for. nanochat refuses such a run, and so does
    `compat = "nanochat"`.
    """
    size = taken.get("device_batch_size")
    if size is None or config.batch.compat != "sound":
        return taken, []
    batch = config.replace(**taken).batch
    places = batch.max_seq_len * config.runtime.gpus
    if batch.total_batch_size % places:
        # No number of rows would do; the plan says which batch would.
        return taken, []
    # The rows of one step on each rank, of which every micro-batch takes the same part.
    rows = batch.total_batch_size // places
    fits = max(n for n in range(1, min(size, rows) + 1) if rows % n == 0)
    if fits == size:
        return taken, []
    note = (
        f"device_batch_size {fits:,} instead of {size:,}: {batch.total_batch_size:,} token places "
        f"are {rows:,} rows of {batch.max_seq_len:,} on each of {config.runtime.gpus} ranks"
    )
    return taken | {"device_batch_size": fits}, [note]


def _size(where: str, meta: Mapping[str, Any], name: str) -> int:
    found = meta.get(name, SIZES[name])
    found = SIZES[name] if found is None else found
    if type(found) is not int or not 1 <= found <= 2**40:
        raise CheckpointError(
            f"{where}: {name} is {checked.short(found)}; expected a whole number. Type "
            f"--{name.replace('_', '-')}, or repair the file."
        )
    return found


def _rate(where: str, rates: Mapping[str, Any], name: str) -> float:
    found = rates.get(name)
    found = {**RATES, "scalar_lr": SCALAR_LR}[name] if found is None else found
    if type(found) not in (int, float) or not 0 <= found < 1e6:
        raise CheckpointError(
            f"{where}: {name} is {checked.short(found)}; expected a number. Type "
            f"--{name.replace('_', '-')}, or repair the file."
        )
    return float(found)
