"""Pack a run's rows: from its settings to the plan that is kept in its directory; no torch."""

from __future__ import annotations

from collections.abc import Callable

from engine.config import RunConfig
from engine.conversations.chat_format import ChatTokenizer, render_conversation
from engine.data import tasks
from engine.data.mixture import Mixture
from engine.data.tasks import DataSettings
from engine.step import row_packing
from engine.step.row_packing import PackedRows, RowPlan

SAY_EVERY = 50_000
"""Conversations between two calls of `on_progress`."""


def is_packed(config: RunConfig) -> bool:
    """Whether conversations share rows, which are planned before the run."""
    return config.batch.packing == "best-fit"


def longest_conversation(config: RunConfig) -> int:
    """Tokens that a conversation is cut at.

    nanochat cuts at 2048 whatever its rows hold; what then fits into no row is never trained on.
    """
    if is_packed(config) and config.batch.compat == "sound":
        return min(config.data.max_tokens, config.batch.max_seq_len + 1)
    return config.data.max_tokens


def pack(
    config: RunConfig,
    settings: DataSettings,
    tokenizer: ChatTokenizer,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[RowPlan, PackedRows]:
    """Training and validation rows of a run; every conversation is tokenised once.

    Raises:
        UsageError: the data cannot be read, or the batch does not fit it.
    """
    batch = config.batch
    # First of all, since it costs nothing: does the batch divide?
    row_packing.accumulation(
        total_batch_size=batch.total_batch_size,
        device_batch_size=batch.device_batch_size,
        max_seq_len=batch.max_seq_len,
        world_size=config.runtime.gpus,
    )
    # Not yet cut to a row: what is longer is counted.
    limit = config.data.max_tokens
    training = token_lengths(tasks.build_mixture(settings), tokenizer, limit, on_progress)
    held_out = token_lengths(
        tasks.load_validation(settings, None), tokenizer, limit, lambda done, total: None
    )
    plan = row_packing.plan_rows(
        training,
        world_size=config.runtime.gpus,
        device_batch_size=batch.device_batch_size,
        max_seq_len=batch.max_seq_len,
        total_batch_size=batch.total_batch_size,
        num_iterations=batch.num_iterations,
        num_epochs=batch.num_epochs,
        compat=batch.compat,
    )
    validation = row_packing.plan_validation(
        held_out,
        world_size=config.runtime.gpus,
        device_batch_size=batch.device_batch_size,
        max_seq_len=batch.max_seq_len,
        eval_tokens=config.eval.eval_tokens,
        compat=batch.compat,
    )
    return plan, validation


def token_lengths(
    mixture: Mixture,
    tokenizer: ChatTokenizer,
    max_tokens: int,
    on_progress: Callable[[int, int], object],
) -> list[int]:
    """Tokens of every row of a mixture, cut at `max_tokens`; a repeated row is counted once."""
    known: dict[tuple[int, int], int] = {}
    found = []
    for number, place in enumerate(mixture.places):
        if place not in known:
            row = render_conversation(tokenizer, mixture.conversation(number), max_tokens)
            known[place] = len(row.ids)
        found.append(known[place])
        if number % SAY_EVERY == SAY_EVERY - 1:
            on_progress(number + 1, len(mixture))
    return found


def notes(config: RunConfig, plan: RowPlan) -> list[str]:
    """What a person should know of the packed rows, and what "sound" does differently."""
    batch = config.batch
    places = batch.max_seq_len + 1
    cut = f"{plan.too_long:,} of {plan.num_rows:,} conversations are longer than a row of {places}"
    found = []
    if batch.compat == "nanochat":
        found.append(
            "compat nanochat: steps, progress and rates are counted exactly as nanochat counts "
            "them, its faults included"
        )
        if plan.too_long:
            found.append(f"{cut} tokens and are never trained on, as in nanochat")
        if plan.ranks_differ:
            found.append(
                "in nanochat every rank of this run would use another rate, and its small "
                "parameters would drift apart (its PR 857): that is not reproduced, all ranks "
                "use the mean"
            )
        return found
    found.append(
        "compat sound: unlike nanochat, an iteration is an update and not a micro-batch, all "
        "ranks use one rate, which never falls below final_lr_frac, and rates taken from the "
        "base carry its batch factor"
    )
    if plan.too_long:
        found.append(f"{cut} tokens and are cut to it (nanochat never trains on them)")
    return found
