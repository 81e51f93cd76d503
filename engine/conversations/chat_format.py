"""Render a conversation to token ids and a loss mask.

Only what the assistant says carries loss, and not where its row says that it shall not.
The mask is aligned with the ids and *not* yet shifted: entry t says whether token t was
spoken by the assistant and is a target.
`dataloader` does the shift, once, for every caller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.conversations.conversation import Conversation, Message, Part, RowFault
from engine.errors import DataError

ENDS = ("<|assistant_end|>", "<|bos|>")
"""What ends an answer of nanochat's models."""

MAX_TOKENS = 2048
"""Where nanochat cuts a rendered conversation; no end token is put back."""


class ChatTokenizer(Protocol):
    """What rendering needs of a tokenizer."""

    def encode_ordinary(self, text: str, /) -> list[int]: ...

    def special(self, name: str, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Rendered:
    ids: list[int]
    mask: list[int]
    """1 where the token is supervised; as long as `ids`."""
    num_dropped: int = 0
    """Tokens cut off at the end."""


class OwnFormat(ABC):
    """A tokenizer that brings its own way to write conversations (a chat template)."""

    @property
    @abstractmethod
    def pad_id(self) -> int:
        """Fills a row on the right; never a target."""

    @property
    @abstractmethod
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, control tokens by their names."""

    @abstractmethod
    def prompt(self, said: Sequence[Message]) -> list[int]:
        """Ids of what was said, the user last, up to where an answer begins."""

    @abstractmethod
    def render(self, conversation: Conversation, max_tokens: int) -> Rendered:
        """See `render_conversation`."""

    @abstractmethod
    def for_completion(self, conversation: Conversation, max_tokens: int) -> list[int]:
        """See `render_for_completion`."""

    @abstractmethod
    def letter(self, letter: str) -> int:
        """See `letter_id`."""


def render_conversation(
    tokenizer: ChatTokenizer, conversation: Conversation, max_tokens: int = MAX_TOKENS
) -> Rendered:
    """Ids and mask of a whole conversation, cut to the first `max_tokens`.

    A leading system message is put before the first user text with an empty
    line between. Text is encoded as ordinary text, so `<|bos|>` written by a
    user never becomes the special token. All this is nanochat's way; a tokenizer with a chat
    template has its own.

    Raises:
        RowFault: a chat template refuses the conversation.
    """
    if isinstance(tokenizer, OwnFormat):
        return tokenizer.render(conversation, max_tokens)
    ids = [tokenizer.special("<|bos|>")]
    mask = [0]
    _refuse_tools(conversation)

    def add(tokens: Sequence[int], supervised: int) -> None:
        ids.extend(tokens)
        mask.extend([supervised] * len(tokens))

    for message in _merge_system(conversation.messages):
        if message.role == "text":  # as in pretraining: nothing but the token that begins a text
            add(tokenizer.encode_ordinary(_plain(message)), int(message.trained))
        elif message.role == "user":
            add([tokenizer.special("<|user_start|>")], 0)
            add(tokenizer.encode_ordinary(_plain(message)), 0)
            add([tokenizer.special("<|user_end|>")], 0)
        else:
            add([tokenizer.special("<|assistant_start|>")], 0)
            spoken = int(message.trained)
            for part in _parts(message):
                # Every part is encoded alone: no token may span what the model
                # says and what the calculator answers.
                tokens = tokenizer.encode_ordinary(part.text)
                match part.kind:
                    case "text":
                        add(tokens, spoken)
                    case "python":
                        add([tokenizer.special("<|python_start|>")], spoken)
                        add(tokens, spoken)
                        add([tokenizer.special("<|python_end|>")], spoken)
                    case "python_output":  # forced by the calculator, not spoken
                        add([tokenizer.special("<|output_start|>")], 0)
                        add(tokens, 0)
                        add([tokenizer.special("<|output_end|>")], 0)
            add([tokenizer.special("<|assistant_end|>")], spoken)
    return Rendered(ids[:max_tokens], mask[:max_tokens], max(0, len(ids) - max_tokens))


def render_for_completion(
    tokenizer: ChatTokenizer, conversation: Conversation, max_tokens: int = MAX_TOKENS
) -> list[int]:
    """Ids of a prompt: the last message dropped, the assistant's start token added.

    Raises:
        ValueError: the last message is not the assistant's.
    """
    if conversation.messages[-1].role != "assistant":
        raise ValueError("the last message must be the assistant's")
    if isinstance(tokenizer, OwnFormat):
        return tokenizer.for_completion(conversation, max_tokens)
    asked = Conversation(conversation.messages[:-1])
    ids = render_conversation(tokenizer, asked, max_tokens).ids
    return [*ids, tokenizer.special("<|assistant_start|>")]


def check_ids(ids: Sequence[int], vocab_size: int, what: str) -> None:
    """Refuse a token id that the model's embedding has no row for, naming where it came from.

    Inside the model it is an index error without a row, or on a GPU an assertion of the
    device that takes the process with it.

    Raises:
        DataError: naming `what` and the id.
    """
    most = max(ids, default=0)
    if most >= vocab_size:
        raise DataError(
            f"{what} holds the token id {most:,}; the model knows ids below {vocab_size:,}. The "
            "tokenizer is not the one that this model was trained with."
        )


def pad_id(tokenizer: ChatTokenizer, name: str) -> int:
    """The token that fills rows on the right, read by nobody and never a target: the one called
    `name`, or a chat template's own."""
    if isinstance(tokenizer, OwnFormat):
        return tokenizer.pad_id
    return tokenizer.special(name)


def end_ids(tokenizer: ChatTokenizer) -> frozenset[int]:
    """Tokens that end an answer."""
    if isinstance(tokenizer, OwnFormat):
        return tokenizer.stop_ids
    return frozenset(map(tokenizer.special, ENDS))


def letter_ids(tokenizer: ChatTokenizer, letter: str) -> list[int]:
    """Tokens of an answer that is one letter: one, or it cannot be asked for by its logit."""
    if isinstance(tokenizer, OwnFormat):
        return [tokenizer.letter(letter)]
    return tokenizer.encode_ordinary(letter)


def render_user_turn(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """Ids of one more user message, up to where the assistant speaks; `<|bos|>` comes before the
    first only."""
    return [
        tokenizer.special("<|user_start|>"),
        *tokenizer.encode_ordinary(text),
        tokenizer.special("<|user_end|>"),
        tokenizer.special("<|assistant_start|>"),
    ]


def _refuse_tools(conversation: Conversation) -> None:
    """nanochat's format has no place for them.

    Raises:
        RowFault: the row has tools, calls of them or results.
    """
    said = conversation.messages
    if conversation.tools or any(m.role == "tool" or "tool_calls" in m.extra for m in said):
        raise RowFault(
            "the row has tools or calls of them, which nanochat's format cannot write; expected "
            "plain messages. Take a model with a chat template (--model DIR), or leave the row out"
        )


def _merge_system(messages: Sequence[Message]) -> Sequence[Message]:
    if messages[0].role != "system":
        return messages
    system, user = messages[0], messages[1]
    return [Message("user", f"{_plain(system)}\n\n{_plain(user)}"), *messages[2:]]


def _plain(message: Message) -> str:
    assert isinstance(message.content, str)  # `parse_messages` gives parts to the assistant only
    return message.content


def _parts(message: Message) -> Sequence[Part]:
    if isinstance(message.content, str):
        return [Part("text", message.content)]
    return message.content
