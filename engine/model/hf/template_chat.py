"""Messages as a chat template takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.conversations.conversation import Message
from engine.files import checked


class Chat(list[dict[str, Any]]):
    """Messages as a template takes them, and the tools it is told of."""

    def __init__(
        self, messages: Sequence[dict[str, Any]], tools: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(messages)
        self.tools = tools

    def begin(self, count: int) -> Chat:
        """The first messages, with the same tools."""
        return Chat(self[:count], self.tools)


def plain(message: Message) -> str:
    """The text of a message; calls of the calculator as GSM8K writes them."""
    if isinstance(message.content, str):
        return message.content
    words: list[str] = []
    for part in message.content:
        match part.kind:
            case "text":
                words.append(part.text)
            case "python":
                words.append(f"<<{part.text}")
            case "python_output":
                words.append(f"={part.text}>>")
    return "".join(words)


def as_message(message: Message) -> dict[str, Any]:
    """As a template takes it."""
    found = said(message.role, plain(message))
    return found | checked.parse_json(message.extra) if message.extra else found


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
