"""Best-fit rows of nanochat 2026: which conversations share a row, worked out from lengths alone.

A row has `max_seq_len + 1` places. Each rank keeps a buffer of 100 conversations and fills
its rows with the longest that still fits, so a row is a few conversations end to end, which see
each other. All of it is a function of lengths, ranks and sizes: it is worked out once,
before the run, and kept in the run directory.
"""

# N mixture rows, W ranks of the plan, k accumulation steps, U updates.

from __future__ import annotations

import bisect
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.config import Compat
from engine.errors import ConfigError, RunDirError
from engine.files import npz
from engine.optimizer.lr_schedule import ProgressSchedule
from engine.step.plan import MicroBatch

BUFFER = 100
"""Conversations that a rank chooses from."""

Packs = tuple[tuple[int, ...], ...]
"""Mixture rows of each packed row of a micro-batch, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One micro-batch as a rank's loader gives it, and where the loader then stands."""

    packs: Packs
    used: tuple[int, ...]
    """Places that hold conversations, of `max_seq_len + 1` in each packed row."""
    consumed: int
    """`rank + W x conversations placed so far`."""
    epoch: int
    """Of the fetching cursor, from 1: one pass ahead of what is placed."""


def draws(
    lengths: Sequence[int],
    *,
    rank: int,
    world_size: int,
    rows: int,
    places: int,
    once: bool = False,
) -> Iterator[Draw]:
    """A rank's micro-batches of `rows` packed rows of `places`, for ever, or `once` through.

    A conversation longer than a row stays in the buffer and takes a place of it; when nothing
    else is left in there, packed rows are empty.
    """
    cursor, epoch, placed, order = rank, 1, 0, itertools.count()
    # By length, the earliest of equals last: the best fit is then the one before a bisection.
    buffer: list[tuple[int, int, int]] = []
    while True:
        packs: list[tuple[int, ...]] = []
        used: list[int] = []
        for _ in range(rows):
            pack: list[int] = []
            free = places
            while free:
                while len(buffer) < BUFFER and not (once and cursor >= len(lengths)):
                    row = cursor % len(lengths)
                    bisect.insort(buffer, (lengths[row], -next(order), row))
                    cursor += world_size
                    if cursor >= len(lengths) * epoch:
                        epoch += 1
                at = bisect.bisect_right(buffer, (free, 1, 0)) - 1
                if at < 0:
                    break
                length, _, row = buffer.pop(at)
                pack.append(row)
                free -= length
                placed += 1
            packs.append(tuple(pack))
            used.append(places - free)
        if once and not any(packs):
            return
        yield Draw(
            packs=tuple(packs),
            used=tuple(used),
            consumed=rank + world_size * placed,
            epoch=epoch,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRows:
    """Micro-batches of packed rows, `per_step` on each of `world_size` ranks for every step."""

    world_size: int
    per_step: int
    rows: npt.NDArray[np.int32]
    """Mixture rows of all packed rows, one after another."""
    pack_ends: npt.NDArray[np.int64]
    """Where each packed row ends in `rows`."""
    micro_ends: npt.NDArray[np.int64]
    """Where each micro-batch ends in `pack_ends`: step by step, index by index, rank by rank."""

    @classmethod
    def of(cls, micro_batches: Sequence[Packs], *, world_size: int, per_step: int) -> PackedRows:
        packs = [pack for each in micro_batches for pack in each if pack]
        filled = [sum(1 for pack in each if pack) for each in micro_batches]
        return cls(
            world_size=world_size,
            per_step=per_step,
            rows=np.array([row for pack in packs for row in pack], np.int32),
            pack_ends=np.cumsum([len(pack) for pack in packs], dtype=np.int64),
            micro_ends=np.cumsum(filled, dtype=np.int64),
        )

    def micro_batches(self, step: int = 0) -> list[MicroBatch]:
        """The step's micro-batches: first index first, ranks in turn within it."""
        share = self.world_size * self.per_step
        found = []
        for place in range(share):
            packs = self._packs(step * share + place)
            index, rank = divmod(place, self.world_size)
            rows = tuple(row for pack in packs for row in pack)
            found.append(MicroBatch(rank, index, rows, packs))
        return found

    def _packs(self, number: int) -> Packs:
        first = int(self.micro_ends[number - 1]) if number else 0
        packs = []
        for pack in range(first, int(self.micro_ends[number])):
            start = int(self.pack_ends[pack - 1]) if pack else 0
            packs.append(tuple(int(row) for row in self.rows[start : self.pack_ends[pack]]))
        return tuple(packs)


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """Which conversations every training step packs into which rows.

    It stands where `plan.Plan` stands for rows that are documents of their own.
    """

    num_rows: int
    """Of the mixture."""
    packed: PackedRows
    progress: npt.NDArray[np.float64]
    """[U, W] share of the run that is done after each update, as each rank counts it."""
    conversations: int
    """Trained on, repetitions counted."""
    too_long: int
    """Conversations longer than a row."""
    compat: Compat = "sound"

    @property
    def world_size(self) -> int:
        return self.packed.world_size

    @property
    def grad_accum_steps(self) -> int:
        return self.packed.per_step

    @property
    def num_updates(self) -> int:
        return len(self.progress)

    @property
    def num_iterations(self) -> int:
        """The last one only evaluates."""
        return self.num_updates + 1

    @property
    def ranks_differ(self) -> bool:
        """Whether nanochat's ranks would have used different rates (its defect, PR 857)."""
        return bool((self.progress != self.progress[:, :1]).any())

    def epoch_at(self, step: int) -> float:
        """Passes over the mixture begun when `step` starts."""
        return step / self.num_updates * self.conversations / self.num_rows

    def micro_batches(self, step: int) -> list[MicroBatch]:
        return self.packed.micro_batches(step)

    def schedule(
        self, *, warmup_ratio: float, warmdown_ratio: float, final_lr_frac: float
    ) -> ProgressSchedule:
        """The rates of its updates: one for all ranks, where theirs differ the mean."""
        return ProgressSchedule(
            progress=tuple(float(each) for each in self.progress.mean(axis=1)),
            warmup_ratio=warmup_ratio,
            warmdown_ratio=warmdown_ratio,
            final_lr_frac=final_lr_frac,
            compat=self.compat,
        )


def accumulation(
    *, total_batch_size: int, device_batch_size: int, max_seq_len: int, world_size: int
) -> int:
    """Micro-batches of one rank in a step of `total_batch_size` token places.

    Raises:
        ConfigError: it does not divide; a total that does is named.
    """
    share = device_batch_size * max_seq_len * world_size
    if total_batch_size % share or not total_batch_size:
        below, above = total_batch_size // share * share, (total_batch_size // share + 1) * share
        fits = f"{below} or {above}" if below else f"{above}"
        raise ConfigError(
            f"total_batch_size is {total_batch_size:,}, not a multiple of device_batch_size x "
            f"max_seq_len x ranks = {device_batch_size} x {max_seq_len} x {world_size} = {share:,}."
            f" Pass --total-batch-size {fits}, or another --device-batch-size."
        )
    return total_batch_size // share


def plan_rows(
    lengths: Sequence[int],
    *,
    world_size: int,
    device_batch_size: int,
    max_seq_len: int,
    total_batch_size: int,
    num_iterations: int = -1,
    num_epochs: int = 1,
    compat: Compat = "sound",
) -> RowPlan:
    """The whole run's rows. `lengths` are the tokens of every mixture row.

    "nanochat" counts as nanochat does: iterations are micro-batches, progress is each rank's
    own and looks one micro-batch ahead, and rows that fit nowhere stay. "sound": iterations are
    updates (and a last one that evaluates), progress is the share of updates, and a row longer
    than a packed one is cut to it (the loader renders it so).

    Raises:
        ConfigError: the batch does not divide, or there is nothing to train on.
    """
    places = max_seq_len + 1
    per_step = accumulation(
        total_batch_size=total_batch_size,
        device_batch_size=device_batch_size,
        max_seq_len=max_seq_len,
        world_size=world_size,
    )
    if len(lengths) < world_size:
        raise ConfigError(
            f"There are {len(lengths)} training rows for {world_size} ranks; expected at least "
            "one a rank. Add data, or lower --gpus."
        )
    too_long = sum(1 for length in lengths if length > places)
    fitting = [min(length, places) for length in lengths] if compat == "sound" else lengths
    loaders = [
        draws(fitting, rank=rank, world_size=world_size, rows=device_batch_size, places=places)
        for rank in range(world_size)
    ]
    wanted = len(lengths) * num_epochs
    drawn: list[list[Draw]] = []
    consumed = 0
    while True:
        drawn.append([next(loader) for loader in loaders])
        before, consumed = consumed, sum(draw.consumed for draw in drawn[-1])
        if len(drawn) > 1 and consumed == before:
            raise ConfigError(
                f"{too_long:,} of {len(lengths):,} conversations are longer than a row of "
                f"{places} tokens and fill the buffer, so nothing is left to train on; expected "
                "some that fit. Pass --compat sound (they are cut), or a larger --max-seq-len."
            )
        if compat == "nanochat":
            # A flag that any rank sets, looked at before the next update begins.
            passed = any(draw.consumed >= len(lengths) for draw in drawn[-1])
            if passed or 0 < num_iterations <= len(drawn):
                updates = -(-(len(drawn) - 1) // per_step)
                break
        elif num_iterations > 0:
            if len(drawn) >= (num_iterations - 1) * per_step:
                updates = num_iterations - 1
                break
        # Of each rank's count, `rank` was there before the first conversation.
        elif consumed - sum(range(world_size)) >= wanted * world_size:
            updates = len(drawn) // per_step or 1
            break
    if updates < 1:
        raise ConfigError(
            f"{len(lengths):,} conversations and {len(drawn)} micro-batches make no update of "
            f"{total_batch_size:,} token places. Raise --num-iterations, or lower "
            "--total-batch-size."
        )
    while len(drawn) < updates * per_step + 1:
        drawn.append([next(loader) for loader in loaders])
    if compat == "nanochat":
        ahead = [drawn[update * per_step] for update in range(1, updates + 1)]
        progress = np.array(
            [
                [
                    (update * per_step + 1) / num_iterations
                    if num_iterations > 0
                    else draw.consumed / len(lengths)
                    for draw in row
                ]
                for update, row in enumerate(ahead, 1)
            ]
        )
    else:
        done = np.arange(1, updates + 1) / (updates + 1)
        progress = np.repeat(done[:, None], world_size, axis=1)
    trained = [draw.packs for row in drawn[: updates * per_step] for draw in row]
    packed = PackedRows.of(trained, world_size=world_size, per_step=per_step)
    return RowPlan(
        num_rows=len(lengths),
        packed=packed,
        progress=np.maximum.accumulate(progress, axis=0),
        conversations=len(packed.rows),
        too_long=too_long,
        compat=compat,
    )


def plan_validation(
    lengths: Sequence[int],
    *,
    world_size: int,
    device_batch_size: int,
    max_seq_len: int,
    eval_tokens: int,
    compat: Compat = "sound",
) -> PackedRows:
    """The rows of one validation of `eval_tokens` token places.

    "sound" ends where nanochat would begin the rows again: a row counted twice would falsify
    every paired comparison.
    """
    places = max_seq_len + 1
    steps = max(1, eval_tokens // (device_batch_size * max_seq_len * world_size))
    fitting = [min(length, places) for length in lengths] if compat == "sound" else lengths
    loaders = [
        draws(
            fitting,
            rank=rank,
            world_size=world_size,
            rows=device_batch_size,
            places=places,
            once=compat == "sound",
        )
        for rank in range(world_size)
    ]
    micro_batches: list[Packs] = []
    for _ in range(steps):
        drawn = [next(loader, None) for loader in loaders]
        if not any(drawn):
            break
        micro_batches += [() if draw is None else draw.packs for draw in drawn]
    per_step = len(micro_batches) // world_size
    return PackedRows.of(micro_batches, world_size=world_size, per_step=per_step)


def save(path: Path, training: RowPlan, validation: PackedRows) -> None:
    """Keep both in one file."""
    content = io.BytesIO()
    arrays = {
        f"{name}_{field}": getattr(packed, field)
        for name, packed in (("train", training.packed), ("val", validation))
        for field in ("rows", "pack_ends", "micro_ends")
    }
    numbers = [
        training.num_rows, training.conversations, training.too_long,
        training.packed.world_size, training.packed.per_step, validation.per_step,
        int(training.compat == "nanochat"),
    ]  # fmt: skip
    np.savez_compressed(
        content, allow_pickle=False, numbers=np.array(numbers), progress=training.progress, **arrays
    )
    path.write_bytes(content.getvalue())


def _check_progress(progress: npt.NDArray[np.float64], ranks: int) -> None:
    """Raises ValueError: it is no finite [U, W]."""
    if progress.ndim != 2 or progress.shape[1] != ranks or progress.dtype.kind != "f":
        raise ValueError(f"a progress of shape {progress.shape}; expected [updates, {ranks}]")
    if not np.isfinite(progress).all():
        raise ValueError("a share of the run that is no number")


def _check_packed(packed: PackedRows, steps: int, num_rows: int | None) -> None:
    """Raises ValueError: its places lead out of its rows, or there are not as many as it says."""
    micro_batches = steps * packed.world_size * packed.per_step
    if packed.world_size < 1 or packed.per_step < 0 or len(packed.micro_ends) != micro_batches:
        raise ValueError(f"{len(packed.micro_ends):,} micro-batches; expected {micro_batches:,}")
    for ends, inner in ((packed.micro_ends, packed.pack_ends), (packed.pack_ends, packed.rows)):
        if ends.ndim != 1 or ends.dtype.kind != "i" or inner.ndim != 1 or inner.dtype.kind != "i":
            raise ValueError("a list of places that is none")
        if len(ends) and (ends[0] < 0 or ends[-1] != len(inner) or (np.diff(ends) < 0).any()):
            raise ValueError("places that lead out of the rows")
    found = packed.rows
    if len(found) and (found.min() < 0 or (num_rows is not None and found.max() >= num_rows)):
        raise ValueError("a row that the data do not have")


def load(path: Path) -> tuple[RowPlan, PackedRows]:
    """As `save` wrote it.

    Raises:
        RunDirError: missing or damaged.
    """
    try:
        # Rows in order pack to a tenth; what packs to a hundredth is no plan.
        most = max(npz.MOST_UNPACKED_BYTES, 64 * path.stat().st_size)
        with npz.opened(path, most) as found:
            rows, conversations, too_long, ranks, per_step, val_steps, upstream = map(
                int, found["numbers"]
            )
            packed, validation = (
                PackedRows(
                    world_size=ranks,
                    per_step=steps,
                    rows=found[f"{name}_rows"],
                    pack_ends=found[f"{name}_pack_ends"],
                    micro_ends=found[f"{name}_micro_ends"],
                )
                for name, steps in (("train", per_step), ("val", val_steps))
            )
            progress = found["progress"]
        _check_progress(progress, ranks)
        _check_packed(packed, len(progress), rows)
        _check_packed(validation, 1, None)
    except (OSError, *npz.DAMAGED) as error:
        raise RunDirError(
            f"{path} cannot be read ({type(error).__name__}); expected the run's packed rows. "
            "Restore it, or start a new run."
        ) from None
    plan = RowPlan(
        num_rows=rows,
        packed=packed,
        progress=progress,
        conversations=conversations,
        too_long=too_long,
        compat="nanochat" if upstream else "sound",
    )
    return plan, validation
