"""The rows of several tasks in one fixed order.

nanochat's order is kept to the row: every task is shuffled with seed 42 before
anything is cut from it, and only then are the tasks mixed, once for all epochs.
Row i of a mixture is therefore the same row in every run and every epoch.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.conversations.conversation import Conversation
from engine.data.dataset import Item

MOST_SOURCES = 32
MIN_SOURCE_ROWS = 30
"""The loss of fewer rows says too little of their kind."""
SEED = 42
"""nanochat's only seed, of the tasks' order and of the mixture's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a mixture."""

    conversation: Conversation
    source: str
    """Task name, or the row's own source, for `loss_by_source`."""
    id: str
    """Stable over runs: the hub's id, else content hash and occurrence."""


@dataclass(kw_only=True)
class TaskRows:
    """The rows of one entry, in the order training visits them before mixing."""

    name: str
    items: Sequence[Item]
    hub_ids: Sequence[str] = ()
    numbers: Sequence[int] = ()
    """Of each row in its file, from 1; empty where rows come from no file."""
    skipped: int = 0
    """Malformed rows left out on request."""
    per_epoch: int | None = None
    """Rows in an epoch, from the first on and again; None: each once."""
    note: str = ""

    @property
    def count(self) -> int:
        """Rows that stand in an epoch."""
        return len(self.items) if self.per_epoch is None else self.per_epoch

    def conversation(self, index: int) -> Conversation:
        item = self.items[index]
        return item if isinstance(item, Conversation) else item.conversation()

    @cached_property
    def ids(self) -> list[str]:
        """Stable id of every row. Made on first use: hashing a row costs more than reading it."""
        seen: Counter[str] = Counter()
        ids: list[str] = []
        for index in range(len(self.items)):
            base = (self.hub_ids[index] if self.hub_ids else "") or self.items[index].content_hash()
            seen[base] += 1
            ids.append(base if seen[base] == 1 else f"{base}#{seen[base]}")
        return ids


class Mixture:
    """Rows of several tasks in one fixed order; index i is row i of every epoch."""

    def __init__(
        self,
        tasks: Iterable[TaskRows],
        *,
        seed: int | None = SEED,
        limit: int | None = None,
        by_row: bool = False,
    ) -> None:
        """Keep the first `limit` rows of the order.

        `seed=None` keeps the tasks one after another, unshuffled, as validation needs them.
        `by_row`: where a row names its own source, that is its source, for up to
        `MOST_SOURCES` of at least `MIN_SOURCE_ROWS` rows; the task's name is that of all others.
        """
        self._by_row = by_row
        self.tasks = list(tasks)
        self.sources = tuple(dict.fromkeys(task.name for task in self.tasks))
        pairs = [
            (number, index % len(task.items))
            for number, task in enumerate(self.tasks)
            for index in range(task.count)
        ]
        if seed is not None:
            random.Random(seed).shuffle(pairs)
        self.places = pairs[:limit]
        """(task number, index within the task) of every row."""

    def __len__(self) -> int:
        return len(self.places)

    def row(self, index: int) -> Row:
        number, local = self.places[index]
        task = self.tasks[number]
        return Row(
            conversation=task.conversation(local),
            source=self.source_of(index),
            id=task.ids[local],
        )

    def conversation(self, index: int) -> Conversation:
        number, local = self.places[index]
        return self.tasks[number].conversation(local)

    def where(self, index: int) -> str:
        """Source and number of a row, for people."""
        number, local = self.places[index]
        task = self.tasks[number]
        place = task.numbers[local] if task.numbers else local + 1
        return f"{task.name}, row {place:,}"

    def source_of(self, index: int) -> str:
        own = self._own_source(index) if self._by_row else ""
        return own if own in self._own_sources else self.tasks[self.places[index][0]].name

    def _own_source(self, index: int) -> str:
        number, local = self.places[index]
        item = self.tasks[number].items[local]
        return item.source if isinstance(item, Conversation) else ""

    @cached_property
    def _own_sources(self) -> frozenset[str]:
        """The commonest sources that the rows name themselves."""
        if not self._by_row:
            return frozenset()
        counts = Counter(map(self._own_source, range(len(self))))
        del counts[""]
        common = counts.most_common(MOST_SOURCES)
        return frozenset(name for name, rows in common if rows >= MIN_SOURCE_ROWS)

    def counts(self) -> dict[str, int]:
        """Rows by task, in the order of the tasks."""
        counts: dict[str, int] = {}
        for task in self.tasks:
            counts[task.name] = counts.get(task.name, 0) + task.count
        return counts

    def skipped(self) -> dict[str, int]:
        """Malformed rows left out, by task; only tasks that have some."""
        return {task.name: task.skipped for task in self.tasks if task.skipped}

    def notes(self) -> tuple[str, ...]:
        return tuple(task.note for task in self.tasks if task.note)


def seed_order(num_rows: int, seed: int = SEED) -> list[int]:
    """The order `datasets.Dataset.shuffle(seed=...)` gives: place i holds row `order[i]`."""
    return [int(index) for index in np.random.default_rng(seed).permutation(num_rows)]
