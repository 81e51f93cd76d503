"""A Hugging Face tokenizer and its chat template: conversations to ids and a loss mask.

The template is the tokenizer's own. Which of its tokens carry loss is found in one of two
ways. A template with `{% generation %}` says so itself. For any other, each answer is found
by rendering the conversation up to it: what an answer adds to its prompt is what the model
has to say. That works only where the rendering of a longer conversation begins with that of
a shorter one, which is checked for every row and every answer.

Only fast tokenizers will do: the mask needs the place of each token in the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.conversations.chat_format import Rendered
from engine.conversations.conversation import Conversation, Message, RowFault
from engine.errors import CheckpointError

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
INSTALL = 'pip install "sftui[hf]"'
FILES = ("tokenizer.json", "tokenizer_config.json")

Chat = list[dict[str, Any]]
Place = tuple[int, int]
"""Begin and end (not included) in a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What of a rendered text one answer is."""

    place: Place
    trained: bool


class HfTokenizer:
    """A tokenizer of transformers, seen as the engine sees tokenizers."""

    def __init__(self, tokenizer: Any, name: str, *, last_answer_only: bool = False) -> None:
        """`tokenizer`: a fast one, with a chat template; `name` is for people.

        `last_answer_only`: only the last answer of a conversation carries loss, so that only its
        prompt has to be a beginning of the whole.

        Raises:
            CheckpointError: it is a slow tokenizer, or it has no chat template.
        """
        self.inner = tokenizer
        self.name = name
        self.last_answer_only = last_answer_only
        if not getattr(tokenizer, "is_fast", False):
            raise CheckpointError(
                f"{name}: its tokenizer does not say where in a text each token stands; expected "
                "a fast one (a file tokenizer.json). Save it once with "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...) of a recent transformers."
            )
        if not getattr(tokenizer, "chat_template", None):
            raise CheckpointError(
                f"{name}: the tokenizer has no chat template, so there is no telling how a "
                "conversation becomes tokens; expected chat_template.jinja, or chat_template in "
                "tokenizer_config.json. Base models have none: take the instruct model's "
                "tokenizer, or name a template file with --chat-template."
            )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        template: Path | None = None,
        last_answer_only: bool = False,
        trust_remote_code: bool = False,
    ) -> HfTokenizer:
        """The tokenizer of a model's folder; nothing is fetched.

        Raises:
            CheckpointError: transformers is missing, or the folder holds no tokenizer it can read.
        """
        inner = load_inner(folder, trust_remote_code=trust_remote_code)
        if template is not None:
            try:
                inner.chat_template = template.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise CheckpointError(f"{template}: cannot be read ({error}).") from None
        return cls(inner, str(folder), last_answer_only=last_answer_only)

    # What the engine asks of any tokenizer.

    def encode_ordinary(self, text: str, /) -> list[int]:
        """Ids of a text in which nothing is a control token."""
        return list(self.inner.encode(text, add_special_tokens=False, split_special_tokens=True))

    def special(self, name: str, /) -> int:
        """Id of a control token.

        Raises:
            KeyError: the tokenizer has no such token.
        """
        found = self.inner.convert_tokens_to_ids(name)
        if found is None or (found == self.inner.unk_token_id and name != self.inner.unk_token):
            raise KeyError(name)
        return int(found)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.inner.decode(list(ids), skip_special_tokens=False))

    @property
    def vocab_size(self) -> int:
        return len(self.inner)

    @cached_property
    def pad_id(self) -> int:
        """Fills a row on the right; never a target."""
        for found in (self.inner.pad_token_id, self.inner.eos_token_id):
            if found is not None:
                return int(found)
        return 0

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the end of text, and what the template puts after answers."""
        found = {self.inner.eos_token_id, self._after_answer} - {None}
        return frozenset(int(token) for token in found)

    # Conversations.

    def render(self, conversation: Conversation, max_tokens: int) -> Rendered:
        """Ids and mask of a whole conversation, cut to the first `max_tokens`.

        The mask covers each answer and the control token that ends it; white space that a
        template puts after that one is nobody's.

        Raises:
            RowFault: the template refuses the conversation, or it does not say which of its
                tokens are answers.
        """
        chat = self._chat(conversation)
        if self._says_what_it_generates:
            ids, mask = self._by_generation(conversation, chat)
        else:
            ids, mask = self._by_prefixes(conversation, chat)
        return Rendered(ids[:max_tokens], mask[:max_tokens], max(0, len(ids) - max_tokens))

    def for_completion(self, conversation: Conversation, max_tokens: int) -> list[int]:
        """Ids of a prompt: the last message dropped, and what comes before an answer added.

        What a template puts at the head of every last answer (an empty thought, say) is
        part of the prompt: the model need not say it.

        Raises:
            ValueError: the last message is not the assistant's.
        """
        if conversation.messages[-1].role != "assistant":
            raise ValueError("the last message must be the assistant's")
        asked = Conversation(conversation.messages[:-1])
        return self._asked(self._chat(asked))[:max_tokens]

    def user_turn(self, before: Sequence[Message], text: str) -> list[int]:
        """Ids that a further question adds to a conversation, up to where the answer begins."""
        chat = self._chat(Conversation((*before, Message("user", text))))
        return self._asked(chat)

    @cached_property
    def letter_prompt_note(self) -> str:
        """How letters are asked for, in a few words for people."""
        blank = self.inner.convert_ids_to_tokens(self.letter("A")) != "A"
        return "letters with a leading blank" if blank else "letters without a blank"

    def letter(self, letter: str) -> int:
        """The token with which an answer that is one letter begins.

        Raises:
            CheckpointError: the template cuts answers so that there is no such token.
        """
        prompt = self._asked(self._question)
        whole = self._ids(self._text([*self._question, _said("assistant", letter)]))
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            raise CheckpointError(
                f"{self.name}: the tokens of a prompt change when the answer {letter} follows it, "
                "so letters cannot be asked for. Leave out the letter questions (--eval-tasks '')."
            )
        return whole[len(prompt)]

    # Below: how.

    _question: Chat = [{"role": "user", "content": "Which one?"}]  # noqa: RUF012  never changed

    @cached_property
    def _says_what_it_generates(self) -> bool:
        template = self.inner.chat_template
        return isinstance(template, str) and _GENERATION.search(template) is not None

    @cached_property
    def _controls(self) -> re.Pattern[str]:
        """Any control token of the tokenizer."""
        named = [str(token) for token in self.inner.added_tokens_decoder.values() if token.special]
        # The longest first: one may begin with another.
        choices = "|".join(re.escape(token) for token in sorted(named, key=len, reverse=True))
        return re.compile(choices or r"(?!)")

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template takes a system message; else it goes before the first question."""
        try:
            self._apply([_said("system", "Be brief."), *self._question], asks=True)
        except RowFault:
            return False
        return True

    @cached_property
    def _lead(self) -> list[int]:
        """Tokens between a prompt and the words of the last answer."""
        prompt = self._ids(self._text(self._question, asks=True))
        one, other = (
            self._ids(self._text([*self._question, _said("assistant", word)])) for word in "AZ"
        )
        same = _common(one, other)
        return same[len(prompt) :] if same[: len(prompt)] == prompt else []

    def _asked(self, chat: Chat) -> list[int]:
        """Ids of a chat up to where the words of an answer begin."""
        return [*self._ids(self._text(chat, asks=True)), *self._lead]

    @cached_property
    def _after_answer(self) -> int | None:
        """The control token that ends an answer, where the template has one."""
        text = self._text([*self._question, _said("assistant", "A")])
        place = self._words_of_answer(text, (text.rindex("A"), len(text)))
        found = self._controls.search(text, place[0], place[1])
        return self.special(found.group()) if found else None

    def _chat(self, conversation: Conversation) -> Chat:
        """Messages as a template takes them.

        Raises:
            RowFault: a text holds a control token, which would be obeyed.
        """
        chat = [_said(message.role, plain(message)) for message in conversation.messages]
        for number, message in enumerate(chat, start=1):
            found = self._controls.search(message["content"])
            if found:
                raise RowFault(
                    f"message {number} holds {found.group()}, a control token of this tokenizer; "
                    "inside a text it would begin or end a turn. Expected plain text: write it "
                    "another way, or leave the row out"
                )
        if chat[0]["role"] == "system" and len(chat) > 1 and not self.takes_system:
            system, first = chat[0]["content"], chat[1]["content"]
            chat = [_said("user", f"{system}\n\n{first}"), *chat[2:]]
        return chat

    def _apply(self, chat: Chat, *, asks: bool = False) -> str:
        import jinja2  # noqa: PLC0415  only where a template is used

        try:
            found = self.inner.apply_chat_template(chat, tokenize=False, add_generation_prompt=asks)
        except (jinja2.TemplateError, ValueError, TypeError, KeyError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise RowFault(f"the chat template refuses it: {reason}") from None
        return str(found)

    def _text(self, chat: Chat, *, asks: bool = False) -> str:
        return self._apply(chat, asks=asks)

    def _ids(self, text: str) -> list[int]:
        return list(self.inner(text, add_special_tokens=False)["input_ids"])

    def _by_generation(self, conversation: Conversation, chat: Chat) -> tuple[list[int], list[int]]:
        """By the template's own marks."""
        self._apply(chat)  # says what is refused
        found = self.inner.apply_chat_template(
            chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = list(found["input_ids"]), [int(m) for m in found["assistant_masks"]]
        trained = self._trained(conversation)
        if all(trained):
            return ids, mask
        runs = _runs(mask)
        if len(runs) != len(trained):
            raise RowFault(
                f"the chat template marks {len(runs)} answers of {len(trained)}, so it cannot be "
                "told which of them carry no loss; expected as many"
            )
        for (begin, end), wanted in zip(runs, trained, strict=True):
            if not wanted:
                mask[begin:end] = [0] * (end - begin)
        return ids, mask

    def _by_prefixes(self, conversation: Conversation, chat: Chat) -> tuple[list[int], list[int]]:
        """By what each answer adds to its prompt."""
        text = self._text(chat)
        encoded = self.inner(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = list(encoded["input_ids"])
        mask = [0] * len(ids)
        places = [answer.place for answer in self._answers(conversation, chat, text)]
        for index, (begin, end) in enumerate(encoded["offset_mapping"]):
            # A token that lies over the border belongs to the answer: its prompt ends before it.
            if begin < end and any(begin < stop and end > start for start, stop in places):
                mask[index] = 1
        return ids, mask

    def _answers(self, conversation: Conversation, chat: Chat, text: str) -> list[Answer]:
        """The answers that carry loss, with their places in the text."""
        numbers = [n for n, message in enumerate(chat) if message["role"] == "assistant"]
        trained = self._trained(conversation)
        found = []
        for number, wanted in zip(numbers, trained, strict=True):
            if not wanted:
                continue
            prompt = self._text(chat[:number], asks=True)
            last = number == len(chat) - 1
            upto = text if last else self._text(chat[: number + 1])
            if not text.startswith(prompt) or not text.startswith(upto):
                raise RowFault(
                    f"the chat template writes the conversation up to message {number + 1} "
                    "differently once more messages follow, so it cannot be told which tokens "
                    "are that answer; expected a template whose text only grows. Train on the "
                    "last answer of each row alone (--last-answer-only), or name a training "
                    "template with {% generation %} (--chat-template FILE)"
                )
            place = self._words_of_answer(text, (len(prompt), len(upto)))
            found.append(Answer(place=place, trained=True))
        return found

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


def load_inner(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """transformers' tokenizer of a folder; nothing is fetched.

    Raises:
        CheckpointError: transformers is missing, or the folder holds no tokenizer it can read.
    """
    try:
        from transformers import AutoTokenizer  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        raise CheckpointError(
            f"{folder}: reading its tokenizer needs transformers, which is not installed. "
            f"Type: {INSTALL}"
        ) from None
    if not any((folder / name).is_file() for name in FILES):
        raise CheckpointError(
            f"{folder}: there is no tokenizer ({' and '.join(FILES)}); expected a model's folder "
            "as save_pretrained writes it, with its tokenizer."
        )
    try:
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # whatever a tokenizer's own code raises
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{folder}: its tokenizer cannot be read ({reason}).") from None


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


def _said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _common(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """What two rows begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    length = next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
    return list(one[:length])


def _runs(mask: Sequence[int]) -> list[Place]:
    """Stretches of ones."""
    found: list[Place] = []
    for index, value in enumerate(mask):
        if not value:
            continue
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return found


def described_tokenizer(tokenizer: HfTokenizer) -> Mapping[str, str]:
    """What a person should know of how rows are written, by a short name."""
    way = (
        "the template's own marks"
        if tokenizer._says_what_it_generates
        else "what each answer adds to its prompt"
    )
    return {
        "answers found by": way,
        "system message": "the template's"
        if tokenizer.takes_system
        else "put before the first question (the template takes none)",
        "letters": tokenizer.letter_prompt_note,
    }
