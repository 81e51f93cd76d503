"""Conversations to token ids and loss masks."""

from __future__ import annotations

import pytest

from engine.conversations.chat_format import render_conversation, render_for_completion
from engine.conversations.conversation import RowFault, parse_messages
from tests.conftest import needs_shared
from tests.engine.small import BYTES

TALK = parse_messages(
    [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "T"},
                {"type": "python", "text": "P"},
                {"type": "python_output", "text": "O"},
            ],
        },
    ]
)


def test_only_what_the_assistant_says_is_supervised() -> None:
    """The prompt, and what the calculator answers, carry no loss; the end token does."""
    found = render_conversation(BYTES, TALK)
    text = [BYTES.decode([token]) for token in found.ids]

    assert "".join(text) == (
        "<|bos|><|user_start|>S\n\nU<|user_end|><|assistant_start|>T"
        "<|python_start|>P<|python_end|><|output_start|>O<|output_end|><|assistant_end|>"
    )
    spoken = [piece for piece, mask in zip(text, found.mask, strict=True) if mask]
    assert spoken == ["T", "<|python_start|>", "P", "<|python_end|>", "<|assistant_end|>"]


def test_special_tokens_in_a_text_are_plain_characters() -> None:
    """A user who types `<|bos|>` cannot put the special token into the row."""
    plain = parse_messages([{"role": "user", "content": "<|bos|>"}])

    assert render_conversation(BYTES, plain).ids.count(BYTES.special("<|bos|>")) == 1


def test_reasoning_beside_an_answer_is_not_lost_without_a_word() -> None:
    """nanochat's format has no place for it; an empty one is none."""
    answer = {"role": "assistant", "content": "A", "reasoning_content": "because"}
    asked = {"role": "user", "content": "U"}
    with pytest.raises(RowFault, match="message 2 holds reasoning"):
        render_conversation(BYTES, parse_messages([asked, answer]))
    assert render_conversation(BYTES, parse_messages([asked, answer | {"reasoning_content": ""}]))


def test_a_long_row_is_cut_and_the_loss_counted() -> None:
    """The first tokens are kept, no end token is put back, and the cut is known."""
    whole = render_conversation(BYTES, TALK)
    cut = render_conversation(BYTES, TALK, max_tokens=5)

    assert (cut.ids, cut.mask) == (whole.ids[:5], whole.mask[:5])
    assert (whole.num_dropped, cut.num_dropped) == (0, len(whole.ids) - 5)


def test_a_completion_prompt_ends_where_the_assistant_starts() -> None:
    """The last answer is dropped and its start token added, after the cut."""
    whole = render_conversation(BYTES, TALK).ids
    start = BYTES.special("<|assistant_start|>")

    prompt = render_for_completion(BYTES, TALK)

    assert prompt == whole[: whole.index(start) + 1]
    assert render_for_completion(BYTES, TALK, max_tokens=3) == [*whole[:3], start]


def test_nothing_is_completed_without_an_answer_to_drop() -> None:
    """A conversation that ends with the user is refused."""
    with pytest.raises(ValueError, match="assistant"):
        render_for_completion(BYTES, parse_messages([{"role": "user", "content": "U"}]))


@needs_shared
def test_ids_and_masks_are_nanochats() -> None:
    """26 conversations, odd ones among them, render exactly as nanochat rendered them."""
    from tests.engine.nanochat_reference import reference, tokenizer

    expected = reference("render_and_eval_mid.json")["conversations"]
    assert len(expected) == 26
    for case in expected:
        conversation = parse_messages(case["conversation"]["messages"])

        found = render_conversation(tokenizer(), conversation)

        assert (found.ids, found.mask) == (case["ids"], case["mask"]), case["what"]
        assert len(found.ids) == case["n"]
