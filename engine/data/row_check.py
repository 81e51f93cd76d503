"""Look at rows as a chat template writes them, before any process is started."""

from __future__ import annotations

from collections.abc import Sequence

from engine.conversations.chat_format import ChatTokenizer, render_conversation
from engine.conversations.conversation import Conversation, RowFault
from engine.data.dataset import Rows, parse_row
from engine.errors import DataError

MOST_ROWS = 20_000
"""Rows of a file that are looked at: some seconds. The ranks say the same of those behind."""


def check_rows(
    tokenizer: ChatTokenizer, sources: Sequence[tuple[str, Rows]], max_tokens: int
) -> list[str]:
    """Render the rows of named sources; what a person should know of them.

    Raises:
        DataError: the template refuses a row, or does not say which of its tokens are answers;
            file and line of the first such row are named.
    """
    found: list[str] = []
    for name, rows in sources:
        count = min(len(rows), MOST_ROWS)
        cut = silent = 0
        for index in range(count):
            lost, taught = _look_at(tokenizer, rows, index, name, max_tokens)
            cut += lost
            silent += not taught
        if cut:
            found.append(f"{cut:,} of {count:,} rows of {name} lose their end at "
                         f"{max_tokens:,} tokens")  # fmt: skip
        if silent:
            found.append(f"{silent:,} of {count:,} rows of {name} have no supervised token")
    return found


def _look_at(
    tokenizer: ChatTokenizer, rows: Rows, index: int, name: str, max_tokens: int
) -> tuple[bool, bool]:
    """Whether a row is cut, and whether it has a supervised token."""
    try:
        item = parse_row(rows.read(index), subject=name)
    except RowFault:
        return False, True  # said, or skipped, by whoever reads the rows
    conversation = item if isinstance(item, Conversation) else item.conversation()
    try:
        rendered = render_conversation(tokenizer, conversation, max_tokens)
    except RowFault as fault:
        raise DataError(f"{rows.where(index)}: {fault}.") from None
    # The first token is no target: nothing comes before it.
    return bool(rendered.num_dropped), any(rendered.mask[1:])
