"""Layout: where the rows of a step lie in memory. It never changes the loss.

A *document* is one row at one place of the step; its token weights are fixed by
the plan, and attention does not cross documents. So rows may be packed together,
or put on another rank, as speed likes. Plain lists in, plain lists out.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Literal

Layout = Literal["padded", "packed"]

CPU_MAX_TOKENS = 1000
"""Micro-batches of about this size are the fastest on a CPU: larger ones leave the cache."""


def padded_layout(micro_batches: Sequence[Sequence[int]], world_size: int) -> list[list[list[int]]]:
    """Documents by rank and micro-step: each of the plan's micro-batches as it is.

    They are dealt out in turn, which gives every micro-batch to the rank that
    nanochat gives it to when `world_size` is the plan's.
    """
    ranks: list[list[list[int]]] = [[] for _ in range(world_size)]
    for place, documents in enumerate(micro_batches):
        ranks[place % world_size].append(list(documents))
    return ranks


def packed_layout(
    lengths: Sequence[int], world_size: int, max_tokens: int
) -> list[list[list[int]]]:
    """Documents by rank and micro-step, the ranks' tokens balanced and the micro-steps full.

    `lengths` are the documents' tokens. A micro-step holds at most `max_tokens`,
    or one single longer document. Longest first both times, each to the rank
    with the fewest tokens and to the first micro-step with room; ties go by
    number, so every rank works out the same layout without talking.
    """
    longest_first = sorted(range(len(lengths)), key=lambda document: -lengths[document])
    loads = [(0, rank) for rank in range(world_size)]
    shares: list[list[int]] = [[] for _ in range(world_size)]
    for document in longest_first:
        tokens, rank = heapq.heappop(loads)
        shares[rank].append(document)
        heapq.heappush(loads, (tokens + lengths[document], rank))
    return [_first_fit(share, lengths, max_tokens) for share in shares]


def _first_fit(share: Sequence[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Bins of documents; `share` comes longest first."""
    bins: list[list[int]] = []
    room: list[int] = []
    for document in share:
        length = lengths[document]
        fitting = next((number for number, left in enumerate(room) if length <= left), None)
        if fitting is None:
            bins.append([document])
            room.append(max_tokens - length)
        else:
            bins[fitting].append(document)
            room[fitting] -= length
    return bins
