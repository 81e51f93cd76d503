"""What a conversation is, and how a raw row becomes one.

A fault here is about the row only (`RowFault`, a few words); `dataset` knows
the file and the line and puts them in front. Contents are kept as they came:
nothing is stripped, since one blank moved changes the token ids.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.conversations import tool_words
from engine.conversations.row_fault import RowFault as RowFault
from engine.conversations.row_fault import shown

PartKind = Literal["text", "python", "python_output"]
Role = Literal["system", "user", "assistant", "tool", "text"]
"""`text`: a row that is no conversation but a plain text, all of which is learned."""

_FINAL = re.compile(r"(?:^|\n)#### *[-+$]?[\d,.]*\d%?\s*\Z")
"""The last line of every GSM8K answer: `#### 1,024`."""


SPOKEN = ("assistant", "text")
"""Roles whose words are learned."""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of an assistant message; only `python_output` carries no loss."""

    kind: PartKind
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str | tuple[Part, ...]
    """Parts for the assistant only."""
    trained: bool = True
    """False: an answer that is context, not target. Its row says `weight: 0` or `train: false`."""
    wanted: bool = False
    """The row asks to train on a message that is no answer, which is not done here."""
    extra: str = ""
    """JSON of what else a chat template may write of it: `tool_calls`, `name` and so on."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """An optional system message, then user and assistant in turn, the user first; results of
    tools may stand between two answers. Or one plain text."""

    messages: tuple[Message, ...]
    source: str = field(default="", compare=False)
    """What the row says of where it is from; not part of what is trained on, nor of its hash."""
    tools: str = ""
    """JSON of the tools that the row describes, for the chat template; empty for none."""

    @property
    def answers(self) -> int:
        """Messages of the assistant, or the one text."""
        return sum(message.role in SPOKEN for message in self.messages)

    @property
    def untrained(self) -> int:
        """Answers that carry no loss since their row says so."""
        return sum(m.role in SPOKEN and not m.trained for m in self.messages)

    @property
    def unobeyed(self) -> int:
        """Messages that the row asks to train on and that carry no loss: they are no answers."""
        return sum(message.wanted for message in self.messages)

    def content_hash(self) -> str:
        """16 hex digits over roles and contents, and over which answers carry no loss."""
        content: list[list[object]] = []
        for message in self.messages:
            said: object = message.content
            if not isinstance(said, str):
                said = [
                    [part.kind, part.text] for part in message.content if isinstance(part, Part)
                ]
            # Only where it is false: ids of rows without weights stay what they always were.
            content.append([message.role, said] + ([] if message.trained else [False]))
            content[-1] += [message.extra] if message.extra else []
        content += [[self.tools]] if self.tools else []
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def parse_messages(raw: object, *, trained: bool = True, tools: object = None) -> Conversation:
    """Conversation of a list of `{"role", "content"}`.

    An answer with `weight: 0`, or `train`, `training` or `loss` false, is context: it is
    rendered and carries no loss. `trained=False` says so of every answer. `tools`: JSON, or the
    text of it, that describes what the assistant may call.

    Raises:
        RowFault: naming the message (counted from 1) and what was expected there.
    """
    if not isinstance(raw, list):
        raise RowFault(f'"messages" is {_kind(raw)}; expected a list of messages')
    if not raw:
        raise RowFault("there is no message; expected at least one from the user")
    messages: list[Message] = []
    for number, item in enumerate(raw, start=1):
        if not isinstance(item, dict):
            raise RowFault(
                f'message {number} is {_kind(item)}; expected {{"role": ..., "content": ...}}'
            )
        role = _role(item, number, messages)
        loss = says_loss(item, f"message {number}")
        wanted = loss is True and role != "assistant"
        if role == "assistant":
            carries, extra = trained and loss is not False, tool_words.extra_of(item, number)
            content = _assistant_content(item, number, calls=bool(extra))
            messages.append(Message(role, content, carries, extra=extra))
        else:
            text = _text(item, number, role)
            extra = tool_words.extra_of(item, number) if role == "tool" else ""
            messages.append(Message(role, text, wanted=wanted, extra=extra))
    if messages[-1].role == "system":
        raise RowFault('there is only a system message; expected a "user" message after it')
    return Conversation(tuple(messages), tools=tool_words.tools_of(tools))


def _role(item: Mapping[str, object], number: int, before: Sequence[Message]) -> Role:
    """The role of a message, if it may stand there."""
    role = item.get("role")
    last = before[-1].role if before else "system"
    expected: tuple[Role, ...] = ("user",)
    if last == "user":
        expected = ("assistant",)
    elif last == "tool":
        expected = ("assistant", "tool")
    for each in expected:
        if role == each:
            return each
    if role == "system" and number == 1:
        return "system"
    if role == "tool" and last == "assistant":
        return "tool"
    words = f'role "{shown(role)}"' if isinstance(role, str) else "no role that is a text"
    other = ' (or "system")' if number == 1 else ""
    raise RowFault(f'message {number} has {words}; expected "{expected[0]}"{other}')


def plain_text(text: object, *, trained: bool = True) -> Conversation:
    """The conversation that is no conversation: one text, every token of which is learned.

    Raises:
        RowFault: it is no text, or an empty one.
    """
    if not isinstance(text, str) or not text.strip():
        raise RowFault(f'"text" is {_kind(text) if text != "" else "empty"}; expected a text')
    return Conversation((Message("text", text, trained),))


LOSS_KEYS = ("weight", "train", "training", "loss")
"""How a message says whether it carries loss: OpenAI's chat format, axolotl (two), ms-swift."""

OTHER_LOSS_KEYS = ("loss_scale", "loss_weight", "train_detail", "training_detail")
"""Shares of a loss, or parts of a text; known from others, and not obeyed here."""


ROW_LOSS_KEYS = ("weight", "train")
"""The same of a whole row; there `loss` is rather a number that somebody measured."""


_ALL_LOSS_KEYS = frozenset(LOSS_KEYS + OTHER_LOSS_KEYS)


def says_loss(
    item: Mapping[str, object], where: str, keys: Sequence[str] = LOSS_KEYS + OTHER_LOSS_KEYS
) -> bool | None:
    """Whether a message (or a row) says that it carries loss; None when it says nothing.

    0, 0.0 and false are no, 1, 1.0 and true yes; null is as if the key were missing.

    Raises:
        RowFault: another value, keys that contradict each other, or a key that is not obeyed.
    """
    if _ALL_LOSS_KEYS.isdisjoint(item):
        return None
    found: dict[str, bool] = {}
    for key in keys:
        value = item.get(key)
        if value is None:
            continue
        if key in OTHER_LOSS_KEYS:
            raise RowFault(
                f'{where} has "{key}", which is not obeyed here; expected "weight": 0 or 1. '
                "Remove the key, or cut the row accordingly"
            )
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            number = isinstance(value, int | float)
            raise RowFault(
                f'{where} has "{key}": {json.dumps(value, default=str)[:40]}; expected 0 or false '
                "(no loss), or 1 or true"
                + (". Other weights of a loss are not supported" if number else "")
            )
        found[key] = bool(value)
    if len(set(found.values())) > 1:
        said = " and ".join(f'"{key}": {json.dumps(value)}' for key, value in found.items())
        raise RowFault(f"{where} says both {said}; expected one of them")
    return next(iter(found.values()), None)


def parse_pair(question: object, answer: object, *, trained: bool = True) -> Conversation:
    """Conversation of a `{"question", "answer"}` row: texts as they are, `<<` and `>>` too.

    Raises:
        RowFault: one of the two is no text.
    """
    asked, answered = _pair(question, answer)
    return Conversation((Message("user", asked), Message("assistant", answered, trained)))


def is_gsm8k_answer(answer: object) -> bool:
    """Whether an answer is in GSM8K's own form wherever it lies: it ends in `#### 24`."""
    return isinstance(answer, str) and _FINAL.search(answer) is not None


def _calls(answer: str) -> Iterator[tuple[int, int]]:
    """Where calculator calls stand in a GSM8K answer, `<<48/2=24>>` without its signs.

    As `<<([^>]+)>>` finds them, which looks at everything behind each `<<`: of a row of nothing
    else that is quadratic. Until the next `>` all of them end in the same place.
    """
    begin = 0
    while (start := answer.find("<<", begin) + 2) >= 2 and (stop := answer.find(">", start)) >= 0:
        closed = stop > start and answer.startswith(">>", stop)
        if closed:
            yield start, stop
        begin = stop + 1 + closed


def parse_gsm8k(question: object, answer: object) -> Conversation:
    """Conversation of GSM8K's own form, where `<<expression=result>>` marks a calculator call.

    The expression becomes a `python` part and the result, after the last `=`,
    a `python_output` part (empty without `=`). The text between calls stays as
    it is, also when it is empty: the parts then equal nanochat's one by one.
    """
    asked, answered = _pair(question, answer)
    parts: list[Part] = []
    end = 0
    for start, stop in _calls(answered):
        parts.append(Part("text", answered[end : start - 2]))
        expression, equals, result = answered[start:stop].rpartition("=")
        parts.append(Part("python", expression if equals else result))
        parts.append(Part("python_output", result if equals else ""))
        end = stop + 2
    parts.append(Part("text", answered[end:]))
    return Conversation((Message("user", asked), Message("assistant", tuple(parts))))


def _pair(question: object, answer: object) -> tuple[str, str]:
    if not isinstance(question, str):
        raise RowFault(f'"question" is {_kind(question)}; expected a text')
    if not isinstance(answer, str):
        raise RowFault(f'"answer" is {_kind(answer)}; expected a text')
    return question, answer


def _text(item: dict[str, object], number: int, role: str) -> str:
    content = item.get("content")
    if isinstance(content, list):
        return "".join(_text_part(each, number, index) for index, each in enumerate(content, 1))
    if not isinstance(content, str):
        raise RowFault(f"message {number} ({role}) has {_kind(content)} as content; expected text")
    return content


def _text_part(raw: object, number: int, index: int) -> str:
    """One piece of a content that is a list, as of models that take pictures too."""
    if isinstance(raw, str):
        return raw
    kind = raw.get("type") if isinstance(raw, dict) else _kind(raw)
    text = raw.get("text") if isinstance(raw, dict) else None
    if kind not in ("text", None) or not isinstance(text, str):
        raise RowFault(
            f'message {number} has a list as content, and part {index} of it type "{kind}"; '
            'expected {"type": "text", "text": ...}: only text is trained on'
        )
    return text


def _assistant_content(
    item: dict[str, object], number: int, *, calls: bool
) -> str | tuple[Part, ...]:
    content = item.get("content")
    if isinstance(content, str):
        return content
    if content is None and calls:
        return ""
    if not isinstance(content, list):
        raise RowFault(
            f"message {number} (assistant) has {_kind(content)} as content; "
            "expected text or a list of parts"
        )
    parts: list[Part] = []
    for index, raw in enumerate(content, start=1):
        if not isinstance(raw, dict):
            raise RowFault(
                f"message {number}, part {index} is {_kind(raw)}; "
                'expected {"type": ..., "text": ...}'
            )
        kind, text = raw.get("type"), raw.get("text")
        if kind not in ("text", "python", "python_output"):
            raise RowFault(
                f'message {number}, part {index} has type "{kind}"; '
                "expected text, python or python_output"
            )
        if not isinstance(text, str):
            raise RowFault(
                f'message {number}, part {index} has {_kind(text)} as "text"; expected a text'
            )
        parts.append(Part(kind, text))
    return tuple(parts)


def _kind(value: object) -> str:
    """A JSON value's kind in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
