"""Memory of one rank before anything is loaded: the parts, the peak, and what would make it fit.

Memory follows from the tokens of a micro-batch, not from its rows: packed micro-steps
are as large as their token limit, whatever `device_batch_size` says. Two programs are
known, nanochat's own (October 2025) and ours; against torch's memory tracker, and ours
against what a CUDA build allocates for d16 (`make gpu-count`), both are right to 3 %.
"""

# N tokens of a micro-batch, L layers, d width, V vocabulary, W ranks, c tokens of a loss chunk.

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from engine.config import RunConfig
from engine.files.sizes import GIB
from engine.model.family import ModelShape

CUDA_OUTSIDE = 1.2 * GIB
"""CUDA context, cuBLAS and NCCL: 0.6 to 1.2 GiB that torch's allocator does not see."""
CPU_OUTSIDE = 0.5 * GIB
"""Interpreter and libraries of one rank: 0.3 GiB measured with torch, 0.4 with `datasets`."""
FRAGMENTATION = 0.05
"""Lost between blocks: 3 to 5 % with expandable segments."""

DEFAULT_CHUNK = 1024
"""Tokens of a loss chunk: ours on a GPU, and what is proposed where the loss has no chunks."""

STACK_ELEMENTS = 2**25
"""Most elements that `optim` orthogonalises at a time."""


def loss_chunk(vocab_size: int, device_type: str) -> int:
    """Tokens whose logits exist at a time: `loss.default_chunk`, which needs torch."""
    elements = 2**26 if device_type == "cuda" else 2**20
    return max(128, elements // vocab_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Everything the memory of one rank is estimated from."""

    shape: ModelShape
    tokens: int
    """N: of one micro-batch, padding included."""
    world_size: int = 1
    program: Literal["sftui", "nanochat"] = "sftui"
    """Whose loss and optimizer step: ours always works in chunks and in stacks of matrices."""
    mixed: bool = True
    """bf16 autocast over fp32 weights (CUDA); False: everything in fp32 (CPU)."""
    chunk: int | None = None
    """Tokens whose logits exist at a time; None: all of the micro-batch."""
    checkpoint_layers: bool = False
    gradients_alive: bool = True
    """True from the second micro-batch on, hence whenever gradients accumulate."""
    fused_norm: bool = False
    """nanochat's norm keeps no fp32 inputs (newer torch, compiled models). Ours never does."""
    fused_loss: bool = True
    """Our loss under autocast goes through one kernel (CUDA); False: pass by pass (CPU)."""
    packed: bool = False
    """Rows are packed into micro-steps: `tokens` is their limit, not rows times length."""
    gradient_buckets: bool = False
    """A trainer under DistributedDataParallel keeps a second copy of the gradients to send; our
    gradients live where they are sent from."""
    checkpoint_copies: bool = False
    """Rank 0 keeps the buffers of its last checkpoint where the model is: on a CPU, not on CUDA."""
    start_kept: bool = False
    """Each rank keeps its share of the starting weights there, to tell how far it went."""
    muon: bool = True
    """Matrices are updated in stacks by Muon; False: all by AdamW, in place."""

    @property
    def outside(self) -> float:
        """Bytes used outside torch's allocator: device context and libraries."""
        return CUDA_OUTSIDE if self.mixed else CPU_OUTSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one rank, by part."""

    parameters: int
    """Of what is trained."""
    frozen: int
    """Of what is not: a base under adapters."""
    gradients: int
    """0 while the first micro-batch is under way."""
    gradients_at_step: int
    optimizer: int
    """Muon momentum and AdamW moments, this rank's share."""
    buckets: int
    checkpoint: int
    """Copies that a thread writes to disk, kept for the next time."""
    start: int
    """This rank's share of the weights the run began with."""
    copies: int
    """bf16 copies of the weights that autocast keeps."""
    layers: int
    """Activations kept for the backward pass."""
    logits: int
    """At the worst moment of the loss."""
    small: int
    step_temporary: int
    """What the optimizer allocates while it updates."""

    @property
    def at_loss(self) -> int:
        """At the end of the forward pass."""
        fixed = self.parameters + self.gradients + self.optimizer + self.buckets + self.checkpoint
        return (
            fixed + self.frozen + self.start + self.copies + self.layers + self.logits + self.small
        )

    @property
    def at_step(self) -> int:
        """While the weights are updated."""
        fixed = self.parameters + self.gradients_at_step + self.optimizer + self.buckets
        return fixed + self.frozen + self.checkpoint + self.start + self.step_temporary

    @property
    def peak(self) -> int:
        """Most bytes of tensors at any time."""
        return max(self.at_loss, self.at_step)


def estimate(plan: MemoryPlan) -> Memory:
    """Bytes of one rank under `plan`."""
    layers, width = plan.shape.n_layer, plan.shape.n_embd
    n, ranks = plan.tokens, plan.world_size
    counts = plan.shape.weight_counts()
    matrices, head = counts.matrices, counts.head
    # fp32 matrices and head; embeddings, and what is frozen, are bf16 under autocast.
    embedded = (2 if plan.mixed else 4) * counts.tables
    parameters = 4 * matrices + 4 * (head + counts.others) + embedded
    # One Muon momentum a matrix, two AdamW moments a row of embeddings and head.
    optimizer = 4 * matrices + 8 * (head + counts.others) + 2 * embedded
    if plan.checkpoint_layers:
        # Only what each block was given stays.
        per_layer = (2 if plan.mixed else 4) * plan.shape.kept_by_recomputing
    elif plan.mixed:
        # bf16. nanochat's norm may keep four inputs more.
        kept = plan.shape.kept_per_layer
        per_layer = 2 * (kept if plan.fused_norm or plan.program == "sftui" else kept + 4)
    else:
        per_layer = 4 * plan.shape.kept_per_layer
    return Memory(
        parameters=parameters,
        frozen=(2 if plan.mixed else 4) * counts.frozen,
        gradients=parameters if plan.gradients_alive else 0,
        gradients_at_step=parameters,
        optimizer=-(-optimizer // ranks),
        checkpoint=parameters + -(-optimizer // ranks) if plan.checkpoint_copies else 0,
        start=-(-parameters // ranks) if plan.start_kept else 0,
        buckets=parameters if plan.gradient_buckets and ranks > 1 else 0,
        copies=_copies(plan, matrices + counts.others, head),
        layers=round(per_layer * layers * n * width),
        logits=_logits(plan, head or counts.frozen_head, trained=head > 0),
        small=12 * n * width,
        step_temporary=_step_temporary(plan, head, -(-parameters // ranks)),
    )


def _copies(plan: MemoryPlan, matrices: int, table: int) -> int:
    if not plan.mixed:
        return 0
    # Our loss casts the head itself; recomputed layers cast theirs again, and keep none.
    head = 2 * table if plan.program == "nanochat" else 0
    return head + (0 if plan.checkpoint_layers else 2 * matrices)


def _logits(plan: MemoryPlan, table: int, *, trained: bool) -> int:
    """`table`: elements of the head; one that is not `trained` gets no gradient."""
    n, vocab = plan.tokens, plan.shape.vocab_size
    chunk = min(plan.chunk or n, n)
    if not trained:
        # The logits and what is made of them, and under autocast the head's copy.
        return (4 if plan.mixed and plan.fused_loss else 16) * chunk * vocab + (
            2 * table if plan.mixed else 0
        )
    if plan.program == "sftui":
        if plan.mixed and not plan.fused_loss:
            # bf16 logits, three fp32 tensors made of them, and a bf16 gradient.
            return 16 * chunk * vocab + 6 * table
        if plan.mixed:
            # A chunk's bf16 logits beside their gradient, or that beside the product [V, D] that
            # is added to the head's: with the head's fp32 gradient and bf16 copy, the worse.
            return max(4 * chunk * vocab + 6 * table, 2 * chunk * vocab + 8 * table)
        # fp32 passes: the capped logits, the softmax of them and its input.
        return 12 * chunk * vocab + 4 * table
    # bf16: fp32 log-softmax 4, its gradient 4 + 4, bf16 tanh 2. fp32: four of them.
    held = (14 if plan.mixed else 16) * chunk * vocab
    return held + ((2 if plan.mixed else 4) * table if plan.chunk else 0)


def _step_temporary(plan: MemoryPlan, table: int, own: int) -> int:
    """`own`: bytes of this rank's share of the parameters."""
    if plan.program == "nanochat":
        return 8 * table
    if not plan.muon:
        # As they were, where it is measured how far they go.
        return own
    # The largest stack: MLP matrices of this rank. Five fp32 tensors of its size at a time.
    largest = 4 * plan.shape.n_embd**2
    owned = -(-plan.shape.n_layer // plan.world_size)
    return 20 * largest * min(owned, max(1, STACK_ELEMENTS // largest))


def needed(plan: MemoryPlan) -> int:
    """Bytes that one rank takes from its device: tensors, fragmentation and what is outside."""
    return round(estimate(plan).peak * (1 + FRAGMENTATION) + plan.outside)


def largest_tokens(plan: MemoryPlan, device_bytes: float) -> int:
    """Most tokens of a micro-batch that fit into `device_bytes`; 0 when not even one does."""
    low, high = 0, 1
    while high < 2**31 and needed(dataclasses.replace(plan, tokens=high)) <= device_bytes:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if needed(dataclasses.replace(plan, tokens=middle)) <= device_bytes:
            low = middle
        else:
            high = middle
    return low


def largest_batch(plan: MemoryPlan, device_bytes: float, *, row_tokens: int) -> int:
    """Most rows of `row_tokens` that fit into one micro-batch; 0 when not even one does."""
    return largest_tokens(plan, device_bytes) // row_tokens


def checkpoint_bytes(shape: ModelShape, *, mixed: bool) -> int:
    """Size of one resumable checkpoint on disk: weights and the optimizer state of all ranks."""
    found = estimate(MemoryPlan(shape=shape, tokens=1, mixed=mixed))
    return found.parameters + found.optimizer


def row_tokens(config: RunConfig) -> int:
    """Tokens of the longest row: of one conversation, or of a best-fit row."""
    if config.batch.packing == "best-fit":
        return config.batch.max_seq_len
    return config.data.max_tokens


def plan_for(
    config: RunConfig,
    shape: ModelShape,
    *,
    device_type: str,
    packed_tokens: int | None = None,
    chunk: int | None = None,
) -> MemoryPlan:
    """The plan that a run's settings come to; `chunk` is our loss's own unless given.

    `packed_tokens` is the most tokens of a packed micro-step, which then decides instead
    of `device_batch_size`. Padded rows are taken as long as `max_tokens` allows.
    """
    tokens = config.batch.device_batch_size * row_tokens(config)
    packed = config.batch.layout == "packed" and packed_tokens is not None
    if packed_tokens is not None and packed:
        # A row longer than the limit is a micro-step of its own.
        tokens = max(packed_tokens, row_tokens(config))
    return MemoryPlan(
        shape=shape,
        tokens=tokens,
        packed=packed,
        world_size=config.runtime.gpus,
        mixed=config.runtime.mixed(device_type),
        fused_loss=device_type == "cuda",
        chunk=loss_chunk(shape.vocab_size, device_type) if chunk is None else chunk,
        checkpoint_layers=config.runtime.activation_checkpointing,
        checkpoint_copies=device_type != "cuda",
        start_kept=device_type != "cuda",
        muon=config.start.model is None or config.optim.optimizer == "muon",
    )


# ---- what to change --------------------------------------------------------------------------

CHECKPOINTING = "--activation-checkpointing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to run, and whether it fits."""

    name: str
    """What to type, or what it is."""
    plan: MemoryPlan
    needed: int
    """Bytes per rank."""
    fits: bool | None
    """None when the device's size is not known."""
    largest_batch: int | None
    """Rows of a micro-batch that would fit."""


def options(plan: MemoryPlan, device_bytes: float | None, *, row_tokens: int) -> list[Option]:
    """The plan as it is, then every way to lower its memory, the cheapest in speed first."""
    smaller = plan.tokens // 2 // row_tokens * row_tokens
    if device_bytes is not None and needed(plan) > device_bytes:
        smaller = largest_batch(plan, device_bytes, row_tokens=row_tokens) * row_tokens
    chunk, layers = {"chunk": DEFAULT_CHUNK}, {"checkpoint_layers": True}
    changes: list[tuple[str, dict[str, int]]] = [("as set", {})]
    if 0 < smaller < plan.tokens:
        changes.append((_size(plan, smaller, row_tokens), {"tokens": smaller}))
    if plan.chunk is None:
        changes.append(("loss in chunks", {**chunk}))
    if not plan.checkpoint_layers:
        changes.append((CHECKPOINTING, {**layers}))
        if plan.chunk is None:
            changes.append((f"loss in chunks and {CHECKPOINTING}", {**chunk, **layers}))
    found = []
    for name, change in changes:
        changed = dataclasses.replace(plan, **change)  # type: ignore[arg-type]
        size = needed(changed)
        most = None
        if device_bytes is not None:
            most = largest_batch(changed, device_bytes, row_tokens=row_tokens)
        fits = None if device_bytes is None else size <= device_bytes
        found.append(Option(name=name, plan=changed, needed=size, fits=fits, largest_batch=most))
    return found


def advice(plan: MemoryPlan, device_bytes: float, *, row_tokens: int) -> str:
    """One sentence: it fits and how far one can go, or what to type so that it does."""
    found = options(plan, device_bytes, row_tokens=row_tokens)
    as_set = found[0]
    room = f"{as_set.needed / GIB:.1f} GiB of {device_bytes / GIB:.1f} GiB"
    if as_set.fits:
        return f"fits: {room}; up to {as_set.largest_batch} rows of {row_tokens} tokens would"
    for option in found[1:]:
        if option.fits:
            return f"does not fit: {room}; {option.name} needs {option.needed / GIB:.1f} GiB"
    most = max(found, key=lambda option: option.largest_batch or 0)
    if most.largest_batch:
        size = _size(plan, most.largest_batch * row_tokens, row_tokens)
        return f"does not fit: {room}; {most.name} with {size} does"
    least = min(found, key=lambda option: option.needed)
    return (
        f"does not fit: {room}, and no switch makes it fit (least: {least.needed / GIB:.1f} GiB "
        f"with {least.name}); use more ranks, a larger device or a smaller model"
    )


def _size(plan: MemoryPlan, tokens: int, row_tokens: int) -> str:
    if plan.packed:
        return f"micro-steps of {tokens} tokens"
    return f"--device-batch-size {tokens // row_tokens}"


def table(plan: MemoryPlan) -> list[tuple[str, int, str]]:
    """(part, bytes, what it is) in the order of the peak's sum, which is the last row."""
    found = estimate(plan)
    at_loss = found.at_loss >= found.at_step
    gradients = found.gradients if at_loss else found.gradients_at_step
    share = f"1/{plan.world_size} of " if plan.world_size > 1 else ""
    rows = [
        ("parameters", found.parameters, "fp32" if not plan.mixed else "fp32, embedding bf16"),
        *([("frozen", found.frozen, "the base under the adapters")] if found.frozen else []),
        ("gradients", gradients, "as the parameters"),
        ("optimizer", found.optimizer, f"{share}Muon momentum and AdamW moments"),
        ("gradient buckets", found.buckets, "sent between ranks"),
        ("checkpoint", found.checkpoint, "rank 0's copy that a thread writes to disk"),
        ("start", found.start, f"{share}the starting weights, for the distance from them"),
    ]
    if at_loss:
        kept = "block inputs only" if plan.checkpoint_layers else "kept for the backward pass"
        chunk = f"{min(plan.chunk, plan.tokens)} tokens at a time" if plan.chunk else "all tokens"
        rows += [
            ("bf16 copies", found.copies, "weights under autocast"),
            ("layers", found.layers, f"{plan.tokens} tokens, {kept}"),
            ("logits", found.logits, f"{chunk}, vocabulary {plan.shape.vocab_size}"),
            ("small", found.small, "norms, residuals, rotary"),
        ]
    else:
        rows.append(("update", found.step_temporary, "while the weights change"))
    lost = round(found.peak * FRAGMENTATION)
    rows += [
        ("fragmentation", lost, f"{FRAGMENTATION:.0%}"),
        ("outside torch", round(plan.outside), "context and libraries"),
    ]
    rows = [row for row in rows if row[1]]
    return [*rows, ("needed", sum(size for _, size, _ in rows), "per rank")]
