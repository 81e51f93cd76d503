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
from typing import Literal, Protocol

from engine.conversations.conversation import Conversation, Message, Part, RowFault
from engine.conversations.tool_words import REASONING
from engine.errors import DataError

MAX_TOKENS = 2048
"""Where nanochat cuts a rendered conversation; no end token is put back."""

EndedBy = Literal["assistant_end", "bos"]
"""Which token of the model's ended an answer."""


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


class ChatFormat(ABC):
    """One way to write conversations as tokens, and to read answers."""

    calls_calculator: bool
    """Whether its models are taught to call one in an answer."""
    refuses_rows: bool
    """Whether it may refuse a conversation that the parser takes and that has no tools."""
    begin: Sequence[int]
    """Ids at the head of a conversation in which nothing was said yet."""
    after_answer: Sequence[int]
    """Ids that close an answer in the conversation, however it ended."""

    @abstractmethod
    def pad(self, name: str) -> int:
        """Fills a row on the right, read by nobody and never a target: the token called `name`,
        or a chat template's own."""

    @abstractmethod
    def ends(self) -> dict[int, EndedBy]:
        """Tokens that end an answer, and what that is called."""

    @abstractmethod
    def render(self, conversation: Conversation, max_tokens: int) -> Rendered:
        """See `render_conversation`."""

    @abstractmethod
    def for_completion(self, conversation: Conversation, max_tokens: int) -> list[int]:
        """See `render_for_completion`."""

    @abstractmethod
    def question(
        self, before: Sequence[int], said: Sequence[Message], text: str
    ) -> tuple[int, list[int]]:
        """How many of the ids `before` still stand when `text` is asked next, and the ids that
        follow these up to where the answer begins. `before` came from `said`.

        Raises:
            RowFault: the format has no way to write it.
        """

    @abstractmethod
    def letter_ids(self, letter: str) -> list[int]:
        """Tokens of an answer that is one letter: one, or it cannot be asked for by its logit."""


class OwnFormat(ChatFormat):
    """A tokenizer that brings its own way to write conversations (a chat template)."""

    calls_calculator = False
    refuses_rows = True
    begin = ()
    after_answer = ()

    @property
    @abstractmethod
    def pad_id(self) -> int:
        """Fills a row on the right; never a target."""

    @property
    @abstractmethod
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    @abstractmethod
    def prompt(self, said: Sequence[Message]) -> list[int]:
        """Ids of what was said, the user last, up to where an answer begins."""

    @abstractmethod
    def letter(self, letter: str) -> int:
        """The one token of an answer that is a letter."""

    def pad(self, name: str) -> int:
        return self.pad_id

    def ends(self) -> dict[int, EndedBy]:
        return dict.fromkeys(self.stop_ids, "assistant_end")

    def question(
        self, before: Sequence[int], said: Sequence[Message], text: str
    ) -> tuple[int, list[int]]:
        whole = self.prompt([*said, Message("user", text)])
        # Where the template writes earlier turns in another way now, all of it is read anew.
        kept = len(before) if whole[: len(before)] == list(before) else 0
        return kept, whole[kept:]

    def letter_ids(self, letter: str) -> list[int]:
        return [self.letter(letter)]


class NanochatFormat(ChatFormat):
    """nanochat's, in both of its generations: every message between two control tokens."""

    calls_calculator = True
    refuses_rows = False

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self.begin = [tokenizer.special("<|bos|>")]
        # In the conversation the assistant has finished, as in training.
        self.after_answer = [tokenizer.special("<|assistant_end|>")]

    def pad(self, name: str) -> int:
        return self._tokenizer.special(name)

    def ends(self) -> dict[int, EndedBy]:
        special = self._tokenizer.special
        return {special("<|assistant_end|>"): "assistant_end", special("<|bos|>"): "bos"}

    def render(self, conversation: Conversation, max_tokens: int) -> Rendered:
        tokenizer = self._tokenizer
        ids = list(self.begin)
        mask = [0]
        _refuse_extras(conversation)

        def add(tokens: Sequence[int], supervised: int) -> None:
            ids.extend(tokens)
            mask.extend([supervised] * len(tokens))

        for message in _merge_system(conversation.messages):
            if message.role == "text":
                # As in pretraining: nothing but the token that begins a text.
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

    def for_completion(self, conversation: Conversation, max_tokens: int) -> list[int]:
        ids = self.render(Conversation(conversation.messages[:-1]), max_tokens).ids
        return [*ids, self._tokenizer.special("<|assistant_start|>")]

    def question(
        self, before: Sequence[int], said: Sequence[Message], text: str
    ) -> tuple[int, list[int]]:
        special = self._tokenizer.special
        words = self._tokenizer.encode_ordinary(text)
        turn = [special("<|user_start|>"), *words, special("<|user_end|>")]
        return len(before), [*turn, special("<|assistant_start|>")]

    def letter_ids(self, letter: str) -> list[int]:
        return self._tokenizer.encode_ordinary(letter)


def format_of(tokenizer: ChatTokenizer) -> ChatFormat:
    """How this tokenizer writes conversations: its own way, or else nanochat's."""
    return tokenizer if isinstance(tokenizer, ChatFormat) else NanochatFormat(tokenizer)


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
    return format_of(tokenizer).render(conversation, max_tokens)


def render_for_completion(
    tokenizer: ChatTokenizer, conversation: Conversation, max_tokens: int = MAX_TOKENS
) -> list[int]:
    """Ids of a prompt: the last message dropped, the assistant's start token added.

    Raises:
        ValueError: the last message is not the assistant's.
    """
    if conversation.messages[-1].role != "assistant":
        raise ValueError("the last message must be the assistant's")
    return format_of(tokenizer).for_completion(conversation, max_tokens)


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


def _refuse_extras(conversation: Conversation) -> None:
    """nanochat's format has no place for tools and reasoning.

    Raises:
        RowFault: the row has tools, calls of them or results, or an answer with reasoning.
    """
    said = conversation.messages
    if conversation.tools or any(m.role == "tool" or "tool_calls" in m.extra for m in said):
        raise RowFault(
            "the row has tools or calls of them, which nanochat's format cannot write; expected "
            "plain messages. Take a model with a chat template (--model DIR), or leave the row out"
        )
    for number, message in enumerate(said, start=1):
        if any(f'"{key}"' in message.extra for key in REASONING):
            raise RowFault(
                f"message {number} holds reasoning beside its content, which nanochat's format "
                "cannot write; expected plain messages. Take a model with a chat template "
                "(--model DIR), or leave the row out"
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
