"""Which answers carry loss: what rows say of it is obeyed and counted, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.conversations.chat_format import render_conversation
from engine.conversations.conversation import Conversation, RowFault
from engine.data.dataset import open_rows, parse_row
from engine.step.dataloader import TokenRows
from tests.conftest import examples
from tests.engine.small import BYTES

NO = [("weight", 0), ("weight", 0.0), ("weight", False), ("train", False), ("train", 0)]
NO += [("training", False), ("loss", False), ("loss", 0.0)]
YES = [("weight", 1), ("weight", 1.0), ("train", True), ("training", True), ("loss", True)]
SILENT: list[tuple[str, Any]] = [("weight", None), ("train", None), ("name", "x")]
WRONG: list[tuple[str, Any]] = [
    ("weight", 0.5), ("weight", -1), ("weight", 2), ("weight", "0"), ("weight", float("nan")),
    ("train", "false"), ("train", "true"), ("training", [0]), ("loss", 2.31), ("loss", {}),
    ("loss_scale", 0.0), ("train_detail", [{"begin": 0, "end": 1, "train": False}]),
]  # fmt: skip


def talk(flags: list[tuple[str, Any] | None], on: str = "assistant") -> list[dict[str, Any]]:
    """A conversation with so many answers, each (or each question) with its flag."""
    messages: list[dict[str, Any]] = []
    for number, flag in enumerate(flags):
        pair: list[dict[str, Any]] = [
            {"role": "user", "content": f"q{number}"},
            {"role": "assistant", "content": f"answer {number}"},
        ]
        if flag is not None:
            pair[on == "assistant"][flag[0]] = flag[1]
        messages += pair
    return messages


def parsed(raw: object) -> Conversation:
    found = parse_row(raw)
    assert isinstance(found, Conversation)
    return found


def spoken(conversation: Conversation) -> str:
    """The text that carries loss; the special end token as `.`."""
    rendered = render_conversation(BYTES, conversation)
    ids = [i for i, wanted in zip(rendered.ids, rendered.mask, strict=True) if wanted]
    return BYTES.decode(ids).replace("<|assistant_end|>", ".")


@given(flags=st.lists(st.sampled_from([*NO, *YES, *SILENT, None]), min_size=1, max_size=6))
def test_exactly_the_answers_that_may_carry_loss_do(flags: list[tuple[str, Any] | None]) -> None:
    """The ids are those of the same row without flags; only the mask differs."""
    conversation = parsed({"messages": talk(flags)})
    plain = parsed({"messages": talk([None] * len(flags))})
    wanted = [f"answer {n}." for n, flag in enumerate(flags) if flag not in NO]

    assert spoken(conversation) == "".join(wanted)
    assert render_conversation(BYTES, conversation).ids == render_conversation(BYTES, plain).ids
    # What the loader supervises is the mask, shifted: nothing else turns it into loss.
    row = TokenRows(_One(conversation), BYTES)[0]
    assert row.num_supervised == sum(len(text) for text in wanted)
    # Ids of rows that say nothing stay what they were; others are other rows.
    assert (conversation.content_hash() == plain.content_hash()) == (len(wanted) == len(flags))


class _One:
    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def __len__(self) -> int:
        return 1

    def conversation(self, _index: int, /) -> Conversation:
        return self._conversation

    def source_of(self, _index: int, /) -> str:
        return "one"


@pytest.mark.parametrize("where", ["assistant", "user", "system"])
@pytest.mark.parametrize("flag", WRONG, ids=str)
def test_what_is_not_obeyed_is_refused_by_name(flag: tuple[str, Any], where: str) -> None:
    """A share of a loss, a text, a number that is no flag: on whatever message it stands."""
    messages = talk([None, flag, None], on=where)
    if where == "system":
        messages = [{"role": "system", "content": "s", flag[0]: flag[1]}, *talk([None])]
    number = {"assistant": 4, "user": 3, "system": 1}[where]
    with pytest.raises(RowFault, match=rf'message {number} has "{flag[0]}"'):
        parse_row({"messages": messages})


def test_flags_that_contradict_each_other_are_refused() -> None:
    messages = talk([("weight", 1)])
    messages[1]["train"] = False
    with pytest.raises(RowFault, match=r'both "weight": true and "train": false'):
        parse_row({"messages": messages})


@pytest.mark.parametrize("flag", NO[:4], ids=str)
def test_a_row_that_carries_no_loss_has_none(flag: tuple[str, Any]) -> None:
    """The flag may stand beside the messages and mean all of them."""
    assert spoken(parsed({"messages": talk([None, None]), flag[0]: flag[1]})) == ""
    assert spoken(parsed({"question": "q", "answer": "a", flag[0]: flag[1]})) == ""
    with pytest.raises(RowFault, match=r'the row has "weight": 0\.3'):
        parse_row({"messages": talk([None]), "weight": 0.3})


def test_a_calculator_call_without_loss_is_context_as_well() -> None:
    parts = [
        {"type": "text", "text": "a"},
        {"type": "python", "text": "1+1"},
        {"type": "python_output", "text": "2"},
    ]
    answer = {"role": "assistant", "content": parts, "weight": 0}
    assert spoken(parsed({"messages": [{"role": "user", "content": "q"}, answer]})) == ""


def test_a_parquet_files_weights_are_obeyed(tmp_path: Path) -> None:
    """There a message without a weight has a null, and a whole number may come as 0.0."""
    import pyarrow
    import pyarrow.parquet

    for no, yes in ((0, 1), (0.0, 1.0), (False, True)):
        rows = [{"messages": talk([("weight", no), None, ("weight", yes)])}]
        path = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        assert spoken(parsed(open_rows(path).read(0))) == "answer 1.answer 2."


# ---- << and >> ----------------------------------------------------------------------------------

_CODE = st.text("abc <>=+*;0123456789\n", min_size=1, max_size=30)


@examples(100)
@given(question=_CODE, before=_CODE, inside=_CODE, after=_CODE)
def test_angle_brackets_are_text_outside_of_gsm8k(
    question: str, before: str, inside: str, after: str
) -> None:
    """A row about C++ or shell is rendered to the letter, in prompt and answer."""
    answer = f"{before}<<{inside}>>{after}"
    for raw in (
        {"question": question, "answer": answer},
        {"messages": [
            {"role": "user", "content": question}, {"role": "assistant", "content": answer}
        ]},
    ):  # fmt: skip
        conversation = parsed(raw)
        assert [message.content for message in conversation.messages] == [question, answer]
        assert spoken(conversation) == answer + "."


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("GSM8K", "2 * 3 = <<2*3=6>>6"),
        ("gsm8k.train", "2 * 3 = <<2*3=6>>6"),
        ("school", "2 * 3 = <<2*3=6>>6\n#### 6"),
        ("school", "She has <<1000+24=1024>>1,024 left.\n#### $1,024 "),
    ],
)
def test_gsm8ks_own_rows_call_the_calculator(name: str, answer: str) -> None:
    """The task's by its name, and rows of its form (`#### 6`) under any other."""
    conversation = parse_row({"question": "<<1=1>>", "answer": answer}, subject=name)
    assert isinstance(conversation, Conversation)
    content = conversation.messages[1].content
    assert [part.kind for part in content if not isinstance(part, str)] == [
        "text", "python", "python_output", "text",
    ]  # fmt: skip
    assert conversation.messages[0].content == "<<1=1>>"
