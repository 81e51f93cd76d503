"""Rows of a mixture as tokens: rendered when first asked for, or ahead by processes.

Rendering is Python, and Python that runs in a rank holds up the thread that launches its
kernels. So beside a GPU processes of their own render the rows of the next steps (`prepare`),
and the rank takes finished arrays. No torch in here: those processes do not need it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.conversations.chat_format import (
    MAX_TOKENS,
    ChatTokenizer,
    check_ids,
    render_conversation,
)
from engine.conversations.conversation import Conversation, RowFault
from engine.errors import DataError, slow_path
from engine.step.render_pool import RenderPool

CACHE_TOKENS = 100_000_000
"""Tokens of rows kept after tokenising (500 MB, at 4 bytes an id and 1 a mask entry); rows past
that are tokenised anew in every epoch."""


class RowSource(Protocol):
    """What the loader needs of a mixture."""

    def __len__(self) -> int: ...

    def conversation(self, index: int, /) -> Conversation: ...

    def source_of(self, index: int, /) -> str: ...


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A rendered row: `ids[t]` is followed by `ids[t + 1]`, supervised if `mask[t + 1]`."""

    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.bool_]

    @property
    def num_tokens(self) -> int:
        # The last token is a target only: nothing follows it.
        return len(self.ids) - 1

    @property
    def num_supervised(self) -> int:
        # The first token is never a target: nothing predicts it.
        return int(self.mask[1:].sum())

    def digest(self) -> int:
        """64 bits over tokens and mask: rows of two runs are one row where they agree in it."""
        found = hashlib.blake2b(self.ids.tobytes(), digest_size=8)
        found.update(np.packbits(self.mask).tobytes())
        return int.from_bytes(found.digest(), "little")


@dataclass(frozen=True, slots=True)
class Renderer:
    """What makes a row's tokens; goes to the processes as it is."""

    rows: RowSource
    tokenizer: ChatTokenizer
    max_tokens: int
    vocab_size: int | None

    def render(self, index: int) -> tuple[TokenRow, bool]:
        """The row, and whether it lost its end.

        Raises:
            DataError: an id the model has no embedding for, naming the row.
        """
        conversation = self.rows.conversation(index)
        try:
            rendered = render_conversation(self.tokenizer, conversation, self.max_tokens)
        except RowFault as fault:
            # Of a chat template; the launcher looks at the first rows only.
            raise DataError(f"row {index} ({self.rows.source_of(index)}): {fault}.") from None
        if self.vocab_size is not None:
            # An id that the embedding lacks is an index error in the middle of a step, on CUDA
            # one that ends the process without naming the row.
            what = f"row {index} ({self.rows.source_of(index)})"
            check_ids(rendered.ids, self.vocab_size, what)
        # int32 halves the cache; `_micro_step` widens the few ids of a step to torch's int64.
        row = TokenRow(np.array(rendered.ids, np.int32), np.array(rendered.mask, np.bool_))
        return row, bool(rendered.num_dropped)


Rendered = tuple[TokenRow, bool]


class TokenRows:
    """Rows of a mixture, rendered and encoded when first asked for, or ahead of it."""

    def __init__(
        self,
        rows: RowSource,
        tokenizer: ChatTokenizer,
        max_tokens: int = MAX_TOKENS,
        vocab_size: int | None = None,
        workers: int = 0,
    ) -> None:
        """With `vocab_size` a row with an id from there on is a `DataError` that names it.

        `workers`: processes that render what `prepare` names; 0 leaves it to the caller's thread.
        """
        self._rows = rows
        self._renderer = Renderer(rows, tokenizer, max_tokens, vocab_size)
        self._cache: dict[int, TokenRow] = {}
        self._room = CACHE_TOKENS
        self._cut: set[int] = set()
        self._pool = RenderPool(self._renderer.render, workers) if workers else None
        self._ahead: dict[int, tuple[Future[list[Rendered]], int]] = {}
        """Rows that a process has or will have: its answer, and the place in it."""

    def prepare(self, indices: Sequence[int]) -> None:
        """Have the processes render these rows, unless they are known; nothing waits."""
        wanted = [each for each in dict.fromkeys(indices) if self._is_new(each)]
        if self._pool is None or not wanted:
            return
        try:
            future = self._pool.submit(wanted)
        except (BrokenExecutor, OSError) as error:
            self._give_up(error)
            return
        for place, index in enumerate(wanted):
            self._ahead[index] = (future, place)

    def __getitem__(self, index: int) -> TokenRow:
        found = self._cache.get(index)
        if found is not None:
            return found
        row, cut = self._rendered(index)
        if cut:
            self._cut.add(index)
        if len(row.ids) <= self._room:
            self._room -= len(row.ids)
            self._cache[index] = row
            if self._pool is not None and len(self._cache) == len(self._rows):
                # Every row is known: there is nothing left to do for them.
                self.close()
        return row

    @property
    def has_workers(self) -> bool:
        """Whether `prepare` does anything."""
        return self._pool is not None

    @property
    def num_cut(self) -> int:
        """Rows among those seen so far that lost their end at `max_tokens`."""
        return len(self._cut)

    def source_of(self, index: int) -> str:
        return self._rows.source_of(index)

    def close(self) -> None:
        """End the processes."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _is_new(self, index: int) -> bool:
        return index not in self._cache and index not in self._ahead

    def _rendered(self, index: int) -> Rendered:
        ahead = self._ahead.pop(index, None)
        if ahead is not None:
            future, place = ahead
            try:
                return future.result()[place]
            except BrokenExecutor as error:
                self._give_up(error)
        return self._renderer.render(index)

    def _give_up(self, error: Exception) -> None:
        self.close()
        self._ahead.clear()
        slow_path(
            "rows are tokenised by the rank itself, which holds its training up: a process for it "
            f"ended ({error})"
        )
