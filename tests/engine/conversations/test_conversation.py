"""Raw rows to conversations."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.conversation import Message, Part, RowFault, parse_gsm8k, parse_messages
from tests.conftest import SHARED, needs_shared

USER = {"role": "user", "content": "hello"}
ASSISTANT = {"role": "assistant", "content": "hi"}
SYSTEM = {"role": "system", "content": "be kind"}


def test_messages_keep_their_text_and_order() -> None:
    """Nothing is stripped or merged when a conversation is read."""
    found = parse_messages([SYSTEM, {"role": "user", "content": " a \n"}, ASSISTANT, USER])

    assert found.messages == (
        Message("system", "be kind"),
        Message("user", " a \n"),
        Message("assistant", "hi"),
        Message("user", "hello"),
    )


def test_assistant_parts_keep_their_kinds() -> None:
    """Text, calculator calls and their results stay apart."""
    parts = [
        {"type": "text", "text": "2+2 is "},
        {"type": "python", "text": "2+2"},
        {"type": "python_output", "text": "4"},
    ]
    found = parse_messages([USER, {"role": "assistant", "content": parts}])

    assert found.messages[1].content == (
        Part("text", "2+2 is "),
        Part("python", "2+2"),
        Part("python_output", "4"),
    )


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (None, '"messages" is nothing'),
        ("hello", '"messages" is a text'),
        ([], "no message"),
        (["hello"], "message 1 is a text"),
        ([SYSTEM], "only a system message"),
        ([ASSISTANT], 'message 1 has role "assistant"; expected "user" (or "system")'),
        ([USER, USER], 'message 2 has role "user"; expected "assistant"'),
        ([USER, SYSTEM], 'message 2 has role "system"; expected "assistant"'),
        ([USER, {**ASSISTANT, "role": "asistant"}], 'role "asistant"; expected "assistant"'),
        ([{"content": "hello"}], "message 1 has no role that is a text"),
        ([{"role": "user"}], "message 1 (user) has nothing as content"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "only text is"),
        ([USER, {"role": "assistant", "content": 3}], "has a number as content"),
        ([USER, {"role": "assistant", "content": [3]}], "message 2, part 1 is a number"),
        (
            [USER, {"role": "assistant", "content": [{"type": "image", "text": ""}]}],
            'part 1 has type "image"; expected text, python or python_output',
        ),
        (
            [USER, {"role": "assistant", "content": [{"type": "text"}]}],
            'part 1 has nothing as "text"',
        ),
    ],
)
def test_a_wrong_row_says_what_and_where(messages: object, words: str) -> None:
    """A fault names the message, what was found and what was expected."""
    with pytest.raises(RowFault) as caught:
        parse_messages(messages)

    assert words in str(caught.value)


def test_a_calculator_call_is_split_at_its_last_equals_sign() -> None:
    """`<<a=b=c>>` computes `a=b` and answers `c`; without a sign the answer is empty."""
    found = parse_gsm8k("q", "x <<1=1=1>>1<<7>>")

    assert found.messages[1].content == (
        Part("text", "x "),
        Part("python", "1=1"),
        Part("python_output", "1"),
        Part("text", "1"),
        Part("python", "7"),
        Part("python_output", ""),
        Part("text", ""),
    )


@pytest.mark.parametrize(("question", "answer"), [(None, "a"), ("q", None), (1, "a"), ("q", [])])
def test_a_word_problem_needs_two_texts(question: object, answer: object) -> None:
    """A question or answer that is no text is refused."""
    with pytest.raises(RowFault, match="expected a text"):
        parse_gsm8k(question, answer)


@needs_shared
def test_the_upstream_form_gives_the_plain_forms_parts() -> None:
    """200 real answers, split here, equal the same answers split beforehand."""
    upstream = (SHARED / "data" / "gsm8k_upstream_form.sample.jsonl").read_text().split("\n")
    plain = (SHARED / "data" / "GSM8K.train.jsonl").read_text().split("\n")
    for raw, wanted in zip(upstream[:200], plain[:200], strict=True):
        row = json.loads(raw)
        found = parse_gsm8k(row["question"], row["answer"])
        assert found == parse_messages(json.loads(wanted)["messages"])


def test_equal_conversations_have_equal_hashes() -> None:
    """The hash depends on roles, texts and parts, and on nothing else."""
    first = parse_messages([USER, ASSISTANT])
    assert first.content_hash() == parse_messages([dict(USER), dict(ASSISTANT)]).content_hash()
    others = [
        parse_messages([USER]),
        parse_messages([USER, {"role": "assistant", "content": "hi "}]),
        parse_messages([USER, {"role": "assistant", "content": [{"type": "text", "text": "hi"}]}]),
    ]
    assert len({conversation.content_hash() for conversation in [first, *others]}) == 4


def test_a_content_that_is_a_list_of_texts_is_their_text() -> None:
    """As of models that take pictures too; of an answer they are the parts that nanochat knows."""
    pieces = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}, "c"]
    for role in ("user", "system"):
        said = [{"role": role, "content": pieces}]
        said += [{"role": "user", "content": "x"}] if role == "system" else []
        assert parse_messages(said).messages[0].content == "a bc"


def test_results_of_tools_stand_between_answers() -> None:
    """And nowhere else; arguments of a call are an object, however the row holds them."""
    call = {"id": "1", "type": "function", "function": {"name": "sky", "arguments": '{"at": 1}'}}
    said = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]
    said += [{"role": "tool", "content": "dry", "tool_call_id": "1"}] * 2
    said += [{"role": "assistant", "content": "no"}]
    found = parse_messages(said, tools=[{"name": "sky", "nothing": None}])
    assert json.loads(found.messages[1].extra)["tool_calls"][0]["function"]["arguments"] == {
        "at": 1
    }
    assert json.loads(found.tools) == [{"name": "sky"}]
    with pytest.raises(RowFault, match='message 2 has role "tool"; expected "assistant"'):
        parse_messages([USER, {"role": "tool", "content": "dry"}])
    assert found.content_hash() != parse_messages(said).content_hash()


@given(st.text("<>=1a", max_size=16))
def test_calls_of_a_calculator_are_those_that_nanochats_pattern_finds(answer: str) -> None:
    found = parse_gsm8k("?", answer).messages[1].content
    assert not isinstance(found, str)
    texts = [part.text for part in found if part.kind == "text"]
    calls = list(re.finditer(r"<<([^>]+)>>", answer))
    assert texts == re.split(r"<<[^>]+>>", answer)
    assert len([part for part in found if part.kind == "python"]) == len(calls)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"tool_calls": "{"}, '"tool_calls" of message 2 hold a text that is no JSON'),
        (
            {"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            "the arguments of a tool call of message 2 hold a text that is no JSON",
        ),
    ],
)
def test_a_text_that_should_be_json_is_told_in_a_sentence(
    row: dict[str, object], told: str
) -> None:
    """It was "whose arguments are that is a text and no JSON"."""
    with pytest.raises(RowFault, match=re.escape(told)):
        parse_messages([USER, {"role": "assistant", "content": None, **row}])
    with pytest.raises(RowFault, match='"tools" of the row hold a text that is no JSON'):
        parse_messages([USER, ASSISTANT], tools="[[")
