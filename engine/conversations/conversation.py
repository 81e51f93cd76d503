"""What a conversation is, and how a raw row becomes one.

A fault here is about the row only (`RowFault`, a few words); `dataset` knows
the file and the line and puts them in front. Contents are kept as they came:
nothing is stripped, since one blank moved changes the token ids.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal

PartKind = Literal["text", "python", "python_output"]
Role = Literal["system", "user", "assistant"]

_CALL = re.compile(r"<<([^>]+)>>")
"""A calculator call in a GSM8K answer: `<<48/2=24>>`."""


class RowFault(ValueError):
    """What is wrong with one row: what was found and what was expected."""


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


@dataclass(frozen=True, slots=True)
class Conversation:
    """An optional system message, then user and assistant in turn, the user first."""

    messages: tuple[Message, ...]

    def content_hash(self) -> str:
        """16 hex digits over roles and contents."""
        content = [
            [message.role, message.content]
            if isinstance(message.content, str)
            else [message.role, [[part.kind, part.text] for part in message.content]]
            for message in self.messages
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def parse_messages(raw: object) -> Conversation:
    """Conversation of a list of `{"role", "content"}`.

    Raises:
        RowFault: naming the message (counted from 1) and what was expected there.
    """
    if not isinstance(raw, list):
        raise RowFault(f'"messages" is {_kind(raw)}; expected a list of messages')
    if not raw:
        raise RowFault("there is no message; expected at least one from the user")
    messages: list[Message] = []
    expected: Role = "user"
    for number, item in enumerate(raw, start=1):
        if not isinstance(item, dict):
            raise RowFault(
                f'message {number} is {_kind(item)}; expected {{"role": ..., "content": ...}}'
            )
        role = item.get("role")
        if role == "system" and number == 1:
            messages.append(Message("system", _text(item, number, "system")))
            continue
        if role != expected:
            words = f'role "{role}"' if isinstance(role, str) else "no role that is a text"
            other = ' (or "system")' if number == 1 else ""
            raise RowFault(f'message {number} has {words}; expected "{expected}"{other}')
        if expected == "user":
            messages.append(Message("user", _text(item, number, "user")))
            expected = "assistant"
        else:
            messages.append(Message("assistant", _assistant_content(item, number)))
            expected = "user"
    if messages[-1].role == "system":
        raise RowFault('there is only a system message; expected a "user" message after it')
    return Conversation(tuple(messages))


def parse_gsm8k(question: object, answer: object) -> Conversation:
    """Conversation of GSM8K's own form, where `<<expression=result>>` marks a calculator call.

    The expression becomes a `python` part and the result, after the last `=`,
    a `python_output` part (empty without `=`). The text between calls stays as
    it is, also when it is empty: the parts then equal nanochat's one by one.
    """
    if not isinstance(question, str):
        raise RowFault(f'"question" is {_kind(question)}; expected a text')
    if not isinstance(answer, str):
        raise RowFault(f'"answer" is {_kind(answer)}; expected a text')
    parts: list[Part] = []
    end = 0
    for call in _CALL.finditer(answer):
        parts.append(Part("text", answer[end : call.start()]))
        expression, equals, result = call.group(1).rpartition("=")
        parts.append(Part("python", expression if equals else result))
        parts.append(Part("python_output", result if equals else ""))
        end = call.end()
    parts.append(Part("text", answer[end:]))
    return Conversation((Message("user", question), Message("assistant", tuple(parts))))


def _text(item: dict[str, object], number: int, role: str) -> str:
    content = item.get("content")
    if not isinstance(content, str):
        raise RowFault(f"message {number} ({role}) has {_kind(content)} as content; expected text")
    return content


def _assistant_content(item: dict[str, object], number: int) -> str | tuple[Part, ...]:
    content = item.get("content")
    if isinstance(content, str):
        return content
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
