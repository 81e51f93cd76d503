"""Which rows teach anything: a file without one supervised token has no loss and no gradient.

Training on it "finishes" with a loss that is no number and a model that did not change, so it
is refused before anything starts. Only as many rows are rendered as it takes to find one that
teaches, which is the first of any sound file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from engine.conversations.chat_format import ChatTokenizer, render_conversation
from engine.conversations.conversation import Conversation, RowFault
from engine.data.dataset import Item
from engine.errors import DataError

Teaches = Callable[[Conversation], bool]
"""Whether a conversation has a supervised token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Answers of some rows, and what their rows say of them."""

    rows: int = 0
    answers: int = 0
    untrained: int = 0
    """Answers that carry no loss since their row says so (`weight: 0`, `train: false`)."""
    silent_rows: int = 0
    """Rows without any answer that carries loss."""
    unobeyed: int = 0
    """Messages that a row asks to train on and that are no answers."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            rows=self.rows + other.rows,
            answers=self.answers + other.answers,
            untrained=self.untrained + other.untrained,
            silent_rows=self.silent_rows + other.silent_rows,
            unobeyed=self.unobeyed + other.unobeyed,
        )


def tally(items: Sequence[Item]) -> Tally:
    """Count the answers of rows."""
    answers = untrained = silent = unobeyed = 0
    for item in items:
        if not isinstance(item, Conversation):
            answers += 1
            continue
        has, without = item.answers, item.untrained
        answers += has
        untrained += without
        silent += has == without
        unobeyed += item.unobeyed
    return Tally(
        rows=len(items), answers=answers, untrained=untrained, silent_rows=silent, unobeyed=unobeyed
    )


def notes(name: str, found: Tally) -> list[str]:
    """What a person should know of the rows of one source before they are trained on."""
    lines = []
    if found.untrained:
        lines.append(
            f"{found.untrained:,} of {found.answers:,} answers of {name} carry no loss: their rows "
            "say weight 0 or train false"
        )
    if found.silent_rows:
        lines.append(
            f"{found.silent_rows:,} of {found.rows:,} rows of {name} hold no answer to learn from"
        )
    if found.unobeyed:
        lines.append(
            f"{found.unobeyed:,} messages of {name} ask to be trained on (weight 1 or train true) "
            "and are not: only what the assistant says carries loss"
        )
    return lines


def teacher(tokenizer: ChatTokenizer, max_tokens: int) -> Teaches:
    """Whether a conversation has a supervised token once it is rendered and cut."""

    def teaches(conversation: Conversation) -> bool:
        if conversation.untrained == conversation.answers:
            return False
        # The first token is no target: nothing comes before it.
        return any(render_conversation(tokenizer, conversation, max_tokens).mask[1:])

    return teaches


def require(where: str, items: Iterable[Item], teaches: Teaches, *, max_tokens: int) -> None:
    """At least one of the rows has a supervised token. One that a chat template refuses ends the
    search: whoever renders the rows names its file and line.

    Raises:
        DataError: none has; why, as far as it can be told.
    """
    rows = answers = untrained = 0
    for item in items:
        conversation = item if isinstance(item, Conversation) else item.conversation()
        try:
            if teaches(conversation):
                return
        except RowFault:
            return
        rows += 1
        answers += conversation.answers
        untrained += conversation.untrained
    if not answers:
        why = "no row has an answer of the assistant"
    elif untrained == answers:
        why = f"all {answers:,} answers say weight 0 or train false"
    else:
        why = f"every answer lies behind token {max_tokens:,}, where rows are cut (--max-tokens)"
    raise DataError(
        f"{where}: none of its {rows:,} rows has a supervised token ({why}), so there is nothing "
        "to learn from; expected at least one answer that carries loss. Check the file."
    )
