"""Let a model answer: one token after another, each from all that came before.

The tokens already seen stay in a cache, so a token costs one token's work. The
numbers are those of a full forward pass within rounding, and greedy answers are
the same tokens. Where the model calls its calculator, the result is put into the
answer, as it was in the rows it was trained on.
"""

# V vocabulary.

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.conversations.chat_format import check_ids, format_of
from engine.conversations.conversation import Message, RowFault
from engine.conversations.tokenizer import (
    OUTPUT_END,
    OUTPUT_START,
    PYTHON_END,
    PYTHON_START,
)
from engine.errors import CheckpointError, UsageError
from engine.model.calculator_calls import calls_of
from engine.model.family import Decoder, RunTokenizer

StoppedBy = Literal["assistant_end", "bos", "max_tokens", "positions", "interrupt"]
"""What ended a reply: the model itself (two ways), the limit asked for, the last position the
rotary tables have, or the reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.0
    """0 takes the likeliest; otherwise logits are divided by it."""
    top_k: int = 0
    """Choose among so many likeliest only; 0 among all."""
    max_tokens: int = 512
    seed: int = 42

    def check(self) -> Sampling:
        """Itself.

        Raises:
            UsageError: a value out of range.
        """
        found = []
        if not 0 <= self.temperature < float("inf"):
            found.append(f"temperature is {self.temperature:g}; expected 0 or a positive number")
        if self.top_k < 0:
            found.append(f"top_k is {self.top_k}; expected 0 (all tokens) or a positive number")
        if self.max_tokens < 1:
            found.append(f"max_tokens is {self.max_tokens}; expected at least 1")
        if found:
            raise UsageError("; ".join(found) + ".")
        return self


class Dialogue:
    """A conversation with a model: what was said so far, as tokens, and the model's cache of it."""

    def __init__(self, model: Decoder, tokenizer: RunTokenizer, sampling: Sampling) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.sampling = sampling
        # On the CPU whatever the device: the same seed draws the same numbers everywhere.
        self._random = torch.Generator().manual_seed(sampling.seed)
        self._format = format_of(tokenizer)
        self._ends = self._format.ends()
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.ids = list(self._format.begin)
        self._said: list[Message] = []
        """What was said so far, for a format that writes earlier turns anew."""
        self._cache = self.model.new_cache()

    def reply(self, text: str) -> Reply:
        """Say `text`, and get the answer by iterating.

        Raises:
            UsageError: there is no position left for an answer, or the tokenizer is another
                model's; nothing was said.
        """
        turn = self._turn(text)
        check_ids(turn, self.model.config.vocab_size, "the prompt")
        most, wanted = self.model.config.max_positions, len(self.ids) + len(turn)
        if wanted > most:
            earlier = len(self.ids) - len(self._format.begin)
            advice = "Begin a new conversation." if earlier else "Shorten it."
            so_far = f" after {earlier:,} of the conversation so far" if earlier else ""
            raise UsageError(
                f"the prompt is {len(turn):,} tokens{so_far}; this model has positions for "
                f"{most:,}. {advice}"
            )
        self.ids += turn
        self._said.append(Message("user", text))
        return Reply(self)

    def _turn(self, text: str) -> list[int]:
        """Ids of a question, up to where the answer begins."""
        try:
            kept, turn = self._format.question(self.ids, self._said, text)
        except RowFault as fault:
            raise UsageError(f"the prompt cannot be put: {fault}.") from None
        if kept < len(self.ids):
            self.ids = self.ids[:kept]
            self._cache = self.model.new_cache()
        return turn

    def _next(self) -> int:
        """The token that follows what was said.

        Raises:
            CheckpointError: the logits are no numbers.
        """
        device = self.model.head_weight.device
        new = torch.tensor([self.ids[self._cache.length :]], device=device)
        with torch.no_grad():
            hidden = self.model(new, cache=self._cache)[:, -1]
            with torch.autocast(device.type, enabled=False):
                logits = self.model.logits(hidden.float())[0]
        # A vocabulary may be padded: what stands for nothing is never said.
        return choose(logits[: self.tokenizer.vocab_size], self.sampling, self._random)


class Reply:
    """Ids of an answer as they come; `stopped_by` afterwards.

    Whoever stops iterating calls `close`: the conversation goes on from there.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self.ids: list[int] = []
        """Without the token that ended it."""
        self.stopped_by: StoppedBy | None = None
        self._dialogue = dialogue
        self._calls = calls_of(dialogue.tokenizer)

    def __iter__(self) -> Iterator[int]:
        said = self._dialogue.ids
        while self.stopped_by is None:
            if len(said) > self._dialogue.model.config.max_positions:
                # The newest token has no position: nothing can follow it.
                self._end("positions")
                return
            if len(self.ids) >= self._dialogue.sampling.max_tokens:
                self._end("max_tokens")
                return
            token = self._dialogue._next()
            if ended := self._dialogue._ends.get(token):
                self._end(ended)
                return
            new = [token, *(self._calls.feed(token) if self._calls else ())]
            said += new
            self.ids += new
            yield from new

    def close(self) -> None:
        """No more is wanted."""
        if self.stopped_by is None:
            self._end("interrupt")

    def _end(self, by: StoppedBy) -> None:
        self.stopped_by = by
        written = text_of(self._dialogue.tokenizer, self.ids)
        self._dialogue._said.append(Message("assistant", written))
        self._dialogue.ids += self._dialogue._format.after_answer


def choose(logits: Tensor, sampling: Sampling, random: torch.Generator) -> int:
    """A token by its fp32 logits [V]; the first of equal ones when greedy.

    Raises:
        CheckpointError: a logit is NaN: the weights are broken.
    """
    # Both answers in one copy from the device: a token costs one wait, not two.
    all_finite, best = torch.stack([torch.isfinite(logits).all(), logits.argmax()]).tolist()
    if not all_finite:
        raise CheckpointError(
            "the model answers with numbers that are none (NaN): its weights are broken. Take "
            "an earlier checkpoint."
        )
    if sampling.temperature == 0:
        return int(best)
    logits = logits.cpu()
    chosen = torch.arange(len(logits))
    if 0 < sampling.top_k < len(logits):
        logits, chosen = logits.topk(sampling.top_k)
    weights = torch.softmax(logits.double() / sampling.temperature, dim=-1)
    return int(chosen[torch.multinomial(weights, 1, generator=random)])


class TextStream:
    """Bytes of tokens to text: a character comes when all of its bytes are there.

    A call of the calculator reads `<<12*4=48>>`, as in GSM8K; other special tokens by name.
    """

    def __init__(self, tokenizer: RunTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._written = {
            tokenizer.special(name): text
            for name, text in ((PYTHON_START, "<<"), (PYTHON_END, ""), (OUTPUT_END, ">>"))
        }
        self._called = False
        """A call has ended, and its result may follow."""

    def feed(self, token: int) -> str:
        text = ""
        if self._called:
            self._called = False
            if token == self._tokenizer.special(OUTPUT_START):
                return "="
            text = ">>"
        written = self._written.get(token)
        if written is None:
            return text + self._decoder.decode(self._tokenizer.bytes_of(token))
        self._called = token == self._tokenizer.special(PYTHON_END)
        return text + self._decoder.decode(written.encode())

    def end(self) -> str:
        """What is left: of a character that never became whole U+FFFD, of a call its end."""
        return self._decoder.decode(b"", final=True) + (">>" if self._called else "")


class WholeTextStream:
    """`TextStream` for tokenizers whose tokens are no bytes by themselves: the text so far is
    decoded as a whole, and what it has grown by is given out."""

    def __init__(self, tokenizer: RunTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._given = ""

    def feed(self, token: int) -> str:
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        # A character of which bytes are missing decodes to U+FFFD until they come.
        return "" if text.endswith("\ufffd") else self._grown(text)

    def end(self) -> str:
        return self._grown(self._tokenizer.decode(self._ids))

    def _grown(self, text: str) -> str:
        more, self._given = text[len(self._given) :], text
        return more


def text_stream(tokenizer: RunTokenizer) -> TextStream | WholeTextStream:
    """What turns the tokens of an answer into text as they come."""
    calls = format_of(tokenizer).calls_calculator
    return TextStream(tokenizer) if calls else WholeTextStream(tokenizer)


def text_of(tokenizer: RunTokenizer, ids: Sequence[int]) -> str:
    """All of it at once."""
    stream = text_stream(tokenizer)
    return "".join([*map(stream.feed, ids), stream.end()])
