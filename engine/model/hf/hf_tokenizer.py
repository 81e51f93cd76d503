"""A Hugging Face tokenizer and its chat template: conversations to ids and a loss mask.

The template is the tokenizer's own. Which of its tokens carry loss is found in one of two
ways. A template with `{% generation %}` says so itself. For any other, each answer is found
by rendering the conversation up to it: what an answer adds to its prompt is what the model
has to say. That works only where the rendering of a longer conversation begins with that of
a shorter one, which is checked for every row and every answer.

Files are read with `tokenizers` and `jinja2`, the libraries below transformers: importing that
takes seconds and torch with it, and the launcher needs a tokenizer at once. The ranks, which
load the model with transformers anyway, compare a row (`same_as_transformers`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.conversations.chat_format import OwnFormat, Rendered
from engine.conversations.conversation import Conversation, Message, RowFault
from engine.conversations.tool_words import REASONING
from engine.errors import CheckpointError
from engine.files import checked
from engine.model.hf import template, template_trial, tokenizer_trial
from engine.model.hf.inner_tokenizer import InnerTokenizer
from engine.model.hf.template import Place
from engine.model.hf.template_chat import Chat, as_message, plain, said
from engine.model.hf.tokenizer_files import (
    CONFIG,
    MAX_FILE_BYTES,
    SPECIAL_MAP,
    TOKENIZER,
    chat_template,
    named_tokens,
    read_table,
    read_text,
)

INSTALL = 'pip install "sftui[hf]"'
FORMAT = "hf"
"""Of a tokenizer file in a run directory."""


MOST_MESSAGES = 1000
"""Of a conversation: its answers are found by rendering it up to each of them."""
MOST_CHARACTERS = 2_000_000
"""Of all texts of a row: half a kilobyte of memory each while it is made into tokens."""


def _refuse_endless(messages: Sequence[Message]) -> None:
    """Refuse a row that would take minutes or gigabytes, of which some thousand tokens are used.

    Raises:
        RowFault: saying what was found and what was expected.
    """
    if len(messages) > MOST_MESSAGES:
        raise RowFault(f"{len(messages):,} messages; expected at most {MOST_MESSAGES:,}. Split it")
    size = sum(len(plain(message)) + len(message.extra or "") for message in messages)
    if size > MOST_CHARACTERS:
        raise RowFault(f"{size:,} characters; expected at most {MOST_CHARACTERS:,}. Split it")


class HfTokenizer(OwnFormat):
    """A tokenizer with a chat template, seen as the engine sees tokenizers."""

    def __init__(self, content: Mapping[str, Any], name: str) -> None:
        """`content`: `tokenizer` (the text of tokenizer.json), `named` (tokens by transformers'
        names, such as eos_token), `template`, and `last_answer_only`, with which only the last
        answer of a row carries loss; `name` is for people.

        Raises:
            CheckpointError: a library is missing, or the content is no tokenizer with a template.
        """
        try:
            import jinja2  # noqa: F401, PLC0415  of the extra
            import tokenizers  # noqa: F401, PLC0415  of the extra
        except ImportError as error:
            raise CheckpointError(
                f"{name}: reading its tokenizer needs {error.name}, which is not installed. "
                f"Type: {INSTALL}"
            ) from None
        self.name = name
        self.content = dict(content)
        self.named: dict[str, str] = dict(content["named"])
        self.template = str(content["template"])
        self.last_answer_only = bool(content.get("last_answer_only"))
        text = content["tokenizer"]
        outlined, unbounded = tokenizer_trial.outline(text)
        faults = template_trial.try_out(self.template, outlined)
        if fault := unbounded or faults.tokenizer:
            raise CheckpointError(
                f"{name}: its {TOKENIZER} is not used: {fault}; expected one that splits texts "
                "into words and tokens. Take another model's."
            )
        try:
            self.inner = InnerTokenizer(text, may_panic=bool(outlined))
        except CheckpointError as error:
            raise CheckpointError(f"{name}: {TOKENIZER} cannot be used ({error}).") from None
        if fault := faults.template:
            raise CheckpointError(
                f"{name}: the chat template is not used: {fault}; expected one that writes the "
                "messages. Name another with --chat-template FILE."
            )
        if fault := template.check(self.template):
            raise CheckpointError(f"{name}: the chat template is no Jinja template ({fault}).")

    @classmethod
    def load(
        cls, folder: Path, *, template_file: Path | None = None, last_answer_only: bool = False
    ) -> HfTokenizer:
        """The tokenizer of a model's folder.

        Raises:
            CheckpointError: a file or a library is missing or cannot be used.
        """
        path = folder / TOKENIZER
        if not path.is_file():
            raise CheckpointError(
                f"{folder}: there is no {TOKENIZER}; expected a model's folder as save_pretrained "
                "writes it, with its (fast) tokenizer. Save it once with "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)."
            )
        config = read_table(folder / CONFIG)
        found = {
            "format": FORMAT,
            "tokenizer": read_text(path),
            "named": named_tokens(config, read_table(folder / SPECIAL_MAP)),
            "template": chat_template(folder, config, template_file),
            "last_answer_only": last_answer_only,
        }
        return cls(found, str(folder))

    @classmethod
    def from_json(cls, content: bytes, name: str) -> HfTokenizer:
        """What `save_json` wrote.

        Raises:
            CheckpointError: it is damaged.
        """
        try:
            found = checked.parse_json(content)
            return cls(found, name)
        except (ValueError, TypeError, KeyError):
            raise CheckpointError(f"{name}: is no tokenizer of a run; it is damaged.") from None

    @classmethod
    def read(cls, path: Path) -> HfTokenizer:
        """A run's own file, or a model's folder.

        Raises:
            CheckpointError: missing or damaged.
        """
        if path.is_dir():
            return cls.load(path)
        try:
            return cls.from_json(checked.read_typed(path, MAX_FILE_BYTES), str(path))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}).") from None

    def save_json(self, path: Path) -> None:
        """Keep all of it in one file, for the run directory."""
        path.write_text(self._json, encoding="utf-8")

    @cached_property
    def _json(self) -> str:
        return json.dumps(self.content, sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides how a conversation becomes tokens."""
        return hashlib.sha256(self._json.encode()).hexdigest()

    # What the engine asks of any tokenizer.

    def encode_ordinary(self, text: str, /) -> list[int]:
        """Ids of a text in which nothing is a control token."""
        parts = self._controls.split(text)
        if len(parts) == 1:
            return self._ids(text)
        # A control token spelled in a text is read letter by letter around its first one.
        spelled = self._controls.findall(text)
        ids = self._ids(parts[0])
        for token, after in zip(spelled, parts[1:], strict=True):
            ids += self._ids(token[:1]) + self._ids(token[1:]) + self._ids(after)
        return ids

    def special(self, name: str, /) -> int:
        """Id of a control token.

        Raises:
            KeyError: the tokenizer has no such token.
        """
        found = self.inner.token_to_id(name)
        if found is None:
            raise KeyError(name)
        return int(found)

    def decode(self, ids: Sequence[int]) -> str:
        return self.inner.decode(ids)

    def bytes_of(self, token: int) -> bytes:
        """Of one token alone."""
        return self.decode([token]).encode()

    @property
    def vocab_size(self) -> int:
        """Ids it can give: one more than the largest."""
        return max(self.inner.get_vocab().values()) + 1

    @cached_property
    def pad_id(self) -> int:
        """Fills a row on the right; never a target."""
        for name in ("pad_token", "eos_token"):
            if (found := self._named_id(name)) is not None:
                return found
        return 0

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the end of text, and what the template puts after answers."""
        found = (self._named_id("eos_token"), self._after_answer)
        return frozenset(token for token in found if token is not None)

    def _named_id(self, name: str) -> int | None:
        token = self.named.get(name)
        return None if token is None else self.inner.token_to_id(token)

    # Conversations.

    def render(self, conversation: Conversation, max_tokens: int) -> Rendered:
        """Ids and mask of a whole conversation, cut to the first `max_tokens`.

        The mask covers each answer and the control token that ends it; white space that a
        template puts after that one is nobody's.

        Raises:
            RowFault: the template refuses the conversation, or it does not say which of its
                tokens are answers.
        """
        if conversation.messages[0].role == "text":
            return self._plain_text(conversation.messages[0], max_tokens)
        chat = self._chat(conversation)
        text, marked = self._render(chat)
        self._check_written(chat, text)
        places = self._answers(conversation, chat, text, marked)
        encoded = self.inner.encode(text, add_special_tokens=False)
        length = len(encoded)
        # First: a text that is far too long has more tokens than its row has room for.
        encoded.truncate(max_tokens)
        # A token that lies over the border belongs to the answer: its prompt ends before it.
        mask = template.touched(places, encoded.offsets)
        return Rendered(list(encoded.ids), mask, max(0, length - max_tokens))

    def for_completion(self, conversation: Conversation, max_tokens: int) -> list[int]:
        """Ids of a prompt: the last message dropped, and what comes before an answer added.

        What a template puts at the head of every last answer (an empty thought, say) is
        part of the prompt: the model need not say it.

        Raises:
            ValueError: the last message is not the assistant's.
        """
        if conversation.messages[-1].role != "assistant":
            raise ValueError("the last message must be the assistant's")
        asked = Conversation(conversation.messages[:-1], tools=conversation.tools)
        return self._asked(self._chat(asked))[:max_tokens]

    def prompt(self, said: Sequence[Message]) -> list[int]:
        """Ids of what was said, the user last, up to where an answer begins."""
        return self._asked(self._chat(Conversation(tuple(said))))

    @cached_property
    def letter_note(self) -> str:
        """How letters are asked for, in a few words for people."""
        try:
            blank = self.inner.id_to_token(self.letter("A")) != "A"
        except (RowFault, CheckpointError):
            return "cannot be asked for: the template writes none where an answer begins"
        return "letters with a leading blank" if blank else "letters without a blank"

    def letter(self, letter: str) -> int:
        """The token with which an answer that is one letter begins.

        Raises:
            CheckpointError: the template cuts answers so that there is no such token.
        """
        prompt = self._asked(self._question)
        whole = self._ids(self._text(Chat([*self._question, said("assistant", letter)])))
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            raise CheckpointError(
                f"{self.name}: the tokens of a prompt change when the answer {letter} follows it, "
                "so letters cannot be asked for. Leave out the letter questions (--eval-tasks '')."
            )
        return whole[len(prompt)]

    # Below: how.

    _question = Chat([{"role": "user", "content": "Which one?"}])
    """Never changed."""

    @cached_property
    def _controls(self) -> re.Pattern[str]:
        """Any control token of the tokenizer."""
        added = self.inner.get_added_tokens_decoder().values()
        named = {token.content for token in added if token.special}
        # The longest first: one may begin with another.
        choices = "|".join(re.escape(token) for token in sorted(named, key=len, reverse=True))
        return re.compile(choices or r"(?!)")

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template takes a system message; else it goes before the first question."""
        try:
            self._render(Chat([said("system", "Be brief."), *self._question]), asks=True)
        except RowFault:
            return False
        return True

    @cached_property
    def _lead(self) -> list[int]:
        """Tokens between a prompt and the words of the last answer."""
        prompt = self._ids(self._text(self._question, asks=True))
        one, other = (
            self._ids(self._text(Chat([*self._question, said("assistant", word)]))) for word in "AZ"
        )
        same = _common(one, other)
        return same[len(prompt) :] if same[: len(prompt)] == prompt else []

    def _asked(self, chat: Chat) -> list[int]:
        """Ids of a chat up to where the words of an answer begin."""
        return [*self._ids(self._text(chat, asks=True)), *self._lead]

    @cached_property
    def _after_answer(self) -> int | None:
        """The control token that ends an answer, where the template has one."""
        text = self._text(Chat([*self._question, said("assistant", "A")]))
        place = self._words_of_answer(text, (text.rindex("A"), len(text)))
        found = self._controls.search(text, place[0], place[1])
        return self.special(found.group()) if found else None

    def _chat(self, conversation: Conversation) -> Chat:
        """Messages as a template takes them.

        Raises:
            RowFault: a text holds a control token, which would be obeyed, or it is too long to be
                looked at.
        """
        messages = conversation.messages
        _refuse_endless(messages)
        for number, message in enumerate(messages, start=1):
            for text in (plain(message), message.extra):
                self._refuse_controls(text, f"message {number}")
        self._refuse_controls(conversation.tools, "the tools of the row")
        tools = checked.parse_json(conversation.tools) if conversation.tools else None
        chat = Chat([as_message(message) for message in messages], tools)
        if chat[0]["role"] == "system" and len(chat) > 1 and not self.takes_system:
            system, first = chat[0]["content"], chat[1]["content"]
            chat = Chat([said("user", f"{system}\n\n{first}"), *chat[2:]], tools)
        return chat

    def _refuse_controls(self, text: str, where: str) -> None:
        if found := self._controls.search(text):
            raise RowFault(
                f"{where} holds {found.group()}, a control token of this tokenizer; "
                "inside a text it would begin or end a turn. Expected plain text: write it "
                "another way, or leave the row out"
            )

    def _check_written(self, chat: Chat, text: str) -> None:
        """The template writes the tools, their calls and results, and the last answer's reasoning;
        that of earlier answers many templates leave out on purpose.

        Raises:
            RowFault: it leaves one out without a word, so the model would learn to call what it
                was never told of, or to know what it was never shown.
        """
        if chat.tools and self._text(Chat(chat)) == text:
            raise RowFault(_UNWRITTEN.format("the row describes tools", "tools"))
        for number, message in enumerate(chat, start=1):
            if message["role"] == "tool" and message["content"].strip() not in text:
                raise RowFault(
                    _UNWRITTEN.format(f"message {number} is the result of a tool", "tools")
                )
            if "tool_calls" in message and self._same_without_calls(chat, number, text):
                raise RowFault(_UNWRITTEN.format(f"message {number} calls a tool", "tools"))

        for key in REASONING:
            if (thought := chat[-1].get(key, "").strip()) and thought not in text:
                found = f"message {len(chat)} holds {key}"
                raise RowFault(_UNWRITTEN.format(found, "reasoning"))

    def _same_without_calls(self, chat: Chat, number: int, text: str) -> bool:
        """Whether the text is that of the chat in which message `number` calls nothing."""
        silent = {key: value for key, value in chat[number - 1].items() if key != "tool_calls"}
        try:
            return (
                self._text(Chat([*chat[: number - 1], silent, *chat[number:]], chat.tools)) == text
            )
        except RowFault:
            return False  # the template misses them

    def _plain_text(self, message: Message, max_tokens: int) -> Rendered:
        """A text as it stands, between the tokens that begin and end one; control tokens in it
        are control tokens, since texts that somebody has rendered already hold them."""
        _refuse_endless([message])
        ids = list(self.inner.encode(plain(message), add_special_tokens=True).ids)
        end = self._named_id("eos_token")
        if end is not None and ids[-1:] != [end]:
            ids.append(end)
        mask = [int(message.trained)] * len(ids)
        return Rendered(ids[:max_tokens], mask[:max_tokens], max(0, len(ids) - max_tokens))

    def _render(self, chat: Chat, *, asks: bool = False) -> tuple[str, list[Place]]:
        return template.render(self.template, chat, asks=asks, tools=chat.tools, **self.named)

    def _text(self, chat: Chat, *, asks: bool = False) -> str:
        return self._render(chat, asks=asks)[0]

    def _ids(self, text: str) -> list[int]:
        return list(self.inner.encode(text, add_special_tokens=False).ids)

    def _answers(
        self, conversation: Conversation, chat: Chat, text: str, marked: list[Place]
    ) -> list[Place]:
        """Where in the text the answers stand that carry loss."""
        trained = self._trained(conversation)
        if template.says_answers(self.template):
            if len(marked) == len(trained):
                return [place for place, wanted in zip(marked, trained, strict=True) if wanted]
            if all(trained):
                return marked
            raise RowFault(
                f"the chat template marks {len(marked)} answers of {len(trained)}, so it cannot "
                "be told which of them carry no loss; expected as many"
            )
        numbers = [n for n, message in enumerate(chat) if message["role"] == "assistant"]
        return [
            self._answer(chat, number, text)
            for number, wanted in zip(numbers, trained, strict=True)
            if wanted
        ]

    def _answer(self, chat: Chat, number: int, text: str) -> Place:
        """Where message `number` (from 0) stands: what it adds to its prompt."""
        prompt = self._text(chat.begin(number), asks=True)
        last = number == len(chat) - 1
        upto = text if last else self._text(chat.begin(number + 1))
        if not text.startswith(prompt) or not text.startswith(upto):
            raise RowFault(
                f"the chat template writes the conversation up to message {number + 1} "
                "differently once more messages follow, so it cannot be told which tokens are "
                "that answer; expected a template whose text only grows. Train on the last "
                "answer of each row alone (--last-answer-only), or name a training template "
                "with {% generation %} (--chat-template FILE)"
            )
        return self._words_of_answer(text, (len(prompt), len(upto)))

    def _words_of_answer(self, text: str, place: Place) -> Place:
        """The place without the white space that stands behind the token which ends it."""
        begin, end = place
        ends = [found.end() for found in self._controls.finditer(text, begin, end)]
        stop = ends[-1] if ends and not text[ends[-1] : end].strip() else end
        return begin, stop

    def _trained(self, conversation: Conversation) -> list[bool]:
        """Whether each answer carries loss."""
        trained = [m.trained for m in conversation.messages if m.role == "assistant"]
        if self.last_answer_only:
            trained = [False] * (len(trained) - 1) + trained[-1:]
        return trained


def same_as_transformers(tokenizer: HfTokenizer, other: Any) -> str:
    """Where transformers' tokenizer `other` reads a conversation in another way; "" if nowhere."""
    chat = Chat([said("user", "Hello, 2 worlds!"), said("assistant", "It is 4, sir.\n  Bye.")])
    chats = [chat]
    if tokenizer.takes_system:
        chats.append(Chat([said("system", "Be brief."), *chat]))
    for each in chats:
        ours = tokenizer._text(each)
        theirs = other.apply_chat_template(each, tokenize=False, chat_template=tokenizer.template)
        if ours != theirs:
            return f"the template gives {ours!r} here and {theirs!r} there"
        ids = list(other(ours, add_special_tokens=False)["input_ids"])
        if tokenizer._ids(ours) != ids:
            return f"{ours!r} is {tokenizer._ids(ours)} here and {ids} there"
    return ""


_UNWRITTEN = (
    "{}, and the chat template does not write it, so it would be lost without a word; expected a "
    "template with {}. Name one with --chat-template FILE, or leave the row out"
)


def _common(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """What two rows begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    length = next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
    return list(one[:length])


def described(tokenizer: HfTokenizer) -> dict[str, str]:
    """What a person should know of how rows are written, by a short name."""
    marked = template.says_answers(tokenizer.template)
    return {
        "answers found by": "the template's marks" if marked else "what each adds to its prompt",
        "system message": "the template's"
        if tokenizer.takes_system
        else "put before the first question, the template takes none",
        "letters": tokenizer.letter_note,
    }
