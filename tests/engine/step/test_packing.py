"""Where documents lie."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.step import packing
from engine.step.packing import packed_layout, padded_layout

LENGTHS = st.lists(st.integers(1, 300), max_size=60)


def test_padded_micro_batches_go_to_the_rank_nanochat_gives_them() -> None:
    """The plan lists ranks in turn, so dealing out in turn keeps every rank's own."""
    rank0, rank1, more0, more1 = [0, 1], [2, 3], [4, 5], [6, 7]

    assert padded_layout([rank0, rank1, more0, more1], 2) == [[rank0, more0], [rank1, more1]]
    assert padded_layout([rank0, rank1, more0, more1], 1) == [[rank0, rank1, more0, more1]]


@given(LENGTHS, st.integers(1, 5), st.integers(1, 400))
def test_every_document_is_packed_once(lengths: list[int], ranks: int, max_tokens: int) -> None:
    """No document is lost or doubled, and none shares a micro-step beyond its room."""
    layout = packed_layout(lengths, ranks, max_tokens)

    assert len(layout) == ranks
    placed = [document for share in layout for micro in share for document in micro]
    assert sorted(placed) == list(range(len(lengths)))
    for micro in (micro for share in layout for micro in share):
        tokens = sum(lengths[document] for document in micro)
        assert tokens <= max_tokens or len(micro) == 1


@given(LENGTHS, st.integers(1, 5))
def test_ranks_get_the_same_tokens_to_within_one_document(lengths: list[int], ranks: int) -> None:
    """No rank waits longer for another than the longest document takes."""
    layout = packed_layout(lengths, ranks, 1000)
    loads = [sum(lengths[d] for micro in share for d in micro) for share in layout]

    assert max(loads) - min(loads) <= max(lengths, default=0)


def test_one_long_document_is_worth_several_short_ones() -> None:
    """Tokens are balanced, not documents."""
    assert packed_layout([8, 4, 4], 2, 1000) == [[[0]], [[1, 2]]]


@given(LENGTHS)
def test_micro_steps_are_more_than_half_full(lengths: list[int]) -> None:
    """Two of a rank's micro-steps never fit into one."""
    (share,) = packed_layout(lengths, 1, 300)
    fill = sorted(sum(lengths[document] for document in micro) for micro in share)

    assert len(fill) < 2 or fill[0] + fill[1] > 300


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60),
    ranks=st.integers(1, 4),
    most=st.integers(20, 600),
)
def test_micro_steps_are_few_and_about_equally_full(
    lengths: list[int], ranks: int, most: int
) -> None:
    """Never more bins than first fit makes; evened out, none is left nearly empty."""
    for share in packing.packed_layout(lengths, ranks, most):
        documents = sorted((d for found in share for d in found), key=lambda d: (-lengths[d], d))
        assert len(share) == len(packing._first_fit(documents, lengths, most))
        sizes = [sum(lengths[d] for d in found) for found in share]
        assert all(
            size <= most or len(found) == 1 for size, found in zip(sizes, share, strict=True)
        )
        if sizes and share != packing._first_fit(documents, lengths, most):
            # Longest first into the emptiest: bins differ by one document at most.
            assert max(sizes) - min(sizes) <= max(lengths[d] for found in share for d in found)


def test_a_nearly_empty_last_micro_step_is_evened_out() -> None:
    """Three rows and a bit: two equal micro-steps, not a full one and a crumb."""
    layout = packing.packed_layout([600, 400, 300, 200], 1, 1000)
    assert [sum([600, 400, 300, 200][d] for d in found) for found in layout[0]] == [800, 700]
