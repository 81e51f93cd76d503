"""Look at rows as a chat template writes them, before any process is started."""

from __future__ import annotations

from engine.conversations.chat_format import ChatTokenizer, Rendered, render_conversation
from engine.conversations.conversation import RowFault
from engine.data.mixture import Mixture
from engine.data.tasks import DataSettings, build_mixture, load_validation
from engine.errors import DataError

MOST_ROWS = 20_000
"""Rows looked at: some seconds. The ranks say the same of those behind."""


def check_rows(
    tokenizer: ChatTokenizer, settings: DataSettings, max_tokens: int, max_validation_rows: int
) -> list[str]:
    """Render the rows of files; what a person should know of them.

    Raises:
        DataError: the template refuses a row, or does not say which of its tokens are answers;
            the first such row is named.
    """
    found: list[str] = []
    for mixture in (build_mixture(settings), load_validation(settings, max_validation_rows)):
        cut = silent = 0
        rows = min(len(mixture), MOST_ROWS)
        for index in range(rows):
            rendered = render_row(tokenizer, mixture, index, max_tokens)
            cut += bool(rendered.num_dropped)
            # The first token is no target: nothing comes before it.
            silent += not any(rendered.mask[1:])
        if cut:
            found.append(f"{cut:,} of {rows:,} rows lose their end at {max_tokens:,} tokens")
        if silent:
            found.append(f"{silent:,} of {rows:,} rows have no supervised token")
    return found


def render_row(tokenizer: ChatTokenizer, rows: Mixture, index: int, max_tokens: int) -> Rendered:
    """One row of a mixture.

    Raises:
        DataError: the template refuses it; it is named.
    """
    try:
        return render_conversation(tokenizer, rows.conversation(index), max_tokens)
    except RowFault as fault:
        number, local = rows.places[index]
        raise DataError(f"{rows.tasks[number].name}, row {local + 1}: {fault}.") from None
