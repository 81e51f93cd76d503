"""Short answers to a few prompts while a run trains.

Greedy and bounded, since all ranks wait: no random number is drawn, and no weight or
gradient is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from engine.conversations.conversation import Conversation
from engine.events import SampleGenerated
from engine.model.family import Decoder, RunTokenizer
from engine.model.generate import Dialogue, Sampling, text_of

MOST_TOKENS = 64
MOST_SECONDS = 20.0
"""For all prompts together: the other ranks wait in a collective, which gives up after 120."""

DEFAULT_PROMPTS = 3
LONGEST_DEFAULT = 300
"""Characters of a prompt that nobody chose: it has to be read beside its answer."""
_ALIKE = 12
"""Two default prompts never begin with the same so many characters."""


class Rows(Protocol):
    """Rows that a prompt can be taken from."""

    def __len__(self) -> int: ...

    def conversation(self, index: int, /) -> Conversation: ...


def default_prompts(rows: Rows) -> tuple[str, ...]:
    """First user messages of the first rows: short ones that begin differently."""
    found: dict[str, str] = {}
    for index in range(len(rows)):
        said = rows.conversation(index).messages
        asked = next((m.content for m in said if m.role == "user"), "")  # "": a plain text
        if isinstance(asked, str) and asked.strip() and len(asked) <= LONGEST_DEFAULT:
            found.setdefault(asked[:_ALIKE], asked)
        if len(found) == DEFAULT_PROMPTS:
            break
    return tuple(found.values())


def answers(
    model: Decoder,
    tokenizer: RunTokenizer,
    prompts: Sequence[str],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[SampleGenerated]:
    """One answer a prompt, each in a conversation of its own. The caller sets up autocast.

    Raises:
        UsageError: a prompt does not fit, or the weights are broken.
    """
    started = clock()
    for index, prompt in enumerate(prompts):
        # A slow model cuts answers short; the time is shared out, so that none is left out.
        until = started + MOST_SECONDS * (index + 1) / len(prompts)
        reply = Dialogue(model, tokenizer, Sampling(max_tokens=MOST_TOKENS)).reply(prompt)
        late = False
        for _ in reply:
            if clock() >= until:
                late = True
                reply.close()
        yield SampleGenerated(
            prompt=prompt,
            text=text_of(tokenizer, reply.ids),
            stopped_by="time" if late else reply.stopped_by or "",
        )
