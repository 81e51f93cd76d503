"""Where documents lie."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
