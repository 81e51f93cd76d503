"""Lay the rows of a step out on ranks and micro-steps. The layout never changes the loss.

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
    """Documents by rank and micro-step: each of the plan's micro-batches is one micro-step.

    They are dealt out in turn, which gives every micro-batch to the rank that
    nanochat gives it to when `world_size` is the plan's.
    """
    ranks: list[list[list[int]]] = [[] for _ in range(world_size)]
    for place, documents in enumerate(micro_batches):
        # The plan lists the micro-batches rank by rank within each index: 0, 1, ..., W-1, 0, 1, ...
        ranks[place % world_size].append(list(documents))
    return ranks


def packed_layout(
    lengths: Sequence[int], world_size: int, max_tokens: int
) -> list[list[list[int]]]:
    """Documents by rank and micro-step: equal tokens on the ranks, few and full micro-steps.

    `lengths` are the documents' tokens. A micro-step holds at most `max_tokens`,
    or one single longer document. Longest first both times, each to the rank
    with the fewest tokens and to the first micro-step with room; ties go by
    number, so every rank works out the same layout without talking.
    """
    # Longest first, ties by number: Python's sort is stable.
    longest_first = sorted(range(len(lengths)), key=lambda document: -lengths[document])
    # Heap of (tokens so far, rank). The rank breaks ties, so the result is the same everywhere;
    # a rank that laid a row out elsewhere would leave it out, or train on it twice.
    loads = [(0, rank) for rank in range(world_size)]
    shares: list[list[int]] = [[] for _ in range(world_size)]
    for document in longest_first:
        # Greedy: the rank with the fewest tokens takes the longest document that is left, so two
        # ranks end at most one document's tokens apart.
        tokens, rank = heapq.heappop(loads)
        shares[rank].append(document)
        heapq.heappush(loads, (tokens + lengths[document], rank))
    return [_even(share, lengths, max_tokens) for share in shares]


def _even(share: Sequence[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """As few bins as `_first_fit` needs, and about equally full where that is possible.

    First fit leaves a last bin nearly empty, and a micro-step costs the same few milliseconds
    of weights and gradients however little is in it.
    """
    full = _first_fit(share, lengths, max_tokens)
    bins: list[list[int]] = [[] for _ in full]
    loads = [(0, number) for number in range(len(full))]
    for document in share:
        tokens, number = heapq.heappop(loads)
        if bins[number] and tokens + lengths[document] > max_tokens:
            return full
        bins[number].append(document)
        heapq.heappush(loads, (tokens + lengths[document], number))
    return bins


def _first_fit(share: Sequence[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Documents by micro-step, each filled up to `max_tokens`; `share` comes longest first."""
    bins: list[list[int]] = []
    room: list[int] = []
    for document in share:
        length = lengths[document]
        fitting = next((number for number, left in enumerate(room) if length <= left), None)
        if fitting is None:
            # Also a document longer than `max_tokens`: its room is negative, it stays alone.
            bins.append([document])
            room.append(max_tokens - length)
        else:
            bins[fitting].append(document)
            room[fitting] -= length
    return bins
